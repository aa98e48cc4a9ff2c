"""The deterministic autoencoder: what a VAE is without its noise."""

from typing import Any

from minivae import objectives
from minivae.arrays import Array
from minivae.models.base import Model
from minivae.parameters import Layer


class Autoencoder(Model):
    """z = f(x), and p(x|z) as in the VAE: compression without a distribution over codes.

    Nothing tells the codes where to lie, so samples of N(0, 1) may fall where no code is.

    Source  Rumelhart, Hinton and Williams (1986); Bourlard and Kamp (1988).
    """

    def make_encoder(self) -> Layer:
        return self.architecture.point_encoder()

    def encode(self, x: Array) -> Array:
        """The codes z = f(x), (B, K)."""
        (z,), _ = self.encoder.forward(self.array(x))
        return z

    def means(self, x: Array) -> Array:
        """The codes: a point is its own mean."""
        return self.encode(x)

    def objective(  # type: ignore[override]  # no options: there is nothing to weigh
        self, x: Array, rng: Any = None, gradient: bool = True
    ) -> objectives.Reconstruction:
        """log p(x | f(x)) of x (B, D); ``rng`` is not used."""
        return objectives.reconstruction(self, self.array(x), gradient)
