"""The variational autoencoder."""

from collections.abc import Mapping
from typing import Any, ClassVar

from minivae import objectives
from minivae.arrays import Array, standard_normal
from minivae.distributions import Gaussian
from minivae.models.base import Model
from minivae.parameters import Layer


class VAE(Model):
    """q(z|x) = N(mu(x), sigma(x)^2),  p(z) = N(0, 1),  p(x|z) a density of pixels.

    Trained by the ELBO, `minivae.objectives.elbo`.

    Source  Kingma and Welling (2013); Rezende, Mohamed and Wierstra (2014).
    """

    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {
        "kl_weight": 1.0, "free_bits": 0.0, "kl_floor": 0.0, "samples": 1,
    }  # fmt: skip

    def make_encoder(self) -> Layer:
        return self.architecture.gaussian_encoder()

    def encode(self, x: Array) -> Gaussian:
        """q(z|x) for examples x (B, D)."""
        (mu, logvar), _ = self.encoder.forward(self.array(x))
        return Gaussian(mu, logvar)

    def means(self, x: Array) -> Array:
        """The mean of q(z|x), (B, K)."""
        return self.encode(x).mu

    def objective(
        self, x: Array, rng: Any, gradient: bool = True, samples: int = 1, **options: float
    ) -> Any:
        """The ELBO of x (B, D) with fresh noise; options: kl_weight, free_bits, kl_floor."""
        if samples < 1:
            raise ValueError(f"expected samples of at least 1, got {samples}")
        x = self.array(x)
        eps = standard_normal(rng, (samples, x.shape[0], self.architecture.latent), x)
        return objectives.elbo(self, x, eps, gradient=gradient, **options)
