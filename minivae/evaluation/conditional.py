"""What a conditional model is worth: log p(x|y), what of y leaks into z, and parts of images.

With weights  w_s = p(x|z_s,y) p(z_s|y) / q(z_s|x,y),  z_s ~ q(z|x,y), whose mean is p(x|y),
everything of `minivae.evaluation.likelihood` holds with y behind the bar.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae import walks
from minivae.arrays import Array, standard_normal, to_numpy
from minivae.datasets import joined
from minivae.distributions import Gaussian
from minivae.evaluation.bounds import ImportanceEstimate
from minivae.evaluation.likelihood import ROWS, Likelihood
from minivae.evaluation.probes import Accuracy, Probe, linear_probe
from minivae.models.base import Model
from minivae.models.conditional import ConditionalVAE
from minivae.models.networks import smoothed_mean
from minivae.numerics import log_mean_exp
from minivae.objectives import fold, repeated, unfold


def conditional_likelihood(
    model: ConditionalVAE,
    x: np.ndarray,
    y: np.ndarray,
    rng: Any,
    n_samples: int = 1000,
    progress: Callable[[int], Any] | None = None,
) -> Likelihood:
    """The bound on log p(x|y), its two terms, and -log p(x|y) by importance sampling.

    The KL weight and the free bits of training play no part.  The proposal is q(z|x,y); its KL and
    its weights are taken to p(z|y).

    x, y       (N, D) and (N, C), in the form the model was trained on.
    rng        draws S * N * K standard normal numbers.
    n_samples  S, at least 1.
    progress   called with the number of examples that are done.
    Raises     TypeError for a model of another kind; ValueError, one line, for data that the model
               cannot take or n_samples below 1.
    Source     Sohn, Lee and Yan (2015), section 3.3.
    """
    columns = []
    for kl, log_px, log_w in conditional_draws(model, x, y, rng, n_samples, progress):
        reconstruction = log_px.mean(axis=0)
        columns.append((reconstruction - kl, reconstruction, kl, -log_mean_exp(log_w, axis=0)))
    elbo, reconstruction, kl, nll = (np.concatenate(c) for c in zip(*columns, strict=True))
    return Likelihood(elbo, reconstruction, kl, nll, n_samples)


def conditional_importance(
    model: ConditionalVAE,
    x: np.ndarray,
    y: np.ndarray,
    rng: Any,
    n_samples: int = 1000,
    progress: Callable[[int], Any] | None = None,
) -> ImportanceEstimate:
    """log p(x|y) of every example with its standard error over the draws; as above."""
    batches = conditional_draws(model, x, y, rng, n_samples, progress)
    return ImportanceEstimate.joined([ImportanceEstimate.of(log_w) for _, _, log_w in batches])


def prior_likelihood(
    model: ConditionalVAE, x: np.ndarray, y: np.ndarray, rng: Any, n_samples: int = 1000
) -> ImportanceEstimate:
    """log p(x|y) with the prior as the proposal: log 1/S sum_s p(x|z_s,y),  z_s ~ p(z|y).

    It never looks at x before it is scored, as in a real completion.  It estimates the same number
    as `conditional_importance`, but for most images hardly any draw comes near, so that with few
    samples it is far too low: look at its effective sample size.
    """
    batches = conditional_draws(model, x, y, rng, n_samples, None, from_prior=True)
    return ImportanceEstimate.joined([ImportanceEstimate.of(log_w) for _, _, log_w in batches])


def conditional_draws(
    model: ConditionalVAE,
    x: np.ndarray,
    y: np.ndarray,
    rng: Any,
    n_samples: int,
    progress: Callable[[int], Any] | None = None,
    from_prior: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """KL to the prior (B,), log p(x|z,y) (S, B) and log w (S, B) of a few examples after another.

    All are float64, on the host; the memory is that of `ROWS` decoder rows.
    """
    if not isinstance(model, ConditionalVAE):
        raise TypeError(f"expected a ConditionalVAE, got {type(model).__name__}")
    if n_samples < 1:
        raise ValueError(f"expected n_samples of at least 1, got {n_samples}")
    model.check(x)
    model.check_conditions(y, len(x))
    per_batch = max(1, min(100, ROWS // min(n_samples, ROWS)))
    for start in range(0, len(x), per_batch):
        part = slice(start, start + per_batch)
        yield _batch(model, model.array(x[part]), model.array(y[part]), rng, n_samples, from_prior)
        if progress is not None:
            progress(len(x[part]))


def _batch(
    model: ConditionalVAE, x: Array, y: Array, rng: Any, n_samples: int, from_prior: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p_z = model.prior_of(y)
    q = p_z if from_prior else model.encode(x, y)
    log_px, log_w = [], []
    chunk = max(1, ROWS // x.shape[0])
    for done in range(0, n_samples, chunk):
        eps = standard_normal(rng, (min(chunk, n_samples - done), *q.mu.shape), x)
        log_p, log_ratio = conditional_weights(model, x, y, q, p_z, eps)
        log_px.append(to_numpy(log_p).astype(np.float64))
        log_w.append(to_numpy(log_p + log_ratio).astype(np.float64))
    return to_numpy(q.kl(p_z)).astype(np.float64), np.concatenate(log_px), np.concatenate(log_w)


def conditional_weights(
    model: ConditionalVAE, x: Array, y: Array, q: Gaussian, p_z: Gaussian, eps: Array
) -> tuple[Array, Array]:
    """(log p(x|z,y), log p(z|y) - log q(z|x,y)) at z = mu + sigma eps; their sum is log w.

    Shapes  x (B, D), y (B, C), eps (S, B, K), both results (S, B).
    """
    S, z = eps.shape[0], q.sample(eps)
    p = model.decode(fold(z), repeated(y, S))
    names = ("mu", "logvar") if isinstance(p, Gaussian) else ("logits",)
    p = type(p)(*[unfold(getattr(p, name), S) for name in names])
    return p.log_prob(x), p_z.log_prob(z) - q.log_prob(z)


# ---- the label in the code ----


@dataclass(frozen=True)
class Leakage:
    """How well a line through the codes tells the class: what of y is in z, although y is given.

    probe     on held-out examples: never on those it was fitted on, where even noise "tells" it.
    chance    the accuracy of always saying the commonest class of the training examples.
    entropy   H(y) of the held-out labels, in nats.
    """

    probe: Probe
    chance: float
    entropy: float

    @property
    def accuracy(self) -> Accuracy:
        """Of the probe."""
        return self.probe.accuracy

    @property
    def information(self) -> float:
        """H(y) - the probe's cross-entropy, in nats: a lower bound on I(z; y), in expectation."""
        return self.entropy - self.probe.cross_entropy.mean


def leakage(
    train_z: np.ndarray, train_y: np.ndarray, test_z: np.ndarray, test_y: np.ndarray
) -> Leakage:
    """The linear probe for classes on codes: fitted on training examples, read on held-out ones.

    At best a conditional model with p(z) = N(0, I) has codes that are independent of y: the decoder
    is told y, and p(z) is the same for all classes, so that a z which repeats y pays KL for
    nothing.  What is found all the same makes samples of N(0, I) wrong: q(z|y), the codes of a
    class, is then not where they are drawn.  With a learned p(z|y) z may depend on y, and nothing
    is wrong with it.

    Shapes  codes (N, K), labels (N,) of 0, 1, ...
    """
    probe = linear_probe(train_z, train_y, test_z, test_y)
    commonest = int(np.bincount(train_y).argmax())
    shares = np.bincount(test_y) / len(test_y)
    shares = shares[shares > 0.0]
    entropy = float(-(shares * np.log(shares)).sum())
    return Leakage(probe, float((test_y == commonest).mean()), entropy)


def class_pixels(
    train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray
) -> np.ndarray:
    """-log p(x|y) of independent pixels with a mean for each class, (N,): the baseline to beat.

    Means as in `smoothed_mean`.  x binary; training x may be grey, for the mean is the same.
    Raises  ValueError for a class that training has not.
    """
    nll = np.empty(len(test_x))
    for label in np.unique(test_y):
        own = train_y == label
        if not own.any():
            raise ValueError(f"no training image has the class {label}")
        mean, rows = smoothed_mean(train_x[own]), test_y == label
        logit = np.log(mean) - np.log1p(-mean)
        nll[rows] = -(test_x[rows] @ logit + np.log1p(-mean).sum())
    return nll


# ---- images of which a part is given ----


def completed(
    model: ConditionalVAE, y: np.ndarray, known: np.ndarray, rng: Any, temperature: float = 1.0,
    pixels: Any = None,
) -> np.ndarray:  # fmt: skip
    """Whole images: the given pixels as they are, the others the mean of p(x|z,y), z ~ p(z|y).

    Shapes  y (N, C) with C the number of given pixels, known (D,), result (N, D).
    pixels  a generator of the model's device: the others are drawn from p(x|z,y), too.
    """
    p_z = model.prior_of(y)
    eps = temperature * standard_normal(rng, p_z.mu.shape, p_z.mu)
    p = model.decode(p_z.sample(eps), y)
    rest = p.mean if pixels is None else walks.pixels(p, pixels)
    return joined(y, to_numpy(rest), known)


def mean_codes(model: Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The means of q(z|x,y) of all examples, (N, K), a thousand at a time."""
    if not isinstance(model, ConditionalVAE):
        raise TypeError(f"expected a ConditionalVAE, got {type(model).__name__}")
    parts = [slice(i, i + 1000) for i in range(0, len(x), 1000)]
    return np.concatenate([to_numpy(model.means(x[part], y[part])) for part in parts])
