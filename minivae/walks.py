"""Walks through the space of codes: a line, an arc, one latent alone; and how long codes are.

    z = walks.spherical(z0, z1, walks.times(9))    # (9, K)
    images = walks.decoded(model, z)               # (9, D), means of p(x|z)

A walk is a handful of codes, so it is made of NumPy arrays on the host, whatever device the model
is on.  `codes` and `decoded` go to the device and back, a chunk of rows at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from minivae.arrays import Array, standard_normal, to_numpy, uniform
from minivae.distributions import Gaussian
from minivae.models import VAE
from minivae.models.base import Model

ROWS = 1_000
"""Examples that go through a network at a time: what bounds the memory."""

OPPOSITE = 1e-6
"""Directions whose sum is shorter than this are opposite, as far as float32 can tell."""


# Walks: from two codes, or from one, to several.


def times(steps: int) -> np.ndarray:
    """The times 0, 1 / (steps - 1), ..., 1 of a walk: shape (steps,).

    Raises  ValueError for fewer than 2 steps: a walk has two ends.
    """
    if steps < 2:
        raise ValueError(f"expected at least 2 steps, got {steps}")
    return np.arange(steps) / (steps - 1)


def straight(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The line  z(t) = (1 - t) z0 + t z1.

    In many dimensions two draws of N(0, I) are nearly at right angles and have norms near sqrt(K),
    so the middle of the line has the norm sqrt(K / 2), where almost no code is: the mean of two
    independent draws is N(0, I/2).  With few latents this is no matter.

    Shapes  z0, z1 (K,), t (T,), result (T, K) in the dtype of the codes.
    Ends    z(0) is z0 and z(1) is z1, to the last bit.
    Raises  ValueError for codes that are not finite vectors of one length.
    """
    a, b, dtype = _two_codes(z0, z1)
    t = np.asarray(t, np.float64)[:, None]
    return ((1.0 - t) * a + t * b).astype(dtype)


def spherical(z0: np.ndarray, z1: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The arc  z(t) = sin((1 - t) w) / sin w  z0  +  sin(t w) / sin w  z1,  w the angle between.

    Take two unit vectors u0 and u1.  In their plane  n = (u1 - cos w u0) / sin w  is the unit
    vector at right angles to u0, on the side of u1, and a walk at constant speed is

        u(t) = cos(tw) u0 + sin(tw) n
             = [ cos(tw) - sin(tw) cos w / sin w ] u0  +  sin(tw) / sin w  u1
             = sin(w - tw) / sin w  u0  +  sin(tw) / sin w  u1

    by the sine of a difference.  Codes of unequal norms get the same weights; codes of equal norm
    keep it all the way.  Where the codes point in one direction, w = 0, the weights have a limit,

        sin(tw) / sin w  =  t (1 + (1 - t^2) w^2 / 6 + ...)  ->  t,

    which is the straight line.  Where they point in opposite directions, w = pi, every half circle
    is as good as any other: there is no answer, and we give none.

    Shapes  z0, z1 (K,), t (T,), result (T, K) in the dtype of the codes.
    Ends    z(0) is z0 and z(1) is z1, to the last bit.
    Raises  ValueError for codes that are not finite vectors of one length, for a code of norm 0,
            which has no direction, and for opposite codes.
    Source  Shoemake (1985); White (2016) for codes of generative models.
    """
    a, b, dtype = _two_codes(z0, z1)
    w = angle(a, b)
    if math.pi - w < OPPOSITE:
        raise ValueError("opposite codes have no shortest arc: take the straight line")
    t = np.asarray(t, np.float64)[:, None]
    if w == 0.0:
        return ((1.0 - t) * a + t * b).astype(dtype)
    return (np.sin((1.0 - t) * w) / math.sin(w) * a + np.sin(t * w) / math.sin(w) * b).astype(dtype)


def angle(z0: np.ndarray, z1: np.ndarray) -> float:
    """The angle w between two codes, 0 to pi.

    From the unit vectors u0 and u1, since |u1 - u0| = 2 sin(w/2) and |u1 + u0| = 2 cos(w/2):

        w = 2 atan2(|u1 - u0|, |u1 + u0|)

    exact to rounding everywhere.  The cosine 1 - w^2/2 + ... of a small angle loses half its
    digits, so that arccos(u0 . u1) cannot tell 1e-9 from 0.

    Shapes  z0, z1 (K,).
    Raises  ValueError as in `spherical`, but not for opposite codes.
    """
    a, b, _ = _two_codes(z0, z1)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) == 0.0:
        raise ValueError("a code of norm 0 has no direction, and so no angle")
    u0, u1 = a / lengths[0], b / lengths[1]
    return 2.0 * math.atan2(float(np.linalg.norm(u1 - u0)), float(np.linalg.norm(u1 + u0)))


def traversal(z: np.ndarray, latent: int, values: np.ndarray) -> np.ndarray:
    """One latent takes the ``values`` in turn, the others stay as they are in the code ``z``.

    Shapes  z (K,), values (T,), result (T, K) in the dtype of z.
    Raises  ValueError if there is no such latent; they are counted from 0.
    """
    if not 0 <= latent < len(z):
        raise ValueError(f"expected a latent from 0 to {len(z) - 1}, got {latent}")
    walk = np.repeat(z[None], len(values), axis=0)
    walk[:, latent] = values
    return walk


def quantiles(n: int, limit: float) -> np.ndarray:
    """``n`` values from -limit to limit with equal shares of N(0, 1) between neighbours, (n,).

    With the distribution function F they stand where F is F(-limit), ..., F(limit) in equal steps:
    dense where codes are common.

    Raises  ValueError for fewer than 2 values, or a limit that is not between 0 and 8.
    """
    low = 1.0 - _share(limit)
    half = [NormalDist().inv_cdf(low + (1.0 - 2.0 * low) * t) for t in times(n)[: n // 2]]
    half[0] = -limit  # itself, not the inverse of its rounded probability
    return np.array([*half, *[0.0] * (n % 2), *[-v for v in reversed(half)]])


def even(n: int, limit: float) -> np.ndarray:
    """``n`` values from -limit to limit in equal steps, (n,); raises as `quantiles`."""
    _share(limit)
    return limit * (2.0 * times(n) - 1.0)


# How long codes are.


def chi(K: int) -> tuple[float, float]:
    """Mean and standard deviation of the norm of a draw of N(0, I) in K dimensions.

    The squared norm is the sum of K squared normal numbers, so the norm r has the chi density,
    proportional to  r^(K-1) exp(-r^2 / 2).  With r^2 = 2s its moments are gamma functions,

        E r^m = 2^(m/2) Gamma((K + m)/2) / Gamma(K/2)
        E r = sqrt(2) Gamma((K + 1)/2) / Gamma(K/2),    E r^2 = K,    Var r = K - (E r)^2.

    Stirling's series of the gamma functions makes it  Var r = 1/2 - 1/(8K) - 1/(16K^2) + ...  for
    large K, where K - (E r)^2 would cancel.  So r is near sqrt(K), give or take 0.7, whatever K:
    the draws lie in a thin shell around a ball that is nearly empty.

    Raises  ValueError for K < 1.
    """
    if K < 1:
        raise ValueError(f"expected K of at least 1, got {K}")
    if K > 1000:
        variance = 0.5 - (1.0 / 8.0 + 1.0 / (16.0 * K)) / K
        return math.sqrt(K - variance), math.sqrt(variance)
    mean = math.sqrt(2.0) * math.exp(math.lgamma((K + 1) / 2) - math.lgamma(K / 2))
    return mean, math.sqrt(K - mean * mean)


# Between images and codes.


@dataclass(frozen=True)
class Codes:
    """The codes of N examples.

    Shapes  mu (N, K), logvar (N, K), or None for an autoencoder, whose code is a point.
    """

    mu: np.ndarray
    logvar: np.ndarray | None

    def kl(self) -> np.ndarray:
        """The KL of every latent to N(0, 1), averaged over the examples: (K,) float64, in nats.

        Raises  ValueError for an autoencoder.
        """
        if self.logvar is None:
            raise ValueError("an autoencoder has no distribution over codes, and so no KL")
        terms = Gaussian(self.mu.astype(np.float64), self.logvar.astype(np.float64)).kl_terms()
        return np.asarray(terms.mean(axis=0))

    def order(self) -> np.ndarray:
        """The latents, most used first, (K,): by KL, or by the variance of an autoencoder's codes.

        A latent without KL says nothing about x: q(z|x) is the prior there for every x.
        """
        used = self.mu.var(axis=0, dtype=np.float64) if self.logvar is None else self.kl()
        return np.argsort(-used, kind="stable")


def codes(
    model: Model, x: Array, prepare: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> Codes:
    """The parameters of q(z|x) for all of ``x`` (N, D), or an autoencoder's points.

    Only the codes are kept, in the model's dtype; x may be anything that gives NumPy rows.

    prepare  what to do with each chunk of rows before it is encoded: binarise it, for example.
    Raises   ValueError for data that the model cannot take.
    """
    model.check(x)
    means, logvars = [], []
    for start in range(0, len(x), ROWS):
        batch = prepare(x[start : start + ROWS])
        if not isinstance(model, VAE):
            means.append(to_numpy(model.means(batch)))
            continue
        q = model.encode(batch)
        means.append(to_numpy(q.mu))
        logvars.append(to_numpy(q.logvar))
    return Codes(np.concatenate(means), np.concatenate(logvars) if logvars else None)


def decoded(model: Model, z: np.ndarray, rng: Any = None) -> np.ndarray:
    """The means of p(x|z), or with ``rng`` draws of its pixels, in the model's dtype.

    Shapes  z (..., K), result (..., D).
    rng     of the model's device: see `minivae.arrays.generator`.
    """
    flat, images = z.reshape(-1, z.shape[-1]), []
    for start in range(0, len(flat), ROWS):
        p = model.decode(flat[start : start + ROWS])
        images.append(to_numpy(p.mean if rng is None else pixels(p, rng)))
    return np.concatenate(images).reshape(*z.shape[:-1], -1)


def pixels(p: Any, rng: Any) -> Array:
    """A draw of every pixel from p(x|z): (B, D).  A Gaussian's may leave [0, 1]."""
    mean = p.mean
    noise = standard_normal if isinstance(p, Gaussian) else uniform
    return p.sample(noise(rng, mean.shape, mean))


def alike(z: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Draws of the Gaussian with the mean and the covariance of the codes ``z``.

    For models without a prior: what an autoencoder's decoder has seen.  From the eigenvectors V and
    eigenvalues l of the covariance C = V diag(l) V^T, the draw  mean + V sqrt(l) eps  has the
    covariance C, also where a latent is never used and C is singular.

    Shapes  z (N, K), eps (n, K) of N(0, 1), result (n, K) in the dtype of eps.
    Source  Ghosh and others (2020), who fit a density to the codes of a trained autoencoder.
    """
    centred = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(z))
    scale = np.sqrt(np.maximum(variances, 0.0))  # rounding may leave -1e-17
    return (z.mean(axis=0, dtype=np.float64) + (eps * scale) @ directions.T).astype(eps.dtype)


def _two_codes(z0: np.ndarray, z1: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    """Both in float64, and the dtype that the result is to have."""
    z0, z1 = np.asarray(z0), np.asarray(z1)
    if z0.ndim != 1 or z0.shape != z1.shape:
        raise ValueError(f"expected two codes of shape (K,), got {z0.shape} and {z1.shape}")
    dtype = np.result_type(z0, z1)
    if dtype.kind != "f":
        dtype = np.dtype(np.float64)
    a, b = z0.astype(np.float64), z1.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("expected finite codes, got a nan or an infinity")
    return a, b, dtype


def _share(limit: float) -> float:
    """The probability below ``limit`` under N(0, 1)."""
    if not 0.0 < limit <= 8.0:
        raise ValueError(f"expected a limit between 0 and 8, got {limit}")
    return NormalDist().cdf(limit)
