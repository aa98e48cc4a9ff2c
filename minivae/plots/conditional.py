"""What a conditional model draws: one style in all classes, and completed images."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from minivae.plots.pages import GAP, INK, mosaic, picture


def styles(
    images: np.ndarray, image_shape: tuple[int, ...], names: Sequence[str], title: str
) -> Figure:
    """A row for each style, a column for each class, whose name stands below it.

    Shapes  images (R, C, D), C names.
    """
    page = mosaic(images.reshape(-1, images.shape[-1]), image_shape, images.shape[1])
    figure = picture(page, title)
    _columns(figure, image_shape, names)
    return figure


def completions(
    given: np.ndarray, known: np.ndarray, drawn: np.ndarray, truth: np.ndarray,
    image_shape: tuple[int, ...], shown: str = "",
) -> Figure:  # fmt: skip
    """A row for each image: what is given, several completions of it, and the image itself.

    What is not given is half-grey in the first column.

    Shapes  given and truth (N, D), known (D,) bool, drawn (N, S, D).
    shown   what the completions are, for the title.
    """
    asked = np.where(known, given, 0.25)
    page = np.concatenate([asked[:, None], drawn, truth[:, None]], axis=1)
    columns = page.shape[1]
    mosaiced = mosaic(page.reshape(-1, page.shape[-1]), image_shape, columns)
    title = "what is given, completions of it, and the image"
    figure = picture(mosaiced, f"{title} ({shown})" if shown else title)
    names = ["given", *([""] * (columns - 2)), "image"]
    names[columns // 2] = "drawn from p(x|y)" if columns > 2 else names[columns // 2]
    _columns(figure, image_shape, names)
    return figure


def _columns(figure: Figure, image_shape: tuple[int, ...], names: Sequence[str]) -> None:
    """Names below the columns of a mosaic."""
    axes = figure.axes[0]
    axes.set_axis_on()
    axes.set_yticks([])
    width = image_shape[1] + GAP
    axes.set_xticks([i * width + (width - GAP - 1) / 2 for i in range(len(names))], names)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
