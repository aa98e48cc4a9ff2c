"""The KL of the ELBO taken apart: what the code says about x, and what the prior misses.

The mean KL over N examples is no measure of information.  With the aggregated posterior
q(z) = 1/N sum_n q(z|x_n), add and subtract log q(z) under the expectation:

    1/N sum_n KL( q(z|x_n) || p(z) )
      =  1/N sum_n E_q(z|x_n) [ log q(z|x_n) - log q(z)  +  log q(z) - log p(z) ]
      =  I(x; z)  +  KL( q(z) || p(z) )

I is the mutual information of the example and its code, if an example is picked at random and
encoded.  The second term has no x: it is the distance of all codes together from the prior, which
samples of the prior suffer from.  Both are at least 0, so the KL bounds the information from above.

And I <= ln N, draw by draw: q(z) holds q(z|x_n) / N, so log q(z|x_n) - log q(z) <= ln N.  A
code that tells all N examples apart has reached it, and what more KL it pays buys nothing.  So
where I is near ln N it says how many examples there were, not how much the code could hold.

The mixture is the whole data set, always.  That of a minibatch of M examples is another density:
what comes out is at most ln M, and averaging over many minibatches does not mend it.

Source  Hoffman and Johnson (2016).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Array, namespace, standard_normal, to_numpy
from minivae.distributions import Gaussian
from minivae.evaluation.likelihood import Estimate
from minivae.evaluation.usage import CHUNK, posteriors
from minivae.exact.lattice import MAX_POINTS, ROUNDING, check, first_lattices, refine
from minivae.models.vae import VAE
from minivae.numerics import LOG_2PI, logsumexp

PAIRS = 2**17
"""Pairs of a draw and an example at a time: what bounds the memory, and fits in a CPU's cache."""


class Surgery(NamedTuple):
    """KL = mutual information + marginal KL, in nats per example; no number is ever clipped.

    kl                  E_x KL( q(z|x) || p(z) ), in closed form
    mutual_information  I(x; z), estimated by draws; its mean is at most ln N
    marginal_kl         KL( q(z) || p(z) ) = kl - mutual_information, example by example
    noise               the standard error of the last two means over the draws alone; nan for one
                        draw for each example
    n_examples          N, all of which make up q(z)
    n_samples           S, draws for each example

    The standard error of an `Estimate` is over the examples, as always: with another data set of
    this size the means would differ by as much.  (An example also changes q(z), but the first
    order of that change is zero: I is stationary in q(z).)  It holds the noise of the draws as
    well.  ``noise`` says how well the numbers of this very data set are known.

    A number that is 0 may come out a little negative.  Clipping it would make a bias out of noise.
    """

    kl: Estimate
    mutual_information: Estimate
    marginal_kl: Estimate
    noise: float
    n_examples: int
    n_samples: int

    @property
    def limit(self) -> float:
        """ln N, in nats: no code of N examples has more mutual information."""
        return math.log(self.n_examples)


def surgery(model: VAE, x: np.ndarray, rng: Any, samples: int = 1, chunk: int = CHUNK) -> Surgery:
    """Take the KL of ``model`` on the examples ``x`` apart, with draws z ~ q(z|x_n).

    The marginal KL could be averaged from log q(z) - log p(z) as well.  The difference from the
    closed-form KL has the same mean, usually less noise, and makes the three numbers add up.

    x        (N, D), in the form the model was trained on; all of it is the mixture q(z).
    rng      draws S * N * K standard normal numbers.
    samples  S, at least 1, for each example.
    chunk    examples that are encoded at a time; the result does not depend on it.
    Cost     S N^2 K differences and S N^2 exponentials, in float64, `PAIRS` at a time.
    Raises   TypeError for a model without q(z|x); ValueError, one line, for data that the model
             cannot take, or samples or a chunk below 1.
    Source   Hoffman and Johnson (2016).
    """
    if samples < 1:
        raise ValueError(f"expected samples of at least 1, got {samples}")
    q = posteriors(model, x, chunk)
    ratios = np.stack([_log_ratios(q, rng) for _ in range(samples)])  # (S, N)
    kl, information = to_numpy(q.kl()), ratios.mean(axis=0)
    N, noise = len(kl), math.nan
    if samples > 1:
        noise = math.sqrt(float(ratios.var(axis=0, ddof=1).sum()) / samples) / N
    total, shared, rest = (Estimate.of(v) for v in (kl, information, kl - information))
    return Surgery(total, shared, rest, noise, N, samples)


class ExactSurgery(NamedTuple):
    """The three numbers of `Surgery` by integration, in nats per example, and their stated error.

    mutual_information and marginal_kl are two different integrals, neither taken from the other, so
    that their sum can be held against kl, which is in closed form.
    """

    kl: float
    mutual_information: float
    marginal_kl: float
    error: float


def exact_surgery(
    model: VAE, x: np.ndarray, tolerance: float = 1e-6, chunk: int = CHUNK
) -> ExactSurgery:
    """The surgery for one or two latents without draws, by integrating over z on a lattice.

        I(x; z)           =  H(q(z)) - 1/N sum_n H(q(z|x_n)),    H(q) = -integral q log q
        KL(q(z) || p(z))  =  integral q(z) [ log q(z) - log p(z) ] dz

    The entropy of a Gaussian is K/2 (1 + log 2 pi) + 1/2 sum_k log sigma_k^2.

    x, chunk   as in `surgery`.
    tolerance  nats: what the stated error is to be; see `minivae.exact.lattice`.
    Raises     as `surgery`; and ValueError for more than two latents, or if q(z) does not integrate
               to 1 within the stated error: then the posteriors are too narrow for the lattice,
               which has stepped over some of them.
    """
    q = posteriors(model, x, chunk)
    mu, logvar = to_numpy(q.mu), to_numpy(q.logvar)
    host, K = Gaussian(mu, logvar), mu.shape[1]
    check(K, tolerance, MAX_POINTS)

    def log_q(z: np.ndarray) -> np.ndarray:
        parts = [log_mixture(z[rows], host) for rows in blocks(len(z), PAIRS // len(mu))]
        return np.concatenate(parts)

    def values(z: np.ndarray) -> np.ndarray:
        log_qz = log_q(z)
        log_pz = -0.5 * np.sum(LOG_2PI + z * z, axis=1)
        return np.stack([-log_qz, log_qz - log_pz], axis=1)

    def column(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return log_q(z)[:, None]

    ((_, cells, second),) = first_lattices(column, np.array([0]), K, tolerance)
    found = refine(log_q, cells, tolerance, MAX_POINTS, True, values, second)
    error = float(found.errors.max()) + ROUNDING * (1.0 + float(np.abs(found.averages).max()))
    if abs(found.log_total) > max(found.error, tolerance):
        raise ValueError(
            f"expected q(z) to integrate to 1, got {math.exp(found.log_total):.6g}: the posteriors "
            "are too narrow for the lattice; estimate with `surgery`"
        )
    conditional = 0.5 * K * (1.0 + LOG_2PI) + 0.5 * float(logvar.sum(axis=1).mean())
    entropy, marginal = found.averages.tolist()
    return ExactSurgery(float(host.kl().mean()), entropy - conditional, marginal, error)


def _log_ratios(q: Gaussian, rng: Any) -> np.ndarray:
    """log q(z_n|x_n) - log q(z_n) at one draw z_n ~ q(z|x_n) for each n, (N,)."""
    z = q.sample(standard_normal(rng, q.mu.shape, q.mu))
    N = z.shape[0]
    own = log_density(z, q)
    return np.concatenate(
        [to_numpy(own[rows] - log_mixture(z[rows, :], q)) for rows in blocks(N, PAIRS // N)]
    )


def log_mixture(z: Array, q: Gaussian) -> Array:
    """log q(z) = log 1/N sum_n q(z|x_n) at places z (B, K), for q of N examples: (B,)."""
    xp, N = namespace(z), q.mu.shape[0]
    apart = Gaussian(xp.expand_dims(q.mu, axis=0), xp.expand_dims(q.logvar, axis=0))
    return logsumexp(log_density(xp.expand_dims(z, axis=1), apart), axis=1) - math.log(N)


def log_density(z: Array, q: Gaussian) -> Array:
    """log q(z|x), one latent after another: no array is larger than the result.

    Every pair goes through the same operations, however many there are, so that the density of a
    draw's own example is the same number here and in the mixture, and the ratio keeps to ln N.

    Shapes  z and q's mu, logvar broadcast to (..., K); the result is (...).
    """
    xp = namespace(z)
    narrow = xp.exp(-0.5 * q.logvar)
    total = 0.0
    for k in range(z.shape[-1]):
        u = (z[..., k] - q.mu[..., k]) * narrow[..., k]
        total = total + (u * u + q.logvar[..., k])
    return -0.5 * (total + z.shape[-1] * LOG_2PI)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` rows, and at least one, that cover n rows in order."""
    size = max(1, size)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
