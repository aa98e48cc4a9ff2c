"""Rungs about numbers on machines: their precision, their dtype, their device."""

import math
from typing import Any

import numpy as np

from minivae import arrays, numerics, objectives
from minivae.distributions import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from minivae.evaluation import likelihood
from minivae.layers import SoftClip
from minivae.models import (
    IWAE,
    MADE,
    VAE,
    VQVAE,
    Architecture,
    Autoencoder,
    ConditionalArchitecture,
    ConditionalVAE,
    DenoisingAutoencoder,
    MadeArchitecture,
    Model,
    QuantisedArchitecture,
    TwoLevelArchitecture,
    TwoLevelVQVAE,
)
from minivae.models.networks import LIKELIHOODS
from minivae.optimizers import Adam
from minivae.verify.derivatives import drawn_model
from minivae.verify.figures import Figure, Setting, Skipped, worst

SINGLE = 1e-5
"""What float32 is allowed, relative; products rounded to 10 bits, as in TF32, are off by 1e-4."""


def dtypes(setting: Setting) -> list[Figure]:
    """float32 stays float32: noise, codes, loss, gradients, theta after a step, in every model."""
    x = np.random.default_rng(54).integers(0, 2, (4, 16)).astype(np.float32)
    wider = family = 0
    for kind, name in ((kind, name) for kind in (VAE, IWAE) for name in LIKELIHOODS):
        model = kind(Architecture(16, 2, (5,), likelihood=name))
        eps = arrays.standard_normal(np.random.default_rng(1), (1, 4, 2), x)
        wider += _wider([eps, model.encode(x).sample(eps), *_after_a_step(model, x)])
    for other in _family():
        told: dict[str, Any] = {"y": x[:, :2]} if other.conditional else {}
        family += _wider(_after_a_step(other, x, **told))
    return [
        Figure("arrays of another dtype", float(wider), 0.0, "arrays"),
        Figure("arrays of another dtype, in the family", float(family), 0.0, "arrays"),
    ]


def _family() -> list[Model]:
    """A small model of every other kind, for images of 4 x 4."""
    plain: dict[str, Any] = {"hidden": (5,)}
    grid: dict[str, Any] = {"patch": 2, "n_codes": 3, "code_size": 2, "hidden": (5,)}
    return [
        Autoencoder(Architecture(16, 2, **plain)),
        DenoisingAutoencoder(Architecture(16, 2, **plain)),
        ConditionalVAE(ConditionalArchitecture(16, 2, **plain, n_conditions=2, prior="learned")),
        VQVAE(QuantisedArchitecture((4, 4), **grid)),
        TwoLevelVQVAE(TwoLevelArchitecture((4, 4), **grid)),
        *(MADE(MadeArchitecture(16, **plain, n_codes=n)) for n in (2, 3)),
    ]  # fmt: skip


def _after_a_step(model: Model, x: np.ndarray, **told: Any) -> list[np.ndarray]:
    """What an objective returns, the gradient, and theta after a step of Adam."""
    result = model.objective(x, np.random.default_rng(1), **told)
    Adam().step(model.parameters.theta, model.parameters.grad)
    model.after_step(result)
    return [*result, model.parameters.grad, model.parameters.theta]


def _wider(found: list[np.ndarray]) -> int:
    """How many of these arrays are numbers of another dtype than float32; codes are integers."""
    return sum(a.dtype.kind != "i" and str(a.dtype) != "float32" for a in found)


def precision(setting: Setting) -> list[Figure]:
    """float32, in which models are trained, gives the values of float64; far out, too.

    Both compute with the same numbers, those that float32 can hold.
    """
    off = {"bound": 0.0, "gradient": 0.0, "importance weights": 0.0}
    for case in range(setting.pick(1, 10, 100)):
        for name in LIKELIHOODS:
            wide, x, eps = _wide_model(name, np.random.default_rng([55, case]))
            narrow = wide.twin("float32")
            for what, a, b in _compared(wide, narrow, x, eps, lambda v: v.astype(np.float32)):
                off[what] = worst(off[what], _relative(a, b))
    return [
        *(Figure(f"{what} in float32", value, SINGLE, "relative") for what, value in off.items()),
        Figure("distributions in float32", _distributions(), SINGLE, "relative"),
        Figure("log P of coins with a logit up to 800", _far_coins(), 1e-6, "relative"),
        Figure("far log-variances and sums of exponentials", _far(), 1e-6, "relative"),
    ]


def device(setting: Setting) -> list[Figure]:
    """The same theta, data and noise on NumPy and on the device: bounds, gradient, likelihood.

    Skipped only if no device was named.  One that was named and is missing is a failure: a
    certificate that says "cuda" and "passed" has compared with the GPU.

    In float64 both agree to rounding.  In float32, where a device may take liberties, its values
    are held against NumPy's in float64.
    """
    if setting.device == "cpu":
        raise Skipped("no device was named: --device cuda compares NumPy with the GPU")
    figures = []
    for dtype, tolerance in (("float64", 1e-12), ("float32", SINGLE)):
        off = {"bound": 0.0, "gradient": 0.0, "importance weights": 0.0}

        def move(v: np.ndarray, dtype: str = dtype) -> Any:
            return arrays.to_device(v.astype(dtype), setting.device)

        for name in LIKELIHOODS:
            here, x, eps = _wide_model(name, np.random.default_rng(56))
            there = VAE(here.architecture, dtype=dtype, device=setting.device)
            there.parameters.theta[...] = move(here.parameters.theta)
            for what, a, b in _compared(here, there, x, eps, move):
                off[what] = worst(off[what], _relative(a, arrays.to_numpy(b)))
        figures += [
            Figure(f"{what} in {dtype} against NumPy", value, tolerance, "relative")
            for what, value in off.items()
        ]
    return figures


def _wide_model(likelihood: str, rng: np.random.Generator) -> tuple[VAE, np.ndarray, np.ndarray]:
    """A float64 model with layers of some width, whose numbers float32 can hold."""
    model, x, eps = drawn_model(
        VAE, rng, B=32, n_features=64, latent=8, hidden=(50,), likelihood=likelihood
    )
    theta = model.parameters.theta
    theta[...] = (0.4 * theta).astype(np.float32)
    x, eps = (a.astype(np.float32).astype(np.float64) for a in (x, eps))
    return model, x, eps


def _compared(one: VAE, other: VAE, x: np.ndarray, eps: np.ndarray, move: Any) -> Any:
    """(what, of one, of the other): two bounds, the gradient of both, importance weights."""
    found = []
    for model, data, noise in ((one, x, eps), (other, move(x), move(eps))):
        model.parameters.zero_grad()
        bound = objectives.elbo(model, data, noise).elbo
        tighter = objectives.iwae(model, data, noise).bound
        log_p, ratio = likelihood.log_weights(model, data, model.encode(data), noise)
        found.append((bound, tighter, model.parameters.grad, log_p + ratio))
    names = ("bound", "bound", "gradient", "importance weights")
    return zip(names, *found, strict=True)


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, as a share of the largest number."""
    return worst(np.abs(b.astype(np.float64) - a)) / float(np.abs(a).max())


def _distributions() -> float:
    """Every value and derivative of the distributions at drawn parameters."""
    rng = np.random.default_rng(57)
    a, b, v, u = (np.float32(rng.normal(size=(3, 4))) for _ in range(4))
    u = np.float32(1.0 / (1.0 + np.exp(-u)))
    off = 0.0
    for one, two in ((a, b), (4.0 * a, 2.0 * b)):
        narrow, wide = (_values(*(w.astype(d) for w in (one, two, v, u))) for d in ("f4", "f8"))
        off = worst(off, *(_relative(w, n) for w, n in zip(wide, narrow, strict=True)))
    return off


def _values(a: Any, b: Any, v: Any, u: Any) -> list[Any]:
    q, p, coin, grey = Gaussian(a, b), Gaussian(b, a), Bernoulli(a), ContinuousBernoulli(a)
    die, other = Categorical(a[None]), Categorical(b[None])
    return [
        q.log_prob(v), *q.score(v), q.grad_value(v), q.sample(v), *q.pathwise_grad(u, v),
        q.kl_terms(), *q.kl_grad(), q.kl(p), *q.kl_grad(p),
        coin.log_prob(u), *coin.score(u), coin.mean, grey.log_prob(u), *grey.score(u), grey.mean,
        die.log_prob(u[None]), *die.score(u[None]), die.kl(), die.kl(other), *die.kl_grad(),
    ]  # fmt: skip


def _far_coins() -> float:
    off = 0.0
    for logit in (-800.0, -100.0, -89.0, -20.0, 20.0, 89.0, 100.0, 800.0):
        for x in (0.0, 1.0):
            want = x * logit - (max(logit, 0.0) + math.log1p(math.exp(-abs(logit))))
            got = Bernoulli(np.array([logit], np.float32)).log_prob(np.array([x], np.float32))
            off = worst(off, abs(float(got) - want) / max(1.0, abs(want)))
    return off


def _far() -> float:
    y, cache = (clip := SoftClip(15.0)).forward(
        far := np.array([-60.0, -20.0, 20.0, 60.0], np.float32)
    )
    slope = clip.backward(np.ones_like(far), cache)
    right = 15.0 * np.tanh(far.astype(np.float64) / 15.0)
    lost = 1.0 - (y / 15.0) ** 2  # from the rounded y: its last digit is all that is left
    sums = [
        numerics.logsumexp(np.array([s, s], np.float32)) - s - math.log(2.0) for s in (-1e3, 1e3)
    ]
    return worst(_relative(right, y), np.abs(slope - lost), *(abs(float(s)) / 1e3 for s in sums))
