"""Codes as numbers, (B, M) of 0 to C - 1, and as columns of zeros and ones, (B, M * C)."""

import numpy as np

from minivae.arrays import Array, cast, like, namespace


def require_codes(x: Array, n_codes: int) -> None:
    """Raise ValueError, one line, unless ``x`` (N, M) is of whole numbers from 0 to n_codes - 1."""
    if x.ndim != 2:
        raise ValueError(f"expected codes of shape (N, M), got {x.shape}")
    wrong = (x < 0) | (x >= n_codes) | (x != np.floor(x))
    if wrong.any():
        n, m = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"expected codes from 0 to {n_codes - 1}, got {x[n, m]:g} at row {n}, column {m}"
        )


def one_hot(codes: Array, n_codes: int) -> Array:
    """Codes (B, M) -> (B, M * n_codes), in their dtype: one 1 in each group of n_codes."""
    xp = namespace(codes)
    values = cast(like(np.arange(n_codes), codes), codes)
    ones = cast(xp.expand_dims(codes, axis=-1) == values, codes)
    return xp.reshape(ones, (codes.shape[0], codes.shape[1] * n_codes))


def numbers(columns: Array, n_codes: int) -> Array:
    """The inverse of `one_hot`: (B, M * n_codes) -> (B, M), in the same dtype."""
    xp = namespace(columns)
    values = cast(like(np.arange(n_codes), columns), columns)
    return xp.sum(apart(columns, n_codes) * values, axis=-1)


def apart(columns: Array, n_codes: int) -> Array:
    """(B, M * n_codes) -> (B, M, n_codes)."""
    shape = (columns.shape[0], columns.shape[1] // n_codes, n_codes)
    return namespace(columns).reshape(columns, shape)
