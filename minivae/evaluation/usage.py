"""Which latents a model uses: the KL of each, and how much its mean moves with the data.

A latent that the decoder does not need costs nothing where q(z_k|x) = p(z_k) for every x, and
training takes it there: its KL falls to 0 and its mean stops moving.  It is then noise that the
decoder has learned not to hear.  Two rules call a latent active:

    Var_x E[z_k|x] > 0.01      its mean moves with x (Burda, Grosse and Salakhutdinov 2015)
    E_x KL_k > 0.01 nats       x costs something to say through it

A latent whose mean moves has a KL, for KL_k >= mu_k^2 / 2, so a mean about 0 with variance v costs
at least v / 2 nats.  The converse is false: a latent whose mean stands still at 3, or whose
variance differs from 1 alike for all x, costs nats and says nothing.  That part of the KL is no
information: `minivae.evaluation.surgery` tells the two apart.

How many latents are active depends on the model, its variance sigma^2 and its KL weight, not on the
data alone: it is no measure of their intrinsic dimension.
"""

import math
from typing import NamedTuple

import numpy as np

from minivae.arrays import like, to_numpy
from minivae.distributions import Gaussian
from minivae.models.vae import VAE

CHUNK = 1_000
"""Examples that are encoded at a time: what bounds the memory of the networks."""


class Usage(NamedTuple):
    """What each of K latents does with N examples, float64.

    kl        (K,)  mean over the data of KL( q(z_k|x) || p(z_k) ), nats per example
    kl_error  (K,)  its standard error over the examples; nan for one example
    variance  (K,)  variance over the data of the posterior mean, 1/N sum (mu_nk - mean)^2; the
                    prior's unit is 1
    """

    kl: np.ndarray
    kl_error: np.ndarray
    variance: np.ndarray

    def active(self, variance: float = 0.01) -> np.ndarray:
        """Whether each latent's mean moves, (K,) bool: the rule of Burda and others (2015)."""
        return self.variance > variance

    def active_by_kl(self, kl: float = 0.01) -> np.ndarray:
        """Whether each latent costs more than ``kl`` nats per example, (K,) bool."""
        return self.kl > kl


def latent_usage(model: VAE, x: np.ndarray, chunk: int = CHUNK) -> Usage:
    """The use that ``model`` makes of each latent on the examples ``x``.

    x       (N, D), in the form the model was trained on.
    chunk   examples that are encoded at a time; the result does not depend on it.
    Raises  TypeError for a model without q(z|x); ValueError, one line, for data that the model
            cannot take, or a chunk below 1.
    """
    q = posteriors(model, x, chunk)
    mu, kl, N = to_numpy(q.mu), to_numpy(q.kl_terms()), len(x)
    error = kl.std(axis=0, ddof=1) / math.sqrt(N) if N > 1 else np.full(kl.shape[1], math.nan)
    return Usage(kl.mean(axis=0), error, mu.var(axis=0))


def posteriors(model: VAE, x: np.ndarray, chunk: int = CHUNK) -> Gaussian:
    """q(z|x_n) of all N examples, mu and logvar (N, K): float64, on the model's device.

    Computed in float64 whatever the dtype of the model, with the very numbers of its parameters.
    Arguments and errors as in `latent_usage`.
    """
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    if chunk < 1:
        raise ValueError(f"expected a chunk of at least 1, got {chunk}")
    model.check(x)
    twin, parts = model.twin("float64"), []
    for start in range(0, len(x), chunk):
        q = twin.encode(x[start : start + chunk])
        parts.append((to_numpy(q.mu), to_numpy(q.logvar)))
    mu, logvar = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Gaussian(like(mu, twin.parameters.theta), like(logvar, twin.parameters.theta))
