"""What a code is good for, when labels ask: a linear probe and nearest neighbours.

Fitted on the codes of training images, judged on those of test images, so they say what is at hand
in the code for a simple reader, not what is in it: a code that knows the label may still hide it
from a line.  So the same is asked of the pixels, and of as many principal components (`PCA`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minivae.distributions import Categorical
from minivae.evaluation.likelihood import Estimate
from minivae.exact.ppca import Spectrum
from minivae.layers import Dense
from minivae.parameters import Parameters

BLOCK = 2_000_000
"""Numbers of a table of distances at a time: what bounds the memory."""


@dataclass(frozen=True)
class Accuracy:
    """How many of n test examples were right.

    The standard error is that of a binomial share, sqrt( p (1 - p) / n ): over test sets of this
    size, the fitted rule being what it is.  One example says nothing of it, and none is printed.
    """

    correct: int
    n: int

    @property
    def mean(self) -> float:
        """The share p, from 0 to 1."""
        return self.correct / self.n

    @property
    def standard_error(self) -> float:
        """sqrt( p (1 - p) / n )."""
        return math.sqrt(self.mean * (1.0 - self.mean) / self.n)

    def __str__(self) -> str:
        error = f" +- {100.0 * self.standard_error:.1f}" if self.n > 1 else ""
        return f"{100.0 * self.mean:.1f}{error} %"


@dataclass(frozen=True, eq=False)
class PCA:
    """The K principal components: the linear code with the least squared error.

    mean (D,), axes (K, D) with orthonormal rows, the direction of the largest variance first.
    Code  z = (x - mean) axes^T, and back  x_hat = z axes + mean.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, latent: int) -> "PCA":
        """The first K = ``latent`` of x (N, D); ValueError unless 1 <= K <= min(N, D)."""
        spectrum = Spectrum.of(x)
        if not 1 <= latent <= len(spectrum.axes):
            raise ValueError(f"expected 1 to {len(spectrum.axes)} components, got {latent}")
        return cls(spectrum.mean, spectrum.axes[:latent])

    def encode(self, x: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, K), float64."""
        return (x - self.mean) @ self.axes.T

    def decode(self, z: np.ndarray) -> np.ndarray:
        """(N, K) -> (N, D), float64."""
        return z @ self.axes + self.mean


@dataclass(frozen=True)
class Probe:
    """A linear probe on test examples.

    accuracy       of the most probable class
    cross_entropy  mean of -log p(y|z), in nats per label; below the entropy H(y) of the labels the
                   difference is a lower bound on I(z; y), in expectation
    steps          of the optimiser
    """

    accuracy: Accuracy
    cross_entropy: Estimate
    steps: int


def linear_probe(
    train_z: np.ndarray,
    train_y: np.ndarray,
    test_z: np.ndarray,
    test_y: np.ndarray,
    decay: float = 1e-3,
    steps: int = 200,
) -> Probe:
    """Softmax regression: p(y|z) = softmax(z W + b), a `Dense` layer under a `Categorical`.

    It minimises over the training examples

        L(W, b)  =  mean of -log p(y|z)  +  decay / 2  sum W^2

    in nats per label, on codes of which every column has mean 0 and variance 1 over the training
    examples: so the decay means the same for codes, components and pixels.  L is convex, and has
    one minimum but for a constant added to b: where we start, at 0, plays no part.  `minimise` goes
    there.

    Shapes  codes (N, K), labels (N,) of 0, 1, ...; a class that training has not seen counts as
            wrong, and has no cross-entropy: it is nan then.
    Raises  ValueError for shapes that do not fit or a decay that is not positive.
    """
    _check(train_z, train_y, test_z, test_y)
    if not 0.0 < decay < math.inf:
        raise ValueError(f"expected a positive decay, got {decay}")
    mean, scale = train_z.mean(axis=0, dtype=np.float64), train_z.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 0.0, scale, 1.0)
    z, onehot = (train_z - mean) / scale, np.eye(int(train_y.max()) + 1)[train_y]
    layer = Dense(z.shape[1], onehot.shape[1])
    theta = Parameters({"probe": layer}, np.random.default_rng(0), "float64")

    def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
        theta.bind(vector)
        logits, cache = layer.forward(z)
        p = Categorical(logits[:, None, :])  # one variable of C classes
        value = -p.log_prob(onehot[:, None, :]).mean() + 0.5 * decay * (layer.W**2).sum()
        (score,) = p.score(onehot[:, None, :])
        layer.backward(-score[:, 0, :] / len(z), cache, need_dx=False)
        layer.dW += decay * layer.W
        return float(value), theta.grad

    best, used = minimise(loss, np.zeros(len(theta)), steps)
    theta.bind(best)
    logits, _ = layer.forward((test_z - mean) / scale)
    known = test_y < onehot.shape[1]
    right = logits.argmax(axis=1) == test_y
    nll = np.full(len(test_y), math.nan)
    targets = np.eye(onehot.shape[1])[test_y[known]]
    nll[known] = -Categorical(logits[known][:, None, :]).log_prob(targets[:, None, :])
    return Probe(Accuracy(int(right.sum()), len(test_y)), Estimate.of(nll), used)


def minimise(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    steps: int = 500,
    tolerance: float = 1e-6,
    memory: int = 20,
) -> tuple[np.ndarray, int]:
    """The minimum of a smooth convex function, by the limited-memory BFGS method.

    Newton's step is -H^-1 g, with the inverse of the matrix of second derivatives.  What the last
    steps s = theta' - theta did to the gradient, y = g' - g, tells about H: it is nearly H s = y.
    The inverse that fits these pairs and else changes as little as possible is, from the oldest
    pair to the newest, with r = 1 / (y.s),

        H^-1  <-  (I - r s y^T) H^-1 (I - r y s^T) + r s s^T

    beginning with the number s.y / y.y of the newest times I.  Only its product with g is needed,
    which takes two walks over the pairs.  The length of the step is halved until the function falls
    by a ten-thousandth of what its slope promises (Armijo).

    function   theta (P,) -> value, gradient (P,).
    Returns    theta where no component of the gradient is above ``tolerance``, or after ``steps``,
               or where no step helps any more; and the number of steps.
    Source     Nocedal (1980); Liu and Nocedal (1989).
    """
    theta, pairs = start, list[tuple[np.ndarray, np.ndarray]]()
    value, g = function(theta)
    for step in range(steps):
        if np.abs(g).max() <= tolerance:
            return theta, step
        direction = -_times_inverse(pairs, g)
        slope, length = float(direction @ g), 1.0
        while True:
            moved = theta + length * direction
            new_value, new_g = function(moved)
            if new_value <= value + 1e-4 * length * slope:
                break
            length *= 0.5
            if length < 1e-10:  # as far as rounding allows
                return theta, step
        s, y = moved - theta, new_g - g
        if float(s @ y) > 0.0:
            pairs = [*pairs, (s, y)][-memory:]
        theta, value, g = moved, new_value, new_g
    return theta, steps


def _times_inverse(pairs: list[tuple[np.ndarray, np.ndarray]], g: np.ndarray) -> np.ndarray:
    """H^-1 g: the brackets on the right from the newest pair on, those on the left going back."""
    weights, v = [], g
    for s, y in reversed(pairs):
        weights.append(float(s @ v) / float(s @ y))
        v = v - weights[-1] * y
    if pairs:
        s, y = pairs[-1]
        v = v * (float(s @ y) / float(y @ y))
    else:
        v = v / max(1.0, float(np.linalg.norm(g)))
    for (s, y), weight in zip(pairs, reversed(weights), strict=True):
        v = v + (weight - float(y @ v) / float(s @ y)) * s
    return v


def nearest_neighbours(
    train_z: np.ndarray,
    train_y: np.ndarray,
    test_z: np.ndarray,
    test_y: np.ndarray,
    k: int = 5,
) -> Accuracy:
    """Each test code is given the class of most of its k nearest training codes.

    Distances are Euclidean, in the units of the code as it is: a latent that is not used has almost
    the same value everywhere, and does not count.  Among classes with equally many votes the one
    with the nearest of them wins.

    Shapes  codes (N, K), labels (N,).
    Raises  ValueError for shapes that do not fit, or k not in 1 .. N.
    """
    _check(train_z, train_y, test_z, test_y)
    if not 1 <= k <= len(train_z):
        raise ValueError(f"expected 1 to {len(train_z)} neighbours, got {k}")
    votes_of = np.eye(int(train_y.max()) + 1)[train_y]
    correct, rows = 0, max(1, BLOCK // len(train_z))
    for start in range(0, len(test_z), rows):
        d = squared_distances(test_z[start : start + rows], train_z)
        near = np.argpartition(d, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(d, near, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        hits = votes_of[near]  # (rows, k, C), the nearest first
        # A vote counts k, and the place of a class's nearest, at most k - 1, decides among equals.
        score = k * hits.sum(axis=1) - hits.argmax(axis=1)
        correct += int((score.argmax(axis=1) == test_y[start : start + rows]).sum())
    return Accuracy(correct, len(test_y))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|^2 = |a_i|^2 - 2 a_i.b_j + |b_j|^2, (n, K) and (m, K) to (n, m), in float64.

    Both are moved by the mean of b first, so that codes far from the origin do not cancel; what
    rounding leaves below 0 is 0.
    """
    centre = b.mean(axis=0, dtype=np.float64)
    a, b = a - centre, b - centre
    return np.maximum((a * a).sum(axis=1)[:, None] - 2.0 * a @ b.T + (b * b).sum(axis=1), 0.0)


def _check(
    train_z: np.ndarray, train_y: np.ndarray, test_z: np.ndarray, test_y: np.ndarray
) -> None:
    for z, y in ((train_z, train_y), (test_z, test_y)):
        if z.ndim != 2 or y.shape != (len(z),) or len(z) == 0 or z.shape[1] != train_z.shape[1]:
            got = f"{z.shape} and {y.shape}"
            raise ValueError(f"expected codes (N, K) and labels (N,), N of at least 1, got {got}")
        if y.dtype.kind != "i" or y.min() < 0:
            raise ValueError("expected labels that are whole numbers from 0 on")
