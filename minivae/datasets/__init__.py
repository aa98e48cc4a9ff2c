"""Data sets as three splits of flat examples: digits, rendered worlds, MNIST, your own files.

    values.py         stored numbers as float32, and the place of one that does not fit
    streamed.py       rows that stay on disk until a batch asks for them
    base.py           Split and Dataset
    digits.py         load_digits: 1,797 embedded images of 8 x 8
    raster.py         outlines to grey images: the exact area inside each pixel
    worlds.py         all combinations of known factors, and a fixed choice of them
    sprites.py        load_sprites: squares, ellipses, hearts of 28 x 28, drawn here
    glyphs.py         load_glyphs: letters of 28 x 28 in the fonts of Matplotlib, drawn here
    idx.py            the file format of MNIST
    mnist.py          load_mnist: from files of your own, from the cache, or from the internet
    download.py       the files of MNIST into the cache: mirrors, resuming, checksums
    npy.py            NumPy's own files
    table.py          comma-separated values
    pictures.py       a folder of images
    labels.py         words and numbers as classes
    files.py          load_file: any of these kinds as a data set
    conditions.py     what a conditional model is told about each image: class, attributes, numbers
    binarisation.py   grey to black and white: none, threshold, fixed, new
    parts.py          images of which one, two or three quadrants are given
    build_digits.py   how digits.npz was made

Only MNIST is ever downloaded, when it is asked for and is not at hand; and nothing here is drawn
without a seed or a generator of the caller's.
"""

import difflib
import os
from collections.abc import Callable

from minivae.datasets.base import Dataset, Split
from minivae.datasets.binarisation import binarise, binarise_splits
from minivae.datasets.conditions import Conditions, conditions
from minivae.datasets.digits import load_digits
from minivae.datasets.files import load_file
from minivae.datasets.glyphs import draw_glyphs, glyphs_grid, load_glyphs
from minivae.datasets.mnist import load_mnist
from minivae.datasets.parts import Parted, PartedSplit, joined, parted, quadrants, quadrants_of
from minivae.datasets.sprites import draw_sprites, load_sprites, sprites_grid
from minivae.datasets.streamed import Streamed

LOADERS: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "sprites": load_sprites,
    "glyphs": load_glyphs,
}


def load(name: str | os.PathLike[str]) -> Dataset:
    """Load a data set by its name, or from a file or folder, with default options.

    name      of LOADERS, which wins over a file of that name (./digits is the file), or a path for
              `load_file`.
    Raises    ValueError, one line that lists the names and perhaps suggests one, if it is neither;
              and what the loaders raise.
    """
    if isinstance(name, str) and name in LOADERS:
        return LOADERS[name]()
    if os.path.exists(name):
        return load_file(name)
    close = difflib.get_close_matches(str(name), LOADERS, n=1)
    raise ValueError(
        f"data set: expected one of {', '.join(LOADERS)}, or a file or folder that exists, "
        f"got {os.fspath(name)!r}" + (f"; did you mean {close[0]}?" if close else "")
    )


def prepared(
    name: str | os.PathLike[str],
    validation: int | None = None,
    binarisation: str = "none",
    condition: str | None = None,
) -> Dataset:
    """A data set as an experiment uses it: loaded, split, binarised, and parted if it is to be.

    validation    examples to hold out; None for as many as the loader does.
    binarisation  see `binarise_splits`.
    condition     what a conditional model is told; one of quadrants makes a `Parted`.
    Raises        ValueError, one line, for what cannot be done with these data.
    """
    given = quadrants_of(condition)
    dataset = load(name)
    if validation is not None:
        dataset = dataset.with_validation(validation)
    if given is not None:
        return parted(dataset, given, binarisation)
    return binarise_splits(dataset, binarisation)


__all__ = [
    "Conditions",
    "Dataset",
    "Parted",
    "PartedSplit",
    "Split",
    "Streamed",
    "binarise",
    "binarise_splits",
    "conditions",
    "draw_glyphs",
    "draw_sprites",
    "glyphs_grid",
    "joined",
    "load",
    "load_digits",
    "load_file",
    "load_glyphs",
    "load_mnist",
    "load_sprites",
    "parted",
    "prepared",
    "quadrants",
    "quadrants_of",
    "sprites_grid",
]
