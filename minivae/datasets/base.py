"""What a data set is here: three splits of flat grey images with labels."""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels; frozen, compared by identity, kept in the computer's memory.

    Shapes    x (N, D) float32, grey values in [0, 1] (0 is background); y (N,) int64;
              factors (N, F) float64 where the world behind the images is known, else None.
    Length    len(split) is N, which may be 0.
    Raises    ValueError if a shape, an element type, the lengths or the range of x is wrong.
    """

    x: np.ndarray
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
        # Written so that a NaN, which makes every comparison false, is refused as well.
        if self.x.size and not (self.x.min() >= 0 and self.x.max() <= 1):
            low, high = self.x.min(), self.x.max()
            raise ValueError(f"Split: expected x in [0, 1], got values from {low} to {high}")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice) -> "Split":
        """Some of the examples, with all that is known about them."""
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
    Raises       ValueError if a split's D is not the product of image_shape, or its factors are
                 not as many as their names.
    """

    name: str
    image_shape: tuple[int, ...]
    train: Split
    valid: Split
    test: Split
    sha256: str
    factor_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

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

    def with_validation(self, n: int) -> "Dataset":
        """The same data with the last ``n`` of train and valid, taken together, as valid.

        n           0 to len(train) + len(valid) - 1; 0 trains on all of them
        Raises      ValueError if n is out of range.
        """
        a, b = self.train, self.valid
        known = a.factors is not None and b.factors is not None
        both = Split(
            np.concatenate([a.x, b.x]),
            np.concatenate([a.y, b.y]),
            np.concatenate([a.factors, b.factors]) if known else None,
        )
        if not 0 <= n < len(both):
            raise ValueError(f"{self.name}: expected 0 to {len(both) - 1} for validation, got {n}")
        cut = len(both) - n
        return replace(self, train=both[:cut], valid=both[cut:])


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
