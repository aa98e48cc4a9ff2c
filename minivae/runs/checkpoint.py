"""The state of a training run: enough to go on as if nothing had happened.

    checkpoints/last-N.npz   parameters after epoch N, and the optimiser's moments
    checkpoints/best-N.npz   parameters after the best epoch so far
    checkpoint.json          which of these files count, their sizes and checksums, the history

The arrays are written first, under a name of their own; then checkpoint.json is replaced, in one
step; then what it no longer names is removed.  Whenever the process dies, checkpoint.json names
files that are whole.  Schedules and random numbers need no place here: they are functions of the
epoch.
"""

import hashlib
import io
import re
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minivae.arrays import Array, dtype_name, to_numpy
from minivae.models.base import Model
from minivae.optimizers import Optimizer
from minivae.runs.files import one_line, write, write_sealed
from minivae.runs.folder import write_history
from minivae.training import History, Row

FILE = re.compile(r"checkpoints/(last|best)-\d{1,15}\.npz")
SECONDS = 1.0  # between two checkpoints, unless an epoch takes longer
Expected = dict[str, tuple[tuple[int, ...], str]]  # name -> shape and dtype


class Keeper:
    """Keeps the state of a training run in its folder, at most once in `SECONDS`.

    history  the one that the training extends: the keeper reads its rows and its best parameters.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        optimizer: Optimizer | None,
        history: History,
    ) -> None:
        self.folder, self.model, self.optimizer = folder, model, optimizer
        self.history, self.written = history, 0.0
        self.last: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

    def after_epoch(self, row: Row) -> None:
        """Write, unless that has just been done."""
        if time.monotonic() - self.written >= SECONDS:
            self.write("training")

    def write(self, state: str) -> None:
        """Write everything.

        state  "training", "finished" or "stopped early".
        """
        rows, parameters = self.history.rows, self.model.parameters
        epoch = int(rows[-1]["epoch"]) if rows else 0
        arrays = _named("", parameters, parameters.theta)
        counts: dict[str, int] = {}
        moments: list[str] = []
        for name, value in ({} if self.optimizer is None else self.optimizer.state()).items():
            if isinstance(value, int):
                counts[name] = value
            else:
                moments.append(name)
                arrays |= _named(f"{name}:", parameters, value)
        self.last = self._write_arrays("last", epoch, arrays)
        self.last |= {"counts": counts, "moments": moments}
        self._write_best()
        self.mark(state)
        if rows:
            write_history(self.folder / "history.csv", rows)
        self._tidy()
        self.written = time.monotonic()

    def mark(self, state: str) -> None:
        """Say in checkpoint.json that the run is in this state, with the files it has."""
        progress = {
            "state": state, "last": self.last, "best": self.best, "history": self.history.rows,
        }  # fmt: skip
        write_sealed(self.folder / "checkpoint.json", progress)

    def _write_best(self) -> None:
        best, theta = self.history.best, self.history.best_theta
        if best is None or theta is None:
            return
        epoch = int(best["epoch"])
        if self.best is None or self.best["epoch"] != epoch:
            arrays = _named("", self.model.parameters, theta)
            self.best = self._write_arrays("best", epoch, arrays) | {"counts": {}, "moments": []}

    def _write_arrays(self, name: str, epoch: int, arrays: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        file = f"checkpoints/{name}-{epoch}.npz"
        (self.folder / "checkpoints").mkdir(exist_ok=True)
        write(self.folder / file, content)
        digest = hashlib.sha256(content).hexdigest()
        return {"epoch": epoch, "file": file, "bytes": len(content), "sha256": digest}

    def _tidy(self) -> None:
        """Remove what checkpoint.json does not name, from this process or from one that died."""
        wanted = {entry["file"] for entry in (self.last, self.best) if entry}
        for path in (self.folder / "checkpoints").iterdir():
            file = f"checkpoints/{path.name}"
            if file not in wanted and FILE.fullmatch(file):
                path.unlink(missing_ok=True)
        for path in self.folder.rglob(".*.part"):
            path.unlink(missing_ok=True)


def save(
    folder: Path,
    model: Model,
    config: Mapping[str, Any],
    optimizer: Optimizer | None = None,
    history: History | None = None,
) -> None:
    """Write config.json and a checkpoint of a model that is trained, or not yet."""
    write_config(folder, model, config)
    Keeper(folder, model, optimizer, history or History()).write("finished")


def write_config(folder: Path, model: Model, config: Mapping[str, Any]) -> None:
    """Write config.json: what was asked for, and the model's architecture."""
    described = {
        "architecture": asdict(model.architecture),
        "dtype": dtype_name(model.parameters.theta),
        **config,
    }
    write_sealed(folder / "config.json", described)


def read_arrays(folder: Path, entry: Mapping[str, Any], expected: Expected) -> dict[str, Any]:
    """The arrays of a checkpoint's file, after everything about them was verified.

    entry     of checkpoint.json: file, bytes, sha256.
    expected  the shape and the dtype of every array that has to be there; no other may be.
    Raises    ValueError, one line that names the file.
    """
    path = folder / entry["file"]
    try:
        size = path.stat().st_size
        needed = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in
                     expected.values())  # fmt: skip
        if size != entry["bytes"] or not needed <= size <= needed + 2048 * (len(expected) + 1):
            raise ValueError(f"{size} bytes, where {entry['bytes']} were written for {needed}")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ValueError("its checksum is another than when it was written")
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            # stored, not compressed: then no member is larger than the file
            if any(member.compress_type != zipfile.ZIP_STORED for member in file.infolist()):
                raise ValueError("compressed, as a checkpoint never is")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    # zipfile and NumPy's header parser raise many things on damaged bytes, all of which mean this
    except Exception as error:
        raise ValueError(f"{path}: cannot be read ({one_line(error)})") from None
    if set(arrays) != set(expected):
        odd = ", ".join(sorted(set(arrays) ^ set(expected))[:3])
        raise ValueError(f"{path}: does not fit config.json; missing or unknown: {odd}")
    for name, (shape, dtype) in expected.items():
        got = arrays[name]
        if not isinstance(got, np.ndarray) or got.shape != shape or got.dtype.name != dtype:
            kind = f"{got.shape} {got.dtype}" if isinstance(got, np.ndarray) else "no array"
            raise ValueError(f"{path}: expected {name} {shape} {dtype}, got {kind}")
        if not np.isfinite(got).all():
            raise ValueError(f"{path}: {name} holds a nan or an infinity")
    return arrays


def _named(prefix: str, parameters: Any, vector: Array) -> dict[str, np.ndarray]:
    return {prefix + name: view for name, view in parameters.views(to_numpy(vector)).items()}
