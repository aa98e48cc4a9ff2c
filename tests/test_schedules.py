"""Schedules: values worked out by hand, laws for any numbers, and the text of the command line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import assert_caught

from minivae.schedules import (
    KL,
    LEARNING_RATE,
    Constant,
    Cosine,
    Cyclical,
    LinearWarmUp,
    Schedule,
    Step,
    WarmUp,
    kl_schedule,
    learning_rate_schedule,
)

RUN = st.integers(2, 300)
SHARE = st.floats(0, 1)


def values(schedule: Schedule, steps: int, start: int = 0) -> list[float]:
    return [schedule(step) for step in range(start, start + steps)]


# ---- by hand ----


def check_constant() -> None:
    assert values(Constant(), 3) == [1.0, 1.0, 1.0] and Constant()(10**9) == 1.0


def check_step() -> None:
    assert values(Step(3, 0.5), 8) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert values(Step(1), 3) == pytest.approx([1, 0.1, 0.01])
    assert Step(1, 0.5)(100_000) == 0.0


def check_cosine() -> None:
    """cos of 0, 60, 90, 120 and 180 degrees."""
    assert values(Cosine(6), 8) == pytest.approx(
        [1, (2 + math.sqrt(3)) / 4, 0.75, 0.5, 0.25, (2 - math.sqrt(3)) / 4, 0, 0], abs=1e-15
    )
    got = [Cosine(6, 0.2)(s) for s in (0, 2, 3, 4, 6, 10**9)]
    assert got == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, 0.2], abs=1e-15)
    assert Cosine(1)(0) == 1.0 and Cosine(6, 1.0)(5) == 1.0
    assert Cosine(6)(6) == 0.0 and Cosine(6, 0.2)(7) == 0.2


def check_warm_up() -> None:
    assert values(WarmUp(4), 6) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert values(WarmUp(2, Step(2, 0.5)), 7) == [0.5, 1, 1, 1, 0.5, 0.5, 0.25]
    assert values(WarmUp(1, Cosine(2)), 4) == pytest.approx([1, 1, 0.5, 0])


def check_linear_warm_up() -> None:
    assert values(LinearWarmUp(4), 6) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert values(LinearWarmUp(2, 0.5), 4) == [0.5, 0.75, 1, 1]
    assert values(LinearWarmUp(1), 3) == [0, 1, 1]


def check_cyclical() -> None:
    """Where 4 or 2 divide T, and where they do not; with ramps of a half, all and a little."""
    assert values(Cyclical(16, 2), 18) == 2 * [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] + [1, 1]
    assert values(Cyclical(8, 2, 1.0), 9) == 2 * [0, 0.25, 0.5, 0.75] + [1]
    assert values(Cyclical(8), 8) == 4 * [0, 1]
    assert values(Cyclical(6, 2, 0.01), 6) == 2 * [0, 1, 1]
    long, short = [0, Fraction(8, 9), 1], [0, Fraction(8, 9)]
    assert values(Cyclical(9), 9) == pytest.approx([float(v) for v in long + 3 * short])
    assert values(Cyclical(5, 1, 1.0), 6) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])


HAND: dict[str, Callable[[], None]] = {
    "constant": check_constant,
    "step": check_step,
    "cosine": check_cosine,
    "warm-up": check_warm_up,
    "linear": check_linear_warm_up,
    "cyclical": check_cyclical,
}


@pytest.mark.parametrize("name", HAND)
def test_values_by_hand(name: str) -> None:
    HAND[name]()


# ---- laws ----


def is_plain(schedule: Schedule, steps: int) -> list[float]:
    """Its values, after checking that they are Python floats in [0, 1]."""
    got = values(schedule, steps)
    assert all(type(value) is float and 0.0 <= value <= 1.0 for value in got)
    return got


@given(RUN, SHARE)
def test_the_cosine_falls_from_1_to_the_floor(total: int, floor: float) -> None:
    got = is_plain(Cosine(total, floor), total + 3)
    assert got[0] == 1.0 and got[total:] == 3 * [floor]
    assert all(a >= b for a, b in pairwise(got))
    # Half a wave is symmetric about its middle, and its slope is nowhere above pi / 2 a run.
    assert np.allclose(np.add(got[: total + 1], got[total::-1]), 1 + floor)
    assert max(a - b for a, b in pairwise(got)) <= math.pi / 2 / total * (1 - floor) + 1e-15


@given(st.integers(1, 50), st.floats(0.01, 1), st.integers(0, 200))
def test_a_stair_is_one_factor_down(every: int, factor: float, step: int) -> None:
    schedule = Step(every, factor)
    assert len(set(values(schedule, every, step - step % every))) == 1
    assert math.isclose(schedule(step + every), factor * schedule(step), rel_tol=1e-9)
    is_plain(schedule, every + 1)


@given(st.integers(1, 100), RUN, SHARE)
def test_a_warm_up_joins_what_follows_without_a_jump(steps: int, total: int, floor: float) -> None:
    then = Cosine(total, floor)
    got = is_plain(WarmUp(steps, then), steps + total)
    assert got[0] == pytest.approx(1 / steps)
    assert np.allclose(np.diff(got[:steps]), 1 / steps)
    assert got[steps - 1] == got[steps] == 1.0
    assert got[steps:] == values(then, total)


@given(st.integers(1, 200), SHARE)
def test_the_kl_warm_up_rises_evenly_from_start_to_1(steps: int, start: float) -> None:
    got = is_plain(LinearWarmUp(steps, start), steps + 3)
    assert got[0] == start and got[steps:] == [1.0, 1.0, 1.0]
    assert np.allclose(np.diff(got[: steps + 1]), (1 - start) / steps)
    assert got[steps - 1] < 1.0 or start > 0.99


def first_steps(total: int, cycles: int) -> list[int]:
    return [math.ceil(Fraction(total * c, cycles)) for c in range(cycles + 1)]


@given(st.integers(1, 12), st.integers(0, 200), st.floats(0.01, 1))
def test_a_cycle_starts_at_0_rises_and_rests_at_1(cycles: int, more: int, ramp: float) -> None:
    total = 2 * cycles + more
    got = is_plain(Cyclical(total, cycles, ramp), total + 2)
    assert got[total:] == [1.0, 1.0]
    starts = first_steps(total, cycles)
    assert [s for s in range(total) if got[s] == 0.0] == starts[:-1]
    for first, end in pairwise(starts):
        assert end - first in (total // cycles, -(-total // cycles))
        cycle = got[first:end]
        assert all(a <= b for a, b in pairwise(cycle))
        for k, value in enumerate(cycle):  # k steps of the n = ramp total / cycles of a rise
            assert value == pytest.approx(min(1.0, k / (ramp * total / cycles)), rel=1e-12)


@given(st.integers(1, 12), st.integers(2, 30), st.floats(0.01, 1))
def test_where_cycles_divide_the_run_they_repeat_and_are_the_papers(
    cycles: int, length: int, ramp: float
) -> None:
    total = cycles * length
    got = values(Cyclical(total, cycles, ramp), total)
    assert got == cycles * got[:length]
    for t, value in enumerate(got, 1):  # the paper counts from 1
        tau = ((t - 1) % math.ceil(total / cycles)) / (total / cycles)
        assert value == pytest.approx(tau / ramp if tau <= ramp else 1.0, rel=1e-12)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 4))
def test_off_by_one(cycles: int, n: int, rest: int) -> None:
    """A rise of n whole steps: 1 - 1/n at the n-th, 1 exactly at the next and until the end."""
    length = n * rest
    if length < 2:
        return
    got = values(Cyclical(cycles * length, cycles, 1 / rest), length)
    assert got[n - 1] == pytest.approx(1 - 1 / n)
    assert got[n:] == pytest.approx((length - n) * [1.0], rel=1e-15)
    cut = values(Cyclical(cycles * length, cycles, 1.0), length)
    assert cut[-1] == pytest.approx(1 - 1 / length)


@pytest.mark.parametrize("ramp", [0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
def test_the_rest_is_exactly_1(ramp: float) -> None:
    for M in range(1, 8):
        got = values(Cyclical(100 * M, M, ramp), 100 * M)
        assert got.count(1.0) == M * (100 - round(100 * ramp))


def test_a_schedule_is_a_plain_value() -> None:
    assert Cosine(5, 0.1) == Cosine(5, 0.1) != Cosine(6, 0.1)
    assert len({WarmUp(2, Step(3)), WarmUp(2, Step(3))}) == 1
    assert repr(WarmUp(2, Cosine(5))) == "WarmUp(steps=2, then=Cosine(total_steps=5, floor=0.0))"
    with pytest.raises(FrozenInstanceError):
        Cosine(5).floor = 0.5  # type: ignore[misc]


def test_a_schedule_does_not_depend_on_what_was_asked_before() -> None:
    """A resumed run asks for late steps first."""
    for schedule in (WarmUp(3, Cosine(7)), Cyclical(10, 2), LinearWarmUp(4), Step(2)):
        forward = values(schedule, 12)
        assert [schedule(s) for s in reversed(range(12))] == forward[::-1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Step(0), "every a whole number of at least 1, got 0"),
        (lambda: Step(1.5), "every a whole number"),  # type: ignore[arg-type]
        (lambda: Step(True), "every a whole number"),
        (lambda: Step(2, 0.0), r"factor in \(0, 1\], got 0.0"),
        (lambda: Step(2, 1.1), "factor"),
        (lambda: Cosine(0), "total_steps"),
        (lambda: Cosine(5, -0.1), r"floor in \[0, 1\], got -0.1"),
        (lambda: Cosine(5, 1.1), "floor"),
        (lambda: Cosine(5, math.nan), "floor"),
        (lambda: WarmUp(0), "steps"),
        (lambda: LinearWarmUp(0), "steps"),
        (lambda: LinearWarmUp(5, 1.5), "start"),
        (lambda: LinearWarmUp(5, -0.5), "start"),
        (lambda: Cyclical(10, 0), "cycles a whole number of at least 1, got 0"),
        (lambda: Cyclical(7, 4), "total_steps of 4 cycles a whole number of at least 8, got 7"),
        (lambda: Cyclical(10, 2, 0.0), r"ramp in \(0, 1\], got 0.0"),
        (lambda: Cyclical(10, 2, 1.5), "ramp"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# ---- text ----

TEXTS: dict[str, Schedule] = {  # 10 epochs of 8 steps
    "constant": Constant(),
    "step:every=3": Step(24, 0.1),
    "step:every=3,factor=0.5": Step(24, 0.5),
    " step: factor = 0.5 , every = 0.25 ": Step(2, 0.5),
    "step:every=100": Step(800, 0.1),
    "cosine": Cosine(80),
    "cosine:floor=0.01": Cosine(80, 0.01),
    "cosine:floor=1e-2": Cosine(80, 0.01),
    "warmup:epochs=5": WarmUp(40),
    "warmup:epochs=10": WarmUp(80),
    "warmup:epochs=0.7": WarmUp(6),
    "warmup:epochs=5+constant": WarmUp(40),
    "warmup:epochs=0.3+cosine": WarmUp(2, Cosine(78)),
    "warmup:epochs=5 + cosine:floor=0.1": WarmUp(40, Cosine(40, 0.1)),
    "warmup:epochs=9.875+cosine": WarmUp(79, Cosine(1)),
    "warmup:epochs=1+step:every=2,factor=0.3": WarmUp(8, Step(16, 0.3)),
}
KL_TEXTS: dict[str, Schedule] = {
    "constant": Constant(),
    "linear:epochs=2": LinearWarmUp(16),
    "linear:epochs=10": LinearWarmUp(80),
    "linear:epochs=0.5,start=0.1": LinearWarmUp(4, 0.1),
    "cyclical": Cyclical(80),
    "cyclical:cycles=2": Cyclical(80, 2),
    "cyclical:ramp=0.25,cycles=5": Cyclical(80, 5, 0.25),
}


def check_texts() -> None:
    assert {text: learning_rate_schedule(text, 8, 10) for text in TEXTS} == TEXTS
    assert {text: kl_schedule(text, 8, 10) for text in KL_TEXTS} == KL_TEXTS


def test_texts() -> None:
    check_texts()
    said = {text.split(":")[0].split("+")[0].strip() for text in TEXTS}
    assert said == set(LEARNING_RATE)
    assert {text.split(":")[0] for text in KL_TEXTS} == set(KL)


BAD = [
    ("cosin", "a learning-rate schedule (constant, step, cosine, warmup), got 'cosin'; did you "
     "mean 'cosine'?"),
    ("warm-up:epochs=3", "did you mean 'warmup'?"),
    ("xyz", "got 'xyz'"),
    ("", "got ''"),
    ("linear:epochs=3", "got 'linear'"),
    ("cosine:flor=1", "an option of cosine (floor), got 'flor'; did you mean 'floor'?"),
    ("cosine:", "an option of cosine (floor), got ''"),
    ("cosine:floor=0.1,", "an option of cosine (floor), got ''"),
    ("constant:floor=1", "an option of constant (it has none), got 'floor'"),
    ("cosine:floor", "a number below 1e9 for floor of cosine, got ''"),
    ("cosine:floor=low", "a number below 1e9 for floor of cosine, got 'low'"),
    ("cosine:floor=nan", "a number"),
    ("step:every=inf", "a number below 1e9 for every of step, got 'inf'"),
    ("step:every=1e300", "a number below 1e9 for every of step, got '1e300'"),
    ("cosine:floor=2", "floor in [0, 1], got 2.0"),
    ("cosine:floor=0.1,floor=0.1", "floor of cosine once, got it twice"),
    ("step", "step:every=NUMBER, got 'step'"),
    ("step:factor=0.5", "step:every=NUMBER, got 'step:factor=0.5'"),
    ("warmup", "warmup:epochs=NUMBER, got 'warmup'"),
    ("step:every=0", "step to take at least one step, 1/8 of an epoch, got 0 epochs"),
    ("step:every=0.05", "at least one step"),
    ("warmup:epochs=-1", "at least one step"),
    ("warmup:epochs=11", "warmup to end within the run, after at most 10 epochs, got 11"),
    ("warmup:epochs=10+cosine", "warmup to end within the run, after at most 9.875 epochs, got 10"),
    ("warmup:epochs=1+", "got ''"),
    ("cosine+warmup:epochs=1", "warmup before the +"),
    ("warmup:epochs=1+warmup:epochs=1", "one warmup"),
    ("warmup:epochs=1+cosine+cosine", "got 'cosine+cosine'"),
]  # fmt: skip
BAD_KL = [
    ("cyclic", "a KL schedule (constant, linear, cyclical), got 'cyclic'; did you mean 'cyclical'"),
    ("cosine", "a KL schedule"),
    ("linear", "linear:epochs=NUMBER, got 'linear'"),
    ("linear:epochs=11", "linear to end within the run, after at most 10 epochs, got 11"),
    ("linear:epochs=1,start=2", "start in [0, 1], got 2.0"),
    ("cyclical:cycles=2.5", "cycles a whole number, got 2.5"),
    ("cyclical:cycles=0", "cycles a whole number of at least 1, got 0"),
    ("cyclical:cycles=41", "total_steps of 41 cycles a whole number of at least 82, got 80"),
    ("cyclical:ramp=0", "ramp in (0, 1], got 0.0"),
]


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [(learning_rate_schedule, *bad) for bad in BAD] + [(kl_schedule, *bad) for bad in BAD_KL],
)
def test_a_bad_text_is_one_clear_line(read: Any, text: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        read(text, 8, 10)
    said = str(error.value)
    assert said.startswith("expected ") and words in said and "\n" not in said and len(said) < 130


@given(st.text("+:=,.0123e constcsiwarmupf", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (learning_rate_schedule, kl_schedule):
        try:
            schedule = read(text, 8, 10)
        except ValueError as error:
            assert "\n" not in str(error) or "\n" in text
        else:
            assert 0.0 <= schedule(0) <= 1.0


# ---- planted bugs ----


def call(formula: Callable[[Any, int], float]) -> Any:
    return lambda self, step: formula(self, step)


BUGS: dict[str, tuple[type, Any, Callable[[], None]]] = {
    "a staircase that starts too late": (
        Step, call(lambda s, k: s.factor ** ((k - 1) // s.every)), check_step),
    "a staircase by epochs from 1": (
        Step, call(lambda s, k: s.factor ** ((k + 1) // s.every)), check_step),
    "a cosine that ends at the last step": (
        Cosine, call(lambda s, k: s.floor + (1 - s.floor) / 2 * (
            1 + math.cos(math.pi * min(1, k / max(1, s.total_steps - 1))))), check_cosine),
    "a cosine that comes back": (
        Cosine, call(lambda s, k: s.floor + (1 - s.floor) / 2 * (
            1 + math.cos(math.pi * k / s.total_steps))), check_cosine),
    "a floor that is added": (
        Cosine, call(lambda s, k: s.floor + 0.5 * (
            1 + math.cos(math.pi * min(1, k / s.total_steps)))), check_cosine),
    "a warm-up from 0": (
        WarmUp, call(lambda s, k: k / s.steps if k < s.steps else s.then(k - s.steps)),
        check_warm_up),
    "a warm-up that eats what follows": (
        WarmUp, call(lambda s, k: (k + 1) / s.steps if k < s.steps else s.then(k)), check_warm_up),
    "a KL warm-up from 1 / steps": (
        LinearWarmUp, call(lambda s, k: s.start + (1 - s.start) * min(1, (k + 1) / s.steps)),
        check_linear_warm_up),
    "a KL warm-up without its start": (
        LinearWarmUp, call(lambda s, k: min(1, k / s.steps)), check_linear_warm_up),
    "cycles counted from 1": (
        Cyclical, call(lambda s, k: 1.0 if k >= s.total_steps else min(
            1, ((k + 1) * s.cycles % s.total_steps) / s.total_steps / s.ramp)), check_cyclical),
    "cycles that drift": (
        Cyclical, call(lambda s, k: 1.0 if k >= s.total_steps else min(
            1, k % math.ceil(s.total_steps / s.cycles) / (s.total_steps / s.cycles) / s.ramp)),
        check_cyclical),
    "cycles that go on after the run": (
        Cyclical, call(lambda s, k: min(
            1, (k * s.cycles % s.total_steps) / s.total_steps / s.ramp)), check_cyclical),
}  # fmt: skip


@contextmanager
def planted(kind: type, bug: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "__call__", bug)
        yield


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(name: str) -> None:
    kind, bug, check = BUGS[name]
    assert_caught(lambda: planted(kind, bug), check)
