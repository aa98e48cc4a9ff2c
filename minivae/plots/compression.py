"""Bytes of a code against the error of what is decoded from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from minivae.evaluation.compression import Compressed
from minivae.plots.pages import BLUE, INK, ORANGE


def compression(curves: Mapping[str, Sequence[Compressed]], D: int, unit: str = "image") -> Figure:
    """One curve for each code: bytes really written, and the entropy of the numbers.

    curves  the points of `compression_curve` by name
    D       numbers of an example: the axis at the top is in bits for each
    unit    what an example is called
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    plane = figure.add_subplot()
    for (name, points), colour in zip(curves.items(), (BLUE, ORANGE, INK), strict=False):
        mse = [p.error.mean for p in points]
        written = [p.bytes for p in points]
        plane.plot(written, mse, "o-", color=colour, lw=1.3, ms=4, label=f"{name}, written")
        plane.errorbar(
            [p.entropy.mean for p in points], mse, [p.error.standard_error for p in points],
            [p.entropy.standard_error for p in points], "x:", color=colour, lw=1.0, ms=4,
            label=f"{name}, entropy",
        )  # fmt: skip
    scale: tuple[Any, Any] = (lambda size: 8.0 * size / D, lambda bits: D * bits / 8.0)
    top = plane.secondary_xaxis("top", scale)
    top.set_xlabel("bits per dimension", fontsize=8)
    top.tick_params(labelsize=8)
    plane.set_xlabel(f"bytes per {unit}")
    plane.set_ylabel("squared error per dimension")
    plane.set_ylim(bottom=0.0)
    plane.legend(fontsize=8)
    return figure
