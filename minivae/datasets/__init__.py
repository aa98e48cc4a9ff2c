"""Data sets as three splits of flat grey images: embedded digits, MNIST, and binarisation.

    base.py           Split and Dataset
    digits.py         load_digits: 1,797 embedded images of 8 x 8
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
from minivae.datasets.mnist import load_mnist

LOADERS: dict[str, Callable[[], Dataset]] = {"digits": load_digits, "mnist": load_mnist}


def load(name: str) -> Dataset:
    """Load a data set by its name, with its default options.

    Raises    ValueError that lists the names if there is none of this name, and what its loader
              raises.
    """
    if name not in LOADERS:
        raise ValueError(f"data set: expected one of {', '.join(LOADERS)}, got {name!r}")
    return LOADERS[name]()


__all__ = ["Dataset", "Split", "binarise", "binarise_splits", "load", "load_digits", "load_mnist"]
