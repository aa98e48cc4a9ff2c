"""Data sets as three splits of flat grey images: digits, rendered worlds, MNIST; binarisation.

    base.py           Split and Dataset
    digits.py         load_digits: 1,797 embedded images of 8 x 8
    raster.py         outlines to grey images: the exact area inside each pixel
    worlds.py         all combinations of known factors, and a fixed choice of them
    sprites.py        load_sprites: squares, ellipses, hearts of 28 x 28, drawn here
    glyphs.py         load_glyphs: letters of 28 x 28 in the fonts of Matplotlib, drawn here
    idx.py            the file format of MNIST
    mnist.py          load_mnist: from files of your own
    binarisation.py   grey to black and white: none, threshold, fixed, new
    build_digits.py   how digits.npz was made

Nothing is downloaded, and nothing here is drawn without a seed or a generator of the caller's.
"""

from collections.abc import Callable

from minivae.datasets.base import Dataset, Split
from minivae.datasets.binarisation import binarise, binarise_splits
from minivae.datasets.digits import load_digits
from minivae.datasets.glyphs import draw_glyphs, glyphs_grid, load_glyphs
from minivae.datasets.mnist import load_mnist
from minivae.datasets.sprites import draw_sprites, load_sprites, sprites_grid

LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "sprites": load_sprites,
    "glyphs": load_glyphs,
}


def load(name: str) -> Dataset:
    """Load a data set by its name, with its default options.

    Raises    ValueError that lists the names if there is none of this name, and what its loader
              raises.
    """
    if name not in LOADERS:
        raise ValueError(f"data set: expected one of {', '.join(LOADERS)}, got {name!r}")
    return LOADERS[name]()


__all__ = [
    "Dataset",
    "Split",
    "binarise",
    "binarise_splits",
    "draw_glyphs",
    "draw_sprites",
    "glyphs_grid",
    "load",
    "load_digits",
    "load_glyphs",
    "load_mnist",
    "load_sprites",
    "sprites_grid",
]
