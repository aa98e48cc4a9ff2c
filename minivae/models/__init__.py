"""Models: networks from `minivae.layers`, an objective from `minivae.objectives`, one file each."""

from minivae.models.autoencoder import Autoencoder
from minivae.models.networks import Architecture, smoothed_mean
from minivae.models.vae import VAE

__all__ = ["VAE", "Architecture", "Autoencoder", "smoothed_mean"]
