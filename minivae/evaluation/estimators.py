"""Gradients of an expectation whose distribution moves, estimated in several ways, side by side.

An encoder is trained by the derivative of  E_q[ f(z) ]  with respect to the parameters of q.  The
expectation is smooth, but a draw from q is just a number, so the derivative has to be turned into
an expectation first, and there is more than one way:

    E_q f(z) = integral q(z) f(z) dz              z ~ q = N(mu, sigma^2)
             = integral N(eps; 0, 1) f(mu + sigma eps) d eps

    differentiate the second line    E[ f'(z) dz/dmu ]               `pathwise`
    differentiate the first line     E[ f(z) d log q(z)/dmu ]        `score_function`

Every estimator here takes noise ``eps`` of shape (S, N, K) and returns N independent estimates,
each made of S draws, as the pair (gradient by mu, gradient by logvar), both (N, K).  So the draws
can be averaged, and their spread can be looked at: `Signal` does both.  The gradients are those of
the expectation or of the bound, to be climbed; a loss has the other sign.

What is averaged is a pair of functions f and its slope, or a `Likelihood`, the p(x|z) of given
examples: `minivae.evaluation.targets` has some, with the true gradients to compare with.

Letters: S draws in an estimate, N estimates, K latents.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from minivae.arrays import Array, namespace
from minivae.distributions import Gaussian
from minivae.evaluation.targets import Likelihood, Pair
from minivae.numerics import softmax

Function = Callable[[Array], Array]
"""Of codes z (S, N, K): values (S, N), or slopes d value / d z (S, N, K)."""

Baseline = float | Callable[[Array], Array]
"""A number, or a function from values (S, N) to what is subtracted from them, (S, N)."""


# ---- E_q[ f(z) ] ----


def pathwise(q: Gaussian, slope: Function, eps: Array) -> Pair:
    """The reparameterized gradient: follow each draw as q moves.

    The noise has a distribution that does not move, so the derivative may go inside:

        d/dmu E f(mu + sigma eps) = E[ f'(z) dz/dmu ],   dz/dmu = 1,   dz/dlogvar = sigma eps / 2

    Unbiased if f is the integral of its derivative, as where its slope is bounded on every bounded
    set: a ReLU may have kinks, but there may be no step.  Of a step it sees nothing: f' = 0
    wherever a draw falls, and the estimate is 0.

    slope   f', (S, N, K) -> (S, N, K).
    Shapes  q.mu and q.logvar (K,) or (N, K); eps (S, N, K), result two (N, K).
    Raises  ValueError if the shapes do not fit.
    Source  Kingma and Welling (2013); Rezende, Mohamed and Wierstra (2014).
    """
    q = _apart(q, eps)
    dz = slope(q.sample(eps)) / eps.shape[0]  # 1/S from the mean over draws
    return q.pathwise_grad(dz, eps)


def score_function(q: Gaussian, f: Function, eps: Array, baseline: Baseline = 0.0) -> Pair:
    """The score-function gradient (REINFORCE): leave the draws where they are, and weigh them anew.

    With dq = q d log q under the integral,

        d/dmu integral q f dz = integral q (d log q/dmu) f dz = E[ f(z) s(z) ],   s = d log q/dmu

    It needs values of f only, no slope: f may be a step, and z may be discrete.

    *The score has mean zero*, because every density integrates to one:

        E s = integral q (d log q/dmu) dz = d/dmu integral q dz = d/dmu 1 = 0

    *So a constant baseline does not bias*:  E[(f - b) s] = E[f s] - b E[s] = E[f s].  But it
    changes the variance; see `optimal_baseline`.  Nor does any b that is independent of the z that
    its own score is taken at: then E[b s] = E[b] E[s] = 0.  `leave_one_out` is of that kind; the
    mean over all S draws is not, and shrinks the gradient by the factor 1 - 1/S.

    f         (S, N, K) -> (S, N).
    baseline  b, or a function of the values (S, N), such as `leave_one_out`.
    Shapes    as in `pathwise`.
    Source    Williams (1992); Glynn (1990).
    """
    q = _apart(q, eps)
    z = q.sample(eps)  # from here on a number: nothing is differentiated through it
    values = f(z)
    b = baseline(values) if callable(baseline) else baseline
    mu, logvar = (_weighted((values - b) / eps.shape[0], s) for s in q.score(z))
    return mu, logvar


def leave_one_out(values: Array) -> Array:
    """For each draw the mean value of the S - 1 others of its estimate: a baseline for nothing.

        b_s = 1/(S - 1) sum_(t != s) f_t = (total - f_s) / (S - 1)

    Draws are independent, so b_s is independent of z_s, and E[b_s s(z_s)] = E[b_s] E[s(z_s)] = 0:
    unbiased, with nothing to tune.  The estimates come out as the covariance of f and s within the
    S draws:  1/S sum_s (f_s - b_s) s_s = 1/(S - 1) sum_s (f_s - mean f) s_s.

    Shapes  values (S, N), result the same.
    Raises  ValueError if S = 1: there is no other draw.
    Source  Mnih and Rezende (2016); Kool, van Hoof and Welling (2019).
    """
    S = values.shape[0]
    if S < 2:
        raise ValueError(f"expected at least 2 draws in an estimate to leave one out, got {S}")
    return (namespace(values).sum(values, axis=0) - values) / (S - 1)


def optimal_baseline(q: Gaussian, f: Function, eps: Array) -> float:
    """The constant b that makes the score-function gradient's variance smallest, estimated.

    The mean of (f - b) s does not depend on b, so its variance is smallest where the second moment
    is.  Summed over all components of the score, |s|^2 = sum_j s_j^2, that is a parabola in b:

        d/db E[ (f - b)^2 |s|^2 ] = -2 E[ (f - b) |s|^2 ] = 0     so     b = E[f |s|^2] / E[|s|^2]

    The mean of f, weighted by |s|^2: draws far from mu count most.  It is not E f.  Take draws for
    it that the gradient does not use: a number found from the same draws is no constant to them.

    Shapes  as in `pathwise`; all S N draws are used.
    """
    q, xp = _apart(q, eps), namespace(eps)
    z = q.sample(eps)
    squares = sum(xp.sum(s * s, axis=-1) for s in q.score(z))
    return float(xp.sum(f(z) * squares) / xp.sum(squares))


# ---- the ELBO:  E_q log p(x|z) - KL(q || p(z)) ----


def elbo_pathwise(p: Likelihood, q: Gaussian, eps: Array) -> Pair:
    """The gradient that `minivae.objectives.elbo` trains the encoder with, one row per estimate.

    Only the first term of the bound is sampled: f = log p(x|z) in `pathwise`.  The KL is a formula.
    """
    return _less_kl(pathwise(q, p.slope, eps), q)


def elbo_score_function(p: Likelihood, q: Gaussian, eps: Array, baseline: Baseline = 0.0) -> Pair:
    """The same by `score_function`: it needs no slope of the decoder."""
    return _less_kl(score_function(q, p.log_prob, eps, baseline), q)


def elbo_decoder(p: Likelihood, q: Gaussian, eps: Array) -> Array:
    """The gradient by the decoder's parameter, (N, ...): 1/S sum_s d log p(x|z_s).

    q does not depend on this parameter, so the derivative goes inside the expectation at once.
    """
    z = _apart(q, eps).sample(eps)
    return namespace(eps).mean(p.decoder_score(z), axis=0)


def _less_kl(estimates: Pair, q: Gaussian) -> Pair:
    mu, logvar = q.kl_grad()
    return estimates[0] - mu, estimates[1] - logvar


# ---- the importance-weighted bound:  E log 1/S sum_s w_s,  w_s = p(x, z_s) / q(z_s|x) ----


def iwae_pathwise(p: Likelihood, q: Gaussian, eps: Array) -> Pair:
    """The encoder's gradient of the S-sample bound, through the draws.

    With h_s = log w_s and the normalised weights u_s = w_s / sum_t w_t,

        d/dphi log 1/S sum_s w_s = sum_s u_s dh_s/dphi          phi is mu or logvar

    and phi enters h = log p(x, z) - log q(z) twice: through z, and in q itself at a fixed z,

        dh_s/dphi = (dh/dz) dz_s/dphi - s(z_s)                  s = d log q/dphi, the score

    For S = 1 the score has mean zero; for more it has not, since u_s depends on z_s.

    *Why more draws can hurt.*  Write the mean weight as p(x) (1 + delta).  Where the weights have a
    variance delta is O(S^-1/2), and E delta = 0 whatever q is.  Then

        log(mean weight) = log p(x) + delta - delta^2/2 + ...

                          mean of the gradient              spread            signal-to-noise
        decoder           d log p(x)         = O(1)         O(S^-1/2)         O(S^1/2)
        encoder           -1/2 d E delta^2   = O(1/S)       O(S^-1/2)         O(S^-1/2)

    The encoder's signal falls faster than its noise: the tighter the bound, the less it depends on
    q.  (At q = p(z|x) the signal is 0 for every S.)

    Source  Burda, Grosse and Salakhutdinov (2016), section 3; Rainforth and others (2018),
            theorem 1.
    """
    q = _apart(q, eps)
    z = q.sample(eps)
    u, slope = _weights(p, q, z)
    mu, logvar = q.pathwise_grad(u[..., None] * slope, eps)
    score_mu, score_logvar = (_weighted(u, s) for s in q.score(z))
    return mu - score_mu, logvar - score_logvar


def iwae_dreg(p: Likelihood, q: Gaussian, eps: Array) -> Pair:
    """The doubly reparameterized gradient: the same mean, and a signal that grows with S.

    The noise of `iwae_pathwise` comes from the score.  But for any g, `score_function` and
    `pathwise` have one mean,  E[ g(z) s(z) ] = E[ (dg/dz) dz/dphi ].  Take g = u_s as a function of
    z_s alone, with the other draws and the parameters in the weights held fixed.  It is
    u_s = w_s / (w_s + rest), so with h = log w

        du_s/dz_s = u_s (1 - u_s) dh/dz

    and the score, reparameterized a second time, cancels most of the path:

        E sum_s [ u_s (dh/dz) dz_s/dphi - u_s s(z_s) ]
            = E sum_s [ u_s - u_s (1 - u_s) ] (dh/dz) dz_s/dphi
            = E sum_s u_s^2 (dh/dz) dz_s/dphi

    *Why it is a repair.*  u_s is about 1/S, so this is 1/S times a mean over draws: the signal is
    O(1/S) as before, but the spread is O(S^-3/2), and their ratio grows as S^1/2.  For S = 1 it is
    the gradient that "sticks the landing": at q = p(z|x), where h does not depend on z, it is 0 for
    every draw.

    Source  Tucker, Lawson, Gu and Maddison (2019); Roeder, Wu and Duvenaud (2017).
    """
    q = _apart(q, eps)
    u, slope = _weights(p, q, q.sample(eps))
    return q.pathwise_grad((u * u)[..., None] * slope, eps)


def iwae_decoder(p: Likelihood, q: Gaussian, eps: Array) -> Array:
    """The gradient of the S-sample bound by the decoder's parameter, (N, ...).

    It enters the weights only through log p(x|z):  sum_s u_s d log p(x|z_s).
    """
    q = _apart(q, eps)
    z = q.sample(eps)
    u, _ = _weights(p, q, z)
    scores = p.decoder_score(z)
    xp, trailing = namespace(eps), scores.ndim - u.ndim
    return xp.sum(xp.reshape(u, u.shape + (1,) * trailing) * scores, axis=0)


def _weights(p: Likelihood, q: Gaussian, z: Array) -> Pair:
    """(u, dh/dz): normalised weights (S, N), and the slope of h = log p(x, z) - log q(z)."""
    zero = namespace(z).zeros_like(q.mu)
    prior = Gaussian(zero, zero)
    h = p.log_prob(z) + prior.log_prob(z) - q.log_prob(z)
    return softmax(h, axis=0), p.slope(z) + prior.grad_value(z) - q.grad_value(z)


# ---- what all of them share ----


def _apart(q: Gaussian, eps: Array) -> Gaussian:
    """q with parameters (N, K): each estimate has its own, so that nothing is added up over N."""
    xp, rows = namespace(eps), eps.shape[1:]
    if eps.ndim != 3 or q.mu.shape not in (rows, rows[1:]) or q.logvar.shape != q.mu.shape:
        raise ValueError(
            "expected eps (S, N, K) and mu, logvar of shape (K,) or (N, K), "
            f"got {eps.shape}, {q.mu.shape} and {q.logvar.shape}"
        )
    return Gaussian(xp.broadcast_to(q.mu, rows), xp.broadcast_to(q.logvar, rows))


def _weighted(weight: Array, a: Array) -> Array:
    """sum_s weight_s a_s: (S, N) and (S, N, K) -> (N, K)."""
    return namespace(a).sum(weight[..., None] * a, axis=0)


@dataclass(frozen=True)
class Signal:
    """Mean, variance and signal-to-noise ratio of a gradient, each with its standard error.

    All have the shape of one estimate.  With the mean m, the variance s^2 and the skewness g and
    kurtosis k (the third and fourth moment in units of s), N estimates and the delta method give

        error of m      s / sqrt(N)
        error of s^2    s^2 sqrt( (k - 1) / N )
        R = m / s:      dR = dm / s - R d(s^2) / (2 s^2),     cov(m, s^2) = s^3 g / N,     so
        error of R      sqrt( [ 1 - R g + R^2 (k - 1) / 4 ] / N )

    The signal-to-noise ratio is |R|.  Being positive it cannot report 0: a gradient without any
    signal shows about 1/sqrt(N).  Where all N estimates are equal it is inf, or 0 if they are zero.

    The errors of s^2 and R are asymptotic: from N = 100 or so on they mean what they say.  Below
    N = 4 they are nan, because so few estimates have no kurtosis to speak of.
    """

    mean: Array
    mean_error: Array
    variance: Array
    variance_error: Array
    snr: Array
    snr_error: Array

    @classmethod
    def of(cls, estimates: Array) -> "Signal":
        """From N independent estimates, (N, ...); all in float64.  A nan among them stays one.

        Raises  ValueError if there are fewer than 2.
        """
        xp, N = namespace(estimates), estimates.shape[0]
        if N < 2:
            raise ValueError(f"expected at least 2 estimates, got {N}")
        equal = xp.max(estimates, axis=0) == xp.min(estimates, axis=0)
        mean = xp.sum(estimates, axis=0, dtype=xp.float64) / N
        r = estimates - mean
        zero = xp.zeros_like(mean)
        variance = xp.where(equal, zero, xp.sum(r * r, axis=0) / (N - 1))
        s = xp.sqrt(variance)
        unit = xp.where(equal, zero + 1.0, s)
        t, R = r / unit, mean / unit
        m2, m3, m4 = (xp.mean(t**power, axis=0) for power in (2, 3, 4))
        snr_variance = 1.0 - R * m3 + 0.25 * R * R * (m4 - m2 * m2)
        certain = xp.where(mean == 0.0, zero, zero + math.inf)
        few = zero + (math.nan if N < 4 else 0.0)
        return cls(
            mean,
            s / math.sqrt(N),
            variance,
            variance * xp.sqrt(xp.maximum(m4 - m2 * m2, zero) / N) + few,
            xp.where(equal, certain, xp.abs(R)),
            xp.where(equal, zero, xp.sqrt(xp.maximum(snr_variance, zero) / N)) + few,
        )

    def bias(self, truth: Array) -> Array:
        """mean - truth; its standard error is `mean_error`."""
        return self.mean - truth
