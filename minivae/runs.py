"""The run folder: all that a training run leaves behind, and the way back from it.

    config.json     what was asked for: model, data, training
    card.json       what it ran on: versions, threads, BLAS kernel, the data's SHA-256
    history.csv     one row for each epoch
    model.npz       the parameters by name; no pickle, so loading cannot run code
    pictures/*.png

A folder is made anew and never overwrites another; every file appears whole or not at all.
"""

import csv
import io
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import minivae
from minivae import blas
from minivae.arrays import Device, cores, dtype_name, like, to_numpy
from minivae.datasets import Dataset, binarise_splits, load
from minivae.models import VAE, Architecture, Autoencoder
from minivae.models.base import Model

FORMAT = 1
MODELS: dict[str, type[Model]] = {"vae": VAE, "ae": Autoencoder}


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
    (folder / "pictures").mkdir()
    return folder


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
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON that a person can read."""
    write(path, json.dumps(value, indent=2) + "\n")


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write(path, buffer.getvalue())


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of a history as CSV, every digit kept."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write(path, text.getvalue())


class Log:
    """The history of a run, written to its file while it grows, at most once a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.written = path, list[dict[str, float]](), 0.0

    def add(self, row: dict[str, float]) -> None:
        """Take the row of an epoch."""
        self.rows.append(row)
        if time.monotonic() - self.written > 1.0:
            self.write()

    def write(self) -> None:
        """Write all rows."""
        write_history(self.path, self.rows)
        self.written = time.monotonic()


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
        "cores": cores(),
        "blas_threads": threads or blas.loaded_threads(),
        "blas_kernel": blas.loaded_kernel(),
    }


def save(folder: Path, model: Model, config: Mapping[str, Any]) -> None:
    """Write config.json and model.npz."""
    described = {
        "format": FORMAT,
        "architecture": asdict(model.architecture),
        "dtype": dtype_name(model.parameters.theta),
        **config,
    }
    write_json(folder / "config.json", described)
    buffer = io.BytesIO()
    np.savez(buffer, **model.parameters.views(to_numpy(model.parameters.theta)))
    write(folder / "model.npz", buffer.getvalue())


def load_run(folder: str | Path, device: Device = "cpu") -> tuple[Model, dict[str, Any]]:
    """The model of a run folder, and its configuration.

    Raises  ValueError, one line that says what is wrong with the folder.
    """
    folder = Path(folder)
    config = _read_config(folder / "config.json")
    arrays = _read_arrays(folder / "model.npz")
    try:
        architecture = Architecture(**config["architecture"])
        widths = (architecture.n_features, *architecture.hidden, architecture.latent)
        # A wrong number must not fill the memory before it is found to be wrong.
        if sum(a * b for a, b in pairwise(widths)) > sum(a.size for a in arrays.values()):
            raise ValueError("asks for more parameters than model.npz holds")
        model = MODELS[config["model"]](architecture, dtype=config["dtype"], device=device)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: not a run's configuration ({error})") from None
    _fill(model, arrays, folder / "model.npz")
    return model, config


def load_data(config: Mapping[str, Any]) -> Dataset:
    """The data of a run as it used them: split and binarised in the same way."""
    data = config["data"]
    dataset = load(data["name"])
    if data["validation"] is not None:
        dataset = dataset.with_validation(data["validation"])
    return binarise_splits(dataset, data["binarisation"])


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT or isinstance(found, bool):
        raise ValueError(f"{path}: expected a run of format {FORMAT}, got {found!r}")
    data = config.get("data", {"name": "digits", "validation": None, "binarisation": "none"})
    whole = isinstance(data, dict) and isinstance(data.get("name"), str)
    if not (
        whole
        and isinstance(data.get("binarisation"), str)
        and type(data.get("validation", 0.5)) in (int, type(None))
    ):
        raise ValueError(f"{path}: expected data with name, validation and binarisation")
    return config


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; the zip's checksums are verified on the way."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    # zipfile and NumPy's header parser raise many things on damaged bytes, all of which mean this
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: cannot be read ({reason})") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise ValueError(f"{path}: expected arrays of real numbers only, but not so {name}")
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds a nan or an infinity")
    return arrays


def _fill(model: Model, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Copy the arrays of a file into the model, after names, shapes and dtypes agree."""
    views = model.parameters.views(model.parameters.theta)
    if set(arrays) != set(views):
        odd = ", ".join(sorted(set(arrays) ^ set(views))[:3])
        raise ValueError(f"{path}: does not fit config.json; missing or unknown: {odd}")
    for name, view in views.items():
        got, wanted = arrays[name], dtype_name(view)
        if got.shape != tuple(view.shape) or got.dtype.name != wanted:
            raise ValueError(
                f"{path}: expected {name} {tuple(view.shape)} {wanted}, got {got.shape} {got.dtype}"
            )
        view[...] = like(got, view)
