"""Sprites: one shape on a dark ground, and we know everything about it.

A world with five factors of variation: shape, scale, rotation, x and y. An image follows from its
factors and the factors from the image, so it can be asked what a latent has learned. The idea is
that of dSprites; the pixels are our own, drawn here in a moment and stored nowhere.

Source    L. Matthey, I. Higgins, D. Hassabis and A. Lerchner, "dSprites: disentanglement testing
          sprites dataset", 2017, for the idea.
"""

import numpy as np

from minivae.datasets.base import Dataset
from minivae.datasets.raster import coverage, to_bytes
from minivae.datasets.worlds import SIZE, factor_table, world

SHAPES = ("square", "ellipse", "heart")
PERIODS = (90.0, 180.0, 360.0)  # degrees after which each looks the same again
POINTS = 128  # of an outline; its steps stay below a pixel in all that fits into the frame
FIXED = 2.0**-16  # pixels; corners are rounded to multiples of it

LEVELS: dict[str, tuple[float, ...]] = {
    "shape": (0, 1, 2),
    "scale": (8, 9, 10, 11, 12),
    "rotation": tuple(k / 16 for k in range(16)),
    "x": tuple(range(-4, 5)),
    "y": tuple(range(-4, 5)),
}


def load_sprites(n_train: int = 10_000, n_valid: int = 1000, n_test: int = 1000) -> Dataset:
    """Sprites: images of 28 x 28, a fixed choice of the 19,440 in the grid; y is the shape.

    Shapes    x (N, 784) float32, bytes divided by 255; factors (N, 5) float64, see `draw_sprites`.
    Split     the grid in the order of `fixed_order`: first train, then valid, then test. Every
              image of the grid is different, so none is in two splits.
    sha256    see `worlds.world`; the same on every machine.
    Raises    ValueError if more images are asked for than there are.
    """
    return world("sprites", LEVELS, draw_sprites, (n_train, n_valid, n_test), SHAPES)


def sprites_grid() -> tuple[np.ndarray, np.ndarray]:
    """All combinations: images (19440, 28, 28) uint8 and factors (19440, 5), the last one fastest.

    So images.reshape(3, 5, 16, 9, 9, 28, 28) has one axis for each factor.
    """
    factors = factor_table(LEVELS)
    return draw_sprites(factors), factors


def draw_sprites(factors: np.ndarray) -> np.ndarray:
    """Draw one image for each row of factors.

    Shapes    factors (N, 5), the columns below; result (N, 28, 28) uint8, 255 inside the shape, on
              its border the covered share of the pixel.
    shape     0 square, 1 ellipse (axes 2 : 1), 2 heart
    scale     side, in pixels, of the square of the same area: all shapes have the area scale^2
    rotation  counterclockwise, in [0, 1): the share of the shape's own period, which is a quarter
              of a turn for the square, half a turn for the ellipse, a whole turn for the heart. So
              for each shape the factor runs once around a circle, and no image has two names.
    x, y      of the shape's centre of mass in pixels, to the right and upwards from the middle
    Formula   corner = (x, y) + scale R(angle) unit corner, rounded to 2^-16 pixel; then `coverage`.
              After the rounding all arithmetic is exact or the same everywhere, so sines that
              differ in their last digit between two machines make no difference to the image.
    Raises    ValueError if a factor makes no sense, or the shape does not fit into the frame.
    """
    factors = np.asarray(factors, dtype=np.float64)
    if factors.ndim != 2 or factors.shape[1] != len(LEVELS) or not np.isfinite(factors).all():
        raise ValueError(f"sprites: expected finite factors (N, 5), got shape {factors.shape}")
    shape, scale, rotation = factors[:, 0], factors[:, 1], factors[:, 2]
    if not (np.isin(shape, LEVELS["shape"]).all() and ((rotation >= 0) & (rotation < 1)).all()):
        raise ValueError("sprites: expected shape 0, 1 or 2 and rotation in [0, 1)")
    if not (scale > 0).all():
        raise ValueError(f"sprites: expected scale > 0, got {scale.min()}")
    outlines = np.stack([_square(), _ellipse(), _heart()])
    images = np.empty((len(factors), SIZE, SIZE), np.uint8)
    for begin in range(0, len(factors), 500):  # few enough at a time to stay in the cache
        part = slice(begin, begin + 500)
        corners = _corners(outlines, factors[part])
        images[part] = to_bytes(coverage(corners, np.roll(corners, -1, axis=1), SIZE))
    return images


def _corners(outlines: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Outlines (3, POINTS, 2) turned, scaled and moved, in frame coordinates (N, POINTS, 2)."""
    shape = factors[:, 0].astype(np.int64)
    angle = np.radians(np.array(PERIODS)[shape] * factors[:, 2])[:, None]
    u, v = outlines[shape].transpose(2, 0, 1)
    scale, x, y = factors[:, 1, None], factors[:, 3, None], factors[:, 4, None]
    across = scale * (np.cos(angle) * u - np.sin(angle) * v)
    up = scale * (np.sin(angle) * u + np.cos(angle) * v)
    # Rounded before it is moved: whole pixels then move the corners exactly.
    across, up = np.rint(across / FIXED) * FIXED, np.rint(up / FIXED) * FIXED
    return np.stack([SIZE / 2 + (across + x), SIZE / 2 - (up + y)], axis=2)


def _square() -> np.ndarray:
    """Along the bottom, up, back along the top, down."""
    side = np.arange(POINTS // 4) / (POINTS // 4)
    one, zero = np.ones_like(side), np.zeros_like(side)
    u = np.concatenate([side, one, 1 - side, zero])
    v = np.concatenate([zero, side, one, 1 - side])
    return _unit(u, v)


def _ellipse() -> np.ndarray:
    """(2 cos t, sin t)."""
    t = 2.0 * np.pi * np.arange(POINTS) / POINTS
    return _unit(2.0 * np.cos(t), np.sin(t))


def _heart() -> np.ndarray:
    """(16 sin^3 t, 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t), a well-known curve of area 180 pi."""
    t = 2.0 * np.pi * np.arange(POINTS) / POINTS
    v = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return _unit(16 * np.sin(t) ** 3, v)


def _unit(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The polygon moved and scaled to area 1 and centre of mass 0, (POINTS, 2).

    Formula   A triangle from the origin to a side has the signed area a = (u v' - u' v) / 2 and its
              centre of mass at a third of the sum of its corners. Area and first moment of the
              polygon are the sums over its sides.
    """
    next_u, next_v = np.roll(u, -1), np.roll(v, -1)
    a = (u * next_v - next_u * v) / 2
    area = a.sum()
    centre = np.array([(a * (u + next_u)).sum(), (a * (v + next_v)).sum()]) / (3 * area)
    return (np.stack([u, v], axis=1) - centre) / np.sqrt(abs(area))
