"""A q of its own for every example: what the encoder would say if it had time.

The encoder answers for all x with one function.  For a single x the ELBO can also be climbed by the
parameters of its q directly, with the decoder held: no network stands between them, and no other x.
What is gained is the amortisation gap (Cremer, Li and Duvenaud 2018).

Three sets of draws, none of which is used twice.  Those of the *steps* are drawn afresh at each
step: climbing on the same few for ever would fit them, not the expectation.  Those of the *choice*
compare where q ends with where it began, and each example keeps the better.  The bound of the
winner is too high on these very draws, since the luckier was taken; so it is for the caller to
estimate it on a third set, as `minivae.evaluation.gaps` does.

All noise comes in pairs, eps and -eps.  To second order log p(x|z) is a parabola; its slope cancels
in a pair, and with it most of the variance of a difference between two means mu.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Array, copy, like, namespace, standard_normal, to_numpy
from minivae.distributions import CholeskyGaussian, Gaussian
from minivae.evaluation.likelihood import ROWS
from minivae.models.vae import VAE
from minivae.objectives import fold, unfold
from minivae.optimizers import Adam

Family = Gaussian | CholeskyGaussian
"""What q can be: with (mu, logvar), or with a factor below the diagonal as well."""


@dataclass(frozen=True)
class Refining:
    """How to refine; a plain value.

    steps          of Adam for each example.
    samples        S, fresh draws at each step, in pairs; even.
    learning_rate  of the first step; it falls to 0 along a straight line, so that the noise of the
                   gradient is averaged away.  In standard deviations of the q that is started from
                   for mu, and in nats for logvar.
    choice         draws, in pairs, that the end is compared with the start by; even.
    Raises         ValueError, one line that says what was expected and what came.
    """

    steps: int = 300
    samples: int = 8
    learning_rate: float = 0.1
    choice: int = 200

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"expected at least 0 steps, got {self.steps}")
        if self.samples < 2 or self.samples % 2:
            raise ValueError(f"expected an even number of samples, got {self.samples}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"expected a positive, finite learning_rate, got {self.learning_rate}")
        if self.choice < 4 or self.choice % 2:
            raise ValueError(f"expected choice even and at least 4, got {self.choice}")

    def marks(self) -> list[int]:
        """The steps after which a place is kept: 0, 1, 2, 5, 10, 20, ... and the last.

        >>> Refining(steps=30).marks()
        [0, 1, 2, 5, 10, 20, 30]
        """
        series = [m * 10**power for power in range(9) for m in (1, 2, 5)]
        return [0, *[s for s in series if s < self.steps], *[self.steps][: self.steps]]


class Refined(NamedTuple):
    """The q that each of N examples kept, and the way to it.

    q       `Gaussian` or `CholeskyGaussian`, arrays of the model
    moved   (N,)    whether it is where the steps ended, and not where they began
    marks   (T,)    steps at which the bound was estimated, 0 and the last among them
    elbo    (T, N)  the bound after so many steps, in nats, by the draws of the choice: at every
                    single mark without bias
    error   (T, N)  its standard error over these draws
    """

    q: Family
    moved: np.ndarray
    marks: np.ndarray
    elbo: np.ndarray
    error: np.ndarray


def refine(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    settings: Refining | None = None,
    start: Family | None = None,
) -> Refined:
    """Climb the ELBO of every example by the parameters of its own q.

    x       (N, D), in the form the model was trained on.
    rng     draws the noise of the steps and of the choice; the model's gradient is left alone.
    start   where q begins, and its family; the encoder's q(z|x) by default.  From
            ``CholeskyGaussian.of(q)`` the whole covariance is free.
    Raises  TypeError for a model without q(z|x), ValueError for data it cannot take.
    Source  Cremer, Li and Duvenaud (2018), section 4; Kim and others (2018) for refining q.
    """
    settings = Refining() if settings is None else settings
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    model = model.twin()
    x = model.check(x)
    start = model.encode(x) if start is None else start
    if start.mu.shape != (len(x), model.architecture.latent):
        wanted = (len(x), model.architecture.latent)
        raise ValueError(f"expected a start with mu of shape {wanted}, got {start.mu.shape}")
    mu, logvar, *rest = parts(start)
    start = type(start)(mu, logvar + 0.0 * mu, *rest)  # a row for each, also of a shared logvar
    size = max(1, ROWS // settings.samples)
    found = [
        _refined(model, model.array(x[i : i + size]), rng, settings, rows(start, i, i + size))
        for i in range(0, len(x), size)
    ]
    return Refined(
        joined([part.q for part in found]),
        np.concatenate([part.moved for part in found]),
        found[0].marks,
        np.concatenate([part.elbo for part in found], axis=1),
        np.concatenate([part.error for part in found], axis=1),
    )


def _refined(model: VAE, x: Array, rng: Any, settings: Refining, start: Family) -> Refined:
    """`refine` for a few examples."""
    places = climb(model, x, rng, settings, start)
    elbo, error = mean_and_error(elbo_pairs(model, x, places, rng, settings.choice))
    moved = elbo[-1] > elbo[0]
    q = chosen(places[0], places[-1], moved)
    return Refined(q, moved, np.array(settings.marks()), elbo, error)


def climb(model: VAE, x: Array, rng: Any, settings: Refining, start: Family) -> list[Family]:
    """The places of q at every mark, the start among them.

    Adam takes a step of about the learning rate in each coordinate, which must therefore be a
    number of order 1.  A mean is not: a latent that says much has a small sigma.  So mu moves in
    units of the sigma that it started with, mu = mu_0 + sigma_0 a, and da = sigma_0 dmu.

    x  (B, D), an array of the model.
    """
    xp, steps = namespace(x), settings.steps
    mu, unit = start.mu, xp.exp(0.5 * start.logvar)
    free = [xp.zeros_like(mu), *[copy(v + 0.0 * v) for v in parts(start)[1:]]]
    climbers = [Adam(settings.learning_rate, beta2=0.99) for _ in free]
    places = [start]
    for step in range(1, steps + 1):
        half = standard_normal(rng, (settings.samples // 2, *mu.shape), mu)
        eps = xp.reshape(xp.stack([half, -half]), (settings.samples, *mu.shape))
        q = type(start)(mu + unit * free[0], *free[1:])
        slope = elbo_slope(model, x, q, eps)
        slope = (unit * slope[0], *slope[1:])
        for value, grad, climber in zip(free, slope, climbers, strict=True):
            climber.learning_rate = settings.learning_rate * (1.0 - (step - 1) / steps)
            climber.step(value, -grad)
        if step in settings.marks():
            places.append(type(start)(mu + unit * free[0], *[copy(v) for v in free[1:]]))
    return places


def elbo_slope(model: VAE, x: Array, q: Family, eps: Array) -> tuple[Array, ...]:
    """An unbiased gradient of each example's ELBO by the parameters of its own q, to climb.

    The parameters enter E_q [ log p(x, z) - log q(z) ] twice: by the draws, z = z(mu, logvar, eps),
    and in the formula log q.  The mean of the second derivative, E_q d log q / d mu, is zero, for q
    stays normalised.  So it may be left out, and what remains is

        dz = d log p(x|z) / dz - z - d log q(z) / dz        through the sample alone.

    Where q is the posterior, log p(x, z) - log q(z) = log p(x) is flat: every single dz is zero,
    and so is the noise of the climb.  `minivae.objectives.elbo`, with the KL's closed form, is as
    right in the mean, but shakes to the end.

    Lay it beside the lower half there: dz comes from the same backward, with the bound's signs;
    there is no 1/B, because no example shares anything with another; and it ends at q.

    Shapes  x (B, D), eps (S, B, K); results as the parameters of q.
    Source  Roeder, Wu and Duvenaud (2017), "Sticking the landing".
    """
    S = eps.shape[0]
    z = q.sample(eps)
    out, cache = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(v, S) for v in out])
    dout = tuple(fold(score) for score in p.score(x))
    dz = unfold(model.decoder.backward(dout, cache), S)
    model.parameters.zero_grad()  # of theta, which nobody asked for
    dz = dz - z - q.grad_value(z)
    return q.pathwise_grad(1.0 / S * dz, eps)  # 1/S from the mean over samples


def elbo_pairs(model: VAE, x: Array, qs: Sequence[Family], rng: Any, samples: int) -> np.ndarray:
    """Estimates of the ELBO of each q in turn, all from the same noise: (T, samples / 2, B).

    Each is the mean of log p(x, z) - log q(z) over a pair, z made of eps and of -eps; no bias, and
    nothing but a constant where q is the posterior.  Both families have

        log p(z) - log q(z) = 1/2 sum_k ( eps_k^2 + log sigma_k^2 - z_k^2 )

    because |e|^2 = |eps|^2 and log det L L^T = sum_k log sigma_k^2.  Common noise makes the
    difference of two q far better known than either.

    x        (B, D), an array of the model.
    samples  even; `ROWS` decoder rows at a time.
    Result   float64, in nats.
    """
    pairs, chunk = samples // 2, max(1, ROWS // x.shape[0])
    found = []
    for done in range(0, pairs, chunk):
        shape = (min(chunk, pairs - done), *qs[0].mu.shape)
        eps = standard_normal(rng, shape, qs[0].mu)
        both = [0.5 * (_log_w(model, x, q, eps) + _log_w(model, x, q, -eps)) for q in qs]
        found.append(np.stack(both))
    return np.concatenate(found, axis=1)


def mean_and_error(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the last axis but one: (..., S, B) -> twice (..., B)."""
    error = draws.std(axis=-2, ddof=1) / math.sqrt(draws.shape[-2])
    return draws.mean(axis=-2), error


def _log_w(model: VAE, x: Array, q: Family, eps: Array) -> np.ndarray:
    """log p(x, z) - log q(z) at z = q.sample(eps), (S, B) float64."""
    z = q.sample(eps)
    out, _ = model.decoder.forward(fold(z))
    p = model.likelihood(*[unfold(v, eps.shape[0]) for v in out])
    log_ratio = 0.5 * namespace(z).sum(eps * eps + q.logvar - z * z, axis=-1)
    return to_numpy(p.log_prob(x) + log_ratio).astype(np.float64)


def parts(q: Family) -> tuple[Array, ...]:
    """The parameters of q, each with one row for every example."""
    return tuple(vars(q).values())


def rows(q: Family, begin: int, end: int) -> Family:
    """The q of some of the examples; ``end`` may lie beyond the last."""
    end = min(end, q.mu.shape[0])
    return type(q)(*[v[begin:end, ...] for v in parts(q)])


def joined(qs: Sequence[Family]) -> Family:
    """The q of several batches, one after another."""
    columns = zip(*[parts(q) for q in qs], strict=True)
    return type(qs[0])(*[_gathered(column) for column in columns])


def chosen(start: Family, end: Family, moved: np.ndarray) -> Family:
    """``end`` where moved (B,) is true, ``start`` elsewhere."""
    xp = namespace(start.mu)
    columns = zip(parts(start), parts(end), strict=True)
    masks = [like(moved.reshape(-1, *[1] * (a.ndim - 1)), a) for a in parts(start)]
    return type(start)(*[xp.where(m, b, a) for m, (a, b) in zip(masks, columns, strict=True)])


def _gathered(column: Sequence[Array]) -> Array:
    """By way of NumPy: a few numbers, and no library joins arrays under quite the same name."""
    return like(np.concatenate([to_numpy(v) for v in column]), column[0])
