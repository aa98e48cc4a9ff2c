"""What a VQ-VAE and a prior over its codes say about log p(x), and how the codes are used."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from minivae.arrays import Array, to_numpy
from minivae.models.vector_quantised import VQVAE

ROWS = 500
"""Images that go through the networks at a time."""


class CodePrior(Protocol):
    """A distribution over codes (N, M)."""

    def log_prob(self, x: Array) -> Array:
        """log p of each, (N,), in nats."""

    def sample(self, n: int, rng: Any, temperature: float) -> Array:
        """n codes, (n, M)."""


class CodeLength(NamedTuple):
    """Two parts of a message that says an image: its codes, and then its pixels.

    rate        (N,)  -log p(c), nats for the codes c = c(x).
    distortion  (N,)  -log p(x|c), nats for the pixels.

    Their sum is an upper bound on -log p(x), whatever the prior: the model's p(x) is a sum over all
    codes, and one of its terms is that of the encoder's code,

        p(x) = sum_c p(c) p(x|c)  >=  p(c(x)) p(x|c(x)).

    It is the ELBO with q(c|x) all on one code: its entropy is 0, and the KL is -log p(c(x)).
    """

    rate: np.ndarray
    distortion: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """(N,) the bound on -log p(x), in nats."""
        return self.rate + self.distortion


def codes_of(model: VQVAE, x: Array) -> np.ndarray:
    """The codes of x (N, D): (N, M) integers on the host, some images at a time."""
    parts = [to_numpy(model.codes(x[i : i + ROWS])) for i in range(0, len(x), ROWS)]
    return np.concatenate(parts)


def code_lengths(model: VQVAE, prior: CodePrior, x: Array) -> CodeLength:
    """Rate and distortion of x (N, D) under a prior over codes."""
    rates, distortions = [], []
    for start in range(0, len(x), ROWS):
        rows = model.array(x[start : start + ROWS])
        codes = model.codes(rows)
        p = model.decode(model.vectors(codes))
        rates.append(-to_numpy(prior.log_prob(codes)).astype(np.float64))
        distortions.append(-to_numpy(p.log_prob(rows)).astype(np.float64))
    return CodeLength(np.concatenate(rates), np.concatenate(distortions))


def usage(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """How often each entry stands in codes (N, M): (n_codes,)."""
    return np.bincount(codes.ravel(), minlength=n_codes)
