"""Many images as one page, ink on paper, and the Figure that shows it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, BLUE, ORANGE = "#333333", "#2a6fbb", "#d9772b"
GAP = 1  # pixels of white between two images of a mosaic
WIDTH = 7.0  # inches of a figure


def mosaic(images: np.ndarray, image_shape: tuple[int, ...], columns: int) -> np.ndarray:
    """Images (N, D) as one picture, row by row, ``columns`` beside each other, white between them.

    In grey ink is 1 and paper 0, as in the data, and the gaps are 0; in colour (H, W, 3) light is 1
    and so are the gaps.
    """
    height, width = image_shape[:2]
    rows = -(-len(images) // columns)
    step_y, step_x = height + GAP, width + GAP
    page = white(rows * step_y - GAP, columns * step_x - GAP, image_shape)
    for i, image in enumerate(images):
        y, x = i // columns * step_y, i % columns * step_x
        page[y : y + height, x : x + width] = image.reshape(image_shape)
    return page


def white(height: int, width: int, image_shape: tuple[int, ...]) -> np.ndarray:
    """A page without images: (height, width), and the channels of the images if they have some."""
    return np.full((height, width, *image_shape[2:]), 1.0 if image_shape[2:] else 0.0)


def stacked(pages: Sequence[np.ndarray], gap: int) -> np.ndarray:
    """Pages of one width below each other, ``gap`` pixels of white between them."""
    first = pages[0]
    between = white(gap, first.shape[1], first.shape)
    return np.concatenate([part for page in pages for part in (page, between)][:-1])


def picture(page: np.ndarray, title: str) -> Figure:
    """A page as a figure."""
    height, width = page.shape[:2]
    figure = Figure(figsize=(WIDTH, WIDTH * height / width + 0.4), layout="constrained")
    _show(figure.add_subplot(), page, title)
    return figure


def framed(page: np.ndarray, title: str, left: float = 0.0, below: float = 0.0) -> Figure:
    """A page as a figure with room for labels, everything at a fixed place.

    So the frames of an animation lie on each other, and no layout has to be solved for each.

    left, below  inches beside and below the page.
    """
    height, width = page.shape[:2]
    shown, margin, top = WIDTH - left - 0.2, 0.1, 0.15 + 0.17 * (1 + title.count("\n"))
    size = shown * height / width
    total = below + margin + size + top
    figure = Figure(figsize=(WIDTH, total))
    place = ((left + margin) / WIDTH, (below + margin) / total, shown / WIDTH, size / total)
    _show(figure.add_axes(place), page, title)
    return figure


def _show(plane: Axes, page: np.ndarray, title: str) -> None:
    if page.ndim == 3:
        page = page.clip(0.0, 1.0)  # in grey the limits of the colours do it
    plane.imshow(page, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    plane.set_axis_off()
    plane.set_title(title, fontsize=10, color=INK)
