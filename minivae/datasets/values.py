"""Numbers as they are stored, and as a model takes them: float32, finite, perhaps in [0, 1].

A place in the data is (row, column), both counted from 0, in the flat form (N, D).
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from minivae.arrays import Array

BLOCK = 2**22
"""Numbers that a pass over the data holds at a time: 16 MB of float32."""


def require_numbers(dtype: np.dtype) -> None:
    """Raise a ValueError unless `dtype` is of real numbers: floats, whole numbers or booleans."""
    if dtype.kind not in "fiub":
        raise ValueError(f"expected real numbers, got an array of {dtype}")


def floats(raw: np.ndarray) -> np.ndarray:
    """What stored numbers stand for, as flat rows.

        uint8    v / 255: grey values of images in [0, 1]
        bool     0 or 1
        others   the number itself, in float32 (one beyond its range becomes infinite)

    Shapes    raw (B, ...), the result (B, D) float32, D the product of the other axes; row by row
              in memory. It may be `raw` itself, so the caller copies what must stay.
    """
    flat = raw.reshape(len(raw), math.prod(raw.shape[1:]))
    if raw.dtype == np.uint8:
        grey = flat.astype(np.float32, order="C")
        grey /= 255
        return grey
    if raw.dtype.kind == "b":  # a file may hold any byte where a boolean is expected
        return (flat.view(np.uint8) != 0).astype(np.float32, order="C")
    if flat.dtype == np.float32 and flat.flags.c_contiguous:
        return flat
    with np.errstate(over="ignore", invalid="ignore"):
        return flat.astype(np.float32, order="C", copy=False)


def blocks(x: Array) -> Iterator[tuple[int, np.ndarray]]:
    """``x`` (N, D), in memory or not, part by part: the first row's number, and the rows."""
    size = max(1, BLOCK // max(1, x.shape[1]))
    for start in range(0, x.shape[0], size):
        yield start, x[start : start + size]


def first_place(
    x: Array, wrong: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, int, float] | None:
    """Row, column and value of the first number, row by row, for which `wrong` is true; or None."""
    for start, part in blocks(x):
        found = wrong(part)
        if found.any():
            row, column = divmod(int(found.argmax()), part.shape[1])
            return start + row, column, float(part[row, column])
    return None


def extremes(x: Array) -> tuple[float, float]:
    """The smallest and the largest number of ``x``; both nan if any is, 0 if there is none."""
    if len(x) == 0:
        return 0.0, 0.0
    with np.errstate(invalid="ignore"):
        return float(x.min()), float(x.max())


def require_finite(x: Array, rows: np.ndarray | None = None) -> tuple[float, float]:
    """Look for a nan or an infinity in ``x`` (N, D); returns `extremes`.

    rows      (N,) the numbers by which an error calls the rows; 0, 1, ... if None.
    Raises    ValueError, one line, with the first place.
    """
    low, high = extremes(x)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    place = first_place(x, lambda part: ~np.isfinite(part))
    assert place is not None
    row, column, value = place
    row = row if rows is None else int(rows[row])
    raise ValueError(f"expected finite data, got {value} at row {row}, column {column} (from 0)")


def require_unit_interval(x: Array, what: str) -> None:
    """Look for a number outside [0, 1] in ``x`` (N, D), which has none that is not finite.

    what      needs such numbers, for the message.
    Raises    ValueError, one line, with the range, the first place and what to do.
    """
    low, high = extremes(x)
    if low >= 0 and high <= 1:
        return
    place = first_place(x, lambda part: (part < 0) | (part > 1))
    assert place is not None
    row, column, value = place
    bytes_ = low >= 0 and 1 < high <= 255
    advice = "divide by 255, or " if bytes_ else "scale the data, or "
    raise ValueError(
        f"expected values in [0, 1] for {what}, got {low:g} to {high:g}, the first {value:g} at "
        f"row {row}, column {column} (from 0): {advice}choose a Gaussian (--likelihood gaussian)"
    )
