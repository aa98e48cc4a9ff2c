"""Lossy compression by a code: bytes of the code against the error of what is decoded from it.

The code of each image is rounded to whole multiples of a step (a uniform quantiser),

    i_nk  =  round( z_nk / step ),      z_hat = step i,      x_hat = decoder(z_hat)

and the whole numbers of all images are written into one string of bytes, which a general
compressor makes short.  The coarser the step, the fewer bytes and the larger the error: a curve.
The same quantiser and the same compressor on as many principal components are what to compare with.

The bytes are all that a reader needs beside the step and the decoder.  The decoder's own
parameters are not counted: they are paid once, for any number of images.
"""

import lzma
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minivae.evaluation.likelihood import Estimate

FILTERS: list[dict[str, int]] = [
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**20, "lc": 0, "lp": 0, "pb": 0}
]
"""The stream alone, without the name, the checksum and the padding of an .xz file; the byte before
and the place in a word tell nothing about the next number."""

HEADER = struct.Struct("<IHB")
"""Examples, latents, bytes of a number."""


@dataclass(frozen=True)
class Compressed:
    """One point of the curve: N images through a quantiser of this step.

    step     in units of the code
    bytes    of the compressed string, divided by N: bytes per image, really written
    entropy  mean and standard error of the ideal length, in bytes per image, see `entropy_code`
    error    mean and standard error over images of the squared error of a number (a pixel), in
             squared units of the data
    """

    step: float
    bytes: float
    entropy: Estimate
    error: Estimate


def compression_curve(
    z: np.ndarray,
    x: np.ndarray,
    decode: Callable[[np.ndarray], np.ndarray],
    steps: Sequence[float],
) -> list[Compressed]:
    """A point for each step.

    z       (N, K) the codes of x
    x       (N, D) what is compressed, and what the error is counted from
    decode  codes (N, K) to the images (N, D) that a reader sees
    Raises  ValueError for shapes that do not fit, steps that are not positive, or so small that a
            code is 2^31 steps from 0.
    """
    if z.ndim != 2 or x.ndim != 2 or len(z) != len(x) or len(z) == 0:
        raise ValueError(f"expected codes (N, K) and data (N, D), got {z.shape} and {x.shape}")
    points = []
    for step in steps:
        index = quantise(z, step)
        seen = decode(step * index.astype(np.float64))
        error = ((seen.astype(np.float64) - x) ** 2).mean(axis=1)
        size = len(pack(index)) / len(z)
        points.append(Compressed(step, size, entropy_code(index), Estimate.of(error)))
    return points


def quantise(z: np.ndarray, step: float) -> np.ndarray:
    """round(z / step), int64; ``step`` times it is at most step / 2 from z.

    Raises  ValueError unless the step is positive and all codes lie within 2^31 steps of 0.
    """
    if not 0.0 < step < math.inf:
        raise ValueError(f"expected a positive step, got {step}")
    steps = np.rint(z.astype(np.float64) / step)
    if not (np.abs(steps) < 2.0**31).all():  # a nan is not either
        raise ValueError(f"expected finite codes within 2^31 steps of 0; the step is {step:g}")
    return steps.astype(np.int64)


def spread(z: np.ndarray) -> float:
    """The root of the mean variance of the latents: a unit for steps, 1 if nothing varies."""
    return math.sqrt(float(z.var(axis=0, dtype=np.float64).mean())) or 1.0


def entropy_code(index: np.ndarray) -> Estimate:
    """The length of an ideal code for each latent's own table, in bytes per image.

    With p_k(i) the share of examples whose latent k is i, an ideal code spends -log2 p_k(i) bits on
    it: the mean of sum_k -log2 p_k(i_nk) over the examples is the sum of the empirical entropies.

    No code that treats the latents one by one is shorter on these examples, the table being known
    to the reader.  A compressor that sees how latents hang together may do better; one that has to
    learn the table does worse, and the fewer the examples the more.  With N examples a latent
    cannot take more than log2 N bits: there the table is the message, and the number means nothing.

    Shapes  (N, K) whole numbers.
    """
    bits = np.zeros(len(index))
    for column in index.T:
        _, place, count = np.unique(column, return_inverse=True, return_counts=True)
        bits -= np.log2(count[place] / len(index))
    return Estimate.of(bits / 8.0)


def pack(index: np.ndarray) -> bytes:
    """Whole numbers (N, K) as a short string of bytes, from which `unpack` has them back.

    Each latent is counted from its smallest value, in the fewest of 1, 2 or 4 bytes that hold all;
    one latent after the other, because the numbers of one are alike; then LZMA, the Lempel-Ziv
    compressor with a range coder that comes with Python.

    Raises  ValueError if a latent runs over 2^32 values or more, or the shape is no (N, K), N at
            least 1 and K from 1 to 65,535.
    """
    if index.ndim != 2 or not (len(index) and 0 < index.shape[1] < 2**16):
        raise ValueError(f"expected whole numbers (N, K), both at least 1, got {index.shape}")
    N, K = index.shape
    low, high = index.min(axis=0), index.max(axis=0)
    run = int((high - low).max())
    if run >= 2**32 or int(np.abs(low).max()) >= 2**31:
        raise ValueError("expected whole numbers of fewer than 2^32 values, within 2^31 of 0")
    width = 1 if run < 2**8 else 2 if run < 2**16 else 4
    body = (index - low).T.astype(f"<u{width}").tobytes()
    raw = HEADER.pack(N, K, width) + low.astype("<i4").tobytes() + body
    return lzma.compress(raw, lzma.FORMAT_RAW, filters=FILTERS)


def unpack(data: bytes) -> np.ndarray:
    """What `pack` was given, (N, K) int64."""
    raw = lzma.decompress(data, lzma.FORMAT_RAW, filters=FILTERS)
    N, K, width = HEADER.unpack_from(raw)
    low = np.frombuffer(raw, "<i4", K, HEADER.size).astype(np.int64)
    body = np.frombuffer(raw, f"<u{width}", N * K, HEADER.size + 4 * K)
    return body.reshape(K, N).T.astype(np.int64) + low
