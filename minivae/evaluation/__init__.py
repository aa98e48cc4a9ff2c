"""How good a model is: bounds and likelihoods with standard errors and units."""

from minivae.evaluation.likelihood import Estimate, Likelihood, estimate_likelihood

__all__ = ["Estimate", "Likelihood", "estimate_likelihood"]
