"""Which data are refused, in the words of scikit-learn: users know them, its checks want them.

Nothing here needs pandas or SciPy.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np


def as_matrix(X: Any, dtype: str | None, whom: str, name: str = "X") -> np.ndarray:
    """``X``, anything with rows of numbers, as an array (N, D) of finite numbers.

    dtype  "float32" or "float64"; None keeps either of them, and makes float64 of all others.
    whom   the estimator that asks, and `name` the argument, for the message.
    Raises TypeError for a sparse matrix, and for objects that are no numbers; ValueError, for
           complex numbers, text, another number of axes, no rows, no columns, NaN or infinity.
    """
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. "
            "Use '.toarray()' to convert to a dense numpy array."
        )
    x = np.asarray(X)
    if x.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {x.dtype}")
    if x.dtype.kind not in "fiubO":
        raise ValueError(f"Expected numbers in {name}, got an array of {x.dtype}")
    _require_matrix(x, whom)
    wanted = dtype or (x.dtype.name if x.dtype.name in ("float32", "float64") else "float64")
    with np.errstate(over="ignore"):  # a number that float32 cannot hold is reported below
        x = x.astype(wanted, copy=False)
    _require_finite(x, whom, name)
    return x


def _require_matrix(x: np.ndarray, whom: str) -> None:
    if x.ndim < 2:
        got = "scalar" if x.ndim == 0 else "1D"
        raise ValueError(
            f"Expected 2D array, got {got} array instead: {x!r}. Reshape your data either using "
            "array.reshape(-1, 1) if your data has a single feature or array.reshape(1, -1) if it "
            "contains a single sample."
        )
    if x.ndim > 2:
        raise ValueError(f"Found array with dim {x.ndim}, while dim <= 2 is required by {whom}.")
    for axis, what in enumerate(("sample(s)", "feature(s)")):
        if x.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {what} (shape={x.shape}) while a minimum of 1 is required "
                f"by {whom}."
            )


def _require_finite(x: np.ndarray, whom: str, name: str) -> None:
    if np.isfinite(x).all():
        return
    if np.isnan(x).any():
        raise ValueError(f"Input {name} contains NaN: {whom} has no model of missing values.")
    raise ValueError(
        f"Input {name} contains infinity or a value too large for dtype({x.dtype.name!r})."
    )


def require_grey(x: np.ndarray, whom: str, why: str | None) -> None:
    """Refuse ``x`` with values outside [0, 1]; `why` says what needs them, or is None."""
    if why is None:
        return
    low, high = x.min(), x.max()
    if low < 0.0:
        raise ValueError(
            f"Negative values in data passed to {whom}: {why} needs values in [0, 1], "
            f"got {low} to {high}"
        )
    if high > 1.0:
        raise ValueError(f"{whom}: {why} needs values in [0, 1], got {low} to {high}")


def require_width(x: np.ndarray, n_features: int, whom: str) -> None:
    """Refuse ``x`` (N, D) unless D is what it was in fit."""
    if x.shape[1] != n_features:
        raise ValueError(
            f"X has {x.shape[1]} features, but {whom} is expecting {n_features} features as input."
        )


def column_names(X: Any) -> np.ndarray | None:
    """The names of the columns of a data frame, as objects (D,); None unless all are strings.

    Raises  TypeError if some are strings and some are not.
    """
    names = list(getattr(X, "columns", ()))
    texts = sum(isinstance(name, str) for name in names)
    if not texts:
        return None
    if texts < len(names):
        kinds = sorted({type(name).__qualname__ for name in names})
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your "
            f"input has {kinds} as feature name / column name types: X.columns = "
            "X.columns.astype(str) makes strings of them"
        )
    return np.array(names, dtype=object)


def compare_names(fitted: np.ndarray | None, found: np.ndarray | None, whom: str) -> None:
    """Warn if only one of fit and now had names; refuse names that are not those of fit."""
    if found is None and fitted is not None:
        warnings.warn(
            f"X does not have valid feature names, but {whom} was fitted with feature names",
            stacklevel=4,
        )
    elif found is not None and fitted is None:
        warnings.warn(
            f"X has feature names, but {whom} was fitted without feature names", stacklevel=4
        )
    elif found is not None and fitted is not None and list(found) != list(fitted):
        wrong = _listed("Feature names unseen at fit time", set(found) - set(fitted))
        wrong += _listed(
            "Feature names seen at fit time, yet now missing", set(fitted) - set(found)
        )
        raise ValueError(
            "The feature names should match those that were passed during fit.\n"
            + (wrong or "Feature names must be in the same order as they were in fit.\n")
        )


def _listed(title: str, names: set[str], at_most: int = 5) -> str:
    if not names:
        return ""
    shown = sorted(names)[:at_most] + ["..."] * (len(names) > at_most)
    return f"{title}:\n" + "".join(f"- {name}\n" for name in shown)


def explicit_names(given: Sequence[str] | None, fitted: np.ndarray | None, D: int) -> None:
    """Refuse names given to ``get_feature_names_out`` that are not those of the D input columns."""
    if given is None:
        return
    if fitted is not None and list(given) != list(fitted):
        raise ValueError("input_features is not equal to feature_names_in_")
    if len(given) != D:
        raise ValueError(
            f"input_features should have length equal to number of features ({D}), got {len(given)}"
        )
