"""Walks through the codes as pictures: a row for each walk, the labels of its steps below."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from minivae.plots.pages import GAP, INK, ORANGE, framed, mosaic, white
from minivae.plots.pictures import MEANS

LETTER = 0.065  # inches of a letter beside a row


def interpolation(
    walks: Mapping[str, np.ndarray],
    ends: np.ndarray,
    image_shape: tuple[int, ...],
    times: np.ndarray,
) -> Figure:
    """Decoded walks between the codes of two images, which stand at both ends of every row.

    Shapes  walks: by name, each (P, T, D) for P pairs of images; ends (P, 2, D), times (T,).
    """
    rows = np.concatenate([np.stack(pair) for pair in zip(*walks.values(), strict=True)])
    first, last = (np.repeat(ends[:, i], len(walks), axis=0) for i in (0, 1))
    gaps = ([GAP] * (len(walks) - 1) + [image_shape[0] // 3]) * len(ends)
    page, middles = _strips(rows, image_shape, gaps, first, last)
    figure = framed(
        page, f"walks between the mean codes of two held-out images ({MEANS})",
        LETTER * max(len(name) for name in walks), 0.5,
    )  # fmt: skip
    centres = _centres(len(times), image_shape, tail=True)
    ticks = ["image", *(f"{t:.2g}" for t in times), "image"]
    _label(figure, middles, list(walks) * len(ends), centres, ticks, "t, from code to code")
    return figure


def traversal(
    images: np.ndarray,
    image_shape: tuple[int, ...],
    names: Sequence[str],
    values: np.ndarray,
    own: tuple[np.ndarray, np.ndarray],
    what: str,
) -> Figure:
    """A row for each latent that is changed alone; orange marks the value of the image itself.

    Shapes  images (R, T, D), names (R,), values (T,); own: the image's reconstruction (D,), which
            stands before every row, and its values (R,) on the scale of ``values``.
    what    the values are, with their spacing.
    """
    gap = max(2, image_shape[0] // 5)
    lead = np.repeat(own[0][None], len(images), axis=0)
    page, middles = _strips(images, image_shape, [gap] * len(images), lead)
    page = np.concatenate(
        [white(gap, page.shape[1], image_shape), page]
    )  # for the first row's mark
    middles = [middle + gap for middle in middles]
    title = "each latent changed alone, the others at the image's mean code"
    title += f"\n({MEANS}; orange: the value of the image)"
    figure = framed(page, title, LETTER * max(len(name) for name in names), 0.5)
    centres = _centres(len(values), image_shape)
    ticks = ["own code", *(f"{v:.2g}" for v in values)]
    _label(figure, middles, names, centres, ticks, what)
    places = np.interp(own[1], values, centres[1:])
    tops = [middle - (image_shape[0] + gap) / 2 for middle in middles]
    figure.axes[0].scatter(places, tops, marker="v", s=10, color=ORANGE, zorder=3, clip_on=False)
    return figure


def cells(
    images: np.ndarray,
    image_shape: tuple[int, ...],
    names: Sequence[str],
    title: str,
    columns: int = 5,
) -> Figure:
    """Images (N, D) beside each other, the name of each below it."""
    columns = min(columns, len(images))
    height, width = image_shape[:2]
    gap = max(2, round(0.25 * columns * width / 10))  # room for a line of text
    rows = [
        mosaic(images[start : start + columns], image_shape, columns)
        for start in range(0, len(images), columns)
    ]
    below = white(gap, rows[0].shape[1], image_shape)
    page = np.concatenate([part for row in rows for part in (row, below)])
    figure = framed(page, title)
    for i, name in enumerate(names):
        x = i % columns * (width + GAP) + width / 2 - 0.5
        y = i // columns * (height + gap) + height + gap / 2 - 0.5
        figure.axes[0].text(x, y, name, fontsize=8, ha="center", va="center", color=INK)
    return figure


def _strips(
    rows: np.ndarray,
    image_shape: tuple[int, ...],
    gaps: Sequence[int],
    lead: np.ndarray,
    tail: np.ndarray | None = None,
) -> tuple[np.ndarray, list[float]]:
    """Rows of images (R, T, D) below each other as one page, and where their middles are, (R,).

    gaps        (R,) pixels of white below each row; the last row has none.
    lead, tail  images (R, D) beside the rows.
    """
    height, T = image_shape[0], rows.shape[1]
    aside, parts = white(height, _aside(image_shape), image_shape), list[np.ndarray]()
    for i, row in enumerate(rows):
        strip = [mosaic(lead[i : i + 1], image_shape, 1), aside, mosaic(row, image_shape, T)]
        if tail is not None:
            strip += [aside, mosaic(tail[i : i + 1], image_shape, 1)]
        parts.append(np.concatenate(strip, axis=1))
        parts.append(white(gaps[i], parts[-1].shape[1], image_shape))
    tops = np.cumsum([0, *(height + gap for gap in gaps[:-1])])
    return np.concatenate(parts[:-1]), [float(top + height / 2 - 0.5) for top in tops]


def _aside(image_shape: tuple[int, ...]) -> int:
    """Pixels of white between a row and the image that stands beside it."""
    return max(2, image_shape[1] // 3)


def _centres(T: int, image_shape: tuple[int, ...], tail: bool = False) -> list[float]:
    """Where the columns of `_strips` have their centres, from the left."""
    width, aside = image_shape[1], _aside(image_shape)
    starts = [0, *(width + aside + i * (width + GAP) for i in range(T))]
    if tail:
        starts.append(starts[-1] + width + aside)
    return [start + width / 2 - 0.5 for start in starts]


def _label(
    figure: Figure,
    rows: Sequence[float],
    names: Sequence[str],
    columns: Sequence[float],
    ticks: Sequence[str],
    what: str,
) -> None:
    """Names beside the rows and ticks below the columns, without a frame."""
    plane = figure.axes[0]
    plane.set_axis_on()
    plane.spines[:].set_visible(False)
    plane.tick_params(length=0, pad=4, labelcolor=INK, labelsize=8)
    plane.set_yticks(rows, names)
    plane.set_xticks(columns, ticks)
    plane.set_xlabel(what, fontsize=9, color=INK)
