"""The collapse laboratory as one picture: every cause a row, every cure a column."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minivae.plots.pages import BLUE, INK, ORANGE

DARKEST = 1.0
"""Nats of KL per latent at which a cell is darkest."""


def collapse(results: Mapping[tuple[str, str], Any]) -> Figure:
    """KL per latent over time, active units and mutual information of every experiment.

    A panel for each (cause, cure): a row of the map is a latent, the one with the largest KL at the
    end on top, and time runs to the right.  The line above it is the mutual information.  Where the
    loss is no bound the panel says so.

    results  (cause, cure) -> a `minivae.lab.collapse.Result`.
    """
    causes = list(dict.fromkeys(cause for cause, _ in results))
    cures = list(dict.fromkeys(cure for _, cure in results))
    size = (1.5 + 1.6 * len(cures), 0.9 + 1.75 * len(causes))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(2 * len(causes), len(cures), squeeze=False, sharex="col",
                           gridspec_kw={"height_ratios": [1, 2] * len(causes)})  # fmt: skip
    top = max(look.mutual_information.mean for r in results.values() for look in r.looks)
    image: Any = None
    for i, cause in enumerate(causes):
        for j, cure in enumerate(cures):
            above, below = grid[2 * i, j], grid[2 * i + 1, j]
            if (cause, cure) not in results:
                above.axis("off")
                below.axis("off")
                continue
            result = results[cause, cure]
            _information(above, result, max(top, 0.5))
            image = _latents(below, result)
            first = next(c for c in causes if (c, cure) in results)  # that a column begins with
            head = f"{cure}\n" if cause == first else ""
            above.set_title(head + _told(result), fontsize=8)
            if i < len(causes) - 1:
                below.tick_params(labelbottom=False)
            else:
                below.set_xlabel("epoch", fontsize=8)
        shown = next(result for (c, _), result in results.items() if c == cause)
        _name_row(grid[2 * i, 0], grid[2 * i + 1, 0], shown)
    bar = figure.colorbar(image, ax=grid, aspect=50, pad=0.01, extend="max")
    bar.set_label("KL of a latent [nats per image]", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _told(result: Any) -> str:
    last = result.last
    return f"{last.active} active, I {abs(last.mutual_information.mean):.1f} nats"


def _name_row(above: Axes, below: Axes, result: Any) -> None:
    above.set_ylabel("I [nats]", fontsize=7, color=BLUE)
    above.tick_params(labelleft=True)
    name = result.cause if result.is_bound else f"{result.cause}\n(no bound)"
    below.set_ylabel(name, fontsize=9, color=INK)


def _information(plane: Axes, result: Any, top: float) -> None:
    """The mutual information over time, with a band of two standard errors."""
    epochs = [look.epoch for look in result.looks]
    mean = np.array([look.mutual_information.mean for look in result.looks])
    error = np.array([look.mutual_information.standard_error for look in result.looks])
    colour = BLUE if result.is_bound else ORANGE
    plane.fill_between(epochs, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, lw=0)
    plane.plot(epochs, mean, color=colour, lw=1.2)
    plane.set_ylim(-0.05 * top, 1.1 * top)
    plane.tick_params(labelsize=6, labelbottom=False, labelleft=False)


def _latents(plane: Axes, result: Any) -> Any:
    """A map of the KL: latents down, epochs to the right."""
    kl = np.stack([look.kl for look in result.looks], axis=1)  # (K, looks)
    order = np.argsort(-kl[:, -1], kind="stable")
    image = plane.pcolormesh(
        _edges([look.epoch for look in result.looks]), np.arange(len(kl) + 1), kl[order],
        cmap="Greys", vmin=0.0, vmax=DARKEST,
    )  # fmt: skip
    plane.invert_yaxis()
    plane.set_yticks([])
    plane.tick_params(labelsize=6)
    return image


def _edges(epochs: Sequence[int]) -> np.ndarray:
    """Borders between neighbours, from the first epoch to the last."""
    middle = np.asarray(epochs, float)
    if len(middle) == 1:
        return np.array([middle[0] - 0.5, middle[0] + 0.5])
    return np.concatenate([middle[:1], 0.5 * (middle[1:] + middle[:-1]), middle[-1:]])
