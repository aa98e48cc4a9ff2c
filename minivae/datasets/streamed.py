"""Data larger than memory: rows that stay on disk until a batch asks for them.

A memory map (`numpy.load(path, mmap_mode="r")`) looks like an array, and the operating system
fetches the pages that are touched and forgets them when it needs the room. What is missing is
little: the scaling of bytes to [0, 1], the flat form (N, D), and a train split, which is all rows
but those that are held out.
"""

import functools
import math
import operator
from typing import Any, SupportsIndex

import numpy as np

from minivae.datasets.values import blocks, floats, require_numbers

Rows = slice | np.ndarray


class Streamed:
    """The rows of an array on disk, but for those left out, as (N, D) float32.

        x[rows]      rows a slice or an array (B,) of whole numbers: a new array (B, D) float32 in
                     memory, in the order asked for; `floats` says how other numbers are read.
        x.min(), x.max(), x.sum(axis=0)
                     one pass over all rows finds the three, and is made once.

    source    an array (M, ...) of real numbers, as a rule a memory map of any layout, or another
              `Streamed`, so that rows can be left out of what is left.
    left_out  (L,) different row numbers of the source in rising order; the others are ours.
    array     the plain array (M, ...) behind it all.
    Shapes    N = M - L, D the product of the source's other axes.
    Memory    the L numbers left out and the rows that are asked for; nothing per row. The pages of
              the map are the system's, which takes them back when somebody needs memory.
    Order     A batch is read row by row as asked. Sorting its rows first gains nothing: 128 random
              rows of 4 GB took 0.12 ms as they came and 0.16 ms sorted with the file in the
              system's cache (0.11 ms from an array in memory), and were no slower from the disk.
    Raises    ValueError for a source of another kind or impossible rows to leave out; TypeError
              for another kind of index, IndexError for a row that is not there.
    Not caught  A file that is cut off while it is mapped ends the process (SIGBUS).

    >>> x = Streamed(np.arange(10, dtype=np.uint8).reshape(5, 2), left_out=np.array([0, 3]))
    >>> x.shape, (255 * x[np.array([2, 0])]).tolist()
    ((3, 2), [[8.0, 9.0], [2.0, 3.0]])
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, source: "np.ndarray | Streamed", left_out: np.ndarray | None = None) -> None:
        if not isinstance(source, Streamed):
            require_numbers(source.dtype)
            if source.ndim < 2 or 0 in source.shape[1:]:
                raise ValueError(f"Streamed: expected rows of numbers (N, ...), got {source.shape}")
        out = np.empty(0, np.int64) if left_out is None else np.asarray(left_out, np.int64)
        inside = out.size == 0 or (out[0] >= 0 and out[-1] < len(source))
        if out.ndim != 1 or not inside or (np.diff(out) <= 0).any():
            raise ValueError(
                f"Streamed: expected rows to leave out in rising order from 0 to {len(source) - 1}"
            )
        self.source = source
        if isinstance(source, Streamed):  # one look-up for a row, however deep the sources
            array, before = source.array, source._before
            out = np.sort(np.concatenate([before + np.arange(len(before)), source.origin(out)]))
        else:
            array = np.asarray(source)  # plain: it keeps the map open, and indexes faster
        self.array: np.ndarray = array
        # How many of our rows stand before each row that is left out.
        self._before: np.ndarray = out - np.arange(len(out))
        self.shape = (len(self.array) - len(out), math.prod(self.array.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> np.ndarray:
        return floats(self.array[self.origin(rows)])  # numbers copy: nothing is shared

    def origin(self, rows: Rows) -> np.ndarray:
        """Which rows of `array` these rows are: (B,) int64."""
        numbers = self._numbers(rows)
        # Our row i is row i + (how many were left out before it).
        return numbers + np.searchsorted(self._before, numbers, side="right")

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Refused: NumPy must not fill the memory behind the caller's back."""
        raise TypeError("a Streamed is read in parts: x[rows] is an array, x[:] all of it")

    def min(self) -> float:
        """The smallest number; nan if there is one."""
        return self._survey[0]

    def max(self) -> float:
        """The largest number; nan if there is one."""
        return self._survey[1]

    def sum(self, axis: SupportsIndex = 0, dtype: Any = np.float64) -> np.ndarray:
        """The sum of every column, (D,) float64; no other axis, no other dtype."""
        if operator.index(axis) != 0 or np.dtype(dtype) != np.float64:
            raise ValueError(f"Streamed: expected axis 0 and float64, got {axis} and {dtype}")
        return self._survey[2].copy()

    @functools.cached_property
    def _survey(self) -> tuple[float, float, np.ndarray]:
        """Minimum, maximum and the columns' sums in one pass."""
        low, high, total = np.inf, -np.inf, np.zeros(self.shape[1])
        with np.errstate(invalid="ignore"):  # what is not finite is found, and reported elsewhere
            for _, part in blocks(self):
                low, high = np.minimum(low, part.min()), np.maximum(high, part.max())
                total += part.sum(axis=0, dtype=np.float64)
        return float(low), float(high), total

    def _numbers(self, rows: Rows) -> np.ndarray:
        """The rows that are asked for as numbers from 0 to N - 1."""
        n = len(self)
        if isinstance(rows, slice):
            return np.arange(*rows.indices(n))
        rows = np.asarray(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise TypeError(f"expected a slice or row numbers (B,), got {rows.dtype} {rows.shape}")
        rows = rows.astype(np.int64, copy=False)
        low, high = (rows.min(), rows.max()) if rows.size else (0, 0)
        if rows.size and not (-n <= low and high < n):
            raise IndexError(f"expected rows below {n}, got {low} to {high}")
        return np.where(rows < 0, rows + n, rows) if low < 0 else rows
