"""What sampling only estimates, by quadrature: bounds of a model with one latent, and of k draws.

The bounds here come from the values of densities on a grid of codes.  No code is sampled or
reparameterized, and no `backward` is asked.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minivae.models import VAE

HERMITE = 24
"""Nodes of a rule that takes polynomials up to degree 47 without error."""

LogLikelihood = Callable[[Any], Any]
"""log p(x|z) for codes z (n, 1) of one example: (n,)."""


def noise(K: int = 1, draws: int = 1, n: int = HERMITE) -> tuple[np.ndarray, np.ndarray]:
    """Nodes eps (draws, n^(K draws), K) and their weights: E f(eps) = weights @ f(nodes).

    Every node is one of N estimates that use ``draws`` codes, as estimators and objectives take it.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    axes = np.meshgrid(*[nodes] * (K * draws), indexing="ij")
    shares = np.meshgrid(*[weights / weights.sum()] * (K * draws), indexing="ij")
    eps = np.stack([a.ravel() for a in axes], axis=-1).reshape(-1, draws, K)
    return eps.transpose(1, 0, 2), np.prod([s.ravel() for s in shares], axis=0)


def normal(v: Any, mu: Any = 0.0, logvar: Any = 0.0) -> Any:
    """log N(v; mu, e^logvar), written from its definition, for complex parameters too."""
    return -0.5 * (math.log(2.0 * math.pi) + logvar + (v - mu) ** 2 * np.exp(-logvar))


def two_draws(log_p: LogLikelihood, mu: Any, logvar: Any) -> Any:
    """IWAE_2 of one example,  integral integral q(z) q(z') log (w(z) + w(z')) / 2  dz dz'.

    The codes stand still on a grid around the real parts of mu and logvar (numbers), and q moves
    over them: the gradient by a complex step has nothing of the reparameterization in it.
    """
    t = np.linspace(-8.0, 8.0, 81)
    sigma = math.exp(0.5 * np.real(logvar))
    z = np.real(mu) + sigma * t
    log_q = normal(z, mu, logvar)
    q = np.exp(log_q) * (sigma * (t[1] - t[0]))
    log_w = log_p(z[:, None]) + normal(z) - log_q
    top = np.maximum.outer(log_w.real, log_w.real)
    mean = 0.5 * (np.exp(log_w[:, None] - top) + np.exp(log_w[None, :] - top))
    return q @ (top + np.log(mean)) @ q


def iwae(
    model: VAE, x: np.ndarray, log_p: np.ndarray, sizes: Sequence[int]
) -> dict[int, np.ndarray]:
    """IWAE_k of every example for k = 1, 2, 4, ...: an expectation over k draws, by one integral.

    For a positive random number a, Frullani's integral gives

        E log a = integral_0^inf [ e^-t - E e^(-t a) ] dt / t

    and the mean of k independent weights has  E e^(-t a) = [ E e^(-t w / k) ]^k,  an integral over
    one code.  With t = e^s the trapezoid rule converges faster than any power; its step is a share
    of log 2, so that t / k is a node, too.

    model   with one latent.
    x       (B, D), log_p (B,) their log p(x), by which the weights are divided.
    sizes   powers of 2.
    """
    t, per_octave = np.linspace(-9.0, 9.0, 361), 8
    h = math.log(2.0) / per_octave
    s = np.arange(-440, 700) * h
    share = np.exp(normal(t)) * (t[1] - t[0])
    q, found = model.encode(x), {k: np.empty(len(x)) for k in sizes}
    for b in range(len(x)):
        mu, logvar = q.mu[b, 0], q.logvar[b, 0]
        z = mu + math.exp(0.5 * logvar) * t
        log_w = model.decode(z[:, None]).log_prob(x[b]) + normal(z) - normal(z, mu, logvar)
        laplace = np.exp(-np.exp(s[:, None] + log_w - log_p[b])) @ share
        for k in sizes:
            shift = per_octave * (k.bit_length() - 1)
            of_mean = np.concatenate([np.ones(shift), laplace[: len(s) - shift]]) ** k
            found[k][b] = log_p[b] + h * (np.exp(-np.exp(s)) - of_mean).sum()
    return found
