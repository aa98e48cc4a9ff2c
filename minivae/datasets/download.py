"""The files of MNIST from the internet into a cache folder, once, and only if they are right.

A file is downloaded packed, as the mirrors have it, under the name NAME.gz.part. It gets its own
name, in one step, after its unpacked bytes have the SHA-256 of the original: whatever happens
before, a download that was killed or cut off never counts as a file. What is there of a .part is
not asked for again (the Range header of HTTP), whichever mirror goes on with it. Should two mirrors
pack the same file differently, the SHA-256 tells, and the download starts anew.
"""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

VARIABLE = "MINIVAE_CACHE"
MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TIMEOUT = 20.0  # seconds without a sign of life
_PIECE = 2**16
_GZIP = 16 + zlib.MAX_WBITS  # zlib's word for a gzip header and its checksum


def cache_folder() -> Path:
    """Where downloads are kept: MINIVAE_CACHE, or the system's folder for such things."""
    if folder := os.environ.get(VARIABLE, ""):
        return Path(folder)
    import platformdirs

    return platformdirs.user_cache_path("minivae", appauthor=False)


def fetch(folder: Path, name: str, n_bytes: int, sha256: str) -> Path:
    """Make sure that ``folder`` holds the file ``name`` or ``name.gz``, and return its path.

    n_bytes, sha256  of the unpacked file.
    Raises    ConnectionError, one line that says why each mirror failed and what else to do.
    """
    packed = folder / f"{name}.gz"
    for path in (folder / name, packed):
        if path.is_file():
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):  # of two processes, the second finds the work done
        if not packed.is_file():
            _from_mirrors(packed, n_bytes, sha256)
    return packed


def _from_mirrors(packed: Path, n_bytes: int, sha256: str) -> None:
    """The file from the first mirror that has it."""
    part, reasons = packed.with_name(packed.name + ".part"), []
    for mirror in MIRRORS:
        begun = part.is_file()
        reason = _attempt(mirror, part, packed, n_bytes, sha256)
        if reason and begun and not part.is_file():
            # What began elsewhere and went on here does not fit together: all of it from here.
            reason = _attempt(mirror, part, packed, n_bytes, sha256)
        if not reason:
            return
        reasons.append(f"{mirror} ({reason})")
    raise ConnectionError(
        f"{packed.name} could not be downloaded: {'; '.join(reasons) or 'there is no mirror'}. "
        "Try again later, or set MINIVAE_DATA to a directory whose folder mnist holds a copy"
    )


def _attempt(mirror: str, part: Path, packed: Path, n_bytes: int, sha256: str) -> str:
    """Complete and verify the file; returns why that failed, or nothing."""
    try:
        _download(mirror + packed.name, part, n_bytes)
        _verify(part, n_bytes, sha256)
        os.replace(part, packed)
    except _Wrong as error:
        part.unlink(missing_ok=True)
        return str(error)
    # OSError: no connection, a timeout, a status that is no success; ValueError: a senseless header
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _reason(error)
    return ""


class _Wrong(Exception):
    """What was downloaded is not the file."""


def _download(url: str, part: Path, n_bytes: int) -> None:
    """Complete the file ``part`` from ``url``.

    Raises    _Wrong if the file is too long; OSError or HTTPException if it did not come whole.
    """
    limit = n_bytes + n_bytes // 100 + 1000  # packing never adds more
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "minivae"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if have and error.code == 416:  # nothing is missing: its checksum will tell
                return
            raise
    with answer:
        goes_on = answer.status == 206 and _start(answer) == have
        if have and answer.status == 206 and not goes_on:
            raise OSError("the server sent another part than was asked for")
        have = have if goes_on else 0  # 200: the server does not know Range, and begins anew
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if total is not None and total > limit:
            raise _Wrong(f"{total} bytes, expected at most {limit}")
        with part.open("ab" if goes_on else "wb") as file:
            have = _copy(answer, file, have, total, limit)
    if total is not None and have < total:
        raise OSError(f"ended after {have} of {total} bytes")


def _start(answer: Any) -> int:
    """Where the part begins that the server sends; -1 if it does not say."""
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _copy(answer: Any, file: IO[bytes], have: int, total: int | None, limit: int) -> int:
    """Bytes from the server to the file, with a bar; returns how many there are then."""
    name = Path(file.name).name.removesuffix(".part")
    from tqdm import tqdm  # only when there is something to show: importing minivae is quick

    with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        while piece := answer.read1(_PIECE):  # what is there: read would lose it on a timeout
            have += len(piece)
            if have > limit:
                raise _Wrong(f"more than {limit} bytes")
            file.write(piece)
            bar.update(len(piece))
        file.flush()
        os.fsync(file.fileno())
    return have


def _verify(packed: Path, n_bytes: int, sha256: str) -> None:
    """Unpack, keeping nothing, and compare.

    Raises    _Wrong unless this is a whole gzip file of exactly these bytes.
    """
    digest, unpacker, count = hashlib.sha256(), zlib.decompressobj(_GZIP), 0
    with packed.open("rb") as file:
        try:
            while (piece := file.read(_PIECE)) and count <= n_bytes:
                while piece and count <= n_bytes:
                    data = unpacker.decompress(piece, _PIECE)
                    piece, count = unpacker.unconsumed_tail, count + len(data)
                    digest.update(data)
        except zlib.error as error:
            raise _Wrong(f"not a sound gzip file: {error}") from None
    if not unpacker.eof or unpacker.unused_data or count != n_bytes:
        raise _Wrong(f"expected a gzip file of {n_bytes} unpacked bytes, got another")
    if digest.hexdigest() != sha256:
        raise _Wrong(f"SHA-256 {digest.hexdigest()[:12]}..., expected {sha256[:12]}...")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time downloads into a folder; the lock ends with the process that holds it.

    Where there are no such locks (on Windows, on some network drives) only the checksum protects.
    """
    with (folder / ".lock").open("wb") as file:
        with suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    code = f"HTTP {error.code} " if isinstance(error, urllib.error.HTTPError) else ""
    return " ".join(f"{code}{reason}".split()) or type(error).__name__
