"""NumPy's own files, .npy and .npz, without trust.

Nothing is unpickled. The header is read and judged first: what it claims must be as long as what
is there, so that no file costs more memory than it holds numbers, and a packed one at most
MAX_BYTES. Every fault is a ValueError; the caller adds the name of the file.

Source    the description of the format in `numpy.lib.format`.
"""

import io
import math
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy

from minivae.datasets.idx import read_up_to

MAX_HEADER = 10_000  # bytes; NumPy's limit too
MAX_BYTES = 2**32  # of unpacked arrays: a small .npz can unpack to anything

TRAIN_TEST = ("x_train", "y_train", "x_test", "y_test")  # the names that Keras uses


class Header(NamedTuple):
    """What a .npy header says of the array behind it."""

    shape: tuple[int, ...]
    order: str
    dtype: np.dtype
    n_bytes: int


def open_npy(path: Path) -> np.ndarray:
    """A .npy file as a read-only memory map, whatever its order in memory and its byte order.

    Raises    ValueError for anything but a whole file of real numbers.
    """
    with path.open("rb") as file:
        header = read_header(cast(BinaryIO, file), path.stat().st_size, kinds="fiub")
        start = file.tell()
    return np.memmap(path, header.dtype, "r", start, header.shape, header.order)  # type: ignore[call-overload]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that are data: x (and y), or those of TRAIN_TEST.

    An only array is x, whatever its name. Others than these are not read, y may be words.

    Raises    ValueError for a damaged file, other names, or more than MAX_BYTES.
    """
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive)
        except (_Refused, MemoryError):
            raise
        # zipfile and zlib raise many things on damaged bytes, all of which mean this
        except Exception as error:
            raise ValueError(f"damaged .npz file ({error})") from None


def read_header(stream: BinaryIO, size: int, kinds: str) -> Header:
    """Read the header of a .npy file of `size` bytes, and judge it.

    kinds     that the elements may have, letters of `numpy.dtype.kind`.
    Raises    ValueError if this is no .npy file, its elements are others or it is too short or
              too long for what the header claims.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = _parsed(stream)
    # NumPy's reader parses Python literals, and lets through what its parser raises
    except Exception as error:
        raise ValueError(f"not a sound NumPy file ({error})") from None
    if dtype.kind not in kinds or dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"expected real numbers, got an array of {dtype}")
    # Python's whole numbers do not overflow; NumPy's header may hold any, also negative ones.
    claimed = math.prod(shape) * dtype.itemsize
    held = size - stream.tell()
    if any(n < 0 for n in shape) or claimed != held:
        raise ValueError(f"shape {shape} {dtype} needs {claimed} bytes, the file holds {held}")
    if claimed == 0:
        raise ValueError(f"expected at least one number, got shape {shape}")
    return Header(shape, "F" if fortran else "C", dtype, claimed)


def _parsed(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the order is Fortran's, and dtype.

    NumPy would reserve as many bytes as the header claims to have; here it gets them in hand.
    """
    version = npy.read_magic(io.BytesIO(stream.read(npy.MAGIC_LEN)))
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    length = stream.read(2 * version[0])
    count = int.from_bytes(length, "little")
    if count > MAX_HEADER:
        raise ValueError(f"a header of {count} bytes, more than {MAX_HEADER}")
    return read(io.BytesIO(length + stream.read(count)))


class _Refused(ValueError):
    """A sound .npz file with something in it that is not data."""


def _read_members(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The wanted arrays, of at most MAX_BYTES together."""
    members = {
        info.filename.removesuffix(".npy"): info
        for info in archive.infolist()
        if info.filename.endswith(".npy")
    }
    room, arrays = MAX_BYTES, {}
    for name, key in _wanted(list(members)).items():
        arrays[key] = _read_member(archive, members[name], room, key)
        room -= arrays[key].nbytes
    return arrays


def _wanted(names: list[str]) -> dict[str, str]:
    """Which members are read, and what they are called here."""
    if {"x_train", "x_test"} <= set(names):
        wanted = [name for name in TRAIN_TEST if name in names]
        if len(wanted) == 3:
            raise _Refused("expected y_train and y_test, or neither, got one of them")
        return {name: name for name in wanted}
    if "x" in names:
        return {name: name for name in ("x", "y") if name in names}
    if len(names) == 1:
        return {names[0]: "x"}
    some = ", ".join(sorted(names)[:8]) or "none"
    raise _Refused(
        f"expected the arrays x (and y), or {', '.join(TRAIN_TEST)}, or a single one, got {some}"
    )


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, room: int, key: str
) -> np.ndarray:
    """One array of an .npz file, of at most `room` bytes."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"{info.filename}: packed in a way that NumPy does not use")
    with archive.open(info) as stream:
        kinds = "fiubU" if key.startswith("y") else "fiub"
        try:
            header = read_header(cast(BinaryIO, stream), info.file_size, kinds)
        except ValueError as error:
            raise _Refused(f"{info.filename}: {error}") from None
        if header.n_bytes > room:
            raise _Refused(
                f"{info.filename}: more than {MAX_BYTES} bytes unpacked; save it as .npy, which "
                "is read from disk in parts"
            )
        data = read_up_to(cast(BinaryIO, stream), header.n_bytes)
    if len(data) < header.n_bytes:
        raise _Refused(f"{info.filename}: ends after {len(data)} of {header.n_bytes} bytes")
    return np.frombuffer(data, header.dtype).reshape(header.shape, order=header.order)  # type: ignore[call-overload]
