"""Bugs in evaluation and in the exact worlds: a bound that is none."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae.evaluation import bounds, likelihood
from minivae.exact import forms, linear_vae
from minivae.exact.discrete import DiscreteWorld
from minivae.numerics import log_mean_exp, logsumexp
from minivae.verify.bugs.planting import Bug, after, replaced

Plant = AbstractContextManager[None]


def at_the_mean() -> Plant:
    """Every sample is z = mu."""
    right = likelihood.log_weights
    return replaced(
        likelihood, "log_weights", lambda model, x, q, eps: right(model, x, q, 0.0 * eps)
    )


def one_draw() -> Plant:
    """k samples are asked for, the first is used for all of them."""
    right = likelihood.log_weights
    return replaced(
        likelihood,
        "log_weights",
        lambda model, x, q, eps: right(model, x, q, np.repeat(eps[:1], len(eps), axis=0)),
    )


def wrong_sign() -> Plant:
    """-log mean 1/w: an upper bound in place of a lower one."""
    return replaced(bounds, "log_mean_exp", lambda a, axis=0: -log_mean_exp(-a, axis))


def mean_of_logarithms() -> Plant:
    """The average of log w, the ELBO once more, under the name of IWAE."""
    return replaced(bounds, "log_mean_exp", lambda a, axis=0: a.mean(axis=axis))


def sum_for_mean() -> Plant:
    """log sum w, without -log k: above log p(x)."""
    return replaced(bounds, "log_mean_exp", lambda a, axis=0: logsumexp(a, axis))


def prior_left_out() -> Plant:
    """Weights p(x|z): the ratio of prior and posterior is missing."""
    return after(likelihood, "log_weights", lambda pair, *_: (pair[0], 0.0 * pair[1]))


def swapped_arguments() -> Plant:
    """KL(b || a) for KL(a || b) in the forms of the ELBO."""
    right = forms.kl
    return replaced(forms, "kl", lambda a, b: right(b, a))


def unweighted_aggregate() -> Plant:
    """q(z) as the plain average over x, whatever the data's frequencies."""
    return replaced(
        DiscreteWorld,
        "log_aggregate",
        property(lambda self: log_mean_exp(self.log_q, axis=0)),
    )


def averaged_tuples() -> Plant:
    """IWAE_k as the ELBO of one draw, less log k."""
    right = forms.iwae
    return replaced(
        forms, "iwae", lambda world, k=1: right(world, 1) - (0.0 if k == 1 else np.log(k))
    )


def threshold_without_beta() -> Plant:
    """A direction is kept if its variance exceeds sigma^2, whatever beta."""

    def wrong(spectrum: Any, latent: int, variance: float, beta: float) -> Any:
        return linear_vae.fit_ppca(spectrum, latent, variance)

    return replaced(linear_vae, "best_decoder", wrong)


BUGS = (
    Bug("evaluation at z = mu", 9,
        "Bounds that are too good, by up to half a nat per latent.", "bounds", at_the_mean),
    Bug("one draw for all k", 9,
        "A larger k changes nothing.", "bounds", one_draw),
    Bug("log weights with the wrong sign", 9,
        "The bound falls as k grows.", "bounds", wrong_sign),
    Bug("a mean of logarithms called IWAE", 15,
        "IWAE_k is the ELBO for every k.", "bounds", mean_of_logarithms),
    Bug("log k not subtracted", 15,
        "A likelihood above log p(x), by up to log k.", "bounds", sum_for_mean),
    Bug("weights without p(z) / q(z|x)", 9,
        "log p(x) as if codes were free.", "linear VAE", prior_left_out),
    Bug("the arguments of a KL swapped", 12,
        "The 'lower bound' is none.", "eight forms", swapped_arguments),
    Bug("an aggregated posterior that ignores the data", 12,
        "Mutual information and marginal KL do not add up to the KL.", "eight forms",
        unweighted_aggregate),
    Bug("a sum of logarithms, less log k", 15,
        "IWAE_2 below the ELBO.", "eight forms", averaged_tuples),
    Bug("active units counted without beta", 17,
        "The 'intrinsic dimension' does not depend on beta.", "water-filling",
        threshold_without_beta),
)  # fmt: skip
