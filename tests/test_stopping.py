"""Early stopping: a best that is a best, and a patience that ends when it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivae.stopping import Patience

VALUES = st.lists(st.one_of(st.floats(-9, 9), st.sampled_from([math.nan, math.inf, -math.inf])))


def story(values: list[float], epochs: int, min_delta: float = 0.0) -> list[tuple[bool, bool]]:
    """(a new best?, spent?) after each value."""
    patience = Patience(epochs, min_delta)
    return [(patience.update(value), patience.spent) for value in values]


def test_by_hand() -> None:
    got = story([-5.0, -4.0, -4.0, -4.5, -3.9, -4.0, -4.0, -4.0], 3)
    better = [True, True, False, False, True, False, False, False]
    assert got == list(zip(better, 7 * [False] + [True], strict=True))
    assert story([1.0, 1.0], 1) == [(True, False), (False, True)]


def test_before_the_first_value() -> None:
    patience = Patience(1)
    assert (patience.best, patience.best_epoch, patience.epoch) == (-math.inf, 0, 0)
    assert not patience.spent


def test_the_best_and_its_epoch_counted_from_1() -> None:
    patience = Patience.after([-9.0, -2.0, -3.0], 5)
    assert (patience.best, patience.best_epoch, patience.epoch) == (-2.0, 2, 3)


def test_min_delta_must_be_exceeded_and_small_gains_add_up() -> None:
    patience = Patience(9, 0.5)
    assert [patience.update(v) for v in (0.0, 0.5, 0.25, 0.75, 1.0, 1.5)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
    assert patience.best == 1.5


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_best(odd: float) -> None:
    assert story([odd, odd], 2) == [(False, False), (False, True)]
    patience = Patience.after([odd, 1.0, odd], 2)
    assert (patience.best, patience.best_epoch) == (1.0, 2)


@given(VALUES, st.integers(1, 5))
def test_the_best_is_the_first_of_the_largest_finite_values(
    values: list[float], epochs: int
) -> None:
    patience = Patience.after(values, epochs)
    finite = [v for v in values if math.isfinite(v)]
    if finite:
        assert patience.best == max(finite)
        assert patience.best_epoch == values.index(max(finite)) + 1
    stale = len(values) - patience.best_epoch
    assert patience.spent == (stale >= epochs) and patience.epoch == len(values)


@given(VALUES, VALUES, st.integers(1, 5), st.floats(0, 1))
def test_a_resumed_patience_goes_on_alike(
    before: list[float], after: list[float], epochs: int, min_delta: float
) -> None:
    resumed = Patience.after(iter(before), epochs, min_delta)
    whole = story(before + after, epochs, min_delta)
    assert [(resumed.update(v), resumed.spent) for v in after] == whole[len(before) :]


@pytest.mark.parametrize(
    ("epochs", "min_delta", "words"),
    [
        (0, 0.0, "a patience of at least 1 epoch, got 0"),
        (1, -0.1, "min_delta of at least 0, got -0.1"),
        (1, math.nan, "min_delta"),
        (1, math.inf, "min_delta"),
    ],
)
def test_what_makes_no_sense_is_refused(epochs: int, min_delta: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Patience(epochs, min_delta)
