"""Bugs in evaluation and in the exact worlds: a bound that is none."""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import exact
from minivae.evaluation import bounds, likelihood
from minivae.exact import forms, linear_vae, water_filling
from minivae.exact.discrete import DiscreteWorld
from minivae.numerics import log_mean_exp, logsumexp
from minivae.verify.bugs.planting import Bug, after, both, replaced

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


def half_of_the_draws() -> Plant:
    """Every second draw is used, and used twice."""
    right = likelihood.log_weights
    return replaced(
        likelihood,
        "log_weights",
        lambda model, x, q, eps: right(model, x, q, np.repeat(eps[::2], 2, axis=0)[: len(eps)]),
    )


def at_most_128_draws() -> Plant:
    """The first 128 draws, over and over."""
    right = likelihood.log_weights
    return replaced(
        likelihood,
        "log_weights",
        lambda model, x, q, eps: right(model, x, q, eps[np.arange(len(eps)) % 128]),
    )


def wrong_sign() -> Plant:
    """-log mean 1/w: below the mean of log w, so a bound that is worse than the ELBO."""
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
    """IWAE_k as the sum of k logarithms, less log k."""
    right = forms.iwae
    return replaced(forms, "iwae", lambda world, k=1: k * right(world, 1) - math.log(k))


def curve_in_bits() -> Plant:
    """Rates divided by log 2, in a curve that says nats."""

    def change(point: Any, *_: Any) -> Any:
        log2 = math.log(2.0)
        return point._replace(rate=point.rate / log2, rates=point.rates / log2)

    return both(
        after(water_filling, "reverse_water_filling", change),
        after(exact, "reverse_water_filling", change),
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
    Bug("every second draw, twice", 9,
        "k is half of the k that was asked for.", "bounds", half_of_the_draws),
    Bug("at most 128 draws", 9,
        "From k = 128 on nothing changes.", "bounds", at_most_128_draws),
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
    Bug("Shannon's curve in bits", 24,
        "A model seems to lie above the curve by 44 per cent.", "water-filling", curve_in_bits),
    Bug("active units counted without beta", 17,
        "The 'intrinsic dimension' does not depend on beta.", "water-filling",
        threshold_without_beta),
)  # fmt: skip
