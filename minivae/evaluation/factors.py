"""What each latent says about each known factor of a rendered world, and the gap of it.

A factor v takes a few values, a latent z_k any number, and what one says about the other is

    I(z_k; v)  =  sum_v p(v)  integral q(z|v) log( q(z|v) / q(z) ) dz         in nats

with the mixtures over all examples, q(z) = 1/N sum_n q(z_k|x_n) and q(z|v) the same over those with
this value.  At most it is the entropy H(v), and 0 if the latent says nothing.  The *mutual
information gap* asks that a factor has one latent of its own: for the two latents that say most,

    MIG  =  mean over factors of  ( I_first - I_second ) / H(v)               from 0 to 1

It is 1 for a code that has every factor in one latent, in whatever order and scale, and 0 where two
latents share a factor equally.  A rotation changes it, and how much depends on the noise of q too
(`rotation_curve`): neither a high nor a low gap says how much the code as a whole knows.

Source  Chen, Li, Grosse and Duvenaud (2018), section 4.1.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minivae.evaluation.likelihood import Estimate

NODES = 2**14
"""At most so many nodes of the quadrature; narrower posteriors than they resolve are widened."""

ROWS = 250
"""Examples at a time: what bounds the memory of densities on the nodes."""

REACH = 8.0
"""Standard deviations of a Gaussian that are integrated over; outside of them are 1e-15."""


@dataclass(frozen=True, eq=False)
class FactorInformation:
    """What K latents say about F factors.

    information       (K, F)  I(z_k; v_f), in nats
    error             (K, F)  its standard error, over samples of N examples
    entropy           (F,)    H(v_f), in nats
    gaps, gap_errors  (F,)    the gap of each factor, from 0 to 1, and its standard error
    gap                       their mean, the mutual information gap, and its standard error
    estimator         "mixture", by quadrature with q(z_k|x); "binned", of points
    integration_error         the largest difference of a (k, f) to half as many nodes, in nats; 0
                              for "binned", which is a sum

    The errors come from leaving out one of J random groups at a time (the jackknife):
    (J - 1)/J sum_j (value without j - their mean)^2; where there is no information, they are up to
    a half too large.  They answer for data that are a sample.  The
    full grid of a world is no sample but all there is, and has no such error.
    """

    information: np.ndarray
    error: np.ndarray
    entropy: np.ndarray
    gaps: np.ndarray
    gap_errors: np.ndarray
    gap: Estimate
    estimator: str
    integration_error: float


def factor_information(
    mu: np.ndarray,
    factors: np.ndarray,
    rng: np.random.Generator,
    logvar: np.ndarray | None = None,
    bins: int = 50,
    groups: int = 10,
) -> FactorInformation:
    """I(z_k; v_f) for all latents and factors, and the mutual information gap.

    mu, logvar  (N, K) of q(z|x); without logvar the code is the point mu.
    factors     (N, F) as in `Split.factors`; every factor must change.
    rng         deals the examples out to the groups of the jackknife, nothing else.

    *Mixture.*  The integral by the trapezoid rule on equidistant nodes z_g, of step h: smooth
    integrands that vanish at both ends converge faster than any power of h, and at half the
    smallest sigma the rest is below 1e-9 nats; `integration_error` says what it is.  With the
    weights P(v, g) = p(v) q(z_g|v) h it is one sum, the same as for a table of counts:

        I  =  sum_v sum_g  P(v, g) log( P(v, g) / ( p(v) P(g) ) ),       P(g) = sum_v P(v, g)

    A sigma below 2 / `NODES` of the range of the latent is replaced by that: noise that is added
    can only take information away, so the result is then a lower bound, and hardly below.

    *Binned.*  A point has a density only on a grid of cells.  The cells are cut at the quantiles of
    the latent, ``bins`` of them at most, so a monotone change of the latent changes nothing.  What
    the cell says is at most what the point says, which would be all of H(v) for almost any
    code: the number is about this resolution.  Take at least as many bins as values of a factor.

    Both are plug-in estimates: of N examples drawn at random from a code that says nothing they
    are not 0 but about (values - 1)(cells - 1) / 2N nats, where a mixture of Gaussians counts as
    about as many cells as posteriors fit side by side.  The same for all latents, so it nearly
    cancels in the gap.  Nothing is clipped.

    With one latent the second is none, and says nothing: 0.

    Raises  ValueError for shapes that do not fit, codes that are not finite, a factor with a single
            value, or fewer than 2 groups or bins, or more groups than examples.
    """
    levels = _levels(mu, factors, logvar, bins, groups)
    group = rng.permutation(len(mu)) % groups
    member = np.concatenate(levels, axis=1)  # (N, L), a column for each value of each factor
    counts = np.stack([member[group == j].sum(axis=0) for j in range(groups)])
    leave_out = [counts.sum(axis=0) - c for c in counts]
    edges = np.cumsum([0, *(level.shape[1] for level in levels)])
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    K, F = mu.shape[1], len(parts)
    information, replicates = np.empty((K, F)), np.empty((groups, K, F))
    worst = 0.0
    for k in range(K):
        if logvar is None:
            mass = _in_cells(mu[:, k], member, group, groups, bins)
        else:
            mass = _on_nodes(mu[:, k], logvar[:, k], member, group, groups)
        total = mass.sum(axis=0)
        information[k] = _information(total, counts.sum(axis=0), parts)
        for j in range(groups):
            replicates[j, k] = _information(total - mass[j], leave_out[j], parts)
        if logvar is not None:  # the same rule with every second node
            half = _information(2.0 * total[:, ::2], counts.sum(axis=0), parts)
            worst = max(worst, float(np.abs(half - information[k]).max()))
    entropy = _entropy(counts.sum(axis=0), parts)
    gaps = _gaps(information, entropy)
    gap_replicates = np.stack(
        [_gaps(r, _entropy(c, parts)) for r, c in zip(replicates, leave_out, strict=True)]
    )
    error = float(_jackknife(gap_replicates.mean(axis=1)))
    return FactorInformation(
        information, _jackknife(replicates), entropy, gaps, _jackknife(gap_replicates),
        Estimate(float(gaps.mean()), error), "binned" if logvar is None else "mixture", worst,
    )  # fmt: skip


def rotation_curve(
    angles: np.ndarray, sigma: float, levels: int = 9, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The mutual information gap of two equal factors whose ideal code is turned, (A,).

    The factors v_1, v_2 take ``levels`` equidistant values of mean 0 and variance 1, in all
    combinations, and the posterior is N(mu, sigma^2 I) with

        mu = ( v_1 cos a + v_2 sin a,  -v_1 sin a + v_2 cos a )

    The code as a whole knows the same at every angle.  At 45 degrees both latents treat v_1 and v_2
    alike and the gap is 0; at 90 they have changed places and it is what it was.  In between it
    depends on sigma: without noise each latent alone tells both factors at almost any angle.

    angles  (A,) in radians.
    """
    rng = np.random.default_rng(0) if rng is None else rng  # it deals out groups: no effect here
    values = np.arange(levels) - (levels - 1) / 2
    values = values / values.std()
    v = np.stack([np.repeat(values, levels), np.tile(values, levels)], axis=1)
    logvar = np.full_like(v, 2.0 * math.log(sigma))
    found = []
    for angle in np.asarray(angles, np.float64).tolist():
        c, s = math.cos(angle), math.sin(angle)
        mu = v @ np.array([[c, -s], [s, c]])
        found.append(factor_information(mu, v, rng, logvar, groups=2).gap.mean)
    return np.array(found)


def _levels(
    mu: np.ndarray, factors: np.ndarray, logvar: np.ndarray | None, bins: int, groups: int
) -> list[np.ndarray]:
    """Membership of every factor's values, (N, values) of 0 and 1; what is given is judged."""
    N = len(mu)
    if mu.ndim != 2 or factors.ndim != 2 or len(factors) != N or 0 in (*mu.shape, *factors.shape):
        got = f"{mu.shape} and {factors.shape}"
        raise ValueError(f"expected codes (N, K) and factors (N, F), none of them 0, got {got}")
    if logvar is not None and logvar.shape != mu.shape:
        raise ValueError(f"expected logvar of the shape of mu, {mu.shape}, got {logvar.shape}")
    if not np.isfinite(mu).all() or (logvar is not None and not np.isfinite(logvar).all()):
        raise ValueError("expected finite codes, got a nan or an infinity")
    if not 2 <= groups <= N or bins < 2:
        raise ValueError(
            f"expected 2 to {N} groups and at least 2 bins, got {groups} groups and {bins} bins"
        )
    levels = []
    for f, column in enumerate(factors.T):
        values, index = np.unique(column, return_inverse=True)
        if len(values) < 2:
            raise ValueError(f"factor {f + 1} is {values[0]:g} throughout: nothing to know of it")
        levels.append(np.eye(len(values))[index])
    return levels


def _on_nodes(
    mu: np.ndarray, logvar: np.ndarray, member: np.ndarray, group: np.ndarray, groups: int
) -> np.ndarray:
    """h times the sum of the densities of each group's examples with each value: (J, L, G)."""
    mu, sigma = mu.astype(np.float64), np.exp(0.5 * logvar.astype(np.float64))
    low, high = (mu - REACH * sigma).min(), (mu + REACH * sigma).max()
    sigma = np.maximum(sigma, 2.0 * (high - low) / NODES)
    h = 0.5 * sigma.min()
    low, high = low - REACH * 2.0 * h, high + REACH * 2.0 * h  # for those that were widened
    nodes = low + h * np.arange(math.ceil((high - low) / h) + 1)
    mass = np.zeros((groups, member.shape[1], len(nodes)))
    for j, rows in _chunks(mu, group, groups):
        m, s = mu[rows, None], sigma[rows, None]
        first, last = np.searchsorted(nodes, [(m - REACH * s).min(), (m + REACH * s).max()])
        t = (nodes[first:last] - m) / s
        density = np.exp(-0.5 * t * t) * (h / (s * math.sqrt(2.0 * math.pi)))
        mass[j][:, first:last] += member[rows].T @ density
    return mass


def _chunks(mu: np.ndarray, group: np.ndarray, groups: int) -> Iterator[tuple[int, np.ndarray]]:
    """The examples of each group, neighbours together: a chunk's densities need few nodes."""
    for j in range(groups):
        mine = np.flatnonzero(group == j)
        mine = mine[np.argsort(mu[mine])]
        for start in range(0, len(mine), ROWS):
            yield j, mine[start : start + ROWS]


def _in_cells(
    mu: np.ndarray, member: np.ndarray, group: np.ndarray, groups: int, bins: int
) -> np.ndarray:
    """How many of each group's examples with each value lie in each cell: (J, L, cells)."""
    # Quantiles that are values of the data: a cell is a run of ranks, whatever the scale.
    cuts = np.quantile(mu, np.arange(1, bins) / bins, method="inverted_cdf")
    edges = np.unique(cuts)
    inside = np.eye(len(edges) + 1)[np.searchsorted(edges, mu, side="left")]
    return np.stack([member[group == j].T @ inside[group == j] for j in range(groups)])


def _information(mass: np.ndarray, counts: np.ndarray, parts: list[slice]) -> np.ndarray:
    """I of every factor, (F,), from the masses (L, G) and the counts (L,) of its values."""
    found = []
    for part in parts:
        n = counts[part].sum()
        joint, p = mass[part] / n, counts[part, None] / n
        independent = p * joint.sum(axis=0)
        there = (joint > 0.0) & (independent > 0.0)  # 0 log 0 is 0; far tails underflow to 0
        ratio = np.log(joint[there]) - np.log(independent[there])
        found.append(float((joint[there] * ratio).sum()))
    return np.array(found)


def _entropy(counts: np.ndarray, parts: list[slice]) -> np.ndarray:
    """H = -sum_v p(v) log p(v) of every factor, (F,)."""
    found = []
    for part in parts:
        p = counts[part][counts[part] > 0.0] / counts[part].sum()
        found.append(float(-(p * np.log(p)).sum()))
    return np.array(found)


def _gaps(information: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """(I_first - I_second) / H of every factor: (K, F) and (F,) to (F,)."""
    ranked = np.sort(information, axis=0)[::-1]
    second = ranked[1] if len(ranked) > 1 else 0.0
    return (ranked[0] - second) / entropy


def _jackknife(replicates: np.ndarray) -> np.ndarray:
    """The standard error from the values (J, ...) without each of J groups."""
    J = len(replicates)
    return np.sqrt((J - 1) / J * ((replicates - replicates.mean(axis=0)) ** 2).sum(axis=0))
