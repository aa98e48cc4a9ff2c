"""Rungs about estimates: gradients of bounds, their error bars, annealing, EM; each has a truth."""

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from minivae import evaluation, exact, objectives
from minivae.distributions import Gaussian
from minivae.evaluation import estimators as methods
from minivae.evaluation.targets import LinearLikelihood, Quadratic
from minivae.models import VAE
from minivae.models.networks import LIKELIHOODS
from minivae.verify import integrals
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting, worst
from minivae.verify.gradients import complex_step, gradient_error, model_errors

Pair = tuple[Any, Any]


def iwae(setting: Setting) -> list[Figure]:
    """The gradient of `objectives.iwae`: by complex step, for k = 1, and its mean for k = 2.

    The mean over the noise is a sum over the nodes of a quadrature, so that nothing is left to
    chance.  Its truth is the integral over codes of densities, differentiated by a complex step.
    """
    step = one = 0.0
    for case in range(setting.pick(1, 10, 50)):
        rng = np.random.default_rng([44, case])
        for name in LIKELIHOODS:
            model, x, eps = drawn_model(VAE, rng, S=3, likelihood=name, variance="pixel")

            def run(gradient: bool, model: VAE = model, x: Any = x, eps: Any = eps) -> Any:
                return objectives.iwae(model, x, eps, gradient)

            step = worst(step, *model_errors(model, run).values())
            one = worst(one, _one_sample(model, x[:1]))
    value, slope = _two_samples(setting.pick(1, 2, 20))
    return [
        Figure("error of the gradient", step, 1e-12, "relative"),
        Figure("IWAE_1 less the ELBO, in the mean", one, 1e-11, "nats"),
        Figure("mean of IWAE_2 against its integral", value, 1e-8, "nats"),
        Figure("mean gradient of IWAE_2 against its integral's", slope, 1e-7, "relative"),
    ]


def estimators(setting: Setting) -> list[Figure]:
    """Means of gradient estimators over the nodes of a quadrature, against complex steps.

    A quadratic function and a linear decoder: their expectations are written out here.
    """
    rng = np.random.default_rng(45)
    mu, logvar, A, b = (rng.normal(0.0, 0.5, s) for s in ((2,), (2,), (2, 2), (2,)))
    q, f = Gaussian(mu, logvar), Quadratic(A, b, 0.4)
    (eps, w), (two, w_two) = integrals.noise(2, 1, 8), integrals.noise(2, 2, 8)

    def expected(m: Any, l: Any) -> Any:
        z = m + np.exp(0.5 * l) * eps[0]
        return w @ (0.5 * ((z @ A) * z).sum(axis=1) + z @ b + 0.4)

    truth = _slopes(expected, mu, logvar)
    means = {
        "pathwise": _mean(w, methods.pathwise(q, f.slope, eps)),
        "score function": _mean(w, methods.score_function(q, f, eps)),
        "with a baseline": _mean(w, methods.score_function(q, f, eps, 0.7)),
        "leave one out": _mean(w_two, methods.score_function(q, f, two, methods.leave_one_out)),
        "the stated truth": f.expectation_grad(q),
    }
    figures = [Figure(name, _off(got, truth), 1e-11, "relative") for name, got in means.items()]
    return [*figures, *_bounds_of_a_linear_decoder(rng)]


def error_bars(setting: Setting) -> list[Figure]:
    """Standard errors, effective sample sizes and bits against Python's statistics."""
    values = np.random.default_rng(46).normal(-100.0, 5.0, 40)
    e, spread = evaluation.Estimate.of(values), statistics.stdev(values)
    simple = worst(abs(e.mean - statistics.fmean(values)), abs(e.standard_error * 40**0.5 - spread))
    bits = abs(e.bits_per_dimension(64) * 64.0 - math.log2(math.e) * e.mean)
    log_w = np.random.default_rng(47).normal(-50.0, 0.5, (100, setting.pick(300, 3000, 30_000)))
    found = evaluation.ImportanceEstimate.of(log_w)
    first = np.exp(log_w[:, 0] + 50.0).tolist()
    mean, total = statistics.fmean(first), math.fsum(v * v for v in first)
    by_hand = (
        math.log(mean) - 50.0, statistics.stdev(first) / mean / 10.0, math.fsum(first) ** 2 / total,
    )  # fmt: skip
    stated = (found.log_evidence[0], found.standard_error[0], found.ess[0])
    deviation = float(found.log_evidence.std()) / float(found.standard_error.mean()) - 1.0
    signal = methods.Signal.of(values[:, None])
    of_signal = (signal.mean[0], signal.mean_error[0], signal.variance[0], signal.snr[0])
    m, mean_error = statistics.fmean(values), spread / 40**0.5
    apart = np.subtract(of_signal, (m, mean_error, spread**2, abs(m) / spread))
    return [
        Figure("a mean and its standard error", simple, 1e-11, "nats"),
        Figure("bits per dimension", bits, 1e-11, "bits"),
        Figure("importance weights: log p, error, ess", worst(np.abs(np.subtract(stated, by_hand))),
            1e-10, "absolute"),
        Figure("stated errors against the spread of repetitions", abs(deviation), 0.2, "relative"),
        Figure("mean, variance and signal-to-noise ratio", worst(np.abs(apart)), 1e-10, "absolute"),
    ]  # fmt: skip


def annealing(setting: Setting) -> list[Figure]:
    """Annealed importance sampling on a linear world, whose log p(x) is a formula."""
    rng = np.random.default_rng(48)
    world = exact.LinearGaussian(rng.normal(0.0, 0.8, (2, 4)), rng.normal(size=4), 0.4)
    model, n = exact.as_vae(world), setting.pick(6, 20, 40)
    path = evaluation.Annealing(100, setting.pick(30, 50, 100), 5)
    x = world.sample(n, rng)[1]
    found = evaluation.annealed_likelihood(model, x, rng, path)
    off, bars = found.evidence.log_evidence - _log_p(world, x), found.evidence.standard_error
    mean = abs(float(off.mean())) / (math.sqrt(float((bars**2).sum())) / n)
    both = evaluation.bidirectional(model, n, rng, path)
    log_p = _log_p(world, both.x)
    sides = [
        float(a.mean()) / (float(a.std(ddof=1)) / math.sqrt(n))
        for a in (both.lower - log_p, log_p - both.upper)
    ]
    return [
        Figure("log p(x) by annealing", mean, 4.0, "standard errors"),
        Figure("log p(x) of each example, at most", worst(np.abs(off) / bars), 5.0,
            "standard errors"),
        Figure("lower bound above, or upper below, log p(x)", worst(*sides), 3.5,
            "standard errors"),
        Figure("width of the sandwich", abs(float(both.gap.mean())), 0.1, "nats"),
        Figure("acceptance away from the pilot's aim", worst(np.abs(found.acceptance - 0.65)), 0.3,
            "of 1"),
    ]  # fmt: skip


def em(setting: Setting) -> list[Figure]:
    """EM never falls, ends at the maximum by eigenvalues, and its M step leaves no slope."""
    rng = np.random.default_rng(49)
    x = rng.normal(size=(200, 5)) * np.array([3.0, 2.0, 0.5, 0.4, 0.3]) + 1.0
    world, history = exact.run_em(x, 2, setting.pick(400, 400, 2000), rng)
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    rest = float(values[2:].mean())
    log_det = float(np.log(values[:2]).sum()) + 3.0 * math.log(rest)
    best = -0.5 * (5.0 * math.log(2.0 * math.pi) + log_det + 5.0)
    stated = exact.max_log_likelihood(values, 2)
    start = exact.LinearGaussian(rng.normal(size=(2, 5)), x.mean(axis=0), 0.7)
    m, V = exact.e_step(start, x)
    after = exact.m_step(start, x, m, V)
    parameters = np.concatenate([after.W.ravel(), [after.variance]])

    def expected(p: Any) -> Any:
        """E_q log p(x|z), the part of the ELBO that the M step climbs, per example."""
        W, variance = p[:-1].reshape(2, 5), p[-1]
        r = x - start.b - m @ W
        error = (r * r).sum() / len(x) + (V * (W @ W.T)).sum()
        return -0.5 * (5.0 * np.log(variance) + error / variance)

    slope = complex_step(expected, parameters)
    return [
        Figure("rounds that fall, by", worst(0.0, -np.diff(history)), 1e-10, "nats"),
        Figure("end against the maximum", worst(abs(history[-1] - best)), 1e-8, "nats"),
        Figure("the stated maximum", abs(stated - best), 1e-10, "nats"),
        Figure("slope after an M step", worst(np.abs(slope)), 1e-10, "nats"),
    ]


def _one_sample(model: VAE, x: np.ndarray) -> float:
    """E log w is the ELBO: a KL by samples and a KL in closed form have one mean."""
    eps, w = integrals.noise(2, 1, 12)
    rows = np.repeat(x, len(w), axis=0)
    sampled = objectives.iwae(model, rows, eps, gradient=False).bound
    return abs(float(w @ (sampled - objectives.elbo(model, rows, eps, gradient=False).elbo)))


def _two_samples(cases: int) -> tuple[float, float]:
    """IWAE_2 of a model with one latent, and its gradient by all of theta."""
    eps, w = integrals.noise(1, 2)
    keep = (w > 1e-13) & (eps[0, :, 0] <= eps[1, :, 0])  # the two draws may change places
    eps, w = eps[:, keep], np.where(eps[0, :, 0] < eps[1, :, 0], 2.0 * w, w)[keep]
    value = slope = 0.0
    for case in range(cases):
        model, x, _ = drawn_model(VAE, np.random.default_rng([50, case]), B=1, latent=1)
        parameters, theta = model.parameters, model.parameters.theta
        theta *= 0.4  # where weights differ by orders of magnitude, the rule needs more nodes
        mean_bound, mean_gradient = 0.0, np.zeros(len(parameters))
        for i in range(len(w)):
            parameters.zero_grad()
            mean_bound += w[i] * objectives.iwae(model, x, eps[:, i : i + 1]).bound[0]
            mean_gradient -= w[i] * parameters.grad

        def bound(values: Any, model: VAE = model, x: Any = x) -> Any:
            model.parameters.bind(values)
            q = model.encode(x)
            return integrals.two_draws(
                lambda z: model.decode(z).log_prob(x[0]), q.mu[0, 0], q.logvar[0, 0]
            )

        truth = complex_step(bound, theta)
        value = worst(value, abs(mean_bound - bound(theta)))
        parameters.bind(theta)
        slope = worst(slope, gradient_error(mean_gradient, truth, 1.0))
    return value, slope


def _bounds_of_a_linear_decoder(rng: np.random.Generator) -> list[Figure]:
    """Estimators of the ELBO's gradient and of IWAE_2's, with one latent and two pixels."""
    mu, logvar, W, x = (rng.normal(0.0, 0.5, s) for s in ((1,), (1,), (1, 2), (2,)))
    q, p = Gaussian(mu, logvar), LinearLikelihood(W, np.zeros(2), 0.5, x)
    (eps, w), (two, w_two) = integrals.noise(1, 1), integrals.noise(1, 2)

    def log_p(z: Any, W: Any = W) -> Any:
        return integrals.normal(x, z @ W, math.log(0.5)).sum(axis=-1)

    def elbo(m: Any, l: Any) -> Any:
        z = m + np.exp(0.5 * l) * eps[0]
        return w @ log_p(z) - 0.5 * (m * m + np.exp(l) - l - 1.0).sum()

    def bound(m: Any, l: Any) -> Any:
        return integrals.two_draws(log_p, m[0], l[0])

    def of_decoder(V: Any) -> Any:
        return integrals.two_draws(lambda z: log_p(z, V), mu[0], logvar[0])

    truth, deeper = _slopes(elbo, mu, logvar), _slopes(bound, mu, logvar)
    by_W = np.tensordot(w_two, methods.iwae_decoder(p, q, two), 1)
    return [
        Figure("ELBO, pathwise", _off(_mean(w, methods.elbo_pathwise(p, q, eps)), truth), 1e-11,
            "relative"),
        Figure("ELBO, score function",
            _off(_mean(w, methods.elbo_score_function(p, q, eps, 0.3)), truth), 1e-11, "relative"),
        Figure("ELBO, the stated truth", _off(p.elbo_grad(q)[:2], truth), 1e-11, "relative"),
        Figure("IWAE_2, pathwise", _off(_mean(w_two, methods.iwae_pathwise(p, q, two)), deeper),
            1e-5, "relative"),
        Figure("IWAE_2, doubly reparameterized",
            _off(_mean(w_two, methods.iwae_dreg(p, q, two)), deeper), 1e-5, "relative"),
        Figure("IWAE_2 by the decoder", gradient_error(by_W, complex_step(of_decoder, W), 1.0),
            1e-5, "relative"),
    ]  # fmt: skip


def _slopes(f: Callable[[Any, Any], Any], mu: np.ndarray, logvar: np.ndarray) -> Pair:
    return complex_step(lambda m: f(m, logvar), mu), complex_step(lambda l: f(mu, l), logvar)


def _mean(w: np.ndarray, estimates: Pair) -> Pair:
    return w @ estimates[0], w @ estimates[1]


def _off(got: Pair, truth: Pair) -> float:
    return worst(*(gradient_error(g, t, 1.0) for g, t in zip(got, truth, strict=True)))


def _log_p(world: exact.LinearGaussian, x: np.ndarray) -> np.ndarray:
    """log N(x; b, C) with C = W^T W + sigma^2 I, by NumPy's linear algebra."""
    C = world.W.T @ world.W + world.variance * np.eye(x.shape[1])
    r, log_det = x - world.b, np.linalg.slogdet(C)[1]
    distance = (r * np.linalg.solve(C, r.T).T).sum(axis=1)
    return np.asarray(-0.5 * (x.shape[1] * math.log(2.0 * math.pi) + log_det + distance))
