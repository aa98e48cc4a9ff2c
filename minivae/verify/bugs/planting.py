"""How a bug is planted: one function is replaced, and given back whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from minivae.arrays import Device


@dataclass(frozen=True)
class Bug:
    """A mistake to plant.

    name     in a few words.
    pitfall  the number of the mistake in our list of what goes wrong in VAE code.
    symptom  a sentence: what its victim sees.
    rung     the rung of the certificate that must catch it.
    plant    makes the context manager in which the library has the bug.
    device   the device that the rung needs to be tried on, unless another is named; None for any.
    """

    name: str
    pitfall: int
    symptom: str
    rung: str
    plant: Callable[[], AbstractContextManager[None]]
    device: Device | None = None


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """``owner.name`` is ``value`` inside, and what it was again outside."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def after(owner: Any, name: str, change: Callable[..., Any]) -> AbstractContextManager[None]:
    """``owner.name`` returns ``change(what it returned, *its arguments)``."""
    right = vars(owner)[name]

    def wrong(*args: Any, **options: Any) -> Any:
        return change(right(*args, **options), *args, **options)

    return replaced(owner, name, wrong)


@contextmanager
def both(*plants: AbstractContextManager[None]) -> Iterator[None]:
    """A mistake that was made consistently, in a value and in its gradient."""
    with ExitStack() as stack:
        for plant in plants:
            stack.enter_context(plant)
        yield
