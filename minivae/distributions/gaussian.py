"""The diagonal Gaussian: the encoder's q(z|x), the prior p(z), and one choice of p(x|z)."""

from dataclasses import dataclass
from typing import Optional

from minivae.arrays import Array, fused, namespace, sum_to
from minivae.numerics import LOG_2PI


@dataclass(frozen=True)
class Gaussian:
    """N(mu, sigma^2), independent in every dimension, with logvar = log sigma^2.

    A network may output any real number, and a variance must be positive: so its logarithm is the
    parameter.  Beware of the sibling mistake: sigma = exp(logvar / 2), not exp(logvar).

    Shapes  mu (..., B, D); logvar the same, or anything that broadcasts to it: (B, D) for a
            variance per pixel, (D,) or (1,) for a shared one.
    Unit    log_prob and kl: nats per example, all constants included.
    Source  Kingma and Welling (2013), appendix B.
    """

    mu: Array
    logvar: Array

    def log_prob(self, v: Array) -> Array:
        """log N(v; mu, sigma^2), summed over the last axis.

        Per dimension  log p = -1/2 [ log 2 pi + log sigma^2 + (v - mu)^2 / sigma^2 ].

        Shapes  v (..., B, D), result (..., B).
        """
        return namespace(v).sum(_log_density(v, self.mu, self.logvar), axis=-1)

    def score(self, v: Array) -> tuple[Array, Array]:
        """(d log p / d mu, d log p / d logvar) in every dimension.

        With log sigma^2 = l and 1 / sigma^2 = e^-l,
            d/dmu  -1/2 (v - mu)^2 e^-l           =  (v - mu) / sigma^2
            d/dl   -1/2 [l + (v - mu)^2 e^-l]     =  1/2 [ (v - mu)^2 / sigma^2 - 1 ]
        The second is zero in the mean where sigma^2 is the mean squared error: that is where a
        learned variance comes to rest.

        Shapes  v (..., B, D), both results of the broadcast shape.
        """
        residual = v - self.mu
        t = residual * namespace(v).exp(-self.logvar)
        return t, 0.5 * (residual * t - 1.0)

    def grad_value(self, v: Array) -> Array:
        """d log p / d v = -(v - mu) / sigma^2: the force that pulls v to the mean."""
        return (self.mu - v) * namespace(v).exp(-self.logvar)

    def sample(self, eps: Array) -> Array:
        """The reparameterization  z = mu + sigma eps,  eps ~ N(0, 1).

        If eps has mean 0 and variance 1, z has mean mu and variance sigma^2, and it is Gaussian
        because an affine map of a Gaussian is one.  The randomness stands outside, so z is a
        differentiable function of mu and logvar.

        Shapes  eps (B, D), or (S, B, D) for S samples; z of the shape of eps.
        """
        return self.mu + namespace(eps).exp(0.5 * self.logvar) * eps

    def pathwise_grad(self, dz: Array, eps: Array) -> tuple[Array, Array]:
        """(dmu, dlogvar) from dz: the gradient that comes through the sample.

        From z = mu + e^(l/2) eps, with l = logvar:
            dz/dmu = 1                        so  dmu     = dz
            dz/dl  = 1/2 e^(l/2) eps          so  dlogvar = dz eps sigma / 2
        summed over the samples, since all of them come from one mu and one sigma.  The eps must be
        the very eps of `sample`.

        Shapes  dz and eps as in `sample`; dmu and dlogvar as mu and logvar.
        """
        dlogvar = 0.5 * dz * eps * namespace(eps).exp(0.5 * self.logvar)
        return sum_to(dz, self.mu.shape), sum_to(dlogvar, self.logvar.shape)

    def kl_terms(self, p: Optional["Gaussian"] = None) -> Array:
        """KL(q || p) in every dimension, from self = q to p, the standard normal by default.

        Take the expectation under q of log q(z) - log p(z), with E_q (z - mu)^2 = sigma^2 and
        E_q (z - mu_p)^2 = sigma^2 + (mu - mu_p)^2:

            KL = E_q { -1/2 [l   + (z - mu)^2   / sigma^2  ] }
               - E_q { -1/2 [l_p + (z - mu_p)^2 / sigma_p^2] }
               = 1/2 [ l_p - l - 1 + sigma^2 / sigma_p^2 + (mu - mu_p)^2 / sigma_p^2 ]

        and for p = N(0, 1), where l_p = 0 and sigma_p = 1,
            KL = 1/2 [ mu^2 + sigma^2 - log sigma^2 - 1 ].

        Not symmetric: q must not put mass where p has none.  Zero exactly where q = p.

        Shapes  result as mu (..., B, D).
        """
        exp, expm1 = namespace(self.mu).exp, namespace(self.mu).expm1
        if p is None:  # expm1(l) is sigma^2 - 1 without the cancellation near l = 0
            return 0.5 * (self.mu * self.mu + (expm1(self.logvar) - self.logvar))
        ratio, distance = self.logvar - p.logvar, self.mu - p.mu
        return 0.5 * (distance * distance * exp(-p.logvar) + (expm1(ratio) - ratio))

    def kl(self, p: Optional["Gaussian"] = None) -> Array:
        """KL(q || p) of the whole vector, in nats: the sum of `kl_terms` over the last axis."""
        return namespace(self.mu).sum(self.kl_terms(p), axis=-1)

    def kl_grad(self, p: Optional["Gaussian"] = None) -> tuple[Array, Array]:
        """(d KL / d mu, d KL / d logvar) in every dimension, from the closed form of `kl_terms`.

            d/dmu  1/2 (mu - mu_p)^2 / sigma_p^2       =  (mu - mu_p) / sigma_p^2
            d/dl   1/2 [ -l + e^l / sigma_p^2 ]        =  1/2 [ sigma^2 / sigma_p^2 - 1 ]

        For the standard normal these are mu and (sigma^2 - 1) / 2: the mean is pulled to zero,
        the variance to one.

        Shapes  mu and logvar (..., B, D), and so are both results.
        """
        exp, expm1 = namespace(self.mu).exp, namespace(self.mu).expm1
        if p is None:
            return self.mu, 0.5 * expm1(self.logvar)
        return (self.mu - p.mu) * exp(-p.logvar), 0.5 * expm1(self.logvar - p.logvar)

    def kl_grad_prior(self, p: "Gaussian") -> tuple[Array, Array]:
        """(d KL / d mu_p, d KL / d logvar_p): KL(q || p) pulls at p, too, where p is learned.

            d/dmu_p  1/2 (mu - mu_p)^2 / sigma_p^2     =  (mu_p - mu) / sigma_p^2
            d/dl_p   1/2 [ l_p + v e^-l_p ]            =  1/2 [ 1 - v / sigma_p^2 ]

        with v = sigma^2 + (mu - mu_p)^2.

        The first is minus d KL / d mu: only the distance counts.  The second is zero in the mean
        where sigma_p^2 is the mean of v, the spread of what q draws about mu_p: a learned prior
        moves to where the codes are.

        Shapes  mu and logvar (..., B, D), of p as well, and so are both results.
        """
        exp, expm1 = namespace(self.mu).exp, namespace(self.mu).expm1
        distance, precision = self.mu - p.mu, exp(-p.logvar)
        spread = expm1(self.logvar - p.logvar) + distance * distance * precision
        return -distance * precision, -0.5 * spread

    @property
    def mean(self) -> Array:
        """E[v] = mu."""
        return self.mu


@fused
def _log_density(v: Array, mu: Array, logvar: Array) -> Array:
    residual = v - mu
    return -0.5 * (LOG_2PI + logvar + residual * residual * namespace(v).exp(-logvar))
