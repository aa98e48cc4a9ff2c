"""The lowest rungs: every backward is the derivative of its forward, and caches are explicit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minivae import objectives
from minivae.distributions import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from minivae.layers import ACTIVATIONS, GELU, Constant, Dense, Heads, SoftClip, Stack, Tanh
from minivae.models import VAE, Architecture, Autoencoder
from minivae.models.networks import LIKELIHOODS
from minivae.parameters import Layer, Parameters
from minivae.verify.figures import Figure, Setting, worst
from minivae.verify.gradients import complex_step, gradient_error, layer_errors, model_errors

TOLERANCE = 1e-12
"""Of a gradient by complex step, relative: there is no truncation error to forgive."""

Rng = np.random.Generator

LAYERS: dict[str, Callable[[int, int], Layer]] = {
    **{name: (lambda n, m, kind=kind: kind()) for name, kind in ACTIVATIONS.items()},  # type: ignore[misc]
    "softclip": lambda n, m: SoftClip(2.0),
    "dense": lambda n, m: Dense(n, m, "glorot"),
    "constant": lambda n, m: Constant(m, 0.3),
    "constant per pixel": lambda n, m: Constant(m, 0.3, shared=False),
    "stack": lambda n, m: Stack(Dense(n, 3), Tanh(), Dense(3, m)),
    "heads": lambda n, m: Heads(
        Stack(Dense(n, 3), GELU()), mu=Dense(3, m), logvar=Stack(Dense(3, m), SoftClip(3.0))
    ),
}


def gradients(setting: Setting) -> list[Figure]:
    """The complex step against backward: layers, distributions, objectives."""
    cases = setting.pick(1, 20, 200)
    drawn = [np.random.default_rng([31, case]) for case in range(cases)]
    checks: dict[str, Callable[[Rng], float]] = {
        "layers": _layers,
        "distributions": _distributions,
        "the ELBO": _elbo,
        "the autoencoder": _autoencoder,
    }
    return [
        Figure(f"error of {name}", worst(*[check(rng) for rng in drawn]), TOLERANCE, "relative")
        for name, check in checks.items()
    ]


def inner_products(setting: Setting) -> list[Figure]:
    """<u, J v> = <J^T u, v> for layers and, along a direction of theta, for wider models.

    J v comes from one complex step along v, in x and in theta at once; J^T u is backward's.
    """
    rng, layers, models = np.random.default_rng(32), 0.0, 0.0
    for _ in range(setting.pick(1, 50, 500)):
        layers = worst(layers, *(_adjoint(make, rng) for make in LAYERS.values()))
        models = worst(models, *(_slope(name, rng) for name in LIKELIHOODS))
    return [
        Figure("<u, J v> - <J^T u, v> of layers", layers, 1e-12, "relative"),
        Figure("slope of the ELBO along a direction", models, 1e-12, "relative"),
    ]


def caches(setting: Setting) -> list[Figure]:
    """Another forward in between changes no gradient, two backwards add up, need_dx changes none.

    Each figure is a difference that must be exactly zero.
    """
    between = adding = lazy = 0.0
    for make in LAYERS.values():
        layer, parameters, x, dy = _layer_case(make, np.random.default_rng(33), 4, 3)

        def run(*calls: Any, parameters: Parameters = parameters) -> np.ndarray:
            parameters.zero_grad()
            for call in calls:
                call()
            return parameters.grad.copy()

        _, cache = layer.forward(x)
        once = run(lambda layer=layer, dy=dy, cache=cache: layer.backward(dy, cache))
        other = run(
            lambda layer=layer, x=x: layer.forward(x + 1.0),
            lambda layer=layer, dy=dy, cache=cache: layer.backward(dy, cache),
        ) if once.size else once  # fmt: skip
        twice = run(*[lambda layer=layer, dy=dy, cache=cache: layer.backward(dy, cache)] * 2)
        without = run(lambda layer=layer, dy=dy, cache=cache: layer.backward(dy, cache, False))
        between = worst(between, _distance(once, other))
        adding = worst(adding, _distance(2.0 * once, twice))
        lazy = worst(lazy, _distance(once, without))
    return [
        Figure("change by a forward in between", between, 0.0, "absolute"),
        Figure("two backwards against twice one", adding, 0.0, "absolute"),
        Figure("change by need_dx=False", lazy, 0.0, "absolute"),
    ]


def drawn_model(
    kind: Any, rng: Rng, B: int = 3, S: int = 2, **architecture: Any
) -> tuple[Any, np.ndarray, np.ndarray]:
    """A float64 model with a drawn theta, data x (B, D) that it can take, and noise (S, B, K)."""
    fields = {"n_features": 4, "latent": 2, "hidden": (3,), "activation": "tanh", **architecture}
    model = kind(Architecture(**fields), dtype="float64")
    theta = model.parameters.theta
    theta[...] = rng.normal(0.0, 0.5, theta.shape)
    shape = (B, model.architecture.n_features)
    x = rng.normal(size=shape)
    if model.architecture.likelihood == "bernoulli":
        x = rng.integers(0, 2, shape).astype(float)
    elif model.architecture.likelihood == "continuous-bernoulli":
        x = rng.random(shape)
    return model, x, rng.normal(size=(S, B, model.architecture.latent))


def _layer_case(
    make: Callable[[int, int], Layer], rng: Rng, B: int, n: int
) -> tuple[Layer, Parameters, np.ndarray, Any]:
    layer = make(n, n)
    parameters = Parameters({"layer": layer}, rng, "float64")
    parameters.theta[...] = rng.normal(0.0, 0.7, parameters.theta.shape)
    x = rng.normal(0.0, 1.5, (B, n))
    y, _ = layer.forward(x)
    if isinstance(y, tuple):
        return layer, parameters, x, tuple(rng.normal(size=a.shape) for a in y)
    return layer, parameters, x, rng.normal(size=y.shape)


def _layers(rng: Rng) -> float:
    errors: list[float] = []
    for make in LAYERS.values():
        layer, parameters, x, dy = _layer_case(make, rng, 3, 3)
        errors += layer_errors(layer, x, dy, parameters).values()
    return worst(*errors)


def _distributions(rng: Rng) -> float:
    """Scores, pathwise gradients and gradients of KLs against the complex step."""
    mu, logvar, v, eps = (rng.normal(size=(2, 3)) for _ in range(4))
    a, u = rng.normal(0.0, 3.0, (2, 3)), rng.random((2, 3))
    q, p = Gaussian(mu, logvar), Gaussian(v, 0.5 * logvar + 0.3)
    coin, grey = Bernoulli(a), ContinuousBernoulli(a)
    c, one_hot = rng.normal(0.0, 1.0, (2, 3, 4)), np.eye(4)[rng.integers(0, 4, (2, 3))]
    other = Categorical(rng.normal(0.0, 1.0, (2, 3, 4)))
    pairs: list[tuple[Any, Callable[[np.ndarray], Any], np.ndarray]] = [
        (q.score(v)[0], lambda m: Gaussian(m, logvar).log_prob(v).sum(), mu),
        (q.score(v)[1], lambda l: Gaussian(mu, l).log_prob(v).sum(), logvar),
        (q.grad_value(v), lambda z: q.log_prob(z).sum(), v),
        (q.pathwise_grad(v, eps)[1], lambda l: (v * Gaussian(mu, l).sample(eps)).sum(), logvar),
        (q.kl_grad()[0], lambda m: Gaussian(m, logvar).kl().sum(), mu),
        (q.kl_grad()[1], lambda l: Gaussian(mu, l).kl().sum(), logvar),
        (q.pathwise_grad(v, eps)[0], lambda m: (v * Gaussian(m, logvar).sample(eps)).sum(), mu),
        (q.kl_grad(p)[0], lambda m: Gaussian(m, logvar).kl(p).sum(), mu),
        (q.kl_grad(p)[1], lambda l: Gaussian(mu, l).kl(p).sum(), logvar),
        (coin.score(u)[0], lambda b: Bernoulli(b).log_prob(u).sum(), a),
        (coin.grad_value(u), lambda x: coin.log_prob(x).sum(), u),
        (grey.score(u)[0], lambda b: ContinuousBernoulli(b).log_prob(u).sum(), a),
        (grey.grad_value(u), lambda x: grey.log_prob(x).sum(), u),
        (Categorical(c).score(one_hot)[0], lambda b: Categorical(b).log_prob(one_hot).sum(), c),
        (Categorical(c).kl_grad()[0], lambda b: Categorical(b).kl().sum(), c),
        (Categorical(c).kl_grad(other)[0], lambda b: Categorical(b).kl(other).sum(), c),
    ]
    return worst(*[gradient_error(g, complex_step(f, at), 1.0) for g, f, at in pairs])


def _elbo(rng: Rng) -> float:
    """Every likelihood, with two samples, and with a KL weight and a floor that binds."""
    errors: list[float] = []
    for likelihood in LIKELIHOODS:
        model, x, eps = drawn_model(VAE, rng, likelihood=likelihood, variance="pixel")
        floor = float(np.mean(objectives.elbo(model, x, eps, gradient=False).kl))
        for weight, bits in ((1.0, 0.0), (0.7, floor)):
            run = partial(objectives.elbo, model, x, eps, weight, bits)
            errors += model_errors(model, run).values()
    return worst(*errors)


def _autoencoder(rng: Rng) -> float:
    model, x, _ = drawn_model(Autoencoder, rng, likelihood="gaussian")
    errors = model_errors(model, lambda g: objectives.reconstruction(model, x, gradient=g))
    return worst(*errors.values())


def _adjoint(make: Callable[[int, int], Layer], rng: Rng) -> float:
    layer, parameters, x, u = _layer_case(make, rng, 5, 6)
    theta, h = parameters.theta, 1e-30
    v_x, v_theta = rng.normal(size=x.shape), rng.normal(size=theta.shape)
    parameters.zero_grad()
    _, cache = layer.forward(x)
    dx: Any = layer.backward(u, cache)
    right = np.concatenate([(dx * v_x).ravel(), parameters.grad * v_theta])
    parameters.bind(theta + 1j * h * v_theta)
    y, _ = layer.forward(x + 1j * h * v_x)
    parameters.bind(theta)
    pairs = zip(y, u, strict=True) if isinstance(u, tuple) else [(y, u)]
    left = np.concatenate([(a.imag / h * b).ravel() for a, b in pairs])
    return float(abs(left.sum() - right.sum()) / (np.abs(left).sum() + np.abs(right).sum()))


def _slope(likelihood: str, rng: Rng) -> float:
    model, x, eps = drawn_model(
        VAE, rng, B=4, n_features=12, hidden=(9, 7), likelihood=likelihood, activation="gelu"
    )
    parameters, v = model.parameters, rng.normal(size=len(model.parameters))
    theta = parameters.theta
    parameters.zero_grad()
    objectives.elbo(model, x, eps)
    terms = parameters.grad * v
    parameters.bind(theta + 1e-30j * v)
    slope = np.imag(objectives.elbo(model, x, eps, gradient=False).loss) / 1e-30
    parameters.bind(theta)
    return float(abs(slope - terms.sum()) / np.abs(terms).sum())


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max(initial=0.0))
