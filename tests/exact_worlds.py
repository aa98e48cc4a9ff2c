"""Linear-Gaussian worlds to test with, and the textbook's D x D formulas to hold them against.

Nothing here calls a formula of `minivae.exact`: densities are written with the inverse and the
determinant of the whole covariance, expectations are sums over quadrature points.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from minivae.exact import LinearGaussian, Spectrum

Rng = np.random.Generator


def random_world(rng: Rng, D: int, K: int, variance: float | None = None) -> LinearGaussian:
    """A world whose W has no structure: its posterior is not diagonal."""
    variance = float(rng.uniform(0.2, 2.0)) if variance is None else variance
    return LinearGaussian(rng.normal(size=(K, D)), rng.normal(size=D), variance)


def known_spectrum(eigenvalues: list[float], seed: int = 0, n_zero: int = 0) -> Spectrum:
    """A covariance with the given eigenvalues and random axes; its stand-ins are data with it."""
    rng = np.random.default_rng(seed)
    values = np.array([*eigenvalues, *[0.0] * n_zero])
    axes = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0].T
    return Spectrum(rng.normal(size=len(values)), values, axes)


def covariance(x: np.ndarray) -> np.ndarray:
    """1/N sum (x - mean)^T (x - mean), example by example."""
    mean = sum(x) / len(x)
    return sum(np.outer(row - mean, row - mean) for row in x) / len(x)


def normal_log_prob(v: np.ndarray, mean: np.ndarray, S: np.ndarray) -> np.ndarray:
    """log N(v; mean, S) for rows v (N, n), with the inverse and the determinant of S (n, n)."""
    r = v - mean
    distance = np.einsum("bi,ij,bj->b", r, np.linalg.inv(S), r)
    return -0.5 * (len(S) * math.log(2 * math.pi) + math.log(np.linalg.det(S)) + distance)


def dense_log_prob(world: LinearGaussian, x: np.ndarray) -> np.ndarray:
    """log p(x) with C = W^T W + sigma^2 I written out."""
    C = world.W.T @ world.W + world.variance * np.eye(world.W.shape[1])
    return normal_log_prob(x, world.b, C)


def dense_posterior(world: LinearGaussian, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of z given x, by conditioning in the joint Gaussian of (z, x)."""
    K, D = world.W.shape
    C = world.W.T @ world.W + world.variance * np.eye(D)
    gain = np.linalg.inv(C) @ world.W.T  # Cov(x)^-1 Cov(x, z)
    return (x - world.b) @ gain, np.eye(K) - world.W @ gain


def grid(mean: np.ndarray, S: np.ndarray, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Points (n^K, K) and weights of Gauss and Hermite's product rule for N(mean, S)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    weights = weights / weights.sum()
    K = len(mean)
    points = np.array(list(itertools.product(nodes, repeat=K))).reshape(-1, K)
    mass = np.array([math.prod(w) for w in itertools.product(weights, repeat=K)])
    values, vectors = np.linalg.eigh(S)
    return mean + (points * np.sqrt(values)) @ vectors.T, mass


def random_covariance(rng: Rng, K: int) -> np.ndarray:
    A = rng.normal(size=(K, K + 2))
    return A @ A.T / (K + 2) + 0.05 * np.eye(K)
