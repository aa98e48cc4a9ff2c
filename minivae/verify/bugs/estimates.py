"""Bugs in what is estimated: IWAE, other gradients, error bars, annealing, EM."""

import math
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from minivae import exact, objectives
from minivae.distributions import Gaussian
from minivae.evaluation import annealed, estimators
from minivae.evaluation.bounds import ImportanceEstimate
from minivae.evaluation.likelihood import Estimate
from minivae.exact import em
from minivae.numerics import softmax
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def equal_shares() -> Plant:
    """Every sample pulls with 1/k, whatever its weight."""
    return replaced(objectives, "softmax", lambda h, axis=0: 0.0 * h + 1.0 / len(h))


def squared_shares() -> Plant:
    """Squared weights, as in the doubly reparameterized gradient, in a gradient that is not."""
    return replaced(objectives, "softmax", lambda h, axis=0: softmax(h, axis) ** 2)


def a_mean_of_logarithms_trained() -> Plant:
    """The ELBO under the name of IWAE, with the right gradient of it."""
    return both(
        equal_shares(),
        replaced(objectives, "log_mean_exp", lambda a, axis=0: a.mean(axis=axis)),
    )


def prior_without_a_slope() -> Plant:
    """log p(z) is in the weights, but does not pull at z."""
    return replaced(Gaussian, "grad_value", lambda self, v: 0.0 * v)


def weights_not_squared() -> Plant:
    """The doubly reparameterized gradient with w where it has w^2."""

    def wrong(p: Any, q: Gaussian, eps: Any) -> Any:
        q = estimators._apart(q, eps)
        u, slope = estimators._weights(p, q, q.sample(eps))
        return q.pathwise_grad(u[..., None] * slope, eps)

    return replaced(estimators, "iwae_dreg", wrong)


def unweighted_estimators() -> Plant:
    """Normalised weights that are all 1/S."""
    return replaced(estimators, "softmax", lambda h, axis=0: 0.0 * h + 1.0 / len(h))


def baseline_of_all() -> Plant:
    """The mean over all draws, the own one included: the gradient shrinks by 1 - 1/S."""
    return replaced(estimators, "leave_one_out", lambda values: values.mean(axis=0))


def spread_for_error() -> Plant:
    """The standard deviation under the name of the standard error."""
    return replaced(
        Estimate,
        "of",
        classmethod(lambda cls, values: cls(float(values.mean()), float(values.std(ddof=1)))),
    )


def all_draws_effective() -> Plant:
    """ess = S, and an error that is not divided by sqrt(S)."""
    right = ImportanceEstimate.of.__func__  # type: ignore[attr-defined]

    def wrong(cls: Any, log_w: Any) -> Any:
        found, S = right(cls, log_w), len(log_w)
        error = found.standard_error * math.sqrt(S)
        return replace(found, standard_error=error, ess=0.0 * found.ess + S)

    return replaced(ImportanceEstimate, "of", classmethod(wrong))


def bits_per_image() -> Plant:
    """The number of pixels forgotten."""
    return replaced(Estimate, "bits_per_dimension", lambda self, D: self.mean / math.log(2.0))


def half_the_path() -> Plant:
    """Weights of temperatures that go up to 1/2."""
    return after(annealed, "anneal", lambda pair, *_: (0.5 * pair[0], pair[1]))


def never_rejected() -> Plant:
    """Every move is taken, however bad."""
    return replaced(annealed, "uniform", lambda rng, shape, other: 0.0 * other.sum(axis=-1))


def half_the_uncertainty() -> Plant:
    """An M step with half of the posterior's covariance."""
    right = em.m_step
    return _m_step(lambda world, x, m, V: right(world, x, m, 0.5 * V))


def certain_codes() -> Plant:
    """sigma^2 from the residual of the mean code alone."""

    def wrong(world: Any, x: Any, m: Any, V: Any) -> Any:
        found = right(world, x, m, V)
        rest = x - world.b - m @ found.W
        return replace(found, variance=float((rest * rest).mean()))

    right = em.m_step
    return _m_step(wrong)


def _m_step(wrong: Any) -> Plant:
    """It has two names: that of its module, and that of the room."""
    return both(replaced(em, "m_step", wrong), replaced(exact, "m_step", wrong))


BUGS = (
    Bug("IWAE samples that all pull alike", 15,
        "Trained as the ELBO, reported as IWAE.", "IWAE", equal_shares),
    Bug("IWAE weights squared in its gradient", 15,
        "The decoder learns from the luckiest draw.", "IWAE", squared_shares),
    Bug("the ELBO trained as IWAE", 15,
        "Gradient checks pass; k changes nothing but the cost.", "IWAE",
        a_mean_of_logarithms_trained),
    Bug("a prior that does not pull", 15,
        "Codes drift away from the prior.", "IWAE", prior_without_a_slope),
    Bug("doubly reparameterized weights not squared", 15,
        "A gradient that is too large, and not of the bound.", "estimators", weights_not_squared),
    Bug("normalised weights that are uniform", 15,
        "The gradient of the ELBO, whatever k.", "estimators", unweighted_estimators),
    Bug("a baseline that knows its own draw", 15,
        "Gradients too small by 1/S.", "estimators", baseline_of_all),
    Bug("a standard deviation called standard error", 9,
        "No difference is ever significant.", "error bars", spread_for_error),
    Bug("an effective sample size that is k", 9,
        "No warning when one weight counts for all.", "error bars", all_draws_effective),
    Bug("bits per image called bits per dimension", 24,
        "784 times as many bits as others report.", "error bars", bits_per_image),
    Bug("annealing that stops half-way", 9,
        "A likelihood that is far too good.", "annealing", half_the_path),
    Bug("moves that are never rejected", 9,
        "Chains of another density; their weights estimate nothing.", "annealing", never_rejected),
    Bug("an M step with half the uncertainty", 5,
        "EM climbs something else, or falls.", "EM", half_the_uncertainty),
    Bug("a variance from the mean code alone", 5,
        "sigma is too small: the code's own noise is left out.", "EM", certain_codes),
)  # fmt: skip
