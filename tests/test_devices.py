"""The same formulas on another library's arrays, on a device that refuses NumPy's.

`array_api_strict` has a device on which a NumPy function, or an array of the host, is an error.
The tests marked ``gpu`` are the same ones on CuPy.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from oracles import LAYERS, VARIANCES, arrays_in, gaussian_case, layer_case, make_model, record

from minivae import SGD, VAE, Adam, Architecture, Autoencoder, estimate_likelihood, objectives
from minivae.arrays import (
    BLOCK,
    cast,
    dtype_name,
    generator,
    like,
    namespace,
    standard_normal,
    sum_to,
    to_device,
    to_numpy,
    uniform,
)
from minivae.datasets import binarise
from minivae.distributions import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from minivae.numerics import log_mean_exp, logsumexp, sigmoid, softmax, softplus
from minivae.parameters import Parameters
from minivae.training import train
from minivae.verify import central_difference, layer_errors

strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
DEVICE1 = strict.Device("device1")
DTYPES = ["float32", "float64"]


def on_device1(a: np.ndarray) -> Any:
    return strict.asarray(a, device=DEVICE1)


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    return on_device1 if request.param == "strict" else "cuda"


def same(got: Any, want: Any, device: Any, tolerance: float = 1e-12) -> None:
    """Equal arrays in nested tuples, the first on the device, both of one dtype."""
    if isinstance(want, tuple | list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            same(a, b, device, tolerance)
        return
    assert_on(got, device)
    assert dtype_name(got) == dtype_name(want)
    assert got.shape == want.shape
    # Sums may be taken in another order: rounding of the size of the largest number.
    size = max(1.0, float(np.abs(want).max(initial=0.0)))
    limit = tolerance if dtype_name(want) == "float64" else 1e-5
    assert np.abs(to_numpy(got) - want).max(initial=0.0) <= limit * size


def assert_on(array: Any, device: Any) -> None:
    if device == "cuda":
        assert type(array).__module__.startswith("cupy")
    else:
        assert namespace(array) is strict and array.device == DEVICE1


# ---- arrays ----


def test_the_strict_device_is_strict() -> None:
    x = on_device1(np.ones(3))
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        x + strict.asarray(np.ones(3))
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        np.exp(x) + 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_there_and_back(device: Any, dtype: str) -> None:
    x = np.arange(6.0, dtype=dtype).reshape(2, 3)
    there = to_device(x, device)
    assert_on(there, device)
    assert dtype_name(there) == dtype and np.array_equal(to_numpy(there), x)
    assert_on(like(x, there), device)
    assert like(there, there) is there
    assert dtype_name(cast(there > 1.0, there)) == dtype
    same(sum_to(there, (2, 1)), sum_to(x, (2, 1)), device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_born_where_it_is_used(device: Any, dtype: str) -> None:
    other = to_device(np.ones(1, dtype), device)
    for draw in (standard_normal, uniform):
        noise = draw(generator(device, 1, 2), (3, 4), other)
        assert_on(noise, device)
        assert noise.shape == (3, 4) and dtype_name(noise) == dtype
        again = draw(generator(device, 1, 2), (3, 4), other)
        assert np.array_equal(to_numpy(noise), to_numpy(again))


def test_numerics(device: Any) -> None:
    x = np.linspace(-40, 40, 24).reshape(4, 6)
    for dtype in DTYPES:
        a = x.astype(dtype)
        for f in (softplus, sigmoid, logsumexp, log_mean_exp, softmax):
            same(f(to_device(a, device)), f(a), device)


# ---- layers ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind: str, dtype: str, device: Any) -> None:
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(0), 3, 4, 2)
    theta, x = parameters.theta.astype(dtype), x.astype(dtype)
    cotangents = [a.astype(dtype) for a in arrays_in(dy)]

    def run(move: Callable[[Any], Any]) -> list[Any]:
        parameters.bind(move(theta))
        y, cache = layer.forward(move(x))
        moved = tuple(move(a) for a in cotangents)
        dx = layer.backward(moved if isinstance(dy, tuple) else moved[0], cache)
        return [*arrays_in(y), *arrays_in(cache), dx, parameters.grad]

    want = run(lambda a: a)
    same(run(lambda a: to_device(a, device)), want, device)


@pytest.mark.parametrize("kind", LAYERS)
def test_central_differences_on_the_device(kind: str, device: Any) -> None:
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(0), 2, 3, 2)
    parameters.bind(to_device(parameters.theta, device))
    errors = layer_errors(layer, x, dy, parameters, central_difference)
    # Truncation and rounding of a central difference; see test_layers.
    record(kind, errors, "central differences on a device", 1e-7)


# ---- distributions ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variance", VARIANCES)
def test_the_gaussian(variance: str, dtype: str, device: Any) -> None:
    q, v, _ = gaussian_case(np.random.default_rng(0), 2, 3, 4, variance)
    p, _, _ = gaussian_case(np.random.default_rng(1), 2, 3, 4, variance)

    def run(move: Callable[[Any], Any]) -> list[Any]:
        here, other = (
            Gaussian(move(a.mu.astype(dtype)), move(a.logvar.astype(dtype))) for a in (q, p)
        )
        w = move(v.astype(dtype))
        return [
            here.log_prob(w),
            here.score(w),
            here.grad_value(w),
            here.sample(w),
            here.pathwise_grad(w, w),
            here.kl_terms(),
            here.kl(other),
            here.kl_grad(),
            here.kl_grad(other),
            here.mean,
        ]

    same(run(lambda a: to_device(a, device)), run(lambda a: a), device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bernoulli(dtype: str, device: Any) -> None:
    rng = np.random.default_rng(0)
    logits, u = rng.normal(size=(2, 3, 4)).astype(dtype), rng.random((2, 3, 4)).astype(dtype)
    x = rng.integers(0, 2, (3, 4)).astype(dtype)

    def run(move: Callable[[Any], Any]) -> list[Any]:
        p, v = Bernoulli(move(logits)), move(x)
        return [p.log_prob(v), p.score(v), p.grad_value(v), p.sample(move(u)), p.mean]

    same(run(lambda a: to_device(a, device)), run(lambda a: a), device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_continuous_bernoulli(dtype: str, device: Any) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 40)).astype(dtype)
    logits[0, 0, :5] = [0.0, -0.0, 50.0, -50.0, 1e-30]
    u, x = rng.random((2, 3, 40)).astype(dtype), rng.random((3, 40)).astype(dtype)

    def run(move: Callable[[Any], Any]) -> list[Any]:
        p, v, w = ContinuousBernoulli(move(logits)), move(x), move(u)
        values = [p.log_prob(v), p.score(v), p.grad_value(v), p.sample(w), p.pathwise_grad(w, w)]
        return [*values, p.mean, p.variance]

    same(run(lambda a: to_device(a, device)), run(lambda a: a), device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_categorical(dtype: str, device: Any) -> None:
    rng = np.random.default_rng(0)
    logits, other = rng.normal(size=(2, 3, 4, 5)).astype(dtype)
    u = rng.random((2, 3, 4)).astype(dtype)

    def run(move: Callable[[Any], Any]) -> list[Any]:
        q, p = Categorical(move(logits)), Categorical(move(other))
        x = q.sample(move(u))
        values = [x, q.log_prob(x), q.score(x), q.grad_value(x), q.mean, q.entropy()]
        return [*values, q.kl(), q.kl(p), q.kl_grad(), q.kl_grad(p)]

    same(run(lambda a: to_device(a, device)), run(lambda a: a), device)


# ---- objectives and models ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("likelihood", "variance"),
    [
        ("bernoulli", "fixed"),
        ("continuous-bernoulli", "fixed"),
        ("gaussian", "fixed"),
        ("gaussian", "shared"),
        ("gaussian", "pixel"),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softplus", "gelu"])
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_objectives(
    kind: Any, activation: str, likelihood: str, variance: str, dtype: str, device: Any
) -> None:
    model, x, eps = make_model(
        kind,
        np.random.default_rng(0),
        activation=activation,
        likelihood=likelihood,
        variance=variance,
    )
    theta, x, eps = (a.astype(dtype) for a in (model.parameters.theta, x, eps))

    def run(move: Callable[[Any], Any]) -> list[Any]:
        model.parameters.bind(move(theta))
        if kind is VAE:
            result: Any = objectives.elbo(model, move(x), move(eps), kl_weight=0.5, free_bits=0.2)
        else:
            result = objectives.reconstruction(model, move(x))
        return [*result, *result.terms().values(), model.parameters.grad]

    want = run(lambda a: a)
    same(run(lambda a: to_device(a, device)), want, device)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_importance_weighted_bound(dtype: str, device: Any) -> None:
    model, x, eps = make_model(VAE, np.random.default_rng(1), S=3, activation="tanh")
    theta, x, eps = (a.astype(dtype) for a in (model.parameters.theta, x, eps))

    def run(move: Callable[[Any], Any]) -> list[Any]:
        model.parameters.bind(move(theta))
        return [*objectives.iwae(model, move(x), move(eps)), model.parameters.grad]

    want = run(lambda a: a)
    same(run(lambda a: to_device(a, device)), want, device)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_everything_public_of_a_model(kind: Any, likelihood: str, device: Any) -> None:
    architecture = Architecture(5, 2, (4,), likelihood=likelihood)
    here = kind(architecture, dtype="float64")
    there = kind(architecture, dtype="float64", device=device)
    x, z = np.random.default_rng(0).random((3, 5)), np.random.default_rng(1).normal(size=(3, 2))
    same(there.parameters.theta, here.parameters.theta, device)
    same(there.array(x), x, device)
    same(there.means(x), here.means(x), device)
    same(there.reconstruct(x), here.reconstruct(x), device)
    same(there.decode(z).mean, here.decode(z).mean, device)
    draw = np.random.default_rng(2)
    same(there.sample(4, draw), here.sample(4, np.random.default_rng(2)), device)


def test_the_likelihood_estimate(device: Any) -> None:
    here, x, _ = make_model(VAE, np.random.default_rng(0))
    there = VAE(here.architecture, dtype="float64", device=device)
    there.parameters.bind(to_device(here.parameters.theta, device))
    want = estimate_likelihood(here, x, np.random.default_rng(3), n_samples=5)
    got = estimate_likelihood(there, x, np.random.default_rng(3), n_samples=5)
    for name in ("elbo", "reconstruction", "kl", "nll"):
        assert type(getattr(got, name)) is np.ndarray
        assert np.allclose(getattr(got, name), getattr(want, name), rtol=1e-12)


# ---- optimisers and training ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [5, BLOCK + 3])
@pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: SGD(0.1, 0.9), lambda: Adam(0.1)])
def test_optimisers(make: Any, size: int, dtype: str, device: Any) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=size).astype(dtype), rng.normal(size=(4, size)).astype(dtype)

    def run(move: Callable[[Any], Any]) -> Any:
        optimizer, theta = make(), move(start.copy())
        for g in gradients:
            optimizer.step(theta, move(g))
        return theta

    same(run(lambda a: to_device(a, device)), run(lambda a: a), device)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
@pytest.mark.parametrize("kind", [VAE, Autoencoder])
def test_an_epoch_of_training(kind: Any, likelihood: str, device: Any) -> None:
    rng = np.random.default_rng(0)
    x, valid = (rng.integers(0, 2, (n, 6)).astype(float) for n in (50, 13))
    architecture = Architecture(6, 2, (5,), likelihood=likelihood)
    runs = []
    for where in ("cpu", device):
        model = kind(architecture, dtype="float64", device=where)
        history = train(model, x, valid, epochs=1, batch_size=16, progress=False)
        runs.append((model.parameters.theta, history.rows[0]))
    (theta, row), (there, row_there) = runs
    assert_on(there, device)
    assert dtype_name(there) == "float64" and list(row) == list(row_there)
    if kind is VAE and device == "cuda":  # CuPy draws other noise from the same key
        assert np.abs(to_numpy(there) - theta).max() < 0.1
        return
    assert np.abs(to_numpy(there) - theta).max() < 1e-12
    for name in set(row) - {"seconds"}:
        assert row_there[name] == pytest.approx(row[name], rel=1e-12), name


@pytest.mark.parametrize("how", ["threshold", "fixed", "new"])
def test_binarisation(how: str, device: Any) -> None:
    x = np.random.default_rng(0).random((20, 5))
    drawn = binarise(to_device(x, device), how, generator(device, 1))
    assert_on(drawn, device)
    assert dtype_name(drawn) == "float64" and set(np.unique(to_numpy(drawn))) == {0.0, 1.0}


def test_training_on_pixels_drawn_afresh(device: Any) -> None:
    x = np.random.default_rng(0).random((20, 5))
    model = VAE(Architecture(5, 2, (3,)), dtype="float64", device=device)
    rows = train(model, x, epochs=1, batch_size=8, binarisation="new", progress=False).rows
    assert np.isfinite(rows[0]["train_elbo"])


# ---- what an import may load ----


@pytest.mark.parametrize("module", ["cupy", "matplotlib", "scipy", "array_api_strict"])
def test_importing_minivae_does_not_import(module: str) -> None:
    code = f"import sys, minivae; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_parameters_live_on_the_device(device: Any) -> None:
    layer, _, _, _ = layer_case("heads", np.random.default_rng(0), 2, 3, 2)
    parameters = Parameters({"net": layer}, np.random.default_rng(0), "float32", device)
    for vector in (parameters.theta, parameters.grad, *parameters.views(parameters.theta).values()):
        assert_on(vector, device)
        assert dtype_name(vector) == "float32"
