"""How good a model is: bounds and likelihoods with standard errors and units."""

from minivae.evaluation.bounds import (
    ImportanceEstimate,
    importance_likelihood,
    iwae_bounds,
    split_bounds,
)
from minivae.evaluation.likelihood import Estimate, Likelihood, estimate_likelihood

__all__ = [
    "Estimate",
    "ImportanceEstimate",
    "Likelihood",
    "estimate_likelihood",
    "importance_likelihood",
    "iwae_bounds",
    "split_bounds",
]
