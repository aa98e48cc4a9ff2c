"""Rungs about values: activations and their blocks, walks between codes, grids of codes."""

import math
from collections.abc import Callable

import numpy as np

from minivae import arrays, layers, numerics, optimizers, walks
from minivae.distributions import bernoulli, gaussian
from minivae.verify.figures import Figure, Setting, worst

TEXTBOOK: dict[str, Callable[[float], float]] = {
    "relu": lambda x: x if x > 0.0 else 0.0,
    "tanh": lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)),
    "sigmoid": lambda x: 1.0 / (1.0 + math.exp(-x)),
    "softplus": lambda x: math.log(1.0 + math.exp(x)),
    "gelu": lambda x: x * 0.5 * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
}
"""By the names of `layers.ACTIVATIONS`."""


def activations(setting: Setting) -> list[Figure]:
    """Activations against their definitions, on Python floats; large arrays against small ones.

    A backward that fits a wrong activation passes every gradient check.
    """
    points = np.linspace(-6.0, 6.0, setting.pick(41, 1001, 10_001))
    off = [0.0]
    for name, kind in layers.ACTIVATIONS.items():
        y, _ = kind().forward(points[None])
        off.append(worst(np.abs(y[0] - [TEXTBOOK[name](x) for x in points.tolist()])))
    gelu, _ = layers.GELU().forward(points[None])
    phi = [0.5 * x * math.erfc(-x / math.sqrt(2.0)) for x in points.tolist()]
    clip = 2.0 * np.tanh(points / 2.0) - layers.SoftClip(2.0).forward(points[None])[0][0]
    return [
        Figure("activations against their definitions", worst(*off, np.abs(clip)), 1e-13,
            "absolute"),
        Figure("GELU less x times the normal's distribution", worst(np.abs(gelu[0] - phi)), 5e-4,
            "absolute"),
        Figure("arrays in blocks against their parts", _blocks(), 1e-15, "relative"),
        Figure("Adam in blocks against its parts", _adam_in_blocks(), 0.0, "absolute"),
    ]  # fmt: skip


def walks_and_grids(setting: Setting) -> list[Figure]:
    """Arcs of constant speed on the sphere; grids with equal shares of the prior; norms of codes.

    An arc is held against a rotation by hand, a quantile against the error function.
    """
    turn = kept = share = 0.0
    t = walks.times(9)
    for angle in (0.0, 1e-9, 0.3, 1.5, 3.0):
        u, n = np.array([3.0, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 3.0, 0.0])
        end = math.cos(angle) * u + math.sin(angle) * n
        arc = np.cos(t * angle)[:, None] * u + np.sin(t * angle)[:, None] * n
        walk = walks.spherical(u, end, t)
        turn = worst(turn, np.abs(walk - arc), abs(walks.angle(u, end) - angle))
        kept = worst(kept, np.abs(np.linalg.norm(walk, axis=1) - 3.0))
    for n_values, limit in ((2, 1.0), (7, 2.0), (10, 3.0)):
        below = [0.5 * math.erfc(-v / math.sqrt(2.0)) for v in walks.quantiles(n_values, limit)]
        edge = 0.5 * math.erfc(limit / math.sqrt(2.0))
        share = worst(share, np.abs(below - np.linspace(edge, 1.0 - edge, n_values)))
    line = walks.straight(u, n, t) - np.outer(1.0 - t, u) - np.outer(t, n)
    return [
        Figure("arcs against a rotation", turn, 1e-12, "absolute"),
        Figure("norms along an arc", kept, 1e-12, "absolute"),
        Figure("straight lines", worst(np.abs(line)), 1e-12, "absolute"),
        Figure("shares between neighbours of a grid", share, 1e-12, "of 1"),
        Figure("mean and spread of the norm of a code", _norms(), 1e-10, "absolute"),
    ]


def _blocks() -> float:
    """Fused formulas of arrays longer than a block, against the same in pieces of half a block."""
    rng, size = np.random.default_rng(36), arrays.BLOCK + 5_003
    a, b, c = (rng.normal(0.0, 3.0, size) for _ in range(3))
    off, half = 0.0, arrays.BLOCK // 2
    for formula, args in (
        (numerics.softplus, (a,)),
        (numerics.sigmoid, (a,)),
        (layers._gelu, (a,)),
        (bernoulli._log_density, (a, b)),
        (gaussian._log_density, (a, b, c)),
    ):
        whole = formula(*args)
        parts = [formula(*[v[i : i + half] for v in args]) for i in range(0, size, half)]
        pieces = np.concatenate(parts)
        off = worst(off, np.abs(whole - pieces) / np.maximum(1.0, np.abs(pieces)))
    return off


def _adam_in_blocks() -> float:
    rng, size = np.random.default_rng(37), arrays.BLOCK + 5_003
    theta, grad = rng.normal(size=size), rng.normal(size=size)
    pieces, half = theta.copy(), arrays.BLOCK // 2
    optimizers.Adam(0.1).step(theta, grad)
    for i in range(0, size, half):
        optimizers.Adam(0.1).step(pieces[i : i + half], grad[i : i + half])
    return worst(np.abs(theta - pieces))


def _norms() -> float:
    """The chi density's mean and standard deviation by the trapezoid rule."""
    r, off = np.linspace(0.0, 30.0, 30_001)[1:], 0.0
    for K in (3, 9, 33):  # odd, so that the rule knows no end at r = 0
        log_p = (K - 1.0) * np.log(r) - 0.5 * r * r
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean = float(p @ r)
        off = worst(off, np.abs(np.subtract(walks.chi(K), (mean, math.sqrt(p @ (r - mean) ** 2)))))
    return off
