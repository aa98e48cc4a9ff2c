"""Labels as files write them, words or numbers, as class numbers with names."""

from collections.abc import Sequence

import numpy as np

MAX_CLASSES = 1000

Labels = np.ndarray | Sequence[str]


def class_numbers(parts: Sequence[Labels]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The labels of one or more splits as numbers 0, 1, ..., the same for all, and their names.

        0 to 9                       as they are; without names, for they are their own
        0 to MAX_CLASSES - 1         as they are
        other whole numbers, words   numbered in rising order

    parts     for each split an array (N,) of numbers or of words, or a list of words; a list of
              words that are all numbers counts as numbers.
    Shapes    each (N,) int64.
    Raises    ValueError for numbers that are not whole, or more than MAX_CLASSES classes.
    """
    numbers = [_numbers(part) for part in parts]
    known = [part for part in numbers if part is not None]
    if len(known) == len(parts):
        return _of_numbers(known)
    words = [list(map(str, part)) for part in parts]
    names = sorted(set().union(*words))
    _require_few(len(names))
    number = {name: i for i, name in enumerate(names)}
    return [
        np.fromiter((number[word] for word in part), np.int64, len(part)) for part in words
    ], tuple(names)


def _of_numbers(parts: list[np.ndarray]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The first two cases, and whole numbers of the third."""
    values, y = np.unique(np.concatenate(parts), return_inverse=True)
    whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        odd = values[~whole][0]
        raise ValueError(f"expected labels that are words or whole numbers, got {odd}")
    _require_few(len(values))
    names = tuple(str(int(value)) for value in values)
    if values[0] >= 0 and values[-1] < MAX_CLASSES:
        y = np.concatenate(parts).astype(np.int64)
        names = tuple(map(str, range(int(values[-1]) + 1))) if values[-1] > 9 else ()
    edges = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(y.astype(np.int64), edges), names


def _numbers(part: Labels) -> np.ndarray | None:
    """Labels as an array of numbers; None if one is not."""
    if isinstance(part, np.ndarray) and part.dtype.kind in "fiub":
        return part.astype(np.uint8) if part.dtype.kind == "b" else part
    try:
        return np.array([float(word) for word in part])
    except ValueError:
        return None


def _require_few(count: int) -> None:
    if count > MAX_CLASSES:
        raise ValueError(
            f"expected at most {MAX_CLASSES} different labels, got {count}: are they labels?"
        )
