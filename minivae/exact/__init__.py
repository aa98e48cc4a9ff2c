"""Exact worlds: small or simple models whose log p(x) is known, to hold a VAE against.

linear_gaussian.py     x = W z + b + noise: log p(x), posterior and every ELBO in closed form
full_gaussian.py       a Gaussian q with a full covariance
ppca.py, em.py         its maximum likelihood by an eigendecomposition, and by EM
linear_vae.py          our own VAE with that decoder: at its optimum the ELBO is log p(x)
water_filling.py       rate against distortion, for any beta
linear_autoencoder.py  the deterministic one spans the same subspace
discrete.py, forms.py  small enough to count: the ELBO derived eight times
lattice.py, quadrature.py  log p(x) of any decoder with one or two latents, to a stated error
"""

from minivae.exact.discrete import DiscreteWorld
from minivae.exact.em import e_step, m_step, run_em
from minivae.exact.forms import FORMS, eight_forms, evidence_upper_bound, iwae
from minivae.exact.full_gaussian import FullGaussian
from minivae.exact.lattice import Quadrature, log_integral
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
from minivae.exact.quadrature import ExactBound, exact_bound, exact_evidence
from minivae.exact.water_filling import (
    RateDistortion,
    reverse_water_filling,
    shannon_rate,
    water_level,
)

__all__ = [
    "DiscreteWorld",
    "ExactBound",
    "FORMS",
    "FullGaussian",
    "LinearGaussian",
    "Quadrature",
    "RateDistortion",
    "Spectrum",
    "as_autoencoder",
    "as_vae",
    "as_world",
    "best_decoder",
    "cubature",
    "e_step",
    "eight_forms",
    "evidence_upper_bound",
    "exact_bound",
    "exact_evidence",
    "expected_elbo",
    "fit_ppca",
    "iwae",
    "least_error",
    "log_integral",
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
