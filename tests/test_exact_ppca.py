"""Probabilistic PCA and EM for it, against whole matrices, derivatives, scikit-learn and laws."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from exact_worlds import covariance, dense_log_prob, dense_posterior, known_spectrum, random_world
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import load_digits
from minivae.exact import (
    LinearGaussian,
    Spectrum,
    e_step,
    fit_ppca,
    m_step,
    max_log_likelihood,
    mean_kl,
    noise_variance,
    principal_angles,
    run_em,
)
from minivae.verify import complex_step, worst

SEEDS = st.integers(0, 10**6)
DRAWS = settings(max_examples=20)


def data(seed: int = 0, N: int = 30, D: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + 3.0 * rng.normal(size=D)


# ---- the spectrum ----


@given(seed=SEEDS, N=st.integers(1, 9), D=st.integers(1, 9))
@DRAWS
def test_the_spectrum_is_that_of_the_covariance(seed: int, N: int, D: int) -> None:
    x = data(seed, N, D)
    s = Spectrum.of(x)
    S, R = covariance(x), min(N, D)
    assert s.eigenvalues.shape == (D,) and s.axes.shape == (R, D)
    assert np.allclose(s.mean, x.mean(axis=0), rtol=1e-12)
    assert np.allclose(s.eigenvalues, np.linalg.eigvalsh(S)[::-1], atol=1e-12 * np.trace(S))
    assert (np.diff(s.eigenvalues) <= 0).all() and (s.eigenvalues >= 0).all()
    assert np.allclose(s.axes @ s.axes.T, np.eye(R), atol=1e-12)
    whole = (s.axes.T * s.eigenvalues[:R]) @ s.axes
    assert np.allclose(whole, S, atol=1e-12 * max(np.trace(S), 1.0))
    assert (s.eigenvalues > 0).sum() == min(N - 1, D)  # centring takes one dimension away


def test_blocks_of_rows_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    x = data(N=23)
    whole = Spectrum.of(x)
    for rows in (1, 4, 22, 23, 24):
        monkeypatch.setattr("minivae.exact.ppca.ROWS", rows)
        s = Spectrum.of(x)
        assert np.allclose(s.eigenvalues, whole.eigenvalues, rtol=1e-12)
        assert np.allclose(np.abs(s.axes), np.abs(whole.axes), atol=1e-11)


def test_small_eigenvalues_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    half = np.array([1.0, 1e-5, 1e-10])[:, None] * u[:3]  # the covariance has 1, 1e-10, 1e-20
    s = Spectrum.of(np.concatenate([half, -half]) * math.sqrt(3))
    assert s.eigenvalues[:3] == pytest.approx([1.0, 1e-10, 1e-20], rel=1e-4, abs=0)
    assert s.eigenvalues[3] == 0.0


def test_whole_numbers_and_float32_are_data_too() -> None:
    x = np.random.default_rng(0).integers(0, 9, (20, 3))
    assert np.array_equal(Spectrum.of(x).eigenvalues, Spectrum.of(x.astype("f8")).eigenvalues)
    assert Spectrum.of(x.astype("f")).eigenvalues.dtype == np.float64


@pytest.mark.parametrize("r", range(6))
@pytest.mark.parametrize("n_zero", [0, 2])
def test_stand_ins_have_the_mean_and_the_covariance(r: int, n_zero: int) -> None:
    s = known_spectrum([3.0, 2.0, 1.0, 0.5, 0.2][:r], n_zero=n_zero or (r == 0))
    x = s.stand_ins()
    assert len(x) == [1, 2, 4, 4, 8, 8][r] and x.shape[1] == len(s.mean)
    squares = ((x - s.mean) ** 2).sum(axis=1)
    assert np.allclose(squares.mean(), s.eigenvalues.sum(), atol=1e-14)
    assert np.allclose(squares, squares[0], atol=1e-13)  # signs: no example is an outlier
    assert np.allclose(x.mean(axis=0), s.mean, atol=1e-14)
    assert np.allclose(covariance(x), (s.axes.T * s.eigenvalues) @ s.axes, atol=1e-14)


def test_stand_ins_have_the_likelihood_of_the_data() -> None:
    x = load_digits().valid.x
    stand_ins = Spectrum.of(x).stand_ins()
    assert len(stand_ins) < len(x)
    world = random_world(np.random.default_rng(0), 64, 3)
    assert world.log_prob(stand_ins).mean() == pytest.approx(world.log_prob(x).mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros(3), r"shape \(N, D\), both at least 1, got \(3,\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        (np.array([[1.0, math.nan]]), "expected finite data"),
    ],
)
def test_what_is_no_data_is_refused(x: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Spectrum.of(x)


# ---- the maximum ----


def gradients(world: LinearGaussian, x: np.ndarray, free: bool = True) -> dict[str, float]:
    """The largest derivative of the mean of log p(x), from D x D formulas by complex step."""
    S, mean, D = covariance(x), x.mean(axis=0), x.shape[1]

    def likelihood(W: np.ndarray, b: np.ndarray, log_variance: np.ndarray) -> complex:
        C = W.T @ W + np.exp(log_variance[0]) * np.eye(D)
        r = mean - b
        moment = S + np.outer(r, r)
        return -0.5 * (np.log(np.linalg.det(C)) + np.trace(np.linalg.inv(C) @ moment))

    W, b, c = world.W, world.b, np.array([math.log(world.variance)])
    found = {
        "W": complex_step(lambda w: likelihood(w, b, c), W),
        "b": complex_step(lambda v: likelihood(W, v, c), b),
    }
    if free:
        found["variance"] = complex_step(lambda v: likelihood(W, b, v), c)
    return {name: float(np.abs(g).max()) if g.size else 0.0 for name, g in found.items()}


@given(seed=SEEDS, K=st.integers(0, 4))
@DRAWS
def test_every_derivative_of_the_likelihood_vanishes(seed: int, K: int) -> None:
    x = data(seed)
    world = fit_ppca(Spectrum.of(x), K)
    scale = 1.0 / math.sqrt(world.variance)
    assert worst(*gradients(world, x).values()) < 1e-9 * max(scale, 1.0)


@given(seed=SEEDS, N=st.integers(4, 40), K=st.integers(0, 3), D=st.integers(4, 7))
@DRAWS
def test_the_maximum_from_eigenvalues_is_the_direct_one(seed: int, N: int, K: int, D: int) -> None:
    x = data(seed, max(N, K + 3), D)
    s = Spectrum.of(x)
    world = fit_ppca(s, K)
    best = max_log_likelihood(s.eigenvalues, K)
    assert dense_log_prob(world, x).mean() == pytest.approx(best, rel=1e-7, abs=1e-7)
    assert world.log_prob(x).mean() == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_nothing_near_or_far_has_a_higher_likelihood() -> None:
    x, rng = data(), np.random.default_rng(1)
    s = Spectrum.of(x)
    best, world = max_log_likelihood(s.eigenvalues, 2), fit_ppca(s, 2)
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(20):
            other = LinearGaussian(
                world.W + size * rng.normal(size=world.W.shape),
                world.b + size * rng.normal(size=world.b.shape),
                world.variance * math.exp(size * rng.normal()),
            )
            assert dense_log_prob(other, x).mean() < best
    for kept in combinations(range(5), 2):  # the other stationary points
        rest = [i for i in range(5) if i not in kept]
        variance = s.eigenvalues[rest].mean()
        squares = np.maximum(s.eigenvalues[list(kept)] - variance, 0.0)
        W = np.sqrt(squares)[:, None] * s.axes[list(kept)]
        value = dense_log_prob(LinearGaussian(W, s.mean, variance), x).mean()
        assert value < best if kept != (0, 1) else value == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("K", [0, 1, 5, 20])
def test_the_score_is_scikit_learns(K: int) -> None:
    """Theirs divides the covariance by N - 1, and ours is scaled to be held beside it."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    x = load_digits().train.x.astype(np.float64)
    N = len(x)
    s = Spectrum.of(x)
    theirs = decomposition.PCA(K, svd_solver="full").fit(x)
    ours = fit_ppca(replace(s, eigenvalues=s.eigenvalues * N / (N - 1)), K)
    assert ours.variance == pytest.approx(theirs.noise_variance_, rel=1e-10)
    assert ours.log_prob(x).mean() == pytest.approx(theirs.score(x), abs=1e-8)


def test_fewer_examples_than_features() -> None:
    """Ten digits of 64 pixels: 9 eigenvalues, and 55 zeros that count in the noise variance."""
    x = load_digits().train.x[:10].astype(np.float64)
    s = Spectrum.of(x)
    S = covariance(x)
    variance = (np.trace(S) - np.linalg.eigvalsh(S)[-3:].sum()) / 61
    world = fit_ppca(s, 3)
    assert world.variance == pytest.approx(variance, rel=1e-12)
    assert world.log_prob(x).mean() == pytest.approx(max_log_likelihood(s.eigenvalues, 3))
    assert dense_log_prob(world, x).mean() == pytest.approx(max_log_likelihood(s.eigenvalues, 3))


@given(seed=SEEDS, K=st.integers(0, 4))
@DRAWS
def test_mean_kl_is_the_mean_over_the_data(seed: int, K: int) -> None:
    x = data(seed)
    s = Spectrum.of(x)
    want = mean_kl(s.eigenvalues, K)
    world = fit_ppca(s, K)
    assert world.kl(x).mean() == pytest.approx(want, rel=1e-9, abs=1e-12)
    mean, V = dense_posterior(world, x)
    by_hand = 0.5 * ((mean**2).sum(axis=1).mean() + np.trace(V) - K - math.log(np.linalg.det(V)))
    assert by_hand == pytest.approx(want, rel=1e-7, abs=1e-9)
    assert world.best_diagonal(x).kl().mean() == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_the_rows_of_w_are_orthogonal_and_longest_first() -> None:
    world = fit_ppca(Spectrum.of(data()), 4)
    assert abs(world.diagonal_gap()) < 1e-12
    lengths = np.linalg.norm(world.W, axis=1)
    assert (np.diff(lengths) <= 0).all()
    assert np.allclose(world.aligned().W ** 2, world.W**2, atol=1e-10)


def test_a_known_variance_leaves_small_directions_unused() -> None:
    s = known_spectrum([4.0, 2.0, 1.0, 0.5])
    world = fit_ppca(s, 3, variance=1.5)
    assert np.allclose((world.W**2).sum(axis=1), [2.5, 0.5, 0.0], atol=1e-14)
    found = gradients(world, s.stand_ins(), free=False)
    assert worst(*found.values()) < 1e-12
    assert fit_ppca(s, 4, variance=0.1).latent == 4  # with a known variance K may be D


def test_equal_eigenvalues_are_no_trouble() -> None:
    s = known_spectrum([1.0, 1.0, 1.0, 1.0])
    world = fit_ppca(s, 2)
    assert np.allclose(world.W, 0.0, atol=1e-7) and world.variance == pytest.approx(1.0)
    assert mean_kl(s.eigenvalues, 2) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("K", [-1, 4, 5])
def test_too_many_latents_are_refused(K: int) -> None:
    s = known_spectrum([4.0, 2.0, 1.0, 0.5])
    for call in (noise_variance, max_log_likelihood, mean_kl):
        with pytest.raises(ValueError, match=f"expected 0 to 3 latents for 4 features, got {K}"):
            call(s.eigenvalues, K)
    with pytest.raises(ValueError, match="latents"):
        fit_ppca(s, K)
    if K != 4:
        with pytest.raises(ValueError, match=f"expected 0 to 4 latents, got {K}"):
            fit_ppca(s, K, variance=1.0)


def test_data_that_leave_no_noise_are_refused() -> None:
    s = Spectrum.of(known_spectrum([4.0, 2.0], n_zero=2).stand_ins())
    assert fit_ppca(s, 1).variance == pytest.approx(2.0 / 3.0)
    for K in (2, 3):
        words = f"more than {K} dimensions for {K} latents, got rank 2"
        with pytest.raises(ValueError, match=words):
            fit_ppca(s, K)
    with pytest.raises(ValueError, match="got rank 0"):
        fit_ppca(Spectrum.of(np.ones((5, 3))), 0)
    with pytest.raises(ValueError, match="got rank 2"):
        fit_ppca(Spectrum.of(data(N=3)), 2)  # three points lie in a plane


# ---- EM ----


@given(seed=SEEDS, N=st.integers(8, 40), K=st.integers(0, 4), D=st.integers(5, 8))
@DRAWS
def test_em_never_lowers_the_likelihood(seed: int, N: int, K: int, D: int) -> None:
    x = data(seed, N, D)
    world, history = run_em(x, K, 15, np.random.default_rng(seed))
    assert len(history) == 16
    assert (np.diff(history) >= -1e-9).all()
    assert history[-1] == pytest.approx(dense_log_prob(world, x).mean(), rel=1e-7)
    assert history[-1] <= max_log_likelihood(Spectrum.of(x).eigenvalues, K) + 1e-9


def test_em_converges_to_the_closed_form() -> None:
    s = known_spectrum([6.0, 3.0, 0.5, 0.3, 0.1])
    x = s.stand_ins()
    world, history = run_em(x, 2, 400, np.random.default_rng(0))
    assert history[-1] == pytest.approx(max_log_likelihood(s.eigenvalues, 2), abs=1e-11)
    assert world.variance == pytest.approx(0.3, rel=1e-9)
    assert principal_angles(world.W, s.axes[:2]).max() < 1e-7
    best = fit_ppca(s, 2)
    assert np.allclose(world.W.T @ world.W, best.W.T @ best.W, atol=1e-8)
    assert history[0] < history[1] < history[-1] - 0.01


def test_the_e_step_is_the_posterior() -> None:
    world, x = random_world(np.random.default_rng(0), 5, 2), data()
    m, V = e_step(world, x)
    mean, cov = dense_posterior(world, x)
    assert np.allclose(m, mean, atol=1e-12) and np.allclose(V, cov, atol=1e-12)


def test_the_m_step_is_equations_27_and_28() -> None:
    """Example by example, with <z> and <z z^T>, as they are printed."""
    world, x = random_world(np.random.default_rng(0), 5, 2), data()
    m, V = e_step(world, x)
    new = m_step(world, x, m, V)
    r = x - world.b
    zz = [np.outer(mn, mn) + V for mn in m]
    W = np.linalg.inv(sum(zz)) @ sum(np.outer(mn, rn) for mn, rn in zip(m, r, strict=True))
    total = 0.0
    for rn, mn, A in zip(r, m, zz, strict=True):
        total += rn @ rn - 2 * mn @ W @ rn + np.trace(A @ W @ W.T)
    assert np.allclose(new.W, W, atol=1e-12)
    assert new.variance == pytest.approx(total / x.size, rel=1e-12)
    assert new.b is world.b


def test_the_m_step_climbs_the_elbo_to_its_top() -> None:
    world, x = random_world(np.random.default_rng(0), 5, 2), data()
    q = world.posterior(x)
    new = m_step(world, x, *e_step(world, x))
    top = new.elbo(x, q).mean()
    assert world.elbo(x, q).mean() < top < new.log_prob(x).mean()
    rng = np.random.default_rng(1)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(10):
            other = replace(
                new,
                W=new.W + size * rng.normal(size=new.W.shape),
                variance=new.variance * math.exp(size * rng.normal()),
            )
            assert other.elbo(x, q).mean() < top


def test_the_closed_form_is_a_fixed_point_of_em() -> None:
    x = data()
    world = fit_ppca(Spectrum.of(x), 2)
    new = m_step(world, x, *e_step(world, x))
    assert np.allclose(new.W, world.W, atol=1e-10)
    assert new.variance == pytest.approx(world.variance, rel=1e-10)


def test_no_step_is_the_start() -> None:
    x = data()
    world, history = run_em(x, 2, 0, np.random.default_rng(0))
    assert len(history) == 1 and np.allclose(world.b, x.mean(axis=0))
    assert world.variance == pytest.approx(np.trace(covariance(x)) / 5)


@pytest.mark.parametrize("args", [(5, 1), (-1, 1), (2, -1)])
def test_em_refuses_sizes_out_of_range(args: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"got \(30, 5\), {args[0]} and {args[1]}"):
        run_em(data(), *args, np.random.default_rng(0))


def test_em_refuses_data_without_noise() -> None:
    x = known_spectrum([4.0, 2.0], n_zero=2).stand_ins()
    with pytest.raises(ValueError, match=r"more than 2 dimensions: sigma\^2 goes to 0"):
        run_em(x, 2, 1000, np.random.default_rng(0))
    with pytest.raises(ValueError, match="examples that differ"):
        run_em(np.ones((4, 3)), 1, 5, np.random.default_rng(0))


@pytest.mark.parametrize(("value", "D"), [(0.1, 3), (0.3, 64), (1e6, 5)])
def test_identical_examples_have_no_variance(value: float, D: int) -> None:
    spectrum = Spectrum.of(np.full((1000, D), value))
    assert not spectrum.eigenvalues.any()
    with pytest.raises(ValueError, match="noise variance is 0"):
        max_log_likelihood(spectrum.eigenvalues, 0)
