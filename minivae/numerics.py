"""Formulas that stay finite where the textbook's overflow.

Each is one expression, so it is also safe for complex-step differentiation (no ``abs``), and one
kernel on a GPU.  `fused` only makes it faster: read past it.
"""

import math

from minivae.arrays import Array, fused, namespace

LOG_2PI = math.log(2.0 * math.pi)


@fused
def softplus(x: Array) -> Array:
    """log(1 + e^x), written as max(x, 0) + log(1 + e^-|x|): no exponent is ever positive.

    Shapes    any, elementwise.
    Backward  the derivative of softplus is `sigmoid`.

    Many times faster than ``logaddexp(0, x)``.  The minus-absolute-value is min(x, -x) because the
    derivative of ``abs`` is lost on complex numbers.

    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(6).tolist()
    [0.0, 0.693147, 1000.0]
    """
    xp = namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(xp.minimum(x, -x)))


@fused
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), through tanh: faster, and nothing overflows.

    Exact to the rounding unit of 1, not of its own size: sigmoid(-40) is 0, not 4e-18.  Where the
    logarithm of a small probability is wanted, take it from the logit, as `softplus` does.

    From tanh(x/2) = (1 - e^-x) / (1 + e^-x) follows sigmoid(x) = (1 + tanh(x/2)) / 2.

    Shapes    any, elementwise.
    Backward  with y = sigmoid(x), dy/dx = y (1 - y).
    """
    return 0.5 * namespace(x).tanh(0.5 * x) + 0.5


def logsumexp(x: Array, axis: int = 0) -> Array:
    """log sum exp(x) along ``axis``, with the largest term taken out first.

    log sum_s e^x_s = m + log sum_s e^(x_s - m) for any m; m = max x leaves no positive exponent.

    Shapes    x (..., S, ...), result without ``axis``.
    Backward  d/dx_s = e^(x_s - logsumexp(x)), the normalised weights (softmax).
    """
    xp = namespace(x)
    m = xp.max(x, axis=axis, keepdims=True)
    total = xp.sum(xp.exp(x - m), axis=axis, keepdims=True)
    return xp.squeeze(m + xp.log(total), axis=axis)


def softmax(x: Array, axis: int = -1) -> Array:
    """e^x_c / sum_k e^x_k along ``axis``: positive numbers that sum to one.

    A number taken from all x cancels; with the largest one no exponent is positive.

    Shapes    x (..., C, ...), result the same.
    Backward  with y = softmax(x), dy_c/dx_k = y_c (1[c = k] - y_k), so
              dx = y (dy - sum_c dy_c y_c).

    >>> import numpy as np
    >>> softmax(np.array([1000.0, 1000.0, -1000.0])).tolist()
    [0.5, 0.5, 0.0]
    """
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def tempered(logits: Array, temperature: float) -> Array:
    """logits / T: for T < 1 a distribution more decided than theirs, for T > 1 one less so.

    A temperature below 1e-6 counts as 1e-6, and one above 1e6 as 1e6.  By then the likeliest class
    has all the probability, or every class the same; and no quotient overflows in float32.

    Shapes  any, elementwise.
    Raises  ValueError for a temperature that is not positive and finite.

    >>> import numpy as np
    >>> tempered(np.array([1.0, -2.0]), 0.5).tolist()
    [2.0, -4.0]
    """
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"expected a temperature above 0 and finite, got {temperature}")
    return logits / min(max(temperature, 1e-6), 1e6)


def log_mean_exp(x: Array, axis: int = 0) -> Array:
    """log of the mean of exp(x) along ``axis``: `logsumexp` minus log S.

    With x_s = log p(x, z_s) - log q(z_s|x) and z_s ~ q it estimates log p(x) from below
    (Burda, Grosse and Salakhutdinov 2015, equation 8).
    """
    return logsumexp(x, axis) - math.log(x.shape[axis])
