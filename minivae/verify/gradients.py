"""Derivatives from the definition, to hold every hand-written backward against.

A derivative is a limit.  *Central differences* take it literally,

    f'(x) = [ f(x + h) - f(x - h) ] / 2h + O(h^2),

and lose half of the digits: the smaller h, the more of f(x + h) - f(x - h) is rounding.  The
*complex step* needs no subtraction.  For an analytic f, Taylor's series at x + ih is

    f(x + ih) = f(x) + ih f'(x) - h^2 f''(x) / 2 - ...     so     f'(x) = Im f(x + ih) / h + O(h^2),

and with h = 1e-30 the error term is gone: what is left is rounding (Lyness and Moler 1967; Squire
and Trapp 1998).  It asks that f contain no ``abs`` and no conjugate.

The right gradient of a wrong objective passes every one of these checks.  They prove that backward
differentiates forward; that forward is the right formula is the task of other tests.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivae.arrays import Array, like, to_numpy
from minivae.models.base import Model
from minivae.parameters import Layer, Parameters

Derivative = Callable[[Callable[[np.ndarray], Any], np.ndarray], np.ndarray]


def complex_step(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of a scalar function of ``x``, to rounding: Im f(x + ih) / h.

    Shapes  x any, float64; the result has its shape.

    >>> complex_step(lambda x: (x**3).sum(), np.array([1.0, 2.0])).tolist()
    [3.0, 12.0]
    """
    h = 1e-30
    g, z = np.empty(x.shape), x.astype(np.complex128)
    for i in np.ndindex(*x.shape):
        z[i] = complex(x[i], h)
        g[i] = np.imag(f(z)) / h
        z[i] = x[i]
    return g


def central_difference(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of a scalar function of ``x``, to about 9 digits; no complex numbers needed.

    Shapes  x any, float64; the result has its shape.
    """
    g, z = np.empty(x.shape), x.copy()
    for i in np.ndindex(*x.shape):
        h = 6e-6 * max(1.0, abs(float(x[i])))  # near the cube root of the rounding unit
        z[i] = x[i] + h
        above = float(f(z))
        z[i] = x[i] - h
        g[i] = (above - float(f(z))) / (2.0 * h)
        z[i] = x[i]
    return g


def gradient_error(g: Array, reference: np.ndarray, scale: float) -> float:
    """max |g - reference| / (max |reference| + scale / 100) over one array.

    ``scale`` is the size of what enters: the largest |dy| for a layer, the largest |g| of all theta
    for a model.  It keeps a gradient that is zero, or nearly, from being judged by its last digit.
    Two zero arrays have error 0; a wrong shape is an error of its own.  A nan in either array makes
    the error inf, which no `max` over errors can lose.
    """
    g = to_numpy(g)
    if g.shape != reference.shape:
        raise ValueError(f"expected a gradient of shape {reference.shape}, got {g.shape}")
    worst = np.abs(g - reference).max(initial=0.0)
    if worst == 0.0:
        return 0.0
    error = float(worst / (np.abs(reference).max(initial=0.0) + scale / 100.0))
    return math.inf if math.isnan(error) else error


def layer_errors(
    layer: Layer,
    x: np.ndarray,
    dy: Any,
    parameters: Parameters,
    derivative: Derivative = complex_step,
) -> dict[str, float]:
    """The error of a layer's backward: of dx and of each of its parameters.

    The scalar is  L = sum(dy * layer.forward(x)),  whose gradient with respect to y is dy, so that
    backward(dy) must give the gradient of L with respect to everything else.  Draw dy at random:
    ones would hide a transposition.

    layer       any layer or network, its parameters in ``parameters``, in float64.
    x           (B, n_in).
    dy          (B, n_out), or a tuple of them for a network with heads.
    Returns     {"x": error, "W": error, ...}, see `gradient_error`.
    """
    theta = parameters.theta
    tied = tuple(like(d, theta) for d in _as_tuple(dy))

    def scalar(rows: np.ndarray) -> Any:
        y, _ = layer.forward(like(rows, theta))
        pairs = zip(_as_tuple(y), _as_tuple(dy), strict=True)
        return sum((to_numpy(a) * d).sum() for a, d in pairs)

    def at(values: np.ndarray) -> Any:
        parameters.bind(like(values, theta))
        return scalar(x)

    parameters.zero_grad()
    _, cache = layer.forward(like(x, theta))
    dx = layer.backward(tied if isinstance(dy, tuple) else tied[0], cache)
    gradients = parameters.views(parameters.grad)
    host = to_numpy(theta)
    references = parameters.views(derivative(at, host)) if host.size else {}
    parameters.bind(theta)
    scale = max(float(np.abs(d).max(initial=0.0)) for d in _as_tuple(dy))
    errors = {name: gradient_error(gradients[name], references[name], scale) for name in references}
    return {"x": gradient_error(dx, derivative(scalar, x), scale), **errors}


def model_errors(
    model: Model,
    objective: Callable[[bool], Any],
    derivative: Derivative = complex_step,
    frozen: tuple[str, ...] = (),
) -> dict[str, float]:
    """The error of a whole model's gradient, for each of its parameters.

    objective   objective(gradient) runs the model on fixed data with fixed noise and returns an
                object with a ``loss``; with gradient=True it adds to the model's gradient.
    frozen      names of parameters that are not trained: their gradient must be exactly zero.
    """
    parameters, theta = model.parameters, model.parameters.theta

    def loss(values: np.ndarray) -> Any:
        parameters.bind(like(values, theta))
        return to_numpy(objective(False).loss)

    parameters.zero_grad()
    objective(True)
    gradients = parameters.views(parameters.grad)
    references = parameters.views(derivative(loss, to_numpy(theta)))
    parameters.bind(theta)
    for name in frozen:
        references[name] = np.zeros_like(references[name])
    scale = max(float(np.abs(r).max()) for r in references.values())
    return {name: gradient_error(gradients[name], references[name], scale) for name in references}


def _as_tuple(a: Any) -> tuple[Any, ...]:
    return a if isinstance(a, tuple) else (a,)
