"""Glyphs: characters in the fonts that come with Matplotlib, with seven known factors.

Character, family, weight, slant, size, x and y. The outlines are Matplotlib's (`TextPath`, its
public way from a character to a curve, unhinted); from there on the pixels are our own, as for the
sprites.

The fonts: DejaVu Sans, DejaVu Sans Mono, DejaVu Serif (Bitstream Vera licence) and STIX (SIL Open
Font License), each with its own bold, oblique or italic, and bold oblique face: nothing is sheared
or thickened here.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minivae.datasets.base import Dataset
from minivae.datasets.raster import coverage, to_bytes
from minivae.datasets.worlds import SIZE, factor_table, world

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FAMILIES = ("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif", "STIX")
WEIGHTS = ("regular", "bold")
SLANTS = ("upright", "slanted")

# FILES[family][weight][slant]
FILES = (
    (("DejaVuSans", "DejaVuSans-Oblique"), ("DejaVuSans-Bold", "DejaVuSans-BoldOblique")),
    (
        ("DejaVuSansMono", "DejaVuSansMono-Oblique"),
        ("DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique"),
    ),
    (("DejaVuSerif", "DejaVuSerif-Italic"), ("DejaVuSerif-Bold", "DejaVuSerif-BoldItalic")),
    (("STIXGeneral", "STIXGeneralItalic"), ("STIXGeneralBol", "STIXGeneralBolIta")),
)

LEVELS: dict[str, tuple[float, ...]] = {
    "character": tuple(range(len(CHARACTERS))),
    "family": (0, 1, 2, 3),
    "weight": (0, 1),
    "slant": (0, 1),
    "size": (16, 18, 20),
    "x": (-2, -1, 0, 1, 2),
    "y": (-2, -1, 0, 1, 2),
}


def load_glyphs(n_train: int = 10_000, n_valid: int = 1000, n_test: int = 1000) -> Dataset:
    """Glyphs: images of 28 x 28, a fixed choice of the 31,200 in the grid; y is the character.

    Shapes    x (N, 784) float32, bytes divided by 255; factors (N, 7) float64, see `draw_glyphs`.
    Split     the grid in the order of `fixed_order`: first train, then valid, then test. Every
              image of the grid is different, so none is in two splits.
    sha256    see `worlds.world`. Another version of Matplotlib or FreeType may bring other
              outlines, and the digest will say so.
    Raises    FileNotFoundError if a face is missing; ValueError if more images are asked for than
              there are.
    """
    parts = (n_train, n_valid, n_test)
    return world("glyphs", LEVELS, draw_glyphs, parts, tuple(CHARACTERS))


def glyphs_grid() -> tuple[np.ndarray, np.ndarray]:
    """All combinations: images (31200, 28, 28) uint8 and factors (31200, 7), the last one fastest.

    So images.reshape(26, 4, 2, 2, 3, 5, 5, 28, 28) has one axis for each factor.
    """
    factors = factor_table(LEVELS)
    return draw_glyphs(factors), factors


def draw_glyphs(factors: np.ndarray) -> np.ndarray:
    """Draw one image for each row of factors.

    Shapes     factors (N, 7), the columns below; result (N, 28, 28) uint8, 255 inside the strokes,
               on their border the covered share of the pixel.
    character  0 to 25 for A to Z
    family     0 DejaVu Sans, 1 DejaVu Sans Mono, 2 DejaVu Serif, 3 STIX
    weight     0 regular, 1 bold
    slant      0 upright, 1 the family's oblique or italic face
    size       of the em in pixels; a capital is about 0.7 em high
    x, y       of the middle of the glyph's bounding box in pixels, to the right and upwards from
               the middle of the frame
    Raises     ValueError if a factor makes no sense or the glyph does not fit into the frame;
               FileNotFoundError if Matplotlib came without one of the faces.
    """
    factors = np.asarray(factors, dtype=np.float64)
    if factors.ndim != 2 or factors.shape[1] != len(LEVELS) or not np.isfinite(factors).all():
        raise ValueError(f"glyphs: expected finite factors (N, 7), got shape {factors.shape}")
    for column, name in enumerate(("character", "family", "weight", "slant")):
        if not np.isin(factors[:, column], LEVELS[name]).all():
            raise ValueError(f"glyphs: expected {name} 0 to {len(LEVELS[name]) - 1}")
    if not (factors[:, 4] > 0).all():
        raise ValueError(f"glyphs: expected size > 0, got {factors[:, 4].min()}")
    images = np.empty((len(factors), SIZE, SIZE), np.uint8)
    # All images of one glyph share an outline: draw them together.
    names, glyph = np.unique(factors[:, :4].astype(np.int64), axis=0, return_inverse=True)
    rows = np.split(np.argsort(glyph, kind="stable"), np.cumsum(np.bincount(glyph))[:-1])
    faces = _faces()
    for (character, family, weight, slant), which in zip(names.tolist(), rows, strict=True):
        size = factors[which, 4].max()
        steps = _steps(faces[family, weight, slant], CHARACTERS[character], float(size))
        placed = _placed(steps, factors[which])
        images[which] = to_bytes(np.minimum(coverage(placed[0], placed[1], SIZE), 1.0))
    return images


def _placed(steps: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Steps (2, E, 2) in ems, scaled and moved to frame coordinates (2, N, E, 2)."""
    size, move = factors[:, 4, None, None], factors[:, None, 5:7]
    points = size * steps[:, None] + move
    return SIZE / 2 + points * np.array([1.0, -1.0])


def _faces() -> dict[tuple[int, int, int], Path]:
    """The font file of every (family, weight, slant)."""
    import matplotlib

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    faces = {
        (f, w, s): folder / f"{FILES[f][w][s]}.ttf"
        for f in range(len(FAMILIES))
        for w in range(len(WEIGHTS))
        for s in range(len(SLANTS))
    }
    missing = [path.name for path in faces.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"glyphs: Matplotlib {matplotlib.__version__} has no {', '.join(missing)} in {folder}; "
            "reinstall it from PyPI, whose wheels bring all its fonts"
        )
    return faces


@functools.cache
def _curves(face: Path, character: str) -> tuple[np.ndarray, ...]:
    """The outline as Bezier curves, each its control points (n, 2), in ems around its middle."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    path = TextPath((0.0, 0.0), character, size=100, prop=FontProperties(fname=face))
    box = path.get_extents()
    middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2
    # Every (curve, code) of the path; MOVETO begins a contour and is a point.
    pairs: Iterable[Any] = path.iter_bezier()
    kept = [curve.control_points for curve, code in pairs if code != Outline.MOVETO]
    return tuple((points - middle) / 100 for points in kept)


def _steps(face: Path, character: str, size: float) -> np.ndarray:
    """The outline as straight steps of at most a pixel at this size, start and end (2, E, 2)."""
    starts, ends = [], []
    for points in _curves(face, character):
        # A curve of degree d moves at most d times its longest control leg in a unit of t.
        degree = len(points) - 1
        fastest = degree * np.abs(np.diff(points, axis=0)).max(initial=0.0) * size
        n = max(1, int(np.ceil(1.001 * fastest)))
        on_curve = _bezier(points, np.arange(n + 1) / n)
        starts.append(on_curve[:-1])
        ends.append(on_curve[1:])
    return np.stack([np.concatenate(starts), np.concatenate(ends)])


def _bezier(points: np.ndarray, t: np.ndarray) -> np.ndarray:
    """A Bezier curve at times t (T,), by de Casteljau: mix neighbours until one is left."""
    mixed = np.repeat(points[:, None], len(t), axis=1)
    while len(mixed) > 1:
        mixed = mixed[:-1] + t[:, None] * (mixed[1:] - mixed[:-1])
    return mixed[0]
