"""Integrals over one and two latents: closed forms, sums to one, dense grids, honest errors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import evidence_by_quadrature, linear_gaussian, make_model, patterns, scalar_vae

from minivae import VAE, Architecture, Autoencoder
from minivae.distributions import Gaussian
from minivae.exact import (
    FullGaussian,
    LinearGaussian,
    as_vae,
    exact_bound,
    exact_evidence,
    lattice,
    log_integral,
    quadrature,
)
from minivae.exact.lattice import GROUP, MAX_POINTS, Cells, refine
from minivae.models.networks import LIKELIHOODS

SEEDS = st.integers(0, 2**32 - 1)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gaussian_log_f(mean: np.ndarray, covariance: np.ndarray, height: float) -> Any:
    """log of height times an unnormalised Gaussian; its integral is known."""
    precision = np.linalg.inv(covariance)

    def log_f(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        r = z - mean
        values = height - 0.5 * np.einsum("si,ij,sj->s", r, precision, r)
        return np.repeat(values[:, None], len(rows), axis=1)

    K = len(mean)
    return log_f, height + 0.5 * (K * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1])


def random_covariance(draw: np.random.Generator, K: int, narrow: float) -> np.ndarray:
    """Widths between ``narrow`` and 1, in directions drawn at random."""
    turn = np.linalg.qr(draw.normal(size=(K, K)))[0]
    widths = np.exp(draw.uniform(math.log(narrow), 0.0, K))
    return turn @ np.diag(widths**2) @ turn.T


# ---- any integrand ----


@settings(max_examples=30)
@given(seed=SEEDS, K=st.sampled_from([1, 2]), height=st.floats(-500.0, 500.0))
def test_a_gaussian_anywhere_of_any_width(seed: int, K: int, height: float) -> None:
    draw = rng(seed)
    mean, covariance = draw.uniform(-6, 6, K), random_covariance(draw, K, 0.02)
    log_f, want = gaussian_log_f(mean, covariance, height)
    got = log_integral(log_f, 1, K, True, 1e-10)
    assert got.error[0] < 2e-10 and abs(got.log_evidence[0] - want) < 1e-11
    assert np.abs(got.mean[0] - mean).max() < 1e-9
    assert np.abs(got.covariance[0] - covariance).max() < 1e-9
    assert got.n_points[0] <= MAX_POINTS and got.tolerance == 1e-10


@pytest.mark.parametrize("place", [20.0, -75.0, 1000.0])
def test_an_integrand_far_from_the_prior_is_found(place: float) -> None:
    for K in (1, 2):
        mean = np.array([place, 3.0])[:K]
        log_f, want = gaussian_log_f(mean, 0.01 * np.eye(K), -5.0)
        got = log_integral(log_f, 2, K, True, 1e-8)
        assert np.abs(got.log_evidence - want).max() < 1e-8
        assert np.abs(got.mean - mean).max() < 1e-8


def test_all_modes_are_inside() -> None:
    """Three narrow Gaussians of very different heights: the sum, the mean and the spread."""
    centres = np.array([[-5.0, 2.0], [3.0, 4.0], [0.3, -6.1]])
    shares, width = np.array([1.0, 1e-5, 0.2]), 0.03

    def log_f(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        distance = ((z[:, None, :] - centres) ** 2).sum(axis=2) / (2 * width**2)
        total = np.logaddexp.reduce(np.log(shares) - distance, axis=1)
        return np.repeat(total[:, None], len(rows), axis=1)

    got = log_integral(log_f, 1, 2, True, 1e-8)
    mass = shares.sum() * 2 * math.pi * width**2
    assert abs(got.log_evidence[0] - math.log(mass)) < 1e-8
    mean = shares @ centres / shares.sum()
    assert np.abs(got.mean[0] - mean).max() < 1e-7
    second = np.einsum("m,mi,mj->ij", shares / shares.sum(), centres, centres)
    want = second - np.outer(mean, mean) + width**2 * np.eye(2)
    assert np.abs(got.covariance[0] - want).max() < 1e-7


@settings(max_examples=60)
@given(
    place=st.floats(-3.0, 3.0),
    left=st.floats(0.1, 30.0),
    right=st.floats(0.1, 30.0),
    tolerance=st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5]),
)
def test_the_stated_error_is_honest_at_a_kink(
    place: float, left: float, right: float, tolerance: float
) -> None:
    """e^(left (z - place)) up to place and e^(-right (z - place)) beyond: a kink at the maximum."""

    def log_f(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        r = z - place
        return np.repeat(np.minimum(left * r, -right * r), len(rows), axis=1)

    got = log_integral(log_f, 1, 1, False, tolerance)
    want = math.log(1 / left + 1 / right)
    assert got.converged[0]
    # What is left behind below the cutoff was stated as well.
    assert abs(got.log_evidence[0] - want) <= got.error[0] <= tolerance


def test_the_stated_error_is_at_least_three_times_that_of_a_kink() -> None:
    """e^(-|z - phase| / 20) on cells of length 1: its kink is all that the lattices miss."""
    ratios = []
    for phase in np.linspace(0.0, 1.0, 101):

        def log_f(z: np.ndarray, phase: float = phase) -> np.ndarray:
            return -0.05 * np.abs(z[:, 0] - phase)

        tiling = Cells.tiling(1600, 1, 800.0)
        cells = Cells(tiling.z, tiling.sides, log_f(tiling.z))
        found = refine(log_f, cells, 1.0, 10_000, smooth=True)
        assert len(found.weights) == 3200
        ratios.append(found.error / abs(found.log_total - math.log(40.0)))
    assert 2.99 < min(ratios) < 3.01


def test_points_run_out_and_the_error_says_so() -> None:
    def log_f(z: np.ndarray, rows: np.ndarray) -> np.ndarray:
        r = z - np.array([0.2003, -0.1])
        return np.repeat(-np.abs(r).sum(axis=1)[:, None] * 5.0, len(rows), axis=1)

    want = 2.0 * math.log(2.0 / 5.0)
    few = log_integral(log_f, 1, 2, False, 1e-7, max_points=20_000)
    many = log_integral(log_f, 1, 2, False, 1e-7, max_points=200_000)
    for found, limit in ((few, 20_000), (many, 200_000)):
        assert not found.converged[0] and found.error[0] > 1e-7
        assert abs(found.log_evidence[0] - want) < found.error[0]
        assert found.n_points[0] <= limit
    assert many.error[0] < 0.5 * few.error[0]


def test_a_looser_tolerance_takes_fewer_points() -> None:
    log_f, want = gaussian_log_f(np.zeros(2), 0.002 * np.eye(2), 0.0)
    found = [log_integral(log_f, 1, 2, True, tolerance) for tolerance in (1e-2, 1e-5, 1e-10)]
    for one in found:
        assert abs(one.log_evidence[0] - want) <= one.error[0] <= one.tolerance
        assert one.converged.all()
    points = [one.n_points[0] for one in found]
    assert points[0] < points[1] < points[2] <= 60_000


def test_what_does_not_die_out_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an integrand that dies out"):
        log_integral(lambda z, rows: np.zeros((len(z), len(rows))), 1, 1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_dims": 3}, "expected one or two latents, got 3"),
        ({"n_dims": 0}, "expected one or two latents, got 0"),
        ({"tolerance": 0.0}, "expected a positive tolerance, got 0.0"),
        ({"tolerance": math.nan}, "expected a positive tolerance, got nan"),
        ({"max_points": 599}, "expected max_points of at least 600, got 599"),
        ({"n_dims": 2, "max_points": 9_999}, "expected max_points of at least 16384, got 9999"),
    ],
)
def test_what_cannot_be_integrated_is_refused(options: dict[str, Any], message: str) -> None:
    log_f, _ = gaussian_log_f(np.zeros(1), np.eye(1), 0.0)
    with pytest.raises(ValueError, match=message):
        log_integral(log_f, 1, **{"n_dims": 1, "smooth": True, **options})


def test_cells_tile_and_children_halve() -> None:
    cells = Cells.tiling(3, 2, 6.0)
    assert cells.volume == 16.0
    assert sorted(map(tuple, cells.z.tolist())) == list(
        itertools.product((-4.0, 0.0, 4.0), repeat=2)
    )
    children = cells.children()
    assert children.shape == (9, 4, 2)
    assert np.allclose(children.mean(axis=1), cells.z)
    assert {
        tuple(np.abs(c - z)) for z, four in zip(cells.z, children, strict=True) for c in four
    } == {(1.0, 1.0)}


# ---- models with a closed form ----


def oblique(seed: int, K: int, sigma: float, D: int = 5) -> tuple[VAE, np.ndarray, Any]:
    """A linear-Gaussian VAE with any W: its posterior is correlated; x; W, b."""
    draw = rng(seed)
    shape = Architecture(D, K, (), likelihood="gaussian", variance="fixed", sigma=sigma)
    model = VAE(shape, dtype="float64")
    view = model.parameters.views(model.parameters.theta)
    W, b = draw.normal(size=(K, D)) + 1.0, draw.normal(size=D)
    view["decoder.mu.W"][...], view["decoder.mu.b"][...] = W, b
    return model, draw.normal(size=(3, K)) @ W + b + sigma * draw.normal(size=(3, D)), (W, b)


def closed_form(x: np.ndarray, W: np.ndarray, b: np.ndarray, sigma: float) -> tuple[Any, Any, Any]:
    """log N(x; b, W^T W + sigma^2 I), and the posterior's mean and covariance."""
    C, M = W.T @ W + sigma**2 * np.eye(len(b)), W @ W.T + sigma**2 * np.eye(len(W))
    quadratic = ((x - b) * np.linalg.solve(C, (x - b).T).T).sum(axis=1)
    log_p = -0.5 * (len(b) * math.log(2 * math.pi) + np.linalg.slogdet(C)[1] + quadratic)
    return log_p, np.linalg.solve(M, W @ (x - b).T).T, sigma**2 * np.linalg.inv(M)


@pytest.mark.parametrize("K", [1, 2])
@pytest.mark.parametrize("sigma", [1.0, 0.3, 0.05])
def test_the_linear_gaussian_world_to_ten_digits(K: int, sigma: float) -> None:
    model, x, (W, b) = oblique(K, K, sigma)
    log_p, mean, covariance = closed_form(x, W, b, sigma)
    got = exact_evidence(model, x, tolerance=1e-10)
    assert np.abs(got.log_evidence - log_p).max() < 1e-10
    assert (got.error < 2e-10).all()
    assert np.abs(got.mean - mean).max() < 1e-9
    assert np.abs(got.covariance - covariance).max() < 1e-9


@pytest.mark.parametrize("K", [1, 2])
def test_the_bound_and_its_gap_in_closed_form(K: int) -> None:
    """KL between two Gaussians, q diagonal and wrong, the posterior oblique."""
    model, x, (W, b) = oblique(K + 7, K, 0.5)
    log_p, mean, covariance = closed_form(x, W, b, 0.5)
    q = model.encode(x)
    variance = np.exp(q.logvar)
    inverse, r = np.linalg.inv(covariance), q.mu - mean
    want = 0.5 * (
        (variance * np.diag(inverse)).sum(axis=1)
        + np.einsum("bi,ij,bj->b", r, inverse, r)
        - K
        + np.linalg.slogdet(covariance)[1]
        - q.logvar.sum(axis=1)
    )
    got = exact_bound(model, x, tolerance=1e-9)
    assert np.allclose(got.kl, want, rtol=1e-9, atol=1e-8)
    assert np.allclose(got.elbo, log_p - want, rtol=1e-9, atol=1e-8)
    assert np.allclose(got.reconstruction - q.kl(), got.elbo, rtol=0, atol=1e-12)
    assert np.abs(got.gap - got.kl).max() < 1e-8


def test_at_the_exact_posterior_the_gap_is_zero() -> None:
    model, x, log_p = linear_gaussian(rng())
    got = exact_bound(model, x, tolerance=1e-9)
    assert np.abs(got.kl).max() < 1e-9 and np.abs(got.elbo - log_p).max() < 1e-9
    assert np.abs(got.evidence.mean - model.encode(x).mu).max() < 1e-8


# ---- models without one ----


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("K", [1, 2])
def test_the_probabilities_of_all_binary_images_sum_to_one(K: int, activation: str) -> None:
    model, _, _ = make_model(VAE, rng(K), D=4, latent=K, hidden=(5,), activation=activation)
    model.parameters.theta[...] *= 2.0
    tolerance = 1e-3 if (K, activation) == (2, "relu") else 1e-7
    got = exact_evidence(model, patterns(4), tolerance)
    assert got.converged.all()
    assert abs(np.exp(got.log_evidence).sum() - 1.0) < 0.1 * tolerance


def test_the_density_of_a_grey_pixel_integrates_to_one() -> None:
    model, _, _ = make_model(
        VAE, rng(), D=1, latent=1, activation="tanh", likelihood="continuous-bernoulli"
    )
    nodes, weights = np.polynomial.legendre.leggauss(24)
    got = exact_evidence(model, 0.5 + 0.5 * nodes[:, None], tolerance=1e-9)
    assert abs(0.5 * weights @ np.exp(got.log_evidence) - 1.0) < 1e-8


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
def test_every_likelihood_against_a_dense_grid(likelihood: str) -> None:
    model, x = scalar_vae(rng(1), likelihood)
    z = np.linspace(-15, 15, 6001)[:, None]
    log_p, log_posterior = evidence_by_quadrature(model, x, z)
    got = exact_bound(model, x, tolerance=1e-9)
    assert np.abs(got.evidence.log_evidence - log_p).max() < 1e-8
    posterior = np.exp(log_posterior) * 30 / 6000
    mean = posterior.T @ z
    assert np.abs(got.evidence.mean - mean).max() < 1e-7
    variance = (posterior * (z - mean.T) ** 2).sum(axis=0)
    assert np.abs(got.evidence.covariance[:, 0, 0] - variance).max() < 1e-7
    q = model.encode(x)
    density = np.exp(-0.5 * ((z - q.mu.T) ** 2 / np.exp(q.logvar.T))) / np.sqrt(
        2 * math.pi * np.exp(q.logvar.T)
    )
    weights = density * 30 / 6000
    log_x = np.stack([model.decode(z).log_prob(row) for row in x], axis=1)
    reconstruction = (weights * log_x).sum(axis=0)
    kl = (weights * (np.log(np.maximum(density, 1e-300)) - log_posterior)).sum(axis=0)
    assert np.abs(got.reconstruction - reconstruction).max() < 1e-7
    assert np.abs(got.kl - kl).max() < 1e-7 and np.abs(got.gap - kl).max() < 1e-7
    assert (got.error < 1e-8).all() and (got.kl > 0).all()


@pytest.mark.parametrize("K", [1, 2])
def test_relu_decoders_against_brute_force(K: int) -> None:
    """Piecewise smooth: the dense grid, by plain sums, is within the stated error."""
    model, x, _ = make_model(VAE, rng(5), B=2, D=6, latent=K, hidden=(7,), activation="relu")
    model.parameters.theta[...] *= 2.0
    n = 200_001 if K == 1 else 901
    line = np.linspace(-9.0, 9.0, n)
    z = np.stack(np.meshgrid(*[line] * K, indexing="ij"), axis=-1).reshape(-1, K)
    joint = np.stack([model.decode(z).log_prob(row) for row in x], axis=1)
    joint += -0.5 * (z**2).sum(axis=1, keepdims=True) - 0.5 * K * math.log(2 * math.pi)
    want = np.log(np.exp(joint).sum(axis=0) * (line[1] - line[0]) ** K)
    for tolerance in (1e-2, 1e-3, (1e-6, 1e-4)[K - 1]):
        got = exact_evidence(model, x, tolerance)
        assert got.converged.all()
        # The dense grid itself is good to about 1e-9 and, in two dimensions, 1e-6.
        assert (np.abs(got.log_evidence - want) <= got.error + (1e-9, 1e-6)[K - 1]).all()


@settings(max_examples=10)
@given(seed=SEEDS, tolerance=st.sampled_from([1e-2, 1e-3, 1e-4]), K=st.sampled_from([1, 2]))
def test_honest_on_any_relu_decoder(seed: int, tolerance: float, K: int) -> None:
    model, x, _ = make_model(VAE, rng(seed), B=2, D=3, latent=K, hidden=(4,), activation="relu")
    model.parameters.theta[...] *= 3.0
    rough, fine = (
        exact_evidence(model, x, tolerance),
        exact_evidence(model, x, 0.01 * tolerance, 100_000),
    )
    assert rough.converged.all()
    distance = np.abs(rough.log_evidence - fine.log_evidence)
    assert (distance <= rough.error + fine.error).all()


@settings(max_examples=10)
@given(seed=SEEDS, tolerance=st.sampled_from([1e-1, 1e-2, 1e-3]))
def test_honest_about_the_bound_of_any_relu_decoder(seed: int, tolerance: float) -> None:
    """The averages under q, whose kinks lie elsewhere; the fine ones within both errors."""
    model, x, _ = make_model(VAE, rng(seed), B=2, D=3, latent=1, hidden=(4,), activation="relu")
    model.parameters.theta[...] *= 3.0
    rough, fine = exact_bound(model, x, tolerance), exact_bound(model, x, 0.01 * tolerance)
    assert rough.error.max() <= 2.1 * tolerance
    for name in ("elbo", "reconstruction", "kl", "gap"):
        distance = np.abs(getattr(rough, name) - getattr(fine, name))
        assert (distance <= rough.error + fine.error).all(), name
    assert np.abs(fine.gap - fine.kl).max() <= fine.error.max()


@pytest.mark.parametrize(("seed", "row"), [(21, 0), (256, 2)])
def test_kinks_that_cancel_at_one_level_do_not_at_two(
    seed: int, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two decoders of 300 whose kinks happen to cancel in all distances of the first level: were
    they taken for smooth, the stated error would be less than half of the true one."""
    model, x, _ = make_model(VAE, rng(seed), B=3, D=5, latent=1, hidden=(6,), activation="relu")
    model.parameters.theta[...] *= 3.0
    x = x[row : row + 1]
    want = exact_evidence(model, x, 1e-7).log_evidence[0]
    stated = exact_evidence(model, x, 1e-2)
    assert abs(stated.log_evidence[0] - want) < 0.5 * stated.error[0]
    monkeypatch.setattr(quadrature, "_smooth", lambda model: True)
    bold = exact_evidence(model, x, 1e-2)
    assert abs(bold.log_evidence[0] - want) > 2.0 * bold.error[0]


def test_with_kinks_the_stated_error_never_falls_faster_than_a_quarter() -> None:
    """Level by level on a Gaussian, whose true error falls much faster."""

    def log_f(z: np.ndarray) -> np.ndarray:
        return -0.5 * (z[:, 0] / 0.4) ** 2

    tiling = Cells.tiling(18, 1, 9.0)
    cells, levels = Cells(tiling.z, tiling.sides, log_f(tiling.z)), {}
    for smooth in (True, False):
        errors = [1.0]
        while len(errors) < 6 and errors[-1] > 1e-14:
            errors.append(refine(log_f, cells, 0.99 * errors[-1], 10_000, smooth).error)
        levels[smooth] = np.array(errors[1:])
    assert levels[True][1] < 1e-4 * levels[True][0]
    ratios = levels[False][1:] / levels[False][:-1]
    assert len(ratios) == 4 and np.allclose(ratios, 0.25, rtol=1e-3)


def test_the_distances_of_four_lattices_by_hand() -> None:
    """Sums 2, 2, 3 and 1 over cells of volume 1/2, and a function that is 1 on one lattice only."""
    log_f = np.log([[1.0, 0.5, 1.0, 0.25], [1.0, 1.5, 2.0, 0.75]])
    values = np.zeros((2, 4, 1))
    values[:, 2] = 1.0
    (total, average), (distance, spread) = lattice._sums(log_f, values, 0.5)
    assert math.isclose(total, math.log(4.0))
    assert math.isclose(distance, math.log(2.0))  # the last one holds half of the mean, 2
    assert math.isclose(average, 3.0 / 8.0)
    assert math.isclose(spread, 3.0 / 2.0 - 3.0 / 8.0)


def test_both_modes_of_a_folded_decoder() -> None:
    """x = |z| + noise, by two ReLUs: the posterior has a mode on either side."""
    shape = Architecture(1, 1, (2,), likelihood="gaussian", variance="fixed", sigma=0.1)
    model = VAE(shape, dtype="float64")
    view = model.parameters.views(model.parameters.theta)
    view["decoder.trunk.0.W"][...], view["decoder.trunk.0.b"][...] = [[1.0, -1.0]], 0.0
    view["decoder.mu.W"][...], view["decoder.mu.b"][...] = [[1.0], [1.0]], 0.0
    got = exact_evidence(model, np.array([[2.0]]), tolerance=1e-8)
    # One side alone is the linear model x = z + noise: N(2; 0, 1 + sigma^2), times two.
    want = math.log(2.0) - 0.5 * (math.log(2 * math.pi * 1.01) + 4.0 / 1.01)
    assert abs(got.log_evidence[0] - want) < 1e-8
    assert abs(got.mean[0, 0]) < 1e-8
    assert math.isclose(got.covariance[0, 0, 0], 0.01 / 1.01 + (2.0 / 1.01) ** 2, rel_tol=1e-7)


# ---- memory, dtype, device ----


def test_examples_do_not_depend_on_their_company() -> None:
    model, _, _ = make_model(VAE, rng(), D=4, latent=1, activation="tanh")
    x = rng(1).integers(0, 2, (GROUP + 3, 4)).astype(float)
    together = exact_evidence(model, x)
    for i in (0, GROUP - 1, GROUP, GROUP + 2):
        alone = exact_evidence(model, x[i : i + 1])
        assert np.allclose(together.log_evidence[i], alone.log_evidence[0], rtol=0, atol=1e-12)
        assert np.allclose(together.mean[i], alone.mean[0], rtol=0, atol=1e-12)
        assert together.n_points[i] == alone.n_points[0]


def test_examples_that_need_a_wider_lattice_keep_their_places() -> None:
    model, x, (W, b) = oblique(3, 1, 0.2)
    x = np.concatenate([x[:1], 40.0 * W + b, x[1:2]])  # the one in the middle has z near 40
    got = exact_evidence(model, x, 1e-9)
    log_p, mean, _ = closed_form(x, W, b, 0.2)
    assert mean[1, 0] > 38.0
    assert np.allclose(got.log_evidence, log_p, rtol=1e-12, atol=1e-9)


def test_the_decoder_never_sees_more_rows_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, _ = make_model(VAE, rng(), B=3, latent=2, activation="tanh")
    monkeypatch.setattr(quadrature, "ROWS", 500)
    want = exact_evidence(model, x)
    seen: list[tuple[int, int]] = []
    kind = type(model.decoder)
    forward = kind.forward

    def watch(self: Any, z: np.ndarray) -> Any:
        if z.shape[1] == 2:
            seen.append(z.shape)
        return forward(self, z)

    monkeypatch.setattr(kind, "forward", watch)
    got = exact_evidence(model, x)
    assert np.array_equal(got.log_evidence, want.log_evidence)
    assert max(n for n, _ in seen) <= 500
    # The two lattices of the scan are walked once for all three examples, 166 rows at a time.
    scan = sum(math.ceil(n / (500 // 3)) for n in (64**2, 128**2))
    assert len(seen) == scan


def test_a_float32_model_is_integrated_in_float64_with_its_very_numbers() -> None:
    model, x, _ = make_model(VAE, rng(), latent=1, activation="tanh")
    theta = model.parameters.theta.astype(np.float32)
    model.parameters.bind(theta)
    model.parameters.grad[...] = 7.0
    got = exact_bound(model, x.astype(np.float32))
    assert model.parameters.theta is theta and theta.dtype == np.float32
    assert (model.parameters.grad == 7.0).all()
    twin = model.twin("float64")
    assert np.array_equal(twin.parameters.theta, theta.astype(np.float64))
    want = exact_bound(twin, x)
    for name in ("elbo", "kl", "reconstruction"):
        assert getattr(got, name).dtype == np.float64
        assert np.array_equal(getattr(got, name), getattr(want, name))


def test_a_twin_has_its_own_arrays() -> None:
    model, _, _ = make_model(VAE, rng(), likelihood="gaussian", variance="pixel")
    twin = model.twin()
    assert twin.parameters.theta.dtype == model.parameters.theta.dtype
    assert np.array_equal(twin.parameters.theta, model.parameters.theta)
    twin.parameters.theta[...] += 1.0
    twin.parameters.grad[...] += 1.0
    assert (twin.parameters.theta != model.parameters.theta).all()
    assert (model.parameters.grad == 0.0).all()
    assert twin.architecture == model.architecture and type(twin) is VAE


def test_models_that_cannot_be_integrated() -> None:
    points, x, _ = make_model(Autoencoder, rng())
    deep, y, _ = make_model(VAE, rng(), latent=3)
    model, _, _ = make_model(VAE, rng())
    for function in (exact_evidence, exact_bound):
        with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
            function(points, x)
        with pytest.raises(ValueError, match="expected one or two latents, got 3"):
            function(deep, y)
        with pytest.raises(ValueError, match="expected values in"):
            function(model, x + 5.0)


def test_on_a_strict_device() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    here, x, _ = make_model(VAE, rng(), latent=1, activation="tanh")
    there = VAE(
        here.architecture, dtype="float64", device=lambda a: strict.asarray(a, device=device)
    )
    there.parameters.bind(strict.asarray(here.parameters.theta, device=device))
    got, want = exact_bound(there, x), exact_bound(here, x)
    assert type(got.elbo) is np.ndarray
    for name in ("elbo", "kl", "gap"):
        assert np.allclose(getattr(got, name), getattr(want, name), rtol=0, atol=1e-11)
    assert np.allclose(got.evidence.mean, want.evidence.mean, rtol=0, atol=1e-11)


def test_any_gaussian_may_be_q() -> None:
    """In a linear world, where the ELBO and the KL of every q are formulas."""
    world = LinearGaussian(rng(0).normal(size=(2, 5)), rng(1).normal(size=5), 0.5)
    model, x = as_vae(world), world.sample(3, rng(2))[1]
    A = rng(3).normal(size=(3, 2, 2))
    each = FullGaussian(rng(4).normal(size=(3, 2)), A @ A.transpose(0, 2, 1) + 0.1 * np.eye(2))
    shared = FullGaussian(each.mu, each.covariance[0])
    diagonal = Gaussian(each.mu, rng(5).normal(size=(3, 2)))
    for q in (each, shared, diagonal):
        got = exact_bound(model, x, 1e-7, q=q)
        assert np.abs(got.kl - world.gap(x, q)).max() < 1e-6
        assert np.abs(got.elbo - world.elbo(x, q)).max() < 1e-6
