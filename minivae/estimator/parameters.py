"""What an estimator's parameters mean, and which are refused: in fit, as scikit-learn wants it."""

import math
import operator
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np

from minivae.datasets.binarisation import CHOICES
from minivae.models import Architecture
from minivae.models.networks import PIXEL_LOGVAR_LIMIT


def _whole(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1


def _real(value: Any, low: float = 0.0, high: float = math.inf) -> bool:
    """A number with low <= value < high, so neither NaN nor infinity."""
    return isinstance(value, Real) and low <= float(value) < high


WHOLE = (_whole, "an integer of at least 1")
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "latent": WHOLE,
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "samples": WHOLE,
    "n_importance": WHOLE,
    "patience": (lambda v: v is None or _whole(v), "None or an integer of at least 1"),
    "kl_weight": (_real, "a finite number of at least 0"),
    "free_bits": (_real, "a finite number of at least 0"),
    "learning_rate": (lambda v: _real(v) and v > 0.0, "a finite positive number"),
    "validation_fraction": (lambda v: _real(v, high=1.0), "a number in [0, 1)"),
    "sigma": (lambda v: v is None or isinstance(v, Real), "None or a number"),
    "binarisation": (lambda v: v is None or v in CHOICES, f"None or one of {', '.join(CHOICES)}"),
    "dtype": (lambda v: v in (None, "float32", "float64"), "None, 'float32' or 'float64'"),
}
"""What no later line would refuse in words that name the parameter.

`minivae.models.Architecture` judges the others of the networks, and the range of sigma.
"""


def check_parameters(settings: Any) -> None:
    """Refuse parameters that are wrong by themselves or do not go together.

    Raises  ValueError, one line.
    """

    def require(holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ValueError(
                f"The {name!r} parameter of {type(settings).__name__} must be {what}. "
                f"Got {getattr(settings, name)!r} instead."
            )

    for name, (holds, what) in RULES.items():
        require(holds(getattr(settings, name)), name, what)
    loose = settings.variance != "fixed" or settings.sigma is not None
    require(loose, "sigma", "a number if variance='fixed'")
    watched = settings.validation_fraction > 0.0 or settings.patience is None
    require(watched, "patience", "None if validation_fraction=0")


def binarisation(settings: Any) -> str:
    """What happens to grey values: the parameter, or what fits the likelihood if it is None."""
    if settings.binarisation is not None:
        return settings.binarisation
    return "new" if settings.likelihood == "bernoulli" else "none"


def what_needs_grey(settings: Any) -> str | None:
    """The parameter that needs data in [0, 1], as it is written; None if any number will do."""
    if settings.likelihood in ("bernoulli", "continuous-bernoulli"):
        return f"likelihood={settings.likelihood!r}"
    if binarisation(settings) != "none":
        return f"binarisation={settings.binarisation!r}"
    return None


def architecture(settings: Any, x: np.ndarray) -> Architecture:
    """The networks for data like ``x`` (N, D)."""
    try:
        hidden = tuple(operator.index(n) for n in settings.hidden)
    except TypeError:
        raise ValueError(
            f"expected hidden a sequence of integers, got {settings.hidden!r}"
        ) from None
    sigma = start_sigma(x, settings.variance) if settings.sigma is None else float(settings.sigma)
    return Architecture(
        x.shape[1], int(settings.latent), hidden, settings.activation, settings.likelihood,
        settings.variance, sigma,
    )  # fmt: skip


def start_sigma(x: np.ndarray, variance: str) -> float:
    """The root-mean-square deviation of ``x`` (N, D) from the means of its columns.

    It is the maximum-likelihood sigma of a decoder that knows the means and nothing else, where
    every decoder begins.  Data that do not vary have none, and get 1; an output of the decoder must
    begin inside its limits.
    """
    sigma = math.sqrt(float(np.mean(np.var(x, axis=0, dtype=np.float64))))
    if sigma <= 1e-6 * float(np.abs(x).max()):  # rounding, not variation
        sigma = 1.0
    if variance == "pixel":
        limit = 0.95 * PIXEL_LOGVAR_LIMIT / 2.0
        sigma = min(max(sigma, math.exp(-limit)), math.exp(limit))
    return sigma
