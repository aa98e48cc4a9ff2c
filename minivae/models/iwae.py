"""The importance-weighted autoencoder: a VAE that is trained by a tighter bound."""

from collections.abc import Mapping
from typing import Any, ClassVar

from minivae import objectives
from minivae.arrays import Array, standard_normal
from minivae.models.vae import VAE


class IWAE(VAE):
    """The networks of the VAE, trained by the bound with k samples, `minivae.objectives.iwae`.

    Source  Burda, Grosse and Salakhutdinov (2015).
    """

    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {"samples": 5}
    BOUND: ClassVar[tuple[str, ...]] = ("samples",)

    def objective(  # type: ignore[override]  # no KL to weigh: it is not split off
        self, x: Array, rng: Any, gradient: bool = True, samples: int = 5
    ) -> objectives.Iwae:
        """The IWAE bound of x (B, D) with k = samples and fresh noise."""
        if samples < 1:
            raise ValueError(f"expected samples of at least 1, got {samples}")
        x = self.array(x)
        eps = standard_normal(rng, (samples, x.shape[0], self.architecture.latent), x)
        return objectives.iwae(self, x, eps, gradient)
