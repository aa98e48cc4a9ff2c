"""When a loss is not finite: do the epoch again, slowly, and name what failed first.

A nan spreads: a layer makes one, the loss is one, then every gradient and every parameter.  So the
run goes back to the state before the epoch and repeats it with the same shuffle and the same
noise.  This time every layer looks at what it computes, and the first that sees a number that is
not finite says its name.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from minivae.arrays import Array, copy, namespace
from minivae.optimizers import Optimizer
from minivae.parameters import Parameters, leaves
from minivae.training.history import History


class NotFinite(FloatingPointError):
    """The first number that was not finite: where, and what went in."""


@contextlib.contextmanager
def nothing_lost(
    parameters: Parameters,
    optimizer: Optimizer,
    history: History,
    one_epoch: Callable[..., Any],
) -> Iterator[None]:
    """A with-block around an epoch: if a number in it is not finite, it has not happened.

    Nor has it if Ctrl-C came in its middle: what is kept is always the state after the last epoch
    of the history.

    one_epoch  does the epoch again; its argument ``look`` is called with the number of each step in
               it and the objective's result.
    Raises     FloatingPointError that says what failed first, after theta and the optimiser's state
               were put back.
    """
    theta, state, epoch = copy(parameters.theta), optimizer.state(), len(history.rows)

    def put_back() -> None:
        parameters.theta[...] = theta
        optimizer.restore(state, parameters.theta)

    try:
        yield
    except KeyboardInterrupt:
        if len(history.rows) == epoch:
            put_back()
        raise
    except FloatingPointError:
        put_back()
        try:
            found = _first_failure(parameters, optimizer, one_epoch)
        finally:
            put_back()
        raise FloatingPointError(
            f"the loss is not finite in epoch {epoch + 1}{found}: try a smaller learning rate than "
            f"{optimizer.learning_rate:g}, or clip the norm of the gradient, to 1 for instance"
        ) from None


@contextlib.contextmanager
def watched(parameters: Parameters) -> Iterator[None]:
    """Inside the with-block every layer checks what its forward and its backward return.

    Raises  NotFinite that names the layer.
    """
    found = list(leaves(parameters.parts))
    for path, layer in found:
        _watch(path, layer)
    try:
        yield
    finally:
        for _, layer in found:
            del layer.forward, layer.backward  # what hid the methods of the class


def check_terms(result: Any) -> None:
    """Raise NotFinite that names the first term of an objective that is not finite."""
    for name, values in result.terms().items():
        if name != "elbo" and not _finite(values):  # the bound is their difference
            raise NotFinite(f"the {name} term, although every layer's output was finite")
    if not _finite(result.loss):
        raise NotFinite("the loss, although each of its terms was finite")


def check_parameters(parameters: Parameters, vector: Array, what: str) -> None:
    """Raise NotFinite that names the first parameter where ``vector`` (P,) is not finite."""
    if _finite(vector):
        return
    for name, view in parameters.views(vector).items():
        if not _finite(view):
            raise NotFinite(f"{what} of {name}")


def check_state(parameters: Parameters, optimizer: Optimizer) -> None:
    """Raise NotFinite that names what is not finite after an update: a parameter or a moment.

    The sum of squared gradients overflows first: then Adam's step is g / inf = 0, and the loss
    never tells.
    """
    check_parameters(parameters, parameters.theta, "the update")
    for name, value in optimizer.state().items():
        if not isinstance(value, int):
            check_parameters(parameters, value, f"the update, the optimiser's {name}")


def _first_failure(
    parameters: Parameters, optimizer: Optimizer, one_epoch: Callable[..., Any]
) -> str:
    """Repeat an epoch: in which step of it, and where, was the first number that is not finite?"""
    good = 0  # steps whose values and gradient were finite

    def look(step: int, result: Any) -> None:
        nonlocal good
        check_terms(result)
        check_parameters(parameters, parameters.grad, "the gradient")
        good = step + 1

    try:
        try:
            with watched(parameters):
                one_epoch(look=look)
        except NotFinite:
            check_state(
                parameters, optimizer
            )  # a layer may fail because the step before has spoilt its parameters
            raise
        check_state(parameters, optimizer)
    except NotFinite as first:
        step = good if str(first).startswith("the update") else good + 1
        return f", step {step}, first in {first}"
    except FloatingPointError as other:
        return f", step {good + 1} ({other})"
    return ", first in the held-out data: the parameters are finite, but too large"


def _watch(path: str, layer: Any) -> None:
    forward, backward, kind = layer.forward, layer.backward, type(layer).__name__

    def looking_forward(x: Array) -> tuple[Any, Any]:
        y, cache = forward(x)
        if not _finite(y):
            raise NotFinite(f"the output of {path} ({kind}); its input was at most {_size(x)}")
        return y, cache

    def looking_backward(dy: Any, cache: Any, need_dx: bool = True) -> Array | None:
        if not _finite(dy):
            raise NotFinite(f"the gradient that arrives at {path} ({kind})")
        dx = backward(dy, cache, need_dx)
        if dx is not None and not _finite(dx):
            raise NotFinite(f"the gradient that leaves {path} ({kind})")
        return dx

    layer.forward, layer.backward = looking_forward, looking_backward


def _finite(x: Array) -> bool:
    xp = namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def _size(x: Array) -> str:
    xp = namespace(x)
    return f"{float(xp.max(xp.abs(x))):.3g} in size"
