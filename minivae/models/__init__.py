"""Models: networks from `minivae.layers`, an objective from `minivae.objectives`, one file each."""

from minivae.models.autoencoder import Autoencoder
from minivae.models.base import Model
from minivae.models.code_prior import IndependentPrior
from minivae.models.conditional import ConditionalArchitecture, ConditionalVAE
from minivae.models.denoising import DenoisingAutoencoder
from minivae.models.iwae import IWAE
from minivae.models.made import MADE, MadeArchitecture, prior_over
from minivae.models.networks import Architecture, smoothed_mean
from minivae.models.quantised_networks import QuantisedArchitecture
from minivae.models.two_levels import TwoLevelArchitecture, TwoLevelVQVAE
from minivae.models.vae import VAE
from minivae.models.vector_quantised import VQVAE

MODELS: dict[str, type[Model]] = {
    "vae": VAE,
    "ae": Autoencoder,
    "dae": DenoisingAutoencoder,
    "iwae": IWAE,
    "vq": VQVAE,
    "vq2": TwoLevelVQVAE,
    "made": MADE,
    "cvae": ConditionalVAE,
}
"""The models by the name that `minivae train --model` and a run folder know them by."""

__all__ = [
    "IWAE",
    "MADE",
    "MODELS",
    "VAE",
    "VQVAE",
    "Architecture",
    "Autoencoder",
    "ConditionalArchitecture",
    "ConditionalVAE",
    "DenoisingAutoencoder",
    "IndependentPrior",
    "MadeArchitecture",
    "Model",
    "QuantisedArchitecture",
    "TwoLevelArchitecture",
    "TwoLevelVQVAE",
    "prior_over",
    "smoothed_mean",
]
