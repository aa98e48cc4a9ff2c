"""Rungs about distributions: they are held against sums, quadratures and moments, not formulas."""

import itertools
import math

import numpy as np

from minivae import numerics
from minivae.distributions import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from minivae.layers import SoftClip
from minivae.models import VAE
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting, worst

Points = tuple[np.ndarray, np.ndarray]
"""Nodes (n,) and weights (n,) of a quadrature."""


def normalised(setting: Setting) -> list[Figure]:
    """Probabilities sum to one, densities integrate to one."""
    logits = _logits(setting)
    coins, die = Bernoulli(logits[None, :4]), Categorical(logits[:6].reshape(2, 3))
    words = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    rolls = np.eye(3)[np.array(list(itertools.product(range(3), repeat=2)))]
    total = [np.exp(coins.log_prob(words)).sum(), np.exp(die.log_prob(rolls)).sum()]
    v, w = _line()
    gaussian = worst(*[_off(w @ np.exp(q.log_prob(v[:, None]))) for q in _gaussians()])
    u, w = _unit()
    grey = [w @ np.exp(ContinuousBernoulli(np.array([a])).log_prob(u[:, None])) for a in logits]
    return [
        Figure("Bernoulli, by enumeration", _off(total[0]), 1e-12, "of 1"),
        Figure("Categorical, by enumeration", _off(total[1]), 1e-12, "of 1"),
        Figure("Gaussian, by quadrature", gaussian, 1e-12, "of 1"),
        Figure("continuous Bernoulli, by quadrature", worst(*map(_off, grey)), 1e-12, "of 1"),
    ]


def scores(setting: Setting) -> list[Figure]:
    """E score = 0 under every density, and E x is what `mean` says."""
    logits, bit = _logits(setting), np.array([[0.0], [1.0]])
    coins = grey = means = 0.0
    u, w = _unit()
    for a in logits:
        coin, density = Bernoulli(np.array([a])), ContinuousBernoulli(np.array([a]))
        p = np.exp(coin.log_prob(bit))
        coins = worst(coins, abs(float(p @ coin.score(bit)[0][:, 0])))
        f = w * np.exp(density.log_prob(u[:, None]))
        grey = worst(grey, abs(float(f @ density.score(u[:, None])[0][:, 0])))
        means = worst(means, abs(float(p[1] - coin.mean[0])), abs(float(f @ u - density.mean[0])))
    v, w = _line()
    gaussian = 0.0
    for q in _gaussians():
        f = w * np.exp(q.log_prob(v[:, None]))
        gaussian = worst(gaussian, *(abs(float(f @ s[:, 0])) for s in q.score(v[:, None])))
    return [
        Figure("mean score of the Bernoulli", coins, 1e-12, "absolute"),
        Figure("mean score of the Gaussian", gaussian, 1e-12, "absolute"),
        Figure("mean score of the continuous Bernoulli", grey, 1e-12, "absolute"),
        Figure("E x against the stated mean", means, 1e-12, "absolute"),
    ]


def divergences(setting: Setting) -> list[Figure]:
    """The closed form of KL against the integral of q log(q / p)."""
    v, w = _line()
    normal, standard, general = Gaussian(np.zeros(1), np.zeros(1)), 0.0, 0.0
    for q, p in itertools.product(_gaussians(), repeat=2):
        log_q = q.log_prob(v[:, None])
        f = w * np.exp(log_q)
        standard = worst(standard, abs(float(f @ (log_q - normal.log_prob(v[:, None])) - q.kl())))
        general = worst(general, abs(float(f @ (log_q - p.log_prob(v[:, None])) - q.kl(p))))
    a, b = Categorical(np.array([[0.3, -1.0, 2.0]])), Categorical(np.array([[1.0, 0.0, -0.5]]))
    counted = sum(float(x * math.log(x / y)) for x, y in zip(a.mean[0], b.mean[0], strict=True))
    return [
        Figure("KL to the standard normal", standard, 1e-10, "nats"),
        Figure("KL between two Gaussians", general, 1e-10, "nats"),
        Figure("KL between two Categoricals", abs(counted - float(a.kl(b))), 1e-12, "nats"),
    ]


def moments(setting: Setting) -> list[Figure]:
    """Samples have the mean and the variance of their law, and every example its own noise.

    The noise is a quadrature's nodes, so that the moments are exact and nothing is left to chance.
    """
    eps, w = np.polynomial.hermite_e.hermegauss(20)
    w = w / w.sum()
    first = second = 0.0
    for q in _gaussians():
        z = q.sample(eps[:, None])[:, 0]
        variance = math.exp(float(q.logvar[0]))
        first = worst(first, abs(float(w @ z - q.mu[0])))
        second = worst(second, abs(float(w @ (z - q.mu[0]) ** 2) / variance - 1.0))
    n = setting.pick(20_000, 100_000, 1_000_000)
    u, coins, grey = (np.arange(n) + 0.5)[:, None] / n, 0.0, 0.0
    nodes, weights = _unit()
    for a in (-3.0, -0.1, 0.0, 0.2, 2.0):
        x = Bernoulli(np.array([a])).sample(u)
        p = 1.0 / (1.0 + math.exp(-a))
        coins = worst(coins, abs(float(x.mean()) - p), abs(float(x.var()) - p * (1.0 - p)))
        density = ContinuousBernoulli(np.array([a]))
        law = weights * np.exp(density.log_prob(nodes[:, None]))
        y = density.sample(nodes[:, None])[:, 0]
        grey = worst(grey, abs(float(weights @ y - law @ nodes)))
        grey = worst(grey, abs(float(weights @ y**2 - law @ nodes**2)))
    return [
        Figure("mean of Gaussian samples", first, 1e-12, "absolute"),
        Figure("variance of Gaussian samples", second, 1e-12, "relative"),
        Figure("mean and variance of coins", coins, 2.0 / n, "absolute"),
        Figure("moments of the continuous Bernoulli", grey, 1e-10, "absolute"),
        Figure("equal examples with equal noise", _shared_noise(), 0.0, "pairs"),
    ]


def extremes(setting: Setting) -> list[Figure]:
    """Far out nothing overflows, nothing is clipped, and a log-variance finds the way back."""
    lost = 0.0
    for a in (-800.0, -40.0, 40.0, 800.0):
        for x in (0.0, 1.0):
            want = x * a - (max(a, 0.0) + math.log1p(math.exp(-abs(a))))
            got = float(Bernoulli(np.array([a])).log_prob(np.array([x])))
            lost = worst(lost, abs(got - want) / max(1.0, abs(want)))
    clip, far = SoftClip(15.0), np.array([[-60.0, -30.0, 30.0, 60.0]])
    y, cache = clip.forward(far)
    slope = clip.backward(np.ones_like(far), cache)
    sums = numerics.logsumexp(np.array([1000.0, 1000.0])) - 1000.0 - math.log(2.0)
    low = numerics.log_mean_exp(np.array([-1000.0, -1000.0])) + 1000.0
    return [
        Figure("log P of a coin with a logit of 800", lost, 1e-14, "relative"),
        Figure("log-variances without a slope", float((~(slope > 0.0)).sum()), 0.0, "of 4"),
        Figure("log-variances beyond the limit", float((~(np.abs(y) <= 15.0)).sum()), 0.0, "of 4"),
        Figure("logsumexp at 1000 and -1000", worst(np.abs(sums), np.abs(low)), 1e-12, "nats"),
    ]


def _shared_noise() -> float:
    """How many of three copies of an example have not a reconstruction of their own."""
    model, x, _ = drawn_model(VAE, np.random.default_rng(34), B=1, likelihood="gaussian")
    result = model.objective(np.repeat(x, 4, axis=0), np.random.default_rng(1), gradient=False)
    return float((~(np.abs(np.diff(result.reconstruction)) > 0.0)).sum())


def _logits(setting: Setting) -> np.ndarray:
    """From -18 to 18, with some about the branch of the continuous Bernoulli's series."""
    few = [-2.0, 0.7, 5.0, -0.3, 0.29, 1e-5, 0.0, -18.0, 18.0]
    n = setting.pick(0, 20, 200)
    return np.concatenate([few, np.random.default_rng(35).normal(0.0, 4.0, n).clip(-18.0, 18.0)])


def _gaussians() -> list[Gaussian]:
    pairs = [(0.0, 0.0), (1.5, -1.0), (-0.7, 0.8), (0.2, -2.0)]
    return [Gaussian(np.array([mu]), np.array([logvar])) for mu, logvar in pairs]


def _line() -> Points:
    """The trapezoid rule on [-25, 25]: for a Gaussian it converges faster than any power."""
    v = np.linspace(-25.0, 25.0, 2501)
    return v, np.full(v.shape, v[1] - v[0])


def _unit() -> Points:
    """Gauss and Legendre's nodes on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def _off(total: float) -> float:
    return abs(float(total) - 1.0)
