"""What a data set is here: three splits of flat grey images with labels."""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels; frozen, compared by identity, kept in the computer's memory.

    Shapes    x (N, D) float32, grey values in [0, 1] (0 is background); y (N,) int64.
    Length    len(split) is N, which may be 0.
    Raises    ValueError if a shape, an element type, the lengths or the range of x is wrong.
    """

    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.x.dtype != np.float32:
            raise ValueError(f"Split: expected x (N, D) float32, got {_kind(self.x)}")
        if self.y.ndim != 1 or self.y.dtype != np.int64:
            raise ValueError(f"Split: expected y (N,) int64, got {_kind(self.y)}")
        if len(self.x) != len(self.y):
            raise ValueError(f"Split: {len(self.x)} images but {len(self.y)} labels")
        # Written so that a NaN, which makes every comparison false, is refused as well.
        if self.x.size and not (self.x.min() >= 0 and self.x.max() <= 1):
            low, high = self.x.min(), self.x.max()
            raise ValueError(f"Split: expected x in [0, 1], got values from {low} to {high}")

    def __len__(self) -> int:
        return len(self.x)


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
    Raises       ValueError if a split's D is not the product of image_shape.
    """

    name: str
    image_shape: tuple[int, ...]
    train: Split
    valid: Split
    test: Split
    sha256: str

    def __post_init__(self) -> None:
        expected = math.prod(self.image_shape)
        for part in ("train", "valid", "test"):
            found = getattr(self, part).x.shape[1]
            if found != expected:
                raise ValueError(
                    f"Dataset {self.name}: images of {self.image_shape} have {expected} pixels, "
                    f"but {part}.x has {found} columns"
                )

    def with_validation(self, n: int) -> "Dataset":
        """The same data with the last ``n`` of train and valid, taken together, as valid.

        n           0 to len(train) + len(valid) - 1; 0 trains on all of them
        Raises      ValueError if n is out of range.
        """
        x = np.concatenate([self.train.x, self.valid.x])
        y = np.concatenate([self.train.y, self.valid.y])
        if not 0 <= n < len(x):
            raise ValueError(f"{self.name}: expected 0 to {len(x) - 1} for validation, got {n}")
        cut = len(x) - n
        return replace(self, train=Split(x[:cut], y[:cut]), valid=Split(x[cut:], y[cut:]))


def _kind(array: np.ndarray) -> str:
    """Shape and element type, for an error message."""
    return f"shape {array.shape} {array.dtype}"
