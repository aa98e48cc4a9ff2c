"""Images of which a part is given: what is given and what is to be predicted, parted here alone.

    data = parted(load_digits(), 2, "new")         # the left half is given
    data.test.given                                # (N, 32): the left halves, grey
    data.test.x                                    # (N, 32): the right halves, black and white
    joined(data.test.given, data.test.x, data.known)    # (N, 64): images again

A model of p(rest | given) takes x and given as any conditional model takes x and y, so training,
bounds and likelihoods need not know that they were one image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.datasets.base import Dataset, Split
from minivae.datasets.binarisation import binarise_splits
from minivae.datasets.streamed import Streamed

QUADRANTS = ("quadrants-1", "quadrants-2", "quadrants-3")
"""Conditions that are a part of the image."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PartedSplit(Split):
    """Images in two parts.

    Shapes  x (N, D - C) the rest; images (N, D) the whole, grey; known (D,) bool, true for the C
            pixels that are given.
    Raises  ValueError if these shapes do not fit each other.
    """

    images: np.ndarray
    known: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        N, rest = len(self.x), int((~self.known).sum())
        if self.images.shape != (N, len(self.known)) or self.x.shape[1] != rest:
            raise ValueError(
                f"PartedSplit: expected images ({N}, {len(self.known)}) and x ({N}, {rest}), "
                f"got {self.images.shape} and {self.x.shape}"
            )

    @property
    def given(self) -> np.ndarray:
        """What is given of each image, (N, C) float32, grey."""
        return self.images[:, self.known]

    def __getitem__(self, part: slice | np.ndarray) -> "PartedSplit":
        """Some of the examples, both of their parts."""
        some = super().__getitem__(part)
        return PartedSplit(some.x, some.y, some.factors, images=self.images[part], known=self.known)


@dataclass(frozen=True, eq=False, kw_only=True)
class Parted(Dataset):
    """A data set whose examples are the rest of each image, and know what is given of it.

    The rest of an image is a row of pixels and no image, so image_shape is (1, D - C), as it is for
    a table.

    whole_shape  (height, width, ...) of the images.
    known        (D,) bool, true for the C pixels that are given.
    train, valid, test
                 each a `PartedSplit`.
    """

    train: PartedSplit
    valid: PartedSplit
    test: PartedSplit
    whole_shape: tuple[int, ...]
    known: np.ndarray

    def with_validation(self, n: int) -> Dataset:
        """ValueError, unless n is what it is: the validation is chosen before the parts."""
        if n != len(self.valid):
            raise ValueError(f"{self.name}: choose the validation before the images are parted")
        return self


def parted(dataset: Dataset, given: int, binarisation: str = "none") -> Parted:
    """A data set of whole images as p(rest | given) sees it.

    What is given stays grey; the rest is binarised as `binarise_splits` does it, and from the same
    draw as for whole images: whatever is given, everyone is measured on the same pixels.

    given    of the quadrants: see `quadrants`.
    Raises   ValueError for data that are no images, or whose training images are streamed; and what
             `quadrants` and `binarise_splits` raise.
    """
    if min(dataset.image_shape) < 2:
        D = dataset.train.x.shape[1]
        raise ValueError(f"{dataset.name} has rows of {D} numbers: quadrants are of images")
    if isinstance(dataset.train.x, Streamed):
        raise ValueError(f"{dataset.name} is read from disk: quadrants are of images in memory")
    known = quadrants(dataset.image_shape, given)
    drawn, parts = binarise_splits(dataset, binarisation), {}
    for name in ("train", "valid", "test"):
        grey, split = getattr(dataset, name), getattr(drawn, name)
        parts[name] = PartedSplit(
            split.x[:, ~known], split.y, split.factors, images=grey.x, known=known
        )
    return Parted(
        name=dataset.name, image_shape=(1, int((~known).sum())), sha256=dataset.sha256,
        factor_names=dataset.factor_names, class_names=dataset.class_names, spread=dataset.spread,
        whole_shape=dataset.image_shape, known=known, **parts,
    )  # fmt: skip


def quadrants(image_shape: tuple[int, ...], given: int) -> np.ndarray:
    """Which pixels are given, (D,) bool: 1 the lower left quarter, 2 the left half, 3 all but the
    lower right quarter.

    The condition y is then x[:, given], and what is predicted x[:, ~given].
    Raises  ValueError for another number, or an image that has no halves.
    Source  Sohn, Lee and Yan (2015), section 5.1; which quarters, as in the programs of others.
    """
    height, width = image_shape[:2]
    if given not in (1, 2, 3) or height < 2 or width < 2:
        raise ValueError(f"expected 1, 2 or 3 quadrants of an image, got {given} of {image_shape}")
    known = np.zeros(image_shape, bool)
    known[height // 2 :, : width // 2] = True
    if given >= 2:
        known[:, : width // 2] = True
    if given == 3:
        known[: height // 2] = True
    return known.reshape(-1)


def quadrants_of(condition: Any) -> int | None:
    """How many quadrants a condition gives: 2 of "quadrants-2"; None if it is of another kind.

    Raises  ValueError, one line, for another number of them.
    """
    if not isinstance(condition, str) or not condition.startswith("quadrants"):
        return None
    if condition not in QUADRANTS:
        raise ValueError(f"expected one of {', '.join(QUADRANTS)}; got {condition!r}")
    return 1 + QUADRANTS.index(condition)


def joined(given: np.ndarray, rest: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whole images from their parts.

    Shapes  given (..., C), rest (..., D - C), whose leading axes broadcast, known (D,) bool, result
            (..., D) in the dtype of the rest.
    """
    leading = np.broadcast_shapes(given.shape[:-1], rest.shape[:-1])
    images = np.empty((*leading, len(known)), rest.dtype)
    images[..., known], images[..., ~known] = given, rest
    return images
