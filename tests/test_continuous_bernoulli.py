"""The continuous Bernoulli: to its last digits, a density, sampled as it says, and learned from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import check_derivative

from minivae import VAE, Architecture, Autoencoder, load_digits, smoothed_mean
from minivae.arrays import BLOCK
from minivae.distributions import Bernoulli, ContinuousBernoulli, continuous_bernoulli
from minivae.models import networks
from minivae.models.networks import LOGIT_LIMIT
from minivae.numerics import sigmoid

LIMIT = 14.0
DTYPES = ["float32", "float64"]
SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)


def grid() -> np.ndarray:
    """Logits up to 14 in size: everywhere, densely around 0.3 and 0, and down to 1e-300."""
    edge = continuous_bernoulli.NEAR
    sides = [edge, np.nextafter(edge, 0), np.nextafter(edge, 1)]
    right = np.concatenate(
        [
            np.linspace(0, LIMIT, 1501),
            np.linspace(0, 0.5, 501),
            np.linspace(edge - 1e-3, edge + 1e-3, 101),
            10.0 ** np.arange(-300.0, 1.0, 5.0),
            10.0 ** np.arange(-20.0, 1.0, 0.5),
            sides,
        ]
    )
    return np.concatenate([right, -right])


def exact(a: float) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """log C, (log C)', mean and variance by the closed forms, at enough digits to lose half."""
    with localcontext() as context:
        context.prec = 80
        d = Decimal(a)
        if abs(d) < Decimal("1e-20"):  # the next terms are 1e-40 of these
            return Decimal(2).ln(), d / 6, Decimal(1) / 2 + d / 12, Decimal(1) / 12
        e = d.exp()
        log_C = (d * (e + 1) / (e - 1)).ln()
        slope = 1 / d - 2 / (e - 1 / e)
        return log_C, slope, e / (e - 1) - 1 / d, 1 / d**2 - e / (e - 1) ** 2


@functools.cache
def exact_on_the_grid() -> list[tuple[Decimal, ...]]:
    return [exact(float(a)) for a in grid()]


def worst(values: np.ndarray, which: int, exact_values: list[tuple[Decimal, ...]]) -> float:
    """The largest relative error, or the value itself where the exact one is 0."""
    wants = (values_of[which] for values_of in exact_values)
    pairs = zip(values.tolist(), wants, strict=True)
    return max(float(abs((Decimal(v) - w) / w if w else Decimal(v))) for v, w in pairs)


def unit_interval(n: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes (n, 1) and weights (n,) on [0, 1]: exact to rounding for e^(20x)."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return 0.5 * (nodes + 1.0)[:, None], 0.5 * weights


# ---- checks ----


def check_digits() -> None:
    """log C and (log C)' to 1e-12 of their own size for |a| <= 14, the mean too."""
    a, want = grid(), exact_on_the_grid()
    p = ContinuousBernoulli(a)
    at_half = p.logits[:, None] * 0.0 + 0.5
    # log p(1/2) + softplus(a) - a/2 is log C again, but by the public door and with its rounding.
    log_C = ContinuousBernoulli(a[:, None]).log_prob(at_half) + np.logaddexp(0, a) - a / 2
    assert worst(log_C, 0, want) < 1e-12
    assert worst(continuous_bernoulli._log_normaliser(a), 0, want) < 1e-12
    assert worst(continuous_bernoulli._log_normaliser_slope(a), 1, want) < 1e-12
    assert worst(p.mean, 2, want) < 1e-12
    assert worst(p.variance, 3, want) < 1e-10  # the series loses two digits by differentiation


def check_density(a: float) -> None:
    """It integrates to one; mean, variance and E score = 0 by the same quadrature."""
    x, weights = unit_interval()
    p = ContinuousBernoulli(np.array([a]))
    mass = weights * np.exp(p.log_prob(x))
    assert abs(mass.sum() - 1.0) < 1e-12
    mean = mass @ x
    assert abs(mean - p.mean) < 1e-12
    assert abs(mass @ (x - mean) ** 2 - p.variance) < 1e-12
    (score,) = p.score(x)
    assert abs(mass @ score) < 1e-12
    assert abs(mass @ score**2 - p.variance) < 1e-12  # Fisher's information


def draw_logits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half of them within the series, a few at 0 and at its edge."""
    a = np.where(rng.random(shape) < 0.5, rng.uniform(-5, 5, shape), rng.uniform(-0.4, 0.4, shape))
    special = rng.choice([0.0, 1e-9, 0.3, -0.3, 5.0], shape)
    return np.where(rng.random(shape) < 0.1, special, a)


def check_score(S: int = 2, B: int = 3, D: int = 4, seed: int = 0) -> None:
    """score and grad_value are the derivatives of log_prob, for logits of S samples."""
    rng = np.random.default_rng(seed)
    logits, x, c = draw_logits(rng, (S, B, D)), rng.random((B, D)), rng.normal(size=(S, B))
    p, scale = ContinuousBernoulli(logits), float(np.abs(c).max())
    (score,) = p.score(x)
    assert score.shape == logits.shape
    check_derivative(
        "ContinuousBernoulli.score",
        c[..., None] * score,
        lambda a: (c * ContinuousBernoulli(a).log_prob(x)).sum(),
        logits,
        scale,
    )
    check_derivative(
        "ContinuousBernoulli.grad_value",
        (c[..., None] * p.grad_value(x)).sum(axis=0),
        lambda v: (c * p.log_prob(v)).sum(),
        x,
        scale,
    )


def check_variance_is_the_slope_of_the_mean(D: int = 5, seed: int = 0) -> None:
    """dE[x]/da = Var[x]: the mean's own complex step."""
    rng = np.random.default_rng(seed)
    logits, c = draw_logits(rng, (D,)), rng.normal(size=D)
    check_derivative(
        "ContinuousBernoulli.variance",
        c * ContinuousBernoulli(logits).variance,
        lambda a: (c * ContinuousBernoulli(a).mean).sum(),
        logits,
        float(np.abs(c).max()),
    )


def check_pathwise(S: int = 2, B: int = 3, D: int = 4, kept: bool = False, seed: int = 0) -> None:
    """pathwise_grad is the derivative of the sample, summed over samples and broadcasts."""
    rng = np.random.default_rng(seed)
    logits = draw_logits(rng, (1, D) if kept else (B, D))
    shape = (S, B, D) if S else (B, D)
    u, dx = rng.random(shape), rng.normal(size=shape)
    (dlogits,) = ContinuousBernoulli(logits).pathwise_grad(dx, u)
    assert dlogits.shape == logits.shape
    check_derivative(
        "ContinuousBernoulli.pathwise_grad",
        dlogits,
        lambda a: (dx * ContinuousBernoulli(a).sample(u)).sum(),
        logits,
        float(np.abs(dx).max()),
    )


def check_sample_inverts(a: float) -> None:
    """F(sample(u)) = u, by expm1, and at the ends 0 and 1."""
    u = np.linspace(0, 1, 1001)[:-1, None]
    x = ContinuousBernoulli(np.array([a])).sample(u)
    assert x[0, 0] == 0.0 and (np.diff(x[:, 0]) > 0).all() and (x < 1).all()
    F = [math.expm1(a * v) / math.expm1(a) if a else v for v in x[:, 0].tolist()]
    assert np.abs(np.array(F) - u[:, 0]).max() < 1e-13


def check_sample_moments(a: float) -> None:
    """The mean and the variance of sample(u), u uniform, by quadrature over u."""
    u, weights = unit_interval()
    p = ContinuousBernoulli(np.array([a]))
    x = p.sample(u)
    mean = weights @ x
    assert abs(mean - p.mean) < 1e-9 and abs(weights @ (x - mean) ** 2 - p.variance) < 1e-9


# ---- values ----


def test_the_coefficients_are_bernoullis_numbers() -> None:
    """Two ways, in fractions: by Bernoulli's numbers, and by dividing a power series."""
    n = len(continuous_bernoulli.SLOPE)
    B = [Fraction(1)]
    for k in range(1, 2 * n + 1):
        B.append(-sum(math.comb(k + 1, j) * B[j] for j in range(k)) / (k + 1))
    formula = [
        2 * (2 ** (2 * k - 1) - 1) * B[2 * k] / math.factorial(2 * k) for k in range(1, n + 1)
    ]
    sinh = [Fraction(1, math.factorial(2 * k + 1)) for k in range(n + 1)]  # of sinh(a) / a
    one_over = [Fraction(1)]
    for k in range(1, n + 1):
        one_over.append(-sum(sinh[j] * one_over[k - j] for j in range(1, k + 1)))
    assert formula == [-c for c in one_over[1:]]
    assert tuple(float(c) for c in formula) == continuous_bernoulli.SLOPE
    assert formula[-1] == Fraction(-1414477, 653837184000)


def test_log_C_its_slope_and_the_mean_to_the_last_digits() -> None:
    check_digits()


def test_the_pathwise_derivative_near_zero_to_its_last_digits() -> None:
    """dx/da = [ (1 - e^(-ax)) / (1 - e^-a) - x ] / a, in decimals that may cancel."""
    sizes = [1e-12, 1e-3, 0.1, 0.2, 0.25, 0.29, float(np.nextafter(0.3, 0))]
    x = np.array([1e-6, 0.1, 0.37, 0.5, 0.8, 0.999])
    for a in (*sizes, *(-size for size in sizes)):
        got = continuous_bernoulli._sample_slope(np.full(6, a), x)
        with localcontext() as context:
            context.prec = 60
            d = Decimal(a)
            for value, at in zip(got.tolist(), map(Decimal, x.tolist()), strict=True):
                want = ((1 - (-d * at).exp()) / (1 - (-d).exp()) - at) / d
                assert abs(Decimal(value) / want - 1) < Decimal("2e-15"), (a, at)


def test_a_random_number_of_zero_is_read_as_e_to_the_minus_80() -> None:
    for a in (-100.0, 10.0, 79.0, 100.0, 400.0):
        (x,) = ContinuousBernoulli(np.array([a])).sample(np.zeros(1))
        assert x == pytest.approx(max(0.0, 1.0 - 80.0 / a) if a > 0 else 0.0, rel=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_leads_no_sample_out_of_the_interval(dtype: str) -> None:
    a, least = np.linspace(-90, 90, 20_001).astype(dtype), np.finfo(dtype).epsneg
    for u in (0.0, least, 1.0 - 2.0 * least, 1.0 - least):
        x = ContinuousBernoulli(a).sample(np.full_like(a, u))
        assert x.min() >= 0.0 and x.max() <= 1.0


def test_known_values() -> None:
    """C(1/2) = 2; near lambda = 1/2 + d, log C = log 2 + 4/3 d^2 + 104/45 d^4 + O(d^6)."""
    zero = np.zeros(1)
    assert ContinuousBernoulli(zero).log_prob(np.array([0.7])) == pytest.approx(0.0, abs=2e-16)
    assert continuous_bernoulli._log_normaliser(zero) == math.log(2.0)
    assert ContinuousBernoulli(zero).mean == 0.5
    assert ContinuousBernoulli(zero).variance[0] == pytest.approx(1 / 12, rel=1e-15)
    for d in (-0.03, -0.001, 0.002, 0.02):
        a = np.log([(0.5 + d) / (0.5 - d)])
        want = math.log(2.0) + 4 / 3 * d**2 + 104 / 45 * d**4
        assert abs(continuous_bernoulli._log_normaliser(a)[0] - want) < 6 * d**6 + 1e-15


def test_the_formula_of_the_mean_in_lambda() -> None:
    for rate in (0.01, 0.3, 0.49, 0.6, 0.999):
        want = rate / (2 * rate - 1) + 1 / (2 * math.atanh(1 - 2 * rate))
        a = np.array([math.log(rate / (1 - rate))])
        assert ContinuousBernoulli(a).mean[0] == pytest.approx(want, rel=1e-12)


def test_the_series_is_for_logits_below_its_edge_in_size() -> None:
    edge = continuous_bernoulli.NEAR
    inside = np.nextafter(edge, 0)
    logits = np.array([-edge, -inside, 0.0, inside, edge])
    assert continuous_bernoulli._near(logits).tolist() == [False, True, True, True, False]


def test_nothing_jumps_where_the_series_ends() -> None:
    edge = continuous_bernoulli.NEAR
    x, u = np.full(2, 0.8), np.full(2, 0.8)
    for side in (-1.0, 1.0):
        a = side * np.array([np.nextafter(edge, 0), edge])
        p, D = ContinuousBernoulli(a), continuous_bernoulli
        for below, at in (
            D._log_normaliser(a),
            D._log_normaliser_slope(a),
            p.score(x)[0],
            p.mean,
            p.sample(u),
            continuous_bernoulli._sample_slope(a, x),
        ):
            assert abs(below - at) < 1e-13
        assert abs(np.subtract(*p.variance)) < 1e-11


@pytest.mark.parametrize("a", [-20.0, -3.0, -0.31, -0.29, 0.0, 1e-6, 0.3, 1.0, 8.0, 20.0])
def test_it_is_a_density(a: float) -> None:
    check_density(a)


def test_a_bernoulli_on_grey_values_is_none() -> None:
    """What C is there for: without it the mass is tanh(a/2) / a, at most 1/2."""
    x, weights = unit_interval()
    for a in (-3.0, 0.01, 4.0):
        mass = weights @ np.exp(Bernoulli(np.array([a])).log_prob(x))
        assert mass == pytest.approx(math.tanh(a / 2) / a, rel=1e-12) and mass < 0.5


def test_grey_upside_down() -> None:
    """x and a is 1 - x and -a."""
    rng = np.random.default_rng(0)
    a, x = draw_logits(rng, (50, 3)), rng.random((50, 3))
    p, q = ContinuousBernoulli(a), ContinuousBernoulli(-a)
    assert np.allclose(p.log_prob(x), q.log_prob(1 - x), rtol=0, atol=1e-14)
    assert np.allclose(p.mean, 1 - q.mean, rtol=0, atol=1e-15)
    assert np.allclose(p.variance, q.variance, rtol=1e-14)
    assert np.allclose(p.sample(x), 1 - q.sample(1 - x), rtol=0, atol=2e-15)


def test_the_mean_lies_between_lambda_and_the_middle() -> None:
    a = np.linspace(-30, 30, 601)
    mean = ContinuousBernoulli(a).mean
    assert (np.diff(mean) > 0).all()
    assert (np.abs(mean - 0.5) <= np.abs(sigmoid(a) - 0.5)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_logit_is_too_large(dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    sizes = np.array([40.0, 80.0, 100.0, 750.0, 1e4, 1e20, 0.9 * largest, largest], dtype)
    for a in (sizes, -sizes):
        p = ContinuousBernoulli(a[:, None])
        best = (a > 0).astype(dtype)[:, None]
        digits = 4 * float(np.finfo(dtype).eps)
        assert np.allclose(p.log_prob(best), np.log(sizes), rtol=digits, atol=0)
        assert np.allclose(p.log_prob(1 - best), np.log(sizes) - sizes, rtol=digits, atol=0)
        for values in (p.mean, p.variance, p.score(best)[0], p.sample(0.5 + 0 * best)):
            assert np.isfinite(values).all() and values.dtype == dtype
        assert np.allclose(np.abs(best - p.mean)[:, 0], 1 / sizes, rtol=0, atol=digits)
        u = np.array([0.0, 2.0**-24, 0.5, 1 - 2.0**-24], dtype)
        x = p.sample(np.broadcast_to(u, (8, 4)))
        assert (x >= 0).all() and (x <= 1).all() and (np.diff(x, axis=1) >= 0).all()
        assert np.isfinite(p.pathwise_grad(np.ones((8, 4), dtype), x)[0]).all()
    tiny = np.array([np.finfo(dtype).smallest_subnormal, np.finfo(dtype).tiny, 0.0], dtype)
    p = ContinuousBernoulli(np.concatenate([tiny, -tiny]))
    assert (p.mean == 0.5).all() and np.allclose(p.variance, 1 / 12)


@pytest.mark.parametrize("a", [-40.0, -0.2, 0.0, 3.0, 40.0])
def test_float32_agrees_with_float64(a: float) -> None:
    logits = a + np.linspace(-1, 1, 201)
    x = np.linspace(0, 1, 201)
    single, double = (
        ContinuousBernoulli(logits.astype(dtype)[:, None]) for dtype in ("float32", "float64")
    )
    # the rounding of the logit by 6e-8 of 40, and of 1/a - 1/sinh a, by that of 3 at a = 0.3
    for f, digits in (("mean", 1e-6), ("variance", 1e-5)):
        assert np.abs(getattr(single, f) - getattr(double, f)).max() < digits
    values = [p.log_prob(x[:, None].astype(p.logits.dtype)) for p in (single, double)]
    assert np.abs(values[0] - values[1]).max() < 1e-5
    values = [p.sample((0.999 * x[:, None]).astype(p.logits.dtype)) for p in (single, double)]
    assert np.abs(values[0] - values[1]).max() < 1e-5


# ---- gradients ----


@settings(max_examples=150)
@given(S=SIZES, B=SIZES, D=SIZES, seed=SEEDS)
def test_the_score_is_a_derivative(S: int, B: int, D: int, seed: int) -> None:
    check_score(S, B, D, seed)


@settings(max_examples=100)
@given(D=SIZES, seed=SEEDS)
def test_the_variance_is_the_slope_of_the_mean(D: int, seed: int) -> None:
    check_variance_is_the_slope_of_the_mean(D, seed)


@settings(max_examples=150)
@given(S=st.integers(0, 4), B=SIZES, D=SIZES, kept=st.booleans(), seed=SEEDS)
def test_the_pathwise_gradient_is_a_derivative(
    S: int, B: int, D: int, kept: bool, seed: int
) -> None:
    check_pathwise(S, B, D, kept, seed)


def test_a_sample_of_a_uniform_moves_by_its_spread() -> None:
    u = np.linspace(0, 0.99, 100)[:, None]
    (slope,) = ContinuousBernoulli(np.zeros((100, 1))).pathwise_grad(np.ones((100, 1)), u)
    assert np.allclose(slope, u * (1 - u) / 2, rtol=1e-15)


# ---- samples ----


@pytest.mark.parametrize("a", [-12.0, -0.31, -0.3, -1e-3, 0.0, 1e-12, 0.29, 0.3, 2.0, 14.0])
def test_sampling_inverts_the_distribution_function(a: float) -> None:
    check_sample_inverts(a)


@pytest.mark.parametrize("a", [-5.0, -0.3, 0.0, 0.2, 1.0, 4.0])
def test_samples_have_the_mean_and_the_variance(a: float) -> None:
    check_sample_moments(a)


@pytest.mark.parametrize("a", [-7.0, -0.1, 1.3, 30.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_drawn_samples_follow_the_distribution_function(a: float, dtype: str) -> None:
    """Kolmogorov and Smirnov: sqrt(n) sup |F_n - F| is above 1.95 once in a thousand times."""
    n = 10_000
    u = np.random.default_rng(1).random((n, 1), dtype=dtype)
    x = np.sort(ContinuousBernoulli(np.array([a], dtype)).sample(u)[:, 0])
    assert x.dtype == dtype
    F = np.expm1(a * x.astype(float)) / math.expm1(a)
    assert math.sqrt(n) * np.abs(F - (np.arange(n) + 0.5) / n).max() < 1.95


# ---- as an array program ----


def test_float32_stays_float32() -> None:
    p = ContinuousBernoulli(np.random.default_rng(0).normal(size=(3, 4)).astype("f"))
    u = np.random.default_rng(1).random((2, 3, 4), dtype="f")
    results = [p.log_prob(u), *p.score(u), p.grad_value(u), p.sample(u), *p.pathwise_grad(u, u)]
    assert {str(a.dtype) for a in [*results, p.mean, p.variance]} == {"float32"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_batch_is_its_rows(dtype: str) -> None:
    rng = np.random.default_rng(0)
    S, B, D = 3, 300, 170
    assert S * B * D > BLOCK
    logits, x = draw_logits(rng, (S, B, D)).astype(dtype), rng.random((B, D)).astype(dtype)
    whole, one = ContinuousBernoulli(logits), ContinuousBernoulli(logits[:, 7:8])
    row = x[7:8]
    digits = 1e-12 if dtype == "float64" else 1e-4  # sums of 170 terms may be reordered
    assert np.allclose(whole.log_prob(x)[:, 7:8], one.log_prob(row), rtol=0, atol=digits)
    assert np.array_equal(whole.score(x)[0][:, 7:8], one.score(row)[0])
    u = rng.random((S, B, D)).astype(dtype)
    assert np.array_equal(whole.sample(u)[:, 7:8], one.sample(u[:, 7:8]))
    assert np.array_equal(whole.mean[:, 7:8], one.mean)


def test_the_slope_in_the_value_has_the_shape_of_both_together() -> None:
    one, many = np.full(3, 0.5), np.full((4, 3), 0.5)
    for parameters, values in ((one, many), (many, one)):
        assert ContinuousBernoulli(parameters).grad_value(values).shape == many.shape
        assert ContinuousBernoulli(parameters).score(values)[0].shape == many.shape


def test_a_distribution_is_a_value() -> None:
    with pytest.raises(AttributeError):
        ContinuousBernoulli(np.zeros(2)).logits = np.ones(2)  # type: ignore[misc]


# ---- in a model ----


def test_a_decoder_starts_at_the_mean_image() -> None:
    mean = np.array([0.06, 0.2, 0.5, 0.51, 0.93])
    for kind in (VAE, Autoencoder):
        model = kind(
            Architecture(5, 2, (4,), likelihood="continuous-bernoulli"), mean, dtype="float64"
        )
        model.parameters.views(model.parameters.theta)["decoder.logits.0.W"][...] = 0.0
        p = model.decode(np.ones((1, 2)))
        assert isinstance(p, ContinuousBernoulli)
        assert np.allclose(p.mean, mean, rtol=1e-13)


def test_newton_finds_the_logit_of_every_mean() -> None:
    mean = np.concatenate([np.linspace(1e-5, 1 - 1e-5, 10_001), [1e-7, 1 - 1e-7]])
    a = networks._continuous_logit(mean)
    assert a.dtype == np.float64
    assert np.abs(ContinuousBernoulli(a).mean - mean).max() < 2e-15


def test_the_first_loss_is_the_best_of_independent_pixels() -> None:
    """No other logit of a pixel alone does better on the training data, the Bernoulli's least."""
    x = load_digits().train.x.astype(np.float64)
    mean = smoothed_mean(x)
    free = networks._continuous_logit(mean)
    start = np.clip(free, -0.95 * LOGIT_LIMIT, 0.95 * LOGIT_LIMIT)

    def per_pixel(logits: np.ndarray) -> np.ndarray:
        return ContinuousBernoulli(logits[:, None, None]).log_prob(x.T[..., None]).mean(axis=1)

    inside = start == free
    assert inside.sum() > 40
    best = per_pixel(start).sum()
    for other in (np.log(mean / (1 - mean)), 0.9 * start, start + 0.3, start - 0.3):
        assert (per_pixel(other) < per_pixel(start))[inside].all()
    model = VAE(
        Architecture(64, 2, (8,), likelihood="continuous-bernoulli"),
        smoothed_mean(x),
        dtype="float64",
    )
    model.parameters.views(model.parameters.theta)["decoder.logits.0.W"][...] = 0.0
    got = model.objective(x, np.random.default_rng(0), gradient=False).reconstruction.mean()
    assert got == pytest.approx(best, rel=1e-10)


def test_no_code_drives_a_logit_beyond_its_limit() -> None:
    model = VAE(Architecture(3, 2, (4,), likelihood="continuous-bernoulli"), dtype="float64")
    model.parameters.theta *= 1e3
    logits = model.decode(np.full((1, 2), 1e3)).logits  # type: ignore[union-attr]
    assert np.abs(logits).max() <= LOGIT_LIMIT


def test_values_outside_the_interval_are_refused() -> None:
    model = VAE(Architecture(2, likelihood="continuous-bernoulli"))
    grey = np.array([[0.0, 0.3], [1.0, 0.5]], "f")
    assert model.check(grey) is grey
    for bad in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"in \[0, 1\] for a continuous Bernoulli, got") as e:
            model.check(np.array([[0.5, bad]], "f"))
        assert "\n" not in str(e.value)


def test_a_mean_on_the_border_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inside \(0, 1\).*smoothed_mean"):
        VAE(Architecture(2, likelihood="continuous-bernoulli"), np.array([0.0, 0.5]))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_gradient_of_a_whole_model(activation: str) -> None:
    oracles.check_vae_gradient(activation=activation, **MODEL)
    oracles.check_autoencoder_gradient(activation=activation, **MODEL)


def test_the_gap_is_a_kl() -> None:
    oracles.check_gap_is_a_kl("continuous-bernoulli")


MODEL: Any = {"likelihood": "continuous-bernoulli", "variance": "fixed"}


# ---- planted bugs ----


def planted(name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(continuous_bernoulli, name, value)


def instead(name: str, wrong: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: mock.patch.object(ContinuousBernoulli, name, wrong)


RIGHT_SAMPLE = ContinuousBernoulli.sample
BUGS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[], None]]] = {
    "log C forgotten": (
        planted("_log_normaliser", lambda a: 0.0 * a),
        functools.partial(check_density, 1.0),
    ),
    "log C forgotten, to the digits": (planted("_log_normaliser", lambda a: 0 * a), check_digits),
    "log C forgotten in the gradient": (planted("_log_normaliser", lambda a: 0 * a), check_score),
    "C left at 2": (
        planted("_log_normaliser", lambda a: 0.0 * a + math.log(2.0)),
        functools.partial(check_density, 1.0),
    ),
    "series ends at a^5": (planted("SLOPE", continuous_bernoulli.SLOPE[:3]), check_digits),
    "series ends at a^9": (planted("SLOPE", continuous_bernoulli.SLOPE[:5]), check_digits),
    "a sign in the series": (
        planted("SLOPE", (*continuous_bernoulli.SLOPE[:5], 1_414_477.0 / 653_837_184_000.0)),
        check_digits,
    ),
    "series too far out": (planted("NEAR", 0.5), check_digits),
    "closed form too near": (planted("NEAR", 1e-4), check_digits),
    "wrong branch for negative logits": (planted("_near", lambda a: a < 0.3), check_digits),
    "score without (log C)'": (planted("_mean", sigmoid), check_score),
    "score without (log C)', in a model": (
        planted("_mean", sigmoid),
        functools.partial(oracles.check_vae_gradient, **MODEL),
    ),
    "mean is lambda": (planted("_mean", sigmoid), functools.partial(check_density, 1.0)),
    "samples of the Bernoulli": (
        instead("sample", lambda self, u: Bernoulli(self.logits).sample(u)),
        functools.partial(check_sample_moments, 1.0),
    ),
    "samples upside down": (
        instead("sample", lambda self, u: RIGHT_SAMPLE(ContinuousBernoulli(-self.logits), u)),
        functools.partial(check_sample_inverts, 2.0),
    ),
    "samples are uniform": (
        instead("sample", lambda self, u: u + 0.0 * self.logits),
        functools.partial(check_sample_inverts, 0.1),
    ),
    "pathwise slope of the uniform": (
        planted("_sample_slope", lambda a, x: 0.5 * x * (1.0 - x) + 0.0 * a),
        check_pathwise,
    ),
    "pathwise series too short": (planted("TERMS", 4), check_pathwise),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    oracles.assert_caught(*BUGS[name])
