"""The linear autoencoder: principal angles, its landscape, and where our own training ends."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from exact_worlds import known_spectrum
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import Adam, Architecture, Autoencoder, objectives
from minivae.exact import as_autoencoder, least_error, principal_angles

EIGENVALUES = [4.0, 2.0, 0.7, 0.1]
CONSTANT = 0.5 * 4 * math.log(2 * math.pi)  # of the loss at sigma = 1: 1/2 |x - x_hat|^2 + this


# ---- angles ----


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-9, 1e-3, 1.0, math.pi / 2])
def test_an_angle_in_the_plane(angle: float) -> None:
    A, B = np.array([[2.0, 0.0]]), np.array([[3.0 * math.cos(angle), 3.0 * math.sin(angle)]])
    assert principal_angles(A, B) == pytest.approx([angle], rel=1e-12, abs=1e-15)
    assert principal_angles(B, A) == pytest.approx([angle], rel=1e-12, abs=1e-15)


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))
@settings(max_examples=30)
def test_angles_that_were_built_in(seed: int, L: int, more: int, spare: int) -> None:
    """B's axes are A's, each turned by an angle towards an axis of its own outside of A."""
    rng = np.random.default_rng(seed)
    K = L + more
    axes = np.linalg.qr(rng.normal(size=(K + L + spare, K + L + spare)))[0]
    angles = np.sort(rng.uniform(0, math.pi / 2, L))
    A = axes[:K]
    B = np.cos(angles)[:, None] * A[:L] + np.sin(angles)[:, None] * axes[K : K + L]
    mixed_a = (rng.normal(size=(K, K)) + 3 * np.eye(K)) @ A  # other rows, the same span
    mixed_b = (rng.normal(size=(L, L)) + 3 * np.eye(L)) @ B
    assert np.allclose(principal_angles(mixed_a, mixed_b), angles, rtol=0, atol=1e-9)
    assert np.allclose(principal_angles(mixed_a, mixed_a), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("A", "B", "words"),
    [
        (np.eye(3)[:1], np.eye(3)[:2], "in A at least as many as in B"),
        (np.eye(3), np.eye(2), r"got \(3, 3\) and \(2, 2\)"),
        (np.ones(3), np.eye(3), "rows of one length"),
        (np.ones((2, 3)), np.eye(3)[:1], "linearly independent rows"),
        (np.eye(3), np.zeros((1, 3)), "linearly independent rows"),
        (np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.eye(2), "linearly independent rows"),
        (np.array([[1.0, 3.0], [0.1, 0.3]], np.float32), np.eye(2, dtype=np.float32), "dependent"),
    ],
)
def test_what_spans_no_space_is_refused(A: np.ndarray, B: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        principal_angles(A, B)


# ---- the landscape ----


@pytest.mark.parametrize("kept", list(combinations(range(4), 2)))
def test_every_choice_of_eigenvectors_is_a_critical_point(kept: tuple[int, int]) -> None:
    s = known_spectrum(EIGENVALUES)
    x, model = s.stand_ins(), as_autoencoder(s, kept)
    loss = float(objectives.reconstruction(model, x).loss)
    left_out = sum(value for i, value in enumerate(EIGENVALUES) if i not in kept)
    assert loss - CONSTANT == pytest.approx(0.5 * left_out, rel=1e-12)
    assert np.abs(model.parameters.grad).max() < 1e-13
    best = least_error(s.eigenvalues, 2)
    assert best == pytest.approx(0.8)
    if kept == (0, 1):
        assert left_out == pytest.approx(best)
        return
    # A saddle: towards the best eigenvector that was left out the loss falls, as told.
    out = min(set(range(4)) - set(kept))
    view, t = model.parameters.views(model.parameters.theta), 0.1
    view["decoder.mu.W"][1] = math.cos(t) * s.axes[kept[1]] + math.sin(t) * s.axes[out]
    view["encoder.code.W"][...] = view["decoder.mu.W"].T
    view["encoder.code.b"][...] = -s.mean @ view["decoder.mu.W"].T
    turned = float(objectives.reconstruction(model, x, gradient=False).loss)
    fall = 0.5 * (EIGENVALUES[out] - EIGENVALUES[kept[1]]) * math.sin(t) ** 2
    assert loss - turned == pytest.approx(fall, rel=1e-9) and fall > 0


def test_scale_and_axes_of_the_codes_are_free() -> None:
    s, rng = known_spectrum(EIGENVALUES), np.random.default_rng(0)
    x, model = s.stand_ins(), as_autoencoder(s, range(2))
    before = model.reconstruct(x)
    assert np.allclose(model.encode(x), (x - s.mean) @ s.axes[:2].T, atol=1e-14)
    view, G = model.parameters.views(model.parameters.theta), rng.normal(size=(2, 2))
    view["encoder.code.W"][...] = view["encoder.code.W"] @ G
    view["encoder.code.b"][...] = view["encoder.code.b"] @ G
    view["decoder.mu.W"][...] = np.linalg.inv(G) @ view["decoder.mu.W"]
    assert np.allclose(model.reconstruct(x), before, atol=1e-12)


@pytest.mark.parametrize("kept", [(), (0, 0), (4,), (-1,), (0, 1, 2, 3, 4)])
def test_wrong_numbers_are_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected different numbers from 0 to 3, got"):
        as_autoencoder(known_spectrum(EIGENVALUES), kept)


@pytest.mark.parametrize("K", [-1, 5])
def test_a_number_of_codes_out_of_range_is_refused(K: int) -> None:
    with pytest.raises(ValueError, match=f"expected 0 to 4 latents, got {K}"):
        least_error(np.array(EIGENVALUES), K)


# ---- training gets there ----


@pytest.mark.parametrize("K", [1, 2])
def test_a_trained_autoencoder_spans_the_principal_subspace(K: int) -> None:
    s = known_spectrum(EIGENVALUES)
    x, steps, adam = s.stand_ins(), 600, Adam(0.05)
    model = Autoencoder(
        Architecture(4, K, (), likelihood="gaussian", variance="fixed", sigma=1.0), dtype="float64"
    )
    parameters = model.parameters
    for step in range(steps):
        adam.learning_rate = 0.05 * math.cos(0.5 * math.pi * step / steps) ** 2
        parameters.zero_grad()
        model.objective(x)
        adam.step(parameters.theta, parameters.grad)
    error = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean()
    assert error == pytest.approx(sum(EIGENVALUES[K:]), rel=1e-10)
    assert error == pytest.approx(least_error(s.eigenvalues, K), rel=1e-10)
    W = parameters.views(parameters.theta)["decoder.mu.W"]
    assert principal_angles(W, s.axes[:K]).max() < 1e-6
    assert abs(W @ W.T - np.eye(K)).max() > 0.1  # the span, and not the axes themselves


def test_the_lengths_of_rows_say_nothing_about_their_span() -> None:
    A = np.eye(3)[:2] * np.array([[1.0], [1e-13]])
    assert np.allclose(principal_angles(A, np.eye(3)[:2]), 0.0, atol=1e-15)
