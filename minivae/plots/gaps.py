"""The anatomy of the gap: how it closes with steps of refinement, and what it is made of."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from minivae.plots.pages import BLUE, INK, ORANGE

GREY = "0.75"


def gap_curve(
    marks: np.ndarray, gap: np.ndarray, error: np.ndarray, level: float, full: float
) -> Figure:
    """The mean gap after so many steps of refinement, and the levels that it falls to.

    marks, gap, error  (T,) steps, the mean of log p(x) - ELBO in nats, and its standard error over
                       the examples
    level              the approximation gap of the diagonal family
    full               that of the Gaussians with any covariance
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    plane = figure.add_subplot()
    dot = "o-" if len(marks) > 1 else "o"
    plane.errorbar(marks, gap, error, fmt=dot, color=BLUE, ms=4, lw=1.2, label="refined q")
    lines = ((level, "--", "best diagonal: approximation gap"), (full, ":", "best covariance"))
    for height, style, name in lines:
        plane.axhline(height, color=INK, ls=style, lw=1, label=name)
    plane.set_xscale("symlog", linthresh=1)
    plane.set_xlim(-0.2, 1.2 * max(1, marks[-1]))
    shown = [m for m in marks.tolist() if m == marks[-1] or str(m)[0] == "1" or m == 0]
    plane.set_xticks(shown, [str(m) for m in shown])
    plane.set_xticks([], minor=True)
    plane.set_ylim(bottom=min(0.0, float(gap.min()), full))
    plane.set_xlabel("steps of refinement for each example; 0: the encoder")
    plane.set_ylabel("log p(x) - ELBO [nats per example]")
    plane.legend(fontsize=8)
    return figure


def gap_bars(names: Sequence[str], parts: np.ndarray, error: np.ndarray) -> Figure:
    """What the gap of each class is made of: a bar in three pieces.

    names  of the C classes
    parts  (3, C) in nats: what no Gaussian can avoid, what no diagonal one can, and what the
           encoder loses.  A piece that came out below zero is drawn as none.
    error  (C,) standard error of the whole gap over the examples of the class; nan for one.
    """
    figure = Figure(figsize=(2.6 + 0.42 * len(names), 3.4), layout="constrained")
    plane = figure.add_subplot()
    labels = ("approximation, any Gaussian", "approximation, diagonal only", "amortisation")
    bottom, at = np.zeros(len(names)), range(len(names))
    for piece, label, colour in zip(parts, labels, (GREY, ORANGE, BLUE), strict=True):
        height = np.maximum(piece, 0.0)
        plane.bar(at, height, 0.75, bottom, color=colour, label=label)
        bottom = bottom + height
    plane.errorbar(at, bottom, np.nan_to_num(error), fmt="none", ecolor=INK, lw=1)
    plane.set_xticks(at, list(names))
    plane.set_ylim(0.0, 1.35 * max(1e-6, float((bottom + np.nan_to_num(error)).max())))
    plane.set_xlabel("class")
    plane.set_ylabel("log p(x) - ELBO [nats per example]")
    plane.legend(fontsize=8, loc="upper left")
    return figure
