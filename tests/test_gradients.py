"""Whole models by complex step, the checker itself, and the planted bugs that checks must catch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest import mock

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import CASES, label, make_model, make_parameters, record

from minivae import SGD, VAE, Adam, Autoencoder, objectives
from minivae.arrays import sum_to
from minivae.distributions import Bernoulli, Gaussian
from minivae.evaluation import likelihood
from minivae.layers import ACTIVATIONS, GELU, Constant, Dense, Heads, ReLU, SoftClip, Softplus, Tanh
from minivae.models.networks import LIKELIHOODS
from minivae.verify import (
    central_difference,
    complex_step,
    gradient_error,
    layer_errors,
    model_errors,
)

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 4)


def architectures(hidden: st.SearchStrategy[list[int]]) -> st.SearchStrategy[dict[str, Any]]:
    """Every activation, depth, likelihood and variance."""
    return st.fixed_dictionaries(
        {
            "D": SIZES,
            "latent": st.integers(1, 3),
            "hidden": hidden,
            "activation": st.sampled_from(sorted(ACTIVATIONS)),
            "likelihood": st.sampled_from(sorted(LIKELIHOODS)),
            "variance": st.sampled_from(["fixed", "shared", "pixel"]),
        }
    )


ANY = architectures(st.lists(SIZES, min_size=0, max_size=3))


# ---- whole models ----


@settings(max_examples=500)
@given(architecture=ANY, B=SIZES, S=st.integers(1, 3), seed=SEEDS)
def test_the_gradient_of_the_vae(architecture: dict[str, Any], B: int, S: int, seed: int) -> None:
    oracles.check_vae_gradient(B, S, seed, **architecture)


@settings(max_examples=250)
@given(architecture=ANY, B=SIZES, seed=SEEDS)
def test_the_gradient_of_the_autoencoder(architecture: dict[str, Any], B: int, seed: int) -> None:
    oracles.check_autoencoder_gradient(B, seed, **architecture)


@pytest.mark.parametrize("likelihood", sorted(LIKELIHOODS))
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_central_differences_agree(kind: Any, activation: str, likelihood: str) -> None:
    rng = np.random.default_rng(0)
    model, x, eps = make_model(
        kind, rng, activation=activation, likelihood=likelihood, variance="pixel"
    )
    if kind is VAE:
        errors = model_errors(
            model, lambda g: objectives.elbo(model, x, eps, gradient=g), central_difference
        )
    else:
        errors = model_errors(
            model, lambda g: objectives.reconstruction(model, x, gradient=g), central_difference
        )
    # Rounding of a loss of about 10 over 2h = 1e-5 is 1e-10, against gradients of 0.01 to 1.
    record(f"{kind.__name__} {activation}", errors, "central differences", 1e-7)


@settings(max_examples=60)
@given(architecture=architectures(st.lists(st.integers(1, 20), max_size=3)), seed=SEEDS)
def test_the_slope_along_a_direction(architecture: dict[str, Any], seed: int) -> None:
    """One complex step along a random direction checks all of theta at once, also in wider nets."""
    rng = np.random.default_rng(seed)
    model, x, eps = make_model(VAE, rng, B=3, S=2, **architecture)
    parameters = model.parameters
    theta, h, v = parameters.theta, 1e-30, rng.normal(size=len(parameters))
    if (architecture["likelihood"], architecture["variance"]) == ("gaussian", "fixed"):
        parameters.views(v)["decoder.logvar.c"][...] = 0.0
    objectives.elbo(model, x, eps, kl_weight=0.7)
    terms = parameters.grad * v
    parameters.bind(theta + 1j * h * v)
    slope = objectives.elbo(model, x, eps, kl_weight=0.7, gradient=False).loss.imag / h
    error = abs(slope - terms.sum()) / np.abs(terms).sum()
    record(label("VAE", architecture), {"slope": float(error)}, "inner products", 1e-12)


def test_a_complex_array_goes_through_every_public_forward() -> None:
    """What the complex step needs: nothing on the way drops the imaginary part."""
    for name in ACTIVATIONS:
        for density in LIKELIHOODS:
            model, x, eps = make_model(
                VAE,
                np.random.default_rng(0),
                activation=name,
                likelihood=density,
                variance="pixel",
            )
            model.parameters.bind(model.parameters.theta * (1 + 1e-30j))
            result = objectives.elbo(model, x, eps, gradient=False)
            for a in (result.elbo, result.reconstruction, result.kl, result.loss):
                assert a.dtype == np.complex128 and np.abs(a.imag).max() > 0
            assert model.reconstruct(x).dtype == np.complex128


# ---- the checker ----


def test_complex_step_of_a_known_function() -> None:
    x = np.array([[0.3, -1.2], [2.0, 0.0]])
    got = complex_step(lambda a: (np.exp(a) * np.sin(a)).sum(), x)
    want = np.exp(x) * (np.sin(x) + np.cos(x))
    assert np.allclose(got, want, rtol=1e-15, atol=1e-16)


def test_central_difference_of_a_known_function() -> None:
    x = np.array([0.3, -1.2, 2.0])
    got = central_difference(lambda a: (a**3).sum(), x)
    assert np.allclose(got, 3 * x**2, rtol=0, atol=2e-9)  # h * h, and rounding / 2h


def test_neither_derivative_changes_its_point() -> None:
    x = np.array([0.1, 0.2])
    for derivative in (complex_step, central_difference):
        derivative(lambda a: (a * a).sum(), x)
        assert x.tolist() == [0.1, 0.2]


def test_gradient_error_by_hand() -> None:
    g, reference = np.array([1.0, 2.0]), np.array([1.0, 4.0])
    assert gradient_error(g, reference, scale=0.0) == 2.0 / 4.0
    assert gradient_error(g, reference, scale=100.0) == 2.0 / 5.0
    assert gradient_error(np.zeros(2), np.zeros(2), scale=0.0) == 0.0
    assert gradient_error(np.zeros(0), np.zeros(0), scale=0.0) == 0.0
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(2, 1\)"):
        gradient_error(g[:, None], reference, 1.0)


def test_an_error_of_a_thousandth_in_one_weight_is_seen() -> None:
    rng = np.random.default_rng(0)
    layer = Dense(6, 5)
    parameters = make_parameters(layer, rng)
    x, dy = rng.normal(size=(4, 6)), rng.normal(size=(4, 5))
    right = Dense.backward

    def wrong(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
        dx = right(self, dy, x, need_dx)
        self.dW[2, 3] *= 1.001
        return dx

    assert max(layer_errors(layer, x, dy, parameters).values()) < 1e-14
    with mock.patch.object(Dense, "backward", wrong):
        assert layer_errors(layer, x, dy, parameters)["layer.W"] > 1e-6


def test_the_check_gives_the_parameters_back() -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(0))
    theta = model.parameters.theta
    model_errors(model, lambda g: objectives.elbo(model, x, eps, gradient=g))
    assert model.parameters.theta is theta and theta.dtype == np.float64


# ---- planted bugs ----


def replaced(owner: Any, name: str, value: Any) -> AbstractContextManager[Any]:
    return mock.patch.object(owner, name, value)


def wrapped(owner: Any, name: str, after: Callable[..., Any]) -> AbstractContextManager[Any]:
    """Replace a function by ``after(what it returned, *its arguments)``."""
    right = getattr(owner, name)
    signature = inspect.signature(right)

    def wrong(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        return after(right(*args, **options), *bound.args)

    return mock.patch.object(owner, name, wrong)


def both(*plants: AbstractContextManager[Any]) -> AbstractContextManager[Any]:
    stack = ExitStack()
    for plant in plants:
        stack.enter_context(plant)
    return stack


def elbo_with(after: Callable[..., Any]) -> AbstractContextManager[Any]:
    """A bug in the objective: ``after(result, model, x, eps, kl_weight, free_bits, gradient)``."""
    return wrapped(objectives, "elbo", after)


def scale_gradient(result: Any, model: Any, x: Any, *_: Any) -> Any:
    model.parameters.grad[...] *= len(x)
    return result


def sum_over_batch(result: Any, model: Any, x: Any, *_: Any) -> Any:
    model.parameters.grad[...] *= len(x)
    return result._replace(loss=result.loss * len(x))


def sum_over_samples(result: Any, model: Any, x: Any, eps: Any, *_: Any) -> Any:
    more = (len(eps) - 1) * result.reconstruction
    return result._replace(elbo=result.elbo + more, reconstruction=result.reconstruction + more)


def floor_per_example(
    result: Any, model: Any, x: Any, eps: Any, beta: float, floor: float, *_: Any
) -> Any:
    charged = np.maximum(result.kl, floor).mean(axis=0).sum()
    return result._replace(loss=beta * charged - result.reconstruction.mean())


def floor_in_total(
    result: Any, model: Any, x: Any, eps: Any, beta: float, floor: float, *_: Any
) -> Any:
    charged = max(floor, result.kl.mean(axis=0).sum())
    return result._replace(loss=beta * charged - result.reconstruction.mean())


def weight_leaks(result: Any, model: Any, x: Any, eps: Any, beta: float, *_: Any) -> Any:
    return result._replace(elbo=result.reconstruction - beta * result.kl.sum(axis=-1))


def one_noise_for_all(self: VAE, x: Any, rng: Any, gradient: bool = True, samples: int = 1) -> Any:
    eps = rng.standard_normal((samples, 1, self.architecture.latent))
    return objectives.elbo(self, x, np.repeat(eps, len(x), axis=1), gradient=gradient)


def ones_for_dy(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    self.dW += x.T @ np.ones_like(dy)
    self.db += np.ones_like(dy).sum(axis=0)
    return np.ones_like(dy) @ self.W.T


def transposed_dW(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    self.dW += dy.T @ x
    self.db += dy.sum(axis=0)
    return dy @ self.W.T


def transposed_dx(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    self.dW += x.T @ dy
    self.db += dy.sum(axis=0)
    return dy @ self.W


def mean_db(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    self.dW += x.T @ dy
    self.db += dy.mean(axis=0)
    return dy @ self.W.T


def overwriting(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    self.dW[...] = x.T @ dy
    self.db[...] = dy.sum(axis=0)
    return dy @ self.W.T


def lazy_without_dx(self: Dense, dy: Any, x: Any, need_dx: bool = True) -> Any:
    if not need_dx:
        return None
    self.dW += x.T @ dy
    self.db += dy.sum(axis=0)
    return dy @ self.W.T


def state_on_the_layer() -> AbstractContextManager[Any]:
    right_forward, right_backward = Dense.forward, Dense.backward

    def forward(self: Any, x: Any) -> Any:
        self.x = x
        return right_forward(self, x)

    def backward(self: Any, dy: Any, x: Any, need_dx: bool = True) -> Any:
        return right_backward(self, dy, self.x[: len(dy)], need_dx)

    return both(replaced(Dense, "forward", forward), replaced(Dense, "backward", backward))


def last_head_only(self: Heads, dy: Any, cache: Any, need_dx: bool = True) -> Any:
    trunk, caches = cache
    for head, dy_k, cache_k in zip(self.heads.values(), dy, caches, strict=True):
        dh = head.backward(dy_k, cache_k)
    return self.trunk.backward(dh, trunk, need_dx)


def numpy_constant(self: Any, dy: Any, y: Any, need_dx: bool = True) -> Any:
    return dy * (np.float64(1.0) - y * y)


def deviation_from_logvar() -> AbstractContextManager[Any]:
    """sigma = exp(logvar), with a gradient that is consistent with it."""

    def sample(self: Gaussian, eps: Any) -> Any:
        return self.mu + np.exp(self.logvar) * eps

    def pathwise(self: Gaussian, dz: Any, eps: Any) -> Any:
        dlogvar = dz * eps * np.exp(self.logvar)
        return sum_to(dz, self.mu.shape), sum_to(dlogvar, self.logvar.shape)

    return both(replaced(Gaussian, "sample", sample), replaced(Gaussian, "pathwise_grad", pathwise))


def kl_without_half() -> AbstractContextManager[Any]:
    return both(
        wrapped(Gaussian, "kl_terms", lambda kl, *_: 2 * kl),
        wrapped(Gaussian, "kl_grad", lambda g, *_: (2 * g[0], 2 * g[1])),
    )


def reversed_kl() -> AbstractContextManager[Any]:
    right = Gaussian.kl_terms

    def wrong(self: Gaussian, p: Gaussian | None = None) -> Any:
        p = p or Gaussian(0 * self.mu, 0 * self.mu)
        return right(p, self)

    return replaced(Gaussian, "kl_terms", wrong)


def fresh_noise_in_backward() -> AbstractContextManager[Any]:
    right, rng = Gaussian.pathwise_grad, np.random.default_rng(5)
    return replaced(
        Gaussian, "pathwise_grad", lambda self, dz, eps: right(self, dz, rng.normal(size=eps.shape))
    )


def mean_over_samples(grads: Any, q: Gaussian, dz: Any, eps: Any) -> Any:
    return tuple(g / len(dz) for g in grads)


def moments(self: Adam, theta: Any, grad: Any) -> tuple[Any, Any]:
    """The running means m and v, as the paper writes them."""
    if self.u is None:
        self.u, self.w = np.zeros_like(theta), np.zeros_like(theta)
    self.t += 1
    self.u[...] = self.beta1 * self.u + (1 - self.beta1) * grad
    self.w[...] = self.beta2 * self.w + (1 - self.beta2) * grad**2
    return self.u, self.w


def adam_without_correction(self: Adam, theta: Any, grad: Any) -> None:
    m, v = moments(self, theta, grad)
    theta -= self.learning_rate * m / (np.sqrt(v) + self.epsilon)


def adam_epsilon_inside(self: Adam, theta: Any, grad: Any) -> None:
    m, v = moments(self, theta, grad)
    m, v = m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
    theta -= self.learning_rate * m / np.sqrt(v + self.epsilon)


def adam_uncorrected_epsilon(self: Adam, theta: Any, grad: Any) -> None:
    """The folded form, with epsilon left as it is: off by a factor of 30 at the first step."""
    m, v = moments(self, theta, grad)
    rate = self.learning_rate * np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
    theta -= rate * m / (np.sqrt(v) + self.epsilon)


def decayed_momentum(self: SGD, theta: Any, grad: Any) -> None:
    """u <- momentum u + (1 - momentum) g: a tenth of the step."""
    self.velocity = 0.0 if self.velocity is None else self.velocity
    self.velocity = self.momentum * self.velocity + (1 - self.momentum) * grad
    theta -= self.learning_rate * self.velocity


def scaled_grad(result: Any, self: Any, theta: Any, grad: Any) -> None:
    grad *= 0.5


def sigmoid_flipped() -> AbstractContextManager[Any]:
    """P(x = 1) = sigmoid(-a): still normalised, and training absorbs it."""
    right = Bernoulli.log_prob
    return replaced(Bernoulli, "log_prob", lambda self, x: right(Bernoulli(-self.logits), x))


BUGS: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[], None]]] = {
    # layers
    "cotangent of ones": (
        lambda: replaced(Dense, "backward", ones_for_dy),
        lambda: oracles.check_layer("dense"),
    ),
    "dW transposed, square": (
        lambda: replaced(Dense, "backward", transposed_dW),
        lambda: oracles.check_layer("dense"),
    ),
    "W not transposed in dx, square": (
        lambda: replaced(Dense, "backward", transposed_dx),
        lambda: oracles.check_layer_identity("dense"),
    ),
    "db averaged over the batch": (
        lambda: replaced(Dense, "backward", mean_db),
        lambda: oracles.check_layer("dense"),
    ),
    "gradient overwritten": (
        lambda: replaced(Dense, "backward", overwriting),
        lambda: oracles.check_backward_accumulates("dense"),
    ),
    "no dW without dx": (
        lambda: replaced(Dense, "backward", lazy_without_dx),
        lambda: oracles.check_need_dx("dense"),
    ),
    "input kept on the layer": (
        state_on_the_layer,
        lambda: oracles.check_two_forwards("dense"),
    ),
    "a fork keeps its last head only": (
        lambda: replaced(Heads, "backward", last_head_only),
        lambda: oracles.check_layer("heads"),
    ),
    "a constant ignores the batch": (
        lambda: replaced(
            Constant,
            "backward",
            lambda self, dy, x, need_dx=True: self.dc.__iadd__(dy[0].sum()) is None or 0 * x,
        ),
        lambda: oracles.check_layer("constant"),
    ),
    "softplus slope is sigmoid(y)": (
        lambda: replaced(
            Softplus, "backward", lambda self, dy, y, need_dx=True: dy / (1 + np.exp(-y))
        ),
        lambda: oracles.check_layer("softplus"),
    ),
    "tanh slope is 1 - y": (
        lambda: replaced(Tanh, "backward", lambda self, dy, y, need_dx=True: dy * (1 - y)),
        lambda: oracles.check_layer("tanh"),
    ),
    "relu masks by dy": (
        lambda: replaced(ReLU, "backward", lambda self, dy, y, need_dx=True: dy * (dy > 0)),
        lambda: oracles.check_layer("relu"),
    ),
    "gelu without the product rule": (
        lambda: replaced(
            GELU,
            "backward",
            lambda self, dy, x, need_dx=True: dy * 0.5 * (1 + np.tanh(0.7979 * x)),
        ),
        lambda: oracles.check_layer("gelu"),
    ),
    "softclip forgets its limit": (
        lambda: replaced(SoftClip, "backward", lambda self, dy, y, need_dx=True: dy * (1 - y * y)),
        lambda: oracles.check_layer("softclip 2"),
    ),
    "a NumPy constant promotes": (
        lambda: replaced(Tanh, "backward", numpy_constant),
        lambda: oracles.check_float32("tanh"),
    ),
    # distributions
    "sigma = exp(logvar)": (deviation_from_logvar, oracles.check_sample_moments),
    "sigma = exp(logvar), in the bound": (
        deviation_from_logvar,
        oracles.check_linear_gaussian_bound,
    ),
    "KL without 1/2": (kl_without_half, oracles.check_kl_by_quadrature),
    "KL without 1/2, in the bound": (kl_without_half, oracles.check_linear_gaussian_bound),
    "KL(p || q)": (reversed_kl, oracles.check_kl_by_quadrature),
    "KL gradient of the wrong sign": (
        lambda: wrapped(Gaussian, "kl_grad", lambda g, *_: (-g[0], -g[1])),
        oracles.check_kl_grad,
    ),
    "KL averaged over latents": (
        lambda: wrapped(Gaussian, "kl_terms", lambda kl, *_: kl / kl.shape[-1]),
        oracles.check_linear_gaussian_bound,
    ),
    "log 2 pi forgotten": (
        lambda: wrapped(Gaussian, "log_prob", lambda p, q, v: p + 0.919 * v.shape[-1]),
        oracles.check_gaussian_normalised,
    ),
    "log sigma forgotten": (
        lambda: wrapped(Gaussian, "log_prob", lambda p, q, v: p + 0.5 * q.logvar.sum(axis=-1)),
        oracles.check_gaussian_against_normaldist,
    ),
    "residual in sigma only once": (
        lambda: wrapped(Gaussian, "score", lambda s, q, v: (s[0] * np.exp(q.logvar / 2), s[1])),
        oracles.check_gaussian_score,
    ),
    "score biased": (
        lambda: wrapped(Gaussian, "score", lambda s, q, v: (s[0], s[1] + 0.5)),
        oracles.check_gaussian_score_expectation,
    ),
    "fresh noise in the backward": (fresh_noise_in_backward, oracles.check_pathwise_grad),
    "no gradient to logvar through the sample": (
        lambda: wrapped(Gaussian, "pathwise_grad", lambda g, *_: (g[0], 0 * g[1])),
        oracles.check_vae_gradient,
    ),
    "pathwise mean over samples": (
        lambda: wrapped(Gaussian, "pathwise_grad", mean_over_samples),
        oracles.check_pathwise_grad,
    ),
    "sigmoid of the wrong sign": (sigmoid_flipped, oracles.check_bernoulli_by_enumeration),
    "mean over pixels": (
        lambda: wrapped(Bernoulli, "log_prob", lambda p, q, x: p / x.shape[-1]),
        oracles.check_bernoulli_by_enumeration,
    ),
    "score is expected minus observed": (
        lambda: wrapped(Bernoulli, "score", lambda s, *_: (-s[0],)),
        oracles.check_bernoulli_score,
    ),
    # objectives
    "1/B forgotten in the gradient": (
        lambda: elbo_with(scale_gradient),
        oracles.check_vae_gradient,
    ),
    "loss summed over the batch": (lambda: elbo_with(sum_over_batch), oracles.check_batch_size),
    "sum over samples": (lambda: elbo_with(sum_over_samples), oracles.check_samples_average),
    "floor for each example": (lambda: elbo_with(floor_per_example), oracles.check_free_bits),
    "floor in total": (lambda: elbo_with(floor_in_total), oracles.check_free_bits),
    "kl_weight in the reported bound": (
        lambda: elbo_with(weight_leaks),
        oracles.check_weights_do_not_leak,
    ),
    "one noise for the whole batch": (
        lambda: replaced(VAE, "objective", one_noise_for_all),
        oracles.check_noise_is_per_example,
    ),
    # evaluation
    "weights with q's sign turned": (
        lambda: wrapped(likelihood, "log_weights", lambda w, *_: (w[0], -w[1])),
        oracles.check_linear_gaussian_nll,
    ),
    "log of the sum, not the mean": (
        lambda: wrapped(likelihood, "log_mean_exp", lambda l, x, *_: l + np.log(len(x))),
        oracles.check_linear_gaussian_nll,
    ),
    # optimisers
    "Adam without bias correction": (
        lambda: replaced(Adam, "step", adam_without_correction),
        oracles.check_adam,
    ),
    "Adam's epsilon inside the root": (
        lambda: replaced(Adam, "step", adam_epsilon_inside),
        oracles.check_adam,
    ),
    "Adam's epsilon left as it is": (
        lambda: replaced(Adam, "step", adam_uncorrected_epsilon),
        oracles.check_adam,
    ),
    "momentum that averages": (
        lambda: replaced(SGD, "step", decayed_momentum),
        oracles.check_sgd,
    ),
    "the optimiser scales grad": (
        lambda: wrapped(Adam, "step", scaled_grad),
        oracles.check_adam,
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    oracles.assert_caught(*BUGS[name])


@pytest.mark.parametrize("plant", [deviation_from_logvar, kl_without_half])
def test_a_right_gradient_of_a_wrong_objective_passes_every_gradient_check(plant: Any) -> None:
    """Why values need oracles of their own."""
    with CASES.silence(), plant():
        oracles.check_pathwise_grad()
        oracles.check_kl_grad()
        oracles.check_vae_gradient()


def test_the_register_counts_and_finds_the_worst() -> None:
    register = oracles.Register()
    register.add("a", 1e-16, "complex step")
    register.add("b", 3e-14, "complex step")
    with register.silence():
        register.add("c", 1.0, "complex step")
    assert list(register.lines()) == ["complex step: 2 cases, worst error 3.0e-14 (b)"]
    register.wanted = 3
    assert not register.enough() and "at least 3" in list(register.lines())[-1]
