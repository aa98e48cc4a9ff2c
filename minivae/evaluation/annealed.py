"""log p(x) by annealed importance sampling, and a proof from both sides that it has converged.

Importance sampling needs a proposal that covers the posterior.  Annealing builds one: a path of
densities leads from a Gaussian p_0 that is easy to sample to the posterior,

    f_t(z)  =  p_0(z) [ p(x, z) / p_0(z) ]^beta_t,        0 = beta_0 < beta_1 < ... < beta_T = 1

and a chain walks along it, at each temperature with a Markov transition that leaves f_t unchanged.
The weight of a chain is the product of the small ratios it met on the way,

    log w  =  sum_t (beta_t - beta_(t-1)) log [ p(x, z_(t-1)) / p_0(z_(t-1)) ]

and E w = p(x) exactly, for any number of steps and however badly the chain mixes (Neal 2001).  So
log of the mean weight bounds log p(x) from below in expectation.  A chain walked backwards, from an
exact sample of the posterior, has E 1/w = 1/p(x) and bounds it from above.  For a real x nobody has
such a sample, but for an x that the model itself made from a z, that z is one: on simulated data
both bounds can be had, and log p(x) lies between them (Grosse, Ghahramani and Adams 2015).

The transitions are Hamiltonian Monte Carlo.  The gradient that drives them, of log p(x|z) by z, is
the decoder's own `backward`: the same derivative that trains the encoder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Array, namespace, standard_normal, to_numpy, uniform
from minivae.distributions import Gaussian
from minivae.evaluation.bounds import ImportanceEstimate
from minivae.evaluation.likelihood import ROWS
from minivae.models.vae import VAE
from minivae.objectives import fold, unfold

FIRST_STEP = 0.3
"""Leapfrog step of the first transition of a pilot run, where the density is nearly p_0."""

RATE = 0.3
"""How fast the pilot adapts its step: by the factor e^(RATE (acceptance - target))."""


@dataclass(frozen=True)
class Annealing:
    """How to anneal; a plain value.

    n_chains        C, independent chains for each example.
    n_temperatures  T, the steps of the path.  More of them close the sandwich.
    n_leapfrog      steps of one trajectory.
    start           p_0: "prior", N(0, 1), or "encoder", q(z|x), which is nearer but may be too
                    narrow.
    target          acceptance that the pilot aims at.
    delta           steepness of the path: 4 spends most steps at both ends, where little
                    happens to beta and much to the density; near 0 the path is even.
    Raises          ValueError, one line that says what was expected and what came.
    """

    n_chains: int = 16
    n_temperatures: int = 500
    n_leapfrog: int = 10
    start: str = "prior"
    target: float = 0.65
    delta: float = 4.0

    def __post_init__(self) -> None:
        for name in ("n_chains", "n_temperatures", "n_leapfrog"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.start not in ("prior", "encoder"):
            raise ValueError(f"expected start 'prior' or 'encoder', got {self.start!r}")
        if not 0.0 < self.target < 1.0:
            raise ValueError(f"expected target between 0 and 1, got {self.target}")
        if not 0.0 < self.delta < math.inf:
            raise ValueError(f"expected a positive, finite delta, got {self.delta}")

    def betas(self) -> list[float]:
        """beta_0 = 0 .. beta_T = 1 on a sigmoid, T + 1 numbers.

            beta_t = [ s(delta (2t/T - 1)) - s(-delta) ] / [ s(delta) - s(-delta) ],  s = sigmoid

        and s(a) - 1/2 = tanh(a/2) / 2 makes it [ 1 + tanh(delta (t/T - 1/2)) / tanh(delta/2) ] / 2.

        Source  Grosse, Ghahramani and Adams (2015); Wu, Burda, Salakhutdinov and Grosse (2017).
        """
        T, scale = self.n_temperatures, math.tanh(0.5 * self.delta)
        inner = [0.5 + 0.5 * math.tanh(self.delta * (t / T - 0.5)) / scale for t in range(1, T)]
        return [0.0, *inner, 1.0]


@dataclass(frozen=True)
class Annealed:
    """log p(x) of every example by annealing: a lower bound in expectation.

    evidence    `ImportanceEstimate` whose samples are the chains
    acceptance  (N,) of the transitions
    """

    evidence: ImportanceEstimate
    acceptance: np.ndarray


@dataclass(frozen=True)
class Sandwich:
    """Both bounds for N examples that the model made itself, in nats.

    x, z   (N, D), (N, K)  the examples and the codes they were made from
    lower  (N,)  log of the mean of w over forward chains:      E lower <= log p(x)
    upper  (N,)  -log of the mean of 1/w over backward chains:  E upper >= log p(x)
    acceptance  (N,)  of the transitions of both
    """

    x: np.ndarray
    z: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    acceptance: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """upper - lower, (N,): in expectation at least the error of either bound.

        A single one may be negative by chance; the mean over examples says how far off annealing
        with these settings is on data like these.
        """
        return self.upper - self.lower


def annealed_likelihood(
    model: VAE, x: np.ndarray, rng: Any, settings: Annealing | None = None
) -> Annealed:
    """log p(x) by annealed importance sampling.

    The leapfrog step of every temperature and example is found by a pilot run, whose chains are
    thrown away; in the run that counts the steps stand fixed, so that every transition leaves its
    density unchanged and E w = p(x) holds.  (Steps that adapt to the very chains that are weighted
    would break it.)

    x       (N, D), in the form the model was trained on.
    rng     draws the chains; the model's gradient is left alone.
    Raises  TypeError for a model without q(z|x), ValueError for data it cannot take.
    Source  Neal (2001); Wu, Burda, Salakhutdinov and Grosse (2017).
    """
    settings = Annealing() if settings is None else settings
    model = _twin(model)
    model.check(x)
    parts, acceptance = [], []
    for rows in _batches(len(x), settings.n_chains):
        path = Path(model, model.array(x[rows]), settings)
        steps = tune(path, rng)
        log_w, accepted = anneal(path, path.sample(rng), path.betas, steps, rng)
        parts.append(ImportanceEstimate.of(log_w))
        acceptance.append(accepted)
    return Annealed(ImportanceEstimate.joined(parts), np.concatenate(acceptance))


def bidirectional(model: VAE, n: int, rng: Any, settings: Annealing | None = None) -> Sandwich:
    """Draw n examples from the model, and bound log p(x) of each from below and from above.

    z ~ p(z), x ~ p(x|z) is a draw from p(x, z) = p(x) p(z|x): seen from x, z is an exact sample of
    the posterior, the only one there is, and every backward chain starts from it.  What the
    gap proves it proves for data from the model; real data may be harder.

    Source  Grosse, Ghahramani and Adams (2015).
    """
    settings = Annealing() if settings is None else settings
    model = _twin(model)
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    columns = []
    for rows in _batches(n, settings.n_chains):
        z, x = simulate(model, len(rows), rng)
        path = Path(model, x, settings)
        steps = tune(path, rng)
        log_w, there = anneal(path, path.sample(rng), path.betas, steps, rng)
        starts = namespace(z).broadcast_to(z, (settings.n_chains, *z.shape))
        log_v, back = anneal(path, starts, path.betas[::-1], steps[::-1], rng)  # v = 1 / w
        lower = ImportanceEstimate.of(log_w).log_evidence
        upper = -ImportanceEstimate.of(log_v).log_evidence
        columns.append((to_numpy(x), to_numpy(z), lower, upper, 0.5 * (there + back)))
    return Sandwich(*(np.concatenate(c) for c in zip(*columns, strict=True)))


def simulate(model: VAE, n: int, rng: Any) -> tuple[Array, Array]:
    """n draws (z, x) of the model's joint: z ~ N(0, 1) (n, K), x ~ p(x|z) (n, D)."""
    z = standard_normal(rng, (n, model.architecture.latent), model.parameters.theta)
    p = model.decode(z)
    noise = standard_normal if isinstance(p, Gaussian) else uniform
    return z, p.sample(noise(rng, (n, model.architecture.n_features), z))


class Point(NamedTuple):
    """A place z of every chain, and all that any temperature needs to know there.

    z, pull_start, pull_ratio  (C, B, K);  log_start, log_ratio  (C, B)

    log f_beta = log_start + beta log_ratio, with log_start = log p_0(z) and
    log_ratio = log p(x, z) - log p_0(z); the pulls are their derivatives by z.
    """

    z: Array
    log_start: Array
    log_ratio: Array
    pull_start: Array
    pull_ratio: Array

    def log_f(self, beta: float) -> Array:
        """log f_beta(z), (C, B)."""
        return self.log_start + beta * self.log_ratio

    def pull(self, beta: float) -> Array:
        """d log f_beta / d z, (C, B, K): the force on a particle in the potential -log f."""
        return self.pull_start + beta * self.pull_ratio


class Path:
    """The path from p_0 to the posterior of a batch x (B, D), for C chains at a time."""

    def __init__(self, model: VAE, x: Array, settings: Annealing) -> None:
        xp, K = namespace(x), model.architecture.latent
        zero = xp.zeros_like(x[:, :1]) + xp.zeros_like(model.parameters.theta[:K])
        self.model, self.x, self.settings = model, x, settings
        self.prior = Gaussian(zero, zero)
        self.start = self.prior if settings.start == "prior" else model.encode(x)
        self.betas = settings.betas()

    def sample(self, rng: Any) -> Array:
        """Places of C chains from p_0, (C, B, K)."""
        shape = (self.settings.n_chains, *self.prior.mu.shape)
        return self.start.sample(standard_normal(rng, shape, self.prior.mu))

    def at(self, z: Array) -> Point:
        """The point at z (C, B, K), with the gradient of log p(x|z) by the decoder's backward.

        Row by row: the cotangent of log p(x_b|z_cb) is 1, and no row of z is used by another.
        """
        C = z.shape[0]
        params, cache = self.model.decoder.forward(fold(z))
        p = self.model.likelihood(*[unfold(v, C) for v in params])
        log_px = p.log_prob(self.x)
        dlog_px = tuple(fold(score) for score in p.score(self.x))
        dz = unfold(self.model.decoder.backward(dlog_px, cache), C)
        self.model.parameters.zero_grad()  # of theta, which nobody asked for
        log_start, pull_start = self.start.log_prob(z), self.start.grad_value(z)
        log_ratio = log_px + self.prior.log_prob(z) - log_start
        pull_ratio = dz + self.prior.grad_value(z) - pull_start
        return Point(z, log_start, log_ratio, pull_start, pull_ratio)


def anneal(
    path: Path, z: Array, betas: Sequence[float], steps: Sequence[Array], rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """log w (C, B) of chains that start at z (C, B, K), and the mean acceptance (B,).

    betas, steps  T + 1 temperatures, and the leapfrog step of each; the first and the last
                  have no transition.  From 0 to 1 the weight has the mean p(x); with both reversed,
                  from 1 to 0 and from an exact sample of the posterior, it has the mean 1 / p(x).
    """
    point, T = path.at(z), len(betas) - 1
    log_w, accepted = 0.0 * point.log_ratio, []
    for t in range(1, T + 1):
        log_w = log_w + (betas[t] - betas[t - 1]) * point.log_ratio
        if t < T:
            point, acceptance = transition(path, point, betas[t], steps[t], rng)
            accepted.append(to_numpy(acceptance))
    mean = np.mean(accepted, axis=0) if accepted else np.ones(z.shape[1])
    return to_numpy(log_w).astype(np.float64), mean.astype(np.float64)


def tune(path: Path, rng: Any) -> list[Array]:
    """The leapfrog step (B, 1) for every temperature, by a run that serves nothing else."""
    xp, settings = namespace(path.x), path.settings
    point = path.at(path.sample(rng))
    step = FIRST_STEP + 0.0 * path.prior.mu[:, :1]
    steps = [step]
    for beta in path.betas[1:]:
        point, acceptance = transition(path, point, beta, step, rng)
        step = step * xp.exp(RATE * (acceptance - settings.target))[:, None]
        steps.append(step)
    return steps


def transition(path: Path, point: Point, beta: float, step: Array, rng: Any) -> tuple[Point, Array]:
    """One step of Hamiltonian Monte Carlo that leaves f_beta unchanged; acceptance (B,).

    A momentum v ~ N(0, 1) makes the particle fly along the level line of
    H = -log f_beta(z) + |v|^2 / 2.  The leapfrog misses the line a little; accepting its end with
    the probability min(1, e^(H - H')) corrects that.  Where a step was so long that the particle
    flew off to infinity, H' is no number, and the move is rejected.

    Source  Duane and others (1987); Neal (2011).
    """
    xp = namespace(point.z)
    v = standard_normal(rng, point.z.shape, point.z)
    u = uniform(rng, point.log_ratio.shape, point.z)
    with np.errstate(over="ignore", invalid="ignore"):
        end, w = leapfrog(path, point, v, beta, step)
        kinetic = 0.5 * (xp.sum(v * v, axis=-1) - xp.sum(w * w, axis=-1))
        p = xp.exp(xp.minimum(end.log_f(beta) - point.log_f(beta) + kinetic, 0.0))
        p = xp.where(p >= 0.0, p, xp.zeros_like(p))  # a nan is not
        accept = u < p
    chosen = []
    for old, new in zip(point, end, strict=True):
        which = accept if old.ndim == 2 else xp.expand_dims(accept, axis=-1)
        chosen.append(xp.where(which, new, old))
    return Point(*chosen), xp.mean(p, axis=0)


def leapfrog(path: Path, point: Point, v: Array, beta: float, step: Array) -> tuple[Point, Array]:
    """Where a particle at z with momentum v is after n steps, and its momentum there.

    Half a push, then alternately a move and a push, half a push at the end:

        v += step/2 pull(z);   n times [ z += step v;  v += step pull(z) ];   v -= step/2 pull(z)

    Each line is a shear, so volumes are kept; and read backwards, with v reversed, it is itself.
    """
    v = v + 0.5 * step * point.pull(beta)
    for _ in range(path.settings.n_leapfrog):
        point = path.at(point.z + step * v)
        v = v + step * point.pull(beta)
    return point, v - 0.5 * step * point.pull(beta)


def _twin(model: VAE) -> VAE:
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    return model.twin()


def _batches(n: int, n_chains: int) -> list[np.ndarray]:
    size = max(1, ROWS // n_chains)
    return [np.arange(i, min(i + size, n)) for i in range(0, n, size)]
