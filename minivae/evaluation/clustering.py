"""Clusters of codes that nobody labelled, and how well they match the labels.

k-means looks for C centres m_c that make

    J  =  sum_n  min_c |z_n - m_c|^2                          in squared units of the code

small, by turns: each code to its nearest centre, each centre to the mean of its codes.  Both steps
lower J or leave it, so it ends, but in a place that depends on the start: we take several starts,
each chosen by k-means++, and keep the least J.

Source  Lloyd (1982); Arthur and Vassilvitskii (2007) for the start.
"""

import math
from dataclasses import dataclass

import numpy as np

from minivae.evaluation.likelihood import Estimate
from minivae.evaluation.probes import Accuracy, squared_distances


@dataclass(frozen=True, eq=False)
class Clusters:
    """centres (C, K), the cluster of each code (N,), and J, the sum of squared distances."""

    centres: np.ndarray
    labels: np.ndarray
    inertia: float

    def nearest(self, z: np.ndarray) -> np.ndarray:
        """The cluster of each of other codes, (n, K) -> (n,)."""
        return squared_distances(z, self.centres).argmin(axis=1)


def k_means(
    z: np.ndarray, n_clusters: int, rng: np.random.Generator, starts: int = 10, steps: int = 300
) -> Clusters:
    """The best of ``starts`` runs of k-means on z (N, K), each of at most ``steps`` turns.

    A centre that no code is nearest to moves to the code that is farthest from its own.

    Raises  ValueError unless 1 <= C <= N and there is at least one start.
    """
    if z.ndim != 2 or not 1 <= n_clusters <= len(z) or starts < 1:
        raise ValueError(
            f"expected codes (N, K), 1 to N clusters and at least one start, got {z.shape}, "
            f"{n_clusters} and {starts}"
        )
    z = z.astype(np.float64)
    runs = [_lloyd(z, seeds(z, n_clusters, rng), steps) for _ in range(starts)]
    return min(runs, key=lambda run: run.inertia)


def seeds(z: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """n codes as first centres, by k-means++: each drawn with a probability proportional to the
    squared distance to the nearest of those before it; the first with equal ones.  (n, K).

    Where fewer than n codes differ, some are taken twice.
    """
    chosen = [int(rng.integers(len(z)))]
    nearest = ((z - z[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(n - 1):
        edges = np.cumsum(nearest)
        # The first code whose share of [0, sum) lies above u: one of distance 0 has no share.
        place = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
        chosen.append(min(place, len(z) - 1))
        nearest = np.minimum(nearest, ((z - z[chosen[-1]]) ** 2).sum(axis=1))
    return z[chosen]


def _lloyd(z: np.ndarray, centres: np.ndarray, steps: int) -> Clusters:
    labels = np.full(len(z), -1)
    for _ in range(steps):
        d = squared_distances(z, centres)
        new, own = d.argmin(axis=1), d.min(axis=1)
        for c in np.flatnonzero(np.bincount(new, minlength=len(centres)) == 0):
            new[own.argmax()] = c
            own[own.argmax()] = 0.0
        if np.array_equal(new, labels):
            break
        labels = new
        member = np.eye(len(centres))[labels]
        # Two may be left without codes if the farthest was the only one of its cluster.
        size = np.maximum(member.sum(axis=0), 1.0)[:, None]
        centres = np.where(member.any(axis=0)[:, None], member.T @ z / size, centres)
    inertia = float(((z - centres[labels]) ** 2).sum())
    return Clusters(centres, labels, inertia)


def purity(
    train_clusters: np.ndarray, train_y: np.ndarray, test_clusters: np.ndarray, test_y: np.ndarray
) -> Accuracy:
    """The share of test examples whose label is the commonest of their cluster in training.

    Each cluster is named after the commonest label of its training examples, so several clusters
    may bear one name; a cluster without training examples gets the commonest label of all.  Naming
    on one split and counting on another is what makes it honest: as many clusters as test
    examples, named by themselves, would be pure.

    Shapes  (N,) each, whole numbers from 0 on.
    """
    n = int(max(train_clusters.max(), test_clusters.max())) + 1
    table = np.zeros((n, int(train_y.max()) + 1))
    np.add.at(table, (train_clusters, train_y), 1.0)
    table[table.sum(axis=1) == 0.0] = table.sum(axis=0)
    named = table.argmax(axis=1)
    return Accuracy(int((named[test_clusters] == test_y).sum()), len(test_y))


def adjusted_rand(clusters: np.ndarray, y: np.ndarray) -> Estimate:
    """How often two partitions agree about pairs, 0 for chance and 1 for equality; its error.

    Of all pairs of examples, let A be those that are together in both, P those together in the
    first and Q in the second, T all.  With clusters dealt out at random (sizes kept) the expected A
    is P Q / T, so

        ARI  =  ( A - P Q / T )  /  ( (P + Q) / 2 - P Q / T )

    which may be negative.  Two partitions that are both a single cluster, or both only singles,
    are equal: 1.  The standard error is that of leaving out one example at a time, sqrt( (N - 1)/N
    sum_n (value without n - their mean)^2 ); all examples of a cell of the table are alike, so that
    is one value for each cell.

    Shapes  (N,) whole numbers each; the result does not change if clusters are renumbered.
    Raises  ValueError for fewer than 3 examples, or different lengths.
    Source  Hubert and Arabie (1985).
    """
    if clusters.shape != y.shape or len(y) < 3:
        got = f"{clusters.shape} and {y.shape}"
        raise ValueError(f"expected two partitions of N examples, at least 3, got {got}")
    rows, i = np.unique(clusters, return_inverse=True)
    columns, j = np.unique(y, return_inverse=True)
    table = np.zeros((len(rows), len(columns)))
    np.add.at(table, (i, j), 1.0)
    value, without = _rand(table), []
    for place in zip(*np.nonzero(table), strict=True):
        table[place] -= 1.0
        without.append(_rand(table))
        table[place] += 1.0
    weight, values, N = table[table > 0.0], np.array(without), len(y)
    spread = (weight * (values - (weight * values).sum() / N) ** 2).sum()
    return Estimate(value, math.sqrt((N - 1) / N * spread))


def _rand(table: np.ndarray) -> float:
    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1.0)).sum()) / 2.0

    A, P, Q = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = P * Q / pairs(table.sum(keepdims=True))
    most = (P + Q) / 2.0
    return 1.0 if most == expected else (A - expected) / (most - expected)
