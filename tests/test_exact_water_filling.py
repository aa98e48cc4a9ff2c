"""Reverse water-filling, against allocations drawn at random and optimisation of the objective."""

from __future__ import annotations

import math

import numpy as np
import pytest
from exact_worlds import known_spectrum
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.exact import reverse_water_filling, shannon_rate, water_level
from minivae.verify import complex_step

VALUES = st.lists(st.floats(0.01, 10.0), min_size=1, max_size=6)
DRAWS = settings(max_examples=40)


def test_one_direction_is_the_textbooks() -> None:
    """R = 1/2 log(sigma^2 / D): a quarter of the error costs one bit more, ln 2 nats."""
    for distortion in (1.0, 0.25, 0.0625):
        bits = shannon_rate(np.array([1.0]), distortion) / math.log(2)
        assert bits == pytest.approx(-0.5 * math.log2(distortion), abs=1e-14)


def test_by_hand() -> None:
    """Levels among the eigenvalues 4, 2, 1: each line worked out on paper."""
    values = np.array([1.0, 4.0, 2.0])
    got = reverse_water_filling(values, 1.5)
    want = [0.5 * math.log(4 / 1.5), 0.5 * math.log(2 / 1.5), 0.0]
    assert got.rates.tolist() == pytest.approx(want)
    assert got.rate == pytest.approx(0.5 * math.log(8 / 2.25))
    assert got.distortion == pytest.approx(1.5 + 1.5 + 1.0)
    assert got.mean_distortion == pytest.approx(2.25 / 4 + 2.25 / 2 + 1.0)
    assert got.active() == 2
    fewer = reverse_water_filling(values, 1.5, latent=1)
    assert fewer.rate == pytest.approx(0.5 * math.log(4 / 1.5)) and len(fewer.rates) == 1
    assert fewer.distortion == pytest.approx(1.5 + 2.0 + 1.0)
    assert fewer.mean_distortion == pytest.approx(2.25 / 4 + 2.0 + 1.0)


@given(VALUES, st.floats(0.01, 0.99), st.integers(0, 10**6))
@DRAWS
def test_no_allocation_of_the_error_is_cheaper(
    values: list[float], share: float, seed: int
) -> None:
    """Random D_i <= l_i with the same sum never cost less than the water-filling."""
    v, rng = np.array(values), np.random.default_rng(seed)
    total = share * v.sum()
    best = shannon_rate(v, total)
    even = np.full(len(v), share) * v  # the same fraction of each: one allocation of this sum
    assert 0.5 * np.log(v / even).sum() >= best - 1e-9
    for _ in range(20):
        weights = rng.dirichlet(np.ones(len(v))) * total
        errors = 0.5 * (np.minimum(weights, v) + even)
        errors *= total / errors.sum()
        if (errors <= v).all():
            assert 0.5 * np.log(v / errors).sum() >= best - 1e-9


@given(VALUES, st.floats(0.001, 1.0))
@DRAWS
def test_the_level_gives_back_the_distortion(values: list[float], share: float) -> None:
    v = np.array(values)
    level = water_level(v, share * v.sum())
    assert np.minimum(v, level).sum() == pytest.approx(share * v.sum(), rel=1e-12)
    assert reverse_water_filling(v, level).distortion == pytest.approx(share * v.sum(), rel=1e-12)


@given(VALUES, st.floats(0.02, 8.0), st.integers(0, 6))
@DRAWS
def test_the_slope_is_minus_twice_the_level(values: list[float], level: float, K: int) -> None:
    v = np.array(values)
    h = 1e-6 * level
    if np.abs(v - level).min() < 2 * h:
        return  # a kink of the rate as a function of the level
    low, high = (reverse_water_filling(v, level + d, K) for d in (-h, h))
    dR, dD = high.rate - low.rate, high.distortion - low.distortion
    assert dD == pytest.approx(-2.0 * level * dR, rel=1e-5, abs=1e-12)


@given(VALUES, st.floats(0.02, 8.0))
@DRAWS
def test_fewer_latents_are_above_shannons_curve(values: list[float], level: float) -> None:
    v = np.array(values)
    points = [reverse_water_filling(v, level, K) for K in range(len(v) + 1)]
    assert points[0].rate == 0.0 and points[0].distortion == pytest.approx(v.sum())
    for fewer, more in zip(points, points[1:], strict=False):
        assert fewer.rate <= more.rate + 1e-12 and fewer.distortion >= more.distortion - 1e-12
        assert fewer.rate >= shannon_rate(v, min(fewer.distortion, v.sum())) - 1e-9
        assert fewer.mean_distortion <= fewer.distortion + 1e-12
    whole = reverse_water_filling(v, level)
    assert points[-1][:3] == pytest.approx(whole[:3], rel=1e-12)
    assert points[-1].active(0.0) == (v > level).sum() == (points[-1].rates > 0).sum()
    more_than_all = reverse_water_filling(v, level, len(v) + 3)
    assert more_than_all.rates.tolist() == whole.rates.tolist()


def test_directions_without_variance_cost_nothing() -> None:
    with_zeros = reverse_water_filling(np.array([0.0, 3.0, 0.0]), 0.5)
    assert with_zeros[:3] == pytest.approx(reverse_water_filling(np.array([3.0]), 0.5)[:3])
    assert water_level(np.array([0.0, 3.0, 0.0]), 0.5) == pytest.approx(0.5)
    assert water_level(np.array([2.0, 1.0, 1.0]), 4.0) == pytest.approx(2.0)
    assert water_level(np.array([0.1] * 3), 0.1 * 3) == pytest.approx(0.1)  # 0.3 rounds up
    assert shannon_rate(np.array([2.0, 1.0]), 3.0) == 0.0


# ---- the objective of the beta-VAE, optimised directly ----


class Objective:
    """E_q |r - z W|^2 / (2 sigma^2) + beta KL for an encoder z ~ N(r A, diag v), by moments.

    With the data's covariance S:  E |r - z W|^2 = tr (I - A W)^T S (I - A W) + sum_k v_k |w_k|^2,
    and  KL = 1/2 [ tr A^T S A + sum v - log v - 1 ].  No closed form of the optimum is used.
    """

    def __init__(self, S: np.ndarray, K: int, sigma2: float, beta: float) -> None:
        self.S, self.K, self.sigma2, self.beta = S, K, sigma2, beta

    def parts(self, p: np.ndarray) -> tuple:
        D, K = len(self.S), self.K
        A, W = p[: D * K].reshape(D, K), p[D * K : 2 * D * K].reshape(K, D)
        return A, W, p[2 * D * K :]

    def point(self, p: np.ndarray) -> tuple:
        A, W, logvar = self.parts(p)
        rest = np.eye(len(self.S)) - A @ W
        v = np.exp(logvar)
        of_mean = np.sum(rest * (self.S @ rest))
        distortion = of_mean + np.sum(v * np.sum(W * W, axis=1))
        rate = 0.5 * (np.sum(A * (self.S @ A)) + np.sum(v - logvar - 1.0))
        return rate, distortion, of_mean

    def __call__(self, p: np.ndarray) -> complex:
        rate, distortion, _ = self.point(p)
        return distortion / (2.0 * self.sigma2) + self.beta * rate


@pytest.mark.parametrize("K", [3, 1])
@pytest.mark.parametrize("beta", [0.3, 1.0, 3.0])
def test_optimising_the_objective_directly_ends_at_the_same_point(beta: float, K: int) -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    s, sigma2 = known_spectrum([4.0, 2.0, 0.7, 0.1]), 0.5
    objective = Objective((s.axes.T * s.eigenvalues) @ s.axes, K, sigma2, beta)
    rng = np.random.default_rng(0)
    runs = [
        optimize.minimize(
            lambda p: float(objective(p)),
            0.5 * rng.normal(size=(2 * 4 + 1) * K),
            jac=lambda p: complex_step(objective, p),
            options={"gtol": 1e-7},
        )
        for _ in range(2)
    ]
    best = min(runs, key=lambda run: run.fun)
    want = reverse_water_filling(s.eigenvalues, beta * sigma2, K)
    assert best.fun == pytest.approx(want.distortion / (2 * sigma2) + beta * want.rate, abs=1e-9)
    assert np.allclose(objective.point(best.x), want[:3], rtol=0, atol=1e-5)


# ---- errors ----


@pytest.mark.parametrize(
    ("values", "level", "latent", "words"),
    [
        ([1.0, -0.1], 1.0, None, "none of them negative"),
        ([1.0, math.nan], 1.0, None, "none of them negative"),
        ([[1.0]], 1.0, None, "a vector of eigenvalues"),
        ([1.0], 0.0, None, "positive, finite level, got 0.0"),
        ([1.0], math.inf, None, "positive, finite level, got inf"),
        ([1.0], 1.0, -1, "at least 0 latents, got -1"),
    ],
)
def test_wrong_input_is_refused(values: list, level: float, latent: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reverse_water_filling(np.array(values), level, latent)


@pytest.mark.parametrize("distortion", [0.0, -1.0, 3.1, math.nan])
def test_a_distortion_that_no_level_has_is_refused(distortion: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and at most 3\.0, got"):
        water_level(np.array([2.0, 1.0]), distortion)


@pytest.mark.parametrize(
    ("eigenvalues", "level"),
    [([1e9, 1e-9, 1e-9, 1e-9], 1e-8), ([1.0, 1e-20], 1.5e-20), ([1e17, 1.0], 3.0)],
)
def test_a_large_eigenvalue_does_not_swallow_the_small_ones(
    eigenvalues: list[float], level: float
) -> None:
    values = np.array(eigenvalues)
    distortion = float(np.minimum(values, level).sum())
    assert water_level(values, distortion) == pytest.approx(level, rel=1e-12)
