"""Mixtures of Gaussians with full covariances, fitted by EM: a better prior, after the fact.

    p(z)  =  sum_c  w_c  N(z; m_c, S_c),          sum_c w_c = 1

*EM.*  For any table r_nc of positive numbers whose rows sum to one, Jensen's inequality bounds the
log-likelihood from below, as the ELBO does with one q for each example,

    sum_n log p(z_n)  >=  sum_n sum_c r_nc [ log w_c + log N(z_n; m_c, S_c) - log r_nc ]

with equality for the posterior  r_nc = w_c N(z_n; m_c, S_c) / p(z_n)  (the E step).  With r held,
the right side is a sum of weighted Gaussian log-likelihoods with a maximum in closed form (the M
step).  So no step can lower it.

*Regularised.*  The likelihood of a mixture has no maximum: a component that shrinks onto one code
is rewarded without limit.  So EM maximises the sum of the log-likelihood and a log-prior,

    R  =  sum_c { a log w_c  -  k/2 (m_c - m)^T S_c^-1 (m_c - m)
                  -  b/2 [ log det S_c + v tr S_c^-1 ] }

as if every component had seen b more codes of covariance v I around its mean, k more at the mean
m of all codes, and a more codes anywhere.  With N_c = sum_n r_nc the M step becomes

    w_c  =  (N_c + a) / (N + a C)
    m_c  =  (sum_n r_nc z_n + k m) / (N_c + k)
    S_c  =  [ sum_n r_nc d_nc^T d_nc + k e_c^T e_c + b v I ] / (N_c + b),   d_nc = z_n - m_c,
                                                                            e_c = m - m_c
and log-likelihood + R can never fall: a bug in any of these lines shows.

Source  Dempster, Laird and Rubin (1977); Fraley and Raftery (2007) for the regularisation; Ghosh
        and others (2020) for a mixture fitted to the codes of an autoencoder.
"""

from dataclasses import dataclass

import numpy as np

from minivae.evaluation.clustering import k_means
from minivae.exact import FullGaussian
from minivae.numerics import LOG_2PI, logsumexp

EXTRA_WEIGHT, EXTRA_MEAN, EXTRA_SPREAD = 1.0, 0.01, 1.0
"""a, k and b: in codes, so what they do fades as N grows."""

FLOOR = 0.01
"""v as a share of the mean variance of a latent."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights (C,), means (C, K), covariances (C, K, K).

    Raises  ValueError if the weights are no distribution, a shape does not fit, or a covariance is
            not positive definite.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    def __post_init__(self) -> None:
        C, K = self.means.shape
        if self.weights.shape != (C,) or self.covariances.shape != (C, K, K):
            raise ValueError(
                "expected weights (C,), means (C, K) and covariances (C, K, K), got "
                f"{self.weights.shape}, {self.means.shape} and {self.covariances.shape}"
            )
        if not (self.weights > 0.0).all() or abs(float(self.weights.sum()) - 1.0) > 1e-9:
            raise ValueError("expected positive weights that sum to one")
        FullGaussian(self.means, self.covariances)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """log p(z) of codes (N, K): (N,), in nats per code."""
        return logsumexp(self._log_joint(z), axis=1)

    def responsibilities(self, z: np.ndarray) -> np.ndarray:
        """p(c|z), (N, C)."""
        joint = self._log_joint(z)
        return np.exp(joint - logsumexp(joint, axis=1)[:, None])

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n draws (n, K): first the component, then m_c + L_c eps with S_c = L_c L_c^T."""
        c = rng.choice(len(self.weights), n, p=self.weights)
        eps = rng.standard_normal((n, self.means.shape[1]))
        factor = np.linalg.cholesky(self.covariances)
        return self.means[c] + (factor[c] @ eps[:, :, None])[:, :, 0]

    def marginal(self, latents: tuple[int, ...]) -> "Mixture":
        """The mixture of some of the latents alone: those entries of means and covariances."""
        i = list(latents)
        return Mixture(self.weights, self.means[:, i], self.covariances[:, i][:, :, i])

    def _log_joint(self, z: np.ndarray) -> np.ndarray:
        """log w_c + log N(z_n; m_c, S_c), (N, C)."""
        z, columns = np.asarray(z, np.float64), []
        for m, S in zip(self.means, self.covariances, strict=True):
            p = FullGaussian(m, S)
            white = (z - m) @ p.whitener.T  # L^-1 (z - m) in every row: one product for all codes
            columns.append(-0.5 * (len(m) * LOG_2PI + p.log_det + (white * white).sum(axis=1)))
        return np.log(self.weights) + np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class Fit:
    """What EM found, and the way there.

    objective  log-likelihood + R after every step, in nats of all codes together; it never falls
    likelihood the mean log-likelihood of the codes it was fitted to, in nats per code
    """

    mixture: Mixture
    objective: np.ndarray
    likelihood: float


def fit_mixture(
    z: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    steps: int = 200,
    tolerance: float = 1e-5,
) -> Fit:
    """EM from the clusters of k-means, until a step gains less than ``tolerance`` nats per code.

    One component is the Gaussian with the mean and the covariance of the codes, but for the
    regularisation.

    z       (N, K), N at least 2.
    Raises  ValueError for another shape, codes that are not finite or all the same, or unless
            1 <= C <= N.
    """
    if z.ndim != 2 or len(z) < 2 or not 1 <= n_components <= len(z):
        raise ValueError(f"expected codes (N, K) and 1 to N components, got {z.shape} and "
                         f"{n_components}")  # fmt: skip
    if not np.isfinite(z).all():
        raise ValueError("expected finite codes, got a nan or an infinity")
    z = z.astype(np.float64)
    variance = float(z.var(axis=0).mean())
    if variance == 0.0:
        raise ValueError("expected codes that differ: these are all the same")
    floor = FLOOR * variance
    r = np.eye(n_components)[k_means(z, n_components, rng, starts=5).labels]
    mixture = _m_step(z, r, floor)
    log_joint = mixture._log_joint(z)
    objective = [_objective(mixture, log_joint, z, floor)]
    for _ in range(steps):
        r = np.exp(log_joint - logsumexp(log_joint, axis=1)[:, None])
        mixture = _m_step(z, r, floor)
        log_joint = mixture._log_joint(z)
        objective.append(_objective(mixture, log_joint, z, floor))
        if objective[-1] - objective[-2] < tolerance * len(z):
            break
    likelihood = float(logsumexp(log_joint, axis=1).mean())
    return Fit(mixture, np.array(objective), likelihood)


def _m_step(z: np.ndarray, r: np.ndarray, floor: float) -> Mixture:
    """The mixture that is best for the responsibilities r (N, C)."""
    N, K = z.shape
    size, centre = r.sum(axis=0), z.mean(axis=0)
    weights = (size + EXTRA_WEIGHT) / (N + EXTRA_WEIGHT * len(size))
    means = (r.T @ z + EXTRA_MEAN * centre) / (size + EXTRA_MEAN)[:, None]
    covariances = np.empty((len(size), K, K))
    for c, m in enumerate(means):
        d, e = z - m, centre - m
        scatter = (r[:, c, None] * d).T @ d + EXTRA_MEAN * np.outer(e, e)
        scatter += EXTRA_SPREAD * floor * np.eye(K)
        covariances[c] = 0.5 * (scatter + scatter.T) / (size[c] + EXTRA_SPREAD)
    return Mixture(weights, means, covariances)


def _objective(mixture: Mixture, log_joint: np.ndarray, z: np.ndarray, floor: float) -> float:
    """Log-likelihood + R, in nats."""
    precision = np.linalg.inv(mixture.covariances)
    e = z.mean(axis=0) - mixture.means
    far = np.sum((e[:, None, :] @ precision)[:, 0, :] * e)
    log_det = np.linalg.slogdet(mixture.covariances)[1].sum()
    traces = np.trace(precision, axis1=1, axis2=2).sum()
    extra = (
        EXTRA_WEIGHT * np.log(mixture.weights).sum()
        - 0.5 * EXTRA_MEAN * far
        - 0.5 * EXTRA_SPREAD * (log_det + floor * traces)
    )
    return float(logsumexp(log_joint, axis=1).sum() + extra)
