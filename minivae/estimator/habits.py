"""What scikit-learn expects of every estimator, without its base class.

Inheriting from `BaseEstimator` would make scikit-learn a dependency of ``import minivae``.  The
contract is small: parameters are the arguments of ``__init__``, stored as they come; everything
learnt has a name that ends in an underscore; ``clone`` rebuilds an estimator from `get_params`.
"""

import contextlib
import importlib
import inspect
import sys
from typing import Any, Self

import numpy as np

CONTAINERS = ("default", "pandas", "polars")


class Habits:
    """Parameters, their display, the container of what ``transform`` returns, and tags."""

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """The parameters and their defaults, read from the signature of ``__init__``."""
        arguments = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {argument.name: argument.default for argument in arguments}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; ``deep`` changes nothing, for none of them is an estimator."""
        return {name: getattr(self, name) for name in sorted(self._defaults())}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; the next fit uses them.

        Raises  ValueError for a name that is not a parameter, before anything is changed.
        """
        valid = sorted(self._defaults())
        for name in params:
            if name not in valid:
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. "
                    f"Valid parameters are: {valid}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """The call that makes this estimator, without the parameters that have their defaults."""
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns: "default" (an array), "pandas" or "polars".

        None changes nothing.  Without a choice here, scikit-learn's global ``transform_output``
        decides, if scikit-learn is loaded.

        Raises  ValueError for another name.
        """
        if transform is not None:
            if transform not in CONTAINERS:
                raise ValueError(
                    f"expected transform one of {', '.join(CONTAINERS)}, got {transform!r}"
                )
            self._sklearn_output_config = {"transform": transform}  # clone copies this name
        return self

    def _contained(self, values: np.ndarray, names: np.ndarray, X: Any) -> Any:
        """``values`` (N, K) in the container that was chosen, with the index of the data ``X``."""
        chosen = getattr(self, "_sklearn_output_config", {}).get("transform")
        if chosen is None:
            sklearn = sys.modules.get("sklearn")
            chosen = sklearn.get_config()["transform_output"] if sklearn else "default"
        if chosen == "pandas":
            import pandas

            index = X.index if isinstance(X, pandas.DataFrame) else None
            return pandas.DataFrame(values, index=index, columns=names)
        if chosen == "polars":
            import polars

            return polars.DataFrame(values, schema=list(names), orient="row")
        return values

    def _require_fitted(self) -> None:
        """Raise scikit-learn's NotFittedError where there is one, or our own of the same kind."""
        if hasattr(self, "model_"):
            return
        kind: type[Exception] = _NotFittedError
        with contextlib.suppress(ImportError):
            kind = importlib.import_module("sklearn.exceptions").NotFittedError
        raise kind(
            f"This {type(self).__name__} instance is not fitted yet. "
            "Call 'fit' with appropriate arguments before using this estimator."
        )

    def _tags(self, positive_only: bool, preserves_dtype: list[str]) -> Any:
        """The tags of a transformer of dense numbers that ignores y."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=preserves_dtype),
            input_tags=InputTags(positive_only=positive_only),
        )


class _NotFittedError(ValueError, AttributeError):
    """Both, as scikit-learn's is: what is missing is an attribute."""
