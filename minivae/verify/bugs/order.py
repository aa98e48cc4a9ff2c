"""Bugs in models that predict one variable after the other."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae.distributions import Categorical
from minivae.models import made, masks
from minivae.models.masks import MaskedDense
from minivae.verify.bugs.planting import Bug, replaced

Plant = AbstractContextManager[None]


def sees_itself() -> Plant:
    """The last mask allows equal degrees, as the others do."""
    return replaced(
        masks, "mask", lambda before, after, last=False: before[:, None] <= after
    )  # fmt: skip


def order_for_places() -> Plant:
    """The order is used where the places that it gives belong, and not inverted."""
    return replaced(made, "positions", lambda order: np.asarray(order) + 1)


def mean_of_logs() -> Plant:
    """Several masks are averaged as log-probabilities."""
    return replaced(made, "log_mean_exp", lambda x, axis=0: x.mean(axis=axis))


def gradient_without_mask() -> Plant:
    """dW where the mask is 0: training moves what is not there, and momentum with it."""

    def backward(self: Any, dy: Any, cache: Any, need_dx: bool = True) -> Any:
        x, M = cache
        self.dW += x.T @ dy
        self.db += dy.sum(axis=0)
        return dy @ (M * self.W).T if need_dx else None

    return replaced(MaskedDense, "backward", backward)


def likeliest_in_place_of_a_draw() -> Plant:
    """argmax, called a sample."""

    def wrong(self: Categorical, u: Any) -> Any:
        p = self.mean
        return np.eye(p.shape[-1], dtype=p.dtype)[p.argmax(axis=-1)]

    return replaced(Categorical, "sample", wrong)


BUGS = (
    Bug("a pixel that sees itself", 6,
        "The likelihood is better than any model's, and the samples are noise.", "order",
        sees_itself),
    Bug("an order where its inverse belongs", 21,
        "A good likelihood and bad samples: they are drawn before what they depend on.", "order",
        order_for_places),
    Bug("masks averaged as log-probabilities", 9,
        "An ensemble that hardly helps: its probabilities sum to less than one.", "order",
        mean_of_logs),
    Bug("a gradient where the mask is 0", 14,
        "Weights that are not there grow, and weight norms and clipping count them.", "order",
        gradient_without_mask),
    Bug("the likeliest code in place of a draw", 21,
        "All images of a VQ-VAE and its prior are the same smooth one.", "order",
        likeliest_in_place_of_a_draw),
)  # fmt: skip
