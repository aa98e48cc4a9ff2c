"""MADE: an exact p(x), one variable after the other, from one masked network.

model = MADE(MadeArchitecture(784, hidden=(500,)), smoothed_mean(x))     # black and white pixels
prior = prior_over(codes, n_codes=64, hidden=(200,))                     # codes (N, M) of 0 .. 63
train(prior, codes, epochs=20)
prior.log_prob(codes)                                                    # (N,), in nats, exact
prior.sample(100, rng, temperature=0.9)                                  # (100, M), integers
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from minivae.arrays import (
    Array,
    Device,
    beside,
    cast,
    generator,
    joined,
    like,
    namespace,
    to_numpy,
    uniform,
)
from minivae.distributions import Bernoulli, Categorical
from minivae.layers import ACTIVATIONS
from minivae.models import ordered
from minivae.models.base import Model
from minivae.models.masks import Autoregressive, hidden_degrees, positions
from minivae.models.networks import logit, require_inside, smoothed_mean
from minivae.models.one_hot import apart, numbers, one_hot, require_codes
from minivae.numerics import log_mean_exp, tempered
from minivae.parameters import Layer

ORDERS, DEGREES = 31, 32
"""Purposes, in the key (seed, mask, purpose), of the generators of orders and of degrees."""

ROWS = 1_000
"""Examples that go through the network at a time: what bounds the memory."""


@dataclass(frozen=True)
class MadeArchitecture:
    """Everything that determines a MADE, its masks included; a plain value, saved with the model.

    n_features  the number of variables: pixels, or the M codes of an image.
    hidden      widths of the hidden layers.  None, with ``()``: every logit is linear in the
                variables before it, a sigmoid belief network.
    activation  "relu", "tanh", "sigmoid", "softplus" or "gelu".
    likelihood  "bernoulli", the only one: here the word for values that can be counted.
    n_codes     of how many values each variable has one: 2 for black and white (a Bernoulli with
                one logit), more for codes (a categorical distribution with as many logits).
    order       "raster", one after the other as they stand; "random", drawn by ``seed``; or the
                variables themselves from the first to the last, (2, 0, 1).
    degrees     of the hidden units: "even" or "drawn", by ``seed``.
    direct      whether the inputs also go straight to the outputs that may see them.
    n_masks     how many orders, or draws of the degrees, share the weights.  The model is the mean
                of as many distributions.
    seed        of what is drawn.
    Raises      ValueError, one line that says what was expected and what came.
    """

    n_features: int
    hidden: Sequence[int] = (500,)
    activation: str = "relu"
    likelihood: str = "bernoulli"
    n_codes: int = 2
    order: str | Sequence[int] = "raster"
    degrees: str = "even"
    direct: bool = False
    n_masks: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if not isinstance(self.order, str):
            object.__setattr__(self, "order", tuple(self.order))
        self._check_sizes()
        self._check_words()
        if self.n_masks > 1 and self.order != "random" and self.degrees == "even":
            raise ValueError(
                f"{self.n_masks} masks would be the same: expected order random or degrees drawn"
            )

    def _check_sizes(self) -> None:
        least = {"n_features": 1, "n_codes": 2, "n_masks": 1, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} of at least {low}, got {getattr(self, name)}")
        if any(n < 1 for n in self.hidden):
            raise ValueError(f"expected hidden widths of at least 1, got {list(self.hidden)}")
        if not isinstance(self.order, str) and sorted(self.order) != list(range(self.n_features)):
            raise ValueError(
                f"expected an order of the variables 0 to {self.n_features - 1}, got {self.order!r}"
            )

    def _check_words(self) -> None:
        choices = {
            "activation": list(ACTIVATIONS), "likelihood": ["bernoulli"],
            "degrees": ["even", "drawn"],
        }  # fmt: skip
        if isinstance(self.order, str):
            choices["order"] = ["raster", "random"]
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                got = getattr(self, name)
                raise ValueError(f"expected {name} one of {', '.join(allowed)}; got {got!r}")

    @property
    def width(self) -> int:
        """Columns of the network for each variable."""
        return 1 if self.n_codes == 2 else self.n_codes

    def fewest_weights(self) -> int:
        """No model of this architecture has fewer parameters: a check before any is made."""
        n = self.n_features * self.width
        return sum(n_in * n_out for n_in, n_out in pairwise((n, *self.hidden, n)))

    def orders(self) -> list[list[int]]:
        """The variables from the first to the last, for each mask."""
        M = self.n_features
        if self.order == "random":
            drawn = (generator("cpu", self.seed, t, ORDERS) for t in range(self.n_masks))
            return [rng.permutation(M).tolist() for rng in drawn]
        order = range(M) if self.order == "raster" else self.order
        return [[int(d) for d in order]] * self.n_masks

    def network(self, n_conditions: int = 0, bias: np.ndarray | None = None) -> Autoregressive:
        """The masked network; with conditions its input has as many columns more."""
        places = [positions(order) for order in self.orders()]
        return Autoregressive(
            places, [list(self._degrees(t)) for t in range(self.n_masks)],
            self.activation, self.width, n_conditions, self.direct, bias,
        )  # fmt: skip

    def _degrees(self, t: int) -> Iterator[np.ndarray]:
        """Of each hidden layer, for the t-th mask; none is lower than all of the layer before."""
        rng = None if self.degrees == "even" else generator("cpu", self.seed, t, DEGREES)
        least = 1
        for n in self.hidden:
            degrees = hidden_degrees(n, self.n_features, rng, least)
            least = int(degrees.min())
            yield degrees


class MADE(Model):
    """p(x) = product over i of p(x_i | x before i), all factors from one pass of a masked network.

    A product of conditional distributions, each of which sums to one, sums to one: so log p(x) is
    known, not bounded, and the gradient needs no samples.  To draw an x takes as many passes as it
    has variables, since each has to be there before the next can be drawn.

    With several masks the model is the mixture  p(x) = 1/T sum_t p_t(x): a mean of probabilities.
    (The mean of the log p_t would sum to less than one.)  A step of training takes one t at random.

    x is (N, M): 0 or 1, or codes from 0 to n_codes - 1, as integers or whole floats.

    Source  Germain, Gregor, Murray and Larochelle (2015); Bengio and Bengio (2000).
    """

    Architecture: ClassVar[Any] = MadeArchitecture
    network: Autoregressive

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """``data_mean`` is of the columns that the network sees: (M * width,)."""
        if self.architecture.n_codes > 2:
            self.likelihood = Categorical
        bias = None
        if data_mean is not None:  # the log-probability of each code, or the logit of each pixel
            mean = require_inside(data_mean)
            bias = logit(mean) if self.likelihood is Bernoulli else np.log(mean)
        self.network = self.architecture.network(bias=bias)
        return {"network": self.network}

    def objective(  # type: ignore[override]  # no options: there is nothing to weigh
        self, x: Array, rng: Any = None, gradient: bool = True
    ) -> ordered.LogLikelihood:
        """log p(x) of x (B, M); with a gradient, that of one mask, drawn by ``rng``."""
        x = self.array(x)
        if not gradient:
            log_px = self.log_prob(x)
            return ordered.LogLikelihood(log_px, -namespace(x).mean(log_px))
        n_masks = self.architecture.n_masks
        self.network.choose(0 if n_masks == 1 else int(rng.integers(n_masks)))
        return ordered.autoregressive(self, x)

    def log_prob(self, x: Array) -> Array:
        """log p(x) of x (N, M), exactly: (N,), in nats."""
        found = []
        for start in range(0, x.shape[0], ROWS):
            rows = self.array(x[start : min(start + ROWS, x.shape[0]), :])
            masks = []
            for t in range(self.architecture.n_masks):
                self.network.choose(t)
                result = ordered.autoregressive(self, rows, gradient=False)
                masks.append(result.log_px)
            found.append(log_mean_exp(namespace(rows).stack(masks), axis=0))
        return joined(found)

    def columns(self, x: Array) -> Array:
        """What the network sees of x (B, M): pixels as they are, codes one-hot; (B, M * width)."""
        x = cast(x, self.parameters.theta)
        return x if self.likelihood is Bernoulli else one_hot(x, self.architecture.n_codes)

    def predict(self, logits: Array) -> Bernoulli | Categorical:
        """p(x_i | x before i) for every variable, from logits (B, M * width)."""
        if self.likelihood is Bernoulli:
            return Bernoulli(logits)
        return Categorical(apart(logits, self.architecture.n_codes))

    def sample(
        self,
        n: int,
        rng: Any,
        temperature: float = 1.0,
        progress: Callable[[int], Any] | None = None,
    ) -> Array:
        """n draws of p(x), (n, M): pixels 0.0 and 1.0, or integer codes.  It takes M passes.

        temperature  divides all logits: below 1 each variable is drawn from a distribution more
                     decided than the model's, above 1 from one less so.
        progress     called with 1 after each variable.
        Raises       ValueError for a temperature that is not positive and finite.
        """
        a, theta = self.architecture, self.parameters.theta
        u = uniform(rng, (n, a.n_features), theta)
        t_of_row = np.floor(a.n_masks * to_numpy(uniform(rng, (n,), theta)).astype(np.float64))
        rows, drawn = [], []
        for t, order in enumerate(a.orders()):  # the rows of one mask together, then back in order
            rows.append(np.flatnonzero(t_of_row == t))
            self.network.choose(t)
            part = namespace(u).take(u, like(rows[t], u), axis=0)
            drawn.append(self.draw(order, part, temperature=temperature, progress=progress))
        xp, back = namespace(u), np.argsort(np.concatenate(rows))
        x = xp.take(joined(drawn), like(back, u), axis=0)
        return x if a.n_codes == 2 else cast(x, like(back, u))

    def draw(
        self,
        order: Sequence[int],
        u: Array,
        z: Array | None = None,
        temperature: float = 1.0,
        progress: Callable[[int], Any] | None = None,
    ) -> Array:
        """x from noise, one variable after the other, with the mask that is chosen.

        Nothing reads a variable before it is drawn, so it may stand as 0 until then.

        Shapes  u (n, M) ~ U[0, 1), z (n, K) the conditions of a network that has some; x (n, M).
        """
        xp, width = namespace(u), self.architecture.width
        x = xp.zeros_like(u) if width == 1 else one_hot(xp.zeros_like(u), width) * 0.0
        v = x if z is None else beside(x, z)
        for d in order:
            at = slice(d * width, (d + 1) * width)
            logits, _ = self.network.forward(v)
            p = self.predict(tempered(logits[:, at], temperature))
            v[:, at] = xp.reshape(p.sample(u[:, d : d + 1]), (u.shape[0], width))
            if progress is not None:
                progress(1)
        x = v[:, : u.shape[1] * width]
        return x if width == 1 else numbers(x, width)

    def check(self, x: Array) -> Array:
        """As `Model.check`; codes are whole numbers from 0 to n_codes - 1."""
        super().check(x)
        if self.likelihood is Categorical:
            require_codes(x, self.architecture.n_codes)
        return x


def prior_over(
    codes: np.ndarray,
    n_codes: int,
    seed: int = 0,
    dtype: str = "float32",
    device: Device = "cpu",
    **architecture: Any,
) -> MADE:
    """A MADE for codes (N, M), not yet trained, that begins at their frequencies.

    codes         integers from 0 to n_codes - 1.
    architecture  what else `MadeArchitecture` may be told: hidden, order, direct, n_masks, ...
    Raises        ValueError, one line, for anything else.
    """
    a = MadeArchitecture(codes.shape[-1], n_codes=n_codes, seed=seed, **architecture)
    require_codes(codes, n_codes)
    if n_codes == 2:
        return MADE(a, smoothed_mean(codes), seed, dtype, device)
    counts = [np.bincount(column.astype(np.int64), minlength=n_codes) for column in codes.T]
    mean = (np.concatenate(counts) + 1.0) / (len(codes) + n_codes)
    return MADE(a, mean, seed, dtype, device)
