"""The encoder and the decoder that the models share, and what a decoder's output means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minivae.distributions import Bernoulli, Gaussian
from minivae.layers import ACTIVATIONS, Constant, Dense, Heads, SoftClip, Stack
from minivae.parameters import Layer

LOGVAR_LIMIT = 15.0
"""Bound of the encoder's log-variance: sigma between 5e-4 and 1.8e3."""

PIXEL_LOGVAR_LIMIT = 6.0
"""Bound of a decoder's log-variance per pixel: without one, a pixel that never changes would have
an infinite likelihood.  sigma is at least 0.05, a bit less than a grey step of the digits, 1/16."""

LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
}


@dataclass(frozen=True)
class Architecture:
    """Everything that determines a model's networks; a plain value, saved with the model.

    n_features  D, the length of an example.
    latent      K, the number of latents.
    hidden      widths of the encoder's hidden layers; the decoder has them in reverse.
    activation  "relu", "tanh", "sigmoid", "softplus" or "gelu".
    likelihood  "bernoulli" (binary pixels) or "gaussian" (real numbers).
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

    def trunk(self, n_in: int, widths: Sequence[int]) -> Stack:
        """Dense layers of the given widths, each followed by the activation."""
        layers: list[Layer] = []
        for n_out in widths:
            layers += [Dense(n_in, n_out, "he"), ACTIVATIONS[self.activation]()]
            n_in = n_out
        return Stack(*layers)

    def gaussian_encoder(self) -> Heads:
        """x (B, D) -> mu, logvar (B, K): the parameters of q(z|x)."""
        n = (self.n_features, *self.hidden)[-1]
        return Heads(
            self.trunk(self.n_features, self.hidden),
            mu=Dense(n, self.latent, "glorot"),
            logvar=Stack(Dense(n, self.latent, "glorot"), SoftClip(LOGVAR_LIMIT)),
        )

    def point_encoder(self) -> Heads:
        """x (B, D) -> (z,), (B, K): one code for each example, and no distribution."""
        n = (self.n_features, *self.hidden)[-1]
        return Heads(self.trunk(self.n_features, self.hidden), code=Dense(n, self.latent, "glorot"))

    def decoder(self, data_mean: np.ndarray | None = None) -> Heads:
        """z (B, K) -> the parameters of p(x|z): (logits,) or (mu, logvar), each (B, D).

        data_mean  (D,) the mean of every pixel over the training data.  The output's bias starts
                   there, at its logit for a Bernoulli: the decoder begins by knowing the average
                   image.  With output weights of zero the loss at step 0 would be exactly that of
                   independent pixels; random ones cost several nats more.
        """
        widths = self.hidden[::-1]
        n, D = (self.latent, *widths)[-1], self.n_features
        trunk = self.trunk(self.latent, widths)
        if self.likelihood == "bernoulli":
            return Heads(trunk, logits=Dense(n, D, "glorot", _logit(data_mean)))
        logvar: Layer
        if self.variance == "pixel":
            limit = PIXEL_LOGVAR_LIMIT
            # what SoftClip turns into 2 log sigma: its inverse, atanh
            bias = np.full(D, limit * math.atanh(2.0 * math.log(self.sigma) / limit))
            logvar = Stack(Dense(n, D, "glorot", bias), SoftClip(PIXEL_LOGVAR_LIMIT))
        else:
            logvar = Constant(D, 2.0 * math.log(self.sigma), learned=self.variance == "shared")
        return Heads(trunk, mu=Dense(n, D, "glorot", data_mean), logvar=logvar)


def _logit(mean: np.ndarray | None) -> np.ndarray | None:
    if mean is None:
        return None
    if not (mean.min() > 0.0 and mean.max() < 1.0):
        raise ValueError(
            f"expected data_mean inside (0, 1), got {mean.min()} to {mean.max()}: see smoothed_mean"
        )
    return np.log(mean) - np.log1p(-mean)


def smoothed_mean(x: np.ndarray) -> np.ndarray:
    """The mean of every column of ``x`` (N, D), as if one white and one black row stood among them.

    Laplace's rule of succession: a pixel that is never on has probability 1 / (N + 2), not 0, and
    its logit is finite.  Result (D,), float64.
    """
    return (x.sum(axis=0, dtype=np.float64) + 1.0) / (len(x) + 2.0)
