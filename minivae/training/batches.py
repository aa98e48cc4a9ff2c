"""Which examples make a batch, and how they come to the model's device."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minivae.arrays import Array, in_memory, like, namespace
from minivae.models.base import Model

Fetch = Callable[[np.ndarray], tuple[Array, dict[str, Array]]]
"""The examples x of some rows, and their conditions {"y": y} where there are any."""


def batches(n: int, batch_size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The indices 0..n-1 in random order, in batches; the last one may be smaller."""
    order = rng.permutation(n)
    return (order[i : i + batch_size] for i in range(0, n, batch_size))


def fetcher(model: Model, x: Any, y: Array | None) -> Fetch:
    """Rows of the data on the model's device: all moved there now, or a batch at a time."""

    def taken(data: Array, rows: np.ndarray) -> Array:
        return namespace(data).take(data, like(rows, data), axis=0)

    data = model.array(x) if in_memory(x) else None

    def fetch(rows: np.ndarray) -> tuple[Array, dict[str, Array]]:
        batch = model.array(x[rows]) if data is None else taken(data, rows)
        return batch, {} if y is None else {"y": taken(y, rows)}

    return fetch


def conditions(model: Model, x: Any, y: np.ndarray | None) -> Array | None:
    """The conditions on the model's device, if the model takes any."""
    if model.conditional != (y is not None):
        takes = "a condition y for each x" if model.conditional else "no conditions y"
        raise ValueError(f"expected {takes}, got {'none' if y is None else 'some'}")
    if y is None:
        return None
    return model.array(model.check_conditions(y, len(x)))
