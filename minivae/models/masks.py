"""Networks that keep an order: what comes out for a variable depends on those before it only.

Every unit has a degree, the number of variables that it may know of.  A variable that comes i-th in
the order has degree i; a hidden unit has one from 1 to M - 1; a condition, which everybody may see,
has degree 0.  A connection is allowed

    to a hidden unit  if it comes from a unit of the same degree or a lower one,
    to an output      if it comes from a unit of a lower degree than its variable,

so along every path the degree never falls, and at the last step it rises: what reaches the output
of the i-th variable started at degree i - 1 or lower.  That is all there is to a MADE.

Source  Germain, Gregor, Murray and Larochelle (2015), sections 3 and 4.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minivae.arrays import Array, beside, cast, like, namespace
from minivae.layers import ACTIVATIONS, Dense, Stack
from minivae.parameters import Layer, leaves


def positions(order: Sequence[int]) -> np.ndarray:
    """At which place, from 1 to M, each variable comes: the inverse of ``order``.

    order   the variables, from the first to the last: a permutation of 0 .. M - 1.
    Raises  ValueError if it is none.

    >>> positions([2, 0, 1]).tolist()
    [2, 3, 1]
    """
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"expected an order of 0 to {len(order) - 1}, each once; got {order!r}")
    place = np.empty(len(order), np.int64)
    place[np.asarray(order)] = np.arange(1, len(order) + 1)
    return place


def hidden_degrees(
    n: int, M: int, rng: np.random.Generator | None = None, least: int = 1
) -> np.ndarray:
    """The degrees of n hidden units, each from 1 to M - 1, (n,).

    rng    None spreads them evenly, the lowest first.  Otherwise they are drawn, uniformly.
    least  the lowest degree of the layer before: a unit of a lower one would see nothing.

    >>> hidden_degrees(6, 4).tolist()
    [1, 1, 2, 2, 3, 3]
    """
    most = max(M - 1, 1)  # a single variable leaves nothing to know; its hidden units do no harm
    if rng is None:
        return 1 + np.arange(n) * most // n
    return rng.integers(least, most + 1, size=n)


def mask(before: np.ndarray, after: np.ndarray, last: bool = False) -> np.ndarray:
    """M_ij: whether unit j may see unit i, from the degrees of both layers.

    Shapes  before (n_in,), after (n_out,), result (n_in, n_out) of bool.

    >>> mask(np.array([1, 2]), np.array([1, 2]), last=True).tolist()
    [[False, True], [False, False]]
    """
    return before[:, None] < after if last else before[:, None] <= after


class MaskedDense(Dense):
    """Affine map with forbidden connections,  y = x (M * W) + b,  M a table of zeros and ones.

    With M_ij = 0 output j does not see input i, whatever W_ij is: so a network can be made to keep
    an order (see `Autoregressive`).  M is a constant, so it appears once more where W does:

    Shapes    as Dense; M (n_in, n_out).  Several tables may share W and b: (T, n_in, n_out), one of
              which is in use, see `choose`.
    Keeps     x, and which M was used.
    Backward  from y_bj = sum_i x_bi M_ij W_ij + b_j
                dW_ij = M_ij sum_b x_bi dy_bj    so  dW = M * (x^T dy)
                dx_bi = sum_j dy_bj M_ij W_ij    so  dx = dy (M * W)^T
    Init      as Dense; a weight that no M lets through is 0, and stays 0.
    Raises    ValueError for masks of another shape, or with other values than 0 and 1; as Dense.
    Source    Germain, Gregor, Murray and Larochelle (2015), equations 8 and 9.
    """

    def __init__(self, masks: np.ndarray, init: str = "he", bias: np.ndarray | None = None) -> None:
        masks = masks[None] if masks.ndim == 2 else masks
        if masks.ndim != 3 or len(masks) == 0 or not ((masks == 0) | (masks == 1)).all():
            raise ValueError(
                f"expected masks (T, n_in, n_out) of 0 and 1, got {masks.dtype} {masks.shape}"
            )
        super().__init__(masks.shape[1], masks.shape[2], init, bias)
        self.masks, self.chosen = masks.astype(bool), 0
        self._moved: tuple[int, Array] | None = None

    def choose(self, t: int) -> None:
        """From here on `forward` uses the t-th mask."""
        self.chosen = t

    def forward(self, x: Array) -> tuple[Array, Any]:
        M = self._mask()
        y = x @ (M * self.W)
        y += self.b
        return y, (x, M)

    def backward(self, dy: Array, cache: Any, need_dx: bool = True) -> Array | None:
        x, M = cache
        self.dW += M * (x.T @ dy)
        self.db += namespace(dy).sum(dy, axis=0)
        return dy @ (M * self.W).T if need_dx else None

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        values = super().initial(rng)
        return {**values, "W": values["W"] * self.masks.any(axis=0)}

    def _mask(self) -> Array:
        """The chosen mask in the dtype and on the device of W; the last one is kept there."""
        if self._moved is not None:
            t, M = self._moved
            if t == self.chosen and type(M) is type(self.W) and M.dtype == self.W.dtype:
                return M
        M = cast(like(self.masks[self.chosen].astype(np.float32), self.W), self.W)
        self._moved = (self.chosen, M)
        return M


class Autoregressive:
    """Logits for M variables, those of the i-th in the order from the i - 1 before it.

    The input is one row [x | z]: the variables, each of ``width`` columns (one for a pixel, C for a
    code of C values, one-hot), and beside them conditions that everybody may see, if there are any.
    Conditions go into every layer, and with ``direct`` so do all inputs into the last: for both,
    what a layer sees is two vectors side by side, [h | z].

    places      T arrays (M,): at which place each variable comes; one for each mask.
    hidden      T lists of degrees, one array (n,) for each hidden layer.
    Shapes      [x | z] (B, M * width + n_conditions), logits (B, M * width).
    Keeps       what each layer keeps.
    Backward    the columns of [h | z] part again, and what went into several layers adds up.
    """

    def __init__(
        self,
        places: Sequence[np.ndarray],
        hidden: Sequence[Sequence[np.ndarray]],
        activation: str = "relu",
        width: int = 1,
        n_conditions: int = 0,
        direct: bool = False,
        bias: np.ndarray | None = None,
    ) -> None:
        self.n_in, self.direct = len(places[0]) * width, direct
        outs = [np.repeat(place, width) for place in places]
        everybody = np.zeros(n_conditions, np.int64)
        inputs = [np.concatenate([out, everybody]) for out in outs]
        self.blocks: list[Layer] = []
        before = inputs
        for layer in zip(*hidden, strict=True):  # the degrees of one layer, for each mask
            masks = [mask(a, b) for a, b in zip(before, layer, strict=True)]
            self.blocks.append(Stack(MaskedDense(np.stack(masks)), ACTIVATIONS[activation]()))
            last = len(self.blocks) == len(hidden[0])
            again = inputs if direct and last else [everybody] * len(places)
            before = [np.concatenate([b, more]) for b, more in zip(layer, again, strict=True)]
        masks = [mask(a, b, last=True) for a, b in zip(before, outs, strict=True)]
        self.blocks.append(MaskedDense(np.stack(masks), "glorot", bias))

    def choose(self, t: int) -> None:
        """From here on the t-th order and its masks are used."""
        for _, layer in leaves(self.parts()):
            if isinstance(layer, MaskedDense):
                layer.choose(t)

    def forward(self, x: Array) -> tuple[Array, Any]:
        h, caches, widths = x, [], []
        for i, block in enumerate(self.blocks):
            widths.append(h.shape[1])
            h, cache = block.forward(beside(h, x[:, self._again(i) :]) if i > 0 else x)
            caches.append(cache)
        return h, (caches, widths)

    def backward(self, dy: Array, cache: Any, need_dx: bool = True) -> Array | None:
        caches, widths = cache
        dh: Any = dy
        again = []
        for i in reversed(range(1, len(self.blocks))):
            dh = self.blocks[i].backward(dh, caches[i])
            again.append((self._again(i), dh[:, widths[i] :]))  # its input was [h | x again]
            dh = dh[:, : widths[i]]
        dx = self.blocks[0].backward(dh, caches[0], need_dx)
        if dx is not None:
            for start, part in again:
                dx[:, start:] += part
        return dx

    def _again(self, i: int) -> int:
        """From which of its columns on the input goes into block i > 0 once more."""
        return 0 if self.direct and i == len(self.blocks) - 1 else self.n_in

    def parts(self) -> Mapping[str, Layer]:
        return {str(i): block for i, block in enumerate(self.blocks)}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}
