"""The linear-Gaussian world: the one continuous VAE in which nothing has to be estimated.

    z ~ N(0, I),    x | z ~ N(z W + b, sigma^2 I)        z (K,), W (K, D), x and b (D,)

is a VAE whose decoder is a single affine map.  A sum of Gaussians is Gaussian, so that

    x ~ N(b, C),    C = W^T W + sigma^2 I                (D, D)

and log p(x), the posterior p(z|x), the ELBO of any Gaussian q and the gap between the two are
formulas.  What a VAE of minivae computes on this world can be held against them.

Rows are examples here as everywhere: our W is the transpose of the one in the literature, where
x = W z + b.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from minivae.arrays import Array, dtype_name, namespace, standard_normal
from minivae.distributions import Gaussian
from minivae.exact.full_gaussian import FullGaussian
from minivae.numerics import LOG_2PI


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """z ~ N(0, I), x | z ~ N(z W + b, variance I), with everything about it in closed form.

    Only K x K matrices are ever solved.  The one that matters is

        M = W W^T + sigma^2 I            (K, K)

    *Its place in the posterior.*  As a function of z, with r = x - b,

        log p(x, z) = -1/2 [ |r - z W|^2 / sigma^2 + |z|^2 ] + constants
                    = -1/2 [ z M z^T - 2 z W r^T ] / sigma^2 + ...

    is quadratic, so the posterior is Gaussian: its precision is M / sigma^2, and its mean is where
    the derivative vanishes, M m^T = W r^T:

        p(z|x) = N( m, sigma^2 M^-1 ),   m = r W^T M^-1

    *The evidence* is Bayes' rule at any z, and z = m is the best:  p(x) = p(x, m) / p(m|x), so

        -2 log p(x) = D log 2 pi sigma^2 + |r - m W|^2 / sigma^2 + |m|^2 + log det( M / sigma^2 )

    Two identities are hidden in it, and with N(b, C) for comparison they can be read off:

        det C = sigma^(2 (D - K)) det M                  (the matrix determinant lemma)
        r C^-1 r^T = |r - m W|^2 / sigma^2 + |m|^2       (Woodbury's formula, as a sum of squares)

    The textbook's C^-1 = ( I - W^T M^-1 W ) / sigma^2 is the same: multiply the second out with
    m M m^T = m W r^T.  But it subtracts two numbers that nearly agree when sigma is small, and the
    sum of squares does not; besides, the sum is smallest at m, so that an error in m enters it
    only squared.

    *Rotations.*  For an orthogonal R the world with R W has the same C, hence the same p(x), and
    its codes are z R^T.  No amount of data tells them apart; a diagonal q does: see `gap`.

    Fields  W (K, D) and b (D,), float64; variance = sigma^2, the decoder's noise.  K = 0 is a
            Gaussian with one variance for all pixels.
    Unit    nats per example; x, b and sigma in the units of the data.
    Raises  ValueError if a shape, an element type or a value is wrong, or sigma^2 is not positive:
            at sigma^2 = 0 the density does not exist.
    Source  Tipping and Bishop (1999), section 3.1; Rubin and Thayer (1982).
    """

    W: Array
    b: Array
    variance: float

    def __post_init__(self) -> None:
        if self.W.ndim != 2 or self.b.shape != self.W.shape[1:]:
            raise ValueError(f"expected W (K, D) and b (D,), got {self.W.shape} and {self.b.shape}")
        for name, array in (("W", self.W), ("b", self.b)):
            if dtype_name(array) != "float64":
                raise ValueError(f"expected {name} in float64, got {dtype_name(array)}")
            if not bool(namespace(array).isfinite(array).all()):
                raise ValueError(f"expected a finite {name}, got a nan or an infinity")
        if not 0.0 < self.variance < math.inf:
            raise ValueError(f"expected a positive, finite variance, got {self.variance}")

    @property
    def latent(self) -> int:
        """K, the number of latents."""
        return int(self.W.shape[0])

    @property
    def n_features(self) -> int:
        """D, the length of an example."""
        return int(self.W.shape[1])

    @cached_property
    def M(self) -> Array:
        """W W^T + sigma^2 I, (K, K): sigma^2 times the precision of the posterior."""
        return self.W @ self.W.T + self.variance * namespace(self.W).eye(self.latent)

    @cached_property
    def posterior_covariance(self) -> Array:
        """sigma^2 M^-1, (K, K): it does not depend on x."""
        return self.variance * namespace(self.W).linalg.inv(self.M)

    def posterior_mean(self, x: Array) -> Array:
        """m = (x - b) W^T M^-1, (N, D) -> (N, K): a ridge regression of x - b on the rows of W."""
        projected = self._centred(x) @ self.W.T
        return namespace(self.W).linalg.solve(self.M, projected.T).T

    def posterior(self, x: Array) -> FullGaussian:
        """p(z|x) = N(m, sigma^2 M^-1) for each example of x (N, D)."""
        return FullGaussian(self.posterior_mean(x), self.posterior_covariance)

    def log_prob(self, x: Array) -> Array:
        """log p(x), by the two identities above: (N, D) -> (N,).

        log p(x) = -1/2 [ D log 2 pi + log det C + r C^-1 r^T ]
        """
        xp = namespace(self.W)
        m = self.posterior_mean(x)
        rest = self._centred(x) - m @ self.W  # what the best code does not explain
        distance = xp.sum(rest * rest, axis=-1) / self.variance + xp.sum(m * m, axis=-1)
        _, log_det_m = xp.linalg.slogdet(self.M)
        log_det = (self.n_features - self.latent) * math.log(self.variance) + log_det_m
        return -0.5 * (self.n_features * LOG_2PI + log_det + distance)

    def reconstruction(self, x: Array, q: Gaussian | FullGaussian) -> Array:
        """E_q log p(x|z), exactly, for q(z|x) = N(mu, S): (N,).

        With z = mu + n, E n = 0 and E n^T n = S, the cross term of the square vanishes:

            E |r - z W|^2 = |r - mu W|^2 + E |n W|^2 = |r - mu W|^2 + tr( S W W^T )

        and E_q log p(x|z) = -1/2 [ D log 2 pi sigma^2 + E |r - z W|^2 / sigma^2 ].
        """
        xp, q = namespace(self.W), FullGaussian.of(q)
        rest = self._centred(x) - q.mu @ self.W
        spread = xp.sum(q.covariance * (self.W @ self.W.T), axis=(-2, -1))
        error = xp.sum(rest * rest, axis=-1) + spread
        log_variance = self.n_features * (LOG_2PI + math.log(self.variance))
        return -0.5 * (log_variance + error / self.variance)

    def elbo(self, x: Array, q: Gaussian | FullGaussian) -> Array:
        """E_q log p(x|z) - KL(q || p(z)), exactly, for q(z|x) = N(mu, S): (N,)."""
        return self.reconstruction(x, q) - FullGaussian.of(q).kl()

    def gap(self, x: Array, q: Gaussian | FullGaussian) -> Array:
        """KL( q(z|x) || p(z|x) ) = log p(x) - ELBO: what the bound loses with this q, (N,).

        It is computed as a KL, not as the difference; that both agree is a test.
        """
        return FullGaussian.of(q).kl(self.posterior(x))

    def kl(self, x: Array) -> Array:
        """KL( p(z|x) || p(z) ) of the exact posterior, (N,); its mean is the rate of the world."""
        return self.posterior(x).kl()

    def best_diagonal(self, x: Array) -> Gaussian:
        """The diagonal q(z|x) with the highest ELBO: mean m, variances sigma^2 / M_kk.

        For q = N(mu, diag v) the gap is, with the posterior's precision M / sigma^2,

            1/2 [ sum_k v_k M_kk / sigma^2 - sum_k log v_k + (mu - m) M (mu - m)^T / sigma^2 ] + ...

        and its derivatives vanish at mu = m and v_k = sigma^2 / M_kk.  Every variance is at most
        the posterior's own, the diagonal of sigma^2 M^-1: the approximation is too sure of itself.
        """
        xp = namespace(self.W)
        variance = self.variance / xp.diagonal(self.M)
        return Gaussian(self.posterior_mean(x), xp.log(variance))

    def diagonal_gap(self) -> float:
        """What the best diagonal q loses, in nats: 1/2 [ sum_k log M_kk - log det M ].

        The same for every x.  It is Hadamard's inequality, so zero if and only if the rows of W are
        orthogonal to each other; `aligned` makes them so without changing p(x).
        """
        xp = namespace(self.W)
        return 0.5 * float(xp.sum(xp.log(xp.diagonal(self.M))) - xp.linalg.slogdet(self.M)[1])

    def rotated(self, R: Array) -> "LinearGaussian":
        """The world with R W in place of W: another code, the same p(x).

        R       (K, K), orthogonal.
        Raises  ValueError if it is not.
        """
        xp, K = namespace(self.W), self.latent
        if R.shape != (K, K) or not bool(xp.allclose(R @ R.T, xp.eye(K), rtol=0.0, atol=1e-8)):
            raise ValueError(f"expected an orthogonal matrix of shape ({K}, {K})")
        return replace(self, W=R @ self.W)

    def aligned(self) -> "LinearGaussian":
        """The rotation whose rows of W are orthogonal, longest first: the posterior is diagonal.

        With W W^T = E diag(l) E^T the rows of E^T W have the products E^T W W^T E = diag(l).
        """
        _, E = namespace(self.W).linalg.eigh(self.W @ self.W.T)  # ascending
        return self.rotated(E[:, ::-1].T)

    def sample(self, n: int, rng: Any) -> tuple[Array, Array]:
        """n pairs (z, x) as the world makes them: first the code, then the example."""
        z = standard_normal(rng, (n, self.latent), self.W)
        noise = standard_normal(rng, (n, self.n_features), self.W)
        return z, z @ self.W + self.b + math.sqrt(self.variance) * noise

    def _centred(self, x: Array) -> Array:
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"expected data of shape (N, {self.n_features}), got {x.shape}")
        return x - self.b
