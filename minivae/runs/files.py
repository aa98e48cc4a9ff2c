"""Writing files so that they appear whole or not at all, and JSON that notices any change."""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = 2
"""Of the run folder; a run of another format is refused."""

SEAL = "sha256"
MAX_JSON = 2**26  # bytes; the history of a million epochs


def write(path: Path, content: bytes | str) -> None:
    """Write a file so that it appears whole or not at all, also after a power cut."""
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON that a person can read."""
    write(path, json.dumps(value, indent=2) + "\n")


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Write ``value`` as JSON together with its format and the SHA-256 of all the rest."""
    described = {"format": FORMAT, **value}
    write_json(path, {**described, SEAL: _digest(described)})


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` has written.

    Raises  ValueError, one line, if the file is missing, of another format, or changed in any way.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("no regular file")
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"more than {MAX_JSON} bytes")
        raw = path.read_bytes()
        value = json.loads(raw.decode())
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (NotADirectoryError, IsADirectoryError):
        raise ValueError(f"{path.parent} is not a run folder") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({one_line(error)})") from None
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise ValueError(
            f"{path}: expected a run of format {FORMAT}, got {one_line(repr(found), 50)}"
        )
    seal = value.pop(SEAL, None)
    if seal != _digest(value):
        raise ValueError(f"{path}: damaged or edited, its checksum is another")
    return value


def one_line(error: object, limit: int = 300) -> str:
    """What an error says, in one line that is not too long; its kind if it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 4] + " ..."


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure, in the format that the file's name ends with."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.removeprefix(".") or "png", dpi=130)
    write(path, buffer.getvalue())


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Let no other process train in this folder; the claim ends with the process, however it ends.

    Raises  ValueError if another process has it.  Does nothing where files cannot be locked.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ValueError(f"{folder}: another process is training this run") from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def _digest(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a new name as lasting as the file; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
