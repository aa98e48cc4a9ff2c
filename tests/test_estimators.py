"""Estimators of gradients: their means by quadrature, their spreads by formulas, their rates.

An estimator returns every estimate by itself, so its mean needs no random numbers: give it the
nodes of a quadrature for noise, and weigh what comes back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import cubature, hermite, log_pdf, make_model, record

from minivae import VAE, Gaussian, objectives
from minivae.evaluation.estimators import (
    Signal,
    elbo_decoder,
    elbo_pathwise,
    elbo_score_function,
    iwae_decoder,
    iwae_dreg,
    iwae_pathwise,
    leave_one_out,
    optimal_baseline,
    pathwise,
    score_function,
)
from minivae.evaluation.targets import LinearLikelihood, NetworkLikelihood, Quadratic
from minivae.verify import complex_step, gradient_error


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def nodes(S: int, K: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise (S, n^(S K), K) and weights (n^(S K),) that stand for S draws in K dimensions."""
    points, weights = hermite(n)
    grid = np.array(list(itertools.product(points, repeat=S * K)))
    product = np.array([math.prod(w) for w in itertools.product(weights, repeat=S * K)])
    return grid.reshape(-1, S, K).swapaxes(0, 1), product


def mean(estimates: Any, weights: np.ndarray) -> list[np.ndarray]:
    """The means of a pair of estimates, or of one array of them, under the quadrature."""
    arrays = estimates if isinstance(estimates, tuple) else (estimates,)
    return [np.tensordot(weights, a, axes=1) for a in arrays]


def variance(estimates: Any, weights: np.ndarray) -> list[np.ndarray]:
    arrays = estimates if isinstance(estimates, tuple) else (estimates,)
    middle = mean(estimates, weights)
    return [
        np.tensordot(weights, (a - m) ** 2, axes=1) for a, m in zip(arrays, middle, strict=True)
    ]


def assert_close(got: list[np.ndarray], want: Any, tolerance: float = 1e-11) -> None:
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * max(1.0, np.abs(b).max()), (a, b)


def quadratic(K: int = 2, seed: int = 0) -> tuple[Quadratic, Gaussian]:
    """A quadratic whose matrix is not symmetric, and a q that is neither centred nor of width 1."""
    draw = rng(seed)
    f = Quadratic(draw.normal(size=(K, K)), draw.normal(size=K), 0.7)
    return f, Gaussian(draw.normal(size=K), draw.uniform(-1.5, 0.5, K))


def world(K: int = 2, D: int = 3, seed: int = 0) -> tuple[LinearLikelihood, Gaussian]:
    """A linear decoder, one example, and a q that is not its posterior."""
    draw = rng(seed)
    W, b, x = draw.normal(size=(K, D)), draw.normal(size=D), draw.normal(size=D)
    return LinearLikelihood(W, b, 0.8, x), Gaussian(draw.normal(size=K), draw.uniform(-1, 0.3, K))


# ---- the truth ----


@pytest.mark.parametrize("seed", range(3))
def test_the_quadratic_by_plain_loops_and_quadrature(seed: int) -> None:
    f, q = quadratic(3, seed)
    z = rng(seed).normal(size=(2, 3))
    for value, row in zip(f(z), z.tolist(), strict=True):
        pairs = itertools.product(range(3), repeat=2)
        want = sum(0.5 * row[j] * f.A[j, k] * row[k] for j, k in pairs)
        want += sum(row[k] * f.b[k] for k in range(3)) + 0.7
        assert math.isclose(value, want, rel_tol=1e-13)
    record(
        "Quadratic.slope",
        {"": gradient_error(f.slope(z), complex_step(lambda a: f(a).sum(), z), 1)},
    )

    eps, weights = nodes(1, 3, 3)

    def expectation(mu: np.ndarray, logvar: np.ndarray) -> Any:
        return weights @ f(mu + np.exp(logvar / 2) * eps)[0]

    assert math.isclose(f.expectation(q), expectation(q.mu, q.logvar), rel_tol=1e-12)
    truth = f.expectation_grad(q)
    assert_close([complex_step(lambda a: expectation(a, q.logvar), q.mu)], truth[:1])
    assert_close([complex_step(lambda a: expectation(q.mu, a), q.logvar)], truth[1:])


def test_the_linear_likelihood_by_the_standard_library() -> None:
    p, _ = world()
    z = rng(1).normal(size=(2, 4, 2))
    for s, n in np.ndindex(2, 4):
        centre = [p.b[d] + sum(z[s, n, k] * p.W[k, d] for k in range(2)) for d in range(3)]
        want = sum(
            log_pdf(NormalDist(m, math.sqrt(0.8)), a) for m, a in zip(centre, p.x, strict=True)
        )
        assert math.isclose(p.log_prob(z)[s, n], want, rel_tol=1e-12)
    slope = complex_step(lambda a: p.log_prob(a).sum(), z)
    record("LinearLikelihood.slope", {"": gradient_error(p.slope(z), slope, 1.0)})
    by_W = complex_step(lambda W: LinearLikelihood(W, p.b, 0.8, p.x).log_prob(z).sum(), p.W)
    score = p.decoder_score(z).sum(axis=(0, 1))
    record("LinearLikelihood.decoder_score", {"": gradient_error(score, by_W, 1.0)})


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_elbo_is_the_objective_s(seed: int) -> None:
    """The value against `objectives.elbo` with exact noise, the gradient against the value."""
    model, x, _ = make_model(VAE, rng(seed), hidden=(), likelihood="gaussian", variance="fixed")
    view = model.parameters.views(model.parameters.theta)
    W, b = view["decoder.mu.W"], view["decoder.mu.b"]
    v = math.exp(view["decoder.logvar.c"][0])
    q, p = model.encode(x), LinearLikelihood(W, b, v, x)
    want = objectives.elbo(model, x, cubature(3, 2), gradient=False).elbo
    assert np.allclose(p.elbo(q), want, rtol=1e-12, atol=0)

    forms = {
        "mu": (q.mu, lambda a: p.elbo(Gaussian(a, q.logvar)).sum()),
        "logvar": (q.logvar, lambda a: p.elbo(Gaussian(q.mu, a)).sum()),
        "W": (W, lambda a: LinearLikelihood(a, b, v, x).elbo(q).sum()),
    }
    for (name, (at, bound)), g in zip(forms.items(), p.elbo_grad(q), strict=True):
        total = g.sum(axis=0) if name == "W" else g
        error = gradient_error(total, complex_step(bound, at.copy()), 1.0)
        record(f"LinearLikelihood.elbo_grad {name}", {"": error})


# ---- E_q f ----


@pytest.mark.parametrize("S", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_both_estimators_have_the_true_mean(S: int, seed: int) -> None:
    f, q = quadratic(2, seed)
    truth, (eps, weights) = f.expectation_grad(q), nodes(S, 2, 4)
    assert_close(mean(pathwise(q, f.slope, eps), weights), truth)
    for b in (0.0, -3.0, 11.0):
        assert_close(mean(score_function(q, f, eps, b), weights), truth)


def test_the_score_has_mean_zero() -> None:
    q, (eps, weights) = quadratic()[1], nodes(1, 2, 3)
    one = score_function(q, lambda z: np.ones(z.shape[:2]), eps)
    assert_close(mean(one, weights), [np.zeros(2)] * 2, 1e-13)


@pytest.mark.parametrize("S", [1, 3])
def test_the_variances_of_a_square_in_closed_form(S: int) -> None:
    """f = z^2 and eps with moments 1, 3, 15, 105: by mu, the pathwise variance is 4 sigma^2 / S
    and the score function's  mu^4 / sigma^2 + 14 mu^2 + 15 sigma^2, over S; by logvar see below.
    """
    f = Quadratic(np.array([[2.0]]), np.zeros(1))
    m, v = 1.3, 0.4
    q, (eps, weights) = Gaussian(np.array([m]), np.array([math.log(v)])), nodes(S, 1, 8)
    # (m + s e) s e has the mean v; and z^2 (e^2 - 1)/2, with E e^2 (e^2 - 1)^2 = 15 - 6 + 1.
    path = 4 * v / S, (m * m * v + 2 * v * v) / S
    fourth = m**4 * 2 + 6 * m * m * v * 10 + v * v * (105 - 2 * 15 + 3)
    score = (m**4 / v + 14 * m * m + 15 * v) / S, (fourth / 4 - v * v) / S
    for got, want in (
        (variance(pathwise(q, f.slope, eps), weights), path),
        (variance(score_function(q, f, eps), weights), score),
    ):
        assert_close(got, [np.array([a]) for a in want], 1e-10)


def test_the_optimal_baseline_has_the_least_variance() -> None:
    """A parabola is symmetric about its minimum; the mean of f is not where that is."""
    f, q = quadratic()
    eps, weights = nodes(1, 2, 6)

    def total(b: float) -> float:
        return float(sum(v.sum() for v in variance(score_function(q, f, eps, b), weights)))

    z = q.mu + np.exp(q.logvar / 2) * eps[0]
    by_mu, by_logvar = eps[0] / np.exp(q.logvar / 2), (eps[0] ** 2 - 1) / 2
    squares = (by_mu**2 + by_logvar**2).sum(axis=1)
    best = float(weights @ (f(z) * squares) / (weights @ squares))
    assert math.isclose(total(best - 0.5), total(best + 0.5), rel_tol=1e-11)
    assert total(best) < min(total(best + 0.1), total(best - 0.1))
    assert total(best) < total(float(f.expectation(q)))

    draws = rng(1).standard_normal((1, 300_000, 2))
    # 300,000 draws of a ratio whose terms have a standard deviation of about 5.
    assert abs(optimal_baseline(q, f, draws) - best) < 0.05


def test_the_optimal_baseline_of_these_very_draws() -> None:
    """The sum of squares over the draws is a parabola in b, and symmetric about the estimate."""
    f, q = quadratic()
    eps = rng(2).standard_normal((1, 50, 2))
    best = optimal_baseline(q, f, eps)
    above, below = (
        sum((g**2).sum() for g in score_function(q, f, eps, best + h)) for h in (0.3, -0.3)
    )
    assert math.isclose(above, below, rel_tol=1e-12)
    assert optimal_baseline(q, f, eps.reshape(5, 10, 2)) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("S", [2, 3])
def test_leaving_one_out_does_not_bias_and_the_mean_of_all_does(S: int) -> None:
    f, q = quadratic(1)
    truth, (eps, weights) = f.expectation_grad(q), nodes(S, 1, 5)
    assert_close(mean(score_function(q, f, eps, leave_one_out), weights), truth)
    with_itself = score_function(q, f, eps, lambda values: values.mean(axis=0))
    assert_close(mean(with_itself, weights), [(1 - 1 / S) * g for g in truth])


@given(S=st.integers(2, 5), N=st.integers(1, 4))
def test_leave_one_out_by_plain_loops(S: int, N: int) -> None:
    values = rng(S + 7 * N).normal(size=(S, N))
    want = [
        [sum(values[t, n] for t in range(S) if t != s) / (S - 1) for n in range(N)]
        for s in range(S)
    ]
    assert np.allclose(leave_one_out(values), want, rtol=1e-12, atol=1e-14)


def test_a_baseline_helps_where_the_values_are_far_from_zero() -> None:
    """f = 100 + z^2: the constant is pure noise to the score function, and nothing to the path."""
    f = Quadratic(np.array([[2.0]]), np.zeros(1), 100.0)
    q, (eps, weights) = Gaussian(np.ones(1), np.zeros(1)), nodes(2, 1, 8)
    plain, centred, loo, path = (
        variance(estimates, weights)[0][0]
        for estimates in (
            score_function(q, f, eps),
            score_function(q, f, eps, 102.0),
            score_function(q, f, eps, leave_one_out),
            pathwise(q, f.slope, eps),
        )
    )
    assert path < centred < loo < plain / 100


# ---- the ELBO ----


@pytest.mark.parametrize("S", [1, 2])
def test_all_estimators_of_the_elbo_s_gradient_have_the_true_mean(S: int) -> None:
    p, q = world(2)
    *truth, dW = p.elbo_grad(q)
    eps, weights = nodes(S, 2, 4)
    assert_close(mean(elbo_pathwise(p, q, eps), weights), truth)
    assert_close(mean(elbo_score_function(p, q, eps), weights), truth)
    assert_close(mean(elbo_score_function(p, q, eps, -4.0), weights), truth)
    assert_close(mean(elbo_decoder(p, q, eps), weights), [dW])
    if S == 2:
        assert_close(mean(elbo_score_function(p, q, eps, leave_one_out), weights), truth)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_the_gradient_is_the_one_that_a_vae_is_trained_with(likelihood: str) -> None:
    model, x, eps = make_model(VAE, rng(), S=3, likelihood=likelihood)
    grad = model.parameters.views(model.parameters.grad)
    head = "decoder.mu.b" if likelihood == "gaussian" else "decoder.logits.b"
    if likelihood == "continuous-bernoulli":
        head = ""  # its bias is in front of a clip
    objectives.elbo(model, x, eps)
    before, p, q = model.parameters.grad.copy(), NetworkLikelihood(model, x), model.encode(x)
    mu, logvar = elbo_pathwise(p, q, eps)
    assert np.array_equal(model.parameters.grad, before), "the model's gradient was touched"
    # The loss is minus the mean of the bound over examples, and a bias is added to its output.
    assert_close([-mu.mean(axis=0)], [grad["encoder.mu.b"]])
    slope = 1 - (q.logvar / 15) ** 2  # of SoftClip
    assert_close([-(logvar * slope).mean(axis=0)], [grad["encoder.logvar.0.b"]])
    if head:
        assert_close([-elbo_decoder(p, q, eps).mean(axis=0)], [grad[head]])


def test_the_network_likelihood_by_complex_step() -> None:
    model, x, eps = make_model(VAE, rng(), S=2, activation="tanh")
    p = NetworkLikelihood(model, x)
    want = [model.decode(row).log_prob(x) for row in eps]
    assert np.allclose(p.log_prob(eps), want, rtol=1e-13)
    slope = complex_step(lambda z: p.log_prob(z).sum(), eps)
    record("NetworkLikelihood.slope", {"": gradient_error(p.slope(eps), slope, 1.0)})
    alone = NetworkLikelihood(model, x[0])  # one example for all estimates
    assert np.allclose(alone.log_prob(eps)[:, 0], p.log_prob(eps)[:, 0], rtol=1e-13)


# ---- the importance-weighted bound ----


def log_mean_weight(p: LinearLikelihood, mu: Any, logvar: Any, W: Any, eps: np.ndarray) -> Any:
    """log 1/S sum_s p(x, z_s) / q(z_s), written out; (S, N, 1) -> (N,), for complex numbers too."""
    z = mu + np.exp(logvar / 2) * eps
    r = p.x - p.b - z * W
    D, v = r.shape[-1], p.variance
    log_w = -0.5 * (D * math.log(2 * math.pi * v) + (r * r).sum(-1) / v)
    log_w = log_w - 0.5 * (z * z)[..., 0] + 0.5 * (logvar + eps * eps)[..., 0]
    return np.log(np.exp(log_w).mean(axis=0))


def iwae_truth(
    p: LinearLikelihood, q: Gaussian, eps: np.ndarray, weights: np.ndarray
) -> list[np.ndarray]:
    """The derivative of the quadrature of the bound, by complex step: mu, logvar, W."""
    at = {"mu": q.mu, "logvar": q.logvar, "W": p.W}

    def bound(name: str) -> Callable[[np.ndarray], Any]:
        return lambda a: weights @ log_mean_weight(p, eps=eps, **{**at, name: a})

    return [complex_step(bound(name), value) for name, value in at.items()]


@pytest.mark.parametrize("seed", range(2))
def test_both_iwae_gradients_have_the_true_mean(seed: int) -> None:
    """Two draws, one latent: the bound is an integral over the plane, and so are the means."""
    p, q = world(1, 2, seed)
    p = replace(p, variance=2.0)
    eps, weights = nodes(2, 1, 60)
    *truth, dW = iwae_truth(p, q, eps, weights)
    # 60 nodes a dimension resolve the smooth logarithm of two weights to better than 1e-8.
    assert_close(mean(iwae_pathwise(p, q, eps), weights), truth, 1e-8)
    assert_close(mean(iwae_dreg(p, q, eps), weights), truth, 1e-8)
    assert_close(mean(iwae_decoder(p, q, eps), weights), [dW], 1e-8)
    elbo = p.elbo_grad(q)
    assert abs(truth[0] - elbo[0]).max() > 1e-3, "the two bounds have different gradients"


@pytest.mark.parametrize("S", [1, 2, 5])
def test_the_path_is_the_derivative_of_every_single_bound(S: int) -> None:
    p, q = world(1, 2)
    eps = rng(3).standard_normal((S, 4, 1))
    got = [*iwae_pathwise(p, q, eps), iwae_decoder(p, q, eps)]
    for n in range(4):
        want = iwae_truth(p, q, eps[:, n : n + 1], np.ones(1))
        assert_close([g[n] for g in got], want, 1e-12)


def test_one_draw_is_the_elbo() -> None:
    p, q = world(2)
    *truth, dW = p.elbo_grad(q)
    eps, weights = nodes(1, 2, 4)
    assert_close(mean(iwae_pathwise(p, q, eps), weights), truth)
    assert_close(mean(iwae_dreg(p, q, eps), weights), truth)
    assert_close(mean(iwae_decoder(p, q, eps), weights), [dW])


def test_at_the_exact_posterior_only_the_doubly_reparameterized_one_is_silent() -> None:
    p, _ = world(1, 3)
    precision = 1.0 + float((p.W**2).sum()) / p.variance
    q = Gaussian((p.x - p.b) @ p.W.T / p.variance / precision, np.array([-math.log(precision)]))
    eps = rng(4).standard_normal((3, 50, 1))
    assert max(np.abs(g).max() for g in iwae_dreg(p, q, eps)) < 1e-12
    assert min(np.abs(g).mean() for g in iwae_pathwise(p, q, eps)) > 0.1


def test_weights_that_overflow() -> None:
    """log weights of -1e5 and beyond: only their differences count."""
    p, q = world(1, 2)
    far = LinearLikelihood(p.W, p.b, 1e-4, p.x + 10.0)
    eps = rng(5).standard_normal((4, 6, 1))
    for g in (*iwae_pathwise(far, q, eps), *iwae_dreg(far, q, eps), iwae_decoder(far, q, eps)):
        assert np.isfinite(g).all()


def test_the_signal_to_noise_ratios_scale_as_they_should() -> None:
    """From 16 to 64 draws: S^(1/2) for the decoder and for DReG, S^(-1/2) for the encoder's path.

    The path's own mean drowns in its noise; DReG's is the same (see above), and known well.
    """
    W, x = np.array([[0.8, -0.5]]), np.array([1.0, 0.3])
    p, precision = LinearLikelihood(W, np.zeros(2), 1.0, x), 1.0 + float((W**2).sum())
    q = Gaussian(x @ W.T / precision + 0.3, np.array([0.3 - math.log(precision)]))
    snr: dict[str, list[np.ndarray]] = {"path": [], "dreg": [], "decoder": []}
    for S in (16, 64):
        eps = rng(S).standard_normal((S, 4_000, 1))
        path, dreg = (
            Signal.of(np.concatenate(estimator(p, q, eps), axis=1))
            for estimator in (iwae_pathwise, iwae_dreg)
        )
        snr["path"].append(np.abs(dreg.mean) / np.sqrt(path.variance))
        snr["dreg"].append(dreg.snr)
        snr["decoder"].append(Signal.of(iwae_decoder(p, q, eps)).snr)
        assert (np.abs(path.bias(dreg.mean)) < 4 * path.mean_error + 4 * dreg.mean_error).all()
    rates = {name: np.log(late / early) / math.log(4) for name, (early, late) in snr.items()}
    assert np.abs(rates["decoder"] - 0.5).max() < 0.1, rates
    assert np.abs(rates["dreg"] - 0.5).max() < 0.1, rates
    assert np.abs(rates["path"] + 0.5).max() < 0.1, rates


# ---- signal and noise ----


def test_mean_variance_and_ratio() -> None:
    estimates = rng().normal(2.0, 3.0, size=(500, 2, 3))
    signal = Signal.of(estimates)
    assert np.allclose(signal.mean, estimates.mean(axis=0))
    assert np.allclose(signal.variance, estimates.var(axis=0, ddof=1))
    assert np.allclose(signal.snr, np.abs(signal.mean) / np.sqrt(signal.variance))
    assert np.allclose(Signal.of(-estimates).snr, signal.snr)
    assert np.allclose(Signal.of(-estimates).snr_error, signal.snr_error)
    assert np.allclose(signal.bias(np.full((2, 3), 2.0)), signal.mean - 2.0)
    # The ratio has no unit; the mean has that of the gradient, and the variance its square.
    scaled = Signal.of(10 * estimates)
    assert np.allclose(scaled.mean_error, 10 * signal.mean_error)
    assert np.allclose(scaled.variance_error, 100 * signal.variance_error)
    assert np.allclose(scaled.snr_error, signal.snr_error)


@pytest.mark.parametrize("kind", ["normal", "skewed", "skewed the other way"])
def test_the_errors_are_what_repetition_shows(kind: str) -> None:
    """2,000 experiments of 400 estimates each: their spread against the reported errors."""
    draws = rng().standard_normal((400, 2_000))
    if kind != "normal":
        draws = rng().gamma(3.0, size=(400, 2_000)) * (1 if kind == "skewed" else -1)
    signal = Signal.of(draws + 1.0 if kind == "normal" else draws)
    for value, error in (
        (signal.mean, signal.mean_error),
        (signal.variance, signal.variance_error),
        (signal.snr, signal.snr_error),
    ):
        # 2,000 repetitions know a standard deviation to about 2 %, the delta method to O(1/400).
        assert abs(error.mean() / value.std() - 1) < 0.06, kind


def test_estimates_that_do_not_vary() -> None:
    signal = Signal.of(np.array([[0.0, 2.0, -2.0, 1e-200, 0.1]] * 5))
    assert signal.snr.tolist() == [0.0, math.inf, math.inf, math.inf, math.inf]
    assert not signal.snr_error.any() and not signal.variance.any()


def test_a_nan_is_no_signal() -> None:
    signal = Signal.of(np.array([[1.0, 3.0], [math.nan, 4.0], [2.0, 5.0], [1.0, 7.0]]))
    assert np.isnan([getattr(signal, name)[0] for name in vars(signal)]).all()
    assert np.isfinite([getattr(signal, name)[1] for name in vars(signal)]).all()


def test_few_estimates_have_no_error_of_their_variance() -> None:
    for N in (2, 3, 4):
        signal = Signal.of(rng().normal(size=(N, 3)))
        assert np.isnan(signal.variance_error).all() == np.isnan(signal.snr_error).all() == (N < 4)
        assert np.isfinite(signal.snr).all() and np.isfinite(signal.mean_error).all()


def test_many_estimates_in_float32_keep_their_mean() -> None:
    draws = rng().normal(1.0, 0.01, size=(1_000_000, 1)).astype(np.float32)
    signal = Signal.of(draws)
    assert abs(signal.mean[0] - draws.astype(np.float64).mean()) < 1e-12


# ---- shapes, types, errors ----


def again_if_raised(call: Callable[[], Any]) -> Any:
    """What the call returns; if it raises a floating-point flag, what it returns the second time.

    Twice in some twenty runs a matmul of a few finite float32 raised "invalid value" here, on the
    very numbers that pass in all other runs; why is not known.  A fault of ours depends on the
    numbers alone, and raises again.
    """
    try:
        return call()
    except FloatingPointError:
        return call()


@given(S=st.integers(1, 3), N=st.integers(1, 4), K=st.integers(1, 3), dtype=st.sampled_from("fd"))
def test_shapes_and_types(S: int, N: int, K: int, dtype: str) -> None:
    draw = rng(S + 5 * N + 31 * K)

    def array(*shape: int) -> np.ndarray:
        return draw.normal(size=shape).astype(dtype)

    f, eps = Quadratic(array(K, K), array(K)), array(S, N, K)
    p, q = LinearLikelihood(array(K, 5), array(5), 0.5, array(N, 5)), Gaussian(array(K), array(K))
    rows = Gaussian(np.tile(q.mu, (N, 1)), np.tile(q.logvar, (N, 1)))
    for estimator in (
        lambda q: pathwise(q, f.slope, eps),
        lambda q: score_function(q, f, eps, 0.5),
        lambda q: elbo_pathwise(p, q, eps),
        lambda q: elbo_score_function(p, q, eps),
        lambda q: iwae_pathwise(p, q, eps),
        lambda q: iwae_dreg(p, q, eps),
    ):
        shared, own = (again_if_raised(lambda q=q, f=estimator: f(q)) for q in (q, rows))
        for g, h in zip(shared, own, strict=True):
            assert g.shape == (N, K) and g.dtype == dtype and np.isfinite(g).all()
            assert np.array_equal(g, h)
    for decoder in (elbo_decoder, iwae_decoder):
        g = again_if_raised(lambda f=decoder: f(p, q, eps))
        assert g.shape == (N, K, 5) and g.dtype == dtype and np.isfinite(g).all()
    mu, logvar, W = p.elbo_grad(rows)
    assert mu.shape == logvar.shape == (N, K) and W.shape == (N, K, 5) and W.dtype == dtype
    assert p.elbo(rows).shape == f.expectation(rows).shape == (N,)
    if N > 1:
        signal = Signal.of(pathwise(q, f.slope, eps)[0])
        assert signal.snr.shape == signal.snr_error.shape == (K,)
        assert signal.snr.dtype == signal.variance_error.dtype == "d"  # a report, whatever it is of


@given(S=st.integers(2, 4), K=st.integers(1, 3))
def test_an_estimate_does_not_look_at_its_neighbours_and_forgets_the_order_of_draws(
    S: int, K: int
) -> None:
    (p, q), (f, _) = world(K), quadratic(K)
    eps = rng(S + 5 * K).standard_normal((S, 3, K))
    for estimator in (
        lambda e: pathwise(q, f.slope, e),
        lambda e: score_function(q, f, e, leave_one_out),
        lambda e: iwae_pathwise(p, q, e),
        lambda e: iwae_dreg(p, q, e),
        lambda e: (iwae_decoder(p, q, e), elbo_decoder(p, q, e)),
    ):
        whole, turned = estimator(eps), estimator(eps[::-1])
        alone = [estimator(eps[:, n : n + 1]) for n in range(3)]
        for i, g in enumerate(whole):
            assert np.allclose(g, np.concatenate([a[i] for a in alone]), rtol=0, atol=1e-11)
            assert np.allclose(g, turned[i], rtol=0, atol=1e-11)


def test_on_another_library_s_arrays() -> None:
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    device = strict.Device("device1")

    def there(a: np.ndarray) -> Any:
        return strict.asarray(a, device=device)

    p, q = world(2)
    f, _ = quadratic(2)
    eps = rng(6).standard_normal((3, 4, 2))
    theirs = LinearLikelihood(there(p.W), there(p.b), p.variance, there(p.x))
    there_q, there_f = Gaussian(there(q.mu), there(q.logvar)), Quadratic(there(f.A), there(f.b))
    pairs = (
        (pathwise(q, f.slope, eps), pathwise(there_q, there_f.slope, there(eps))),
        (
            score_function(q, Quadratic(f.A, f.b), eps, leave_one_out),
            score_function(there_q, there_f, there(eps), leave_one_out),
        ),
        (elbo_pathwise(p, q, eps), elbo_pathwise(theirs, there_q, there(eps))),
        (iwae_pathwise(p, q, eps), iwae_pathwise(theirs, there_q, there(eps))),
        (iwae_dreg(p, q, eps), iwae_dreg(theirs, there_q, there(eps))),
        ((iwae_decoder(p, q, eps),), (iwae_decoder(theirs, there_q, there(eps)),)),
        (p.elbo_grad(q), theirs.elbo_grad(there_q)),
        (f.expectation_grad(q), there_f.expectation_grad(there_q)),
    )
    host = strict.Device("CPU_DEVICE")
    for ours, others in pairs:
        for a, b in zip(ours, others, strict=True):
            assert b.device == device
            assert np.allclose(a, np.from_dlpack(b.to_device(host)), rtol=0, atol=1e-12)
    signal = Signal.of(iwae_dreg(theirs, there_q, there(eps))[0])
    assert signal.snr.device == signal.snr_error.device == device


def test_wrong_shapes_and_too_few_draws() -> None:
    f, q = quadratic(2)
    with pytest.raises(ValueError, match=r"expected eps \(S, N, K\) .* got \(4, 2\), \(2,\)"):
        pathwise(q, f.slope, np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"got \(1, 4, 3\), \(2,\) and \(2,\)"):
        score_function(q, f, np.zeros((1, 4, 3)))
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        iwae_dreg(world(2)[0], Gaussian(q.mu, q.logvar[:1]), np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match="at least 2 draws in an estimate to leave one out, got 1"):
        score_function(q, f, np.zeros((1, 4, 2)), leave_one_out)
    with pytest.raises(ValueError, match="at least 2 estimates, got 1"):
        Signal.of(np.zeros((1, 3)))
