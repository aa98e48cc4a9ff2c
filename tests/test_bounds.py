"""Bounds from importance weights: their exact order, their errors, and as many draws as asked."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from oracles import linear_gaussian, make_model, scalar_vae

from minivae import VAE, Architecture, Autoencoder, Estimate, estimate_likelihood
from minivae.evaluation import (
    ImportanceEstimate,
    importance_likelihood,
    iwae_bounds,
    likelihood,
    split_bounds,
)
from minivae.exact import exact_evidence
from minivae.numerics import log_mean_exp

WEIGHTS = hnp.arrays(np.float64, (24, 3), elements=st.floats(-400.0, 400.0))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- the order ----


@settings(max_examples=40)
@given(log_w=WEIGHTS)
def test_the_order_is_exact_on_the_same_draws(log_w: np.ndarray) -> None:
    """Along every chain of divisors, on every example, however wild the weights."""
    sizes = [1, 2, 3, 4, 6, 8, 12, 24]
    bounds = split_bounds(log_w, sizes)
    assert list(bounds) == sizes
    for j, k in itertools.combinations(sizes, 2):
        if k % j == 0:
            assert (bounds[j] <= bounds[k] + 1e-11).all(), (j, k)


@settings(max_examples=40)
@given(log_w=WEIGHTS, j=st.sampled_from([1, 2, 3, 6, 8, 24]))
def test_groups_are_disjoint_and_whole(log_w: np.ndarray, j: int) -> None:
    """By hand: rows 0 .. j-1, then j .. 2j-1, ...; the log of each mean, and the mean of those."""
    got = split_bounds(log_w, [24, j])[j]
    for b in range(3):
        column = log_w[:, b].tolist()
        groups = [column[i : i + j] for i in range(0, 24, j)]
        logs = [max(g) + math.log(math.fsum(math.exp(a - max(g)) for a in g) / j) for g in groups]
        assert math.isclose(got[b], math.fsum(logs) / len(logs), rel_tol=1e-12, abs_tol=1e-11)


def test_order_may_fail_where_one_size_does_not_divide_the_other() -> None:
    log_w = np.array([[0.0], [0.0], [-50.0], [0.0], [0.0], [-50.0]])
    bounds = split_bounds(log_w, [2, 3])
    assert bounds[3] == pytest.approx(math.log(2 / 3))
    log_w = np.array([[0.0], [0.0], [0.0], [-50.0], [-50.0], [-50.0]])
    bounds = split_bounds(log_w, [2, 3, 6])
    assert bounds[3] < bounds[2] < bounds[6]  # 2 does not divide 3


def test_the_bounds_of_a_model_climb_to_its_likelihood() -> None:
    model, x = scalar_vae(rng(), "bernoulli")
    view = model.parameters.views(model.parameters.theta)
    view["encoder.logvar.0.b"][...] = 0.5  # wide enough to cover the posterior
    log_p = exact_evidence(model, x, 1e-8).log_evidence
    bounds = iwae_bounds(model, x, rng(1), [1, 10, 100, 10_000])
    values = [bounds[k] for k in (1, 10, 100, 10_000)]
    for loose, tight in itertools.pairwise(values):
        assert (loose < tight).all()
    error = importance_likelihood(model, x, rng(1), 10_000).standard_error
    assert (np.abs(values[-1] - log_p) < 4 * error).all()
    assert np.abs(values[-1] - log_p).max() < 0.02


def test_iwae_2_has_the_right_expectation() -> None:
    """E log (w_1 + w_2) / 2 by Gauss and Hermite in two dimensions, against many draws."""
    model, x = scalar_vae(rng(2), "bernoulli")
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    eps = np.broadcast_to(nodes[:, None, None], (60, len(x), 1))
    log_px, ratio = likelihood.log_weights(model, x, model.encode(x), eps)
    log_w = log_px + ratio
    pairs = np.logaddexp(log_w[:, None], log_w[None, :]) - math.log(2.0)
    want = np.einsum("i,j,ijb->b", weights, weights, pairs)
    repeats = np.array([iwae_bounds(model, x, rng(i), [2])[2] for i in range(200)])
    many = iwae_bounds(model, x, rng(7), [2, 20_000])[2]
    error = repeats.std(axis=0, ddof=1)
    assert (np.abs(repeats.mean(axis=0) - want) < 4 * error / math.sqrt(200)).all()
    assert (np.abs(many - want) < 4 * error / math.sqrt(10_000)).all()


# ---- as many as were asked for ----


@pytest.mark.parametrize("k", [1, 7, 10, 23])
def test_exactly_k_draws_whatever_the_chunk(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks of 7 rows, also where 7 does not divide k: one mean over all k weights."""
    model, x, _ = make_model(VAE, rng())
    monkeypatch.setattr(likelihood, "ROWS", 7)
    counted: list[int] = []
    right = likelihood.log_weights

    def count(model: Any, x: Any, q: Any, eps: Any) -> Any:
        counted.append(len(eps) * len(x))
        return right(model, x, q, eps)

    monkeypatch.setattr(likelihood, "log_weights", count)
    got = iwae_bounds(model, x, rng(3), [k])
    assert list(got) == [k] and got[k].shape == (3,) and got[k].dtype == np.float64
    assert sum(counted) == 3 * k and max(counted) <= 7
    want = -estimate_likelihood(model, x, rng(3), k).nll
    assert np.allclose(got[k], want, rtol=1e-14)


def test_iwae_1_is_the_mean_of_log_weights() -> None:
    model, x, _ = make_model(VAE, rng())
    got = iwae_bounds(model, x, rng(3), [1, 6])
    (chunk,) = [log_w for _, _, log_w in likelihood.draws(model, x, rng(3), 6)]
    assert np.allclose(got[1], chunk.mean(axis=0), rtol=1e-14)
    assert np.allclose(got[6], log_mean_exp(chunk), rtol=1e-14)


def test_many_examples_come_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that name their example: batches are joined as they were cut."""
    model, x, _ = make_model(VAE, rng(), B=11)

    def name(model: Any, x: Any, q: Any, eps: Any) -> Any:
        label = np.argmax((x[:, None, :] == everyone[None]).all(axis=2), axis=1) * 1.0
        return np.broadcast_to(label, eps.shape[:2]), np.zeros(eps.shape[:2])

    everyone = np.array(list(itertools.product((0.0, 1.0), repeat=4)))[:11]
    monkeypatch.setattr(likelihood, "ROWS", 8)
    monkeypatch.setattr(likelihood, "log_weights", name)
    names = np.arange(11.0)
    assert np.allclose(iwae_bounds(model, everyone, rng(), [2, 4])[2], names, rtol=1e-14)
    found = importance_likelihood(model, everyone, rng(), 4)
    assert np.allclose(found.log_evidence, names, rtol=1e-14)
    assert found.ess.shape == found.standard_error.shape == (11,)


# ---- errors of the estimate ----


@given(
    log_w=hnp.arrays(np.float64, (9, 4), elements=st.floats(-300.0, 300.0)),
    shift=st.floats(-500, 500),
)
def test_the_estimate_by_hand(log_w: np.ndarray, shift: float) -> None:
    """Mean, cv and effective size from weights as plain numbers; a factor changes only the mean."""
    got = ImportanceEstimate.of(log_w + shift)
    for b in range(4):
        top = log_w[:, b].max()
        w = [math.exp(a - top) for a in log_w[:, b].tolist()]
        mean = math.fsum(w) / 9
        variance = math.fsum((a - mean) ** 2 for a in w) / 8
        ess = math.fsum(w) ** 2 / math.fsum(a * a for a in w)
        assert math.isclose(got.log_evidence[b], top + shift + math.log(mean), abs_tol=1e-10)
        assert math.isclose(
            got.standard_error[b], math.sqrt(variance / 9) / mean, rel_tol=1e-9, abs_tol=1e-10
        )
        assert math.isclose(got.ess[b], ess, rel_tol=1e-9)
        assert 1.0 - 1e-12 <= got.ess[b] <= 9.0 + 1e-12
        assert math.isclose(got.bias[b], variance / 18 / mean**2, rel_tol=1e-9, abs_tol=1e-12)
    assert np.array_equal(got.nll, -got.log_evidence) and got.n_samples == 9


def test_equal_weights_and_a_single_one_that_counts() -> None:
    equal = ImportanceEstimate.of(np.full((50, 1), -700.0))
    assert equal.ess[0] == 50.0 and equal.standard_error[0] == 0.0 and equal.bias[0] == 0.0
    lonely = np.full((50, 1), -700.0)
    lonely[17] = 0.0
    one = ImportanceEstimate.of(lonely)
    assert math.isclose(one.ess[0], 1.0) and math.isclose(one.standard_error[0], 1.0)


def test_one_draw_has_no_error() -> None:
    one = ImportanceEstimate.of(np.array([[-3.0, -4.0]]))
    assert one.log_evidence.tolist() == [-3.0, -4.0] and one.ess.tolist() == [1.0, 1.0]
    assert np.isnan(one.standard_error).all() and np.isnan(one.bias).all()


def test_standard_error_and_bias_are_what_repeated_draws_show() -> None:
    """Lognormal weights of mean 1 and cv^2 = e^(1/4) - 1, S = 50, many times over."""
    S, repeats, s = 50, 40_000, 0.5
    log_w = s * rng().standard_normal((S, repeats)) - 0.5 * s * s
    found = ImportanceEstimate.of(log_w)
    cv2 = math.expm1(s * s)
    spread, mean = found.log_evidence.std(ddof=1), found.log_evidence.mean()
    noise = spread / math.sqrt(repeats)
    assert abs(spread / math.sqrt(cv2 / S) - 1) < 0.02
    assert abs(found.standard_error.mean() / spread - 1) < 0.03
    # log of the mean is too low: the NLL too high by cv^2 / 2S = 0.0028, ten times the noise.
    assert noise < 0.0005 and abs(mean + cv2 / (2 * S)) < 4 * noise
    assert abs(found.bias.mean() + mean) < 4 * noise
    assert abs(found.ess.mean() / (S / (1 + cv2)) - 1) < 0.02


def test_the_noise_of_the_mean_is_that_of_repeated_estimates() -> None:
    log_w = rng().standard_normal((300, 5, 400)) * np.linspace(0.1, 1.0, 5)[:, None]
    found = [ImportanceEstimate.of(log_w[:, :, i]) for i in range(400)]
    spread = np.std([f.nll.mean() for f in found], ddof=1)
    assert abs(np.mean([f.noise_of_mean for f in found]) / spread - 1) < 0.1
    # Over the examples the spread is another one: it does not fall with S.
    one = found[0]
    assert math.isclose(one.noise_of_mean, math.sqrt((one.standard_error**2).sum()) / 5)


def test_at_the_exact_posterior_nothing_is_uncertain() -> None:
    model, x, log_p = linear_gaussian(rng())
    found = importance_likelihood(model, x, rng(1), 40)
    assert np.abs(found.log_evidence - log_p).max() < 1e-10
    assert found.standard_error.max() < 1e-10 and np.abs(found.ess - 40).max() < 1e-9


def test_the_same_number_as_the_likelihood_estimate() -> None:
    model, x, _ = make_model(VAE, rng(), B=5)
    steps: list[int] = []
    found = importance_likelihood(model, x, rng(4), 30, steps.append)
    want = estimate_likelihood(model, x, rng(4), 30)
    assert np.array_equal(found.nll, want.nll) and found.n_samples == 30
    assert sum(steps) == 5
    assert Estimate.of(found.nll) == Estimate.of(want.nll)


# ---- what is refused ----


@pytest.mark.parametrize("sizes", [[], [0], [-2, 4], [2, 3], [4, 6, 12, 5], [3, 2]])
def test_sizes_that_do_not_divide_the_largest(sizes: list[int]) -> None:
    model, x, _ = make_model(VAE, rng())
    with pytest.raises(ValueError, match="expected sizes of at least 1 that divide the largest"):
        iwae_bounds(model, x, rng(), sizes)


def test_models_and_data_that_are_refused() -> None:
    model, x, _ = make_model(VAE, rng())
    points, y, _ = make_model(Autoencoder, rng())
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        iwae_bounds(points, y, rng(), [2])
    with pytest.raises(TypeError, match="expected a VAE, got Autoencoder"):
        importance_likelihood(points, y, rng())
    with pytest.raises(ValueError, match="n_samples of at least 1, got 0"):
        importance_likelihood(model, x, rng(), 0)
    with pytest.raises(ValueError, match="expected data of shape"):
        iwae_bounds(model, x[:, :2], rng(), [2])


def test_on_a_strict_device_and_in_float32() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    here, x, _ = make_model(VAE, rng())
    there = VAE(
        here.architecture, dtype="float64", device=lambda a: strict.asarray(a, device=device)
    )
    there.parameters.bind(strict.asarray(here.parameters.theta, device=device))
    want, got = iwae_bounds(here, x, rng(1), [2, 4]), iwae_bounds(there, x, rng(1), [2, 4])
    assert all(np.allclose(got[j], want[j], rtol=1e-12) for j in (2, 4))
    here.parameters.bind(here.parameters.theta.astype(np.float32))
    single = importance_likelihood(here, x, rng(1), 4)
    assert single.log_evidence.dtype == single.ess.dtype == np.float64


def test_sizes_may_be_an_array() -> None:
    model = VAE(Architecture(4, 1, (2,)), dtype="float64")
    found = iwae_bounds(model, np.ones((2, 4)), np.random.default_rng(0), 2 ** np.arange(3))
    assert list(found) == [1, 2, 4]
