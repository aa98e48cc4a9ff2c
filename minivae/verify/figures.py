"""What a rung of the certificate is made of: figures, each with the tolerance it must keep."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.arrays import Device


@dataclass(frozen=True)
class Figure:
    """One measured number that has to be at most its tolerance; a nan is not.

    name       what was measured, in a few words.
    value      the figure, in ``unit``.
    tolerance  the largest value that passes.
    unit       "relative", "nats", "standard errors", ...
    """

    name: str
    value: float
    tolerance: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the value keeps the tolerance."""
        return bool(self.value <= self.tolerance)

    def as_json(self) -> dict[str, Any]:
        """The figure as JSON can hold it: a value that is not finite becomes null."""
        value = self.value if math.isfinite(self.value) else None
        return {
            "name": self.name,
            "value": value,
            "tolerance": self.tolerance,
            "unit": self.unit,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Setting:
    """How much a rung does, and where.

    level   "quick" for a glance, "standard" for the certificate, "full" for all there is.
    device  the device that the last rung holds NumPy against; "cpu" skips it.
    Raises  ValueError for another level.
    """

    level: str = "standard"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        if self.level not in ("quick", "standard", "full"):
            raise ValueError(f"expected level quick, standard or full, got {self.level!r}")

    def pick(self, quick: int, standard: int, full: int) -> int:
        """The number that belongs to the level."""
        return {"quick": quick, "standard": standard, "full": full}[self.level]


def worst(*values: Any) -> float:
    """The largest of numbers and arrays; a nan if one of them is.

    What gathers a figure: Python's max(0.0, nan) is 0.0, and so it would lose the nan.

    >>> worst(0.0, math.nan, np.ones(2))
    nan
    """
    return float(np.max(np.concatenate([np.ravel(v) for v in values])))


class Skipped(Exception):
    """A rung that cannot be tried here; its text is the reason."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    name     one word or two, by which a bug of the zoo names it.
    title    what it proves, in a line.
    catches  a sentence: what it would have caught.
    run      measures its figures; may raise `Skipped`.
    """

    name: str
    title: str
    catches: str
    run: Callable[[Setting], list[Figure]]
