"""The ELBO, its two terms, and -log p(x) by importance sampling, for every example of a data set.

With z_1 .. z_S drawn from q(z|x) and the weights  w_s = p(x|z_s) p(z_s) / q(z_s|x),

    log p(x)  >=  E log (1/S) sum_s w_s  >=  E log w_1  =  ELBO

(Burda, Grosse and Salakhutdinov 2015, theorem 1): the same draws give both.  The middle one rises
to log p(x) as S grows, so its negative is quoted as the NLL, always with S and the proposal.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.arrays import Array, namespace, standard_normal, to_numpy
from minivae.distributions import Gaussian
from minivae.models.vae import VAE
from minivae.numerics import log_mean_exp
from minivae.objectives import fold, unfold

ROWS = 4_000
"""Decoder rows at a time: what bounds the memory, and fits in a CPU's cache."""


@dataclass(frozen=True)
class Estimate:
    """A mean over examples and its standard error, in nats per example.

    The error is the standard deviation over the examples divided by sqrt(N): the standard deviation
    that this mean has over test sets of this size.  One example has no standard error (nan).
    """

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """From the values of N examples, shape (N,)."""
        n = len(values)
        error = float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        return cls(float(values.mean()), error)

    def bits_per_dimension(self, D: int) -> float:
        """The mean in bits for each of D pixels: nats / (D log 2).

        A length of a code only if it is of -log p(x), and p(x) is a probability, not a density.
        """
        return self.mean / (D * math.log(2.0))

    def __str__(self) -> str:
        if math.isnan(self.standard_error):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} +- {self.standard_error:.2f}"


@dataclass(frozen=True)
class Likelihood:
    """The values of every example, (N,) float64, in nats; ``n_samples`` draws each.

    elbo = reconstruction - kl;  nll = -log p(x) estimated with importance weights.
    """

    elbo: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    nll: np.ndarray
    n_samples: int


def estimate_likelihood(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    n_samples: int = 1000,
    progress: Callable[[int], Any] | None = None,
) -> Likelihood:
    """Evaluate ``model`` on ``x``: ELBO, reconstruction, KL and importance-sampled NLL.

    The KL weight and the free bits of training play no part.

    x          (N, D), in the form the model was trained on (binary for a Bernoulli).
    rng        draws S * N * K standard normal numbers.
    n_samples  S, at least 1; all of them are used for every example, in chunks of decoder rows.
    progress   called with the number of examples that are done.
    """
    columns = []
    for kl, log_px, log_w in draws(model, x, rng, n_samples, progress):
        reconstruction = log_px.mean(axis=0)
        nll = -log_mean_exp(log_w, axis=0)
        columns.append((reconstruction - kl, reconstruction, kl, nll))
    elbo, reconstruction, kl, nll = (np.concatenate(c) for c in zip(*columns, strict=True))
    return Likelihood(elbo, reconstruction, kl, nll, n_samples)


def draws(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    n_samples: int,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """KL to the prior (B,), log p(x|z) (S, B) and log w (S, B) of a few examples after another.

    The memory is that of `ROWS` decoder rows, and of two numbers for each of S draws of B examples;
    B is 1 from S = `ROWS` on.  All are float64, on the host.

    Arguments and errors as in `estimate_likelihood`.
    """
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    if n_samples < 1:
        raise ValueError(f"expected n_samples of at least 1, got {n_samples}")
    model.check(x)
    model.warn_if_grey(x)
    per_batch = max(1, min(100, ROWS // min(n_samples, ROWS)))
    for start in range(0, len(x), per_batch):
        batch = model.array(x[start : start + per_batch])
        yield _batch(model, batch, rng, n_samples)
        if progress is not None:
            progress(batch.shape[0])


def _batch(
    model: VAE, x: Array, rng: Any, n_samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q = model.encode(x)
    log_px, log_w = [], []
    chunk = max(1, ROWS // x.shape[0])
    for done in range(0, n_samples, chunk):
        eps = standard_normal(rng, (min(chunk, n_samples - done), *q.mu.shape), x)
        log_p, log_ratio = log_weights(model, x, q, eps)
        log_px.append(to_numpy(log_p).astype(np.float64))
        log_w.append(to_numpy(log_p + log_ratio).astype(np.float64))
    return to_numpy(q.kl()).astype(np.float64), np.concatenate(log_px), np.concatenate(log_w)


def log_weights(model: VAE, x: Array, q: Gaussian, eps: Array) -> tuple[Array, Array]:
    """(log p(x|z), log p(z) - log q(z|x)) at z = mu + sigma eps; their sum is log w.

    With z = mu + sigma eps the second is  1/2 sum_j ( eps_j^2 + log sigma_j^2 - z_j^2 ):
    the constants log 2 pi of prior and posterior cancel.

    Shapes  x (B, D), eps (S, B, K), both results (S, B).
    """
    xp = namespace(eps)
    z = q.sample(eps)
    params, _ = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(a, eps.shape[0]) for a in params])
    return p.log_prob(x), 0.5 * xp.sum(eps * eps + q.logvar - z * z, axis=-1)
