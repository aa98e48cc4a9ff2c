"""Do two sets of codes come from one distribution?  The energy distance and its permutation test.

For independent X, X' of one distribution and Y, Y' of another,

    energy  =  2 E|X - Y| - E|X - X'| - E|Y - Y'|              in units of the code

is never negative, and 0 only if the two distributions are equal (both need a finite mean): nothing
that differs, in whatever moment, stays unseen by enough samples.  There is nothing to choose, no
kernel and no width, which is why we take it and not a maximum mean discrepancy, of which it is one.
Divided by 2 E|X - Y| it is the *energy coefficient*, a number from 0 to 1 that does not depend on
the scale of the code.

*The test.*  If the two distributions are equal, it does not matter which codes are called X.  So
deal the names out anew P times, and count how often the energy is at least what was found:

    p  =  (1 + count) / (1 + P)

Under the null hypothesis the energy found and the P others are exchangeable, so every rank is
equally likely: p takes the values 1/(P+1), ..., 1 with equal probability, exactly, for any number
of samples (where energies are equal, the found one is given the worst rank, and p is larger).  It
needs samples that are exchangeable: a prior that was fitted must be tested on codes that it was
not fitted to.

Source  Baringhaus and Franz (2004); Szekely and Rizzo (2004, 2013).
"""

import math
from dataclasses import dataclass

import numpy as np

from minivae.evaluation.likelihood import Estimate
from minivae.evaluation.probes import squared_distances

CHUNK = 500
"""Permutations at a time: what bounds the memory."""


@dataclass(frozen=True)
class TwoSample:
    """What two samples say.

    energy       in units of the code; unbiased, so it may be below 0 where the truth is 0
    coefficient  energy / 2 E|X - Y|, the same without units; 0 same, 1 as different as can be
    p_value      of the permutation test: 1 / (1 + P) at the least
    permutations P

    The standard errors are those of samples of these sizes, from the first-order terms; they are
    about the distance where there is one, and too small where there is none: then ask p_value.
    """

    energy: Estimate
    coefficient: Estimate
    p_value: float
    permutations: int


def energy_test(
    x: np.ndarray, y: np.ndarray, rng: np.random.Generator, permutations: int = 999
) -> TwoSample:
    """Compare the samples x (n, K) and y (m, K); the docstring of the file says how.

    Means over pairs leave out the pair of a code with itself, so each is unbiased.

    *The error.*  To first order the energy changes with one code x_i by 1/n of
    h(x_i) = 2 ( E|x_i - Y| - E|x_i - X'| ), and with y_j likewise, so its variance is
    Var h(X) / n + Var h(Y) / m.  The coefficient G / D has the first-order term
    ( h - coefficient * d ) / D, d(x_i) = 2 E|x_i - Y| that of D = 2 E|X - Y|.

    rng     deals out the names.
    Raises  ValueError for shapes that do not fit, fewer than 2 codes a sample, codes that are all
            the same, or no permutations.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        got = f"{x.shape} and {y.shape}"
        raise ValueError(f"expected two samples of at least 2 codes of one length, got {got}")
    if permutations < 1:
        raise ValueError(f"expected at least one permutation, got {permutations}")
    n, m = len(x), len(y)
    both = np.concatenate([x, y]).astype(np.float64)
    d = np.sqrt(squared_distances(both, both))
    np.fill_diagonal(d, 0.0)
    if not d.max() > 0.0:
        raise ValueError("expected finite codes that differ: these are all the same, or no numbers")
    energy = _energies(d, (np.arange(n + m) < n)[:, None].astype(np.float64))[0]
    count = 0
    for start in range(0, permutations, CHUNK):
        names = np.zeros((n + m, min(CHUNK, permutations - start)))
        names[:n] = 1.0
        # Energies that are equal may differ by rounding: those count as at least as large.
        energies = _energies(d, rng.permuted(names, axis=0))
        count += int((energies >= energy - 1e-12 * d.max()).sum())
    estimates = _errors(d, n, m, float(energy))
    return TwoSample(*estimates, (1 + count) / (1 + permutations), permutations)


def _energies(d: np.ndarray, names: np.ndarray) -> np.ndarray:
    """The energy for each way to name the codes: names (n + m, P) is 1 for X, 0 for Y; (P,).

    With the table of distances d and a column s of names, the sum of |x - x'| over all ordered
    pairs is s.d s; and with u = d 1, that of |x - y| is s.u - s.d s, and that of |y - y'| the rest.
    """
    n = names.sum(axis=0)[0]
    m, u = len(d) - n, d.sum(axis=1)
    within_x = (names * (d @ names)).sum(axis=0)
    across = u @ names - within_x
    within_y = u.sum() - within_x - 2.0 * across
    return 2.0 * across / (n * m) - within_x / (n * (n - 1.0)) - within_y / (m * (m - 1.0))


def _errors(d: np.ndarray, n: int, m: int, energy: float) -> tuple[Estimate, Estimate]:
    """Energy and coefficient with their standard errors."""
    across = 2.0 * d[:n, n:].mean()
    d_x, d_y = 2.0 * d[:n, n:].mean(axis=1), 2.0 * d[:n, n:].mean(axis=0)
    h_x = d_x - 2.0 * d[:n, :n].sum(axis=1) / (n - 1)
    h_y = d_y - 2.0 * d[n:, n:].sum(axis=1) / (m - 1)
    ratio = energy / across

    def error(of_x: np.ndarray, of_y: np.ndarray) -> float:
        return math.sqrt(float(of_x.var(ddof=1)) / n + float(of_y.var(ddof=1)) / m)

    of_ratio = error((h_x - ratio * d_x) / across, (h_y - ratio * d_y) / across)
    return Estimate(energy, error(h_x, h_y)), Estimate(float(ratio), of_ratio)
