"""Optimisers: each changes the vector theta, given the vector grad of the loss.

    norm = clip_by_global_norm(grad, 1.0)      if long gradients are to be cut
    optimizer.step(theta, grad)

They know nothing of layers; theta is changed in place, grad is left alone.  A schedule changes
``optimizer.learning_rate`` between steps.  What a resumed run needs is `state`, and `restore` takes
it back:

    optimizer = OPTIMIZERS[name](**constants)
    optimizer.restore(state, theta)
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import numpy as np

from minivae.arrays import Array, cast, copy, dtype_name, fused, like, namespace, to_numpy

State = dict[str, Array | int]
"""What an optimiser remembers between steps: arrays (P,) and counts, by name."""


class Optimizer(Protocol):
    """A rule that moves theta (P,) against grad (P,), in place."""

    learning_rate: float

    def step(self, theta: Array, grad: Array) -> None: ...

    def state(self) -> State:
        """A copy of what it remembers; the arrays are absent before the first step."""

    def restore(self, state: Mapping[str, Any], theta: Array) -> None:
        """Go on from ``state``, bit for bit, as the optimiser of ``theta``.

        The arrays of ``state`` may live anywhere; they are copied to the device of theta.
        Raises  ValueError, and changes nothing, if names, shapes or dtypes are not those of an
                optimiser of this kind after steps on theta, or if the numbers cannot be: inf or
                nan, a negative sum of squares, a count below 0.
        """

    def settings(self) -> dict[str, Any]:
        """The name in `OPTIMIZERS` and the constants, as JSON can hold them.

        The learning rate is the present one, which a schedule may have changed.
        """


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

    def state(self) -> State:
        return {} if self.velocity is None else {"velocity": copy(self.velocity)}

    def restore(self, state: Mapping[str, Any], theta: Array) -> None:
        _require_names("sgd", state, ["velocity"] if state else [])
        self.velocity = _vector("velocity", state["velocity"], theta) if state else None

    def settings(self) -> dict[str, Any]:
        return {"name": "sgd", "learning_rate": self.learning_rate, "momentum": self.momentum}


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

    name = "adam"

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
        rate, epsilon = self._count_step(theta)
        _adam(theta, grad, self.u, self.w, rate, epsilon, self.beta1, self.beta2)

    def state(self) -> State:
        if self.u is None:
            return {"t": 0}
        return {"t": self.t, "u": copy(self.u), "w": copy(self.w)}

    def restore(self, state: Mapping[str, Any], theta: Array) -> None:
        t = _count("t", state["t"]) if "t" in state else 1  # 1: the state of any later step
        _require_names(self.name, state, ["t", "u", "w"] if t else ["t"])
        u = _vector("u", state["u"], theta) if t else None
        w = _vector("w", state["w"], theta, lowest=0.0) if t else None
        self.t, self.u, self.w = t, u, w

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
        }

    def _count_step(self, theta: Array) -> tuple[float, float]:
        """One step more: its rate and epsilon / c."""
        if self.u is None:
            self.u = namespace(theta).zeros_like(theta)
            self.w = namespace(theta).zeros_like(theta)
        self.t += 1
        c = math.sqrt((1.0 - self.beta2) / (1.0 - self.beta2**self.t))
        rate = self.learning_rate * (1.0 - self.beta1) / (1.0 - self.beta1**self.t) / c
        return rate, self.epsilon / c


class AdamW(Adam):
    """Adam with decoupled weight decay: each step also takes a share of theta itself.

        theta <- theta - lr m' / ( sqrt(v') + epsilon ) - lr weight_decay theta
               = theta - [ rate u / ( sqrt(w) + epsilon / c ) + lr weight_decay theta ]

    with m', v', u, w, c and rate as in `Adam`, and theta on the right the one before the step.

    Why not L2  The penalty (lambda / 2) |theta|^2 adds lambda theta to the gradient, and Adam
                divides the gradient by sqrt(v'): a weight whose gradients are large would decay by
                only lr lambda theta / sqrt(v').  Decoupled, all weights decay by the same share.
                (For plain SGD the two are the same.)
    Convention  PyTorch's: the decay is lr weight_decay, and lr holds the schedule's multiplier.
                Algorithm 2 of the paper writes  theta - eta_t ( alpha m' / (...) + lambda theta ):
                the multiplier eta_t scales both, the rate alpha only the first, so that its
                lambda = alpha weight_decay.  Our 0.001 and 0.01 are the paper's lambda = 0.00001.
    Decays      All of theta.  Also biases, which need no decay, and a learned log-variance, which
                is drawn to 0, a standard deviation of 1.
    float32     A share lr weight_decay below 3e-8 is less than the rounding of theta.

    Shapes  theta, grad, u, w (P,).
    Raises  ValueError as `Adam` does, and unless 0 <= weight_decay < inf.
    Source  Loshchilov and Hutter (2019), algorithm 2.
    """

    name = "adamw"

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(learning_rate, beta1, beta2, epsilon)
        _require("weight_decay", weight_decay, 0.0 <= weight_decay < math.inf, "of at least 0")
        self.weight_decay = weight_decay

    def step(self, theta: Array, grad: Array) -> None:
        rate, epsilon = self._count_step(theta)
        decay = self.learning_rate * self.weight_decay
        _adamw(theta, grad, self.u, self.w, rate, epsilon, self.beta1, self.beta2, decay)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "weight_decay": self.weight_decay}


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
"""By the names of the command line and of `settings`."""


def clip_by_global_norm(grad: Array, max_norm: float) -> Array:
    """Shorten ``grad`` (P,) to the length ``max_norm`` if it is longer, in place.

        norm = sqrt( sum_i g_i^2 ),    g <- c g,    c = min(1, max_norm / norm)

    All gradients are one vector, so there is one norm and one factor.  As c > 0, the direction
    stays, and SGD's step still goes downhill; to cut each g_i for itself would turn it.

    Returns  the norm before, a 0-d array of float64 where grad lives: a GPU need not stop for it.
    Range    The squares are summed in float64, so that no float32 gradient overflows.  The squares
             of float64 numbers beyond 1e154 do: then norm is inf.
    Cases    norm = 0: c = 1.  A nan makes norm and all of grad nan.  An inf makes norm inf and
             c = 0, and inf * 0 = nan stands in its place.  Neither is hidden: a nan reaches theta.
    Raises   ValueError unless 0 < max_norm < inf.
    Source   Pascanu, Mikolov and Bengio (2013), algorithm 1.
    """
    _require("max_norm", max_norm, 0.0 < max_norm < math.inf, "positive and finite")
    xp = namespace(grad)
    wide = xp.asarray(grad, dtype=xp.float64)
    norm = xp.sqrt(wide @ wide)
    factor = max_norm / xp.maximum(norm, max_norm)  # no division by 0, and a nan stays a nan
    grad *= cast(factor, grad)
    return norm


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


@fused
def _adamw(
    theta: Array,
    grad: Array,
    u: Array,
    w: Array,
    rate: float,
    epsilon: float,
    beta1: float,
    beta2: float,
    decay: float,
) -> None:
    u *= beta1
    u += grad
    w *= beta2
    w += grad * grad
    # Not theta *= 1 - decay: in float32 that factor is off by up to 3e-8, the same way each step.
    theta -= rate * u / (namespace(theta).sqrt(w) + epsilon) + decay * theta


def _require_names(optimizer: str, state: Collection[str], names: list[str]) -> None:
    if set(state) != set(names):
        wanted, came = (", ".join(sorted(n)) or "nothing" for n in (names, state))
        raise ValueError(f"expected the state of {optimizer} to hold {wanted}, got {came}")


def _count(name: str, value: Any) -> int:
    number = to_numpy(value)
    if number.ndim or number.dtype.kind not in "iu" or number < 0:
        raise ValueError(f"expected {name} a whole number of at least 0, got {value!r}")
    return int(number)


def _vector(name: str, value: Any, theta: Array, lowest: float = -math.inf) -> Array:
    """A copy of ``value``, an array of any library, for theta."""
    vector = np.array(to_numpy(value))
    for what, wanted, came in (
        ("shape", tuple(theta.shape), vector.shape),
        ("dtype", dtype_name(theta), dtype_name(vector)),
    ):
        if wanted != came:
            raise ValueError(f"expected {name} of {what} {wanted}, got {came}")
    if not np.isfinite(vector).all():
        raise ValueError(f"expected finite numbers in {name}, got inf or nan")
    if (vector < lowest).any():
        raise ValueError(f"expected {name} of at least {lowest}, got {vector.min()}")
    return like(vector, theta)


def _require(name: str, value: float, holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"expected {name} {what}, got {value}")
