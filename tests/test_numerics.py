"""The stable formulas agree with Python's own mathematics at many digits, also far out."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.numerics import (
    LOG_2PI,
    log_mean_exp,
    logsumexp,
    sigmoid,
    softmax,
    softplus,
    tempered,
)
from minivae.verify import complex_step

DTYPES = ["float32", "float64"]
POINTS = [0.0, 1e-300, 1e-9, 1e-4, 0.5, 1.0, 5.0, 17.0, 20.0, 36.7, 37.0, 88.0, 104.0, 700.0, 745.0]
POINTS = sorted({*POINTS, *(-x for x in POINTS), -1e4, 1e4, -3e38, 3e38})


def exact_softplus(x: float) -> Decimal:
    return (1 + Decimal(x).exp()).ln() if x < 1e4 else Decimal(x)


def exact_sigmoid(x: float) -> Decimal:
    return 1 / (1 + Decimal(-x).exp()) if x > -1e4 else Decimal(0)


def exact_logsumexp(values: list[float]) -> Decimal:
    return sum((Decimal(v).exp() for v in values), Decimal(0)).ln()


@pytest.mark.parametrize("dtype", DTYPES)
def test_softplus_to_the_last_digits(dtype: str) -> None:
    eps = np.finfo(dtype).eps
    x = np.array(POINTS, dtype)
    y = softplus(x)
    assert y.dtype == dtype
    with localcontext() as context:
        context.prec = 400  # 1 + e^-745 needs 330
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            want = exact_softplus(a) if a > -1e3 else Decimal(0)
            # Relative, so also where softplus is e^x; three roundings, and denormals below tiny.
            error = 4 * Decimal(float(eps)) * want + Decimal(float(np.finfo(dtype).tiny))
            assert abs(Decimal(b) - want) <= error, (a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_to_the_last_digit_of_one(dtype: str) -> None:
    eps = np.finfo(dtype).eps
    x = np.array(POINTS, dtype)
    y = sigmoid(x)
    assert y.dtype == dtype and (y >= 0).all() and (y <= 1).all()
    with localcontext() as context:
        context.prec = 50
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            # Absolute: through tanh, what is smaller than the rounding unit is lost.
            assert abs(Decimal(b) - exact_sigmoid(a)) <= Decimal(float(eps)), (a, b)


@settings(max_examples=100)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=8))
def test_logsumexp_to_the_last_digits(values: list[float]) -> None:
    got = float(logsumexp(np.array(values)))
    with localcontext() as context:
        context.prec = 50
        want = float(exact_logsumexp(values))
    assert math.isclose(got, want, rel_tol=1e-14, abs_tol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logsumexp_never_overflows(dtype: str) -> None:
    big = 1e5
    x = np.array([[big, -big, 0.0], [big, -big, -big]], dtype)
    got = logsumexp(x, axis=0)
    assert got.dtype == dtype
    want = np.array([big + math.log(2), -big + math.log(2), 0.0])
    assert np.allclose(got, want, rtol=2 * np.finfo(dtype).eps, atol=0)


def test_logsumexp_ignores_a_weight_of_zero() -> None:
    assert float(logsumexp(np.array([-np.inf, 1.5]))) == 1.5


@settings(max_examples=50)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(-1, 1), st.integers(0, 2**32 - 1))
def test_logsumexp_along_any_axis(S: int, B: int, axis: int, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(-5, 5, (S, B))
    assert np.allclose(logsumexp(x, axis), np.log(np.exp(x).sum(axis)), rtol=0, atol=1e-14)
    mean = log_mean_exp(x, axis)
    assert np.allclose(mean, np.log(np.exp(x).mean(axis)), rtol=0, atol=1e-14)


def test_log_mean_exp_of_equal_numbers_is_that_number() -> None:
    assert np.allclose(log_mean_exp(np.full((7, 2), -3.5)), -3.5, rtol=1e-15)


def test_logsumexp_shifts_with_its_argument() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.allclose(logsumexp(x + 2.5), logsumexp(x) + 2.5, rtol=0, atol=1e-14)


def test_softplus_minus_its_mirror_is_the_identity() -> None:
    x = np.linspace(-50, 50, 1001)
    assert np.allclose(softplus(x) - softplus(-x), x, rtol=1e-15, atol=1e-15)
    assert np.allclose(sigmoid(x) + sigmoid(-x), 1.0, rtol=0, atol=2.3e-16)


def test_the_slope_of_softplus_is_sigmoid() -> None:
    x = np.linspace(-30, 30, 601)
    slope = complex_step(lambda a: softplus(a).sum(), x)
    assert np.abs(slope - sigmoid(x)).max() < 3e-16


def test_the_slope_of_logsumexp_is_the_softmax() -> None:
    x = np.random.default_rng(0).normal(size=6)
    weights = np.exp(x) / np.exp(x).sum()
    assert np.allclose(complex_step(logsumexp, x), weights, rtol=1e-14)


def test_log_2pi() -> None:
    assert math.exp(LOG_2PI) == pytest.approx(math.tau, rel=1e-15)


def test_the_suite_is_strict() -> None:
    """Overflow, division by zero and invalid operations raise in every test."""
    for wrong in (lambda: np.exp(np.array(1e4)), lambda: 1 / np.zeros(1), lambda: np.zeros(1) / 0):
        with pytest.raises(FloatingPointError):
            wrong()


def test_a_temperature_divides_and_never_overflows() -> None:
    logits = np.array([[30.0, -2.0, 0.5]], np.float32)
    assert tempered(logits, 1.0).tolist() == logits.tolist()
    assert tempered(logits, 0.25).tolist() == (4.0 * logits).tolist()
    for temperature in (1e-300, 1e-42, 1e42, 1e300):
        scaled = tempered(logits, temperature)
        assert scaled.dtype == np.float32 and np.isfinite(scaled).all()
        want = [1.0, 0.0, 0.0] if temperature < 1.0 else [1 / 3] * 3
        assert softmax(scaled)[0] == pytest.approx(want, abs=1e-4)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a temperature above 0 and finite, got"):
            tempered(logits, temperature)
