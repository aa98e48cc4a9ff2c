"""The figures of a cell as SVG, and whether two of them are the same picture."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

_ID = re.compile(r'(id="|url\(#|href="#)([^")]*[0-9a-f]{10})(?=[")])')
_IMAGE = re.compile(r'data:image/png;base64,([^"]*)')
_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_NUMBER = re.compile(r"(?<![\w#.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def take_figures(value: Any) -> list[str]:
    """The open figures as SVG, and the last expression if it is another one; all get closed."""
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    drawn = [_svg(figure) for figure in figures]
    plt.close("all")
    return drawn


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Date and Creator (with the patch version) would change the bytes of an unchanged drawing.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def difference(old: str, new: str) -> str | None:
    """Why two SVG drawings are not the same picture, or None if they are."""
    (frame, *parts), (new_frame, *new_parts) = _dissect(old), _dissect(new)
    if frame != new_frame:
        return "other elements, labels or styles"
    kinds = (("a coordinate", "pt", 0.05), ("a colour", "/255", 2.0), ("a pixel", "/255", 2.0))
    for (what, unit, tolerance), a, b in zip(kinds, parts, new_parts, strict=True):
        largest = float(np.abs(a - b).max(initial=0.0))
        if largest > tolerance + 1e-9:
            return f"{what} by {largest:.3g} {unit} (allowed: {tolerance:g})"
    return None


def _dissect(svg: str) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """A drawing as (everything else, coordinates, colours, pixels of the images)."""
    names: dict[str, str] = {}
    images = [_pixels(data) for data in _IMAGE.findall(svg)]
    svg = _IMAGE.sub("image", svg)
    svg = _ID.sub(lambda m: m[1] + names.setdefault(m[2], f"id{len(names)}"), svg)
    colours = [list(bytes.fromhex(colour)) for colour in _COLOUR.findall(svg)]
    svg = _COLOUR.sub("colour", svg)
    numbers = np.array([float(number) for number in _NUMBER.findall(svg)])
    frame = (_NUMBER.sub("0", svg).split(), [image.shape for image in images])
    pixels = np.concatenate([image.ravel() for image in images]) if images else np.zeros(0)
    return frame, numbers, np.array(colours, dtype=float), pixels


def _pixels(data: str) -> np.ndarray:
    png = io.BytesIO(base64.b64decode(data))
    return np.asarray(plt.imread(png, format="png"), dtype=float) * 255.0
