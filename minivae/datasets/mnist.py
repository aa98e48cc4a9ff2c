"""MNIST from the four files that everyone has: 70,000 grey digits of 28 x 28.

The files are not part of this package. Put them, plain or packed (.gz), into a folder of their own
and pass it, or call it `mnist` and let the environment variable MINIVAE_DATA name the directory
around it. Without either they are downloaded once (11 MB) into a cache folder, which MINIVAE_CACHE
can name.

Source    Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".
"""

import hashlib
import math
import operator
import os
import warnings
from pathlib import Path

import numpy as np

from minivae.datasets.base import Dataset, Split
from minivae.datasets.idx import idx_header, read_idx

VARIABLE = "MINIVAE_DATA"
N_TRAIN, N_TEST = 60_000, 10_000

# In the order of the digest; the shape that each must have, and SHA-256 of the unpacked original.
FILES: dict[str, tuple[tuple[int, ...], str]] = {
    "train-images-idx3-ubyte": (
        (N_TRAIN, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        (N_TRAIN,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        (N_TEST, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        (N_TEST,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def load_mnist(folder: str | os.PathLike[str] | None = None, n_valid: int = 5000) -> Dataset:
    """MNIST: train on the first 60,000 - n_valid images, validate on the rest of them, test 10,000.

    folder    holds the four files, each plain or .gz (plain wins if there are both); by default
              the folder `mnist` in the directory that MINIVAE_DATA names, or if that is not set in
              the cache folder, into which what is missing is downloaded.
    n_valid   0 <= n_valid < 60,000; with 0 all are for training and valid is empty, (0, 784).
    Shapes    x (N, 784) float32, the bytes 0..255 divided by 255; y (N,) int64.
    sha256    of the four unpacked files, one after the other: train images, train labels, test
              images, test labels.
    Raises    FileNotFoundError if the folder or a file is missing in a place that was named;
              ConnectionError if nothing was named and the download fails; ValueError if a file is
              damaged or not MNIST's, or n_valid is out of range.
    Warns     UserWarning if the files are sound but not, byte for byte, the original ones.
    """
    n_train = N_TRAIN - _checked(n_valid)
    place = _folder(folder)
    arrays, digest, altered = [], hashlib.sha256(), []
    for name, (shape, original) in FILES.items():
        array = _read(place, name, shape)
        header = idx_header(shape)
        digest.update(header + array.tobytes())
        if hashlib.sha256(header + array.tobytes()).hexdigest() != original:
            altered.append(name)
        arrays.append(array)
    if altered:
        warnings.warn(
            f"MNIST: not the original bytes (SHA-256) in {place}: {', '.join(altered)}",
            stacklevel=2,
        )
    x, y = _scaled(arrays[0]), arrays[1].astype(np.int64)
    return Dataset(
        name="mnist",
        image_shape=(28, 28),
        train=Split(x[:n_train], y[:n_train]),
        valid=Split(x[n_train:], y[n_train:]),
        test=Split(_scaled(arrays[2]), arrays[3].astype(np.int64)),
        sha256=digest.hexdigest(),
    )


def _checked(n_valid: int) -> int:
    """n_valid as a whole number in its range."""
    try:
        number = operator.index(n_valid)
    except TypeError:
        raise ValueError(f"MNIST: expected n_valid a whole number, got {n_valid!r}") from None
    if not 0 <= number < N_TRAIN:
        raise ValueError(f"MNIST: expected 0 <= n_valid < {N_TRAIN}, got {number}")
    return number


def _folder(folder: str | os.PathLike[str] | None) -> Path:
    """The folder with the files; if a place was named and they are not there, say what to do."""
    if folder is None:
        data = os.environ.get(VARIABLE, "")
        if not data:
            return _downloaded()
        folder = Path(data, "mnist")
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"MNIST: there is no folder {folder}; expected the files {', '.join(FILES)} (plain or "
            f".gz) in the folder mnist of the directory that {VARIABLE} names, or in folder=; "
            f"without {VARIABLE} they are downloaded"
        )
    return Path(folder)


def _downloaded() -> Path:
    """The cache folder, with all files in it."""
    from minivae.datasets import download  # loads much of the standard library: only when needed

    folder = download.cache_folder() / "mnist"
    for name, (shape, original) in FILES.items():
        n_bytes = len(idx_header(shape)) + math.prod(shape)
        download.fetch(folder, name, n_bytes, original)
    return folder


def _read(folder: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One file under either name, with the shape (and, for labels, the values) it must have."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise FileNotFoundError(f"MNIST: expected {name} or {name}.gz in {folder}, found neither")
    array = read_idx(found[0])
    if array.shape != shape:
        raise ValueError(f"{found[0]}: expected shape {shape}, got {array.shape}")
    if len(shape) == 1 and array.max() > 9:
        raise ValueError(f"{found[0]}: expected labels 0..9, got {array.max()}")
    return array


def _scaled(images: np.ndarray) -> np.ndarray:
    """(N, 28, 28) bytes to (N, 784) float32 in [0, 1]."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
