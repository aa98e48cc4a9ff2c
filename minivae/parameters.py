"""All parameters are one vector theta, all gradients one vector grad.

Layers hold named views into them: ``layer.W`` is a reshaped slice of theta, ``layer.dW`` the same
slice of grad.  So the optimiser, saving, the gradient check and moving to a GPU each handle one
vector, and a model can be bound to another theta, a complex one for instance.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from minivae.arrays import Array, Device, namespace, to_device


@runtime_checkable
class Layer(Protocol):
    """What every layer and network does; see `minivae.layers`."""

    def forward(self, x: Array) -> tuple[Any, Any]: ...

    def backward(self, dy: Any, cache: Any, need_dx: bool = True) -> Array | None: ...

    def parts(self) -> "Mapping[str, Layer]":
        """The layers this one is made of, by name; empty for a layer that is not a network."""

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Fresh values of this layer's own parameters, by name."""


class Parameters:
    """The vectors theta and grad of a model, and the views its layers hold into them.

    parts    the model's networks by name: {"encoder": ..., "decoder": ...}.
    rng      draws the initial values.
    dtype    "float32" to train, "float64" to check.
    Shapes   theta (P,), grad (P,), P the number of parameters.
    Names    "encoder.trunk.0.W": the way from the model to the array.
    Raises   ValueError if one layer object stands in two places: its gradient would be overwritten
             by views that another name owns.
    """

    def __init__(
        self,
        parts: Mapping[str, Layer],
        rng: np.random.Generator,
        dtype: str = "float32",
        device: Device = "cpu",
    ) -> None:
        self.parts = parts
        self._slots: list[tuple[str, Layer, str, tuple[int, ...], slice]] = []
        values, start, seen = [np.empty(0)], 0, set[int]()
        for path, layer in leaves(parts):
            if id(layer) in seen:
                raise ValueError(f"the layer at {path!r} already stands elsewhere in the model")
            seen.add(id(layer))
            for name, value in layer.initial(rng).items():
                stop = start + value.size
                slot = (f"{path}.{name}", layer, name, value.shape, slice(start, stop))
                self._slots.append(slot)
                values.append(value.ravel())
                start = stop
        self.bind(to_device(np.concatenate(values).astype(dtype), device))

    def bind(self, theta: Array) -> None:
        """Make every layer a view of ``theta`` (P,), with a fresh grad of the same dtype."""
        xp = namespace(theta)
        self.theta, self.grad = theta, xp.zeros_like(theta)
        for _, layer, name, shape, part in self._slots:
            setattr(layer, name, xp.reshape(theta[part], shape))
            setattr(layer, "d" + name, xp.reshape(self.grad[part], shape))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or what was unpickled, has layers that are views of its own theta again."""
        self.__dict__.update(state)
        grad = self.grad
        self.bind(self.theta)
        self.grad[...] = grad

    def zero_grad(self) -> None:
        """Forget the last gradient; `backward` adds to what is there."""
        self.grad[...] = 0.0

    def views(self, vector: Array) -> dict[str, Array]:
        """``vector`` (P,) cut into named arrays: of theta, of grad, or of a moment of Adam."""
        xp = namespace(vector)
        return {path: xp.reshape(vector[part], shape) for path, _, _, shape, part in self._slots}

    def __len__(self) -> int:
        return sum(math.prod(shape) for *_, shape, _ in self._slots)


def leaves(parts: Mapping[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """The layers that are no networks themselves, each with the way to it: "encoder.trunk.0"."""
    for name, layer in parts.items():
        inner = layer.parts()
        if inner:
            yield from ((f"{name}.{path}", leaf) for path, leaf in leaves(inner))
        else:
            yield name, layer
