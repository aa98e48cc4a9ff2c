"""What a data set is here: three splits of flat examples with labels."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minivae.arrays import Array
from minivae.datasets.streamed import Streamed
from minivae.datasets.values import require_finite


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their labels; frozen, compared by identity.

    Shapes    x (N, D) float32, finite: grey values in [0, 1] (0 is background), or any numbers for
              a Gaussian decoder; in memory, or for training also a `Streamed`;
              y (N,) int64;
              factors (N, F) float64 where the world behind the images is known, else None.
    Length    len(split) is N, which may be 0.
    Raises    ValueError if a shape, an element type or the lengths are wrong, or if a number in
              memory is not finite. What is streamed is looked through by `Model.check`, just
              before it is used, because that takes a while.
    """

    x: Array
    y: np.ndarray
    factors: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.dtype != np.float32:
            raise ValueError(f"Split: expected x (N, D) float32, got {_kind(self.x)}")
        if self.y.ndim != 1 or self.y.dtype != np.int64:
            raise ValueError(f"Split: expected y (N,) int64, got {_kind(self.y)}")
        if len(self.x) != len(self.y):
            raise ValueError(f"Split: {len(self.x)} images but {len(self.y)} labels")
        if self.factors is not None:
            if self.factors.ndim != 2 or self.factors.dtype != np.float64:
                raise ValueError(
                    f"Split: expected factors (N, F) float64, got {_kind(self.factors)}"
                )
            if len(self.factors) != len(self.x):
                raise ValueError(f"Split: {len(self.x)} images but {len(self.factors)} factors")
        if isinstance(self.x, np.ndarray):
            try:
                require_finite(self.x)
            except ValueError as error:
                raise ValueError(f"Split: {error}") from None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice | np.ndarray) -> "Split":
        """Some of the examples, in memory, with all that is known about them."""
        factors = None if self.factors is None else self.factors[part]
        return Split(self.x[part], self.y[part], factors)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named data set, split once and for all.

    name         "digits", "mnist", ...
    image_shape  (height, width); D = height * width, rows of the image one after the other
    train        for fitting
    valid        for choices (thresholds, when to stop); may be empty
    test         for the numbers that are reported
    sha256       hex digest of the raw bytes of the source, before scaling, splitting and drawing;
                 each loader says which bytes, in which order
    factor_names what the columns of every split's factors are; () if there are none
    class_names  of the labels 0, 1, ...; () if the numbers are their own names
    spread       how valid was taken from train, and will be by `with_validation`: False, the last
                 examples; True, `spread_rows` of both in the order of their file, which may be
                 sorted by class
    Raises       ValueError if a split's D is not the product of image_shape, its factors are
                 not as many as their names, or valid or test is not in memory.
    """

    name: str
    image_shape: tuple[int, ...]
    train: Split
    valid: Split
    test: Split
    sha256: str
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    spread: bool = False

    def __post_init__(self) -> None:
        expected = math.prod(self.image_shape)
        for part in ("train", "valid", "test"):
            found = getattr(self, part).x.shape[1]
            if found != expected:
                raise ValueError(
                    f"Dataset {self.name}: images of {self.image_shape} have {expected} pixels, "
                    f"but {part}.x has {found} columns"
                )
            factors = getattr(self, part).factors
            known = 0 if factors is None else factors.shape[1]
            if known != len(self.factor_names):
                raise ValueError(
                    f"Dataset {self.name}: {len(self.factor_names)} names of factors, "
                    f"but {part} has {known} factors"
                )
            if part != "train" and isinstance(getattr(self, part).x, Streamed):
                raise ValueError(f"Dataset {self.name}: only train may be streamed, not {part}")

    def with_validation(self, n: int) -> "Dataset":
        """The same data with another part of train and valid, taken together, as valid.

        n           0 to len(train) + len(valid) - 1; 0 trains on all of them.  Which n, `spread`
                    says; n = len(valid) changes nothing.
        Raises      ValueError if n is out of range, or train is streamed but not spread.
        """
        total = len(self.train) + len(self.valid)
        if not 0 <= n < total:
            raise ValueError(f"{self.name}: expected 0 to {total - 1} for validation, got {n}")
        if n == len(self.valid):
            return self
        x, y, factors = self._pool()
        kept, held = _parted(total, n, self.spread)
        return replace(
            self,
            train=Split(
                Streamed(x, held) if isinstance(x, Streamed) else x[kept],
                y[kept],
                None if factors is None else factors[kept],
            ),
            valid=Split(x[held], y[held], None if factors is None else factors[held]),
        )

    def _pool(self) -> tuple[Array, np.ndarray, np.ndarray | None]:
        """x, y and factors of train and valid together, in the order before they were parted."""
        a, b = self.train, self.valid
        total = len(a) + len(b)
        order: slice | np.ndarray = slice(None)
        kept, held = _parted(total, len(b), self.spread)
        if self.spread:
            order = np.empty(total, np.int64)
            order[kept], order[held] = np.arange(len(a)), np.arange(len(a), total)
        if isinstance(a.x, Streamed):
            x = a.x.source
            same = self.spread and isinstance(x, Streamed) and len(x) == total
            if not (same and np.array_equal(x[held], b.x)):
                raise ValueError(
                    f"{self.name}: train is streamed, and valid does not come from the same source "
                    "as it is: choose the validation before the binarisation"
                )
        else:
            x = np.concatenate([a.x, b.x])[order]
        y = np.concatenate([a.y, b.y])[order]
        known = a.factors is not None and b.factors is not None
        return x, y, np.concatenate([a.factors, b.factors])[order] if known else None


def _parted(total: int, n: int, spread: bool) -> tuple[Any, Any]:
    """Which rows of all to train on, and which n to hold out: slices, or numbers if spread."""
    if not spread:
        return slice(total - n), slice(total - n, None)
    held = spread_rows(total, n)
    return np.delete(np.arange(total), held), held


def spread_rows(n: int, k: int) -> np.ndarray:
    """k of the rows 0 to n - 1, one in each of k equal stretches: (k,) int64, rising.

    So the rows of a file that is sorted by class are drawn from all classes alike, without a
    permutation of all n. Inside its stretch the place moves on by the golden ratio, because rows at
    equal distances from a file that repeats ten classes in turn might all be of one class.

    >>> spread_rows(100, 5).tolist()
    [0, 32, 44, 77, 89]
    """
    edges = np.arange(k + 1, dtype=np.int64) * n // max(1, k)
    share = np.arange(k) * ((math.sqrt(5.0) - 1.0) / 2.0) % 1.0
    return edges[:-1] + (share * np.diff(edges)).astype(np.int64)


def fixed_order(n: int) -> np.ndarray:
    """A permutation (n,) of 0 to n - 1 that is the same for ever.

    Sorted by the SHA-256 of the index in decimal. A seeded generator would do, but NumPy does not
    promise its permutations for all future versions; this one anybody can repeat in one line.
    """

    def key(index: int) -> bytes:
        return hashlib.sha256(str(index).encode()).digest()

    return np.array(sorted(range(n), key=key), dtype=np.int64)


def _kind(array: np.ndarray) -> str:
    """Shape and element type, for an error message."""
    return f"shape {array.shape} {array.dtype}"
