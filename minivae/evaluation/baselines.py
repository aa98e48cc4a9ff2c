"""What a model has to beat: independent pixels, mixtures of Bernoullis, PCA at equal code length.

*Mixtures of Bernoullis.*  C components, and within each of them independent pixels:

    p(x)  =  sum_c w_c prod_d m_cd^x_d (1 - m_cd)^(1 - x_d),        x in {0, 1}^D

C = 1 is independent pixels, and with enough components a mixture can say anything.  It is fitted by
EM, as the Gaussians of `minivae.evaluation.mixtures` are: with the responsibilities

    r_nc = w_c p_c(x_n) / p(x_n),      N_c = sum_n r_nc,      s_c = sum_n r_nc x_n

the bound  sum_nc r_nc [ log w_c + log p_c(x_n) - log r_nc ]  is largest at  w_c = N_c / N and
m_cd = s_cd / N_c.  That would be 0 for a pixel that is never on, and one test image with a speck
there has a likelihood of 0.  So EM maximises the sum of the log-likelihood and a log-prior

    R  =  sum_c { a log w_c  +  b sum_d [ m_d log m_cd + (1 - m_d) log(1 - m_cd) ] }

as if every component had seen a more images anywhere, and b more with the mean m of all:

    w_c  =  (N_c + a) / (N + a C),        m_cd  =  (s_cd + b m_d) / (N_c + b)

Log-likelihood + R can never fall: a bug in any of these lines shows.

*PCA at equal code length.*  A learned code of so many bits for each image is to be compared with
principal components in as many bits: each coefficient is rounded to whole multiples of one step,
the same for all, and the whole numbers are told by an ideal code for each coefficient's own table.
One step for all is what spends bits best: then each direction either has the same squared error or
is not told at all, as Shannon's water level has it (`minivae.exact.reverse_water_filling`).

Source  Dempster, Laird and Rubin (1977); Juan and Vidal (2004) for EM of Bernoullis.
"""

import math
from dataclasses import dataclass

import numpy as np

from minivae.datasets.values import blocks, require_finite
from minivae.evaluation.compression import quantise
from minivae.evaluation.probes import PCA
from minivae.exact import Spectrum
from minivae.models import smoothed_mean
from minivae.numerics import logsumexp

EXTRA_WEIGHT, EXTRA_IMAGES = 1.0, 1.0
"""a and b: in images, so what they do fades as N grows."""

UNSEEN = 0.5
"""How often a value of a coefficient counts as seen beside how often it was, so that none costs
infinitely many bits (Krichevsky and Trofimov 1981)."""


@dataclass(frozen=True, eq=False)
class BernoulliMixture:
    """weights (C,), means (C, D).

    Raises  ValueError if the weights are no distribution, a shape does not fit, or a mean is not
            inside (0, 1).
    """

    weights: np.ndarray
    means: np.ndarray

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.weights.shape != self.means.shape[:1]:
            raise ValueError(f"expected weights (C,) and means (C, D), got {self.weights.shape} "
                             f"and {self.means.shape}")  # fmt: skip
        if not (self.weights > 0.0).all() or not abs(float(self.weights.sum()) - 1.0) <= 1e-9:
            raise ValueError("expected positive weights that sum to one")
        if not ((self.means > 0.0) & (self.means < 1.0)).all():
            raise ValueError("expected means inside (0, 1)")

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """log p(x) of binary images (N, D): (N,) float64, in nats per image."""
        _require_binary(x, self.means.shape[1])
        parts = [logsumexp(self._log_joint(part), axis=1) for _, part in blocks(x)]
        return np.concatenate(parts)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """n binary images (n, D), float32: first the component, then its pixels."""
        c = rng.choice(len(self.weights), n, p=self.weights)
        u = rng.random((n, self.means.shape[1]))
        return (u < self.means[c]).astype(np.float32)

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        """log w_c + log p_c(x_n), (N, C): sum_d x_d logit(m_cd) + sum_d log(1 - m_cd)."""
        off = np.log1p(-self.means)
        logits = np.log(self.means) - off
        return np.log(self.weights) + off.sum(axis=1) + x.astype(np.float64) @ logits.T


@dataclass(frozen=True, eq=False)
class BernoulliFit:
    """What EM found, and the way there.

    objective   log-likelihood + R after every step, in nats of all images together; it never falls
    likelihood  the mean log-likelihood of the images it was fitted to, in nats per image
    """

    mixture: BernoulliMixture
    objective: np.ndarray
    likelihood: float


def independent_pixels(x: np.ndarray) -> BernoulliMixture:
    """One component, each pixel's mean over x (N, D) as `smoothed_mean` has it.

    Grey x, values in [0, 1], stands for all the binary images that can be drawn from it: the mean
    log-likelihood of one component is linear in x.
    """
    return BernoulliMixture(np.ones(1), smoothed_mean(x)[None, :])


def fit_bernoulli_mixture(
    x: np.ndarray,
    n_components: int,
    rng: np.random.Generator,
    steps: int = 100,
    tolerance: float = 1e-4,
) -> BernoulliFit:
    """EM until a step gains less than ``tolerance`` nats per image, or for so many ``steps``.

    Each component starts half way between the mean of all images and one of them.

    x       (N, D) binary.  Beside it nothing larger than a block of rows is made.
    Raises  ValueError for another shape, for values other than 0 and 1, or unless 1 <= C <= N.
    """
    _require_binary(x)
    if not 1 <= n_components <= len(x):
        raise ValueError(f"expected 1 to {len(x)} components, one image each, got {n_components}")
    if steps < 1:
        raise ValueError(f"expected steps of at least 1, got {steps}")
    centre = smoothed_mean(x)
    chosen = np.sort(rng.choice(len(x), n_components, replace=False))
    weights = np.full(n_components, 1.0 / n_components)
    mixture = BernoulliMixture(weights, 0.5 * (x[chosen] + centre))
    likelihood, sizes, sums = _e_step(mixture, x)
    objective = [likelihood + _log_prior(mixture, centre)]
    for _ in range(steps):
        mixture = _m_step(sizes, sums, centre)
        likelihood, sizes, sums = _e_step(mixture, x)
        objective.append(likelihood + _log_prior(mixture, centre))
        if objective[-1] - objective[-2] < tolerance * len(x):
            break
    return BernoulliFit(mixture, np.array(objective), likelihood / len(x))


def _e_step(mixture: BernoulliMixture, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """log p of all images, N_c (C,) and s_c (C, D)."""
    likelihood, sizes, sums = 0.0, np.zeros(len(mixture.weights)), np.zeros(mixture.means.shape)
    for _, part in blocks(x):
        log_joint = mixture._log_joint(part)
        log_p = logsumexp(log_joint, axis=1)
        r = np.exp(log_joint - log_p[:, None])
        likelihood += float(log_p.sum())
        sizes += r.sum(axis=0)
        sums += r.T @ part.astype(np.float64)
    return likelihood, sizes, sums


def _m_step(sizes: np.ndarray, sums: np.ndarray, centre: np.ndarray) -> BernoulliMixture:
    weights = (sizes + EXTRA_WEIGHT) / (sizes.sum() + EXTRA_WEIGHT * len(sizes))
    means = (sums + EXTRA_IMAGES * centre) / (sizes + EXTRA_IMAGES)[:, None]
    return BernoulliMixture(weights / weights.sum(), means)


def _log_prior(mixture: BernoulliMixture, centre: np.ndarray) -> float:
    """R, in nats."""
    m = mixture.means
    extra = centre * np.log(m) + (1.0 - centre) * np.log1p(-m)
    return float(EXTRA_WEIGHT * np.log(mixture.weights).sum() + EXTRA_IMAGES * extra.sum())


@dataclass(frozen=True, eq=False)
class QuantisedPCA:
    """Principal components in whole numbers.

    pca     K components
    step    of all of them, in units of the data
    low     (K,) the smallest number of each coefficient, in steps
    bits    (K, L) what it costs to say the number ``low + l``; infinite beyond the largest
    values  (K, L) what a reader takes it for: the mean of the training coefficients there
    """

    pca: PCA
    step: float
    low: np.ndarray
    bits: np.ndarray
    values: np.ndarray

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The place l of each coefficient in its table, (N, D) -> (N, K).

        What is beyond all that the training data had is told as the nearest that they had.
        """
        index = quantise(self.pca.encode(x), self.step) - self.low
        return np.clip(index, 0, np.isfinite(self.bits).sum(axis=1) - 1)

    def decode(self, index: np.ndarray) -> np.ndarray:
        """What a reader sees, (N, K) -> (N, D)."""
        return self.pca.decode(np.take_along_axis(self.values, index.T, axis=1).T)

    def code_length(self, index: np.ndarray) -> np.ndarray:
        """Bits of each example, (N, K) -> (N,): an ideal code, whose tables the reader has."""
        return np.take_along_axis(self.bits, index.T, axis=1).sum(axis=0)


def pca_at_code_length(x: np.ndarray, bits: float) -> QuantisedPCA:
    """The finest step at which the mean code of x takes at most ``bits`` for each example.

    x       (N, D) training data.
    Raises  ValueError for another shape, data that are not finite, fewer than 2 examples or all
            of them the same, or unless 0 < bits < inf.
    """
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"expected data (N, D), N at least 2, got {x.shape}")
    if not 0.0 < bits < math.inf:
        raise ValueError(f"expected positive, finite bits, got {bits}")
    require_finite(x)
    spectrum = Spectrum.of(x)
    pca = PCA(spectrum.mean, spectrum.axes)
    z = pca.encode(x)
    reach = np.abs(z).max(axis=0)
    if not reach.max() > 0.0:
        raise ValueError("expected examples that differ: these are all the same")
    coarse = 4.0 * float(reach.max())  # all is rounded to 0: no bits
    fine = coarse
    while _mean_length(z, fine, reach) <= bits:
        coarse, fine = fine, 0.5 * fine
        if fine < 1e-6 * float(reach.max()):
            break
    for _ in range(20):
        middle = math.sqrt(coarse * fine)
        short = _mean_length(z, middle, reach) <= bits
        coarse, fine = (middle, fine) if short else (coarse, middle)
    told = max(1, int(np.flatnonzero(2.0 * reach >= coarse)[-1:].sum()) + 1)
    return QuantisedPCA(PCA(pca.mean, pca.axes[:told]), coarse, *_tables(z[:, :told], coarse))


def _mean_length(z: np.ndarray, step: float, reach: np.ndarray) -> float:
    """Bits for each example; coefficients that never reach half a step cost nothing."""
    told = z[:, 2.0 * reach >= step]
    if told.shape[1] == 0:
        return 0.0
    low, bits, _ = _tables(told, step)
    index = quantise(told, step) - low
    return float(np.take_along_axis(bits, index.T, axis=1).sum()) / len(z)


def _tables(z: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """low (K,), bits (K, L) and values (K, L) of coefficients z (N, K); see `QuantisedPCA`."""
    N, K = z.shape
    index = quantise(z, step)
    low = index.min(axis=0)
    index -= low
    lengths = index.max(axis=0) + 1
    L = int(lengths.max())
    place = (index + L * np.arange(K)).ravel()
    counts = np.bincount(place, minlength=K * L).reshape(K, L)
    sums = np.bincount(place, z.ravel(), K * L).reshape(K, L)
    middle = step * (low[:, None] + np.arange(L))  # where there was none to take the mean of
    values = np.where(counts > 0, sums / np.maximum(counts, 1), middle)
    p = (counts + UNSEEN) / (N + UNSEEN * lengths)[:, None]
    bits = np.where(np.arange(L) < lengths[:, None], -np.log2(p), np.inf)
    return low, bits, values


def _require_binary(x: np.ndarray, D: int | None = None) -> None:
    if x.ndim != 2 or len(x) == 0 or (D is not None and x.shape[1] != D):
        raise ValueError(f"expected images of shape (N, {D or 'D'}), got {x.shape}")
    if any(((part != 0) & (part != 1)).any() for _, part in blocks(x)):
        raise ValueError("expected binary images of 0 and 1: binarise grey ones first")
