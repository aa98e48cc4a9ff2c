"""Models: networks from `minivae.layers`, an objective from `minivae.objectives`, one file each."""

from minivae.models.autoencoder import Autoencoder
from minivae.models.base import Model
from minivae.models.denoising import DenoisingAutoencoder
from minivae.models.iwae import IWAE
from minivae.models.networks import Architecture, smoothed_mean
from minivae.models.vae import VAE

MODELS: dict[str, type[Model]] = {
    "vae": VAE,
    "ae": Autoencoder,
    "dae": DenoisingAutoencoder,
    "iwae": IWAE,
}
"""The models by the name that `minivae train --model` and a run folder know them by."""

__all__ = [
    "IWAE",
    "MODELS",
    "VAE",
    "Architecture",
    "Autoencoder",
    "DenoisingAutoencoder",
    "Model",
    "smoothed_mean",
]
