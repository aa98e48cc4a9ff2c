"""Rate and distortion: the two terms of the ELBO as a point in a plane, and what many points show.

    rate        R = E_x KL( q(z|x) || p(z) )            what the code costs, nats per example
    distortion  D = -E_x E_q log p(x|z)                 what is still to be said about x after it

so that  -ELBO = R + D.  A beta-VAE minimises D + beta R: where it ends, one nat of rate more would
save just beta nats of distortion, and the curve of what can be achieved has the slope -beta.

*What the two numbers bound.*  Let I = E_x KL( q(z|x) || q(z) ) be the mutual information of x and
its code, q(z) = E_x q(z|x), and H the entropy of the data.  Then

    H - D  <=  I  <=  R

Right: the mean of log q(z|x) / p(z) is that of log q(z|x) / q(z) plus that of log q(z) / p(z), so
R = I + KL( q(z) || p(z) ).  Left: let q(x|z) be the decoder that Bayes' rule makes of q(z|x) and
the data.  I = H - E[ -log q(x|z) ], and by Gibbs' inequality -E log p(x|z) = D is at least the
bracket.  So R + D >= H, and the ELBO is at most -H: in the plane every model lies on or above the
line R + D = H.  H is that of the distribution which the examples were drawn from; of N different
examples themselves it is ln N.  For densities it may be negative, and D, too.

*What a sweep of beta finds.*  Of a set of points the least D + beta R is attained at a corner of
the lower convex hull: the line of slope -beta that touches the set from below touches it there.  A
point above the hull is the best for no beta, however good it may be at its own rate; so sweeping
beta traces the lower convex hull of what can be achieved, and not all of it.  A straight stretch of
the hull, or a gap over which it passes, is skipped by an arbitrarily small step of beta.

Source  Alemi, Poole, Fischer, Dillon, Saurous and Murphy (2018), section 2, for R, D and the bounds
        on I; Andrew (1979) for the hull.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.arrays import Array, namespace, standard_normal, to_numpy
from minivae.evaluation.likelihood import ROWS, Estimate
from minivae.models.vae import VAE
from minivae.objectives import fold, unfold

Numbers = Sequence[float] | np.ndarray
"""One for each point."""


@dataclass(frozen=True)
class RatePoint:
    """One model in the plane of rate and distortion, measured on N examples.

    rate           mean KL, nats per example.
    distortion     -E_q log p(x|z), nats per example, constants included.
    elbo           -(rate + distortion); its own standard error, since the two go together.
    squared_error  E_q |x - E[x|z]|^2, summed over the D pixels, in squared units of x: the partner
                   of the rate on Shannon's curve.
    kl             (K,) nats of each latent, the mean over the examples.
    n_features     D.
    """

    rate: Estimate
    distortion: Estimate
    elbo: Estimate
    squared_error: Estimate
    kl: np.ndarray
    n_features: int

    @property
    def mean_squared_error(self) -> float:
        """The squared error of a pixel, in squared units of x."""
        return self.squared_error.mean / self.n_features

    def bits_per_dimension(self, nats: float) -> float:
        """Nats per example as bits for each of the D pixels: divided by D ln 2."""
        return nats / (self.n_features * math.log(2.0))


def rate_distortion(
    model: VAE,
    x: np.ndarray,
    rng: Any,
    n_samples: int = 10,
    progress: Callable[[int], Any] | None = None,
) -> RatePoint:
    """Where ``model`` stands on the data ``x``; its KL weight of training plays no part.

    x          (N, D), in the form the model was trained on (binary for a Bernoulli).
    rng        draws S * N * K standard normal numbers.
    n_samples  S codes for each example; the KL is exact for any S.
    progress   called with the number of examples that are done.
    Raises     TypeError for a model without q(z|x); ValueError, one line, for wrong data or S < 1.
    """
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    if n_samples < 1:
        raise ValueError(f"expected n_samples of at least 1, got {n_samples}")
    model.check(x)
    step = max(1, ROWS // n_samples)
    columns = []
    for start in range(0, len(x), step):
        batch = model.array(x[start : start + step])
        columns.append(_batch(model, batch, rng, n_samples))
        if progress is not None:
            progress(len(batch))
    kl, distortion, error = (np.concatenate(column) for column in zip(*columns, strict=True))
    rate = kl.sum(axis=1)
    return RatePoint(
        Estimate.of(rate), Estimate.of(distortion), Estimate.of(-rate - distortion),
        Estimate.of(error), kl.mean(axis=0), x.shape[1],
    )  # fmt: skip


def _batch(model: VAE, x: Array, rng: Any, S: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL (B, K), distortion (B,) and squared error (B,) of a batch, float64, on the host."""
    xp, q = namespace(x), model.encode(x)
    distortion = error = np.zeros(x.shape[0])
    chunk = max(1, ROWS // x.shape[0])
    for done in range(0, S, chunk):
        eps = standard_normal(rng, (min(chunk, S - done), *q.mu.shape), x)
        params, _ = model.decoder.forward(fold(q.sample(eps)))
        p = model.likelihood(*[unfold(a, eps.shape[0]) for a in params])
        off = x - p.mean
        distortion = distortion - _total(p.log_prob(x))
        error = error + _total(xp.sum(off * off, axis=-1))
    return to_numpy(q.kl_terms()).astype(np.float64), distortion / S, error / S


def _total(values: Array) -> np.ndarray:
    """The sum over the samples, (S, B) -> (B,)."""
    return to_numpy(values).astype(np.float64).sum(axis=0)


def lower_hull(rates: Numbers, distortions: Numbers) -> list[int]:
    """The corners of the lower convex hull that falls: the points that are the best for some beta.

    From the point of the least rate to that of the least distortion, by rising rate.  The slope
    -dD/dR of its edges falls along it (the hull is convex) and is positive.  Points on an edge,
    between its corners, are as good as the corners at one beta, and are left out; of equal points
    the first stays.

    Andrew's monotone chain: go through the points by rising rate; a new one removes those before it
    that it makes into a dent upwards, for which

        (R_b - R_a) (D_c - D_a) - (D_b - D_a) (R_c - R_a)  <=  0     (no turn to the left at b)

    Returns  indices of points.
    Raises   ValueError if there are none, not as many of both, or one is not finite.
    """
    R, D = _checked(rates, distortions)
    hull: list[int] = []
    for c in sorted(range(len(R)), key=lambda i: (R[i], D[i], i)):
        if hull and D[c] >= D[hull[-1]]:  # costs more, and is no better
            continue
        while len(hull) >= 2:
            a, b = hull[-2:]
            if (R[b] - R[a]) * (D[c] - D[a]) - (D[b] - D[a]) * (R[c] - R[a]) > 0.0:
                break
            hull.pop()
        hull.append(c)
    return hull


def exchange_rates(rates: Numbers, distortions: Numbers) -> list[float]:
    """The KL weights at which neighbours on the hull are equally good, the largest first.

    Between corners a and b of `lower_hull`, D_a + beta R_a = D_b + beta R_b at

        beta = (D_a - D_b) / (R_b - R_a)

    For a beta between two of these numbers the corner between the two edges is the best point.

    Raises  as `lower_hull`.
    """
    R, D = _checked(rates, distortions)
    hull = lower_hull(R, D)
    return [(D[a] - D[b]) / (R[b] - R[a]) for a, b in zip(hull, hull[1:], strict=False)]


def regrets(kl_weights: Numbers, rates: Numbers, distortions: Numbers) -> np.ndarray:
    """By how much another point is better at each point's own objective, D + beta R, in nats.

    Point i was trained with beta_i, so D_i + beta_i R_i ought to be the least of all.  If it is not
    it was not trained to the end, or stopped at a local minimum, or (on held-out data) learned by
    heart more than another.

    Shapes  (n,) each; the result is at least 0.
    Raises  as `lower_hull`.
    """
    R, D = _checked(rates, distortions)
    beta = np.asarray(kl_weights, dtype=np.float64)
    if beta.shape != R.shape:
        raise ValueError(f"expected a KL weight for each of {len(R)} points, got {len(beta)}")
    objective = D + beta[:, None] * R  # of every point j under every beta_i, (n, n)
    return np.diagonal(objective) - objective.min(axis=1)


def _checked(rates: Numbers, distortions: Numbers) -> tuple[np.ndarray, np.ndarray]:
    R, D = np.asarray(rates, dtype=np.float64), np.asarray(distortions, dtype=np.float64)
    if R.ndim != 1 or R.shape != D.shape or not len(R):
        raise ValueError(
            f"expected as many rates as distortions, at least one; got {R.shape} and {D.shape}"
        )
    if not (np.isfinite(R).all() and np.isfinite(D).all()):
        raise ValueError("expected finite rates and distortions, got a nan or an infinity")
    return R, D
