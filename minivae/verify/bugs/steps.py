"""Bugs in the optimisers, the schedules and the noise of a run."""

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import arrays
from minivae.models import vae
from minivae.optimizers import Adam
from minivae.schedules import Cyclical, LinearWarmUp
from minivae.training import loop
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]


def _moments(self: Adam, theta: Any, grad: Any) -> tuple[Any, Any]:
    if self.u is None:
        self.u, self.w = np.zeros_like(theta), np.zeros_like(theta)
    assert self.w is not None
    self.t += 1
    self.u[...] = self.beta1 * self.u + (1.0 - self.beta1) * grad
    self.w[...] = self.beta2 * self.w + (1.0 - self.beta2) * grad**2
    return self.u, self.w


def adam_without_correction() -> Plant:
    """m and v still pulled to the zeros they start from."""

    def step(self: Adam, theta: Any, grad: Any) -> None:
        m, v = _moments(self, theta, grad)
        theta -= self.learning_rate * m / (np.sqrt(v) + self.epsilon)

    return replaced(Adam, "step", step)


def epsilon_inside_the_root() -> Plant:
    """sqrt(v + epsilon)."""

    def step(self: Adam, theta: Any, grad: Any) -> None:
        m, v = _moments(self, theta, grad)
        m, v = m / (1.0 - self.beta1**self.t), v / (1.0 - self.beta2**self.t)
        theta -= self.learning_rate * m / np.sqrt(v + self.epsilon)

    return replaced(Adam, "step", step)


def adam_without_epsilon() -> Plant:
    """m / sqrt(v): 0 / 0 where a weight has had no gradient yet."""

    def step(self: Adam, theta: Any, grad: Any) -> None:
        m, v = _moments(self, theta, grad)
        m, v = m / (1.0 - self.beta1**self.t), v / (1.0 - self.beta2**self.t)
        theta -= self.learning_rate * m / np.sqrt(v)

    return replaced(Adam, "step", step)


def forgotten_moments() -> Plant:
    """Parameters are restored, the optimiser starts afresh."""
    return replaced(Adam, "restore", lambda self, state, theta: None)


def restart_of_the_count() -> Plant:
    """The moments are restored, the number of steps is not."""

    def change(_: None, self: Adam, state: Any, theta: Any) -> None:
        self.t = 0

    return after(Adam, "restore", change)


def cycle_off_by_one() -> Plant:
    """Steps counted from 1: no cycle begins at 0."""
    right = Cyclical.__call__
    return replaced(Cyclical, "__call__", lambda self, step: right(self, step + 1))


def warm_up_off_by_one() -> Plant:
    """A warm-up that ends one step early."""
    right = LinearWarmUp.__call__
    return replaced(LinearWarmUp, "__call__", lambda self, step: right(self, step + 1))


def unseeded() -> Plant:
    """Noise from the clock, whatever the seed."""
    return replaced(loop, "generator", lambda device, *key: np.random.default_rng())


def wide_noise() -> Plant:
    """The noise in float64, whatever the model's dtype."""
    return both(
        replaced(arrays, "standard_normal", lambda rng, shape, other: rng.normal(size=shape)),
        replaced(vae, "standard_normal", lambda rng, shape, other: rng.normal(size=shape)),
    )


BUGS = (
    Bug("Adam without bias correction", 22,
        "The first steps are several times too long.", "optimiser", adam_without_correction),
    Bug("Adam's epsilon inside the root", 22,
        "Small gradients stand still.", "optimiser", epsilon_inside_the_root),
    Bug("Adam without epsilon", 22,
        "nan, as soon as a pixel is always black.", "optimiser", adam_without_epsilon),
    Bug("Adam's moments forgotten on resume", 22,
        "A jump in the loss after every pause.", "optimiser", forgotten_moments),
    Bug("Adam's count restarted on resume", 22,
        "After a pause the steps are far too short.", "optimiser", restart_of_the_count),
    Bug("cycles off by one", 18,
        "The KL weight is never 0, and 1 too early.", "schedules", cycle_off_by_one),
    Bug("a warm-up off by one", 18,
        "The warm-up ends a step early.", "schedules", warm_up_off_by_one),
    Bug("noise without a seed", 25,
        "No run can be repeated.", "determinism", unseeded),
    Bug("noise in float64", 25,
        "Training at half the speed, without a word.", "dtypes", wide_noise),
)  # fmt: skip
