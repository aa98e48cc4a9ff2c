"""What the rendered worlds share: all combinations of the factors, and a fixed choice of them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minivae.datasets.base import Dataset, Split, fixed_order

SIZE = 28  # pixels, in height and in width


def factor_table(levels: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Every combination of the factors' values, (N, F) float64; the last factor changes fastest."""
    axes = np.meshgrid(*levels.values(), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1).astype(np.float64)


def choose(levels: Mapping[str, Sequence[float]], n: int) -> np.ndarray:
    """The first n rows of the factor table in the order of `fixed_order`, (n, F) float64."""
    table = factor_table(levels)
    return table[fixed_order(len(table))[:n]]


def world(
    name: str,
    levels: Mapping[str, Sequence[float]],
    draw: Callable[[np.ndarray], np.ndarray],
    parts: tuple[int, int, int],
    class_names: tuple[str, ...],
) -> Dataset:
    """A data set of images drawn from the first n rows of `choose`, its class the first factor.

    parts     how many to train, valid and test, in this order; no combination is in two of them
    draw      factors (N, F) to images (N, 28, 28) uint8
    sha256    of the images (n x 784 bytes), then the factors (n x F little-endian float64): train,
              valid, test.
    Raises    ValueError if a part is negative or the parts need more than all combinations.
    """
    total = int(np.prod([len(values) for values in levels.values()]))
    if min(parts) < 0 or not 0 < sum(parts) <= total:
        raise ValueError(f"{name}: expected 0 < train + valid + test <= {total}, got {parts}")
    factors = choose(levels, sum(parts))
    images = draw(factors)
    digest = hashlib.sha256(images.tobytes() + factors.astype("<f8").tobytes()).hexdigest()
    x = images.reshape(len(images), -1).astype(np.float32) / 255
    y = factors[:, 0].astype(np.int64)
    first, second = parts[0], parts[0] + parts[1]
    train, valid, test = (
        Split(x[part], y[part], factors[part])
        for part in (slice(first), slice(first, second), slice(second, None))
    )
    size = (SIZE, SIZE)
    return Dataset(name, size, train, valid, test, digest, tuple(levels), class_names)
