"""Holes: where the prior expects codes and there are none.

The decoder of a VAE has learned on codes of the *aggregated posterior*

    q(z)  =  1/N sum_n q(z|x_n)

and is then asked for samples of the prior p(z).  Where p has mass and q has none, it has never been
trained, and what it draws there is not like the data.  The price is part of the bound:

    mean KL( q(z|x_n) || p )  =  I(x; z)  +  KL( q(z) || p )

so a prior that is nearer to q(z), such as a mixture fitted to codes, raises the ELBO by what it
takes from the last term, and makes better samples, after the training is over (`judge_priors`).

An autoencoder has codes, but no prior that they were asked to follow: N(0, I) is then anybody's
guess, and a Gaussian with the mean and the covariance of its codes the simplest better one.

Codes here are draws of q(z|x), one for each image (`draw_codes`): the means alone are narrower than
q(z).  An autoencoder's code is a point, and is its own draw.

Source  Hoffman and Johnson (2016) for the split of the KL; Ghosh and others (2020) for the mixture.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from minivae.evaluation.likelihood import Estimate
from minivae.evaluation.mixtures import Mixture, fit_mixture
from minivae.evaluation.two_sample import TwoSample, energy_test
from minivae.numerics import log_mean_exp
from minivae.walks import Codes

PAIRS = 4_000_000
"""Pairs of a code and a Gaussian at a time: what bounds the memory."""


class Density(Protocol):
    """A prior that was chosen after the training: `Mixture`, for example."""

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """(N, K) to (N,), in nats."""

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, K)."""


class AggregatedPosterior:
    """q(z) = 1/N sum_n N(z; mu_n, diag sigma_n^2), with every example of the data in the mixture.

    codes    of a VAE, mu and logvar (N, K).
    latents  if only some of them are asked for: their marginal, exactly.
    Raises   ValueError for the codes of an autoencoder: points have no density.
    """

    def __init__(self, codes: Codes, latents: tuple[int, ...] | None = None) -> None:
        if codes.logvar is None:
            raise ValueError("an autoencoder's codes are points: their mixture has no density")
        which = slice(None) if latents is None else list(latents)
        self.mu = codes.mu[:, which].astype(np.float64)
        self.logvar = codes.logvar[:, which].astype(np.float64)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log q(z) of codes (n, K): (n,), in nats.

        Each of n N distances is sum_k (z_k - mu_k)^2 / sigma_k^2, one latent after the other.
        """
        constant = -0.5 * (self.logvar + math.log(2.0 * math.pi)).sum(axis=1)
        precision, parts = np.exp(-self.logvar), []
        rows = max(1, PAIRS // len(self.mu))
        for start in range(0, len(z), rows):
            log = np.tile(constant, (len(z[start : start + rows]), 1))
            for k in range(self.mu.shape[1]):
                log -= (
                    0.5 * (z[start : start + rows, k, None] - self.mu[:, k]) ** 2 * precision[:, k]
                )
            parts.append(log_mean_exp(log, axis=1))
        return np.concatenate(parts)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """An example at random, then a draw of its q(z|x): (n, K)."""
        i = rng.integers(len(self.mu), size=n)
        eps = rng.standard_normal((n, self.mu.shape[1]))
        return self.mu[i] + np.exp(0.5 * self.logvar[i]) * eps


def draw_codes(codes: Codes, rng: np.random.Generator) -> np.ndarray:
    """One draw z_n ~ q(z|x_n) of every example, (N, K) float64; points stay what they are."""
    mu = codes.mu.astype(np.float64)
    if codes.logvar is None:
        return mu
    return mu + np.exp(0.5 * codes.logvar.astype(np.float64)) * rng.standard_normal(mu.shape)


class PriorFit(NamedTuple):
    """How well a density goes with codes that it was not fitted to.

    name      what it is
    density   itself
    log_prob  mean and standard error over test codes of its logarithm, in nats per code
    gain      the same minus that of N(0, I), example by example, in nats per code.  For a VAE it is
              what its ELBO on these images gains with this prior: E_q [ log p'(z) - log p(z) ], the
              only term of the bound in which the prior stands
    test      energy distance between as many draws of it and the test codes
    """

    name: str
    density: Density
    log_prob: Estimate
    gain: Estimate
    test: TwoSample


def judge_priors(
    train: Codes,
    test: Codes,
    rng: np.random.Generator,
    n_components: int = 10,
    permutations: int = 999,
    limit: int = 1000,
) -> list[PriorFit]:
    """N(0, I), N(mean, covariance) and a mixture of C Gaussians as priors of the codes.

    The last two are fitted to draws of the training codes, and all are judged on draws of the test
    codes, of which the two-sample tests take ``limit`` at random.  The p-values are of single
    tests: three of them, so ask each for a third of the level.

    Raises  ValueError as `fit_mixture` and `energy_test`.
    """
    fitted, judged = draw_codes(train, rng), draw_codes(test, rng)
    K = fitted.shape[1]
    standard = Mixture(np.ones(1), np.zeros((1, K)), np.eye(K)[None])
    densities = {
        "N(0, I)": standard,
        "N(mean, cov)": fit_mixture(fitted, 1, rng).mixture,
        f"mixture of {n_components}": fit_mixture(fitted, n_components, rng).mixture,
    }
    chosen = rng.permutation(len(judged))[:limit]
    before, found = standard.log_prob(judged), []
    for name, density in densities.items():
        log_prob, few = density.log_prob(judged), judged[chosen]
        compared = energy_test(density.sample(len(few), rng), few, rng, permutations)
        gain = Estimate.of(log_prob - before)
        found.append(PriorFit(name, density, Estimate.of(log_prob), gain, compared))
    return found


class Crossing(NamedTuple):
    """What lies between codes, for P pairs on T places of the line between them.

    times   (T,) from 0 to 1
    log     (P, T) log density along each line, in nats
    depth   mean and standard error over the pairs of how far the density falls below its lower
            end, in nats: max(0, min(log at the ends) - min(log between)).  A density of which
            every level set is convex, such as a Gaussian, has none anywhere: 0
    """

    times: np.ndarray
    log: np.ndarray
    depth: Estimate


def cross(
    log_prob: Callable[[np.ndarray], np.ndarray],
    starts: np.ndarray,
    ends: np.ndarray,
    steps: int = 33,
) -> Crossing:
    """The log density along the straight lines from ``starts`` to ``ends``, (P, K) each.

    The depth compares densities of one space, so it does not depend on the scale of the code, and
    an autoencoder may be compared with a VAE.  It does depend on the density.  A mixture of few
    Gaussians is smooth.  The sum of N narrow q(z|x_n) in many latents has a valley between any two
    of them, which only more examples would fill: there the depth says as much about N as about the
    model.

    Raises  ValueError for shapes that do not fit, or fewer than 3 steps.
    """
    if starts.ndim != 2 or starts.shape != ends.shape or len(starts) == 0 or steps < 3:
        got = f"{starts.shape}, {ends.shape} and {steps} steps"
        raise ValueError(f"expected pairs of codes (P, K) and at least 3 steps, got {got}")
    t = np.arange(steps) / (steps - 1)
    line = (1.0 - t)[:, None] * starts[:, None, :] + t[:, None] * ends[:, None, :]
    log = log_prob(line.reshape(-1, starts.shape[1])).reshape(len(starts), steps)
    # The lowest place may be an end itself: then there is no hole between.
    fall = np.minimum(log[:, 0], log[:, -1]) - log.min(axis=1)
    return Crossing(t, log, Estimate.of(fall))


def disjoint_pairs(n: int, limit: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` pairs of different rows of n, no row in two of them: independent lines.

    Raises  ValueError for fewer than 2 rows.
    """
    if n < 2 or limit < 1:
        raise ValueError(f"expected at least 2 codes and one pair, got {n} and {limit}")
    pairs = min(limit, n // 2)
    chosen = rng.permutation(n)[: 2 * pairs]
    return chosen[:pairs], chosen[pairs:]
