"""The simplest prior over codes: each position has frequencies of its own, and none sees another.

The baseline of a prior that does look: `minivae.models.made.prior_over`.  Both have `log_prob` and
`sample`, and so either generates images with a VQ-VAE: draw codes, decode them.
"""

from typing import Any

import numpy as np

from minivae.arrays import to_numpy
from minivae.models.one_hot import require_codes
from minivae.numerics import softmax, tempered


class IndependentPrior:
    """p(c) = product over the M positions of p_m(c_m), from the counts of training codes.

    With Laplace's rule of succession, (count + 1) / (N + n_codes): no code is impossible.

    codes    (N, M) integers from 0 to n_codes - 1.
    Raises   ValueError, one line, for anything else.
    """

    def __init__(self, codes: np.ndarray, n_codes: int) -> None:
        codes = to_numpy(codes)
        require_codes(codes, n_codes)
        counts = [np.bincount(column.astype(np.int64), minlength=n_codes) for column in codes.T]
        self.n_codes = n_codes
        self.log_p = np.log((np.stack(counts) + 1.0) / (len(codes) + n_codes))  # (M, n_codes)

    def log_prob(self, codes: np.ndarray) -> np.ndarray:
        """log p of codes (N, M), in nats: (N,) float64.

        Raises  ValueError for codes of another length, or numbers that no entry has.
        """
        codes = to_numpy(codes)
        require_codes(codes, self.n_codes)
        M = len(self.log_p)
        if codes.shape[1] != M:
            raise ValueError(f"expected codes of shape (N, {M}), got {codes.shape}")
        return self.log_p[np.arange(M), codes.astype(np.int64)].sum(axis=1)

    def sample(self, n: int, rng: Any, temperature: float = 1.0) -> np.ndarray:
        """n codes (n, M), each number from p_m^(1 / temperature), normalised again.

        Raises  ValueError for a temperature that is not positive and finite.
        """
        p = softmax(tempered(self.log_p, temperature), axis=1)
        edges = np.cumsum(p, axis=1)
        u = rng.random((n, len(edges)))
        codes = np.stack(
            [np.searchsorted(e, v, side="right") for e, v in zip(edges, u.T, strict=True)], axis=1
        )
        return np.minimum(codes, self.n_codes - 1)
