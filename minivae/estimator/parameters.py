"""What an estimator's parameters mean, and which are refused: in fit, as scikit-learn wants it."""

import math
import operator
from numbers import Integral, Real
from typing import Any

import numpy as np

from minivae.datasets.binarisation import CHOICES
from minivae.models import Architecture
from minivae.models.networks import PIXEL_LOGVAR_LIMIT


def check_parameters(settings: Any) -> None:
    """Refuse parameters that no later line would refuse in words that name them.

    `minivae.models.Architecture` judges those of the networks, Adam the learning rate.

    Raises  ValueError, one line.
    """

    def require(name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(
                f"The {name!r} parameter of {type(settings).__name__} must be {what}. "
                f"Got {getattr(settings, name)!r} instead."
            )

    for name in ("latent", "epochs", "batch_size", "samples", "n_importance"):
        value = getattr(settings, name)
        require(name, isinstance(value, Integral) and int(value) >= 1, "an integer of at least 1")
    for name in ("kl_weight", "free_bits"):
        value = getattr(settings, name)
        good = isinstance(value, Real) and 0.0 <= float(value) < math.inf
        require(name, good, "a finite number of at least 0")
    part = settings.validation_fraction
    require("validation_fraction", isinstance(part, Real) and 0.0 <= float(part) < 1.0, "in [0, 1)")
    rate = settings.learning_rate
    require("learning_rate", isinstance(rate, Real) and 0.0 < float(rate) < math.inf, "positive")
    how = settings.binarisation
    require("binarisation", how is None or how in CHOICES, f"None or one of {', '.join(CHOICES)}")
    dtypes = (None, "float32", "float64")
    require("dtype", settings.dtype in dtypes, "None, 'float32' or 'float64'")
    sigma = settings.sigma
    given = isinstance(sigma, Real)
    require("sigma", given or sigma is None, "None or a number")
    require("sigma", given or settings.variance != "fixed", "a number if variance='fixed'")


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
