"""Exact worlds: models small or simple enough that log p(x) is a formula, to hold a VAE against.

Reading order: linear_gaussian, ppca, em, linear_vae, water_filling, linear_autoencoder.
"""

from minivae.exact.em import e_step, m_step, run_em
from minivae.exact.full_gaussian import FullGaussian
from minivae.exact.linear_autoencoder import as_autoencoder, least_error, principal_angles
from minivae.exact.linear_gaussian import LinearGaussian
from minivae.exact.linear_vae import (
    as_vae,
    as_world,
    best_decoder,
    cubature,
    expected_elbo,
    operating_point,
    train_exactly,
)
from minivae.exact.ppca import Spectrum, fit_ppca, max_log_likelihood, mean_kl, noise_variance
from minivae.exact.water_filling import (
    RateDistortion,
    reverse_water_filling,
    shannon_rate,
    water_level,
)

__all__ = [
    "FullGaussian",
    "LinearGaussian",
    "RateDistortion",
    "Spectrum",
    "as_autoencoder",
    "as_vae",
    "as_world",
    "best_decoder",
    "cubature",
    "e_step",
    "expected_elbo",
    "fit_ppca",
    "least_error",
    "m_step",
    "max_log_likelihood",
    "mean_kl",
    "noise_variance",
    "operating_point",
    "principal_angles",
    "reverse_water_filling",
    "run_em",
    "shannon_rate",
    "train_exactly",
    "water_level",
]
