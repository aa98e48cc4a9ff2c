"""The conditional VAE: everything is told y, and what is left for z is what y does not say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minivae import objectives
from minivae.arrays import Array, beside, dtype_name, namespace, standard_normal
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.models.base import Model
from minivae.models.networks import Architecture
from minivae.models.vae import VAE
from minivae.parameters import Layer

PRIORS = ("standard", "learned")


@dataclass(frozen=True)
class ConditionalArchitecture(Architecture):
    """The networks of a VAE, whose inputs are wider by the condition y (B, C).

    n_conditions  C, the width of y.
    condition     what y is, for whoever makes it from data: see `minivae.datasets.conditions`.
    prior         "standard", p(z) = N(0, 1) whatever y is, or "learned", p(z|y) from a network with
                  the encoder's hidden widths.
    """

    n_conditions: int = 1
    condition: str = "label"
    prior: str = "standard"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_conditions < 1:
            raise ValueError(f"expected n_conditions of at least 1, got {self.n_conditions}")
        if self.prior not in PRIORS:
            raise ValueError(f"expected prior one of {', '.join(PRIORS)}; got {self.prior!r}")


class ConditionalVAE(Model):
    """q(z|x,y),  p(z|y) or p(z) = N(0, 1),  p(x|z,y): a VAE of x for every y at once.

    The condition is joined to the inputs: the encoder sees [x | y], the decoder [z | y].  The first
    dense layer's rows split accordingly,

        [z | y] W + b  =  z W_z + ( y W_y + b ),

    so all that a label can do is to choose the bias of the first layer: with y one-hot, b and its
    row of W_y.  For one fixed y a conditional VAE is therefore a plain VAE; `given` makes it.

    Both networks need y.  The decoder, because otherwise p(x|z,y) = p(x|z) cannot draw a chosen
    class; the encoder, because the posterior p(z|x,y) depends on y, too, and a q without it leaves
    a gap below log p(x|y).

    Trained by `minivae.objectives.conditional_elbo`.

    Source  Sohn, Lee and Yan (2015); Kingma, Rezende, Mohamed and Welling (2014), model M2.
    """

    Architecture: ClassVar[Any] = ConditionalArchitecture
    OPTIONS: ClassVar[Mapping[str, float | int | str]] = VAE.OPTIONS
    conditional: ClassVar[bool] = True

    prior: Layer | None

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """The encoder, the decoder, and the prior if it is learned."""
        a = self.architecture
        self.encoder = a.gaussian_encoder(a.n_features + a.n_conditions)
        self.decoder = a.decoder(data_mean, a.latent + a.n_conditions)
        self.prior = a.gaussian_encoder(a.n_conditions) if a.prior == "learned" else None
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        return parts if self.prior is None else {**parts, "prior": self.prior}

    def encode(self, x: Array, y: Array) -> Gaussian:
        """q(z|x,y) for examples x (B, D) and conditions y (B, C)."""
        (mu, logvar), _ = self.encoder.forward(beside(self.array(x), self.array(y)))
        return Gaussian(mu, logvar)

    def prior_of(self, y: Array) -> Gaussian:
        """p(z|y) for conditions y (B, C): mu and logvar (B, K), zeros where it is not learned."""
        if self.prior is None:
            xp, K = namespace(self.parameters.theta), self.architecture.latent
            zeros = xp.zeros_like(self.parameters.theta[:K])
            zeros = xp.broadcast_to(zeros, (y.shape[0], K))
            return Gaussian(zeros, zeros)
        (mu, logvar), _ = self.prior.forward(self.array(y))
        return Gaussian(mu, logvar)

    def decode(  # type: ignore[override]  # what it decodes depends on y
        self, z: Array, y: Array
    ) -> Bernoulli | ContinuousBernoulli | Gaussian:
        """p(x|z,y) for codes z (B, K) and conditions y (B, C)."""
        params, _ = self.decoder.forward(beside(self.array(z), self.array(y)))
        return self.likelihood(*params)

    def means(self, x: Array, y: Array | None = None) -> Array:
        """The mean of q(z|x,y), (B, K); ValueError, one line, without y."""
        return self.encode(x, _needed(y)).mu

    def reconstruct(self, x: Array, y: Array | None = None) -> Array:
        """The mean of p(x|z,y) at the mean code of x: (B, D) -> (B, D).  No sample, no bound."""
        return self.decode(self.means(x, y), _needed(y)).mean

    def sample(self, n: int, rng: Any, y: Array | None = None) -> Array:
        """Means of p(x|z,y) for one z ~ p(z|y) for each of n conditions y (n, C): (n, D)."""
        y = self.array(_needed(y))
        if y.shape[0] != n:
            raise ValueError(f"expected {n} conditions y, one for each sample, got {y.shape[0]}")
        p = self.prior_of(y)
        return self.decode(p.sample(standard_normal(rng, p.mu.shape, p.mu)), y).mean

    def objective(  # type: ignore[override]  # y is not optional
        self,
        x: Array,
        rng: Any,
        gradient: bool = True,
        *,
        y: Array,
        samples: int = 1,
        **options: float,
    ) -> objectives.Elbo:
        """The bound on log p(x|y) of x (B, D) with fresh noise; options as those of a VAE."""
        if samples < 1:
            raise ValueError(f"expected samples of at least 1, got {samples}")
        x, y = self.array(x), self.array(y)
        eps = standard_normal(rng, (samples, x.shape[0], self.architecture.latent), x)
        return objectives.conditional_elbo(self, x, y, eps, gradient=gradient, **options)

    def check_conditions(self, y: Array, n: int) -> Array:
        """``y`` itself, if it is (n, C) and finite; ValueError, one line, if not."""
        C = self.architecture.n_conditions
        if y.ndim != 2 or tuple(y.shape) != (n, C):
            raise ValueError(f"expected conditions of shape ({n}, {C}), got {tuple(y.shape)}")
        if not bool(namespace(y).all(namespace(y).isfinite(y))):
            raise ValueError("expected conditions that are finite, got a nan or an infinity")
        return y

    def given(self, y: np.ndarray) -> VAE:
        """The plain VAE that this model is for one condition y (C,): its rows become its bias.

        Then all that is made for a VAE can be asked of p(x|y): its likelihood by annealing, its
        quadrature, its usage of latents.  It holds numbers of its own, not views of these.

        Raises  ValueError if the prior is learned: a VAE's is N(0, 1).
        """
        if self.prior is not None:
            raise ValueError("a learned prior p(z|y) is not N(0, 1): there is no such plain VAE")
        self.check_conditions(y[None, :], 1)
        names = ("n_features", "latent", "hidden", "activation", "likelihood", "variance", "sigma")
        shape = Architecture(**{name: getattr(self.architecture, name) for name in names})
        plain = VAE(shape, dtype=dtype_name(self.parameters.theta), device=self.device)
        y, mine = self.array(y), self.parameters.views(self.parameters.theta)
        views = plain.parameters.views(plain.parameters.theta)
        for name, view in views.items():
            view[...] = mine[name][: view.shape[0], ...]  # without the rows of y ...
            if name.endswith(".W") and view.shape[0] < mine[name].shape[0]:
                W_y = mine[name][view.shape[0] :, ...]
                mine[name[:-1] + "b"] = mine[name[:-1] + "b"] + y @ W_y  # ... which go into b
        return plain


def _needed(y: Array | None) -> Array:
    if y is None:
        raise ValueError("a conditional VAE needs to be told y: it has no code without a condition")
    return y
