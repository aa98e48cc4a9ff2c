"""What the tests hold the library against: counted gradient checks, and independent values.

A check is a function that raises AssertionError, so that the tests can call it on the library as it
is, and on a library with a bug planted in it.  Nothing here repeats a formula of minivae: values
come from enumeration, quadrature, closed forms of another kind, or Python's own mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from minivae import SGD, VAE, Adam, Architecture, Autoencoder, estimate_likelihood, objectives
from minivae.distributions import Bernoulli, Gaussian
from minivae.layers import (
    ACTIVATIONS,
    GELU,
    Constant,
    Dense,
    Heads,
    ReLU,
    Sigmoid,
    SoftClip,
    Softplus,
    Stack,
    Tanh,
)
from minivae.models.networks import LOGVAR_LIMIT
from minivae.parameters import Parameters
from minivae.verify import complex_step, gradient_error, layer_errors, model_errors

TOLERANCE = 1e-12
"""The largest gradient error by complex step that passes: it has no truncation error to forgive."""

Rng = np.random.Generator


# ---- a register of gradient cases ----


class Register:
    """How many cases each kind of gradient check drew, and the worst error of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.worst: dict[str, tuple[float, str]] = {}
        self.wanted = 0
        self.muted = False

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, name: str, error: float, kind: str) -> None:
        if not self.muted:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.worst[kind] = max(self.worst.get(kind, (0.0, "nothing")), (error, name))

    def plain(self) -> dict[str, tuple[int, float, str]]:
        """The register as plain values, which another process can read."""
        return {kind: (n, *self.worst[kind]) for kind, n in self.counts.items()}

    def merge(self, other: Mapping[str, tuple[int, float, str]]) -> None:
        """Add the `plain` register of another process."""
        for kind, (n, error, name) in other.items():
            self.counts[kind] = self.counts.get(kind, 0) + n
            self.worst[kind] = max(self.worst.get(kind, (0.0, "nothing")), (error, name))

    def enough(self) -> bool:
        return self.counts.get("complex step", 0) >= self.wanted

    def lines(self) -> Iterator[str]:
        for kind, n in self.counts.items():
            error, name = self.worst[kind]
            yield f"{kind}: {n:,} cases, worst error {error:.1e} ({name})"
        if not self.enough():
            yield f"FAILED: expected at least {self.wanted:,} complex-step cases"

    @contextmanager
    def silence(self) -> Iterator[None]:
        """What happens inside is not counted: the library is broken on purpose."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before


CASES = Register()


def record(
    case: str,
    errors: Mapping[str, float],
    kind: str = "complex step",
    at_most: float = TOLERANCE,
) -> None:
    """Count one drawn case with the errors of its arrays, and assert that all are small."""
    name = max(errors, key=lambda key: (math.isnan(errors[key]), errors[key]))  # a nan is worst
    CASES.add(f"{case}: {name}", errors[name], kind)
    assert errors[name] <= at_most, f"{case}: error {errors[name]:.2e} in {name}; all: {errors}"


# ---- draws that stay away from kinks and saturation ----

KINK = 1e-3
"""How far a drawn pre-activation of a ReLU, or a KL, stays from its kink."""


def away_from_zero(rng: Rng, shape: tuple[int, ...], limit: float = 5.0) -> np.ndarray:
    """Numbers of both signs with KINK <= |x| <= limit."""
    return rng.uniform(KINK, limit, shape) * rng.choice([-1.0, 1.0], shape)


@contextmanager
def watched() -> Iterator[list[tuple[type, np.ndarray]]]:
    """All pre-activations that go through an activation while the context is open."""
    seen: list[tuple[type, np.ndarray]] = []
    kinds = [*ACTIVATIONS.values(), SoftClip]
    before = {kind: kind.forward for kind in kinds}

    def spy(kind: type, forward: Callable[..., Any]) -> Callable[..., Any]:
        def watch(self: Any, x: np.ndarray) -> Any:
            seen.append((kind, x))
            return forward(self, x)

        return watch

    for kind in kinds:
        kind.forward = spy(kind, before[kind])  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        for kind in kinds:
            kind.forward = before[kind]  # type: ignore[method-assign]


def settle(parameters: Parameters, run: Callable[[], Any], rng: Rng) -> None:
    """Draw theta, biases too, until ``run`` has no pre-activation beyond 5 or close to a kink."""
    for attempt in range(200):
        scale = 0.8 * 0.98**attempt
        parameters.theta[...] = rng.normal(0.0, scale, parameters.theta.shape)
        with watched() as seen:
            run()
        if all(
            np.abs(a).max() <= 5.0 and (kind is not ReLU or np.abs(a).min() >= KINK)
            for kind, a in seen
        ):
            return
    raise AssertionError("no draw stayed away from the kinks")


def make_parameters(layer: Any, rng: Rng, dtype: str = "float64") -> Parameters:
    return Parameters({"layer": layer}, rng, dtype)


def make_model(
    kind: type[VAE] | type[Autoencoder],
    rng: Rng,
    B: int = 3,
    S: int = 2,
    D: int = 4,
    latent: int = 2,
    **architecture: Any,
) -> tuple[Any, np.ndarray, np.ndarray]:
    """A float64 model with a drawn theta, data x (B, D) and noise eps (S, B, K)."""
    shape = Architecture(D, latent, **{"hidden": (3,), **architecture})
    model = kind(shape, dtype="float64")
    x = rng.normal(size=(B, D))
    if shape.likelihood == "bernoulli":
        x = rng.integers(0, 2, (B, D)).astype(float)
    elif shape.likelihood == "continuous-bernoulli":
        x = rng.random((B, D))
    eps = rng.normal(size=(S, B, latent))

    def run() -> None:
        if kind is VAE:
            objectives.elbo(model, x, eps, gradient=False)
        else:
            objectives.reconstruction(model, x, gradient=False)

    settle(model.parameters, run, rng)
    return model, x, eps


# ---- layers for the checks ----

ELEMENTWISE: dict[str, Callable[[], Any]] = {
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
    "gelu": GELU,
    "softclip 15": lambda: SoftClip(15.0),
    "softclip 2": lambda: SoftClip(2.0),
}

WITH_WEIGHTS: dict[str, Callable[[int, int], Any]] = {
    "dense": lambda n, m: Dense(n, m, "glorot"),
    "constant": lambda n, m: Constant(m, 0.3),
    "constant per pixel": lambda n, m: Constant(m, 0.3, shared=False),
    "stack": lambda n, m: Stack(Dense(n, 3), Tanh(), Dense(3, m), Softplus()),
    "relu stack": lambda n, m: Stack(Dense(n, 4), ReLU(), Dense(4, 2), ReLU(), Dense(2, m)),
    "heads": lambda n, m: Heads(
        Stack(Dense(n, 3), GELU()), mu=Dense(3, m), logvar=Stack(Dense(3, m), SoftClip(3.0))
    ),
    "one head": lambda n, m: Heads(Stack(), logits=Dense(n, m)),
    "heads with a constant": lambda n, m: Heads(
        Stack(Dense(n, 2), Sigmoid()), mu=Dense(2, m), logvar=Constant(m, -1.0)
    ),
    "nested": lambda n, m: Stack(Stack(Dense(n, 2), Tanh()), Stack(Stack(Dense(2, m)))),
}

LAYERS = [*ELEMENTWISE, *WITH_WEIGHTS]


def layer_case(
    kind: str, rng: Rng, B: int, n_in: int, n_out: int
) -> tuple[Any, Parameters, np.ndarray, Any]:
    """A layer, its parameters, an input (B, n_in) and a random cotangent like its output."""
    if kind in ELEMENTWISE:
        layer, x = ELEMENTWISE[kind](), away_from_zero(rng, (B, n_in))
        parameters = make_parameters(layer, rng)
    else:
        layer, x = WITH_WEIGHTS[kind](n_in, n_out), rng.normal(size=(B, n_in))
        parameters = make_parameters(layer, rng)
        settle(parameters, lambda: layer.forward(x), rng)
    y, _ = layer.forward(x)
    dy = tuple(rng.normal(size=a.shape) for a in y) if isinstance(y, tuple) else None
    return layer, parameters, x, dy if dy is not None else rng.normal(size=y.shape)


def arrays_in(tree: Any) -> list[np.ndarray]:
    """All arrays in nested tuples and lists, a cache for instance."""
    if isinstance(tree, tuple | list):
        return [array for branch in tree for array in arrays_in(branch)]
    return [] if tree is None else [tree]


# ---- checks: gradients ----


def check_layer(kind: str, B: int = 3, n_in: int = 3, n_out: int = 3, seed: int = 0) -> None:
    """The backward of a layer is the derivative of its forward: x and every parameter."""
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(seed), B, n_in, n_out)
    record(kind, layer_errors(layer, x, dy, parameters))


def check_layer_identity(
    kind: str, B: int = 3, n_in: int = 3, n_out: int = 3, seed: int = 0
) -> None:
    """<u, J v> = <J^T u, v> with J v by one complex step along v, in x and in theta at once."""
    rng = np.random.default_rng(seed)
    layer, parameters, x, u = layer_case(kind, rng, B, n_in, n_out)
    theta, h = parameters.theta, 1e-30
    v_x, v_theta = rng.normal(size=x.shape), rng.normal(size=theta.shape)

    parameters.zero_grad()
    _, cache = layer.forward(x)
    dx = layer.backward(u, cache)
    right = [dx * v_x, parameters.grad * v_theta]

    parameters.bind(theta + 1j * h * v_theta)
    y, _ = layer.forward(x + 1j * h * v_x)
    parameters.bind(theta)
    left = [b * a.imag / h for a, b in zip(arrays_in(y), arrays_in(u), strict=True)]
    size = sum(np.abs(a).sum() for a in left + right)
    gap = abs(sum(a.sum() for a in left) - sum(a.sum() for a in right))
    error = gap / size if gap else 0.0
    # Both sums round once for each of fewer than a thousand terms.
    record(kind, {"<u, J v>": float(error)}, "inner products", 1e-13)


def check_need_dx(kind: str, seed: int = 0) -> None:
    """Without dx the parameters get the very same gradient."""
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(seed), 3, 4, 2)
    _, cache = layer.forward(x)
    gradients = []
    for need_dx in (True, False):
        parameters.zero_grad()
        layer.backward(dy, cache, need_dx=need_dx)
        gradients.append(parameters.grad.copy())
    assert np.array_equal(*gradients)
    assert gradients[0].any() or not gradients[0].size, "the gradient vanished"


def check_two_forwards(kind: str, seed: int = 0) -> None:
    """A second forward between a forward and its backward changes nothing: caches are explicit."""
    rng = np.random.default_rng(seed)
    layer, parameters, x, dy = layer_case(kind, rng, 3, 4, 2)
    parameters.zero_grad()
    dx = layer.backward(dy, layer.forward(x)[1])
    alone = parameters.grad.copy()
    parameters.zero_grad()
    _, cache = layer.forward(x)
    layer.forward(rng.normal(size=(5, 4)))
    assert np.array_equal(layer.backward(dy, cache), dx)
    assert np.array_equal(parameters.grad, alone)


def check_backward_accumulates(kind: str, seed: int = 0) -> None:
    """Two backward calls add up: that is what makes a fork in the network right."""
    layer, parameters, x, dy = layer_case(kind, np.random.default_rng(seed), 3, 4, 2)
    parameters.zero_grad()
    _, cache = layer.forward(x)
    layer.backward(dy, cache)
    once = parameters.grad.copy()
    layer.backward(dy, cache)
    assert np.array_equal(parameters.grad, 2.0 * once)


def check_float32(kind: str, seed: int = 0) -> None:
    """float32 in, float32 out: outputs, caches, dx and gradients."""
    rng = np.random.default_rng(seed)
    layer, parameters, x, dy = layer_case(kind, rng, 3, 4, 2)
    parameters.bind(parameters.theta.astype(np.float32))
    y, cache = layer.forward(x.astype(np.float32))
    dy = tuple(d.astype(np.float32) for d in dy) if isinstance(dy, tuple) else dy.astype(np.float32)
    dx = layer.backward(dy, cache)
    found = {str(a.dtype) for a in arrays_in([y, cache, dx, parameters.grad, parameters.theta])}
    assert found == {"float32"}, found


def check_derivative(
    case: str, gradient: np.ndarray, f: Callable[[np.ndarray], Any], x: np.ndarray, scale: float
) -> None:
    """``gradient`` is the derivative of the scalar function f at x."""
    record(case, {"": gradient_error(gradient, complex_step(f, x), scale)})


def undo_broadcast(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a to ``shape`` by counting: every number goes to the place that it was copied from."""
    source = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), a.shape)
    return np.bincount(source.ravel(), a.ravel(), minlength=math.prod(shape)).reshape(shape)


def gaussian_case(
    rng: Rng, S: int, B: int, D: int, variance: str
) -> tuple[Gaussian, np.ndarray, np.ndarray]:
    """A Gaussian with logvar of a broadcast shape, values (S, B, D) and a cotangent (S, B)."""
    shapes = {"full": (B, D), "row": (D,), "one": (1,), "kept row": (1, D), "column": (B, 1)}
    q = Gaussian(rng.normal(size=(B, D)), rng.uniform(-3.0, 3.0, shapes[variance]))
    v = q.mu + np.exp(0.5 * q.logvar) * rng.normal(size=(S, B, D))
    return q, v, rng.normal(size=(S, B))


VARIANCES = ["full", "row", "one", "kept row", "column"]


def check_gaussian_score(
    S: int = 2, B: int = 3, D: int = 2, variance: str = "full", seed: int = 0
) -> None:
    """score and grad_value are the derivatives of log_prob, with a random weight on each value."""
    q, v, c = gaussian_case(np.random.default_rng(seed), S, B, D, variance)
    scale = float(np.abs(c).max())
    names = {"mu": q.mu, "logvar": q.logvar}
    for (name, at), score in zip(names.items(), q.score(v), strict=True):
        assert score.shape == v.shape
        check_derivative(
            f"Gaussian.score {name}",
            undo_broadcast(c[..., None] * score, at.shape),
            lambda a, name=name: (c * Gaussian(**{**names, name: a}).log_prob(v)).sum(),
            at,
            scale,
        )
    check_derivative(
        "Gaussian.grad_value",
        c[..., None] * q.grad_value(v),
        lambda a: (c * q.log_prob(a)).sum(),
        v,
        scale,
    )


def check_pathwise_grad(
    S: int = 2, B: int = 3, D: int = 2, variance: str = "full", seed: int = 0
) -> None:
    """pathwise_grad is the derivative of the sample, summed over S samples and over broadcasts."""
    rng = np.random.default_rng(seed)
    q, _, _ = gaussian_case(rng, S, B, D, variance)
    shape = (S, B, D) if S else (B, D)
    eps, dz = rng.normal(size=shape), rng.normal(size=shape)
    dmu, dlogvar = q.pathwise_grad(dz, eps)
    scale = float(np.abs(dz).max())
    check_derivative(
        "Gaussian.pathwise_grad mu",
        dmu,
        lambda a: (dz * Gaussian(a, q.logvar).sample(eps)).sum(),
        q.mu,
        scale,
    )
    check_derivative(
        "Gaussian.pathwise_grad logvar",
        dlogvar,
        lambda a: (dz * Gaussian(q.mu, a).sample(eps)).sum(),
        q.logvar,
        scale,
    )


def check_kl_grad(B: int = 3, D: int = 2, prior: str = "none", seed: int = 0) -> None:
    """kl_grad is the derivative of kl, to the standard normal or to any other Gaussian."""
    rng = np.random.default_rng(seed)
    q, _, _ = gaussian_case(rng, 1, B, D, "full")
    p = None if prior == "none" else gaussian_case(rng, 1, B, D, prior)[0]
    c = rng.normal(size=(B, D))
    dmu, dlogvar = q.kl_grad(p)
    scale = float(np.abs(c).max())
    check_derivative(
        "Gaussian.kl_grad mu",
        c * dmu,
        lambda a: (c * Gaussian(a, q.logvar).kl_terms(p)).sum(),
        q.mu,
        scale,
    )
    check_derivative(
        "Gaussian.kl_grad logvar",
        c * dlogvar,
        lambda a: (c * Gaussian(q.mu, a).kl_terms(p)).sum(),
        q.logvar,
        scale,
    )


def check_bernoulli_score(S: int = 2, B: int = 3, D: int = 2, seed: int = 0) -> None:
    """score and grad_value are the derivatives of log_prob, for logits of S samples."""
    rng = np.random.default_rng(seed)
    logits, x = rng.uniform(-5, 5, (S, B, D)), rng.integers(0, 2, (B, D)).astype(float)
    c = rng.normal(size=(S, B))
    p, scale = Bernoulli(logits), float(np.abs(c).max())
    (score,) = p.score(x)
    check_derivative(
        "Bernoulli.score",
        c[..., None] * score,
        lambda a: (c * Bernoulli(a).log_prob(x)).sum(),
        logits,
        scale,
    )
    check_derivative(
        "Bernoulli.grad_value",
        (c[..., None] * p.grad_value(x)).sum(axis=0),
        lambda a: (c * p.log_prob(a)).sum(),
        x,
        scale,
    )


def label(name: str, architecture: Mapping[str, Any]) -> str:
    """A short name of a case: "VAE gelu gaussian pixel D=4 latent=2 hidden=[3]"."""
    words = [value for value in architecture.values() if isinstance(value, str)]
    sizes = [f"{key}={value}" for key, value in architecture.items() if not isinstance(value, str)]
    return " ".join([name, *words, *sizes])


def check_vae_gradient(
    B: int = 3, S: int = 2, seed: int = 0, weighted: bool = True, **architecture: Any
) -> None:
    """The gradient of the whole loss, with a KL weight and free bits, in every parameter."""
    rng = np.random.default_rng(seed)
    model, x, eps = make_model(VAE, rng, B, S, **architecture)
    kl_bar = objectives.elbo(model, x, eps, gradient=False).kl.mean(axis=0)
    kl_weight, free_bits = 1.0, 0.0
    if weighted:
        kl_weight, free_bits = rng.uniform(0.1, 3.0), rng.uniform(0.0, 1.2 * kl_bar.max())
        while np.abs(kl_bar - free_bits).min() < KINK:
            free_bits = rng.uniform(0.0, 1.2 * kl_bar.max() + 0.01)
    fixed = architecture.get("likelihood") == "gaussian" and architecture["variance"] == "fixed"
    errors = model_errors(
        model,
        lambda g: objectives.elbo(model, x, eps, kl_weight, free_bits, gradient=g),
        frozen=("decoder.logvar.c",) if fixed else (),
    )
    record(label("VAE", architecture), errors)


def check_autoencoder_gradient(B: int = 3, seed: int = 0, **architecture: Any) -> None:
    """The gradient of the autoencoder's loss in every parameter."""
    model, x, _ = make_model(Autoencoder, np.random.default_rng(seed), B, **architecture)
    fixed = architecture.get("likelihood") == "gaussian" and architecture["variance"] == "fixed"
    errors = model_errors(
        model,
        lambda g: objectives.reconstruction(model, x, gradient=g),
        frozen=("decoder.logvar.c",) if fixed else (),
    )
    record(label("Autoencoder", architecture), errors)


# ---- checks: values of distributions ----


def line(center: float, sigma: float, n: int = 4001, width: float = 14.0) -> np.ndarray:
    """Equidistant points (n, 1) for the trapezoid rule, exact to rounding for a Gaussian."""
    return np.linspace(center - width * sigma, center + width * sigma, n)[:, None]


def integral(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The trapezoid rule along axis 0; the integrands vanish at both ends."""
    return values.sum(axis=0) * (points[-1, 0] - points[0, 0]) / (len(points) - 1)


def hermite(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of E f(eps), eps ~ N(0, 1): exact for polynomials below degree 2n."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def check_gaussian_against_normaldist(seed: int = 0) -> None:
    """log_prob agrees with the standard library's normal density, dimension by dimension."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        q, v, _ = gaussian_case(rng, 1, 1, 3, "full")
        want = sum(
            math.log(NormalDist(m, math.sqrt(math.exp(l))).pdf(a))
            for m, l, a in zip(q.mu[0], q.logvar[0], v[0, 0], strict=True)
        )
        assert math.isclose(q.log_prob(v)[0, 0], want, rel_tol=1e-13, abs_tol=1e-13)


def check_gaussian_normalised(mu: float = 0.7, logvar: float = -1.3) -> None:
    """The density integrates to one."""
    v = line(mu, math.exp(logvar / 2))
    p = Gaussian(np.array([mu]), np.array([logvar]))
    assert abs(integral(np.exp(p.log_prob(v)), v) - 1.0) < 1e-12


def check_gaussian_score_expectation(mu: float = 0.7, logvar: float = -1.3) -> None:
    """E_p score = 0, and its covariance is Fisher's information diag(1 / sigma^2, 1/2)."""
    v = line(mu, math.exp(logvar / 2))
    density = np.exp(Gaussian(np.array([mu]), np.array([logvar])).log_prob(v))[:, None]
    score = np.hstack(Gaussian(np.array([mu]), np.array([logvar])).score(v))
    assert np.abs(integral(density * score, v)).max() < 1e-11
    fisher = integral(density[..., None] * score[:, :, None] * score[:, None, :], v)
    assert np.abs(fisher - np.diag([math.exp(-logvar), 0.5])).max() < 1e-11


def check_sample_moments(seed: int = 0) -> None:
    """Samples have mean mu and variance e^logvar, by Gauss-Hermite, exact for squares."""
    rng = np.random.default_rng(seed)
    q, _, _ = gaussian_case(rng, 1, 3, 2, "full")
    nodes, weights = hermite(5)
    z = q.sample(np.broadcast_to(nodes[:, None, None], (5, 3, 2)))
    mean = np.tensordot(weights, z, 1)
    assert np.abs(mean - q.mu).max() < 1e-12
    variance = np.tensordot(weights, (z - mean) ** 2, 1)
    assert np.allclose(np.log(variance), q.logvar, rtol=0, atol=1e-12)


def check_kl_by_quadrature(seed: int = 0, standard: bool = True) -> None:
    """KL(q || p) = E_q log q - log p, both from the standard library, by the trapezoid rule."""
    rng = np.random.default_rng(seed)
    mu, l, mu_p, l_p = rng.normal(size=4)
    if standard:
        mu_p = l_p = 0.0
    q, p = NormalDist(mu, math.exp(l / 2)), NormalDist(mu_p, math.exp(l_p / 2))
    v = line(mu, math.exp(l / 2), 2001, 9.0)
    terms = [q.pdf(a) * (math.log(q.pdf(a)) - log_pdf(p, a)) for a in v[:, 0]]
    want = integral(np.array(terms), v)
    prior = None if standard else Gaussian(np.array([[mu_p]]), np.array([[l_p]]))
    got = Gaussian(np.array([[mu]]), np.array([[l]])).kl(prior)
    # 9 sigma leave less than 1e-17 of the mass outside.
    assert abs(got[0] - want) < 1e-10, (got[0], want)


def log_pdf(p: NormalDist, v: float) -> float:
    """log p(v) where the density itself may underflow: by the ratio to the density at the mean."""
    return math.log(p.pdf(p.mean)) - 0.5 * p.zscore(v) ** 2


def patterns(D: int) -> np.ndarray:
    """All 2^D binary vectors, (2^D, D)."""
    return ((np.arange(2**D)[:, None] >> np.arange(D)) & 1).astype(float)


def check_bernoulli_by_enumeration(D: int = 5, seed: int = 0) -> None:
    """Over all x in {0,1}^D: probabilities are products, sum to one, and E score = 0."""
    a = np.random.default_rng(seed).uniform(-4, 4, D)
    p, x = Bernoulli(a), patterns(D)
    probability = np.exp(p.log_prob(x))
    rate = [1 / (1 + math.exp(-b)) for b in a]
    want = [math.prod(r if on else 1 - r for r, on in zip(rate, row, strict=True)) for row in x]
    assert np.allclose(probability, want, rtol=1e-12, atol=0)
    assert abs(probability.sum() - 1.0) < 1e-13
    assert np.allclose(probability @ x, p.mean, rtol=0, atol=1e-13)
    (score,) = p.score(x)
    assert np.abs(probability @ score).max() < 1e-13


# ---- checks: objectives ----


def check_batch_size(kind: type = VAE, seed: int = 0) -> None:
    """The gradient, loss and numbers of a batch are the means over its examples taken alone."""
    model, x, eps = make_model(kind, np.random.default_rng(seed), B=5, S=3)
    theta = model.parameters

    def run(rows: slice) -> tuple[np.ndarray, Any]:
        theta.zero_grad()
        if kind is VAE:
            result = objectives.elbo(model, x[rows], eps[:, rows], kl_weight=0.7)
        else:
            result = objectives.reconstruction(model, x[rows])
        return theta.grad.copy(), result

    grad, whole = run(slice(None))
    alone = [run(slice(b, b + 1)) for b in range(5)]
    mean = np.mean([g for g, _ in alone], axis=0)
    assert np.abs(mean - grad).max() <= 1e-12 * np.abs(grad).max()
    assert abs(np.mean([r.loss for _, r in alone]) - whole.loss) < 1e-12
    for name, values in whole.terms().items():
        single = np.concatenate([r.terms()[name] for _, r in alone])
        assert np.abs(single - values).max() < 1e-12, name


def check_samples_average(seed: int = 0) -> None:
    """S samples are averaged outside the logarithm: S one-sample bounds, averaged."""
    model, x, eps = make_model(VAE, np.random.default_rng(seed), S=4)
    theta = model.parameters
    theta.zero_grad()
    whole = objectives.elbo(model, x, eps)
    grad = theta.grad.copy()
    theta.zero_grad()
    alone = [objectives.elbo(model, x, eps[s : s + 1]) for s in range(4)]
    assert np.allclose(np.mean([r.elbo for r in alone], axis=0), whole.elbo, rtol=1e-12, atol=0)
    assert np.abs(theta.grad / 4 - grad).max() <= 1e-12 * np.abs(grad).max()


def check_weights_do_not_leak(seed: int = 0) -> None:
    """kl_weight and free_bits change loss and gradient, and never the numbers that are reported."""
    model, x, eps = make_model(VAE, np.random.default_rng(seed))
    plain = objectives.elbo(model, x, eps)
    plain_grad = model.parameters.grad.copy()
    for options in ({"kl_weight": 0.3}, {"free_bits": 5.0}, {"kl_weight": 4.0, "free_bits": 0.1}):
        model.parameters.zero_grad()
        other = objectives.elbo(model, x, eps, **options)
        assert other.loss != plain.loss, options
        assert not np.array_equal(model.parameters.grad, plain_grad)
        for name in ("elbo", "reconstruction", "kl"):
            assert np.array_equal(getattr(other, name), getattr(plain, name)), name
    assert math.isclose(plain.loss, -plain.elbo.mean(), rel_tol=1e-14)


def check_free_bits(seed: int = 0) -> None:
    """The KL of each latent is averaged over the batch, then compared with the floor, then summed:
    by plain loops over Python floats.
    """
    model, x, eps = make_model(VAE, np.random.default_rng(seed), B=4, latent=3)
    kl = objectives.elbo(model, x, eps, gradient=False).kl.tolist()
    floor = float(np.median(np.mean(kl, axis=0)))
    result = objectives.elbo(model, x, eps, kl_weight=0.7, free_bits=floor, gradient=False)
    charged = sum(max(floor, sum(row[j] for row in kl) / 4) for j in range(3))
    want = 0.7 * charged - sum(result.reconstruction.tolist()) / 4
    assert math.isclose(result.loss, want, rel_tol=1e-13)


def check_noise_is_per_example(seed: int = 0) -> None:
    """Two copies of one example in a batch get different noise; so do two samples of one."""
    model, x, _ = make_model(VAE, np.random.default_rng(seed), B=1)
    twice = np.concatenate([x, x])
    result = model.objective(twice, np.random.default_rng(1), gradient=False)
    assert result.reconstruction[0] != result.reconstruction[1]
    one = model.objective(x, np.random.default_rng(1), gradient=False, samples=1)
    two = model.objective(x, np.random.default_rng(1), gradient=False, samples=2)
    assert one.reconstruction[0] != two.reconstruction[0]


# ---- checks: worlds where log p(x) is known ----


def linear_gaussian(rng: Rng, D: int = 5, K: int = 2, sigma: float = 0.6) -> tuple[Any, Any, Any]:
    """A VAE without hidden layers whose q(z|x) is the exact posterior; x; log p(x) in closed form.

    z ~ N(0, 1), x = z W + b + sigma n is N(b, W^T W + sigma^2 I) (Tipping and Bishop 1999).  Where
    the rows of W are orthogonal the posterior is diagonal: variance v_k = 1 / (1 + |w_k|^2/sigma^2)
    and mean v_k w_k.(x - b) / sigma^2.
    """
    model = VAE(
        Architecture(D, K, (), likelihood="gaussian", variance="fixed", sigma=sigma),
        dtype="float64",
    )
    view = model.parameters.views(model.parameters.theta)
    W = np.linalg.qr(rng.normal(size=(D, K)))[0].T * rng.uniform(0.5, 2.0, (K, 1))
    b = rng.normal(size=D)
    v = 1.0 / (1.0 + (W**2).sum(axis=1) / sigma**2)
    view["decoder.mu.W"][...], view["decoder.mu.b"][...] = W, b
    view["encoder.mu.W"][...] = W.T * v / sigma**2
    view["encoder.mu.b"][...] = -(b @ W.T) * v / sigma**2
    view["encoder.logvar.0.W"][...] = 0.0
    view["encoder.logvar.0.b"][...] = LOGVAR_LIMIT * np.arctanh(np.log(v) / LOGVAR_LIMIT)
    x = rng.normal(size=(4, K)) @ W + b + sigma * rng.normal(size=(4, D))
    covariance = W.T @ W + sigma**2 * np.eye(D)
    r = x - b
    mahalanobis = np.einsum("bi,ij,bj->b", r, np.linalg.inv(covariance), r)
    log_p = -0.5 * (D * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + mahalanobis)
    return model, x, log_p


def cubature(B: int, K: int) -> np.ndarray:
    """2K equally weighted points (2K, B, K) with mean 0 and covariance I: exact for squares."""
    points = math.sqrt(K) * np.concatenate([np.eye(K), -np.eye(K)])
    return np.repeat(points[:, None, :], B, axis=1)


def check_linear_gaussian_bound(seed: int = 0) -> None:
    """At the exact posterior the ELBO is log p(x); anywhere else it is below."""
    rng = np.random.default_rng(seed)
    model, x, log_p = linear_gaussian(rng)
    eps = cubature(*x.shape[:1], 2)
    assert np.abs(objectives.elbo(model, x, eps, gradient=False).elbo - log_p).max() < 1e-10
    view = model.parameters.views(model.parameters.theta)
    right = {name: view[name].copy() for name in view if name.startswith("encoder")}
    for _ in range(20):
        for name, value in right.items():
            view[name][...] = value + rng.normal(0, rng.uniform(0.05, 1), value.shape)
        bound = objectives.elbo(model, x, eps, gradient=False).elbo
        assert (bound < log_p).all(), (bound, log_p)


def check_linear_gaussian_nll(seed: int = 0) -> None:
    """At the exact posterior every importance weight is p(x): the estimate is exact."""
    rng = np.random.default_rng(seed)
    model, x, log_p = linear_gaussian(rng)
    for n in (1, 7):
        nll = estimate_likelihood(model, x, np.random.default_rng(3), n_samples=n).nll
        assert np.abs(nll + log_p).max() < 1e-10


def scalar_vae(rng: Rng, likelihood: str) -> tuple[VAE, np.ndarray]:
    """A non-linear VAE with one latent and a q of moderate width, and data (3, 3)."""
    model, x, _ = make_model(
        VAE, rng, B=3, D=3, latent=1, activation="tanh", likelihood=likelihood, variance="pixel"
    )
    view = model.parameters.views(model.parameters.theta)
    view["encoder.logvar.0.W"][...] *= 0.3
    view["encoder.logvar.0.b"][...] = -1.0
    return model, x


def evidence_by_quadrature(model: VAE, x: np.ndarray, z: np.ndarray) -> tuple[Any, Any]:
    """log p(x) (B,) and the posterior's logarithm (n, B) on the points z (n, 1)."""
    p, n = model.decode(z), len(z)
    log_x = np.stack([p.log_prob(np.repeat(row[None], n, axis=0)) for row in x], axis=1)
    joint = log_x + np.array([log_pdf(NormalDist(), a) for a in z[:, 0].tolist()])[:, None]
    evidence = np.log(integral(np.exp(joint), z))
    return evidence, joint - evidence


def check_gap_is_a_kl(likelihood: str = "bernoulli", seed: int = 0) -> None:
    """log p(x) - ELBO = KL(q(z|x) || p(z|x)), all three by different quadratures."""
    model, x = scalar_vae(np.random.default_rng(seed), likelihood)
    z = np.linspace(-15, 15, 6001)[:, None]
    log_p, log_posterior = evidence_by_quadrature(model, x, z)

    nodes, weights = hermite(100)
    bound = np.empty(len(x))
    for b, row in enumerate(x):  # one row of the batch for each node
        rows = np.repeat(row[None], len(nodes), axis=0)
        result = objectives.elbo(model, rows, nodes[None, :, None], gradient=False)
        bound[b] = weights @ result.elbo

    q = model.encode(x)
    for b, (mu, logvar) in enumerate(zip(q.mu[:, 0], q.logvar[:, 0], strict=True)):
        dist = NormalDist(float(mu), math.exp(float(logvar) / 2))
        log_q = np.array([log_pdf(dist, a) for a in z[:, 0].tolist()])
        gap = integral(np.exp(log_q) * (log_q - log_posterior[:, b]), z)
        # 100 Hermite nodes resolve the smooth decoder to about 1e-9.
        assert abs(log_p[b] - bound[b] - gap) < 1e-7, (log_p[b], bound[b], gap)
        assert gap > 0 and bound[b] < log_p[b]


# ---- checks: optimisers ----


def textbook_adam(
    theta: float, gradients: list[float], lr: float, b1: float, b2: float, epsilon: float
) -> float:
    """Algorithm 1 of Kingma and Ba on one number, moments corrected in their own lines."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        theta = theta - lr * m_hat / (math.sqrt(v_hat) + epsilon)
    return theta


def textbook_momentum(theta: float, gradients: list[float], lr: float, momentum: float) -> float:
    """The sum form: the step at t is lr times all gradients so far, each decayed by its age."""
    for t in range(len(gradients)):
        theta -= lr * sum(momentum ** (t - s) * gradients[s] for s in range(t + 1))
    return theta


def run_optimizer(optimizer: Any, theta: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """theta after one step for each row of gradients; in place, with grad left alone."""
    moved = theta.copy()
    for g in gradients:
        given = g.copy()
        result = optimizer.step(moved, given)
        assert result is None
        assert np.array_equal(given, g), "the optimiser changed grad"
    return moved


def check_adam(steps: int = 60, seed: int = 0, **options: float) -> None:
    """Adam is the textbook's on every number, for gradients down to the size of epsilon."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=7)
    gradients = rng.normal(size=(steps, 7)) * 10.0 ** np.arange(-9, 5, 2)
    full = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, **options}
    got = run_optimizer(Adam(**full), theta, gradients)
    columns = zip(theta, gradients.T, strict=True)
    want = [textbook_adam(t, list(g), *full.values()) for t, g in columns]
    assert np.allclose(got, want, rtol=0, atol=1e-12), got - want


def check_sgd(steps: int = 40, momentum: float = 0.9, seed: int = 0) -> None:
    """SGD with momentum is the decayed sum of all gradients so far."""
    rng = np.random.default_rng(seed)
    theta, gradients = rng.normal(size=5), rng.normal(size=(steps, 5))
    got = run_optimizer(SGD(0.01, momentum), theta, gradients)
    columns = zip(theta, gradients.T, strict=True)
    want = [textbook_momentum(t, list(g), 0.01, momentum) for t, g in columns]
    assert np.allclose(got, want, rtol=0, atol=1e-12)


def assert_caught(plant: Callable[[], Any], check: Callable[[], Any]) -> None:
    """``check`` passes, fails with the planted bug in place, and passes once it is gone."""
    with CASES.silence():
        check()
        with plant(), pytest.raises(AssertionError):
            check()
        check()
