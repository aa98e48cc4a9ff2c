"""Distributions: normalised, sampled as they say, and every derivative checked."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    VARIANCES,
    check_bernoulli_by_enumeration,
    check_bernoulli_score,
    check_gaussian_against_normaldist,
    check_gaussian_normalised,
    check_gaussian_score,
    check_gaussian_score_expectation,
    check_kl_by_quadrature,
    check_kl_grad,
    check_pathwise_grad,
    check_sample_moments,
    gaussian_case,
    log_pdf,
    patterns,
)

from minivae.distributions import Bernoulli, Gaussian

SIZES = st.integers(1, 5)
SEEDS = st.integers(0, 2**32 - 1)
PARAMETER = st.floats(-6, 6)


# ---- gradients ----


@settings(max_examples=150)
@given(S=SIZES, B=SIZES, D=SIZES, variance=st.sampled_from(VARIANCES), seed=SEEDS)
def test_the_gaussian_score_is_a_derivative(
    S: int, B: int, D: int, variance: str, seed: int
) -> None:
    check_gaussian_score(S, B, D, variance, seed)


@settings(max_examples=150)
@given(S=st.integers(0, 5), B=SIZES, D=SIZES, variance=st.sampled_from(VARIANCES), seed=SEEDS)
def test_the_pathwise_gradient_is_a_derivative(
    S: int, B: int, D: int, variance: str, seed: int
) -> None:
    check_pathwise_grad(S, B, D, variance, seed)


@settings(max_examples=150)
@given(B=SIZES, D=SIZES, prior=st.sampled_from(["none", *VARIANCES]), seed=SEEDS)
def test_the_kl_gradient_is_a_derivative(B: int, D: int, prior: str, seed: int) -> None:
    check_kl_grad(B, D, prior, seed)


@settings(max_examples=150)
@given(S=SIZES, B=SIZES, D=SIZES, seed=SEEDS)
def test_the_bernoulli_score_is_a_derivative(S: int, B: int, D: int, seed: int) -> None:
    check_bernoulli_score(S, B, D, seed)


# ---- the Gaussian ----


@pytest.mark.parametrize("seed", range(5))
def test_gaussian_log_prob_is_the_standard_librarys(seed: int) -> None:
    check_gaussian_against_normaldist(seed)


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (0.7, -1.3), (-40.0, 5.0), (3.0, -12.0)])
def test_the_gaussian_density_integrates_to_one(mu: float, logvar: float) -> None:
    check_gaussian_normalised(mu, logvar)


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (0.7, -1.3), (-4.0, 2.0)])
def test_the_gaussian_score_is_zero_on_average(mu: float, logvar: float) -> None:
    check_gaussian_score_expectation(mu, logvar)


@pytest.mark.parametrize("seed", range(5))
def test_samples_have_the_mean_and_the_variance_of_the_distribution(seed: int) -> None:
    check_sample_moments(seed)


def test_samples_of_drawn_noise_follow_the_distribution_function() -> None:
    """Kolmogorov and Smirnov: sqrt(n) sup |F_n - F| is above 1.95 once in a thousand times."""
    n, dist = 10_000, NormalDist(1.3, 0.4)
    q = Gaussian(np.array([1.3]), np.array([2 * math.log(0.4)]))
    z = np.sort(q.sample(np.random.default_rng(0).standard_normal((n, 1)))[:, 0])
    distance = max(abs((i + 0.5) / n - dist.cdf(a)) for i, a in enumerate(z.tolist()))
    assert math.sqrt(n) * distance < 1.95


@pytest.mark.parametrize("standard", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_kl_is_its_integral(standard: bool, seed: int) -> None:
    check_kl_by_quadrature(seed, standard)


def test_kl_of_a_vector_by_monte_carlo() -> None:
    rng = np.random.default_rng(0)
    q, p = (Gaussian(rng.normal(size=6), rng.normal(size=6)) for _ in range(2))
    z = q.sample(rng.standard_normal((100_000, 6)))
    for prior in (None, p):
        other = prior or Gaussian(np.zeros(6), np.zeros(6))
        terms = q.log_prob(z) - other.log_prob(z)
        error = terms.std() / math.sqrt(len(terms))
        assert abs(terms.mean() - q.kl(prior)) < 4 * error


@settings(max_examples=200)
@given(PARAMETER, PARAMETER, PARAMETER, PARAMETER)
def test_kl_is_positive_except_where_the_two_are_one(
    mu: float, l: float, mu_p: float, l_p: float
) -> None:
    q, p = (Gaussian(np.array([a]), np.array([b])) for a, b in ((mu, l), (mu_p, l_p)))
    assert q.kl(p) >= 0 and q.kl() >= 0
    assert q.kl(q) == 0
    if abs(mu - mu_p) > 1e-6 or abs(l - l_p) > 1e-6:
        assert q.kl(p) > 0


@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-9])
def test_kl_keeps_its_digits_near_zero(delta: float) -> None:
    """KL(delta, delta) = delta^2 / 2 + delta^2 / 4 + O(delta^3): no cancellation eats it."""
    q = Gaussian(np.array([delta]), np.array([delta]))
    # Subtracting logvar from expm1(logvar) still rounds, by 1e-16 delta.
    assert math.isclose(q.kl(), 0.75 * delta**2, rel_tol=delta, abs_tol=1.2e-16 * delta)
    assert math.isclose(q.kl(Gaussian(0 * q.mu, 0 * q.mu)), q.kl(), rel_tol=1e-15)


def test_the_standard_normal_is_the_default_prior() -> None:
    q, _, _ = gaussian_case(np.random.default_rng(0), 1, 3, 2, "full")
    p = Gaussian(np.zeros(2), np.zeros(2))
    assert np.allclose(q.kl(), q.kl(p), rtol=1e-14)
    for a, b in zip(q.kl_grad(), q.kl_grad(p), strict=True):
        assert np.allclose(a, b, rtol=1e-14)


def test_kl_is_not_symmetric() -> None:
    narrow, wide = (Gaussian(np.zeros(1), np.array([l])) for l in (-4.0, 0.0))
    assert narrow.kl(wide) < 2 < 20 < wide.kl(narrow)


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_broadcast_variance_is_the_same_as_its_copies(variance: str) -> None:
    q, v, _ = gaussian_case(np.random.default_rng(0), 2, 3, 4, variance)
    full = Gaussian(q.mu, np.broadcast_to(q.logvar, q.mu.shape).copy())
    eps = np.random.default_rng(1).normal(size=v.shape)
    for a, b in (
        (q.log_prob(v), full.log_prob(v)),
        (q.sample(eps), full.sample(eps)),
        (q.kl(), full.kl()),
        (q.grad_value(v), full.grad_value(v)),
        *zip(q.score(v), full.score(v), strict=True),
    ):
        assert a.shape == b.shape and np.allclose(a, b, rtol=1e-15, atol=0)
    assert q.pathwise_grad(eps, eps)[1].shape == q.logvar.shape


def test_a_learned_variance_rests_at_the_mean_squared_error() -> None:
    v = np.random.default_rng(0).normal(size=(50, 1))
    p = Gaussian(np.array([0.2]), np.log([np.mean((v - 0.2) ** 2)]))
    assert abs(p.score(v)[1].sum()) < 1e-12


# ---- the Bernoulli ----


@pytest.mark.parametrize("D", [1, 2, 5, 8])
def test_bernoulli_by_enumeration(D: int) -> None:
    check_bernoulli_by_enumeration(D, seed=D)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_logit_is_too_large(dtype: str) -> None:
    a = np.array([-1e4, -750.0, 750.0, 1e4], dtype)
    p = Bernoulli(a)
    right, wrong = (a > 0).astype(dtype), (a < 0).astype(dtype)
    assert p.log_prob(right) == 0.0
    assert p.log_prob(wrong) == -21_500.0
    assert np.array_equal(p.score(wrong)[0], wrong - right)


def test_the_slope_in_x_is_the_logit() -> None:
    a = np.array([-2.0, 0.5, 3.0])
    p, off = Bernoulli(a), np.zeros(3)
    rises = [p.log_prob(np.eye(3)[i]) - p.log_prob(off) for i in range(3)]
    assert np.allclose(rises, p.grad_value(off), rtol=1e-14)


def test_samples_are_on_as_often_as_they_should() -> None:
    a = np.random.default_rng(0).normal(size=4)
    n = 1000
    u = np.repeat((np.arange(n) + 0.5)[:, None] / n, 4, axis=1)  # equidistant: error below 1 / n
    x = Bernoulli(a).sample(u)
    assert set(np.unique(x)) == {0.0, 1.0} and x.dtype == u.dtype
    assert np.abs(x.mean(axis=0) - Bernoulli(a).mean).max() <= 1 / n


def test_certain_pixels_are_certain() -> None:
    u = np.array([[0.0, 0.0], [1 - 2**-53, 1 - 2**-53]])
    assert Bernoulli(np.array([-800.0, 800.0])).sample(u).tolist() == [[0, 1], [0, 1]]


def test_entropy_is_the_mean_surprise() -> None:
    """A grey pixel costs at least its own entropy: the minimum of the cross-entropy is not 0."""
    a = np.array([1.1, -0.3])
    p, x = Bernoulli(a), patterns(2)
    entropy = -(np.exp(p.log_prob(x)) @ p.log_prob(x))
    assert math.isclose(-p.log_prob(p.mean), entropy, rel_tol=1e-14)
    assert entropy > 1


# ---- both ----


@pytest.mark.parametrize("variance", VARIANCES)
def test_a_gaussian_of_float32_stays_float32(variance: str) -> None:
    q, v, _ = gaussian_case(np.random.default_rng(0), 2, 3, 4, variance)
    q = Gaussian(q.mu.astype("f"), q.logvar.astype("f"))
    v = v.astype("f")
    p = Gaussian(np.float32([0.5]), np.float32([0.1]))
    results = [q.log_prob(v), *q.score(v), q.grad_value(v), q.sample(v), *q.pathwise_grad(v, v)]
    results += [q.kl_terms(), q.kl(), *q.kl_grad(), q.kl(p), q.kl_terms(p), *q.kl_grad(p), q.mean]
    assert {str(a.dtype) for a in results} == {"float32"}


def test_a_bernoulli_of_float32_stays_float32() -> None:
    p = Bernoulli(np.random.default_rng(0).normal(size=(3, 4)).astype("f"))
    u = np.random.default_rng(1).random((2, 3, 4), dtype="f")
    results = [p.log_prob(u), *p.score(u), p.grad_value(u), p.sample(u), p.mean]
    assert {str(a.dtype) for a in results} == {"float32"}


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_float32_agrees_with_float64(kind: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 6))
    v = rng.normal(size=(20, 6)) if kind == "gaussian" else rng.integers(0, 2, (20, 6)) * 1.0
    values = []
    for dtype in ("float32", "float64"):
        p = Gaussian(a.astype(dtype), b.astype(dtype))
        values.append((p if kind == "gaussian" else Bernoulli(p.mu)).log_prob(v.astype(dtype)))
    assert np.allclose(*values, rtol=2e-6, atol=2e-6)  # a few dozen roundings of 6e-8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["gaussian", *VARIANCES, "bernoulli"])
def test_a_large_batch_is_its_rows(kind: str, dtype: str) -> None:
    """With more numbers than fit into a block, several samples, and any broadcast."""
    rng = np.random.default_rng(0)
    S, B, D = 3, 150, 170  # 1.2 blocks
    if kind == "bernoulli":
        logits = rng.normal(size=(S, B, D)).astype(dtype)
        p, x = Bernoulli(logits), rng.integers(0, 2, (B, D)).astype(dtype)
        one: Any = Bernoulli(logits[:, 7:8])
    elif kind == "gaussian":  # a decoder's: parameters for each sample, values for each example
        mu, logvar = rng.normal(size=(2, S, B, D)).astype(dtype)
        p, x = Gaussian(mu, logvar), rng.normal(size=(B, D)).astype(dtype)
        one = Gaussian(mu[:, 7:8], logvar[:, 7:8])
    else:
        q, x, _ = gaussian_case(rng, S, B, D, kind)
        p, x = Gaussian(q.mu.astype(dtype), q.logvar.astype(dtype)), x.astype(dtype)
        one = Gaussian(p.mu[7:8], np.broadcast_to(p.logvar, (B, D))[7:8])
    row = x[..., 7:8, :]
    digits = 1e-13 if dtype == "float64" else 1e-5  # sums of 170 terms may be reordered
    assert np.allclose(p.log_prob(x)[:, 7:8], one.log_prob(row), rtol=digits)
    for whole, single in zip(p.score(x), one.score(row), strict=True):
        assert np.array_equal(whole[:, 7:8], single) and whole.dtype == dtype
    if isinstance(p, Gaussian) and x.ndim == 3:
        assert np.array_equal(p.sample(x)[:, 7:8], one.sample(row))
        for whole, single in zip(p.kl_grad(), one.kl_grad(), strict=True):
            assert np.array_equal(np.broadcast_to(whole, (B, D))[7:8], single)


def test_the_slope_in_the_value_has_the_shape_of_both_together() -> None:
    one, many = np.ones(3), np.ones((4, 3))
    for parameters, values in ((one, many), (many, one)):
        for p in (Bernoulli(parameters), Gaussian(parameters, one), Gaussian(one, parameters)):
            assert p.grad_value(values).shape == (4, 3)
        assert Bernoulli(parameters).score(values)[0].shape == (4, 3)


def test_a_distribution_is_a_value() -> None:
    q = Gaussian(np.zeros(2), np.zeros(2))
    with pytest.raises(AttributeError):
        q.mu = np.ones(2)  # type: ignore[misc]
    assert q.mean is q.mu


def test_log_pdf_of_the_oracle_is_right_in_the_tail() -> None:
    assert math.isclose(log_pdf(NormalDist(1, 2), 3.0), math.log(NormalDist(1, 2).pdf(3.0)))
