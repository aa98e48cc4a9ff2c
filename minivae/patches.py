"""Patches: a dense layer over the patches of an image is a strided convolution.

A convolution with the stride s multiplies every window of an image by the same weights.  So it is
two steps, and the second one is `minivae.layers.Dense`: lay out the windows as rows, then multiply
the rows by a matrix.  The first step moves numbers and computes nothing: y[k] = x[index[k]].

    encoder = Stack(patches((28, 28), 4), Dense(16, 8))    # (B, 784) -> (B * 49, 8)

is a convolution with 8 filters of 4 x 4 pixels and the stride 4.  Windows that reach over the edge
of their patch overlap, and see context; what lies outside the image is 0.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minivae.arrays import Array, dtype_name, like, namespace
from minivae.parameters import Layer


class Gather:
    """Numbers moved to other places:  y_bk = x_b,index(k),  or 0 where index(k) is -1.

    index    (M, n) integers: an example comes out as M rows of n numbers.
    rows     as how many rows an example comes in; n_in numbers in all of them together.
    Shapes   x (B * rows, n_in / rows), y (B * M, n).
    Keeps    nothing.
    Backward a number that stands in several places gets the sum of what comes back from them,
               dx_bi = sum of dy_bk over the k with index(k) = i
             The sum of a list of places for each i: r lists, if no number stands in more than r.
    """

    def __init__(self, index: np.ndarray, n_in: int, rows: int = 1) -> None:
        self.index, self.n_in, self.rows = index, n_in, rows
        flat = index.ravel()
        self.inside = flat >= 0
        self.source = np.where(self.inside, flat, 0)
        self.places, self.used = _places(flat, n_in)

    def forward(self, x: Array) -> tuple[Array, None]:
        xp = namespace(x)
        y = xp.take(xp.reshape(x, (-1, self.n_in)), like(self.source, x), axis=1)
        if not self.inside.all():
            y = y * like(self.inside.astype(dtype_name(x)), x)
        return xp.reshape(y, (-1, self.index.shape[1])), None

    def backward(self, dy: Array, cache: None, need_dx: bool = True) -> Array | None:
        if not need_dx:
            return None
        xp = namespace(dy)
        dy = xp.reshape(dy, (-1, self.index.size))
        dx = 0.0
        for place, used in zip(self.places, self.used, strict=True):
            part = xp.take(dy, like(place, dy), axis=1)
            dx = dx + (part if used.all() else part * like(used.astype(dtype_name(dy)), dy))
        return xp.reshape(dx, (-1, self.n_in // self.rows))

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


class Shift:
    """y = x + b: a bias of its own for every pixel, where the weights are shared by all patches.

    Shapes    x (B, D), b (D,), y (B, D).
    Keeps     nothing.
    Backward  dx = dy,  db = sum_b dy_b.
    """

    b: Array
    db: Array

    def __init__(self, bias: np.ndarray) -> None:
        self.bias = bias

    def forward(self, x: Array) -> tuple[Array, None]:
        return x + self.b, None

    def backward(self, dy: Array, cache: None, need_dx: bool = True) -> Array | None:
        self.db += namespace(dy).sum(dy, axis=0)
        return dy if need_dx else None

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"b": self.bias}


def patches(image_shape: Sequence[int], side: int, margin: int = 0, rows: int = 1) -> Gather:
    """An image as rows, one for each patch: (B, D) -> (B * M, n), row by row.

    image_shape  (height, width) or (height, width, channels), the channels of a pixel together.
    side         of a patch, which divides height and width: M = height / side * width / side.
    margin       pixels around the patch that its row holds, too; 0 outside the image:
                 n = (side + 2 margin)^2 channels.
    rows         as how many rows an image comes in, for the grid that another layer made.
    Raises       ValueError if the side does not divide the image.
    """
    height, width, channels = (*image_shape, 1)[:3]
    down, across = grid(image_shape, side)
    reach = np.arange(-margin, side + margin)
    i = (np.arange(down)[:, None] * side + reach).reshape(down, 1, -1, 1, 1)
    j = (np.arange(across)[:, None] * side + reach).reshape(1, across, 1, -1, 1)
    index = (i * width + j) * channels + np.arange(channels)
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    index = np.where(inside, index, -1).reshape(down * across, -1)
    return Gather(index, height * width * channels, rows)


def whole(image_shape: Sequence[int], side: int) -> Gather:
    """Patches as an image again, (B * M, n) -> (B, D): the inverse of `patches` without margin."""
    order = np.argsort(patches(image_shape, side).index.ravel())
    return Gather(
        order[None, :], order.size, grid(image_shape, side)[0] * grid(image_shape, side)[1]
    )


def grid(image_shape: Sequence[int], side: int) -> tuple[int, int]:
    """How many patches there are, down and across.

    Raises  ValueError, one line with the sides that would do, if ``side`` does not divide both.
    """
    height, width = image_shape[:2]
    common = math.gcd(height, width)
    if side < 1 or common % side:
        fit = ", ".join(str(n) for n in range(1, common + 1) if common % n == 0)
        raise ValueError(
            f"expected a patch whose side divides images of {height} x {width} ({fit}), got {side}"
        )
    return height // side, width // side


def _places(flat: np.ndarray, n_in: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of n_in numbers went: lists (r, n_in) of places, and which of them count."""
    kept = np.flatnonzero(flat >= 0)
    order = kept[np.argsort(flat[kept], kind="stable")]
    counts = np.bincount(flat[kept], minlength=n_in)
    first = np.cumsum(counts) - counts
    r = np.arange(counts.max(initial=0))[:, None]
    used = r < counts
    return order[np.where(used, first + r, 0)], used
