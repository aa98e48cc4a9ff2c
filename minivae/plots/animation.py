"""Figures one after the other, as an animated GIF."""

import io
from collections.abc import Iterable

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

STEP, HOLD = 100, 600  # milliseconds of a frame, and of the first and the last


def gif(figures: Iterable[Figure], step: int = STEP, hold: int = HOLD, dpi: int = 100) -> bytes:
    """An animated GIF that plays figures of one size there and back, for ever.

    n figures are 2n - 2 frames, because the way back leaves out both ends.  The figures may be
    drawn one at a time, by a generator.

    step, hold  milliseconds that a frame is shown, and the two ends; GIF counts in hundredths of a
                second, and many viewers slow down what is faster than 20 ms.
    """
    there = [_pixels(figure, dpi) for figure in figures]
    frames = there + there[-2:0:-1]
    times = [hold if i in (0, len(there) - 1) else step for i in range(len(frames))]
    buffer = io.BytesIO()
    # disposal and optimize as they are: a frame that equals its neighbour would be merged with it
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
    )  # fmt: skip
    return buffer.getvalue()


def _pixels(figure: Figure, dpi: int) -> Image.Image:
    """The figure in grey if it has no colours: all 256 that a GIF can hold are greys then."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    grey = (pixels == pixels[:, :, :1]).all()
    return Image.fromarray(pixels[:, :, 0]) if grey else Image.fromarray(pixels).quantize(256)
