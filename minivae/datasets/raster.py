"""Outlines to grey images: how much of each pixel lies inside, exactly.

Anti-aliasing here is neither sampled nor approximated: a pixel's grey value is the area of the part
of the pixel that the outline encloses. The derivation stands in `coverage`.
"""

import numpy as np


def coverage(start: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """The share of every pixel that lies inside closed outlines made of short straight steps.

    Shapes    start, end (N, E, 2): step e of image n runs from (x, y) to (x, y); x to the right, y
              downwards, pixel (row r, column c) is the square c <= x <= c + 1, r <= y <= r + 1. The
              steps of an image must form closed outlines, in any order. Result (N, size, size)
              float64, in [0, 1] for outlines that do not cross; holes run the other way round.
    Formula   Inside a pixel, integrate over y the length to the right of the outline (Green's
              theorem, area = |sum over the steps of the integral of x dy|). A piece of a step that
              stays in pixel (r, c) and rises by dy at the mean distance f from the pixel's left
              side has
                  dy (1 - f)    to its right in this pixel,
                  dy            in every pixel farther right in row r.
              So add dy (1 - f) at (r, c) and dy f at (r, c + 1), and sum every row from the left.
    Pieces    A step of at most 1 in x and in y crosses at most one vertical and one horizontal line
              of the grid, so it falls into at most three pieces.
    Exact     up to rounding. Only +, -, *, /, floor and sums in a fixed order are used, which IEEE
              arithmetic defines to the last bit: the same steps give the same bits everywhere.
    Raises    ValueError if a step leaves the image or is longer than a pixel in x or y.
    """
    step = end - start
    if not (start.min() >= 0 and start.max() <= size and end.min() >= 0 and end.max() <= size):
        raise ValueError(f"coverage: an outline leaves the image of {size} x {size} pixels")
    if not np.abs(step).max() <= 1:
        raise ValueError(f"coverage: a step is {np.abs(step).max():.3g} > 1 pixels long")
    # Where on its way, 0 to 1, a step meets a grid line in x and in y; 0 if it meets none.
    first, last = np.floor(start), np.floor(end)
    meets = first != last
    t = np.where(meets, (np.maximum(first, last) - start) / np.where(meets, step, 1.0), 0.0)
    cuts = [np.zeros(t.shape[:2]), t.min(axis=2), t.max(axis=2), np.ones(t.shape[:2])]
    # One column more than the image: what passes the right border ends there.
    n, wide = len(start), size + 1
    page = np.zeros(n * size * wide + 1)
    origin = np.arange(n)[:, None] * size * wide
    for t0, t1 in zip(cuts[:-1], cuts[1:], strict=True):
        dy = (t1 - t0) * step[..., 1]
        middle = start + (0.5 * (t0 + t1))[..., None] * step
        # A piece on the right or lower border belongs to the last pixel.
        column, row = np.minimum(np.floor(middle), size - 1).astype(np.int64).transpose(2, 0, 1)
        f = middle[..., 0] - column
        at = (origin + row * wide + column).ravel()
        page += np.bincount(at, (dy * (1.0 - f)).ravel(), len(page))
        page += np.bincount(at + 1, (dy * f).ravel(), len(page))
    return np.abs(np.cumsum(page[:-1].reshape(n, size, wide), axis=2)[..., :size])


def to_bytes(share: np.ndarray) -> np.ndarray:
    """Shares in [0, 1] as bytes 0..255, rounded to the nearest.

    Half-covered pixels are common and 255/2 lies halfway between two bytes: the millionth lifts
    them all to 128, on whichever side of 1/2 the rounding of a sum has left them.
    """
    return np.clip(np.floor(255.0 * share + (0.5 + 1e-6)), 0.0, 255.0).astype(np.uint8)
