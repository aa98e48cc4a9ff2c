"""The Gaussian with a full covariance: what an exact posterior is, and a diagonal q only imitates.

Everything follows from the Cholesky factor L of the covariance, S = L L^T, because L^-1 turns the
Gaussian into the standard normal one: a distance becomes a length, and the determinant of S is the
square of the product of L's diagonal.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Optional, Union

import numpy as np

from minivae.arrays import Array, namespace
from minivae.distributions import Gaussian
from minivae.numerics import LOG_2PI


@dataclass(frozen=True, eq=False)
class FullGaussian:
    """N(mu, S) with any covariance S; `minivae.distributions.Gaussian` is the diagonal one.

    Shapes  mu (..., K); covariance (K, K), the same for all examples, or (..., K, K).
    Unit    log_prob and kl: nats per example, all constants included.
    Raises  ValueError if the shapes do not fit, or the covariance is not positive definite.
    """

    mu: Array
    covariance: Array

    def __post_init__(self) -> None:
        K = self.mu.shape[-1]
        if self.covariance.shape[-2:] != (K, K):
            got = self.covariance.shape
            raise ValueError(f"expected a covariance of shape (..., {K}, {K}), got {got}")
        _ = self.factor

    @classmethod
    def of(cls, q: Union[Gaussian, "FullGaussian"]) -> "FullGaussian":
        """``q`` itself, or a diagonal Gaussian with its variances written into a matrix."""
        if isinstance(q, FullGaussian):
            return q
        xp, K = namespace(q.mu), q.mu.shape[-1]
        variance = xp.exp(q.logvar) * xp.ones(K)  # also from a logvar of shape (1,)
        return cls(q.mu, variance[..., None] * xp.eye(K))

    @cached_property
    def factor(self) -> Array:
        """L, the lower triangle with L L^T = S and a positive diagonal: (..., K, K)."""
        try:
            return namespace(self.mu).linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            raise ValueError("expected a positive definite covariance") from None

    @cached_property
    def whitener(self) -> Array:
        """L^-1: if v ~ N(mu, S) then L^-1 (v - mu) ~ N(0, I)."""
        return namespace(self.mu).linalg.inv(self.factor)

    @property
    def mean(self) -> Array:
        """E[v] = mu."""
        return self.mu

    @property
    def log_det(self) -> Array:
        """log det S = 2 sum_k log L_kk: (...)."""
        xp = namespace(self.mu)
        diagonal = xp.diagonal(self.factor, axis1=-2, axis2=-1)
        return 2.0 * xp.sum(xp.log(diagonal), axis=-1)

    def distance(self, v: Array) -> Array:
        """(v - mu)^T S^-1 (v - mu) = |L^-1 (v - mu)|^2, Mahalanobis' squared distance: (...)."""
        white = (self.whitener @ (v - self.mu)[..., None])[..., 0]
        return namespace(v).sum(white * white, axis=-1)

    def log_prob(self, v: Array) -> Array:
        """log N(v; mu, S) = -1/2 [ K log 2 pi + log det S + (v - mu)^T S^-1 (v - mu) ].

        Shapes  v (..., K), result (...).
        """
        return -0.5 * (self.mu.shape[-1] * LOG_2PI + self.log_det + self.distance(v))

    def sample(self, eps: Array) -> Array:
        """z = mu + L eps: its covariance is L E[eps eps^T] L^T = L L^T = S.

        Shapes  eps and z (..., K).
        """
        return self.mu + (self.factor @ eps[..., None])[..., 0]

    def kl(self, p: Optional["FullGaussian"] = None) -> Array:
        """KL(q || p) from self = q to p, the standard normal by default.

        The expectation under q of log q - log p.  Under q, E (v - mu)^T S^-1 (v - mu) = K, and
        E (v - mu_p)^T S_p^-1 (v - mu_p) = tr(S_p^-1 S) + the same at v = mu, so

            KL = 1/2 [ log det S_p - log det S - K
                       + tr(S_p^-1 S) + (mu - mu_p)^T S_p^-1 (mu - mu_p) ].

        The trace is a sum of squares: with S = L L^T and S_p = L_p L_p^T it is |L_p^-1 L|^2.

        Shapes  result (...), as mu without its last axis.
        """
        xp, K = namespace(self.mu), self.mu.shape[-1]
        if p is None:
            p = FullGaussian(xp.zeros(K), xp.eye(K))
        relative = p.whitener @ self.factor
        trace = xp.sum(relative * relative, axis=(-2, -1))
        return 0.5 * (p.log_det - self.log_det - K + trace + p.distance(self.mu))
