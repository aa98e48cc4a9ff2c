"""Data of your own: a file or a folder as a data set with three splits.

    .npy          an array (N, D), (N, H, W) or (N, H, W, 1); when large it stays on disk
    .npz          the same as x, with labels y if you like; or x_train, y_train, x_test, y_test
    .csv          a line an example; a column named label, class or y is the label
    IDX, .gz      the format of MNIST, with its labels in a file beside it
    a folder      of images of one size; subfolders are classes

Bytes (uint8) are grey values, v / 255; booleans are 0 and 1; all other numbers are taken as they
are, in float32. Nothing that is read can run code, and a file takes no more memory than it has
numbers.
"""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivae.datasets.base import Dataset, Split, spread_rows
from minivae.datasets.idx import read_idx
from minivae.datasets.labels import Labels, class_numbers
from minivae.datasets.npy import open_npy, read_npz
from minivae.datasets.pictures import read_pictures
from minivae.datasets.streamed import Streamed
from minivae.datasets.table import read_csv
from minivae.datasets.values import require_finite

IN_MEMORY = 2**28
"""Bytes of float32 (256 MB) up to which a .npy file is read into memory; larger, it is streamed."""

SMALLEST = 7
"""The side of the smallest image: fewer numbers in a row are a table's, also if they are 4 or 9."""

HELD_OUT = 1000
"""The most examples that valid and test take by default, each; else a tenth of all."""


@dataclass
class Source:
    """What a file holds, before it is split: numbers (N, ...) as they are stored, and labels (N,).

    test     rows and labels of their own, if the file says which they are
    image    the axes of an example, if the numbers do not say it
    sha256   "" stands for that of the file's bytes
    """

    rows: np.ndarray
    labels: Labels | None = None
    test: tuple[np.ndarray, Labels | None] | None = None
    class_names: tuple[str, ...] = ()
    image: tuple[int, ...] | None = None
    sha256: str = ""


def load_file(
    path: str | os.PathLike[str],
    *,
    n_valid: int | None = None,
    n_test: int | None = None,
    in_memory: bool | None = None,
    mode: str = "L",
) -> Dataset:
    """A file or a folder of images as a data set; the module's page says which kinds there are.

    n_valid, n_test  examples that are held out: by default a tenth of all, at least 1 and at most
               HELD_OUT, each; never so many that none is left to train. `spread_rows` of the file
               are test, unless the file has a test part of its own, and `spread_rows` of the rest
               are valid: the same ones every time, from all classes of a file that is sorted.
    in_memory  of an .npy file: True reads all of it, False leaves train on disk (`Streamed`), None
               decides by its size, IN_MEMORY.
    mode       of images: "L", grey, or "RGB", 3 numbers a pixel.
    Shapes     image_shape is (H, W), or (H, W, 3) in colour; of flat rows (N, D) the square if D is
               one, else (1, D).
    Labels     whole numbers or words. Words, and numbers that are negative or large, are numbered
               in their order and named by class_names. Without any, y is 0 throughout.
    sha256     of the file's bytes, read once (a few seconds for each GB); of an IDX file and its
               labels one after the other; of a folder see `read_pictures`.
    Raises     FileNotFoundError, or ValueError of one line that names the file and says what was
               expected and what came; ImportError for images without Pillow.
    Warns      UserWarning if train stays on disk in column order, which is slow to read by rows.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if path.is_dir():
        found = read_pictures(path, mode)
        source = Source(found.x, found.y, None, found.class_names, found.x.shape[1:], found.sha256)
    elif not path.is_file():
        raise ValueError(f"{path}: expected a file or a folder")
    else:
        with _naming(path):
            source = _reader(path)(path)
    with _naming(path):
        return _dataset(path, source, n_valid, n_test, in_memory)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Every ValueError inside begins with the path, and is one line."""
    try:
        yield
    except ValueError as error:
        text = " ".join(str(error).split())
        text = (
            text if len(text) <= 400 else f"{text[:400]} ..."
        )  # some quote what they could not read
        raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _reader(path: Path) -> Callable[[Path], Source]:
    """The reader for this kind of file."""
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv}
    if path.suffix.lower() in readers:
        return readers[path.suffix.lower()]
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\0\0", b"\x1f\x8b"):
        return _idx
    raise ValueError("expected .npy, .npz, .csv, an IDX file or a folder of images")


def _npy(path: Path) -> Source:
    return Source(open_npy(path))


def _npz(path: Path) -> Source:
    arrays = read_npz(path)
    if "x" in arrays:
        return Source(arrays["x"], arrays.get("y"))
    test = arrays["x_test"], arrays.get("y_test")
    return Source(arrays["x_train"], arrays.get("y_train"), test)


def _csv(path: Path) -> Source:
    table = read_csv(path)
    return Source(table.x, table.labels)


def _idx(path: Path) -> Source:
    """Images, and the labels beside them by MNIST's naming, packed or not."""
    images = read_idx(path)
    for pair in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")):
        if pair[0] not in path.name:
            continue
        beside = path.with_name(path.name.replace(*pair))
        plain = beside.with_suffix("") if beside.suffix == ".gz" else beside
        for labels in (plain, plain.with_name(plain.name + ".gz")):
            if labels.is_file():
                return Source(images, read_idx(labels), sha256=_sha256([path, labels]))
    return Source(images)


def _sha256(paths: Sequence[Path]) -> str:
    """Of the bytes of files, one after the other, read once and in parts."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                digest.update(piece)
    return digest.hexdigest()


def _dataset(
    path: Path, source: Source, n_valid: int | None, n_test: int | None, in_memory: bool | None
) -> Dataset:
    """Split what a file holds."""
    rows = source.rows
    image = source.image or _image_shape(rows.shape)
    labels, test_labels, names = _labels(source)
    whole = Streamed(rows)  # also of an array in memory: the flat float32 form of any numbers
    if source.test is None:
        n_test = _share(len(whole)) if n_test is None else n_test
        n_test = _held_out("n_test", n_test, len(whole))
        held = spread_rows(len(whole), n_test)
        test = _split(whole, held, labels)
    else:
        held = np.empty(0, np.int64)
        test = _own_test(source.test[0], rows, n_test, test_labels)
    pool = Streamed(whole, held)
    if n_valid is None:
        n_valid = 0 if len(pool) == 1 else _share(len(whole))
    valid_rows = spread_rows(len(pool), _held_out("n_valid", n_valid, len(pool)))
    return Dataset(
        name=path.resolve().name if path.is_dir() else path.resolve().stem,
        image_shape=image,
        train=_train(Streamed(pool, valid_rows), labels, _stays(rows, in_memory)),
        valid=_split(pool, valid_rows, labels),
        test=test,
        sha256=source.sha256 or _sha256([path]),
        class_names=source.class_names or names,
        spread=True,
    )


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(height, width) of the examples in an array of this shape."""
    if len(shape) == 3 or (len(shape) == 4 and shape[3] == 1):
        return shape[1:3]
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        return (side, side) if side * side == shape[1] and side >= SMALLEST else (1, shape[1])
    colour = "; make colours grey, or flat" if len(shape) == 4 and shape[3] in (3, 4) else ""
    raise ValueError(
        f"expected an array (N, D), (N, H, W) or (N, H, W, 1) of N examples, got {shape}{colour}"
    )


def _share(total: int) -> int:
    """How many of all are held out by default."""
    return min(HELD_OUT, max(1, total // 10))


def _held_out(name: str, n: int, total: int) -> int:
    """``n``, if so many can be held out and at least one is left."""
    if total < 2 and n != 0:
        raise ValueError(f"expected at least 2 examples, to train on and to hold out, got {total}")
    if not 0 <= n < total:
        raise ValueError(f"expected {name} from 0 to {total - 1}, got {n}")
    return n


def _split(view: Streamed, rows: slice | np.ndarray, y: np.ndarray) -> Split:
    """Some rows in memory; `y` is of all rows of the file."""
    x, numbers = view[rows], view.origin(rows)
    require_finite(x, numbers)
    return Split(x, y[numbers])


def _stays(rows: np.ndarray, in_memory: bool | None) -> bool:
    """Whether the numbers to train on stay on disk."""
    mapped = isinstance(rows, np.memmap)
    if in_memory is False and not mapped:
        raise ValueError("only .npy can stay on disk: numpy.save the array, or leave in_memory")
    if in_memory is None:
        in_memory = not mapped or np.dtype(np.float32).itemsize * rows.size <= IN_MEMORY
    if not in_memory and not rows.flags.c_contiguous:
        warnings.warn(
            "the array is stored column by column, so a row is gathered from all over the file: "
            "numpy.save a copy made by numpy.ascontiguousarray",
            stacklevel=4,
        )
    return not in_memory


def _train(train: Streamed, y: np.ndarray, stays: bool) -> Split:
    """The train split, on disk or in memory."""
    if not stays:
        return _split(train, slice(None), y)
    return Split(train, y[: len(train)] if y.strides == (0,) else y[train.origin(slice(None))])


def _own_test(test: np.ndarray, train: np.ndarray, n_test: int | None, y: np.ndarray) -> Split:
    """The test part that the file itself names."""
    if n_test is not None:
        raise ValueError("the file has its own test part, x_test: leave n_test")
    if test.shape[1:] != train.shape[1:]:
        raise ValueError(f"expected x_test of the shape of x_train {train.shape}, got {test.shape}")
    with _naming(Path("x_test")):
        return _split(Streamed(test), slice(None), y)


def _labels(source: Source) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Class numbers of all rows and of the file's own test rows, and the classes' names."""
    parts = [(source.rows, source.labels), *([source.test] if source.test else [])]
    if source.labels is None:
        # One zero, seen N times: (N,) without any memory.
        zeros = [np.broadcast_to(np.int64(0), len(rows)) for rows, _ in parts]
        return zeros[0], zeros[-1], ()
    given = []
    for rows, labels in parts:
        flat = labels.reshape(-1) if isinstance(labels, np.ndarray) else labels or []
        if len(flat) != len(rows):
            shape = labels.shape if isinstance(labels, np.ndarray) else (len(flat),)
            raise ValueError(f"expected labels ({len(rows)},), one for each example, got {shape}")
        given.append(flat)
    y, names = class_numbers(given)
    return y[0], y[-1], names
