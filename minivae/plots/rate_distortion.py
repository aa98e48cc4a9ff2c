"""A sweep of the KL weight as a curve: rate against distortion, and Shannon's curve below it."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minivae import exact
from minivae.evaluation import RatePoint, lower_hull
from minivae.plots.pages import BLUE, INK, ORANGE

TANGENT = 0.07  # half the length of a tangent, as a part of the panel


def rate_distortion(
    kl_weights: Sequence[float],
    points: Sequence[RatePoint],
    shannon: np.ndarray | None = None,
    linear: Sequence[tuple[float, float]] = (),
) -> Figure:
    """The points of a sweep with their lower convex hull; a linear sweep on Shannon's curve, too.

    kl_weights, points  (n,) by rising weight.
    shannon             (D,) eigenvalues of the data's covariance; without them there is no second
                        panel.
    linear              rate in nats and squared error of each linear VAE on those data.
    """
    panels = 1 if shannon is None else 2
    figure = Figure(figsize=(5.6 * panels, 4.6), layout="constrained")
    planes = np.atleast_1d(figure.subplots(1, panels))
    _plane(planes[0], kl_weights, points)
    if shannon is not None:
        _curve(planes[1], kl_weights, np.asarray(shannon), linear)
    return figure


def _plane(plane: Axes, kl_weights: Sequence[float], points: Sequence[RatePoint]) -> None:
    """Rate against distortion: points, their errors, the hull, a tangent of slope -beta at each."""
    R, D = (np.array([getattr(p, name).mean for p in points]) for name in ("rate", "distortion"))
    errors = [
        np.nan_to_num([getattr(p, name).standard_error for p in points])
        for name in ("rate", "distortion")
    ]
    corners = lower_hull(R, D)
    above = sorted(set(range(len(R))) - set(corners))
    plane.errorbar(R, D, errors[1], errors[0], fmt="none", ecolor="0.7", lw=1, zorder=1)
    plane.plot(R[corners], D[corners], "-", color=BLUE, lw=1, zorder=2,
               label="lower convex hull: all that a sweep can find")  # fmt: skip
    plane.plot(R[corners], D[corners], "o", color=BLUE, ms=5, zorder=3)
    if above:
        plane.plot(R[above], D[above], "o", color=ORANGE, ms=5, zorder=3,
                   label="above the hull: the best for no KL weight")  # fmt: skip
    _limits(plane, R, D)
    _tangents(plane, kl_weights, R, D)
    for weight, r, d in zip(kl_weights, R, D, strict=True):
        plane.annotate(f"{weight:g}", (r, d), (5, 5), textcoords="offset points", fontsize=8,
                       color=INK)  # fmt: skip
    plane.set_xlabel("rate: KL to the prior [nats per image]")
    plane.set_ylabel("distortion: $-E_q$ log p(x|z) [nats per image]")
    plane.set_title("held-out images; the numbers are KL weights", fontsize=10)
    plane.legend(fontsize=8, loc="upper right")


def _limits(plane: Axes, R: np.ndarray, D: np.ndarray) -> None:
    """Room for labels and tangents, also where all points are one."""
    for values, limit in ((R, plane.set_xlim), (D, plane.set_ylim)):
        margin = 0.14 * (values.max() - values.min()) or 1.0
        limit(values.min() - margin, values.max() + margin)


def _tangents(plane: Axes, kl_weights: Sequence[float], R: np.ndarray, D: np.ndarray) -> None:
    """A short line of slope -beta through each point, equally long on paper."""
    width, height = np.diff(plane.get_xlim())[0], np.diff(plane.get_ylim())[0]
    label: str | None = "slope minus the KL weight"
    for weight, r, d in zip(kl_weights, R, D, strict=True):
        t = TANGENT / math.hypot(1.0 / width, weight / height)
        plane.plot([r - t, r + t], [d + weight * t, d - weight * t], "--", color=INK, lw=0.8,
                   zorder=2, label=label)  # fmt: skip
        label = None


def _curve(
    plane: Axes,
    kl_weights: Sequence[float],
    eigenvalues: np.ndarray,
    linear: Sequence[tuple[float, float]],
) -> None:
    """Shannon's curve of a Gaussian source with this covariance, and the linear VAEs on it."""
    rates = np.array([rate for rate, _ in linear])
    positive = eigenvalues[eigenvalues > 0.0]
    lowest = min(error for _, error in linear) / len(eigenvalues)  # the level is at least this
    levels = np.geomspace(min(lowest, positive[0]), positive[0], 300)
    curve = [exact.reverse_water_filling(eigenvalues, float(level)) for level in levels]
    keep = [p for p in curve if p.rate <= 1.2 * max(rates.max(), 1e-9)]
    plane.plot([p.rate for p in keep], [p.distortion for p in keep], "-", color=INK, lw=1,
               label="Shannon: no code of a Gaussian source lies below")  # fmt: skip
    plane.plot(rates, [error for _, error in linear], "o", color=BLUE, ms=5,
               label="linear VAEs, trained")  # fmt: skip
    for weight, (rate, error) in zip(kl_weights, linear, strict=True):
        plane.annotate(f"{weight:g}", (rate, error), (5, 5), textcoords="offset points",
                       fontsize=8, color=INK)  # fmt: skip
    plane.set_xlabel("rate: KL to the prior [nats per image]")
    plane.set_ylabel(r"squared error: $E_q |x - \hat x(z)|^2$ per image")
    plane.set_title("training images, as Shannon's curve", fontsize=10)
    plane.legend(fontsize=8, loc="upper right")
