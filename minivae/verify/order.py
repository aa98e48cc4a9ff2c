"""The rung of models that predict one variable after the other."""

import itertools
from typing import Any

import numpy as np

from minivae.models import MADE, MadeArchitecture, ordered
from minivae.verify.figures import Figure, Setting, worst
from minivae.verify.gradients import model_errors


def in_order(setting: Setting) -> list[Figure]:
    """A MADE sums to one under every order, looks only back, and draws what it says.

    The masks of a random network are tried by the complex step, which gives a zero that is exact
    where a connection is missing.  Orders are not their own inverse, so that confusing an order
    with the places it gives shows.
    """
    x, codes = _all(4, 2), _all(3, 3)
    orders = list(itertools.permutations(range(4)))[:: setting.pick(5, 1, 1)]
    total = ahead = slope = 0.0
    for i, order in enumerate(orders):
        model = _drawn(4, i, order=order, direct=i % 2 == 1)
        total = worst(total, _off(model, x))
        ahead = worst(ahead, _ahead(model, order))
        if i % 4 == 0:
            slope = worst(slope, *_errors(model, x[i % 13 : i % 13 + 2]).values())
    several = _drawn(4, 1, order="random", n_masks=3)
    dice = _drawn(3, 2, order=(2, 0, 1), n_codes=3)
    draws = worst(
        _draws(_drawn(4, 3, order=(2, 0, 3, 1)), x, setting), _draws(dice, codes, setting)
    )
    return [
        Figure("sum over all images of 2 x 2", total, 1e-12, "of 1"),
        Figure("sum over all words of 3 codes", _off(dice, codes), 1e-12, "of 1"),
        Figure("sum of the mean over 3 masks", _off(several, x), 1e-12, "of 1"),
        Figure("slope by what must not be seen", ahead, 0.0, "absolute"),
        Figure("error of the gradient", slope, 1e-12, "relative"),
        Figure("draws against p(x)", draws, 5.0, "standard errors"),
    ]


def _drawn(M: int, seed: int, **architecture: Any) -> MADE:
    fields = {"hidden": (7, 5), "degrees": "drawn", "activation": "tanh", "seed": seed}
    model = MADE(MadeArchitecture(M, **{**fields, **architecture}), dtype="float64")
    model.parameters.theta[...] = np.random.default_rng([51, seed]).normal(
        0.0, 1.0, len(model.parameters)
    )
    return model


def _all(M: int, n_codes: int) -> np.ndarray:
    return np.array(list(itertools.product(range(n_codes), repeat=M)), np.float64)


def _off(model: MADE, x: np.ndarray) -> float:
    return abs(float(np.exp(model.log_prob(x)).sum()) - 1.0)


def _errors(model: MADE, x: np.ndarray) -> dict[str, float]:
    return model_errors(model, lambda g: ordered.autoregressive(model, x, gradient=g))


def _ahead(model: MADE, order: tuple[int, ...]) -> float:
    """The largest slope of a logit by a pixel that comes with it or after it."""
    seen = 0.0
    for i, d in enumerate(order):
        x = np.zeros((1, len(order)), complex)
        x[0, d] = 1e-30j
        logits, _ = model.network.forward(x)
        seen = worst(seen, np.abs(logits[0, list(order[: i + 1])].imag / 1e-30))
    return seen


def _draws(model: MADE, x: np.ndarray, setting: Setting) -> float:
    """The largest difference of share and probability, in standard errors."""
    n, (words, M) = setting.pick(4_000, 40_000, 400_000), x.shape
    p, C = np.exp(model.log_prob(x)), model.architecture.n_codes
    drawn = model.sample(n, np.random.default_rng(52))
    index = (drawn @ C ** np.arange(M - 1, -1, -1)).astype(int)
    share = np.bincount(index, minlength=words) / n
    return float((np.abs(share - p) / np.sqrt(np.maximum(p * (1.0 - p), 1.0 / n) / n)).max())
