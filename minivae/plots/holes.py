"""Holes: the density of the codes under the prior's contours, and lines that run across."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minivae.evaluation.holes import Crossing
from minivae.plots.pages import BLUE, INK, ORANGE, mosaic

SIDE = 4.6
"""Inches of each of the two columns."""

GRID = 100
"""Places along each side of the plane at which the density is computed."""

DARK = 7.0
"""Nats below the peak of the density that are told apart: e^-7 is a thousandth."""


def holes(
    log_prob: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    crossing: Crossing,
    samples: Mapping[str, np.ndarray] | None = None,
    image_shape: tuple[int, ...] = (),
    names: Sequence[str] = ("latent 1", "latent 2"),
) -> Figure:
    """The aggregated posterior of two latents, lines through it, and what is decoded from priors.

    log_prob  log density of those two latents, (n, 2) to (n,), in nats
    points    (N, 2) codes that are drawn as dots
    crossing  log densities along lines between codes, in all latents
    samples   images (n, D) by the name of the prior that their codes were drawn from
    """
    pages = {name: mosaic(images, image_shape, 10) for name, images in (samples or {}).items()}
    below = max((SIDE * len(page) / page.shape[1] + 0.4 for page in pages.values()), default=0.0)
    figure = Figure(figsize=(2.0 * SIDE, 4.3 + below), layout="constrained")
    top, *bottom = figure.subfigures(
        1 + bool(pages), 1, height_ratios=[4.3, below][: 1 + bool(pages)], squeeze=False
    )[:, 0]
    left, right = top.subplots(1, 2, width_ratios=[1.15, 1.0])
    _plane(left, log_prob, points, names)
    _lines(right, crossing)
    if pages:
        planes = bottom[0].subplots(1, len(pages), squeeze=False)[0]
        for plane, (name, page) in zip(planes, pages.items(), strict=True):
            _page(plane, page, f"means of p(x|z), z from {name}")
    return figure


def _page(plane: Axes, page: np.ndarray, title: str) -> None:
    page = page.clip(0.0, 1.0)  # in grey the limits of the colours would do it
    plane.imshow(page, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    plane.set_axis_off()
    plane.set_title(title, fontsize=9)


def _plane(plane: Axes, log_prob: Callable, points: np.ndarray, names: Sequence[str]) -> None:
    """log q(z) as shades, the prior's circles, the codes as dots."""
    # The farthest codes may be alone: the frame holds 99 % of them, and the prior.
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    middle, half = (low + high) / 2, max(3.2, 0.55 * float((high - low).max()))
    reach = max(half, 3.2 + float(np.abs(middle).max())) if np.abs(middle).max() < 3.2 else half
    across, up = (np.linspace(m - reach, m + reach, GRID) for m in middle)
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    log = log_prob(grid).reshape(GRID, GRID)
    shown = plane.imshow(
        np.maximum(log - log.max(), -DARK), origin="lower", cmap="Blues", interpolation="bilinear",
        extent=(across[0], across[-1], up[0], up[-1]), aspect="equal",
    )  # fmt: skip
    plane.plot(points[:, 0], points[:, 1], ".", color=ORANGE, ms=2.0, alpha=0.6, label="codes")
    angle = np.linspace(0.0, 2.0 * math.pi, 200)
    for mass, style in ((0.5, "--"), (0.95, ":")):
        r = math.sqrt(-2.0 * math.log(1.0 - mass))
        name = f"{mass:.0%} of N(0, I)"
        plane.plot(r * np.cos(angle), r * np.sin(angle), style, color=INK, lw=1, label=name)
    plane.set_xlim(across[0], across[-1])
    plane.set_ylim(up[0], up[-1])
    plane.set_xlabel(names[0])
    plane.set_ylabel(names[1])
    plane.set_title("density of the codes", fontsize=10)
    plane.legend(fontsize=7, loc="upper right")
    bar = plane.figure.colorbar(shown, ax=plane, shrink=0.8)
    bar.set_label(f"log density below its peak [nats], white: {DARK:g} or more", fontsize=8)


def _lines(plane: Axes, crossing: Crossing, most: int = 40) -> None:
    """Each line's log density, counted from its lower end."""
    below = crossing.log - np.minimum(crossing.log[:, :1], crossing.log[:, -1:])
    fall = below.min(axis=1)
    # Of many pairs, some evenly spaced from the deepest fall to the least.
    order = np.argsort(fall)
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).astype(int)]
    deepest = min(float(fall.min()), -1e-9)
    for i in order[::-1]:
        colour = colormaps["plasma"](0.85 * (1.0 - fall[i] / deepest))
        plane.plot(crossing.times, below[i], color=colour, lw=0.8)
    plane.plot(crossing.times, np.median(below, axis=0), color=BLUE, lw=2.2, label="median")
    plane.axhline(0.0, color=INK, lw=0.8, ls=":")
    plane.set_xlabel("place on the straight line between two codes")
    plane.set_ylabel("log density above the lower end [nats]")
    depth = crossing.depth
    what = f"mean fall {depth.mean:.2f} $\\pm$ {depth.standard_error:.2f} nats"
    plane.set_title(what, fontsize=10)
    plane.legend(fontsize=8)
