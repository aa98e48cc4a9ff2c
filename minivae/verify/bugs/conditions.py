"""Bugs of conditional models: a label that is not told, a prior that is not used, a probe."""

from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np

from minivae import evaluation, objectives
from minivae.datasets.conditions import Attribute
from minivae.distributions import Gaussian
from minivae.verify.bugs.planting import Bug, replaced

Plant = AbstractContextManager[None]


class Deaf:
    """A network that is not told the last C numbers of its input: they are 0."""

    def __init__(self, network: Any, C: int) -> None:
        self.network, self.C = network, C

    def forward(self, x: Any) -> Any:
        """As the network, of an input without y."""
        heard = x.copy()
        heard[:, -self.C :] = 0.0
        return self.network.forward(heard)

    def backward(self, dy: Any, cache: Any, need_dx: bool = True) -> Any:
        """As the network; the numbers that it did not hear get no gradient."""
        dx = self.network.backward(dy, cache, need_dx)
        if need_dx:
            dx[:, -self.C :] = 0.0
        return dx


def _objective_of(change: Any) -> Plant:
    """The right objective of a changed model: ``change(parts, C)`` alters its networks."""
    right = objectives.conditional_elbo

    def wrong(model: Any, x: Any, y: Any, eps: Any, *options: Any, **more: Any) -> Any:
        parts = SimpleNamespace(
            encoder=model.encoder, decoder=model.decoder, prior=model.prior,
            likelihood=model.likelihood,
        )  # fmt: skip
        change(parts, y.shape[1])
        return right(parts, x, y, eps, *options, **more)

    return replaced(objectives, "conditional_elbo", wrong)


def only_to_the_encoder() -> Plant:
    """p(x|z) for p(x|z,y)."""
    return _objective_of(lambda parts, C: setattr(parts, "decoder", Deaf(parts.decoder, C)))


def only_to_the_decoder() -> Plant:
    """q(z|x) for q(z|x,y)."""
    return _objective_of(lambda parts, C: setattr(parts, "encoder", Deaf(parts.encoder, C)))


def divergence_from_the_standard_normal() -> Plant:
    """KL(q || N(0, I)) although samples are drawn from a learned p(z|y)."""
    return _objective_of(lambda parts, C: setattr(parts, "prior", None))


def prior_is_not_pulled() -> Plant:
    """The KL has a gradient for q only."""
    return replaced(Gaussian, "kl_grad_prior", lambda self, p: (0.0 * self.mu, 0.0 * self.mu))


def leakage_on_training_data() -> Plant:
    """The probe is judged on the codes that it was fitted on."""
    right = evaluation.conditional.leakage
    return replaced(
        evaluation.conditional, "leakage", lambda z, y, test_z, test_y: right(z, y, z, y)
    )


def unseen_classes_are_taken() -> Plant:
    """A class that no training image has becomes a one-hot row like any other."""

    def wrong(self: Attribute, values: Any) -> Any:
        return np.eye(len(self.names), dtype=np.float32)[values.astype(np.int64)]

    return replaced(Attribute, "_one_hot", wrong)


BUGS = (
    Bug("the label only to the encoder", 19,
        "Samples of a chosen class are of any class.", "conditions", only_to_the_encoder),
    Bug("the label only to the decoder", 19,
        "A gap below log p(x|y) that no training closes.", "conditions", only_to_the_decoder),
    Bug("the KL to N(0, I) beside a learned prior", 19,
        "p(z|y) is never trained, and samples of it are noise.", "conditions",
        divergence_from_the_standard_normal),
    Bug("a learned prior without its gradient", 19,
        "p(z|y) stays where it started.", "conditions", prior_is_not_pulled),
    Bug("leakage read on training data", 19,
        "Codes of noise are said to know the label.", "conditions", leakage_on_training_data),
    Bug("a class that training has not seen", 19,
        "A column of weights that was never trained answers, and nobody is told.", "conditions",
        unseen_classes_are_taken),
)  # fmt: skip
