"""Reverse water-filling: the rate and the distortion of the best linear beta-VAE, in closed form.

*Shannon's question.*  How few nats tell a Gaussian vector with covariance eigenvalues l_i up to a
squared error Δ in total?  Independent directions share the error, Δ = sum_i d_i, a direction costs
1/2 log( l_i / d_i ), and d_i <= l_i because for the error l_i one need not say anything:

    minimise  sum_i 1/2 log( l_i / d_i )   subject to  sum_i d_i = Δ,  d_i <= l_i

The derivative -1 / (2 d_i) must be the same wherever d_i < l_i.  So all these directions get the
same error t, the water level, and those that lie below the water are drowned and get no rate:

    d_i = min( l_i, t ),    R = sum over l_i > t of 1/2 log( l_i / t ),    Δ = sum_i min( l_i, t )

*The beta-VAE's answer.*  Decoder x | z ~ N(z W + b, sigma^2 I), sigma fixed.  Its loss is

    E_q |x - z W - b|^2 / (2 sigma^2) + beta KL( q(z|x) || p(z) ) + constants
      = beta { E_q |x - z W - b|^2 / (2 t) + KL( q(z|x) || p(z) ) } + constants,  t = beta sigma^2

In the braces stands the negative ELBO of a plain VAE with the variance t in place of sigma^2.
1. For any W the best q is therefore the posterior of the world with variance t (which is
   p(z) p(x|z)^(1/beta), normalised), and the braces become -log p(x) of that world.
2. The best W maximises this likelihood, that is pPCA with a known variance t (`fit_ppca`): among
   the K largest eigenvalues those above t get a latent, w_k^2 = l_k - t; the others get none.
3. Latent k then has M_kk = l_k, so the posterior's variance v = t / l_k, and its mean
   m = (w_k / l_k) r u_k^T has the mean square w_k^2 / l_k = 1 - v over the data.  Hence

       rate of k            mean of 1/2 [ m^2 + v - 1 - log v ] = 1/2 log( l_k / t )
       error of E x_hat     the part of r along u_k is kept up to the factor w_k^2 / l_k:
                            l_k (1 - w_k^2 / l_k)^2 = t^2 / l_k
       error of z's noise   v w_k^2 = (t / l_k) (l_k - t) = t - t^2 / l_k
       their sum            t

   An unused direction has the rate 0 and the error l_i.

With K at least the number of l_i above t these are Shannon's R and Δ, so that Δ is the expected
error *under q*, E_q |x - x_hat(z)|^2 with x_hat = z W + b: the code that the rate pays for is the
noisy z.  The reconstruction from the mean of q has the smaller error sum t^2 / l_k + sum of the
unused l_i, and reading it as the distortion of this rate puts the model below the possible.

With a smaller K the K largest are used, at the same t; the directions above the water that have no
latent keep their whole l_i.  Such a point lies above Shannon's curve.  In any case, as t varies and
the number n of used directions does not, dR = -n dt / (2 t) and dΔ = n dt: the slope is
dΔ/dR = -2 t, and in nats, with Δ / (2 sigma^2) for the distortion, it is -beta.

The second moments of the data are all that enters, so the linear VAE has these numbers on any data
with this covariance.  On Gaussian data they are the best that any code can do.  On others a
nonlinear VAE may do better: of all sources with this covariance the Gaussian one costs most.

Source  Shannon (1959); Cover and Thomas (2006), section 10.3.3.  For what a linear VAE keeps: Dai
        and others (2018), Lucas and others (2019); for its rate and distortion: Alemi and others
        (2018).
"""

import math
from typing import NamedTuple

from minivae.arrays import Array, namespace


class RateDistortion(NamedTuple):
    """One point of a rate-distortion curve.

    rate              nats per example, the sum of rates.
    distortion        E_q |x - x_hat(z)|^2 per example, summed over pixels, in squared units of x.
    mean_distortion   |x - x_hat(E_q z)|^2, the error of the mean code: smaller, and not
                      the partner of this rate.
    rates             (K,) nats of each latent, or direction.
    """

    rate: float
    distortion: float
    mean_distortion: float
    rates: Array

    def active(self, above: float = 1e-3) -> int:
        """How many latents have a rate above so many nats."""
        return int((self.rates > above).sum())


def reverse_water_filling(
    eigenvalues: Array, level: float, latent: int | None = None
) -> RateDistortion:
    """The best rate and distortion at a water level t, with at most ``latent`` directions in use.

    eigenvalues  (D,) of the data's covariance, in any order.
    level        t, in squared units of the data; beta sigma^2 for a linear VAE.
    latent       K; by default no limit, which is Shannon's curve.
    Returns      the point; its rates are those of the K largest eigenvalues, the largest first.
    Raises       ValueError for negative eigenvalues, a level that is not positive, or K < 0.
    """
    xp = namespace(eigenvalues)
    largest = _descending(eigenvalues)
    if not 0.0 < level < math.inf:
        raise ValueError(f"expected a positive, finite level, got {level}")
    if latent is not None and latent < 0:
        raise ValueError(f"expected at least 0 latents, got {latent}")
    K = len(largest) if latent is None else latent
    with_latent, without = largest[:K], float(xp.sum(largest[K:]))
    above = xp.maximum(with_latent, level)  # l_k where the latent is used, t where it is not
    below = xp.minimum(with_latent, level)
    rates = 0.5 * xp.log(above / level)
    return RateDistortion(
        rate=float(xp.sum(rates)),
        distortion=float(xp.sum(below)) + without,
        mean_distortion=float(xp.sum(below * (level / above))) + without,
        rates=rates,
    )


def water_level(eigenvalues: Array, distortion: float) -> float:
    """The level t at which sum_i min( l_i, t ) is a given distortion: the other way round.

    Let the l_i stand in ascending order.  With the i smallest under water the sum is their sum plus
    (D - i) t, so t = (distortion - their sum) / (D - i).  When the water just reaches the next one,
    l, the sum is their sum plus (D - i) l; the right i is the first where that is enough.

    Raises  ValueError unless 0 < distortion <= sum_i l_i.
    """
    xp = namespace(eigenvalues)
    ascending = _descending(eigenvalues)[::-1]
    D, total = len(ascending), float(xp.sum(ascending))
    if not 0.0 < distortion <= total * (1.0 + 1e-12):  # a sum of what was measured may round up
        raise ValueError(f"expected a distortion above 0 and at most {total}, got {distortion}")
    # The sum of the i smallest, i = 0 .. D - 1; cumsum(l) - l would lose them beside a large l.
    drowned = xp.concatenate([xp.zeros(1), xp.cumsum(ascending)[:-1]])
    left = xp.arange(D, 0, -1)
    enough = drowned + left * ascending >= distortion
    i = int(xp.argmax(enough)) if bool(enough.any()) else D - 1
    return (distortion - float(drowned[i])) / (D - i)


def shannon_rate(eigenvalues: Array, distortion: float) -> float:
    """Shannon's R(Δ) of a Gaussian source: the fewest nats that any code needs for this error."""
    return reverse_water_filling(eigenvalues, water_level(eigenvalues, distortion)).rate


def _descending(eigenvalues: Array) -> Array:
    xp = namespace(eigenvalues)
    if eigenvalues.ndim != 1 or not bool((eigenvalues >= 0.0).all()):
        raise ValueError("expected a vector of eigenvalues, none of them negative")
    return xp.sort(eigenvalues)[::-1]
