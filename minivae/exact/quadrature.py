"""log p(x) by integrating over z: with one or two latents the integral can simply be done.

    p(x) = integral p(x|z) p(z) dz

`lattice` does it, for any integrand and to a stated error.  Here the integrand is a model's, and
what comes with log p(x) is everything that a bound hides: the true posterior, how far q(z|x) is
from it, and the ELBO without sampling noise.

The networks are smooth in z with the activations tanh, sigmoid, softplus and GELU, and the integral
is exact to rounding at little cost.  With ReLUs it is not: see `lattice`.
"""

from dataclasses import dataclass, replace

import numpy as np

from minivae.arrays import like, to_numpy
from minivae.distributions import Gaussian
from minivae.exact.full_gaussian import FullGaussian
from minivae.exact.lattice import (
    MAX_POINTS,
    ROUNDING,
    WIDTH,
    Cells,
    LogDensity,
    Quadrature,
    log_integral,
    refine,
)
from minivae.models.vae import VAE
from minivae.numerics import LOG_2PI
from minivae.objectives import unfold

ROWS = 4_000
"""Decoder rows at a time: what bounds the memory of the networks."""

Q_CELLS = 12
"""Cells per axis of the first lattice under q(z|x), over `WIDTH` standard deviations each way."""


@dataclass(frozen=True)
class ExactBound:
    """The ELBO without sampling noise, and what it misses, for every one of N examples, in nats.

    evidence        `Quadrature`   log p(x) and the true posterior's moments
    elbo            (N,)           E_q log p(x|z) - KL( q(z|x) || p(z) )
    reconstruction  (N,)           E_q log p(x|z)
    kl              (N,)           KL( q(z|x) || p(z|x) ), to the true posterior
    error           (N,)           stated error of each of the three
    """

    evidence: Quadrature
    elbo: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    error: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """log p(x) - ELBO, (N,): by form 2 of the ELBO it is ``kl``, which is computed apart."""
        return self.evidence.log_evidence - self.elbo


def exact_evidence(
    model: VAE, x: np.ndarray, tolerance: float = 1e-4, max_points: int = MAX_POINTS
) -> Quadrature:
    """log p(x) of every example, and the mean and covariance of the true posterior p(z|x).

    Computed in float64 whatever the dtype of the model, with the very numbers of its parameters.

    x           (N, D)
    tolerance   nats: what the stated error is to be.
    max_points  decoder rows of the finest lattice of an example.  With ReLUs and a small tolerance
                they run out, and ``error`` is larger than ``tolerance``.
    Raises      TypeError for a model without p(z); ValueError for more than two latents, data that
                the model cannot take, a tolerance that is not positive, or too few points.
    Source      Trefethen and Weideman (2014).
    """
    model, x = _prepared(model, x)
    log_px = _log_likelihood(model, x)

    def log_joint(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return log_px(z, rows) + _log_standard_normal(z)[:, None]

    K = model.architecture.latent
    return log_integral(log_joint, len(x), K, _smooth(model), tolerance, max_points)


def exact_bound(
    model: VAE,
    x: np.ndarray,
    tolerance: float = 1e-4,
    max_points: int = MAX_POINTS,
    q: Gaussian | FullGaussian | None = None,
) -> ExactBound:
    """The ELBO with its expectation integrated, and KL( q(z|x) || p(z|x) ), beside log p(x).

    One lattice carries p(x, z) and gives log p(x).  Another carries q(z|x), in the coordinates
    z = mu + L eps, L L^T the covariance of q, and gives

        E_q log p(x|z)   and   KL( q(z|x) || p(z|x) ) = E_q [ log q(z|x) - log p(x, z) ] + log p(x)

    The ELBO takes its KL to the prior from the closed form, the KL to the posterior takes none.

    q  any Gaussian for each example, mu (N, K); the encoder's q(z|x) by default.
    The other arguments, and the errors, as in `exact_evidence`.
    """
    model, x = _prepared(model, x)
    evidence = exact_evidence(model, x, tolerance, max_points)
    q, log_px = _on_host(model.encode(x) if q is None else q), _log_likelihood(model, x)
    if q.mu.shape != (len(x), model.architecture.latent):
        wanted = (len(x), model.architecture.latent)
        raise ValueError(f"expected a q with mu of shape {wanted}, got {q.mu.shape}")
    mu, L = q.mu, np.broadcast_to(q.factor, (*q.mu.shape, q.mu.shape[1]))
    tiling = Cells.tiling(Q_CELLS, mu.shape[1], WIDTH)
    cells = replace(tiling, log_f=_log_standard_normal(tiling.z))
    averages, errors = [], []
    for row in range(len(x)):

        def values(eps: np.ndarray, row: int = row) -> np.ndarray:
            z = mu[row] + eps @ L[row].T
            log_p = log_px(z, np.array([row]))[:, 0]
            log_q = _log_standard_normal(eps) - np.log(np.diagonal(L[row])).sum()
            return np.stack([log_p, log_q - (log_p + _log_standard_normal(z))], axis=1)

        found = refine(_log_standard_normal, cells, tolerance, max_points, _smooth(model), values)
        averages.append(found.averages)
        errors.append(found.errors.max())
    reconstruction, log_ratio = np.array(averages).T
    return ExactBound(
        evidence,
        reconstruction - q.kl(),
        reconstruction,
        log_ratio + evidence.log_evidence,
        np.array(errors) + ROUNDING * (1.0 + np.abs(reconstruction)) + evidence.error,
    )


def _prepared(model: VAE, x: np.ndarray) -> tuple[VAE, np.ndarray]:
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no p(z)")
    model.warn_if_grey(model.check(x))
    return model.twin("float64"), x.astype(np.float64)


def _on_host(q: Gaussian | FullGaussian) -> FullGaussian:
    """q as NumPy arrays in float64, and with a matrix for its covariance."""
    spread = q.covariance if isinstance(q, FullGaussian) else q.logvar
    mu, spread = (to_numpy(a).astype(np.float64) for a in (q.mu, spread))
    return FullGaussian.of(type(q)(mu, spread))


def _smooth(model: VAE) -> bool:
    return model.architecture.activation != "relu" or not model.architecture.hidden


def _log_likelihood(model: VAE, x: np.ndarray) -> LogDensity:
    """log p(x|z), the decoder on the model's device, `ROWS` rows of pixels at a time."""

    def log_px(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        batch = model.array(x[rows])
        step = max(1, ROWS // len(rows))
        parts = []
        for start in range(0, len(z), step):
            part = like(z[start : start + step], batch)
            params, _ = model.decoder.forward(part)
            p = model.likelihood(*[unfold(v, part.shape[0]) for v in params])  # (S, 1, D)
            parts.append(to_numpy(p.log_prob(batch)))
        return np.concatenate(parts)

    return log_px


def _log_standard_normal(z: np.ndarray) -> np.ndarray:
    return -0.5 * np.sum(LOG_2PI + z * z, axis=-1)
