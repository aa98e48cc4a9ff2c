"""Bounds that close on log p(x) as more samples are drawn, and how far from it they still are.

With weights  w_s = p(x, z_s) / q(z_s|x),  z_s ~ q(z|x), whose mean is p(x) whatever q is,

    IWAE_k  =  E log 1/k sum_(s<=k) w_s,        ELBO = IWAE_1 <= IWAE_2 <= ... <= log p(x)

(Burda, Grosse and Salakhutdinov 2015, theorem 1).  An estimate from one set of draws is on the safe
side only in expectation.  Two errors are to be told apart: over the examples, which says what
another test set would give (`Estimate`), and over the draws, which says how well log p(x) of these
very examples is known (`ImportanceEstimate`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.evaluation.likelihood import draws
from minivae.models.vae import VAE
from minivae.numerics import log_mean_exp


@dataclass(frozen=True)
class ImportanceEstimate:
    """log p(x) from S importance weights, for every one of N examples, in nats.

    log_evidence    (N,)  log of the mean weight
    standard_error  (N,)  of log_evidence, over the draws; nan for S = 1
    ess             (N,)  effective sample size, from 1 to S
    n_samples             S

    With W = 1/S sum_s w_s, and cv^2 = Var(w) / p(x)^2 the squared coefficient of variation,

        Var W = Var(w) / S             so by the delta method, log W = log p + (W - p) / p - ...,
        standard error of log W  =  cv / sqrt(S)
        E log W - log p(x)       = -cv^2 / 2S  + ...    the concave logarithm of a noisy mean
        ess  =  (sum w)^2 / sum w^2  =  S / (1 + cv^2),  the number of equal weights as good as
                                                         these

    All three are estimated from the same weights.  They cannot know of a region that no draw has
    found: a small ess is a warning, a large one is no proof.

    Source  Kong (1992) for the ess; Nowozin (2018) for the bias.
    """

    log_evidence: np.ndarray
    standard_error: np.ndarray
    ess: np.ndarray
    n_samples: int

    @classmethod
    def of(cls, log_w: np.ndarray) -> "ImportanceEstimate":
        """From the logarithms of the weights, (S, N)."""
        S, log_evidence = len(log_w), log_mean_exp(log_w, axis=0)
        w = np.exp(log_w - log_evidence)  # the weights divided by their mean
        if S == 1:
            return cls(log_evidence, np.full_like(log_evidence, math.nan), w[0], S)
        cv = w.std(axis=0, ddof=1)
        return cls(log_evidence, cv / math.sqrt(S), S / np.mean(w * w, axis=0), S)

    @classmethod
    def joined(cls, parts: Sequence["ImportanceEstimate"]) -> "ImportanceEstimate":
        """Those of several batches of examples, one after another."""
        return cls(
            np.concatenate([part.log_evidence for part in parts]),
            np.concatenate([part.standard_error for part in parts]),
            np.concatenate([part.ess for part in parts]),
            parts[0].n_samples,
        )

    @property
    def nll(self) -> np.ndarray:
        """-log p(x), (N,): too large in the mean, by about `bias`."""
        return -self.log_evidence

    @property
    def bias(self) -> np.ndarray:
        """By how much the NLL is too large in the mean over draws, cv^2 / 2S, (N,), in nats."""
        return 0.5 * self.standard_error**2

    @property
    def noise_of_mean(self) -> float:
        """The standard error of the mean NLL of these N examples, over the draws alone.

        For comparing with another number of the same examples, such as a quadrature; it falls with
        S, while the spread over examples in `Estimate.of(nll)` does not.
        """
        return math.sqrt(float(np.sum(self.standard_error**2))) / len(self.ess)


def importance_likelihood(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    n_samples: int = 1000,
    progress: Callable[[int], Any] | None = None,
) -> ImportanceEstimate:
    """-log p(x) by importance sampling with q(z|x) as the proposal, and how well it is known.

    The log_evidence is minus the nll of `estimate_likelihood` with the same rng.  Arguments and
    errors as there.
    """
    batches = draws(model, x, rng, n_samples, progress)
    return ImportanceEstimate.joined([ImportanceEstimate.of(log_w) for _, _, log_w in batches])


def iwae_bounds(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    sizes: Sequence[int],
    progress: Callable[[int], Any] | None = None,
) -> dict[int, np.ndarray]:
    """The IWAE bounds of the given sizes from one set of draws, as many as the largest size.

    sizes   each at least 1 and a divisor of the largest, k: [1, 10, 100] or just [k].
    Result  size -> (N,) float64, in nats; `Estimate.of` gives mean and standard error over the
            examples.  For the smaller sizes it is the mean over the k / j groups of `split_bounds`.
    Raises  ValueError, one line, for other sizes; the rest as `estimate_likelihood`.
    """
    sizes = [int(j) for j in sizes]
    if not sizes or min(sizes) < 1 or any(max(sizes) % j for j in sizes):
        raise ValueError(f"expected sizes of at least 1 that divide the largest, got {sizes}")
    batches = draws(model, x, rng, max(sizes), progress)
    parts = [split_bounds(log_w, sizes) for _, _, log_w in batches]
    return {j: np.concatenate([part[j] for part in parts]) for j in sizes}


def split_bounds(log_w: np.ndarray, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """IWAE_j from k draws for several j that divide k: the mean over k / j groups of j draws.

    Every group is a fair sample of the bound, so the mean over groups is the same bound with less
    noise.  And where j divides j', a group of j' is made of whole groups of j, with averages
    W_1 .. W_m of their weights, m = j' / j, and Jensen's inequality holds for these very numbers:

        mean of log W_i  <=  log of the mean W_i

    So IWAE_j <= IWAE_j' <= ... <= log of the mean of all k weights on every example and every draw,
    not just in expectation.  (With separate draws noise may turn the order round.)

    Shapes  log_w (k, B), results (B,).
    """
    k, B = log_w.shape
    return {
        j: log_mean_exp(log_w.reshape(k // j, j, B), axis=1).mean(axis=0) for j in sorted(sizes)
    }
