"""The IDX file format, in which MNIST and its relatives come.

    two zero bytes, one byte for the element type (8: unsigned byte), one for the number of axes;
    per axis its length, 4 bytes, most significant first;
    the elements, last axis fastest; nothing after them.

A file may be packed with gzip; this is told from its first two bytes, not from its name. Files
are not trusted: the memory used is bounded by the data that is really there, not by the size that
the header claims, and every corruption is a ValueError of one line that names the file.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

UNSIGNED_BYTE = 8
MAX_AXES = 4
MAX_BYTES = 2**30  # twice the largest relative of MNIST; a small gzip file can unpack to anything
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or packed with gzip.

    Shapes    the array has the axes that the header states, uint8, writeable.
    Raises    FileNotFoundError (or another OSError) if the file cannot be opened;
              ValueError if it is not a whole, sound IDX file of at most MAX_AXES axes and
              MAX_BYTES elements.
    Source    the description on LeCun, Cortes and Burges's page of MNIST (1998).
    """
    path = Path(path)
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if packed else plain
        try:
            shape = _read_shape(stream)
            return _read_elements(stream, shape)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes with these axes: 4 + 4 len(shape) bytes."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def _read_shape(stream: BinaryIO) -> tuple[int, ...]:
    """Read and judge the header."""
    magic = read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"not an IDX file, expected two zero bytes first, got {bytes(magic)!r}")
    if magic[2] != UNSIGNED_BYTE:
        raise ValueError(f"expected element type 8 (unsigned byte), got {magic[2]}")
    n_axes = magic[3]
    if not 1 <= n_axes <= MAX_AXES:
        raise ValueError(f"expected 1 to {MAX_AXES} axes, got {n_axes}")
    lengths = read_up_to(stream, 4 * n_axes)
    if len(lengths) < 4 * n_axes:
        raise ValueError(f"truncated header, expected {n_axes} axes of 4 bytes, got {len(lengths)}")
    shape = struct.unpack(f">{n_axes}I", lengths)
    # max(n, 1): an axis of length 0 must not hide absurd lengths beside it.
    if math.prod(max(n, 1) for n in shape) > MAX_BYTES:
        raise ValueError(f"header claims shape {shape}, more than {MAX_BYTES} bytes")
    return shape


def _read_elements(stream: BinaryIO, shape: tuple[int, ...]) -> np.ndarray:
    """Read exactly the claimed elements, and one more byte: the end is where gzip's sum is."""
    expected = math.prod(shape)
    data = read_up_to(stream, expected + 1)
    if len(data) != expected:
        found = len(data) if len(data) < expected else f"more than {expected}"
        raise ValueError(f"shape {shape} needs {expected} bytes, the file holds {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def read_up_to(stream: BinaryIO, limit: int) -> bytearray:
    """At most `limit` bytes, fewer at the end of the file.

    Piece by piece, because read(limit) would reserve `limit` bytes before it looks.
    """
    data = bytearray()
    while len(data) < limit and (piece := stream.read(min(_CHUNK, limit - len(data)))):
        data += piece
    return data
