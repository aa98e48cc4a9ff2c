"""Where an estimator's random numbers come from.

Two habits of scikit-learn meet the rule of this house, that randomness is a function of a key.
`seed_of` turns a ``random_state`` into the seed of such keys.  And a method that is given examples
must say the same of each of them in whatever company it comes, so an example's noise is a function
of (seed, what the example holds, purpose): `own_generators`.
"""

import hashlib
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from minivae.arrays import generator
from minivae.datasets import binarise

SPLIT, PIXELS, IMPORTANCE, SAMPLE = 21, 22, 23, 24  # purposes; see minivae.training for others


def seed_of(random_state: Any) -> int:
    """The seed that scikit-learn's ``random_state`` stands for.

    An integer is the seed.  None draws a fresh one from the operating system.  A RandomState or a
    Generator is asked for its next number, so that the same object gives another seed next time.

    Raises  ValueError for a negative integer or anything else.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    if isinstance(random_state, numbers.Integral) and int(random_state) >= 0:
        return int(random_state)
    raise ValueError(
        "expected random_state None, an integer of at least 0, a numpy RandomState or a "
        f"Generator, got {random_state!r}"
    )


def hold_out(x: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """``x`` (N, D) without a random part of its rows, and that part; None if fraction is 0.

    Raises  ValueError if the part is everything.
    """
    if fraction == 0.0:
        return x, None
    n = max(1, round(fraction * len(x)))
    if n >= len(x):
        raise ValueError(
            f"validation_fraction={fraction} of n_samples={len(x)} leaves nothing to train on"
        )
    order = generator("cpu", seed, 0, SPLIT).permutation(len(x))
    return x[np.sort(order[n:])], x[np.sort(order[:n])]


def own_generators(x: np.ndarray, seed: int, purpose: int) -> list[np.random.Generator]:
    """A generator for every row of ``x`` (N, D) that depends on the numbers in that row alone.

    The key is (seed, digest of the row, purpose): the digest stands where `minivae.training` puts
    the epoch.  Equal rows have equal noise; different rows are independent.
    """
    x = np.ascontiguousarray(x + 0.0)  # -0.0 equals 0.0, and adding 0.0 makes their bytes equal
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in x]
    return [generator("cpu", seed, int.from_bytes(d, "little"), purpose) for d in digests]


def black_and_white(x: np.ndarray, how: str, seed: int) -> np.ndarray:
    """Grey examples ``x`` (N, D) made black and white; ``how`` as in `minivae.datasets.binarise`.

    "fixed" and "new" draw each example with its own generator, so it is always the same draw.
    """
    if how in ("none", "threshold"):
        return binarise(x, how)
    own = own_generators(x, seed, PIXELS)
    return np.stack([binarise(row, how, rng) for row, rng in zip(x, own, strict=True)])


class OwnNoise:
    """Stands for a random generator; gives example b of a batch what b's own generator draws.

    `minivae.evaluation.estimate_likelihood` asks for noise (S, B, K), for the examples in their
    order and, where the samples of a batch come in chunks, several times for the same ones.

    generators  one for each example.
    n_samples   that every example gets before the next ones have their turn.
    """

    def __init__(self, generators: Sequence[np.random.Generator], n_samples: int) -> None:
        self.generators, self.n_samples = generators, n_samples
        self.start = self.served = 0

    def standard_normal(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Noise of shape (S, B, K), for the next B examples or the same as before."""
        S, B, K = shape
        batch = self.generators[self.start : self.start + B]
        self.served += S
        if self.served == self.n_samples:
            self.start, self.served = self.start + B, 0
        return np.stack([rng.standard_normal((S, K), dtype=dtype) for rng in batch], axis=1)
