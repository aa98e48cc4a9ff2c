"""What speaks for or against a collapse: is the code heard, and would another latent pay?

Four measurements, each on held-out examples, in nats per example with its standard error:

    heard            how much log p(x|z) falls when every example gets the code of another.  A
                     decoder that ignores its code does not notice.
    gain             ELBO - log p(x) of the best model without a code.  What the code is worth.
    usage, surgery   what the encoder says (`minivae.evaluation`); whether it is heard they cannot
                     know.
    spare latent     how much the ELBO would rise if one more latent were put to use in the
                     simplest way, along a straight line in the decoder's output.

The last one separates two things that look alike.  A latent that is not used may be a victim of
training, or it may be right to be silent, because what it could say costs more than it is worth.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minivae.arrays import Array, generator
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.evaluation import Estimate
from minivae.models import VAE, smoothed_mean
from minivae.models.networks import PIXEL_LOGVAR_LIMIT

Pixels = Bernoulli | ContinuousBernoulli | Gaussian
LIMIT = 1_000
"""Examples of each kind that the measurements look at, at most: the first."""

FREE = 1e-9
"""A KL weight that is as good as none: what stands for 0 where the formulas divide by it."""

CODES, SHUFFLES = 30, 31
"""Purposes of generators: the draws of codes, and whose code an example gets."""


class Heard(NamedTuple):
    """The fall of E_q log p(x|z) if codes are exchanged between examples, nats per example.

    together  all latents of an example come from another one
    each      (K,) only this latent does
    error     (K,) the standard errors of `each`
    """

    together: Estimate
    each: np.ndarray
    error: np.ndarray


def heard(log_px: Callable[[Array], Array], z: np.ndarray, seed: int = 0) -> Heard:
    """Exchange the codes, and see whether the decoder notices.

    log_px  codes (N, K) -> log p(x_n|z_n) of the N examples, (N,).
    z       (N, K), one draw of q(z|x_n) for each; N at least 2.
    Who     gets whose code: a random order, moved on by one.  So nobody keeps his own.
    """
    N, K = z.shape
    if N < 2:
        raise ValueError(f"expected at least 2 examples to exchange codes, got {N}")
    order = generator("cpu", seed, 0, SHUFFLES).permutation(N)
    other = np.empty(N, np.int64)
    other[order] = np.roll(order, 1)
    own = log_px(z)
    falls = []
    for k in range(K):
        mixed = z.copy()
        mixed[:, k] = z[other, k]
        falls.append(Estimate.of(own - log_px(mixed)))
    each = np.array([fall.mean for fall in falls])
    error = np.array([fall.standard_error for fall in falls])
    return Heard(Estimate.of(own - log_px(z[other])), each, error)


def without_code(model: VAE, x: np.ndarray) -> Pixels:
    """The best distribution of x (N, D) that a decoder of this kind can have without a code.

    Independent pixels: each at its mean (`smoothed_mean`), within the decoder's limits.  A Gaussian
    has the variance that fits: of every pixel, or of all together; a fixed one stays as it is.
    Shapes  parameters (1, D).
    """
    a = model.architecture
    if a.likelihood == "gaussian":
        mean, spread = x.mean(axis=0, dtype=np.float64), x.var(axis=0, dtype=np.float64)
        if a.variance == "fixed":
            logvar = np.full_like(mean, 2.0 * math.log(a.sigma))
        elif a.variance == "shared":
            logvar = np.full_like(mean, math.log(spread.mean()))
        else:
            bound = math.exp(PIXEL_LOGVAR_LIMIT)
            logvar = np.log(np.clip(spread, 1.0 / bound, bound))
        return Gaussian(mean[None], logvar[None])
    blank = VAE(a, smoothed_mean(x), dtype="float64")
    for name, view in blank.parameters.views(blank.parameters.theta).items():
        if name.startswith("decoder.") and name.endswith("W"):
            view[...] = 0.0  # what is left is the bias, which starts at the mean
    return blank.decode(np.zeros((1, a.latent)))


class Drawn(NamedTuple):
    """Examples with the decoder's outputs at S draws of their codes.

    x        (N, D)
    pixels   p(x|z_s), parameters (S, N, D)
    """

    x: np.ndarray
    pixels: Pixels

    def log_px(self) -> np.ndarray:
        """E_q log p(x|z) of every example, (N,)."""
        return self.pixels.log_prob(self.x).mean(axis=0)

    def score(self) -> np.ndarray:
        """E_q of d log p / d a, (N, D), for the logit or the mean a of each pixel."""
        return self.pixels.score(self.x)[0].mean(axis=0)

    def precision(self) -> np.ndarray:
        """E_q of -d^2 log p / d a^2, (N, D): the variance of a pixel, or 1 / sigma^2."""
        return _precision(self.pixels).mean(axis=0)

    def with_variance(self, variance: float | None) -> "Drawn":
        """The same with another variance of a Gaussian decoder; None changes nothing."""
        if variance is None or not isinstance(self.pixels, Gaussian):
            return self
        logvar = np.full_like(self.pixels.logvar, math.log(variance))
        return Drawn(self.x, Gaussian(self.pixels.mu, logvar))


def drawn(model: VAE, x: np.ndarray, samples: int = 4, seed: int = 0) -> Drawn:
    """Draw S codes for each of the examples x (N, D), and decode them, in float64."""
    x = np.asarray(x, np.float64)
    twin = model.twin("float64")
    q, K = twin.encode(x), model.architecture.latent
    eps = generator("cpu", seed, 0, CODES).standard_normal((samples, len(x), K))
    pixels = twin.decode(q.sample(eps).reshape(-1, K))
    shape = (samples, *x.shape)
    if isinstance(pixels, Gaussian):
        wide = np.broadcast_to(pixels.logvar, pixels.mu.shape)
        return Drawn(x, Gaussian(pixels.mu.reshape(shape), wide.reshape(shape)))
    return Drawn(x, type(pixels)(pixels.logits.reshape(shape)))


def fitting_variance(model: VAE, data: Drawn) -> float | None:
    """The variance at which the ELBO of a Gaussian decoder is best: its mean squared error under q.

    None where there is no one variance to choose.
    """
    if model.architecture.likelihood != "gaussian" or model.architecture.variance == "pixel":
        return None
    return float(np.mean((data.x - data.pixels.mean) ** 2))


class Spare(NamedTuple):
    """One more latent, z_new ~ N(0, 1), moves the decoder's output along a line: a + c z_new u.

    worth      by how much the held-out bound, with its KL weight, would rise, per example
    ratio      what the line holds, in units of what saying it costs; the latent pays from 1 on.
               With a Gaussian decoder: variance of the residual along u / (kl_weight * sigma^2)
    direction  u, (D,), of length 1
    """

    worth: Estimate
    ratio: float
    direction: np.ndarray


def spare_latent(train: Drawn, held: Drawn, kl_weight: float = 1.0) -> Spare:
    r"""What one more latent would be worth, without training.

    Move the decoder's output a (its logits, or its mean) along a line, a + c z_new u, with a new
    latent.  To second order in c, with the score s and the precision h of the pixels at a, both
    averaged over the codes that the model has,

        log p(x | a + c z u)  =  log p(x|a) + c z s.u - 1/2 c^2 z^2 u.h u

    Let q(z_new|x) be N(m, v).  Mean minus kl_weight times its KL is best at

        v = 1 / (1 + c^2 u.h u / beta),    m = v c s.u / beta

    and at small c rises by  1/2 c^2 [ (s.u)^2 / beta - u.h u ].  So a line pays if and only if

        ratio = E (s.u)^2 / ( beta E u.h u )  >  1

    With a Gaussian decoder s = r / sigma^2 and h = 1 / sigma^2, r the residual, and the ratio is
    u.E[r r]u / (beta sigma^2): the water level of the linear VAE, and the best c^2 u.h u is
    beta (ratio - 1).  (`minivae.exact.water_filling`)

    u comes from the training data, as the top eigenvector; how long c should be, too.  What it is
    worth is then measured on the held-out data with the whole log p, not its expansion, for the
    q(z_new|x) above: a true rise of a bound of a true model, so this is the least that is missing.
    A curved use might be worth more: a worth of 0 proves nothing about curves.

    At weight 0 a message costs nothing, and every line pays: the ratio is infinite.  The best
    q(z_new|x) has no width then; its limit is taken, at a weight of `FREE`.

    Unit    nats per example.
    Source  Lucas and others (2019), for the linear VAE; the second order in the score is ours.
    """
    beta = max(kl_weight, FREE)
    score, precision = train.score(), train.precision()
    h = precision.mean(axis=0)
    damped = h + 0.1 * h.mean()  # a pixel that never changes has almost no precision
    u = _top(score / np.sqrt(damped)) / np.sqrt(damped)
    u = u / math.sqrt(float(u @ u))
    cost = float((precision @ (u * u)).mean())
    ratio = float(((score @ u) ** 2).mean()) / (beta * cost)
    best = math.sqrt(beta * max(ratio - 1.0, 1e-6) / cost)
    lengths = [best * share for share in (0.25, 0.5, 1.0)]
    c = max(lengths, key=lambda c: float(_rise(train, u, c, beta).mean()))
    worth = Estimate.of(_rise(held, u, c, beta))
    return Spare(worth, ratio if kl_weight > 0.0 else math.inf, u)


def _rise(data: Drawn, u: np.ndarray, c: float, beta: float) -> np.ndarray:
    """By how much the new latent raises the bound of each example, (N,).

    Two draws of z_new for each code, m + sqrt(v) and m - sqrt(v): they have the right mean and
    variance, so the expectation is exact to third order in c, and for a Gaussian decoder exact.
    """
    v = 1.0 / (1.0 + c * c * (data.precision() @ (u * u)) / beta)
    m = v * c * (data.score() @ u) / beta
    kl = Gaussian(m[:, None], np.log(v)[:, None]).kl()
    after = 0.0
    for side in (-1.0, 1.0):
        step = c * (m + side * np.sqrt(v))[:, None] * u
        after = after + 0.5 * _moved(data.pixels, step).log_prob(data.x).mean(axis=0)
    return after - data.log_px() - beta * kl


def _moved(p: Pixels, step: np.ndarray) -> Pixels:
    if isinstance(p, Gaussian):
        return Gaussian(p.mu + step, p.logvar)
    return type(p)(p.logits + step)


def _precision(p: Pixels) -> np.ndarray:
    if isinstance(p, Gaussian):
        return np.exp(-p.logvar)
    if isinstance(p, ContinuousBernoulli):
        return p.variance
    return p.mean * (1.0 - p.mean)


def _top(rows: np.ndarray) -> np.ndarray:
    """The direction (D,) in which rows (N, D) have the largest mean square, not centred."""
    N, D = rows.shape
    if D <= N:
        return np.linalg.eigh(rows.T @ rows)[1][:, -1]
    return rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, -1]


def finite(value: float) -> float | None:
    """``value`` for JSON, which has no nan."""
    return value if math.isfinite(value) else None
