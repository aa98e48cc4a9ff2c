"""What a conditional model is told about each image: its class, what is known of its making, or
a part of the image itself.

    known = conditions(dataset, "label")     # or "factors", or "shape,x,y"
    y = known.of(dataset.train)              # (N, C)
    heart = known.read("shape=heart,x=-2,y=0")

A class is a one-hot row, so that no class is nearer to another one.  A number is scaled to run from
-1 to 1 over the training images.  An angle is a point on the circle, (cos, sin), so that its end is
its beginning.  Several attributes stand beside each other.  Pixels that are given stay as they are.
"""

import math
from dataclasses import dataclass

import numpy as np

from minivae.datasets.base import Dataset, Split
from minivae.datasets.parts import QUADRANTS, Parted, PartedSplit, quadrants_of

CLASSES = ("shape", "character", "family", "weight", "slant")
"""Factors of the rendered worlds that are names, not numbers."""

ANGLES = ("rotation",)
"""Factors that run around a circle once from 0 to 1."""


@dataclass(frozen=True)
class Attribute:
    """One thing that is known about an image, and the columns of y that say it.

    name     "label", or the name of a factor.
    kind     "class", "number" or "angle".
    names    of a class: what its values 0, 1, ... are called.
    seen     of a class: the values that training images have.
    low, high  of a number: over the training images.
    """

    name: str
    kind: str
    names: tuple[str, ...] = ()
    seen: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def fit(cls, name: str, kind: str, values: np.ndarray, names: tuple[str, ...]) -> "Attribute":
        """From the values (N,) of the training images; ValueError if they are all the same."""
        if len(values) == 0 or not np.ptp(values):
            none = ", and so it is where there are none" if name == "label" else ""
            raise ValueError(f"{name} is the same for all training images{none}: it says nothing")
        if kind != "class":
            return cls(name, kind, low=float(values.min()), high=float(values.max()))
        seen = tuple(int(v) for v in np.unique(values))
        names = names or tuple(str(v) for v in range(seen[-1] + 1))
        return cls(name, kind, names, seen)

    @property
    def width(self) -> int:
        """The number of columns."""
        return {"class": len(self.names), "number": 1, "angle": 2}[self.kind]

    def columns(self, values: np.ndarray) -> np.ndarray:
        """Values (N,) as columns (N, width), float32.

        Raises  ValueError, one line, for a class that no training image has.
        """
        if self.kind == "class":
            return self._one_hot(values)
        if self.kind == "angle":
            turn = 2.0 * math.pi * values
            return np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
        scaled = 2.0 * (values - self.low) / (self.high - self.low) - 1.0
        return scaled[:, None].astype(np.float32)

    def read(self, word: str) -> float:
        """The value that a word of the command line says; ValueError, one line, for no such."""
        if self.kind == "class":
            if word not in self.names:
                some = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
                raise ValueError(f"expected {self.name} one of {some}; got {word!r}")
            return float(self.names.index(word))
        low, high = (0.0, 1.0) if self.kind == "angle" else (self.low, self.high)
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(
                f"expected {self.name} from {low:g} to {high:g}, as training images have it; "
                f"got {word!r}"
            )
        return value

    def _one_hot(self, values: np.ndarray) -> np.ndarray:
        unknown = values[~np.isin(values, self.seen)]
        if len(unknown):
            value = int(unknown[0])
            name = self.names[value] if 0 <= value < len(self.names) else value
            raise ValueError(
                f"{self.name} {name!r}: no training image has it, so nothing was learned for it"
            )
        return np.eye(len(self.names), dtype=np.float32)[values.astype(np.int64)]


@dataclass(frozen=True)
class Conditions:
    """What a conditional model is told: attributes beside each other.

    factor_names  of the data set, in the order of its columns.
    """

    attributes: tuple[Attribute, ...]
    factor_names: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """C, the number of columns of y."""
        return sum(attribute.width for attribute in self.attributes)

    @property
    def label(self) -> Attribute | None:
        """The attribute, if it is one class and nothing else: what can be put into columns."""
        one = self.attributes[0]
        return one if len(self.attributes) == 1 and one.kind == "class" else None

    def of(self, split: Split) -> np.ndarray:
        """The conditions of all images of a split, (N, C) float32.

        Raises  ValueError for a class that no training image has.
        """
        return self.rows([_values(split, a.name, self.factor_names) for a in self.attributes])

    def rows(self, values: list[np.ndarray]) -> np.ndarray:
        """Values (N,) of each attribute as conditions (N, C) float32."""
        columns = [a.columns(v) for a, v in zip(self.attributes, values, strict=True)]
        return np.concatenate(columns, axis=1)

    def read(self, text: str) -> np.ndarray:
        """A condition (C,) from a text: "7", or "shape=heart,x=-2", every attribute once.

        Raises  ValueError, one line, for an unknown name or value, or one that is missing.
        """
        words = dict(_pair(part, self.attributes) for part in text.split(","))
        known = [attribute.name for attribute in self.attributes]
        if set(words) != set(known) or len(words) != len(text.split(",")):
            raise ValueError(f"expected a value of each of {', '.join(known)}; got {text!r}")
        return self.rows([np.array([a.read(words[a.name])]) for a in self.attributes])[0]


@dataclass(frozen=True, kw_only=True)
class GivenPixels(Conditions):
    """The condition is a part of the image itself: there are no attributes.

    pixels  C, how many are given.
    """

    pixels: int
    attributes: tuple[Attribute, ...] = ()

    @property
    def width(self) -> int:
        """C, the number of columns of y."""
        return self.pixels

    @property
    def label(self) -> None:
        """None: no class is told."""
        return None

    def of(self, split: Split) -> np.ndarray:
        """What is given of all images of a split of a `Parted`, (N, C) float32."""
        if not isinstance(split, PartedSplit):
            raise ValueError("expected images in two parts, as `parted` makes them")
        return split.given

    def read(self, text: str) -> np.ndarray:
        """ValueError, one line: no text says pixels."""
        raise ValueError(f"what is given is a part of an image: no label says it, got {text!r}")


def conditions(dataset: Dataset, how: str = "label") -> Conditions:
    """What is known about the images of a data set, fitted on its training images.

    how     "label", the class; "factors", all factors; names of factors with commas between; or one
            of `QUADRANTS`, for a data set that was parted so.
    Raises  ValueError, one line, for data without them, or a name that they do not have.
    """
    if quadrants_of(how) is not None:
        if not isinstance(dataset, Parted):
            raise ValueError(f"expected {dataset.name} parted into {how} and the rest: see parted")
        return GivenPixels(pixels=int(dataset.known.sum()))
    names = [how] if how == "label" else list(dataset.factor_names)
    if how not in ("label", "factors"):
        names = how.split(",")
    known = ", ".join(["label", *(["factors"] if dataset.factor_names else [])])
    parts = f", or one of {', '.join(QUADRANTS)}" if min(dataset.image_shape) > 1 else ""
    for name in names:
        if name != "label" and (name not in dataset.factor_names or names.count(name) > 1):
            raise ValueError(
                f"expected a condition of {dataset.name} ({known}"
                f"{''.join(', ' + n for n in dataset.factor_names)}){parts}; got {how!r}"
            )
    if not names:
        raise ValueError(f"{dataset.name} has no known factors: expected label, got {how!r}")
    found = []
    for name in names:
        values = _values(dataset.train, name, dataset.factor_names)
        first = name in ("label", *dataset.factor_names[:1])  # the class is the first factor
        kind = "class" if name in ("label", *CLASSES) else "angle" if name in ANGLES else "number"
        found.append(Attribute.fit(name, kind, values, dataset.class_names if first else ()))
    return Conditions(tuple(found), dataset.factor_names)


def _values(split: Split, name: str, names: tuple[str, ...]) -> np.ndarray:
    if name == "label":
        return split.y
    if split.factors is None or name not in names:
        raise ValueError(f"these images have no factor {name!r}")
    return split.factors[:, names.index(name)]


def _pair(part: str, attributes: tuple[Attribute, ...]) -> tuple[str, str]:
    """NAME=VALUE, or a VALUE alone where there is one attribute."""
    name, equals, value = part.partition("=")
    if not equals and len(attributes) == 1:
        return attributes[0].name, name.strip()
    return name.strip(), value.strip()
