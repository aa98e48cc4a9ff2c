"""Known factors: what each latent says about each, and the gap of a code that is turned."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from minivae.plots.pages import INK


def factor_shares(
    information: np.ndarray, entropy: np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """The share of each factor's entropy that each latent tells, as a table of shades.

    information  (K, F) in nats; entropy (F,) in nats; names of the factors.
    """
    share = information / entropy
    K, F = share.shape
    figure = Figure(figsize=(2.6 + 0.85 * F, 1.7 + 0.32 * K), layout="constrained")
    plane = figure.add_subplot()
    shown = plane.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for (k, f), value in np.ndenumerate(share):
        colour = "white" if value > 0.6 else INK
        plane.text(f, k, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    labels = [f"{name}\n{h:.2f} nats" for name, h in zip(names, entropy, strict=True)]
    plane.set_xticks(range(F), labels, fontsize=8)
    plane.set_yticks(range(K), [f"latent {k + 1}" for k in range(K)], fontsize=8)
    plane.set_xlabel("factor and its entropy")
    plane.set_title(title, fontsize=10)
    figure.colorbar(shown, ax=plane, label="I(latent; factor) / H(factor)")
    return figure


def rotation(angles: np.ndarray, gaps: Mapping[float, np.ndarray]) -> Figure:
    """The mutual information gap against the angle by which an ideal code was turned.

    angles  (A,) in radians; gaps (A,) for each standard deviation of q.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    plane = figure.add_subplot()
    colours = colormaps["viridis"](np.linspace(0.0, 0.8, len(gaps)))
    for (sigma, gap), colour in zip(gaps.items(), colours, strict=True):
        plane.plot(np.degrees(angles), gap, color=colour, lw=1.4, label=f"{sigma:g}")
    plane.axvline(math.degrees(math.pi / 4), color=INK, lw=0.8, ls=":")
    plane.set_xticks(range(0, 91, 15))
    plane.set_ylim(-0.02, 1.02)
    plane.set_xlabel("angle [degrees]")
    plane.set_ylabel("mutual information gap")
    plane.set_title("two equal factors, the same code turned", fontsize=10)
    plane.legend(title="sigma of q, in standard\ndeviations of a factor", fontsize=8,
        title_fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))  # fmt: skip
    return figure
