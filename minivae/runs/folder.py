"""A new run folder, the card that says what it ran on, and its history as a table."""

import csv
import io
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import minivae
from minivae import blas
from minivae.arrays import cores
from minivae.datasets import Dataset
from minivae.runs.files import write


def create(out: str | None, name: str) -> Path:
    """A new, empty run folder: ``out``, or the first free ``runs/name-1``, ``runs/name-2``, ...

    Raises  ValueError if ``out`` exists and is not an empty folder.
    """
    if out is not None:
        folder = Path(out)
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(f"{folder} exists already: a run never overwrites another")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        number = 1
        while True:
            folder = Path("runs") / f"{name}-{number}"
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
    for part in ("checkpoints", "pictures"):
        (folder / part).mkdir()
    return folder


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of a history as CSV, every digit kept."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write(path, text.getvalue())


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a history."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def card(dataset: Dataset, seed: int, device: str, threads: int | None) -> dict[str, Any]:
    """What a run depends on besides its configuration.

    threads  of BLAS that the training uses; None for all.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "device": device,
        "data_sha256": dataset.sha256,
        "minivae": minivae.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "blas_threads": threads or blas.loaded_threads(),
        "blas_kernel": blas.loaded_kernel(),
        "resumed": [],
    }


EQUAL = ("minivae", "numpy", "device", "processor", "blas_threads", "blas_kernel")
"""What must be the same for a resumed run to be equal to the bit.  The number of cores need not."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two cards say differently about what the bits of a result depend on."""
    return [
        f"{name} was {old.get(name)}, is {new[name]}"
        for name in EQUAL
        if old.get(name) != new[name]
    ]


def _processor() -> str:
    for line in blas.cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
