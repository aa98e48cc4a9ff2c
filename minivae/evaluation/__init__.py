"""How good a model is: bounds and likelihoods with standard errors and units."""

from minivae.evaluation.annealed import (
    Annealed,
    Annealing,
    Sandwich,
    annealed_likelihood,
    bidirectional,
)
from minivae.evaluation.bounds import (
    ImportanceEstimate,
    importance_likelihood,
    iwae_bounds,
    split_bounds,
)
from minivae.evaluation.likelihood import Estimate, Likelihood, estimate_likelihood

__all__ = [
    "Annealed",
    "Annealing",
    "Estimate",
    "ImportanceEstimate",
    "Likelihood",
    "Sandwich",
    "annealed_likelihood",
    "bidirectional",
    "estimate_likelihood",
    "importance_likelihood",
    "iwae_bounds",
    "split_bounds",
]
