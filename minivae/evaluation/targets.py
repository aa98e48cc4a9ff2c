"""What is averaged under q: functions of the code z, with their slopes and, where known, the truth.

For `minivae.evaluation.estimators`.  In two of these worlds the gradient of the expectation is a
formula: a quadratic function, and the ELBO of a linear Gaussian decoder.  The third is any VAE.

Letters: S draws in an estimate, N estimates, K latents, D pixels; v the variance of p(x|z).
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from minivae.arrays import Array, copy, namespace
from minivae.distributions import Gaussian
from minivae.models.vae import VAE
from minivae.numerics import LOG_2PI
from minivae.objectives import fold, unfold

Pair = tuple[Array, Array]
"""Gradients by mu and by logvar, each (N, K)."""


@dataclass(frozen=True)
class Quadratic:
    """f(z) = 1/2 z A z^T + b z^T + c: the world where the gradient of E_q f is known.

    With z = mu + n, where E n = 0 and E n_j n_k is sigma_j^2 if j = k and 0 if not, and with
    l = logvar = log sigma^2,

        E f        = f(mu) + 1/2 sum_j A_jj sigma_j^2
        d/dmu      = mu (A + A^T)/2 + b
        d/dl_j     = 1/2 A_jj sigma_j^2            from d sigma^2 / dl = sigma^2

    Fields  A (K, K), b (K,), c a number.
    """

    A: Array
    b: Array
    c: float = 0.0

    def __call__(self, z: Array) -> Array:
        """f(z), (..., K) -> (...)."""
        return namespace(z).sum((0.5 * (z @ self.A) + self.b) * z, axis=-1) + self.c

    def slope(self, z: Array) -> Array:
        """df/dz = z (A + A^T)/2 + b, of the shape of z."""
        return 0.5 * (z @ (self.A + self.A.T)) + self.b

    def expectation(self, q: Gaussian) -> Array:
        """E_q f, (..., K) -> (...)."""
        xp = namespace(q.mu)
        return self(q.mu) + 0.5 * xp.sum(self._diagonal() * xp.exp(q.logvar), axis=-1)

    def expectation_grad(self, q: Gaussian) -> Pair:
        """(d/dmu, d/dlogvar) of E_q f, both of the shape of mu: the truth."""
        return self.slope(q.mu), 0.5 * self._diagonal() * namespace(q.mu).exp(q.logvar)

    def _diagonal(self) -> Array:
        return namespace(self.A).stack([self.A[k, k] for k in range(self.A.shape[0])])


class Likelihood(Protocol):
    """log p(x|z) for fixed x: what an encoder's gradient needs to know of a decoder."""

    def log_prob(self, z: Array) -> Array:
        """log p(x|z), (S, N, K) -> (S, N)."""
        ...

    def slope(self, z: Array) -> Array:
        """d log p(x|z) / d z, (S, N, K)."""
        ...

    def decoder_score(self, z: Array) -> Array:
        """d log p(x|z) / d a parameter of the decoder, for each draw: (S, N, ...)."""
        ...


@dataclass(frozen=True)
class LinearLikelihood:
    """p(x|z) = N(z W + b, v I): the decoder for which the ELBO of a diagonal q is a formula.

    *The bound.*  With z = mu + n as in `Quadratic`, the cross term of the square vanishes, so with
    r = x - b - mu W and |W_k| the length of row k

        E_q |x - b - z W|^2 = |r|^2 + E |n W|^2 = |r|^2 + sum_k sigma_k^2 |W_k|^2
        ELBO = -1/2 [ D log 2 pi v + |r|^2 / v + sum_k sigma_k^2 |W_k|^2 / v ] - KL(q || p)

    *Its gradient*, from d|r|^2 = -2 r d(mu W)^T and d sigma_k^2 / dlogvar_k = sigma_k^2:

        d/dmu_k      = sum_d r_d W_kd / v                 - mu_k
        d/dlogvar_k  = -1/2 sigma_k^2 |W_k|^2 / v         - 1/2 (sigma_k^2 - 1)
        d/dW_kd      = (mu_k r_d - sigma_k^2 W_kd) / v      the KL does not know W

    The last says: explain what is left over, but shrink, because the code is noisy.

    Fields  W (K, D), b (D,), variance v, x (N, D) or (D,).
    Unit    nats per example.
    Source  Lucas, Tucker, Grosse and Norouzi (2019).
    """

    W: Array
    b: Array
    variance: float
    x: Array

    def log_prob(self, z: Array) -> Array:
        """-1/2 [ D log 2 pi v + |x - b - z W|^2 / v ]."""
        r = self._rest(z)
        constant = r.shape[-1] * (LOG_2PI + math.log(self.variance))
        return -0.5 * (constant + namespace(z).sum(r * r, axis=-1) / self.variance)

    def slope(self, z: Array) -> Array:
        """(x - b - z W) W^T / v."""
        return self._rest(z) @ self.W.T / self.variance

    def decoder_score(self, z: Array) -> Array:
        """d log p / d W_kd = z_k (x - b - z W)_d / v, (S, N, K, D)."""
        return z[..., :, None] * self._rest(z)[..., None, :] / self.variance

    def elbo(self, q: Gaussian) -> Array:
        """The bound of each example in closed form, (N,)."""
        xp = namespace(q.mu)
        spread = xp.sum(xp.exp(q.logvar) * self._row_squares(), axis=-1)
        return self.log_prob(q.mu) - 0.5 * spread / self.variance - q.kl()

    def elbo_grad(self, q: Gaussian) -> tuple[Array, Array, Array]:
        """(d/dmu, d/dlogvar, d/dW) of each example's bound: (N, K), (N, K), (N, K, D)."""
        variance = namespace(q.mu).exp(q.logvar)
        kl_mu, kl_logvar = q.kl_grad()
        mu = self.slope(q.mu) - kl_mu
        logvar = -0.5 * variance * self._row_squares() / self.variance - kl_logvar
        W = self.decoder_score(q.mu) - variance[..., :, None] * self.W / self.variance
        return mu, logvar, W

    def _rest(self, z: Array) -> Array:
        return self.x - self.b - z @ self.W

    def _row_squares(self) -> Array:
        return namespace(self.W).sum(self.W * self.W, axis=-1)  # |W_k|^2


@dataclass(frozen=True)
class NetworkLikelihood:
    """p(x|z) of a VAE's decoder, for examples x (N, D) or one x (D,); its gradient is left alone.

    For the decoder's own gradient the bias of its first output stands: the logits', or the mean's.
    It is added to that output, so its score is the output's, observed minus expected, and costs
    nothing; that of a weight inside the network would take a backward pass for each draw.  (The
    logits of a continuous Bernoulli pass through a clip first; there it is the clipped logits.)
    """

    model: VAE
    x: Array

    def log_prob(self, z: Array) -> Array:
        """log p(x|z), (S, N)."""
        return self._decode(z)[0].log_prob(self.x)

    def slope(self, z: Array) -> Array:
        """d log p(x|z) / d z by the decoder's backward."""
        p, cache = self._decode(z)
        before = copy(self.model.parameters.grad)
        dz = self.model.decoder.backward(tuple(fold(s) for s in p.score(self.x)), cache)
        self.model.parameters.grad[...] = before  # backward adds to it
        return unfold(dz, z.shape[0])

    def decoder_score(self, z: Array) -> Array:
        """d log p(x|z) / d output, and so by its bias: (S, N, D)."""
        return self._decode(z)[0].score(self.x)[0]

    def _decode(self, z: Array) -> tuple[Any, Any]:
        out, cache = self.model.decoder.forward(fold(z))
        return self.model.likelihood(*[unfold(a, z.shape[0]) for a in out]), cache
