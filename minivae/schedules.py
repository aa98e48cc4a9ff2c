"""Schedules: a number for each step of the optimiser, known in advance.

    schedule = learning_rate_schedule("warmup:epochs=5+cosine", steps_per_epoch, epochs)
    optimizer.learning_rate = learning_rate * schedule(step)

A schedule is a plain value and a function of the step alone, so that a resumed run needs nothing
saved.  Steps are those of the optimiser, counted from 0 through the whole run:

    step = epoch * steps_per_epoch + batch,    steps_per_epoch = ceil(N / batch_size)

with the smaller last batch of an epoch a step like any other.  One for the learning rate gives its
multiplier, one for the KL the weight of the KL in the loss; 1 is the plain method in both.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol


class Schedule(Protocol):
    """A multiplier or weight for each step 0, 1, 2, ..."""

    def __call__(self, step: int) -> float: ...


@dataclass(frozen=True)
class Constant:
    """1 at every step."""

    def __call__(self, step: int) -> float:
        return 1.0


# Multipliers of the learning rate.


@dataclass(frozen=True)
class Step:
    """A staircase:  factor^floor(step / every).

    Values  1 at the steps 0 ... every - 1, factor at the next ``every`` steps, and so on.
    Raises  ValueError unless every >= 1 and 0 < factor <= 1.
    Source  the usual division of the rate by 10; for instance He and others (2016), section 3.4.
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require_steps("every", self.every)
        _require("factor", self.factor, 0.0 < self.factor <= 1.0, "in (0, 1]")

    def __call__(self, step: int) -> float:
        return self.factor ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """Half a wave of the cosine down to the floor, T = total_steps:

        floor + (1 - floor) [ 1 + cos(pi step / T) ] / 2

    Values  1 at step 0 and (1 + floor) / 2 at step T / 2.  At T - 1, the last step, it is still a
            little above the floor; from T on, after the run, it is the floor.
    Raises  ValueError unless total_steps >= 1 and 0 <= floor <= 1.
    Source  Loshchilov and Hutter (2017), equation 5, without restarts: eta_max = 1 and
            eta_min = floor.
    """

    total_steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        _require_steps("total_steps", self.total_steps)
        _require("floor", self.floor, 0.0 <= self.floor <= 1.0, "in [0, 1]")

    def __call__(self, step: int) -> float:
        share = min(1.0, step / self.total_steps)
        return self.floor + (1.0 - self.floor) * (1.0 + math.cos(math.pi * share)) / 2.0


@dataclass(frozen=True)
class WarmUp:
    """A linear rise, then another schedule that counts its own steps from 0:

        (step + 1) / steps     while step < steps
        then(step - steps)     afterwards

    Values  1 / steps at step 0, as a rate of 0 would waste a step; 1 at step steps - 1, the last of
            the rise; then(0) = 1 at the next one, so that there is no jump.
    Raises  ValueError unless steps >= 1.
    Source  Goyal and others (2017), section 2.2, the gradual warm-up.
    """

    steps: int
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        _require_steps("steps", self.steps)

    def __call__(self, step: int) -> float:
        return (step + 1) / self.steps if step < self.steps else self.then(step - self.steps)


# Weights of the KL.


@dataclass(frozen=True)
class LinearWarmUp:
    """A linear rise of the KL weight to 1:

        start + (1 - start) min(1, step / steps)

    Values  start at step 0, exactly; at step steps - 1, the last of the rise, one part in ``steps``
            below 1; 1 from the step ``steps`` on: from there the loss is the negative ELBO.
    Raises  ValueError unless steps >= 1 and 0 <= start <= 1.
    Source  Bowman and others (2016), who use a sigmoid; Sønderby and others (2016), linear from 0.
    """

    steps: int
    start: float = 0.0

    def __post_init__(self) -> None:
        _require_steps("steps", self.steps)
        _require("start", self.start, 0.0 <= self.start <= 1.0, "in [0, 1]")

    def __call__(self, step: int) -> float:
        return self.start + (1.0 - self.start) * min(1.0, step / self.steps)


@dataclass(frozen=True)
class Cyclical:
    """M equal cycles of the KL weight, each a rise from 0 to 1 and a rest at 1.

    With T = total_steps, M = cycles and R = ramp, the share of a cycle that rises, a cycle is T / M
    steps long, and

        weight = min(1, tau / R),    tau = (step - first) / (T / M)

    where ``first`` is the first step of the present cycle, ceil(cycle T / M).

    Values    0 at the first step of every cycle, step 0 included.  A rise takes n = R T / M steps:
              if n is whole, the weight is 1 - 1/n at its last step, the n-th of the cycle, and 1
              from the next one on.  It is 1 at the last step of a cycle and of the run, unless
              R > 1 - M/T: where M divides T, a ramp of 1 ends at 1 - M/T.  From T on, after the
              run, 1.
    Off by 1  The paper counts t from 1:  tau = mod(t - 1, ceil(T/M)) / (T/M),  and its t - 1 is our
              step.  Where M divides T the two are equal.  Elsewhere its cycles, of ceil(T/M) steps
              each, drift: 4 cycles in 9 steps come to 3, 3 and 3.  Ours are 3, 2, 2 and 2.
    Raises    ValueError unless cycles >= 1, total_steps >= 2 cycles (a cycle of one step would have
              the weight 0 for ever) and 0 < ramp <= 1.
    Source    Fu and others (2019), the formulas for beta_t and tau, with f(tau) = tau / R.
    """

    total_steps: int
    cycles: int = 4
    ramp: float = 0.5

    def __post_init__(self) -> None:
        _require_steps("cycles", self.cycles)
        _require_steps(
            f"the total_steps of {self.cycles} cycles", self.total_steps, 2 * self.cycles
        )
        _require("ramp", self.ramp, 0.0 < self.ramp <= 1.0, "in (0, 1]")

    def __call__(self, step: int) -> float:
        T, M = self.total_steps, self.cycles
        if step >= T:
            return 1.0
        cycle = step * M // T
        first = -(-cycle * T // M)  # rounded up
        tau = (step - first) * M / T
        return min(1.0, tau / self.ramp)


# Schedules as text, for the command line: "name", or "name:option=value,option=value".

Options = Mapping[str, Mapping[str, float | None]]

LEARNING_RATE: Options = {
    "constant": {},
    "step": {"every": None, "factor": 0.1},
    "cosine": {"floor": 0.0},
    "warmup": {"epochs": None},
}
"""The options of each schedule, with their defaults; None must be given."""

KL: Options = {
    "constant": {},
    "linear": {"epochs": None, "start": 0.0},
    "cyclical": {"cycles": 4.0, "ramp": 0.5},
}


def learning_rate_schedule(text: str, steps_per_epoch: int, epochs: int) -> Schedule:
    """The multiplier of the learning rate that ``text`` describes.

        constant                            1
        step:every=30,factor=0.5            halved after every 30 epochs; factor is 0.1 if left out
        cosine:floor=0.01                   to 1 % at the end of the run; floor is 0 if left out
        warmup:epochs=5                     linear over 5 epochs, then constant
        warmup:epochs=5+cosine:floor=0.01   linear, then another, which counts from there

    Epochs may be fractions: they are rounded to whole steps, of which an epoch has
    ``steps_per_epoch``, the smaller last batch included.
    Raises  ValueError, one line, for a text that says nothing or what cannot be.
    """
    first, plus, rest = text.partition("+")
    name, options = _read(first, LEARNING_RATE, "a learning-rate schedule")
    total = steps_per_epoch * epochs
    if name == "warmup":
        steps = _rise(name, options["epochs"], steps_per_epoch, total - bool(plus))
        return WarmUp(steps, _plain(rest, steps_per_epoch, total - steps) if plus else Constant())
    if plus:
        raise ValueError(f"expected warmup before the + of a learning-rate schedule, got {text!r}")
    return _plain(text, steps_per_epoch, total)


def kl_schedule(text: str, steps_per_epoch: int, epochs: int) -> Schedule:
    """The weight of the KL that ``text`` describes; a fixed beta multiplies it.

        constant                    1
        linear:epochs=20,start=0    from start, 0 if left out, to 1 over 20 epochs
        cyclical:cycles=4,ramp=0.5  so many cycles over the run, each rising for that share of it;
                                    these are the defaults

    Epochs and errors as in `learning_rate_schedule`.
    """
    name, options = _read(text, KL, "a KL schedule")
    if name == "linear":
        steps = _rise(name, options["epochs"], steps_per_epoch, steps_per_epoch * epochs)
        return LinearWarmUp(steps, options["start"])
    if name == "cyclical":
        cycles = options["cycles"]
        _require("cycles", cycles, cycles == math.floor(cycles), "a whole number")
        return Cyclical(steps_per_epoch * epochs, int(cycles), options["ramp"])
    return Constant()


def _plain(text: str, steps_per_epoch: int, total: int) -> Schedule:
    """A schedule of the learning rate without a warm-up."""
    name, options = _read(text, LEARNING_RATE, "a learning-rate schedule")
    if name == "step":
        return Step(_steps(name, options["every"], steps_per_epoch), options["factor"])
    if name == "cosine":
        return Cosine(total, options["floor"])
    if name == "warmup":
        raise ValueError("expected one warmup in a learning-rate schedule, got a second one")
    return Constant()


def _read(text: str, known: Options, what: str) -> tuple[str, dict[str, float]]:
    """The name and the options of ``name:option=value,...``, defaults filled in."""
    name, colon, rest = text.strip().partition(":")
    if name not in known:
        raise ValueError(_unknown(what, name, known))
    given: dict[str, float] = {}
    for pair in rest.split(",") if colon else []:
        option, _, value = (part.strip() for part in pair.partition("="))
        if option not in known[name]:
            raise ValueError(_unknown(f"an option of {name}", option, known[name]))
        if option in given:
            raise ValueError(f"expected {option} of {name} once, got it twice")
        given[option] = _number(f"{option} of {name}", value)
    options = {**known[name], **given}
    for option, number in options.items():
        if number is None:
            raise ValueError(f"expected {name}:{option}=NUMBER, got {text.strip()!r}")
    return name, {option: number for option, number in options.items() if number is not None}


def _number(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) < 1e9:  # nor is nan
        raise ValueError(f"expected a number below 1e9 for {what}, got {text!r}")
    return number


def _steps(name: str, epochs: float, steps_per_epoch: int) -> int:
    """So many epochs in whole steps, at least one."""
    steps = round(epochs * steps_per_epoch)
    if steps < 1:
        raise ValueError(
            f"expected {name} to take at least one step, 1/{steps_per_epoch} of an epoch, "
            f"got {epochs:g} epochs"
        )
    return steps


def _rise(name: str, epochs: float, steps_per_epoch: int, most: int) -> int:
    """The steps of a warm-up of so many epochs, which must end before the run does."""
    steps = _steps(name, epochs, steps_per_epoch)
    if steps > most:
        raise ValueError(
            f"expected {name} to end within the run, after at most {most / steps_per_epoch:g} "
            f"epochs, got {epochs:g}"
        )
    return steps


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    close = get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"expected {what} ({', '.join(known) or 'it has none'}), got {name!r}{hint}"


def _require_steps(name: str, value: int, least: int = 1) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _require(name, value, whole and value >= least, f"a whole number of at least {least}")


def _require(name: str, value: float, holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"expected {name} {what}, got {value}")
