"""Optimisers: each changes the vector theta, given the vector grad of the loss.

    optimizer.step(theta, grad)

They know nothing of layers; theta is changed in place, grad is left alone.
"""

import math
from typing import Protocol

from minivae.arrays import Array, fused, namespace


class Optimizer(Protocol):
    """A rule that moves theta (P,) against grad (P,), in place."""

    learning_rate: float

    def step(self, theta: Array, grad: Array) -> None: ...


class SGD:
    """Gradient descent with momentum:  u <- momentum u + g,  theta <- theta - lr u.

    Shapes  theta, grad and the velocity u (P,).
    Raises  ValueError unless learning_rate > 0 and 0 <= momentum < 1.
    Source  Polyak (1964).  Sutskever and others (2013) put the rate into the velocity; while it
            does not change, the steps are the same.
    """

    def __init__(self, learning_rate: float = 1e-2, momentum: float = 0.0) -> None:
        _require("learning_rate", learning_rate, 0.0 < learning_rate < math.inf, "positive")
        _require("momentum", momentum, 0.0 <= momentum < 1.0, "in [0, 1)")
        self.learning_rate, self.momentum = learning_rate, momentum
        self.velocity: Array | None = None

    def step(self, theta: Array, grad: Array) -> None:
        if self.velocity is None:
            self.velocity = namespace(theta).zeros_like(theta)
        _sgd(theta, grad, self.velocity, self.learning_rate, self.momentum)


class Adam:
    """Adam: a step of about the learning rate in every coordinate, whatever the gradient's scale.

        m <- b1 m + (1 - b1) g        a running mean of the gradient
        v <- b2 v + (1 - b2) g^2      and of its square
        m' = m / (1 - b1^t),  v' = v / (1 - b2^t)
        theta <- theta - lr m' / ( sqrt(v') + epsilon )

    m' and v' undo the pull of the zeros that m and v start from.  We keep the sums u and w of which
    m = (1 - b1) u and v = (1 - b2) w are the means: two passes over the arrays less.  With
    c^2 = (1 - b2) / (1 - b2^t), so that v' = c^2 w,

        u <- b1 u + g,    w <- b2 w + g^2
        m' / ( sqrt(v') + epsilon )  =  [ (1 - b1) / (1 - b1^t) ] u / ( c sqrt(w) + epsilon )
        theta <- theta - rate u / ( sqrt(w) + epsilon / c ),    rate = lr (1 - b1) / (1 - b1^t) / c

    Shapes  theta, grad, u, w (P,).
    Raises  ValueError unless learning_rate, epsilon > 0 and 0 <= beta1, beta2 < 1.
    Source  Kingma and Ba (2015), algorithm 1; epsilon stands outside the root.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        _require("learning_rate", learning_rate, 0.0 < learning_rate < math.inf, "positive")
        _require("beta1", beta1, 0.0 <= beta1 < 1.0, "in [0, 1)")
        _require("beta2", beta2, 0.0 <= beta2 < 1.0, "in [0, 1)")
        _require("epsilon", epsilon, epsilon > 0.0, "positive")
        self.learning_rate, self.epsilon = learning_rate, epsilon
        self.beta1, self.beta2 = beta1, beta2
        self.t = 0
        self.u: Array | None = None
        self.w: Array | None = None

    def step(self, theta: Array, grad: Array) -> None:
        if self.u is None:
            self.u = namespace(theta).zeros_like(theta)
            self.w = namespace(theta).zeros_like(theta)
        self.t += 1
        c = math.sqrt((1.0 - self.beta2) / (1.0 - self.beta2**self.t))
        rate = self.learning_rate * (1.0 - self.beta1) / (1.0 - self.beta1**self.t) / c
        _adam(theta, grad, self.u, self.w, rate, self.epsilon / c, self.beta1, self.beta2)


@fused
def _sgd(theta: Array, grad: Array, u: Array, rate: float, momentum: float) -> None:
    u *= momentum
    u += grad
    theta -= rate * u


@fused
def _adam(
    theta: Array,
    grad: Array,
    u: Array,
    w: Array,
    rate: float,
    epsilon: float,
    beta1: float,
    beta2: float,
) -> None:
    u *= beta1
    u += grad
    w *= beta2
    w += grad * grad
    theta -= rate * u / (namespace(theta).sqrt(w) + epsilon)


def _require(name: str, value: float, holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"expected {name} {what}, got {value}")
