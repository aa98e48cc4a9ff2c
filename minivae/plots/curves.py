"""Numbers as pictures: where the codes lie, which latents are used, how a run went."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from minivae.plots.pages import BLUE, INK, ORANGE
from minivae.training import TERMS


def latents(
    means: np.ndarray,
    labels: np.ndarray,
    axes: tuple[int, int] = (0, 1),
    prior: bool = True,
    limit: int = 5000,
    names: Sequence[str] = tuple("0123456789"),
    seen: str = "not seen in training",
) -> Figure:
    """The mean code of each example, coloured by its label; two latents of means (N, K).

    prior  draw the circles that hold 50 % and 95 % of N(0, 1) in two dimensions.
    names  of the labels 0, 1, ...
    seen   what the model knows of them, for the legend.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    plane = figure.add_subplot()
    i, j = axes
    count = len(names)
    colours = colormaps["tab10"](np.arange(count)) if count <= 10 else _around(count)
    dots = plane.scatter(
        means[:limit, i], means[:limit, j], c=labels[:limit], s=7,
        cmap=ListedColormap(colours), vmin=-0.5, vmax=count - 0.5,
    )  # fmt: skip
    if np.ptp(labels):  # data without labels have 0 throughout
        what = f"label ({seen})"
        bar = figure.colorbar(dots, ax=plane, ticks=range(count), label=what)
        bar.ax.set_yticklabels(names)
    if prior:
        angle = np.linspace(0.0, 2.0 * math.pi, 200)
        for mass, style in ((0.5, "--"), (0.95, ":")):
            r = math.sqrt(-2.0 * math.log(1.0 - mass))  # the radius is Rayleigh distributed
            name = f"{mass:.0%} of the prior"
            plane.plot(r * np.cos(angle), r * np.sin(angle), style, color=INK, lw=1, label=name)
        plane.legend(loc="upper right", fontsize=8)
    plane.set_aspect("equal", adjustable="datalim")
    what = "mean of latent" if prior else "code"
    plane.set_xlabel(f"{what} {i + 1}")
    plane.set_ylabel(f"{what} {j + 1}")
    plane.set_title("where held-out images lie", fontsize=10)
    return figure


def kl_per_latent(kl: np.ndarray) -> Figure:
    """The KL of every latent, averaged over the data, largest first: which of them are used.

    kl  (K,) in nats.
    """
    figure = Figure(figsize=(3.6 + 0.16 * len(kl), 3.2), layout="constrained")
    plane = figure.add_subplot()
    order = np.argsort(-kl)
    plane.bar(range(len(kl)), kl[order], color=BLUE)
    plane.set_xticks(range(len(kl)), [str(i + 1) for i in order], fontsize=8)
    plane.set_xlabel("latent, largest first")
    plane.set_ylabel("KL to the prior [nats per image]")
    plane.set_title(f"together {kl.sum():.1f} nats per image", fontsize=10)
    return figure


def curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """The history of a run: a panel for each term that it has, the bounds first."""
    panels = [(term, name) for term, name in TERMS.items() if f"train_{term}" in history[0]]
    figure = Figure(figsize=(3.6 * len(panels) + 0.4, 3.2), layout="constrained")
    epochs = [row["epoch"] for row in history]
    planes = np.atleast_1d(figure.subplots(1, len(panels)))
    for plane, (term, name) in zip(planes, panels, strict=True):
        late: list[float] = []
        for part, colour in (("train", BLUE), ("valid", ORANGE)):
            column = f"{part}_{term}"
            if column in history[0]:
                values = [row[column] for row in history]
                dot = "o" if len(values) == 1 else ""  # a line needs two points
                plane.plot(epochs, values, marker=dot, color=colour, label=part, lw=1.2)
                late += values[len(values) // 20 :]
        margin = 0.05 * (max(late) - min(late)) + 1e-3
        # The first epochs fall from far away and would hide all that comes after.
        plane.set_ylim(min(late) - margin, max(late) + margin)
        plane.set_xlabel("epoch (the first may lie below)")
        plane.set_ylabel("nats per image")
        plane.set_title(name, fontsize=10)
        plane.legend(fontsize=8)
    return figure


def _around(count: int) -> np.ndarray:
    """Colours for many classes: around the circle of hues, light and dark by turns; (count, 4)."""
    colours = colormaps["hsv"](np.arange(count) / count)
    colours[:, :3] *= np.where(np.arange(count) % 2, 0.6, 0.95)[:, None]
    return colours
