"""The rung of conditional models: a world whose log p(x|y) is known, a probe, unseen classes."""

import math
from typing import Any

import numpy as np

from minivae import evaluation, exact, objectives
from minivae.datasets.conditions import Attribute
from minivae.models import ConditionalArchitecture, ConditionalVAE
from minivae.models.networks import LOGVAR_LIMIT
from minivae.verify.figures import Figure, Setting, worst
from minivae.verify.gradients import model_errors

D, K, C = 5, 2, 3
"""Numbers of x, latents and numbers of y in the linear world."""

SIGMA = 0.7
"""Of its noise."""


def conditions(setting: Setting) -> list[Figure]:
    """The bound closes where both networks know y, and the probe finds nothing in noise."""
    rng = np.random.default_rng(71)
    gap = {"standard": 0.0, "learned": 0.0}
    for _ in range(setting.pick(3, 10, 50)):
        for prior in gap:
            model, x, y, log_p = linear_world(rng, prior)
            eps = exact.cubature(len(x), K)
            elbo = objectives.conditional_elbo(model, x, y, eps, gradient=False).elbo
            gap[prior] = worst(gap[prior], float(np.abs(elbo - log_p).max()))
    return [
        Figure("gradient, p(z|y) learned", _gradient(rng), 1e-12, "relative"),
        Figure("ELBO against log p(x|y), p(z) = N(0, I)", gap["standard"], 1e-8, "nats"),
        Figure("ELBO against log p(x|y), p(z|y) learned", gap["learned"], 1e-8, "nats"),
        Figure("probe of pure noise, above chance", _noise_tells(rng), 5.0, "standard errors"),
        Figure("classes without training images that are taken", _unseen(), 0.0, "classes"),
    ]


def linear_world(
    rng: np.random.Generator, prior: str
) -> tuple[ConditionalVAE, np.ndarray, np.ndarray, np.ndarray]:
    """A linear conditional VAE at its optimum, x and y drawn from it, and log p(x|y).

        z ~ N(m, V),  m = y P + c,      x = z A + y M + b + s eps

    The rows of A are at right angles, so that the posterior of z is a diagonal Gaussian, which the
    encoder can be: with a_k^2 = |A_k|^2 its precisions are 1 / V_k + a_k^2 / s^2, and its mean is

        ( (x - y M - b) A^T / s^2 + m / V ) / precision

    which is linear in [x | y].  It needs y even where p(z) does not: it has to take y M away.
    """
    shape = ConditionalArchitecture(
        D, K, hidden=(), likelihood="gaussian", variance="fixed", sigma=SIGMA,
        n_conditions=C, prior=prior,
    )  # fmt: skip
    model = ConditionalVAE(shape, dtype="float64")
    A = np.linalg.qr(rng.normal(size=(D, K)))[0].T * rng.uniform(0.5, 2.0, (K, 1))
    M, b = rng.normal(size=(C, D)), rng.normal(size=D)
    P, c, V = rng.normal(size=(C, K)), rng.normal(size=K), rng.uniform(0.3, 2.0, K)
    if prior == "standard":
        P, c, V = 0.0 * P, 0.0 * c, 0.0 * V + 1.0
    precision = 1.0 / V + (A * A).sum(axis=1) / SIGMA**2
    read = A.T / SIGMA**2 / precision  # (D, K)
    values: dict[str, Any] = {
        "decoder.mu.W": np.concatenate([A, M]),
        "decoder.mu.b": b,
        "encoder.mu.W": np.concatenate([read, P / (V * precision) - M @ read]),
        "encoder.mu.b": c / (V * precision) - b @ read,
        "encoder.logvar.0.W": 0.0,
        "encoder.logvar.0.b": _before_the_clip(-np.log(precision)),
    }
    if prior == "learned":
        values |= {"prior.mu.W": P, "prior.mu.b": c, "prior.logvar.0.W": 0.0,
                   "prior.logvar.0.b": _before_the_clip(np.log(V))}  # fmt: skip
    views = model.parameters.views(model.parameters.theta)
    for name, value in values.items():
        views[name][...] = value
    y = rng.normal(size=(4, C))
    m = y @ P + c
    z = m + np.sqrt(V) * rng.normal(size=(4, K))
    x = z @ A + y @ M + b + SIGMA * rng.normal(size=(4, D))
    return model, x, y, _log_normal(x - (m @ A + y @ M + b), A.T @ (V[:, None] * A))


def _log_normal(residual: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """log N(residual; 0, signal + s^2 I), by NumPy's linear algebra."""
    covariance = signal + SIGMA**2 * np.eye(D)
    squares = (residual * np.linalg.solve(covariance, residual.T).T).sum(axis=1)
    return -0.5 * (D * math.log(2.0 * math.pi) + np.linalg.slogdet(covariance)[1] + squares)


def _before_the_clip(logvar: np.ndarray) -> np.ndarray:
    """What the encoder's `SoftClip` turns into this log-variance."""
    return LOGVAR_LIMIT * np.arctanh(logvar / LOGVAR_LIMIT)


def _gradient(rng: np.random.Generator) -> float:
    shape = ConditionalArchitecture(
        3, K, hidden=(3,), activation="tanh", n_conditions=2, prior="learned"
    )
    model = ConditionalVAE(shape, dtype="float64")
    x, y = rng.integers(0, 2, (3, 3)).astype(float), rng.normal(size=(3, 2))
    eps = rng.normal(size=(2, 3, K))
    errors = model_errors(
        model, lambda g: objectives.conditional_elbo(model, x, y, eps, 0.7, gradient=g)
    )
    return worst(*errors.values())


def _noise_tells(rng: np.random.Generator) -> float:
    """Codes that know nothing of the labels, read by the probe: standard errors above chance."""
    z, labels = rng.normal(size=(600, 80)), rng.integers(0, 4, 600)
    found = evaluation.conditional.leakage(z[:300], labels[:300], z[300:], labels[300:])
    error = math.sqrt(0.25 * 0.75 / 300)
    return (found.accuracy.mean - 0.25) / error


def _unseen() -> float:
    """Whether a class between those of the training images is given a column all the same."""
    known = Attribute.fit("label", "class", np.array([0, 1, 3]), ("a", "b", "c", "d"))
    try:
        known.columns(np.array([2]))
    except ValueError:
        return 0.0
    return 1.0
