"""The continuous Bernoulli: p(x|z) of grey pixels, a density on [0, 1]."""

import math
from dataclasses import dataclass

from minivae.arrays import Array, fused, namespace, sum_to
from minivae.numerics import sigmoid, softplus

NEAR = 0.3
"""Logits below this in size take a power series: the closed forms divide zero by zero at a = 0."""

SLOPE = (
    1.0 / 6.0,
    -7.0 / 360.0,
    31.0 / 15_120.0,
    -127.0 / 604_800.0,
    73.0 / 3_421_440.0,
    -1_414_477.0 / 653_837_184_000.0,
)
"""s_1, s_3, ..., s_11 of the series (log C)' = s_1 a + s_3 a^3 + ...; the first term left out is
8e-13 of the whole at |a| = `NEAR`."""

TERMS = 12
"""Terms of the two series of sampling: what is left out is below 1e-15 at |a| = `NEAR`."""


@dataclass(frozen=True)
class ContinuousBernoulli:
    """The Bernoulli's formula made a density of grey values.

        p(x) = C(a) lambda^x (1 - lambda)^(1-x)

    x is any number in [0, 1], lambda = sigmoid(a), the logit a is the parameter.  In x it is an
    exponential, e^(xa), cut off at 0 and 1: rising for a > 0, uniform for a = 0, falling for a < 0.
    What makes it integrate to one follows from lambda = e^a / (1 + e^a):

        integral of lambda^x (1 - lambda)^(1-x)  =  (1 + e^a)^-1 integral_0^1 e^(xa) dx
                                                 =  (1 + e^a)^-1 (e^a - 1) / a  =  tanh(a/2) / a

    so C(a) = a / tanh(a/2), even in a, with C(0) = 2.  That is the factor which is missing when
    grey values are put into a Bernoulli.  lambda is not the mean: see `mean`.

    Like every density it has no upper limit: log p(0) grows like log |a|, and a pixel that never
    changes pulls its logit without end.  The models' decoders bound theirs.

    Near a = 0 the closed forms of log C and of its derivative lose their digits, so that for
    |a| < `NEAR` both, and with them everything below, come from one power series.  With Bernoulli's
    numbers B_2, B_4, ... = 1/6, -1/30, 1/42, -1/30, 5/66, -691/2730 the series of 1 / sinh gives

        (log C)'  =  1/a - 1/sinh a  =  sum_n  2 (2^(2n-1) - 1) B_2n / (2n)!  a^(2n-1)
                  =  a/6 - 7 a^3/360 + 31 a^5/15120 - 127 a^7/604800 + ...
        log C     =  log 2 + a^2/12 - 7 a^4/1440 + ...       (its integral from 0 on)

    Shapes  logits (..., B, D).
    Unit    log_prob: nats per example, a density of grey values: it may be positive.
    Source  Loaiza-Ganem and Cunningham (2019).
    """

    logits: Array

    def log_prob(self, x: Array) -> Array:
        """log p(x), summed over the last axis.

        log lambda^x (1 - lambda)^(1-x) = x a - softplus(a), as for the Bernoulli, plus log C.

        Shapes  x (..., B, D) in [0, 1], result (..., B).
        """
        return namespace(x).sum(_log_density(self.logits, x), axis=-1)

    def score(self, x: Array) -> tuple[Array]:
        """(d log p / d logits,) in every dimension: observed minus expected.

            d/da [ x a - softplus(a) + log C(a) ]  =  x - sigmoid(a) + (log C)'(a)  =  x - E[x]

        Shapes  x (..., B, D), result of the broadcast shape.
        """
        return (_observed_minus_expected(self.logits, x),)

    def grad_value(self, x: Array) -> Array:
        """d log p / d x = a: the slope is the logit, at every x."""
        return self.logits + 0.0 * x

    def sample(self, u: Array) -> Array:
        """The x below which the fraction u of the probability lies, with u ~ U[0, 1).

        The distribution function and its inverse are
            F(x) = (e^(ax) - 1) / (e^a - 1) = u     so     x = log(1 - u + u e^a) / a.
        For a > 0 the exponential would overflow; log(1 - u + u e^a) = a + log(u + (1 - u) e^-a)
        does not.  For |a| < `NEAR` use t = tanh(a/2), e^a = (1 + t) / (1 - t), and find
            1 - u + u e^a = (1 + s) / (1 - s)  with  s = u t / (1 - (1 - u) t),
            x  =  atanh(s) / atanh(t)  =  s/t (1 + s^2/3 + s^4/5 + ...) / (1 + t^2/3 + t^4/5 + ...)
        where s/t = u / (1 - (1 - u) t) divides by no zero: at a = 0 it leaves x = u.

        Shapes  u as logits, or (S, ..., B, D); x of the shape of u.
        """
        return _inverse_cdf(self.logits, u)

    def pathwise_grad(self, dx: Array, u: Array) -> tuple[Array]:
        """(dlogits,) from dx: the gradient that comes through the sample.

        u stays where it is when a moves: from F(x(a), a) = u, or from x = log(1 - u + u e^a) / a,
            dx/da = - (dF/da) / (dF/dx) = [ u e^a / (1 - u + u e^a) - x ] / a
        and with 1 - u + u e^a = e^(ax) and u = F(x) the fraction is F once more, for the logit -a:
            dx/da = [ (1 - e^(-ax)) / (1 - e^-a) - x ] / a.
        For |a| < `NEAR` divide by a on paper: with (1 - e^-y) / y = sum_k (-y)^k / (k+1)!,
            dx/da = x (1 - x)  sum_(k>=1) (-a)^(k-1) (1 + x + ... + x^(k-1)) / (k+1)!
                               / sum_(k>=0) (-a)^k / (k+1)!
        which is x (1 - x) / 2 at a = 0: the ends of [0, 1] never move.

        Shapes  dx and u as in `sample`; dlogits as logits, summed over the samples.
        """
        return (sum_to(dx * _sample_slope(self.logits, self.sample(u)), self.logits.shape),)

    @property
    def mean(self) -> Array:
        """E[x] = sigmoid(a) - (log C)'(a), since the expected score is zero.

        In other letters it is lambda / (2 lambda - 1) + 1 / (2 atanh(1 - 2 lambda)); always between
        lambda and 1/2, and 1 - E[x] is near 1/a for a large a, far more than 1 - lambda.
        """
        return _mean(self.logits)

    @property
    def variance(self) -> Array:
        """Var[x] = dE[x]/da = 1/a^2 - 1 / (4 sinh^2(a/2)), and 1/12 at a = 0: a uniform x.

        The derivative of the mean, because for log p = xa - A(a) the mean is A' and the variance
        A''.  With t = tanh(a/2), sinh^2(a/2) = t^2 / (1 - t^2).
        """
        return _variance(self.logits)


@fused
def _log_density(a: Array, x: Array) -> Array:
    return x * a - softplus(a) + _log_normaliser(a)


@fused
def _observed_minus_expected(a: Array, x: Array) -> Array:
    return x - _mean(a)


@fused
def _log_normaliser(a: Array) -> Array:
    xp, near = namespace(a), _near(a)
    # Each branch gets harmless numbers where the other one is taken: `where` evaluates both.
    small, large = xp.where(near, a, 0.0), xp.where(near, 1.0, a)
    square, series = small * small, 0.0 * small
    for k in reversed(range(len(SLOPE))):  # the integral of s a^(2k+1) is s a^(2k+2) / (2k + 2)
        series = (series + SLOPE[k] / (2 * k + 2)) * square
    return xp.where(near, math.log(2.0) + series, xp.log(large / xp.tanh(0.5 * large)))


@fused
def _log_normaliser_slope(a: Array) -> Array:
    xp, near = namespace(a), _near(a)
    small, large = xp.where(near, a, 0.0), xp.where(near, 1.0, a)
    square, series = small * small, 0.0 * small
    for s in reversed(SLOPE):
        series = series * square + s
    t = xp.tanh(0.5 * large)  # 1 / sinh a = (1/t - t) / 2, and no exponential overflows
    return xp.where(near, series * small, 1.0 / large - 0.5 / t + 0.5 * t)


@fused
def _mean(a: Array) -> Array:
    return sigmoid(a) - _log_normaliser_slope(a)


@fused
def _variance(a: Array) -> Array:
    xp, near = namespace(a), _near(a)
    small, large = xp.where(near, a, 0.0), xp.where(near, 1.0, a)
    square, series = small * small, 0.0 * small
    for k in reversed(range(len(SLOPE))):  # the derivative of s a^(2k+1) is (2k + 1) s a^(2k)
        series = series * square + (2 * k + 1) * SLOPE[k]
    y, inverse, t = sigmoid(small), 1.0 / large, xp.tanh(0.5 * large)
    sinh_term = 0.25 * (1.0 / t - t) / t
    return xp.where(near, y * (1.0 - y) - series, inverse * inverse - sinh_term)


@fused
def _inverse_cdf(a: Array, u: Array) -> Array:
    xp, near = namespace(a), _near(a)
    small, large = xp.where(near, a, 0.0), xp.where(near, 1.0, a)
    t = xp.tanh(0.5 * small)
    ratio = u / (1.0 - (1.0 - u) * t)
    s = ratio * t
    centre = ratio * _atanh_over(s) / _atanh_over(t)
    # e^-80 is nothing beside the smallest u > 0; only u = 0, which stands for all that a random
    # number rounds to it, would otherwise be the logarithm of zero.
    small_side = xp.exp(xp.maximum(xp.minimum(large, -large), -80.0))
    rising = xp.log(u + (1.0 - u) * small_side) / large + 1.0
    falling = xp.log((1.0 - u) + u * small_side) / large
    outside = xp.where(large > 0.0, rising, falling)
    x = xp.where(near, centre, outside)
    return xp.minimum(xp.maximum(x, 0.0), 1.0)  # rounding may lead past the ends


@fused
def _sample_slope(a: Array, x: Array) -> Array:
    xp, near = namespace(a), _near(a)
    small, large = xp.where(near, a, 0.0), xp.where(near, 1.0, a)
    above, below = 0.0 * small, 0.0 * small
    powers, power, factorial = 0.0 * x, 0.0 * small + 1.0, 1.0
    for k in range(1, TERMS + 1):
        below = below + power / factorial
        factorial *= k + 1.0
        powers = powers * x + 1.0  # 1 + x + ... + x^(k-1)
        above = above + power * powers / factorial
        power = power * -small
    centre = x * (1.0 - x) * above / below
    m = xp.minimum(large, -large)  # -|a|; for a < 0 the fraction is multiplied by e^(-|a| (1 - x))
    fraction = xp.expm1(m * x) / xp.expm1(m)
    fraction = fraction * xp.exp(xp.minimum(large, 0.0) * (1.0 - x))
    return xp.where(near, centre, (fraction - x) / large)


def _near(a: Array) -> Array:
    """|a| < NEAR, by the real part where a is complex (as in the checks of the gradients)."""
    real: Array = getattr(a, "real", a)
    return namespace(a).minimum(real, -real) > -NEAR


def _atanh_over(s: Array) -> Array:
    """atanh(s) / s = 1 + s^2/3 + s^4/5 + ..., for |s| <= tanh(NEAR / 2)."""
    square, series = s * s, 0.0 * s
    for k in reversed(range(TERMS)):
        series = series * square + 1.0 / (2 * k + 1)
    return series
