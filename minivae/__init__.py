"""minivae: variational autoencoders from first principles, every gradient written by hand.

Reading order: numerics, parameters, layers, distributions, objectives, optimizers, models,
training; `arrays` says how all of it runs on NumPy and on CuPy.
"""

from typing import TYPE_CHECKING

from minivae import blas

# Both act only before NumPy is loaded, and leave a user's own setting alone.
blas.prefer_fast_kernel()
blas.let_threads_rest()

from minivae.datasets import (  # noqa: E402
    binarise,
    binarise_splits,
    load_digits,
    load_glyphs,
    load_mnist,
    load_sprites,
)
from minivae.distributions import (  # noqa: E402
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Gaussian,
)
from minivae.evaluation import Estimate, estimate_likelihood  # noqa: E402
from minivae.models import (  # noqa: E402
    IWAE,
    MADE,
    VAE,
    VQVAE,
    Architecture,
    Autoencoder,
    ConditionalVAE,
    DenoisingAutoencoder,
    TwoLevelVQVAE,
    smoothed_mean,
)
from minivae.optimizers import SGD, Adam, AdamW, clip_by_global_norm  # noqa: E402
from minivae.training import train  # noqa: E402

if TYPE_CHECKING:
    from minivae.estimator import VAEEstimator
else:

    def __getattr__(name: str) -> object:
        """The names that few programs need are loaded when they are asked for."""
        if name == "VAEEstimator":
            from minivae.estimator import VAEEstimator

            return VAEEstimator
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "Adam",
    "AdamW",
    "Architecture",
    "Autoencoder",
    "Bernoulli",
    "Categorical",
    "ConditionalVAE",
    "ContinuousBernoulli",
    "DenoisingAutoencoder",
    "Estimate",
    "Gaussian",
    "IWAE",
    "MADE",
    "SGD",
    "TwoLevelVQVAE",
    "VAE",
    "VAEEstimator",
    "VQVAE",
    "binarise",
    "binarise_splits",
    "clip_by_global_norm",
    "estimate_likelihood",
    "load_digits",
    "load_glyphs",
    "load_mnist",
    "load_sprites",
    "smoothed_mean",
    "train",
]
