"""Evaluation: the numbers that are quoted, against worlds where log p(x) is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from oracles import (
    check_linear_gaussian_nll,
    evidence_by_quadrature,
    linear_gaussian,
    make_model,
    scalar_vae,
)

from minivae import VAE, Architecture, Estimate, estimate_likelihood, objectives
from minivae.distributions import Gaussian
from minivae.evaluation.likelihood import ROWS, log_weights
from minivae.exact import exact_evidence
from minivae.numerics import log_mean_exp


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(3))
def test_importance_weights_are_exact_at_the_exact_posterior(seed: int) -> None:
    check_linear_gaussian_nll(seed)


def test_with_a_wrong_posterior_the_estimate_still_finds_the_evidence() -> None:
    model, x, log_p = linear_gaussian(rng())
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.b"][...] += 0.2
    view["encoder.logvar.0.b"][...] += 0.3  # wider than the posterior: bounded weights
    result = estimate_likelihood(model, x, rng(1), n_samples=20_000)
    # The weights vary by about one half of their mean: 0.5 / sqrt(20,000) = 0.004.
    assert np.abs(result.nll + log_p).max() < 0.02
    assert (result.elbo < log_p - 0.05).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_a_nonlinear_decoder_against_quadrature(likelihood: str) -> None:
    model, x = scalar_vae(rng(), likelihood)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.logvar.0.b"][...] = 0.5  # wide enough to cover the posterior
    log_p, _ = evidence_by_quadrature(model, x, np.linspace(-15, 15, 6001)[:, None])
    q = model.encode(x)
    n, repeats = 2_000, 20
    estimates = np.array(
        [-estimate_likelihood(model, x, rng(i), n_samples=n).nll for i in range(repeats)]
    )
    error = estimates.std(axis=0, ddof=1) / math.sqrt(repeats)
    assert (np.abs(estimates.mean(axis=0) - log_p) < 4 * error + 1e-3).all(), q


def test_log_weights_are_the_difference_of_the_log_densities() -> None:
    model, x, eps = make_model(VAE, rng(), S=5)
    q = model.encode(x)
    log_p, ratio = log_weights(model, x, q, eps)
    z = q.sample(eps)
    prior = Gaussian(np.zeros(2), np.zeros(2))
    assert np.allclose(ratio, prior.log_prob(z) - q.log_prob(z), rtol=0, atol=1e-13)
    want = [model.decode(z[s]).log_prob(x) for s in range(5)]
    assert np.allclose(log_p, want, rtol=1e-14)


def test_bounds_with_more_samples_are_tighter() -> None:
    """ELBO <= IWAE_k <= IWAE_2k: by Jensen for the means over halves, whatever the draw."""
    model, x, eps = make_model(VAE, rng(), S=64)
    log_p, ratio = log_weights(model, x, model.encode(x), eps)
    log_w = log_p + ratio
    means = [
        log_mean_exp(log_w.reshape(64 // k, k, -1), axis=1).mean(axis=0)
        for k in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert np.allclose(means[0], log_w.mean(axis=0), rtol=1e-14)
    for loose, tight in zip(means, means[1:], strict=False):
        assert (loose < tight).all()


def test_the_order_of_all_bounds_below_the_evidence() -> None:
    model, x = scalar_vae(rng(), "bernoulli")
    log_p, _ = evidence_by_quadrature(model, x, np.linspace(-15, 15, 6001)[:, None])
    repeats = [estimate_likelihood(model, x, rng(i), n_samples=8) for i in range(300)]
    elbo = np.mean([r.elbo for r in repeats], axis=0)
    iwae = np.mean([-r.nll for r in repeats], axis=0)
    assert (elbo < iwae).all() and (iwae < log_p).all()


def test_numbers_are_those_of_the_objective_with_the_same_noise() -> None:
    model, x, _ = make_model(VAE, rng())
    result = estimate_likelihood(model, x, rng(3), n_samples=6)
    eps = rng(3).standard_normal((6, 3, 2))
    want = objectives.elbo(model, x, eps, gradient=False)
    assert np.allclose(result.elbo, want.elbo, rtol=1e-12)
    assert np.allclose(result.reconstruction, want.reconstruction, rtol=1e-12)
    assert np.allclose(result.kl, want.kl.sum(axis=1), rtol=1e-12)
    assert result.n_samples == 6


def test_all_numbers_are_float64_and_per_example() -> None:
    model, x, _ = make_model(VAE, rng(), B=7)
    model.parameters.bind(model.parameters.theta.astype("f"))
    result = estimate_likelihood(model, x.astype("f"), rng(), n_samples=3)
    for values in (result.elbo, result.reconstruction, result.kl, result.nll):
        assert values.shape == (7,) and values.dtype == np.float64
    assert np.allclose(result.elbo, result.reconstruction - result.kl)


def test_really_as_many_samples_as_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they come in several chunks, the last one smaller."""
    model, x, _ = make_model(VAE, rng(), B=3)
    from minivae.evaluation import likelihood

    counted: list[int] = []
    right = likelihood.log_weights

    def count(model: Any, x: Any, q: Any, eps: Any) -> Any:
        counted.append(len(eps) * len(x))
        return right(model, x, q, eps)

    monkeypatch.setattr(likelihood, "log_weights", count)
    n = 2 * (ROWS // 3) + 7
    result = estimate_likelihood(model, x, rng(), n_samples=n)
    assert sum(counted) == 3 * n and max(counted) <= ROWS and len(counted) > 1
    assert np.isfinite(result.nll).all()


def test_chunks_of_samples_are_parts_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 samples in chunks of 7 and 3: no noise is used twice, and no chunk is left out."""
    model, x, _ = make_model(VAE, rng())
    monkeypatch.setattr("minivae.evaluation.likelihood.ROWS", 7)
    got = estimate_likelihood(model, x, rng(3), n_samples=10)
    draws = rng(3).standard_normal((3, 10, 1, 2))  # with 7 rows, one example at a time
    for i, eps in enumerate(draws):
        one = x[i : i + 1]
        log_p, ratio = log_weights(model, one, model.encode(one), eps)
        assert np.allclose(got.nll[i], -log_mean_exp(log_p + ratio, axis=0), rtol=1e-13)
        assert np.allclose(got.reconstruction[i], log_p.mean(), rtol=1e-13)


def test_progress_reaches_the_number_of_examples() -> None:
    model, x, _ = make_model(VAE, rng(), B=5)
    steps: list[int] = []
    estimate_likelihood(model, x, rng(), n_samples=4, progress=steps.append)
    assert sum(steps) == 5 or steps[-1] == 5


def test_the_gradient_is_left_alone() -> None:
    model, x, _ = make_model(VAE, rng())
    model.parameters.grad[...] = 7.0
    estimate_likelihood(model, x, rng(), n_samples=3)
    assert (model.parameters.grad == 7.0).all()


def test_extreme_weights_do_not_overflow() -> None:
    model, x, _ = make_model(VAE, rng(), likelihood="gaussian", variance="fixed", sigma=1e-3)
    view = model.parameters.views(model.parameters.theta)
    view["decoder.logvar.c"][...] = -13.0
    result = estimate_likelihood(model, x * 100, rng(), n_samples=50)
    assert (result.nll > 1e6).all() and np.isfinite(result.nll).all()


# ---- estimates ----


def test_an_estimate_by_hand() -> None:
    estimate = Estimate.of(np.array([1.0, 2.0, 3.0, 6.0]))
    assert estimate.mean == 3.0
    assert math.isclose(estimate.standard_error, math.sqrt(14 / 3) / 2)
    assert str(estimate) == "3.00 +- 1.08"


def test_one_example_has_no_standard_error() -> None:
    estimate = Estimate.of(np.array([2.5]))
    assert estimate.mean == 2.5 and math.isnan(estimate.standard_error)


def test_the_standard_error_is_the_spread_of_means() -> None:
    groups = rng().normal(size=(2000, 25))
    errors = [Estimate.of(g).standard_error for g in groups]
    # Both are 1/5 to within a few per cent with 2,000 groups.
    assert abs(np.mean(errors) / groups.mean(axis=1).std() - 1) < 0.05


def test_grey_pixels_under_a_bernoulli_are_noticed() -> None:
    model = VAE(Architecture(4, 1, (2,)), dtype="float64")
    x = np.full((2, 4), 0.3)
    with pytest.warns(UserWarning, match="no likelihood"):
        estimate_likelihood(model, x, np.random.default_rng(0), 2)
    with pytest.warns(UserWarning, match="no likelihood"):
        exact_evidence(model, x, 0.1)


def test_bits_are_nats_per_log_2_and_pixel() -> None:
    """64 fair coins cost 64 bits: one for each."""
    fair = Estimate.of(np.full(3, 64.0 * math.log(2.0)))
    assert fair.bits_per_dimension(64) == pytest.approx(1.0, rel=1e-15)
    assert fair.bits_per_dimension(32) == pytest.approx(2.0, rel=1e-15)
