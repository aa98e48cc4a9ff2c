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
from minivae.evaluation.clustering import Clusters, adjusted_rand, k_means, purity
from minivae.evaluation.compression import Compressed, compression_curve
from minivae.evaluation.factors import FactorInformation, factor_information, rotation_curve
from minivae.evaluation.holes import (
    AggregatedPosterior,
    Crossing,
    PriorFit,
    cross,
    disjoint_pairs,
    draw_codes,
    judge_priors,
)
from minivae.evaluation.likelihood import Estimate, Likelihood, estimate_likelihood
from minivae.evaluation.mixtures import Fit, Mixture, fit_mixture
from minivae.evaluation.probes import PCA, Accuracy, Probe, linear_probe, nearest_neighbours
from minivae.evaluation.two_sample import TwoSample, energy_test

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
    "Clusters",
    "adjusted_rand",
    "k_means",
    "purity",
    "Compressed",
    "compression_curve",
    "FactorInformation",
    "factor_information",
    "rotation_curve",
    "AggregatedPosterior",
    "Crossing",
    "PriorFit",
    "cross",
    "disjoint_pairs",
    "draw_codes",
    "judge_priors",
    "Fit",
    "Mixture",
    "fit_mixture",
    "PCA",
    "Accuracy",
    "Probe",
    "linear_probe",
    "nearest_neighbours",
    "TwoSample",
    "energy_test",
]
