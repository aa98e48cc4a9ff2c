"""Layers: each forward has its backward right below it.

    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache)

A layer sees rows, (B, n_in) -> (B, n_out), and keeps nothing of the data on itself: what backward
needs is the cache, one array per layer.  ``dy`` means the gradient of the scalar loss with respect
to ``y``, always of y's shape; backward returns ``dx`` and adds dW, db to the layer's share of grad.
With ``need_dx=False`` the result is not used, and a Dense saves itself the product: the first
layer's dx would be the gradient with respect to the data.

Every activation is elementwise, y_i = f(x_i), so that dx_i = f'(x_i) dy_i; where f' can be told
from y alone, y is what the layer keeps.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivae import numerics
from minivae.arrays import Array, cast, fused, namespace, sum_to
from minivae.parameters import Layer


class Dense:
    """Affine map  y = x W + b.

    Shapes    x (B, n_in), W (n_in, n_out), b (n_out,), y (B, n_out).
    Keeps     x, because dW needs it: B * n_in numbers.
    Backward  from y_bj = sum_i x_bi W_ij + b_j and the chain rule
                dW_ij = sum_b x_bi dy_bj     so  dW = x^T dy
                db_j  = sum_b dy_bj          so  db = sum_b dy
                dx_bi = sum_j dy_bj W_ij     so  dx = dy W^T
    Init      W_ij of variance 2 / n_in with init="he" (for what goes into a ReLU), or of variance
              2 / (n_in + n_out) with init="glorot"; b = 0, or the given ``bias``.
    Raises    ValueError if n_in or n_out < 1, for an unknown init, for a bias of another shape.
    Source    Rumelhart, Hinton and Williams (1986); He and others (2015); Glorot and Bengio (2010).
    """

    W: Array
    b: Array
    dW: Array
    db: Array

    def __init__(
        self, n_in: int, n_out: int, init: str = "he", bias: np.ndarray | None = None
    ) -> None:
        if n_in < 1 or n_out < 1:
            raise ValueError(f"expected n_in and n_out of at least 1, got {n_in} and {n_out}")
        if init not in ("he", "glorot"):
            raise ValueError(f"expected init 'he' or 'glorot', got {init!r}")
        if bias is not None and bias.shape != (n_out,):
            raise ValueError(f"expected a bias of shape ({n_out},), got {bias.shape}")
        self.n_in, self.n_out, self.init, self.bias = n_in, n_out, init, bias

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = x @ self.W
        y += self.b
        return y, x

    def backward(self, dy: Array, x: Array, need_dx: bool = True) -> Array | None:
        self.dW += x.T @ dy
        self.db += namespace(dy).sum(dy, axis=0)
        return dy @ self.W.T if need_dx else None

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        fan = self.n_in if self.init == "he" else self.n_in + self.n_out
        W = math.sqrt(2.0 / fan) * rng.standard_normal((self.n_in, self.n_out))
        return {"W": W, "b": np.zeros(self.n_out) if self.bias is None else self.bias}


class Constant:
    """A vector that does not look at the input:  y = c, the same in every row.

    It is the log-variance of a Gaussian decoder whose variance is not a network: one number for
    all pixels by default, learned, or kept as it is with ``learned=False``.

    Shapes    x (B, n_in), c (1,), or (n_out,) with ``shared=False``, y (B, n_out).
    Keeps     x, for its shape only.
    Backward  from y_bj = c_j
                dc_j  = sum_b dy_bj          so  dc = sum_b dy; summed over j too if c is (1,)
                dx_bi = 0
              A constant that is not learned has dc = 0: the optimiser leaves it alone.
    """

    c: Array
    dc: Array

    def __init__(self, n_out: int, value: float, learned: bool = True, shared: bool = True) -> None:
        self.n_out, self.value, self.learned = n_out, value, learned
        self.n_values = 1 if shared else n_out

    def forward(self, x: Array) -> tuple[Array, Array]:
        return namespace(x).broadcast_to(self.c, (x.shape[0], self.n_out)), x

    def backward(self, dy: Array, x: Array, need_dx: bool = True) -> Array | None:
        if self.learned:
            self.dc += sum_to(dy, (1, self.n_values))[0, :]
        return namespace(x).zeros_like(x) if need_dx else None

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"c": np.full(self.n_values, self.value)}


class Activation:
    """What the elementwise layers share: no parameters, no parts."""

    def forward(self, x: Array) -> tuple[Array, Array]:
        raise NotImplementedError

    def backward(self, dy: Array, cache: Array, need_dx: bool = True) -> Array:
        raise NotImplementedError

    def parts(self) -> Mapping[str, Layer]:
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


class ReLU(Activation):
    """y = max(x, 0).

    Keeps     y: it is positive exactly where x is.
    Backward  dx = dy where y > 0, else 0.  At x = 0 there is no derivative; we take 0.
    Source    Nair and Hinton (2010).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = namespace(x).maximum(x, 0.0)
        return y, y

    def backward(self, dy: Array, y: Array, need_dx: bool = True) -> Array:
        return dy * cast(y > 0.0, dy)  # a product: several times faster than `where`


class Tanh(Activation):
    """y = tanh(x).

    Keeps     y.
    Backward  tanh' = 1 - tanh^2, so dx = dy (1 - y^2).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = namespace(x).tanh(x)
        return y, y

    def backward(self, dy: Array, y: Array, need_dx: bool = True) -> Array:
        return dy * (1.0 - y * y)


class Sigmoid(Activation):
    """y = 1 / (1 + e^-x).

    Keeps     y.
    Backward  y' = y (1 - y), so dx = dy y (1 - y).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = numerics.sigmoid(x)
        return y, y

    def backward(self, dy: Array, y: Array, need_dx: bool = True) -> Array:
        return dy * (y * (1.0 - y))


class Softplus(Activation):
    """y = log(1 + e^x), a smooth ReLU.

    Keeps     y, from which the derivative follows without x:
    Backward  y' = sigmoid(x) = 1 - 1 / (1 + e^x) = 1 - e^-y, so dx = dy (1 - e^-y).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = numerics.softplus(x)
        return y, y

    def backward(self, dy: Array, y: Array, need_dx: bool = True) -> Array:
        return dy * -namespace(y).expm1(-y)


class GELU(Activation):
    """y = x (1 + tanh u) / 2  with  u = a (x + k x^3),  a = sqrt(2 / pi),  k = 0.044715.

    The tanh form of x times the normal distribution function of x.

    Keeps     x: y falls and rises, so x cannot be told from it.
    Backward  by the product and the chain rule, with t = tanh u and t' = (1 - t^2) u',
                dy/dx = (1 + t) / 2 + x (1 - t^2) a (1 + 3 k x^2) / 2
    Source    Hendrycks and Gimpel (2016).
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        return _gelu(x), x

    def backward(self, dy: Array, x: Array, need_dx: bool = True) -> Array:
        return dy * _gelu_slope(x)


_A, _K = math.sqrt(2.0 / math.pi), 0.044715


@fused
def _gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + namespace(x).tanh(_A * (x + _K * x * x * x)))


@fused
def _gelu_slope(x: Array) -> Array:
    t = namespace(x).tanh(_A * (x + _K * x * x * x))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * _A * (1.0 + 3.0 * _K * x * x)


class SoftClip(Activation):
    """y = c tanh(x / c): almost x near 0, never beyond the limit c.

    The end of an encoder's log-variance: a network that runs away cannot overflow e^logvar, and
    unlike a hard clip it always has a gradient that leads back.

    Keeps     y.
    Backward  tanh' = 1 - tanh^2 and the 1/c of the inside cancels c: dx = dy (1 - (y / c)^2).
    Raises    ValueError unless the limit is positive.
    """

    def __init__(self, limit: float) -> None:
        if not 0.0 < limit < math.inf:
            raise ValueError(f"expected a positive, finite limit, got {limit}")
        self.limit = limit

    def forward(self, x: Array) -> tuple[Array, Array]:
        y = self.limit * namespace(x).tanh(x / self.limit)
        return y, y

    def backward(self, dy: Array, y: Array, need_dx: bool = True) -> Array:
        t = y / self.limit
        return dy * (1.0 - t * t)


class Stack:
    """Layers one after another; the cache is the list of what each of them keeps.

    Shapes    x (B, n_in of the first layer), y (B, n_out of the last).
    Backward  the chain rule is a walk in the other direction: the dx of a layer is the dy of the
              one before it.
    """

    def __init__(self, *layers: Layer) -> None:
        self.layers = layers

    def forward(self, x: Array) -> tuple[Array, list[Any]]:
        caches = []
        for layer in self.layers:
            x, cache = layer.forward(x)
            caches.append(cache)
        return x, caches

    def backward(self, dy: Array, caches: list[Any], need_dx: bool = True) -> Array | None:
        for i in reversed(range(len(self.layers))):
            dy = self.layers[i].backward(dy, caches[i], need_dx or i > 0)
        return dy

    def parts(self) -> Mapping[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


class Heads:
    """A trunk whose output goes to several heads: y_k = head_k(h), h = trunk(x).

    An encoder has the heads mu and logvar; a decoder has one head for each parameter of p(x|z).

    Shapes    x (B, n_in), y a tuple with one (B, n_k) for each head, in the order they were given.
    Backward  h reaches the loss through every head, so the gradients add up at the fork:
                dh = sum_k head_k.backward(dy_k)
    """

    def __init__(self, trunk: Layer, **heads: Layer) -> None:
        self.trunk, self.heads = trunk, heads

    def forward(self, x: Array) -> tuple[tuple[Array, ...], Any]:
        h, trunk = self.trunk.forward(x)
        y, caches = zip(*(head.forward(h) for head in self.heads.values()), strict=True)
        return y, (trunk, caches)

    def backward(self, dy: tuple[Array, ...], cache: Any, need_dx: bool = True) -> Array | None:
        trunk, caches = cache
        dh: Any = 0.0
        for head, dy_k, cache_k in zip(self.heads.values(), dy, caches, strict=True):
            dh = dh + head.backward(dy_k, cache_k)
        return self.trunk.backward(dh, trunk, need_dx)

    def parts(self) -> Mapping[str, Layer]:
        return {"trunk": self.trunk, **self.heads}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


ACTIVATIONS = {
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "softplus": Softplus,
    "gelu": GELU,
}
