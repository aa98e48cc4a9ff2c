"""Objectives: the bound is a bound, its numbers are per example, and its options do not leak."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    arrays_in,
    check_batch_size,
    check_free_bits,
    check_gap_is_a_kl,
    check_linear_gaussian_bound,
    check_noise_is_per_example,
    check_samples_average,
    check_weights_do_not_leak,
    linear_gaussian,
    make_model,
    scalar_vae,
)

from minivae import VAE, Autoencoder, objectives

SEEDS = st.integers(0, 2**32 - 1)

LIKELIHOODS = [
    {"likelihood": "bernoulli"},
    {"likelihood": "gaussian", "variance": "fixed"},
    {"likelihood": "gaussian", "variance": "shared"},
    {"likelihood": "gaussian", "variance": "pixel"},
]


# ---- the bound against log p(x) ----


@pytest.mark.parametrize("seed", range(3))
def test_the_linear_gaussian_bound_is_tight_at_the_posterior_and_only_there(seed: int) -> None:
    check_linear_gaussian_bound(seed)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("seed", range(3))
def test_the_gap_of_the_bound_is_the_divergence_from_the_posterior(
    likelihood: str, seed: int
) -> None:
    check_gap_is_a_kl(likelihood, seed)


def test_the_number_at_z_equal_to_mu_is_no_bound() -> None:
    model, x, log_p = linear_gaussian(np.random.default_rng(0))
    at_mean = objectives.elbo(model, x, np.zeros((1, 4, 2)), gradient=False).elbo
    assert (at_mean > log_p + 0.1).all()


# ---- laws ----


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_depends_on_the_batch_size(kind: type, seed: int) -> None:
    check_batch_size(kind, seed)


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_batch_order_does_not_matter(kind: Any) -> None:
    rng = np.random.default_rng(0)
    model, x, eps = make_model(kind, rng, B=6)
    order = rng.permutation(6)

    def run(rows: np.ndarray) -> tuple[Any, np.ndarray]:
        model.parameters.zero_grad()
        if kind is VAE:
            result = objectives.elbo(model, x[rows], eps[:, rows])
        else:
            result = objectives.reconstruction(model, x[rows])
        return result, model.parameters.grad.copy()

    (straight, grad), (mixed, mixed_grad) = run(np.arange(6)), run(order)
    for name, values in straight.terms().items():
        assert np.allclose(values[order], mixed.terms()[name], rtol=1e-13, atol=0)
    assert np.abs(grad - mixed_grad).max() <= 1e-13 * np.abs(grad).max() + 1e-15


@pytest.mark.parametrize("seed", range(3))
def test_samples_are_averaged_outside_the_logarithm(seed: int) -> None:
    check_samples_average(seed)


@pytest.mark.parametrize("seed", range(3))
def test_weights_and_floors_never_reach_what_is_reported(seed: int) -> None:
    check_weights_do_not_leak(seed)


@pytest.mark.parametrize("seed", range(3))
def test_free_bits_compare_the_batch_mean_of_each_latent(seed: int) -> None:
    check_free_bits(seed)


def test_every_example_and_every_sample_has_its_own_noise() -> None:
    check_noise_is_per_example()


@settings(max_examples=25)
@given(seed=SEEDS, S=st.integers(1, 4), B=st.integers(1, 4))
def test_the_loss_is_minus_the_mean_bound(seed: int, S: int, B: int) -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(seed), B, S)
    result = objectives.elbo(model, x, eps)
    assert math.isclose(result.loss, -result.elbo.mean(), rel_tol=1e-13)
    terms = result.terms()
    assert np.allclose(terms["elbo"], terms["reconstruction"] - terms["kl"], rtol=1e-13)
    assert (result.kl >= 0).all() and result.kl.shape == (B, 2)
    assert result.elbo.shape == result.reconstruction.shape == (B,)


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
@pytest.mark.parametrize("architecture", LIKELIHOODS)
def test_forward_twice_is_the_same_and_gradient_changes_no_number(
    kind: Any, architecture: dict[str, Any]
) -> None:
    model, x, eps = make_model(kind, np.random.default_rng(0), **architecture)

    def run(gradient: bool) -> list[np.ndarray]:
        if kind is VAE:
            return arrays_in(tuple(objectives.elbo(model, x, eps, gradient=gradient)))
        return arrays_in(tuple(objectives.reconstruction(model, x, gradient=gradient)))

    first, again, grad = run(False), run(False), run(True)
    for a, b, c in zip(first, again, grad, strict=True):
        assert np.array_equal(a, b) and np.array_equal(a, c)


def test_no_gradient_is_touched_unless_it_is_asked_for() -> None:
    for kind in (VAE, Autoencoder):
        model, x, _ = make_model(kind, np.random.default_rng(0))
        model.parameters.grad[...] = 7.0
        model.objective(x, np.random.default_rng(0), gradient=False)
        assert (model.parameters.grad == 7.0).all()


def test_gradients_of_two_batches_add_up() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(0))
    objectives.elbo(model, x, eps)
    once = model.parameters.grad.copy()
    objectives.elbo(model, x, eps)
    assert np.allclose(model.parameters.grad, 2 * once, rtol=1e-14)


def test_a_latent_below_its_floor_feels_no_pull() -> None:
    """With the floor above every KL the loss gradient is that of the reconstruction alone."""
    model, x, eps = make_model(VAE, np.random.default_rng(0))
    objectives.elbo(model, x, eps, kl_weight=3.0, free_bits=1e3)
    floored = model.parameters.grad.copy()
    model.parameters.zero_grad()
    objectives.elbo(model, x, eps, kl_weight=0.0)
    assert np.array_equal(floored, model.parameters.grad)


def test_exactly_at_the_floor_the_slope_is_taken_as_zero() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(0), latent=1)
    floor = float(objectives.elbo(model, x, eps, gradient=False).kl.mean(axis=0)[0])
    objectives.elbo(model, x, eps, free_bits=floor)
    at_floor = model.parameters.grad.copy()
    model.parameters.zero_grad()
    objectives.elbo(model, x, eps, kl_weight=0.0)
    assert np.array_equal(at_floor, model.parameters.grad)


@pytest.mark.parametrize("architecture", LIKELIHOODS)
def test_without_noise_the_vae_reconstructs_like_the_autoencoder(
    architecture: dict[str, Any],
) -> None:
    vae, x, eps = make_model(VAE, np.random.default_rng(0), S=1, **architecture)
    twin, _, _ = make_model(Autoencoder, np.random.default_rng(1), **architecture)
    source = vae.parameters.views(vae.parameters.theta)
    target = twin.parameters.views(twin.parameters.theta)
    for name, view in target.items():
        view[...] = source[name.replace("encoder.code.", "encoder.mu.")]
    noiseless = objectives.elbo(vae, x, 0 * eps, gradient=False)
    plain = objectives.reconstruction(twin, x, gradient=False)
    assert np.allclose(noiseless.reconstruction, plain.reconstruction, rtol=1e-14, atol=0)
    assert np.array_equal(vae.means(x), twin.means(x))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_more_noise_samples_only_reduce_the_spread(likelihood: str) -> None:
    """Means of one- and of 64-sample estimates agree within their standard errors."""
    model, x = scalar_vae(np.random.default_rng(0), likelihood)
    rng = np.random.default_rng(1)
    rows = np.repeat(x[:1], 2000, axis=0)
    one, many = (
        objectives.elbo(model, rows, rng.normal(size=(S, 2000, 1)), gradient=False) for S in (1, 64)
    )
    error = one.elbo.std() / math.sqrt(2000)
    assert abs(one.elbo.mean() - many.elbo.mean()) < 4 * error
    assert many.elbo.std() < one.elbo.std() / 6  # 8 in the long run


@pytest.mark.parametrize("architecture", LIKELIHOODS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softplus", "gelu"])
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_float32_stays_float32(kind: Any, activation: str, architecture: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    model, x, eps = make_model(kind, rng, activation=activation, **architecture)
    model.parameters.bind(model.parameters.theta.astype(np.float32))
    x, eps = x.astype(np.float32), eps.astype(np.float32)
    if kind is VAE:
        result: Any = objectives.elbo(model, x, eps, kl_weight=0.5, free_bits=0.1)
    else:
        result = objectives.reconstruction(model, x)
    found = {str(a.dtype) for a in arrays_in([*result, *result.terms().values()])}
    assert found == {"float32"} and model.parameters.grad.dtype == np.float32


@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_what_goes_back_through_the_networks_is_float32_too(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adding float64 to a gradient of float32 leaves no trace in its dtype, only in the time."""
    model, x, eps = make_model(kind, np.random.default_rng(0))
    model.parameters.bind(model.parameters.theta.astype(np.float32))
    given: list[Any] = []
    for net in (model.encoder, model.decoder):

        def spy(dy: Any, *args: Any, backward: Any = net.backward, **options: Any) -> Any:
            given.extend(arrays_in(dy))
            return backward(dy, *args, **options)

        monkeypatch.setattr(net, "backward", spy)
    x, eps = x.astype(np.float32), eps.astype(np.float32)
    if kind is VAE:
        objectives.elbo(model, x, eps, kl_weight=0.5, free_bits=0.1)
    else:
        objectives.reconstruction(model, x)
    assert len(given) >= 2 and {str(a.dtype) for a in given} == {"float32"}


def test_fold_and_unfold_keep_every_row_in_its_place() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    rows = objectives.fold(a)
    assert rows.shape == (6, 4) and np.array_equal(rows[4], a[1, 1])
    assert np.array_equal(objectives.unfold(rows, 2), a)
