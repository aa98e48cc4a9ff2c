"""What collapse is made of: a decoder that need not listen, and one that cannot.

    ShortcutVAE     its decoder sees the image besides the code
    PixelByPixelVAE its decoder predicts each pixel from those before it, and the code
    with_dead_units a decoder whose first units are off for every code

A cause is a function that makes a model: see `minivae.lab.collapse`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minivae import objectives
from minivae.arrays import Array, beside, joined, namespace, standard_normal
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.layers import Heads
from minivae.models import VAE, Architecture, MadeArchitecture
from minivae.parameters import Layer


class Objective(NamedTuple):
    """The terms of a decoder with a shortcut, in nats per example; none is a bound on log p(x).

    objective       (B,)    reconstruction - sum of kl
    reconstruction  (B,)    E_q log p(x | z, x), estimated by samples: of x given x
    kl              (B, K)  KL(q(z|x) || p(z)) of every latent
    loss            ()      what the gradient differentiates
    """

    objective: Array
    reconstruction: Array
    kl: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        kl = namespace(self.kl).sum(self.kl, axis=-1)
        return {"objective": self.objective, "reconstruction": self.reconstruction, "kl": kl}


@dataclass(frozen=True)
class WithShortcut(Architecture):
    """An architecture whose decoder has D inputs more: the image itself."""

    def decoder(self, data_mean: np.ndarray | None = None, n_in: int | None = None) -> Heads:
        """(z, x) (B, K + D) -> the parameters of "p(x|z)", each (B, D)."""
        return super().decoder(data_mean, self.latent + self.n_features if n_in is None else n_in)


@dataclass(frozen=True)
class Beside:
    """The decoder for one batch: it takes codes z, and the images x stand beside them.

    Forward   z (S * B, K) -> decoder( [z, x] ), the rows of x (B, D) once for each sample
    Backward  only z's share of the gradient goes on; x is data.
    """

    inner: Layer
    x: Array

    def forward(self, z: Array) -> tuple[Any, Any]:
        xp = namespace(z)
        S = z.shape[0] // self.x.shape[0]
        return self.inner.forward(xp.concat([z, xp.concat([self.x] * S, axis=0)], axis=1))

    def backward(self, dy: Any, cache: Any, need_dx: bool = True) -> Array:
        dzx: Any = self.inner.backward(dy, cache)
        return dzx[:, : dzx.shape[1] - self.x.shape[1]]

    def parts(self) -> dict[str, Layer]:
        return {"inner": self.inner}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


class _Networks(NamedTuple):
    """What `objectives.elbo` needs, for one batch."""

    encoder: Layer
    decoder: Layer
    likelihood: type[Bernoulli | ContinuousBernoulli | Gaussian]


class ShortcutVAE(VAE):
    """A VAE whose decoder sees x as well as z.  It can copy, so it need not listen to the code.

    What it trains is an objective and no bound.  log p(x|z, x) is no likelihood of x: nothing is
    predicted that was not given, the "distribution" cannot be sampled without the image it
    is to make, and its values can exceed log p(x) of every model of x.

    architecture  `WithShortcut`.
    """

    def beside(self, x: Array) -> Any:
        """Encoder and decoder for the images x (B, D), as an objective takes them."""
        return _Networks(self.encoder, Beside(self.decoder, x), self.likelihood)

    def objective(
        self, x: Array, rng: Any, gradient: bool = True, samples: int = 1, **options: float
    ) -> Objective:
        """The formula of the ELBO with this decoder; options as those of `VAE.objective`."""
        x = self.array(x)
        eps = standard_normal(rng, (samples, x.shape[0], self.architecture.latent), x)
        return Objective(*objectives.elbo(self.beside(x), x, eps, gradient=gradient, **options))

    def log_px(self, x: Array, z: Array) -> Array:
        """log p(x|z, x) of examples x (N, D) with codes z (N, K): (N,), and no likelihood."""
        x = self.array(x)
        params, _ = Beside(self.decoder, x).forward(self.array(z))
        return self.likelihood(*params).log_prob(x)


@dataclass(frozen=True)
class PixelByPixel(Architecture):
    """An architecture whose decoder is a MADE that is told the code.

    n_hidden  of the MADE's one hidden layer; it has direct connections, too.
    """

    n_hidden: int = 256

    def decoder(self, data_mean: np.ndarray | None = None, n_in: int | None = None) -> Any:
        """(x, z) (B, D + K) -> the logits of p(x_i | x before i, z), (B, D); z in every layer."""
        bias = None if data_mean is None else np.log(data_mean) - np.log1p(-data_mean)
        made = MadeArchitecture(
            self.n_features, (self.n_hidden,), self.activation, direct=True
        )  # fmt: skip
        return made.network(self.latent, bias)


@dataclass(frozen=True)
class Before:
    """The pixel-by-pixel decoder for one batch: it takes codes z, and is given the images x.

    Its masks hide from each pixel the pixel itself and those after it, so that
    prod_i p(x_i | x before i, z) is a distribution of x, and the ELBO with it a bound.

    Forward   z (S * B, K) -> (logits,), the rows of x (B, D) once for each sample
    Backward  only z's share of the gradient goes on; x is data.
    """

    inner: Layer
    x: Array

    def forward(self, z: Array) -> tuple[Any, Any]:
        copies = joined([self.x] * (z.shape[0] // self.x.shape[0]))
        logits, cache = self.inner.forward(beside(copies, z))
        return (logits,), cache

    def backward(self, dy: Any, cache: Any, need_dx: bool = True) -> Array:
        dxz: Any = self.inner.backward(dy[0], cache)
        return dxz[:, self.x.shape[1] :]

    def parts(self) -> dict[str, Layer]:
        return {"inner": self.inner}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {}


class PixelByPixelVAE(VAE):
    """A VAE with an autoregressive decoder, p(x|z) = prod_i p(x_i | x before i, z).

    It has an ELBO, unlike the shortcut.  But a decoder that can model the data alone need not
    listen to the code: what it would be told costs as many nats as it saves.  The KL falls to a
    fraction of what it is beside a weak decoder, and the bound is better.  Nothing is broken.

    architecture  `PixelByPixel`; Bernoulli only.
    Source        Bowman and others (2016); Chen and others (2017).
    """

    def given(self, x: Array) -> Any:
        """Encoder and decoder for the images x (B, D), as an objective takes them."""
        return _Networks(self.encoder, Before(self.decoder, x), self.likelihood)

    def objective(
        self, x: Array, rng: Any, gradient: bool = True, samples: int = 1, **options: float
    ) -> Any:
        """The ELBO with this decoder; options as those of `VAE.objective`."""
        x = self.array(x)
        eps = standard_normal(rng, (samples, x.shape[0], self.architecture.latent), x)
        return objectives.elbo(self.given(x), x, eps, gradient=gradient, **options)

    def log_px(self, x: Array, z: Array) -> Array:
        """log p(x|z) of examples x (N, D) with codes z (N, K): (N,), in nats."""
        x = self.array(x)
        params, _ = Before(self.decoder, x).forward(self.array(z))
        return self.likelihood(*params).log_prob(x)


def log_px(model: VAE, x: Array, z: Array) -> Array:
    """log p(x|z) of x (N, D) with codes z (N, K): (N,); with x where the decoder sees it."""
    if isinstance(model, ShortcutVAE | PixelByPixelVAE):
        return model.log_px(x, z)
    return model.decode(z).log_prob(model.array(x))


def with_dead_units(model: VAE, bias: float = -30.0) -> VAE:
    """The same model with the decoder's first units off, whatever the code: ReLU of less than 0.

    No code gets through, and no gradient gets back: where y = 0 the slope is 0.  Training cannot
    repair it.  Large steps can do this to a network.

    Raises  ValueError for another activation than ReLU, or no hidden layer.
    """
    a = model.architecture
    if a.activation != "relu" or not a.hidden:
        raise ValueError(f"expected ReLU and a hidden layer, got {a.activation} {a.hidden}")
    view = model.parameters.views(model.parameters.theta)
    view["decoder.trunk.0.b"][...] = bias
    return model
