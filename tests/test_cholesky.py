"""The Gaussian whose factor is the parameter: derivatives by complex step, values otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import check_derivative

from minivae.distributions import CholeskyGaussian, Gaussian
from minivae.exact import FullGaussian

SIZES = {"B": st.integers(1, 3), "K": st.integers(1, 4), "seed": st.integers(0, 2**32 - 1)}


def drawn(B: int, K: int, seed: int) -> tuple[CholeskyGaussian, np.random.Generator]:
    """Also above the diagonal, where nothing counts."""
    rng = np.random.default_rng(seed)
    shapes = (B, K), (B, K), (B, K, K)
    mu, logvar, lower = (rng.normal(size=shape) for shape in shapes)
    return CholeskyGaussian(mu, logvar, lower), rng


def with_part(q: CholeskyGaussian, name: str, value: np.ndarray) -> CholeskyGaussian:
    return CholeskyGaussian(**{**vars(q), name: value})


def matrix(q: CholeskyGaussian) -> np.ndarray:
    """L, number by number."""
    B, K = q.mu.shape
    L = np.zeros((B, K, K))
    for b in range(B):
        for i in range(K):
            sigma = np.exp(q.logvar[b, i]) ** 0.5
            L[b, i, i] = sigma
            for j in range(i):
                L[b, i, j] = sigma * q.lower[b, i, j]
    return L


@settings(max_examples=30)
@given(**SIZES)
def test_the_gradients_are_the_derivatives(B: int, K: int, seed: int) -> None:
    q, rng = drawn(B, K, seed)
    eps, dz, c = rng.normal(size=(2, B, K)), rng.normal(size=(2, B, K)), rng.normal(size=B)
    slopes = zip(vars(q), q.kl_grad(), q.pathwise_grad(dz, eps), strict=True)
    for name, kl, path in slopes:
        at = vars(q)[name]
        assert kl.shape == path.shape == at.shape
        weight = c.reshape(B, *[1] * (at.ndim - 1))
        scale = float(np.abs(c).max())
        check_derivative(
            f"CholeskyGaussian.kl_grad {name}",
            weight * kl,
            lambda a, name=name: (c * with_part(q, name, a).kl()).sum(),
            at,
            scale,
        )
        check_derivative(
            f"CholeskyGaussian.pathwise_grad {name}",
            path,
            lambda a, name=name: (dz * with_part(q, name, a).sample(eps)).sum(),
            at,
            float(np.abs(dz).max()),
        )


@settings(max_examples=30)
@given(**SIZES)
def test_the_values_are_those_of_the_covariance(B: int, K: int, seed: int) -> None:
    """Against `FullGaussian`, which begins at the other end, and against plain loops."""
    q, rng = drawn(B, K, seed)
    L = matrix(q)
    S = L @ L.transpose(0, 2, 1)
    assert np.allclose(q.factor, L, rtol=1e-13) and np.allclose(q.covariance, S, rtol=1e-12)
    other = FullGaussian(q.mu, S)
    v = q.mu + rng.normal(size=(2, B, K))
    assert np.allclose(q.log_prob(v), other.log_prob(v), rtol=1e-8)
    assert np.allclose(q.kl(), other.kl(), rtol=1e-9, atol=1e-12)
    slope = np.linalg.solve(S, (q.mu - v)[..., None])[..., 0]
    assert np.allclose(q.grad_value(v), slope, rtol=1e-9, atol=1e-12)
    eps = rng.normal(size=(2, B, K))
    want = q.mu + np.einsum("bij,sbj->sbi", L, eps)
    assert np.allclose(q.sample(eps), want, rtol=1e-12, atol=1e-12)
    assert np.allclose(q.sample(eps[0]), want[0], rtol=1e-12, atol=1e-12)
    entropy = 0.5 * (K * np.log(2 * np.pi * np.e) + np.linalg.slogdet(S)[1])
    assert np.allclose(q.entropy(), entropy, rtol=1e-9)
    assert (q.kl() >= 0).all() and np.array_equal(q.mean, q.mu)


def test_without_a_lower_part_it_is_the_diagonal_gaussian() -> None:
    rng = np.random.default_rng(0)
    for logvar in (rng.normal(size=(3, 2)), rng.normal(size=2)):
        plain = Gaussian(rng.normal(size=(3, 2)), logvar)
        q = CholeskyGaussian.of(plain)
        assert CholeskyGaussian.of(q) is q and q.logvar.shape == (3, 2)
        assert q.lower.shape == (3, 2, 2) and not q.lower.any()
        v, eps, dz = (rng.normal(size=(4, 3, 2)) for _ in range(3))
        assert np.allclose(q.log_prob(v), plain.log_prob(v), rtol=1e-12)
        assert np.allclose(q.sample(eps), plain.sample(eps), rtol=1e-14)
        assert np.allclose(q.kl(), plain.kl(), rtol=1e-12)
        assert np.allclose(q.grad_value(v), plain.grad_value(v), rtol=1e-12)
        wide = Gaussian(plain.mu, q.logvar)
        for a, b in zip(q.kl_grad(), wide.kl_grad(), strict=False):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-15)
        for a, b in zip(q.pathwise_grad(dz, eps), wide.pathwise_grad(dz, eps), strict=False):
            assert np.allclose(a, b, rtol=1e-12)


def test_kl_is_exact_near_the_prior_and_dtypes_stay() -> None:
    q = CholeskyGaussian(np.full((1, 2), 1e-9), np.full((1, 2), 1e-9), np.zeros((1, 2, 2)))
    assert q.kl()[0] == pytest.approx(1e-18 + 0.5e-18, rel=1e-6)  # mu^2 and logvar^2 / 2
    q = CholeskyGaussian(*(a.astype(np.float32) for a in vars(drawn(2, 3, 0)[0]).values()))
    eps = np.ones((4, 2, 3), np.float32)
    results = [q.kl(), q.entropy(), q.factor, q.covariance, q.sample(eps), q.log_prob(eps)]
    results += [q.grad_value(eps), *q.kl_grad(), *q.pathwise_grad(eps, eps)]
    assert {a.dtype for a in results} == {np.dtype("float32")}
