"""The linear-Gaussian world, against whole matrices, quadrature, fractions and samples."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact_worlds import (
    dense_log_prob,
    dense_posterior,
    grid,
    normal_log_prob,
    random_covariance,
    random_world,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae.distributions import Gaussian
from minivae.exact import FullGaussian, LinearGaussian

SEEDS = st.integers(0, 10**6)
DRAWS = settings(max_examples=20)
SIZES = {"seed": SEEDS, "D": st.integers(1, 6), "K": st.integers(0, 4)}


def draw(seed: int, D: int, K: int, N: int = 3) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    world = random_world(rng, D, K)
    return rng, world, 2.0 * rng.normal(size=(N, D))


def some_q(rng: np.random.Generator, kind: str, N: int, K: int) -> Gaussian | FullGaussian:
    mu = rng.normal(size=(N, K))
    if kind == "diagonal":
        return Gaussian(mu, rng.normal(size=(N, K)))
    if kind == "shared":
        return FullGaussian(mu, random_covariance(rng, K))
    return FullGaussian(mu, np.stack([random_covariance(rng, K) for _ in range(N)]))


KINDS = pytest.mark.parametrize("kind", ["diagonal", "shared", "full"])


# ---- log p(x) ----


@given(**SIZES)
@DRAWS
def test_log_prob_is_the_density_of_the_whole_covariance(seed: int, D: int, K: int) -> None:
    _, world, x = draw(seed, D, K)
    want = dense_log_prob(world, x)
    assert world.log_prob(x).shape == (3,)
    assert np.allclose(world.log_prob(x), want, rtol=1e-10, atol=1e-10)


def test_log_prob_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    _, world, x = draw(0, 7, 3, N=20)
    C = world.W.T @ world.W + world.variance * np.eye(7)
    want = stats.multivariate_normal(world.b, C).logpdf(x)
    assert np.allclose(world.log_prob(x), want, rtol=1e-12)


def test_the_density_integrates_to_one() -> None:
    world = LinearGaussian(np.array([[0.7], [-0.4]]), np.array([0.3]), 0.2)
    x = np.linspace(-10.0, 10.0, 4001)
    assert np.exp(world.log_prob(x[:, None])).sum() * (x[1] - x[0]) == pytest.approx(1.0, abs=1e-12)


def test_a_tiny_variance_loses_no_digits() -> None:
    """By fractions: where Woodbury's difference would have lost nine of its sixteen digits."""
    W, variance, r = (Fraction(3), Fraction(4)), Fraction(1, 2**34), (Fraction(6), Fraction(9))
    r = (r[0], Fraction(8) + Fraction(1, 2**16))  # nearly along W
    c = [[W[i] * W[j] + (variance if i == j else 0) for j in range(2)] for i in range(2)]
    det = c[0][0] * c[1][1] - c[0][1] ** 2
    distance = (c[1][1] * r[0] ** 2 - 2 * c[0][1] * r[0] * r[1] + c[0][0] * r[1] ** 2) / det
    want = -0.5 * (2 * math.log(2 * math.pi) + math.log(det) + float(distance))
    world = LinearGaussian(np.array([[3.0, 4.0]]), np.zeros(2), float(variance))
    got = world.log_prob(np.array([[float(v) for v in r]]))[0]
    assert got == pytest.approx(want, rel=1e-11)


def test_nothing_of_size_d_by_d_is_formed() -> None:
    D = 5_000  # D x D numbers would be 200 MB
    rng, world, x = draw(0, D, 2)
    tracemalloc.start()
    world.log_prob(x)
    world.elbo(x, world.posterior(x))
    world.gap(x, world.best_diagonal(x))
    world.aligned()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


# ---- the posterior ----


@given(**SIZES)
@DRAWS
def test_the_posterior_is_that_of_the_joint_gaussian(seed: int, D: int, K: int) -> None:
    _, world, x = draw(seed, D, K)
    mean, V = dense_posterior(world, x)
    q = world.posterior(x)
    assert np.allclose(q.mean, mean, rtol=0, atol=1e-10)
    assert np.allclose(q.covariance, V, rtol=0, atol=1e-10)


@given(**SIZES)
@DRAWS
def test_bayes_rule_holds_at_every_code(seed: int, D: int, K: int) -> None:
    rng, world, x = draw(seed, D, K)
    z = rng.normal(size=(3, K))
    joint = normal_log_prob(x - z @ world.W, world.b, world.variance * np.eye(D))
    joint = joint + normal_log_prob(z, np.zeros(K), np.eye(K))
    assert np.allclose(joint - world.posterior(x).log_prob(z), world.log_prob(x), atol=1e-9)


# ---- bounds ----


@KINDS
def test_the_elbo_is_the_expectation_by_quadrature(kind: str) -> None:
    rng, world, x = draw(1, 4, 2)
    q = some_q(rng, kind, 3, 2)
    full = FullGaussian.of(q)
    covariances = np.broadcast_to(full.covariance, (3, 2, 2))
    for n in range(3):
        z, mass = grid(q.mu[n], covariances[n])
        x_n = np.repeat(x[n : n + 1], len(z), axis=0)
        log_px = normal_log_prob(x_n - z @ world.W, world.b, world.variance * np.eye(4))
        log_pz = normal_log_prob(z, np.zeros(2), np.eye(2))
        log_q = normal_log_prob(z, q.mu[n], covariances[n])
        assert world.reconstruction(x, q)[n] == pytest.approx(mass @ log_px, rel=1e-11)
        assert full.kl()[n] == pytest.approx(mass @ (log_q - log_pz), rel=1e-11)
        assert world.elbo(x, q)[n] == pytest.approx(mass @ (log_px + log_pz - log_q), rel=1e-11)


@KINDS
@given(**SIZES)
@DRAWS
def test_the_gap_is_what_the_bound_loses(kind: str, seed: int, D: int, K: int) -> None:
    rng, world, x = draw(seed, D, K)
    q = some_q(rng, kind, 3, K)
    gap = world.gap(x, q)
    assert (gap >= -1e-9).all()
    assert np.allclose(world.log_prob(x) - world.elbo(x, q), gap, rtol=1e-9, atol=1e-9)


@given(**SIZES)
@DRAWS
def test_at_the_posterior_the_bound_is_tight(seed: int, D: int, K: int) -> None:
    _, world, x = draw(seed, D, K)
    q = world.posterior(x)
    assert np.allclose(world.elbo(x, q), world.log_prob(x), rtol=1e-10, atol=1e-10)
    assert np.allclose(world.gap(x, q), 0.0, atol=1e-10)
    assert np.allclose(world.kl(x), q.kl(), rtol=1e-14)


@given(seed=SEEDS, D=st.integers(1, 6), K=st.integers(1, 4))
@DRAWS
def test_no_diagonal_q_is_better_than_the_best(seed: int, D: int, K: int) -> None:
    rng, world, x = draw(seed, D, K)
    best = world.best_diagonal(x)
    assert isinstance(best, Gaussian)
    bound = world.elbo(x, best)
    assert np.allclose(world.log_prob(x) - bound, world.diagonal_gap(), atol=1e-9)
    for size in (1e-3, 0.1, 1.0):
        other = Gaussian(
            best.mu + size * rng.normal(size=best.mu.shape),
            best.logvar + size * rng.normal(size=best.mu.shape),
        )
        assert (world.elbo(x, other) < bound).all()
    own = np.diagonal(world.posterior_covariance)
    assert (np.exp(best.logvar) <= own * (1 + 1e-12)).all()


def test_the_diagonal_gap_by_hand() -> None:
    """Two equal rows of length 1, sigma = 1: M = [[2, 1], [1, 2]], log sqrt(4 / 3)."""
    world = LinearGaussian(np.array([[1.0, 0.0], [1.0, 0.0]]), np.zeros(2), 1.0)
    assert world.diagonal_gap() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-14)


# ---- rotations ----


@given(**SIZES)
@DRAWS
def test_a_rotation_changes_the_code_and_not_the_evidence(seed: int, D: int, K: int) -> None:
    rng, world, x = draw(seed, D, K)
    R = np.linalg.qr(rng.normal(size=(K, K)))[0]
    other = world.rotated(R)
    assert np.allclose(other.log_prob(x), world.log_prob(x), rtol=1e-10, atol=1e-10)
    assert np.allclose(other.posterior_mean(x), world.posterior_mean(x) @ R.T, atol=1e-9)


@given(**SIZES)
@DRAWS
def test_the_aligned_world_has_a_diagonal_posterior(seed: int, D: int, K: int) -> None:
    _, world, x = draw(seed, D, K)
    aligned = world.aligned()
    products = aligned.W @ aligned.W.T
    assert np.allclose(products, np.diag(np.diagonal(products)), atol=1e-12)
    assert (np.diff(np.diagonal(products)) <= 1e-12).all()
    assert abs(aligned.diagonal_gap()) < 1e-12 and world.diagonal_gap() > -1e-12
    assert np.allclose(aligned.log_prob(x), world.log_prob(x), rtol=1e-10, atol=1e-10)


def test_what_is_no_rotation_is_refused() -> None:
    world = random_world(np.random.default_rng(0), 3, 2)
    for R in (2.0 * np.eye(2), np.eye(3), np.ones((2, 2))):
        with pytest.raises(ValueError, match=r"orthogonal matrix of shape \(2, 2\)"):
            world.rotated(R)


# ---- samples ----


def test_samples_have_the_moments_of_the_world() -> None:
    rng, world, _ = draw(3, 3, 2)
    n = 100_000
    z, x = world.sample(n, rng)
    assert z.shape == (n, 2) and x.shape == (n, 3)
    C = world.W.T @ world.W + world.variance * np.eye(3)
    joint = np.block([[np.eye(2), world.W], [world.W.T, C]])
    mean = np.concatenate([np.zeros(2), world.b])
    both = np.concatenate([z, x], axis=1)
    scale = np.sqrt(np.diagonal(joint))
    assert (np.abs(both.mean(axis=0) - mean) < 5 * scale / math.sqrt(n)).all()
    # The variance of a product of two normal variables is at most twice that of its factors.
    error = 5 * math.sqrt(2 / n) * np.outer(scale, scale)
    assert (np.abs(np.cov(both.T) - joint) < error).all()
    assert world.log_prob(x).mean() == pytest.approx(
        -0.5 * (3 * math.log(2 * math.pi * math.e) + math.log(np.linalg.det(C))), abs=0.02
    )  # minus the entropy


# ---- the full Gaussian ----


@given(seed=SEEDS, K=st.integers(1, 4))
@DRAWS
def test_a_full_gaussian_is_the_dense_one(seed: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    v, mu, S = rng.normal(size=(3, K)), rng.normal(size=(3, K)), random_covariance(rng, K)
    want = [normal_log_prob(v[n : n + 1], mu[n], S)[0] for n in range(3)]
    shared, own = FullGaussian(mu, S), FullGaussian(mu, np.stack([S, S, S]))
    assert np.allclose(shared.log_prob(v), want, rtol=1e-10)
    assert np.allclose(own.log_prob(v), want, rtol=1e-10)
    assert shared.log_det == pytest.approx(math.log(np.linalg.det(S)), abs=1e-9)


@KINDS
def test_kl_between_two_gaussians_by_quadrature(kind: str) -> None:
    rng = np.random.default_rng(5)
    q, p = FullGaussian.of(some_q(rng, kind, 3, 2)), some_q(rng, "full", 3, 2)
    S = np.broadcast_to(q.covariance, (3, 2, 2))
    for n in range(3):
        z, mass = grid(q.mu[n], S[n])
        log_q = normal_log_prob(z, q.mu[n], S[n])
        log_p = normal_log_prob(z, p.mu[n], p.covariance[n])
        assert q.kl(p)[n] == pytest.approx(mass @ (log_q - log_p), rel=1e-11)
    assert np.abs(q.kl(q)).max() < 1e-14


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 2)])
def test_a_diagonal_gaussian_in_a_matrix_is_the_same(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    q = Gaussian(rng.normal(size=(3, 2)), rng.normal(size=shape))
    full, z = FullGaussian.of(q), rng.normal(size=(3, 2))
    assert np.allclose(full.log_prob(z), q.log_prob(z), rtol=1e-13)
    same = Gaussian(q.mu, np.broadcast_to(q.logvar, (3, 2)))
    assert np.allclose(full.kl(), same.kl(), rtol=1e-12)
    assert FullGaussian.of(full) is full


def test_samples_of_a_full_gaussian_are_an_affine_map_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    S = np.stack([random_covariance(rng, 3) for _ in range(2)])
    q = FullGaussian(rng.normal(size=(2, 3)), S)
    eps = math.sqrt(3) * np.concatenate([np.eye(3), -np.eye(3)])  # of covariance I, exactly
    z = q.sample(np.repeat(eps[:, None], 2, axis=1))
    assert np.allclose(z.mean(axis=0), q.mean, atol=1e-14)
    for n in range(2):
        r = z[:, n] - q.mu[n]
        assert np.allclose(r.T @ r / 6, S[n], atol=1e-14)


# ---- errors ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"W": np.zeros(3)}, r"expected W \(K, D\) and b \(D,\), got \(3,\) and \(3,\)"),
        ({"b": np.zeros(2)}, r"got \(2, 3\) and \(2,\)"),
        ({"W": np.zeros((2, 3), dtype="f")}, "W in float64, got float32"),
        ({"b": np.array([1.0, math.inf, 0.0])}, "a finite b, got a nan or an infinity"),
        ({"variance": 0.0}, "positive, finite variance, got 0.0"),
        ({"variance": -1.0}, "positive, finite variance, got -1.0"),
        ({"variance": math.nan}, "positive, finite variance, got nan"),
    ],
)
def test_a_world_that_is_none_is_refused(change: dict[str, Any], words: str) -> None:
    fields: dict[str, Any] = {"W": np.zeros((2, 3)), "b": np.zeros(3), "variance": 1.0}
    with pytest.raises(ValueError, match=words):
        LinearGaussian(**{**fields, **change})


def test_data_of_another_width_are_refused() -> None:
    world = random_world(np.random.default_rng(0), 3, 2)
    for x in (np.zeros(3), np.zeros((2, 4)), np.zeros((2, 1))):
        with pytest.raises(ValueError, match=r"expected data of shape \(N, 3\), got"):
            world.log_prob(x)


def test_a_covariance_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a positive definite covariance"):
        FullGaussian(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2, 2\), got \(3, 3\)"):
        FullGaussian(np.zeros(2), np.eye(3))
