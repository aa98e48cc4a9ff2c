"""The integral of a positive function of one or two variables, to a stated error.

The rule is the plainest there is: the sum over an equidistant lattice times the volume of a cell
(the trapezoid rule, if the integrand has died out at both ends).  For an integrand that is analytic
it converges geometrically.  A Gaussian of width s is integrated by the spacing h with a relative
error of 2 e^(-2 pi^2 s^2 / h^2): 5e-9 at h = s, 1e-34 at h = s/2 (Trefethen and Weideman 2014).  A
decoder of ReLUs is only piecewise smooth.  Each kink of the integrand leaves an error of the order
h^2, and convergence is the ordinary, slow one.

The lattice is laid where the integrand is.  It starts as a wide one, the same for all examples, and
is refined by halving the spacing.  At each halving the cells that hold nothing are left behind, so
that the finest lattice covers the support and no more, be it narrow, curved, or in several pieces.

The stated error is meant to be honest for smooth integrands and for kinks.  The lattice consists of
2^K lattices twice as wide, shifted against each other, and the one before it was twice as wide too.
Each of these is a rule by itself; the largest distance of one of them from the finest is the error
that is stated.  Why also the one before: a kink in the middle between two points looks alike from
both sides, and two shifted lattices may agree on a wrong number.  The three together do not: for a
single kink in one dimension the stated error is at least 3 times the true one, wherever the kink
lies.  Several kinks may still happen to cancel in all of the distances and not in the truth.  So
unless the integrand is known to be smooth, the stated error never falls faster than h^2, by a
quarter at a time, and chance would have to play its trick at every level.  For a smooth integrand,
where the wide lattices are far worse than the fine one, the distances are larger than the true
error by many orders.

What no rule that looks at points can exclude is a further mode so narrow that the first lattice,
whose spacing is 0.03 in one dimension and 0.14 in two, steps over it and sees nothing.  A cell is
kept if its value *and* the range of values in its neighbourhood reach what matters, so that narrow
peaks are found by their slopes.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

FIRST = {1: 300, 2: 64}
"""Cells per axis of the first lattice; the second has twice as many."""

WIDTH = 9.0
"""Half-width of the first lattice: beyond it the prior is below e^-40.  Doubled where needed."""

MARGIN = 10.0
"""A cell counts as empty where log f is this far below its maximum plus log(tolerance): what is
left behind is low, but may cover a volume e^10 times as large as what is kept."""

MAX_POINTS = 1_000_000
"""Points of the finest lattice, for each example."""

GROUP = 50
"""Examples that share a first lattice at a time."""

FASTEST = 0.25
"""The stated error of an integrand with kinks is never less than this part of the one before."""

ROUNDING = 1e-14
"""The part of |log f| that float64 may lose: 50 rounding units, for a sum over many pixels."""

LogDensity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(z (S, K), rows (B,)) -> log f (S, B): f of the examples ``rows`` at the same points z."""


@dataclass(frozen=True)
class Quadrature:
    """The integral of f and the moments of f / integral, for every one of N examples.

    log_evidence  (N,)       log of the integral; log p(x) where f is p(x, z)
    error         (N,)       its stated error, in nats
    mean          (N, K)     E[z] under f / integral, the posterior mean
    covariance    (N, K, K)  Cov[z] under it
    n_points      (N,)       points of the finest lattice
    tolerance                what was asked for
    """

    log_evidence: np.ndarray
    error: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    n_points: np.ndarray
    tolerance: float

    @property
    def converged(self) -> np.ndarray:
        """Whether the stated error is below the tolerance, (N,)."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Cells:
    """Equal cells that cover all of where one integrand matters, and its values in them.

    z       (P, K)  their centres
    sides   (K,)    their lengths
    log_f   (P,)    at the centres
    """

    z: np.ndarray
    sides: np.ndarray
    log_f: np.ndarray

    @classmethod
    def tiling(cls, n: int, n_dims: int, width: float) -> "Cells":
        """n^K cells that tile [-width, width]^K, without values."""
        line = width * ((2.0 * np.arange(n) + 1.0) / n - 1.0)
        z = np.array(list(itertools.product(line, repeat=n_dims)))
        return cls(z, np.full(n_dims, 2.0 * width / n), np.empty(0))

    @property
    def volume(self) -> float:
        """Of one cell."""
        return float(np.prod(self.sides))

    def children(self) -> np.ndarray:
        """The centres of the halves of every cell, along each axis: (P, 2^K, K)."""
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(self.sides))))
        return self.z[:, None, :] + 0.25 * self.sides * signs


@dataclass(frozen=True)
class Integral:
    """One integral, on the finest lattice that was needed.

    log_total  log of the integral of f
    error      stated, in nats
    averages   (M,)  of M functions under f / integral
    errors     (M,)  stated, of averages
    z          (S, K)  the points of the lattice
    weights    (S,)  f / integral times the volume of a cell: they sum to 1
    """

    log_total: float
    error: float
    averages: np.ndarray
    errors: np.ndarray
    z: np.ndarray
    weights: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (K,) and the covariance (K, K) of z under f / integral."""
        mean = self.weights @ self.z
        r = self.z - mean
        return mean, (self.weights[:, None] * r).T @ r


def log_integral(
    log_f: LogDensity,
    n_examples: int,
    n_dims: int,
    smooth: bool,
    tolerance: float = 1e-4,
    max_points: int = MAX_POINTS,
) -> Quadrature:
    """log of the integral of f over R^K for each of N examples, K = 1 or 2, and f's moments.

    log_f       see `LogDensity`; f is positive, and dies out within some distance of the origin.
    smooth      whether f is analytic; if not, the error is stated with more caution.
    tolerance   nats: what the stated error is to be.  Refinement stops there.
    max_points  points an example may take; where they run out the error says what was reached.
    Raises      ValueError for more than two dimensions, a tolerance that is not positive, too few
                points, or an f that does not die out.
    """
    check(n_dims, tolerance, max_points)
    found: dict[int, Integral] = {}
    for start in range(0, n_examples, GROUP):
        rows = np.arange(start, min(start + GROUP, n_examples))
        for row, cells, second in first_lattices(log_f, rows, n_dims, tolerance):

            def one(z: np.ndarray, row: int = row) -> np.ndarray:
                return log_f(z, np.array([row]))[:, 0]

            found[row] = refine(one, cells, tolerance, max_points, smooth, second=second)
    results = [found[row] for row in range(n_examples)]
    mean, covariance = map(np.array, zip(*[r.moments() for r in results], strict=True))
    log_total = np.array([r.log_total for r in results])
    error = np.array([r.error for r in results]) + ROUNDING * (1.0 + np.abs(log_total))
    n_points = np.array([len(r.weights) for r in results])
    return Quadrature(log_total, error, mean, covariance, n_points, tolerance)


def check(n_dims: int, tolerance: float, max_points: int) -> None:
    """Raise ValueError, one line, for what `log_integral` cannot take."""
    if n_dims not in FIRST:
        raise ValueError(f"expected one or two latents, got {n_dims}: the points grow as n^K")
    if not tolerance > 0.0:
        raise ValueError(f"expected a positive tolerance, got {tolerance}")
    least = (2 * FIRST[n_dims]) ** n_dims
    if max_points < least:
        raise ValueError(f"expected max_points of at least {least}, got {max_points}")


def first_lattices(
    log_f: LogDensity, rows: np.ndarray, n_dims: int, tolerance: float
) -> Iterator[tuple[int, Cells, np.ndarray]]:
    """For every example its row, the first lattice, and log f on the second, (P, 2^K).

    The lattices are the same for all examples, so one pass of the decoder serves them.  Examples
    for which f has not died out at the boundary get wider ones.
    """
    width = WIDTH
    for _ in range(12):
        cells = Cells.tiling(FIRST[n_dims], n_dims, width)
        children = cells.children()
        first = log_f(cells.z, rows)
        second = log_f(children.reshape(-1, n_dims), rows).reshape(*children.shape[:2], -1)
        at_boundary = (np.abs(cells.z) + 0.75 * cells.sides > width).any(axis=1)
        wider = []
        for i, row in enumerate(rows):
            one = Cells(cells.z, cells.sides, first[:, i])
            if alive(one, second[..., i], tolerance)[at_boundary].any():
                wider.append(row)
            else:
                yield int(row), one, second[..., i]
        if not wider:
            return
        rows, width = np.array(wider), 2.0 * width
    raise ValueError(f"expected an integrand that dies out, got one that is large at {width / 2}")


def refine(
    log_f: Callable[[np.ndarray], np.ndarray],
    cells: Cells,
    tolerance: float,
    max_points: int,
    smooth: bool,
    values: Callable[[np.ndarray], np.ndarray] | None = None,
    second: np.ndarray | None = None,
) -> Integral:
    """One integral, by halving ``cells`` until all stated errors are below ``tolerance``.

    log_f   (S, K) -> (S,)
    smooth  as in `log_integral`, of log_f and of values
    values  (S, K) -> (S, M), functions to be averaged under f / integral; none by default
    second  (P, 2^K) log f of the cells' children, if it is known already
    """
    of = values if values is not None else lambda z: np.empty((len(z), 0))
    wide, _ = _sums(cells.log_f[:, None], of(cells.z)[:, None], cells.volume)
    lost, before = np.zeros_like(wide), None
    while True:
        z = cells.children()
        flat, shape = z.reshape(-1, z.shape[-1]), z.shape[:2]
        log_fz = (log_f(flat) if second is None else second).reshape(shape)
        volume = cells.volume / shape[1]
        v = of(flat).reshape(*shape, -1)
        fine, spread = _sums(log_fz, v, volume)
        error = np.maximum(spread, np.abs(fine - wide))
        if not smooth and before is not None:
            error = np.maximum(error, FASTEST * before)
        keep = alive(cells, log_fz, tolerance)
        proven = smooth or before is not None  # with kinks a single level proves nothing
        stated, weights = error + lost, np.exp(log_fz - fine[0]) * volume
        if (proven and stated.max() <= tolerance) or keep.sum() * shape[1] > max_points:
            return Integral(fine[0], stated[0], fine[1:], stated[1:], flat, weights.reshape(-1))
        left = weights[~keep]
        lost += np.append(left.sum(), left @ np.abs(v[~keep] - fine[1:]))
        cells = Cells(z[keep], 0.5 * cells.sides, log_fz[keep])
        wide, before, second = fine, error, None


def alive(cells: Cells, log_f: np.ndarray, tolerance: float) -> np.ndarray:
    """Which children, with the values log_f (P, 2^K), may hold something that matters: (P, 2^K).

    Between the points of a cell f may be larger than in any of them.  It is taken to rise above a
    point by no more than the values of the cell, its own and its children's, differ.
    """
    family = np.concatenate([cells.log_f[:, None], log_f], axis=1)
    slack = family.max(axis=1) - family.min(axis=1)
    return log_f + slack[:, None] > log_f.max() + math.log(min(tolerance, 1.0)) - MARGIN


def _sums(log_f: np.ndarray, values: np.ndarray, volume: float) -> tuple[np.ndarray, np.ndarray]:
    """log integral and averages by a lattice, and how far the C lattices it consists of are off.

    Shapes  log_f (P, C), values (P, C, M); both results (1 + M,).
    """
    top = log_f.max()
    f = np.exp(log_f - top)
    parts = f.sum(axis=0)  # (C,)
    part_averages = np.einsum("pc,pcm->cm", f, values) / parts.mean()
    averages = part_averages.mean(axis=0)
    shares = np.maximum(parts / parts.mean(), 1e-300)
    spread = np.abs(np.log(shares)).max()
    spreads = np.abs(part_averages - averages).max(axis=0)
    log_total = top + np.log(parts.sum() * volume)
    return np.append(log_total, averages), np.append(spread, spreads)
