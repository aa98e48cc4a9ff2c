"""The anatomy of the gap: what the bound loses, and to whom.

    log p(x) - ELBO(q)  =  [ log p(x) - ELBO(q*) ]  +  [ ELBO(q*) - ELBO(q) ]
                              approximation gap          amortisation gap

q is what the encoder says, and q* the best that its family, the diagonal Gaussians, has for this x.
The first part is the family's fault: the posterior is no diagonal Gaussian.  A larger family
makes it smaller; here the Gaussians with any covariance.  The second is the encoder's: one function
answers for all x.  (By form 2 of the ELBO, each gap is a KL to the true posterior, so the first
is KL(q* || p(z|x)), and the whole is KL(q || p(z|x)).)

q* comes from `refine`, which may stop short of the best.  Then the amortisation gap is too small by
as much as the approximation gap is too large; the curve over the steps tells.  log p(x) is an
integral where there are one or two latents, and elsewhere an estimate by annealing that is too low
in the mean, and with it all but the amortisation gap.

Source  Cremer, Li and Duvenaud (2018), "Inference suboptimality in variational autoencoders".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from minivae.distributions import CholeskyGaussian
from minivae.evaluation.annealed import Annealing, annealed_likelihood
from minivae.evaluation.likelihood import Estimate
from minivae.evaluation.refinement import (
    Family,
    Refined,
    Refining,
    elbo_pairs,
    mean_and_error,
    refine,
    rows,
)
from minivae.exact import exact_evidence
from minivae.models.vae import VAE

QUADRATURE = 2
"""Up to so many latents log p(x) is integrated."""

TOLERANCE = 1e-3
"""Nats: the stated error that the integral is to have."""

BATCH = 100
"""Examples that are measured at a time."""


@dataclass(frozen=True)
class Sampled:
    """A number for each of N examples and its standard error over the draws; (N,) float64, nats.

    Two errors are to be told apart.  ``error`` says how well the numbers of these very examples are
    known, and more draws make it smaller.  `over_examples` says what other examples would give.
    """

    value: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, draws: np.ndarray) -> "Sampled":
        """From S independent draws for each example, (S, N)."""
        return cls(*mean_and_error(draws))

    def __getitem__(self, which: slice | np.ndarray) -> "Sampled":
        """Some of the examples."""
        return Sampled(self.value[which], self.error[which])

    def __sub__(self, other: "Sampled") -> "Sampled":
        """The difference of two that were drawn independently: their variances add."""
        return Sampled(self.value - other.value, np.hypot(self.error, other.error))

    def over_examples(self) -> Estimate:
        """Mean and its standard error over the examples, in which that over the draws is contained.

        (The examples' own noise is part of their spread.)
        """
        return Estimate.of(self.value)

    @property
    def noise_of_mean(self) -> float:
        """The standard error over the draws alone of the mean of these very examples."""
        return math.sqrt(float(np.sum(self.error**2))) / len(self.error)


@dataclass(frozen=True)
class Gaps:
    """log p(x), three bounds on it and what lies between, for every one of N examples, in nats.

    log_evidence  log p(x)
    elbo          of the encoder's q
    refined       ELBO of q*, the best diagonal Gaussian that was found for this x
    full          ELBO of the best Gaussian with any covariance that was found
    amortisation  refined - elbo; from the same draws, so better known than both
    covariance    full - refined; likewise

    Each is a `Sampled`.  amortisation and covariance are at least 0 in truth, but for the
    noise of the choice in `refine`; where a refined q was not kept they are exactly 0.
    """

    log_evidence: Sampled
    elbo: Sampled
    refined: Sampled
    full: Sampled
    amortisation: Sampled
    covariance: Sampled

    @property
    def gap(self) -> Sampled:
        """log p(x) - ELBO = KL( q || p(z|x) ): all that the bound loses."""
        return self.log_evidence - self.elbo

    @property
    def approximation(self) -> Sampled:
        """log p(x) - ELBO(q*) = KL( q* || p(z|x) ): what no diagonal Gaussian can avoid."""
        return self.log_evidence - self.refined

    @property
    def full_approximation(self) -> Sampled:
        """What no Gaussian can avoid: the posterior is bent, or has more than one mode."""
        return self.log_evidence - self.full

    def __getitem__(self, which: slice | np.ndarray) -> "Gaps":
        """Some of the examples."""
        return Gaps(*(getattr(self, f.name)[which] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.elbo.value)

    def by_class(self, labels: np.ndarray) -> dict[int, "Gaps"]:
        """The examples of every class, by its label (N,), in rising order."""
        if labels.shape != (len(self),):
            raise ValueError(f"expected {len(self)} labels, got an array of shape {labels.shape}")
        return {int(label): self[labels == label] for label in np.unique(labels)}


@dataclass(frozen=True)
class Anatomy:
    """`Gaps`, and how they were come by.

    gaps      of N examples
    diagonal  the refinement from the encoder's q, with its curve
    full      that from q* with the whole covariance free
    method    how log p(x) was found: "quadrature", "annealing", or "given"
    """

    gaps: Gaps
    diagonal: Refined
    full: Refined
    method: str


def anatomy(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    refining: Refining | None = None,
    samples: int = 400,
    annealing: Annealing | None = None,
    log_evidence: Sampled | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Anatomy:
    """Take the gap of every example apart.

    x             (N, D), in the form the model was trained on.
    rng           draws all noise: of the refinement, of the estimates, of the annealing.
    samples       draws for the final bounds, in pairs, used for nothing else; even.
    annealing     its settings; they matter beyond `QUADRATURE` latents.
    log_evidence  log p(x) if it is known from elsewhere.
    progress      called with the name of each stage that begins.
    Raises        TypeError for a model without q(z|x); ValueError for data it cannot take, or an
                  odd number of samples.
    Unit          nats per example.
    """
    if samples < 4 or samples % 2:
        raise ValueError(f"expected samples even and at least 4, got {samples}")
    say = progress or (lambda stage: None)
    say("refining the diagonal")
    diagonal = refine(model, x, rng, refining)
    say("refining the covariance")
    full = refine(model, x, rng, refining, CholeskyGaussian.of(diagonal.q))
    say("bounds")
    bounds = measure(model, x, [model.encode(x), diagonal.q, full.q], rng, samples)
    say("log p(x)")
    evidence, method = log_evidence, "given"
    if evidence is None:
        evidence, method = evidence_of(model, x, rng, annealing)
    return Anatomy(Gaps(evidence, *bounds), diagonal, full, method)


def measure(
    model: VAE, x: np.ndarray, qs: list[Family], rng: Any, samples: int
) -> tuple[Sampled, ...]:
    """The ELBO of each q in turn, and then what each gained over the one before."""
    found = []
    for i in range(0, len(x), BATCH):
        part = [rows(q, i, i + BATCH) for q in qs]
        found.append(elbo_pairs(model, model.array(x[i : i + BATCH]), part, rng, samples))
    draws = np.concatenate(found, axis=2)  # (T, S, N)
    gains = draws[1:] - draws[:-1]
    return tuple(Sampled.of(d) for d in (*draws, *gains))


def evidence_of(
    model: VAE, x: np.ndarray, rng: Any, annealing: Annealing | None = None
) -> tuple[Sampled, str]:
    """log p(x) and how it was found: "quadrature" up to `QUADRATURE` latents, or "annealing".

    The error of the integral is the stated one, which is no standard error but a limit.
    """
    if model.architecture.latent <= QUADRATURE:
        found = exact_evidence(model, x, TOLERANCE)
        return Sampled(found.log_evidence, found.error), "quadrature"
    estimate = annealed_likelihood(model, x, rng, annealing).evidence
    return Sampled(estimate.log_evidence, estimate.standard_error), "annealing"
