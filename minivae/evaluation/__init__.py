"""How good a model is: bounds and likelihoods with standard errors and units."""

from minivae.datasets import quadrants
from minivae.evaluation.annealed import (
    Annealed,
    Annealing,
    Sandwich,
    annealed_likelihood,
    bidirectional,
)
from minivae.evaluation.baselines import (
    BernoulliFit,
    BernoulliMixture,
    QuantisedPCA,
    fit_bernoulli_mixture,
    independent_pixels,
    pca_at_code_length,
)
from minivae.evaluation.bounds import (
    ImportanceEstimate,
    importance_likelihood,
    iwae_bounds,
    split_bounds,
)
from minivae.evaluation.classifier import Classifier
from minivae.evaluation.clustering import Clusters, adjusted_rand, k_means, purity
from minivae.evaluation.compression import Compressed, compression_curve
from minivae.evaluation.conditional import (
    Leakage,
    class_pixels,
    completed,
    conditional_importance,
    conditional_likelihood,
    leakage,
    mean_codes,
    prior_likelihood,
)
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
    "PCA",
    "Accuracy",
    "AggregatedPosterior",
    "Anatomy",
    "Annealed",
    "Annealing",
    "Classifier",
    "Clusters",
    "Compressed",
    "Crossing",
    "Estimate",
    "ExactSurgery",
    "FactorInformation",
    "Fit",
    "Gaps",
    "ImportanceEstimate",
    "Leakage",
    "Likelihood",
    "Mixture",
    "PriorFit",
    "Probe",
    "RatePoint",
    "Refined",
    "Refining",
    "Sampled",
    "Sandwich",
    "Surgery",
    "TwoSample",
    "Usage",
    "adjusted_rand",
    "anatomy",
    "annealed_likelihood",
    "bidirectional",
    "class_pixels",
    "completed",
    "compression_curve",
    "conditional_importance",
    "conditional_likelihood",
    "cross",
    "disjoint_pairs",
    "draw_codes",
    "energy_test",
    "estimate_likelihood",
    "exact_surgery",
    "exchange_rates",
    "factor_information",
    "fit_mixture",
    "importance_likelihood",
    "iwae_bounds",
    "judge_priors",
    "k_means",
    "latent_usage",
    "leakage",
    "linear_probe",
    "lower_hull",
    "mean_codes",
    "nearest_neighbours",
    "prior_likelihood",
    "purity",
    "quadrants",
    "rate_distortion",
    "refine",
    "regrets",
    "rotation_curve",
    "split_bounds",
    "split_bounds",
    "surgery",
    "BernoulliFit",
    "BernoulliMixture",
    "QuantisedPCA",
    "fit_bernoulli_mixture",
    "independent_pixels",
    "pca_at_code_length",
]
