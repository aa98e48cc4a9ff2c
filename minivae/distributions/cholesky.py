"""The Gaussian with a full covariance as a q that can be climbed: its factor is the parameter."""

from dataclasses import dataclass
from typing import Union

import numpy as np

from minivae.arrays import Array, dtype_name, like, namespace
from minivae.distributions.gaussian import Gaussian
from minivae.numerics import LOG_2PI


@dataclass(frozen=True)
class CholeskyGaussian:
    """N(mu, L L^T) with the lower triangle L_ij = sigma_i (1[i = j] + U_ij), U strictly lower.

    A covariance must be positive definite, and L L^T is, for every U and every sigma > 0.  So mu,
    logvar = log sigma^2 and U are free numbers, and gradient steps need no constraint.  L is the
    Cholesky factor: its diagonal is sigma.  U_ij has no unit, whatever the scale of z.

    Read row by row it says how z_i depends on the latents before it:

        z_i = mu_i + sigma_i ( eps_i + sum_{j<i} U_ij eps_j )

    so sigma_i^2 is the variance of z_i when z_1 .. z_{i-1} are known, and sigma_i^2 n_i with
    n_i = 1 + sum_j U_ij^2 when they are not.  With U = 0 it is `Gaussian(mu, logvar)`.  It has what
    a bound asks of a q; `minivae.exact.FullGaussian` starts from the covariance instead.

    Shapes  mu and logvar (B, K); lower (B, K, K), of which only the part below the diagonal counts.
    Unit    log_prob, kl and entropy: nats per example, all constants included.
    """

    mu: Array
    logvar: Array
    lower: Array

    @classmethod
    def of(cls, q: Union[Gaussian, "CholeskyGaussian"]) -> "CholeskyGaussian":
        """``q`` itself, or the diagonal Gaussian q (B, K) with U = 0."""
        if isinstance(q, CholeskyGaussian):
            return q
        zero = 0.0 * q.mu
        return cls(q.mu, q.logvar + zero, zero[..., :, None] * zero[..., None, :])

    @property
    def factor(self) -> Array:
        """L, (B, K, K)."""
        one = like(np.eye(self.mu.shape[-1], dtype=dtype_name(self.mu)), self.mu)
        return self._sigma[..., None] * (one + self._U)

    @property
    def covariance(self) -> Array:
        """L L^T, (B, K, K)."""
        L = self.factor
        return namespace(L).sum(L[..., :, None, :] * L[..., None, :, :], axis=-1)

    @property
    def mean(self) -> Array:
        """E[v] = mu."""
        return self.mu

    def sample(self, eps: Array) -> Array:
        """z = mu + L eps: its covariance is L E[eps eps^T] L^T = L L^T.

        Shapes  eps and z (B, K), or (S, B, K) for S samples.
        """
        return self.mu + self._sigma * (eps + self._below(eps))

    def log_prob(self, v: Array) -> Array:
        """log N(v; mu, L L^T) = -1/2 [ K log 2 pi + sum_i log sigma_i^2 + |e|^2 ].

        e is the noise that v was made of, L e = v - mu, and log det L L^T = 2 sum_i log sigma_i.

        Shapes  v (B, K) or (S, B, K), result without the last axis.
        """
        xp = namespace(v)
        e = xp.linalg.solve(self.factor, (v - self.mu)[..., None])[..., 0]
        return -0.5 * xp.sum(LOG_2PI + self.logvar + e * e, axis=-1)

    def grad_value(self, v: Array) -> Array:
        """d log q / d v = -(L L^T)^-1 (v - mu): the force that pulls v to the mean.

        Shapes  v and result (B, K) or (S, B, K).
        """
        xp = namespace(v)
        return xp.linalg.solve(self.covariance, (self.mu - v)[..., None])[..., 0]

    def entropy(self) -> Array:
        """H = -E log q = 1/2 sum_i ( log 2 pi + 1 + log sigma_i^2 ), (B,).

        From `log_prob` and E |e|^2 = K.  U does not enter: it shears, and keeps volumes.
        """
        return 0.5 * namespace(self.mu).sum(LOG_2PI + 1.0 + self.logvar, axis=-1)

    def kl(self) -> Array:
        """KL( q || N(0, I) ), (B,).

        -H and E 1/2 [ K log 2 pi + |z|^2 ] with E |z|^2 = |mu|^2 + tr L L^T, and the trace is the
        sum of the squares of L, sum_i sigma_i^2 n_i:

            KL = 1/2 sum_i [ mu_i^2 + sigma_i^2 n_i - log sigma_i^2 - 1 ]
        """
        xp = namespace(self.mu)
        n_less_1 = xp.sum(self._U * self._U, axis=-1)
        spread = xp.expm1(self.logvar) + xp.exp(self.logvar) * n_less_1  # sigma^2 n - 1
        return 0.5 * xp.sum(self.mu * self.mu + (spread - self.logvar), axis=-1)

    def kl_grad(self) -> tuple[Array, Array, Array]:
        """(d KL / d mu, d KL / d logvar, d KL / d lower), from the line above:

            d/dmu_i      = mu_i
            d/dlogvar_i  = 1/2 ( sigma_i^2 n_i - 1 )
            d/dU_ij      = sigma_i^2 U_ij

        Shapes  as mu, logvar and lower.
        """
        xp = namespace(self.mu)
        variance, U = xp.exp(self.logvar), self._U
        spread = xp.expm1(self.logvar) + variance * xp.sum(U * U, axis=-1)
        return self.mu, 0.5 * spread, variance[..., None] * U

    def pathwise_grad(self, dz: Array, eps: Array) -> tuple[Array, Array, Array]:
        """(dmu, dlogvar, dlower) from dz: the gradient that comes through the sample.

        From z_i = mu_i + sigma_i ( eps_i + sum_{j<i} U_ij eps_j ), summed over the samples:

            dmu_i     = dz_i
            dlogvar_i = 1/2 dz_i (z_i - mu_i)        as d sigma / d logvar = sigma / 2
            dU_ij     = sigma_i dz_i eps_j           for j < i, and 0 elsewhere

        Shapes  dz and eps (S, B, K); results as mu, logvar and lower.
        """
        xp, sigma = namespace(dz), self._sigma
        dlogvar = 0.5 * xp.sum(dz * sigma * (eps + self._below(eps)), axis=0)
        # sum_s of the outer products, as one product of matrices for each example
        dU = xp.moveaxis(sigma * dz, 0, -1) @ xp.moveaxis(eps, 0, -2)
        return xp.sum(dz, axis=0), dlogvar, xp.tril(dU, k=-1)

    @property
    def _sigma(self) -> Array:
        return namespace(self.logvar).exp(0.5 * self.logvar)

    @property
    def _U(self) -> Array:
        return namespace(self.lower).tril(self.lower, k=-1)

    def _below(self, eps: Array) -> Array:
        """sum_{j<i} U_ij eps_j, of the shape of eps."""
        return (self._U @ eps[..., None])[..., 0]
