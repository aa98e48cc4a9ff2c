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
from minivae.evaluation.gaps import Anatomy, Gaps, Sampled, anatomy
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
from minivae.evaluation.rate_distortion import (
    RatePoint,
    exchange_rates,
    lower_hull,
    rate_distortion,
    regrets,
)
from minivae.evaluation.refinement import Refined, Refining, refine
from minivae.evaluation.surgery import ExactSurgery, Surgery, exact_surgery, surgery
from minivae.evaluation.two_sample import TwoSample, energy_test
from minivae.evaluation.usage import Usage, latent_usage

__all__ = [
    "Anatomy",
    "Annealed",
    "Annealing",
    "Estimate",
    "Gaps",
    "ExactSurgery",
    "ImportanceEstimate",
    "Likelihood",
    "RatePoint",
    "Sandwich",
    "Surgery",
    "Usage",
    "Refined",
    "Refining",
    "Sampled",
    "Sandwich",
    "anatomy",
    "annealed_likelihood",
    "bidirectional",
    "exchange_rates",
    "estimate_likelihood",
    "exact_surgery",
    "importance_likelihood",
    "iwae_bounds",
    "latent_usage",
    "lower_hull",
    "rate_distortion",
    "regrets",
    "refine",
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
    "split_bounds",
    "split_bounds",
    "surgery",
]
