"""One number that is none: a rung that gathers figures with Python's `max` would lose it.

max(0.0, nan) is 0.0, since every comparison with a nan is false.  So each rung of which this could
be true has a bug here, most of them nan at one place only: at zero, far out, for one example.
"""

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from minivae import exact, objectives
from minivae.distributions import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from minivae.distributions import continuous_bernoulli as grey
from minivae.evaluation import annealed, bounds, estimators, likelihood
from minivae.evaluation.bounds import ImportanceEstimate
from minivae.exact import forms, water_filling
from minivae.layers import GELU, Dense
from minivae.models import MADE, networks
from minivae.schedules import LinearWarmUp
from minivae.training.history import Meter
from minivae.verify import quantised
from minivae.verify.bugs.planting import Bug, after, both, replaced

Plant = AbstractContextManager[None]
NAN = math.nan


def _where(wrong: Any, right: Any) -> Any:
    """nan where ``wrong``, else what is right."""
    return np.where(wrong, NAN, right)


def variance_slope() -> Plant:
    """d log p / d logvar."""
    return after(Gaussian, "score", lambda s, *_: (s[0], NAN * s[1]))


def value_slope() -> Plant:
    """d log p / d value."""
    return after(Gaussian, "grad_value", lambda g, *_: NAN * g)


def category_slope() -> Plant:
    """The gradient of a Categorical's KL."""
    return after(Categorical, "kl_grad", lambda g, *_: (NAN * g[0],))


def gelu_slope() -> Plant:
    """The backward of a GELU, at negative numbers."""
    return after(GELU, "backward", lambda d, self, dy, x, *_: _where(x < 0.0, d))


def gelu_far_out() -> Plant:
    """A GELU beyond 5."""
    return after(GELU, "forward", lambda pair, self, x: (_where(x > 5.0, pair[0]), x))


def weights_in_the_backward() -> Plant:
    """dW, in a layer whose backward is called a second time."""
    return after(Dense, "backward", lambda dx, self, *_: self.dW.fill(NAN) or dx)


def normaliser_at_zero() -> Plant:
    """The textbook's 2 atanh(1 - 2 lambda) / (1 - 2 lambda) is 0/0 at a logit of 0."""
    return both(
        after(grey, "_log_normaliser", lambda v, a: _where(a == 0.0, v)),
        after(grey, "_log_normaliser_slope", lambda v, a: _where(a == 0.0, v)),
    )


def grey_score_far_out() -> Plant:
    """The continuous Bernoulli's score at logits beyond 4."""
    return after(
        ContinuousBernoulli, "score", lambda s, self, x: (_where(np.abs(self.logits) > 4.0, s[0]),)
    )


def grey_sample_at_zero() -> Plant:
    """log(1 + u (e^a - 1)) / a is 0/0 at a logit of 0."""
    return after(ContinuousBernoulli, "sample", lambda v, self, u: _where(self.logits == 0.0, v))


def kl_of_two() -> Plant:
    """The KL between two Gaussians; that to the standard normal is right."""
    right = Gaussian.kl_terms
    return replaced(
        Gaussian, "kl_terms", lambda self, p=None: right(self, p) * (1.0 if p is None else NAN)
    )


def coin_far_out() -> Plant:
    """inf - inf at a logit of 800."""
    return after(
        Bernoulli,
        "log_prob",
        lambda p, self, x: _where((np.abs(self.logits) > 700.0).any(axis=-1), p),
    )


def coin_far_out_in_float32() -> Plant:
    """inf / inf from e^89 on, in single precision only."""
    return after(
        Bernoulli,
        "log_prob",
        lambda p, self, x: (
            p if _wide(self.logits) else _where((np.abs(self.logits) > 88.0).any(axis=-1), p)
        ),
    )


def _wide(a: Any) -> bool:
    """Whether an array is no float32."""
    return str(a.dtype) != "float32"


def iwae_by_counting() -> Plant:
    """IWAE_4 in the world of eight forms."""
    return after(forms, "iwae", lambda v, world, k=1: NAN * v if k == 4 else v)


def likelihood_weights() -> Plant:
    """The importance weights of one example."""
    return after(
        likelihood,
        "log_weights",
        lambda pair, *_: (pair[0], _where(np.arange(pair[1].shape[1]) == 1, pair[1])),
    )


def large_bounds() -> Plant:
    """log of a mean of 16 or more."""
    return after(bounds, "log_mean_exp", lambda v, a, axis=0: NAN * v if a.shape[axis] >= 16 else v)


def training_weights() -> Plant:
    """The normalised weights of IWAE."""
    return after(objectives, "softmax", lambda u, *_, **__: NAN * u)


def drowned_directions() -> Plant:
    """log 0 - log 0 in directions under water."""

    def change(point: Any, *_: Any) -> Any:
        return point._replace(rates=_where(point.rates == 0.0, point.rates))

    return both(
        after(water_filling, "reverse_water_filling", change),
        after(exact, "reverse_water_filling", change),
    )


def reported_bound() -> Plant:
    """The reported ELBO of an example; the loss is right."""
    return _elbo(lambda result, x: _where(np.arange(len(x)) == 2, result.elbo))


def batch_of_one() -> Plant:
    """The reported ELBO of a batch of one: a variance over one example is 0/0."""
    return _elbo(lambda result, x: result.elbo * (NAN if len(x) == 1 else 1.0))


def _elbo(change: Any) -> Plant:
    return after(
        objectives,
        "elbo",
        lambda result, model, x, *_, **__: result._replace(elbo=change(result, x)),
    )


def bias_of_a_dark_pixel() -> Plant:
    """The logit of a pixel that is nearly always black."""
    return after(networks, "logit", lambda v, mean: _where(mean < 0.01, v))


def first_step_of_a_warm_up() -> Plant:
    """0/0 at step 0."""
    return after(LinearWarmUp, "__call__", lambda v, self, step: NAN if step == 0 else v)


def means_of_a_run() -> Plant:
    """The means that a history reports."""
    return after(Meter, "means", lambda means, self: dict.fromkeys(means, NAN))


def one_baseline() -> Plant:
    """The baseline of one estimate."""

    def change(b: Any, values: Any) -> Any:
        return _where(np.arange(values.shape[1]) == 5, b)

    return after(estimators, "leave_one_out", change)


def sample_size() -> Plant:
    """The effective sample size."""
    right = ImportanceEstimate.of.__func__  # type: ignore[attr-defined]

    def wrong(cls: Any, log_w: Any) -> Any:
        found = right(cls, log_w)
        return cls(found.log_evidence, found.standard_error, NAN * found.ess, found.n_samples)

    return replaced(ImportanceEstimate, "of", classmethod(wrong))


def one_chain() -> Plant:
    """The weight of one annealed chain."""

    def change(pair: Any, *_: Any) -> Any:
        chain = np.arange(len(pair[0]))[:, None]
        return _where(chain == 3, pair[0]), pair[1]

    return after(annealed, "anneal", change)


def last_round() -> Plant:
    """The last log-likelihood of EM."""
    return after(exact, "run_em", lambda pair, *_: (pair[0], [*pair[1][:-1], NAN]))


def conditional_bound() -> Plant:
    """The bound of a conditional VAE."""
    return after(objectives, "conditional_elbo", lambda r, *_, **__: r._replace(elbo=NAN * r.elbo))


def ordered_density() -> Plant:
    """log p(x) of a MADE."""
    return after(MADE, "log_prob", lambda v, *_, **__: NAN * v)


def moved_entries() -> Plant:
    """A codebook after a step of its averages."""
    return after(quantised, "moved", lambda new, *_, **__: new._replace(E=NAN * new.E))


BUGS = tuple(
    Bug(f"nan: {name}", pitfall, symptom, rung, plant)
    for name, pitfall, symptom, rung, plant in (
        ("a GELU beyond 5", 8, "Some runs stop with nan.", "activations", gelu_far_out),
        ("the slope of a variance", 8, "A learned sigma becomes nan.", "gradients",
            variance_slope),
        ("the slope by the value", 8, "Annealing and IWAE become nan.", "gradients", value_slope),
        ("the gradient of a Categorical's KL", 8, "Discrete codes become nan.", "gradients",
            category_slope),
        ("the backward of a GELU", 8, "nan in the first step.", "inner products", gelu_slope),
        ("dW", 8, "nan in the first step.", "caches", weights_in_the_backward),
        ("the bound of a conditional VAE", 19, "The loss is nan.", "conditions", conditional_bound),
        ("log p(x) of a MADE", 8, "The likelihood is nan.", "order", ordered_density),
        ("the averages of a codebook", 21, "Codes are lost.", "quantisation", moved_entries),
        ("the continuous Bernoulli at a logit of 0", 8, "nan for a grey pixel.", "normalised",
            normaliser_at_zero),
        ("the continuous Bernoulli's score far out", 8, "nan once pixels are certain.", "scores",
            grey_score_far_out),
        ("the KL between two Gaussians", 8, "Priors that are learned become nan.", "KL",
            kl_of_two),
        ("samples at a logit of 0", 8, "Pictures with holes.", "moments", grey_sample_at_zero),
        ("a coin at a logit of 800", 8, "nan once a pixel is certain.", "extremes", coin_far_out),
        ("a coin at a logit of 89, in float32", 8, "nan once a pixel is certain.", "precision",
            coin_far_out_in_float32),
        ("IWAE_4 by counting", 9, "A bound that is nan.", "eight forms", iwae_by_counting),
        ("the weights of one example", 9, "A test set without a likelihood.", "linear VAE",
            likelihood_weights),
        ("bounds of 16 draws or more", 9, "A bound that is nan.", "bounds", large_bounds),
        ("the weights of IWAE", 15, "nan in the first step.", "IWAE", training_weights),
        ("drowned directions", 17, "Rates that are nan.", "water-filling", drowned_directions),
        ("one baseline", 15, "A gradient that is nan.", "estimators", one_baseline),
        ("the effective sample size", 9, "No warning.", "error bars", sample_size),
        ("one annealed chain", 9, "A likelihood that is nan.", "annealing", one_chain),
        ("the last round of EM", 5, "A maximum that is nan.", "EM", last_round),
        ("the reported bound of an example", 11, "A mean that is nan.", "charges",
            reported_bound),
        ("a batch of one", 2, "nan in the last batch.", "batch size", batch_of_one),
        ("the bias of a dark pixel", 23, "A first loss that is nan.", "step 0",
            bias_of_a_dark_pixel),
        ("the first step of a warm-up", 18, "nan in the first step.", "schedules",
            first_step_of_a_warm_up),
        ("the means of a run", 10, "A history of nan.", "training", means_of_a_run),
    )
)  # fmt: skip
