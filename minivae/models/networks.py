"""The encoder and the decoder that the models share, and what a decoder's output means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from minivae.arrays import Array
from minivae.datasets.values import require_finite
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.layers import ACTIVATIONS, Constant, Dense, Heads, SoftClip, Stack
from minivae.parameters import Layer

LOGVAR_LIMIT = 15.0
"""Bound of the encoder's log-variance: sigma between 5e-4 and 1.8e3."""

PIXEL_LOGVAR_LIMIT = 6.0
"""Bound of a decoder's log-variance per pixel: without one, a pixel that never changes would have
an infinite likelihood.  sigma is at least 0.05, a bit less than a grey step of the digits, 1/16."""

LOGIT_LIMIT = 20.0
"""Bound of a continuous Bernoulli's logit, for the same reason: 1 / |a| is the width of its
exponential, at least 0.05 as well.  Without it the logits of pixels that are always 0 run away, and
a held-out image with one speck there has a density of nearly nothing."""

LIKELIHOODS: dict[str, type[Bernoulli | ContinuousBernoulli | Gaussian]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
}


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a model's networks; a plain value, saved with the model.

    n_features  D, the length of an example.
    latent      K, the number of latents.
    hidden      widths of the encoder's hidden layers; the decoder has them in reverse.
    activation  "relu", "tanh", "sigmoid", "softplus" or "gelu".
    likelihood  "bernoulli" (binary pixels), "continuous-bernoulli" (grey pixels in [0, 1]) or
                "gaussian" (real numbers).
    variance    of a Gaussian decoder: "shared" (one learned number), "fixed" (the number sigma**2)
                or "pixel" (a second head of the decoder).
    sigma       the decoder's standard deviation, where it starts or where it is fixed.
    Raises      ValueError, one line that says what was expected and what came.
    """

    n_features: int
    latent: int = 2
    hidden: Sequence[int] = field(default=(400,))
    activation: str = "relu"
    likelihood: str = "bernoulli"
    variance: str = "shared"
    sigma: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, value in (("n_features", self.n_features), ("latent", self.latent)):
            if value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        if any(n < 1 for n in self.hidden):
            raise ValueError(f"expected hidden widths of at least 1, got {list(self.hidden)}")
        choices = {
            "activation": list(ACTIVATIONS),
            "likelihood": list(LIKELIHOODS),
            "variance": ["shared", "fixed", "pixel"],
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                got = getattr(self, name)
                raise ValueError(f"expected {name} one of {', '.join(allowed)}; got {got!r}")
        low, high = (0.0, math.inf)
        if self.variance == "pixel":
            low, high = (math.exp(side * PIXEL_LOGVAR_LIMIT / 2.0) for side in (-1.0, 1.0))
        if not low < self.sigma < high:
            raise ValueError(f"expected sigma between {low:.3g} and {high:.3g}, got {self.sigma}")

    def fewest_weights(self) -> int:
        """No model of this architecture has fewer parameters: a check before any is made."""
        widths = (self.n_features, *self.hidden, self.latent)
        return sum(n_in * n_out for n_in, n_out in pairwise(widths))

    def trunk(self, n_in: int, widths: Sequence[int]) -> Stack:
        """Dense layers of the given widths, each followed by the activation."""
        layers: list[Layer] = []
        for n_out in widths:
            layers += [Dense(n_in, n_out, "he"), ACTIVATIONS[self.activation]()]
            n_in = n_out
        return Stack(*layers)

    def gaussian_encoder(self, n_in: int | None = None) -> Heads:
        """x (B, n_in) -> mu, logvar (B, K): the parameters of q(z|x).

        n_in  D by default; more if a condition stands beside x.
        """
        n_in = self.n_features if n_in is None else n_in
        n = (n_in, *self.hidden)[-1]
        return Heads(
            self.trunk(n_in, self.hidden),
            mu=Dense(n, self.latent, "glorot"),
            logvar=Stack(Dense(n, self.latent, "glorot"), SoftClip(LOGVAR_LIMIT)),
        )

    def point_encoder(self) -> Heads:
        """x (B, D) -> (z,), (B, K): one code for each example, and no distribution."""
        n = (self.n_features, *self.hidden)[-1]
        return Heads(self.trunk(self.n_features, self.hidden), code=Dense(n, self.latent, "glorot"))

    def decoder(self, data_mean: np.ndarray | None = None, n_in: int | None = None) -> Heads:
        """z (B, n_in) -> the parameters of p(x|z): (logits,) or (mu, logvar), each (B, D).

        data_mean  (D,) the mean of every pixel over the training data.  The output's bias starts
                   there, at its logit for a Bernoulli: the decoder begins by knowing the average
                   image.  With output weights of zero the loss at step 0 would be exactly that of
                   independent pixels; random ones cost several nats more.  For a continuous
                   Bernoulli it is the logit whose distribution has that mean, or the nearest that
                   its limit allows.
        n_in       K by default; more if a condition stands beside z.
        """
        widths, n_in = self.hidden[::-1], self.latent if n_in is None else n_in
        n, D = (n_in, *widths)[-1], self.n_features
        trunk = self.trunk(n_in, widths)
        bias = None if data_mean is None else output_bias(self, data_mean)
        if self.likelihood == "bernoulli":
            return Heads(trunk, logits=Dense(n, D, "glorot", bias))
        if self.likelihood == "continuous-bernoulli":
            clip = SoftClip(LOGIT_LIMIT)
            return Heads(trunk, logits=Stack(Dense(n, D, "glorot", bias), clip))
        logvar: Layer
        if self.variance == "pixel":
            limit = PIXEL_LOGVAR_LIMIT
            # what SoftClip turns into 2 log sigma: its inverse, atanh
            start = np.full(D, limit * math.atanh(2.0 * math.log(self.sigma) / limit))
            logvar = Stack(Dense(n, D, "glorot", start), SoftClip(PIXEL_LOGVAR_LIMIT))
        else:
            logvar = Constant(D, 2.0 * math.log(self.sigma), learned=self.variance == "shared")
        return Heads(trunk, mu=Dense(n, D, "glorot", bias), logvar=logvar)


def output_bias(architecture: Architecture, data_mean: np.ndarray | None) -> np.ndarray:
    """The bias (D,) of a decoder's output that says the data's mean; 0 where there is none."""
    if data_mean is None:
        return np.zeros(architecture.n_features)
    if architecture.likelihood == "gaussian":
        return data_mean
    mean = require_inside(data_mean)
    return logit(mean) if architecture.likelihood == "bernoulli" else _continuous_bias(mean)


def require_inside(mean: np.ndarray) -> np.ndarray:
    """``mean`` itself, if every pixel is sometimes on and sometimes off; ValueError if not."""
    if not (mean.min() > 0.0 and mean.max() < 1.0):
        raise ValueError(
            f"expected data_mean inside (0, 1), got {mean.min()} to {mean.max()}: see smoothed_mean"
        )
    return mean


def logit(mean: np.ndarray) -> np.ndarray:
    """log( mean / (1 - mean) ), the logit of a Bernoulli with this mean."""
    return np.log(mean) - np.log1p(-mean)


def _continuous_logit(mean: np.ndarray) -> np.ndarray:
    """The logit a of a continuous Bernoulli with the given mean, which is not sigmoid(a).

    Where the expected score is zero, so this a is the maximum-likelihood one for a pixel alone.
    There is no formula for it; Newton's method on E[x] - mean = 0 has the slope Var[x]:

        a  <-  a - (E[x] - mean) / Var[x]

    The start is within 5 %, because 2 E[x] - 1 = coth(a/2) - 2/a is Langevin's function of a/2,
    whose inverse is near y (3 - y^2) / (1 - y^2) (Cohen 1991); and every step squares the error,
    so that four reach the rounding unit.

    Shapes  mean (D,) inside (0, 1), result (D,), float64.
    """
    mean = mean.astype(np.float64)
    y = 2.0 * mean - 1.0
    a = 2.0 * y * (3.0 - y * y) / (4.0 * mean * (1.0 - mean))
    for _ in range(5):
        p = ContinuousBernoulli(a)
        a = a - (p.mean - mean) / p.variance
    return a


def _continuous_bias(mean: np.ndarray) -> np.ndarray:
    """What SoftClip turns into `_continuous_logit`: its inverse, atanh.

    Logits beyond 95 % of the limit start there, where the clip still has a tenth of its slope.
    """
    y = np.clip(_continuous_logit(mean) / LOGIT_LIMIT, -0.95, 0.95)
    return LOGIT_LIMIT * np.arctanh(y)


def smoothed_mean(x: Array) -> np.ndarray:
    """The mean of every column of ``x`` (N, D), as if one white and one black row stood among them.

    Laplace's rule of succession: a pixel that is never on has probability 1 / (N + 2), not 0, and
    its logit is finite.  Result (D,), float64.  Nothing of the size of ``x`` is made; a `Streamed`
    is read once, in parts.
    Raises  ValueError for a value that is not finite; it names the first place.
    """
    sums = x.sum(axis=0, dtype=np.float64)
    if not np.isfinite(sums).all():
        require_finite(x)
    return (sums + 1.0) / (len(x) + 2.0)
