"""The way back: a model, or a whole training, from its run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Device, dtype_name, like, to_numpy
from minivae.datasets import Dataset, prepared
from minivae.models import MODELS
from minivae.models.base import Model
from minivae.optimizers import OPTIMIZERS, Optimizer
from minivae.runs.checkpoint import FILE, Expected, Keeper, read_arrays
from minivae.runs.files import one_line, read_sealed
from minivae.training import History

NUMBER = (int, float)
NOTHING = type(None)
TRAINING: dict[str, tuple[type, ...]] = {
    "epochs": (int,), "batch_size": (int,), "seed": (int,), "optimizer": (dict,),
    "clip": (*NUMBER, NOTHING), "patience": (int, NOTHING),
    "learning_rate_schedule": (str,), "kl_schedule": (str,),
}  # fmt: skip
CARD: dict[str, tuple[type, ...]] = {
    "device": (str,), "data_sha256": (str,), "blas_kernel": (str,), "blas_threads": (int, NOTHING),
    "resumed": (list,),
}  # fmt: skip


class Training(NamedTuple):
    """A training run as it was after an epoch: what `minivae.train` needs to go on."""

    model: Model
    optimizer: Optimizer
    history: History
    keeper: Keeper
    config: dict[str, Any]
    card: dict[str, Any]
    state: str


def load_run(
    folder: str | Path, device: Device = "cpu", checkpoint: str | None = None
) -> tuple[Model, dict[str, Any]]:
    """The model of a run folder, and its configuration.

    checkpoint  "last" or "best": after which epoch.  None is the best for a run that was to stop
                early (patience), otherwise the last.
    Raises      ValueError, one line that says what is wrong with the folder.
    """
    if checkpoint not in (None, "last", "best"):
        raise ValueError(f"expected checkpoint 'last' or 'best', got {checkpoint!r}")
    folder = Path(folder)
    config, progress = _read_config(folder), _read_progress(folder)
    if checkpoint == "best" and progress["best"] is None:
        raise ValueError(f"{folder}: no epoch is the best; it watched no held-out data")
    early = config.get("training", {}).get("patience") is not None
    wanted = checkpoint or ("best" if early and progress["best"] is not None else "last")
    entry = progress[wanted]
    model = _model(folder, config, entry, device)
    arrays = read_arrays(folder, entry, _expected(model, entry))
    theta = model.parameters.theta
    theta[...] = like(_vector(model, arrays, ""), theta)
    return model, config


def load_training(folder: str | Path, device: Device = "cpu") -> Training:
    """Everything about a run, to go on from its last checkpoint.

    Raises  ValueError, one line, for a damaged folder or one without a training.
    """
    folder = Path(folder)
    config, progress = _read_config(folder), _read_progress(folder)
    card = read_card(folder)
    asked = config.get("training", {})
    last, best = progress["last"], progress["best"]
    model = _model(folder, config, last, device)
    options = {
        name: NUMBER if isinstance(default, float) else (type(default),)
        for name, default in model.OPTIONS.items()
        if name in asked
    }
    _require_fields(folder / "config.json", asked, TRAINING | options)
    arrays = read_arrays(folder, last, _expected(model, last))
    theta = model.parameters.theta
    theta[...] = like(_vector(model, arrays, ""), theta)
    try:
        optimizer = make_optimizer(config["training"]["optimizer"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder / 'config.json'}: not a run's optimizer ({one_line(error)})"
        ) from None
    state: dict[str, Any] = dict(last["counts"])
    for name in last["moments"]:
        state[name] = like(_vector(model, arrays, f"{name}:"), theta)
    try:
        optimizer.restore(state, theta)
    except ValueError as error:
        raise ValueError(f"{folder / last['file']}: {one_line(error)}") from None
    history = History(progress["history"])
    if best is not None:
        found = read_arrays(folder, best, _expected(model, best))
        history.best_theta = like(_vector(model, found, ""), theta)
    keeper = Keeper(folder, model, optimizer, history)
    keeper.last, keeper.best = last, best
    return Training(model, optimizer, history, keeper, config, card, progress["state"])


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a run.

    Raises  ValueError, one line, if it is missing or damaged.
    """
    card = read_sealed(folder / "card.json")
    _require_fields(folder / "card.json", card, CARD)
    return card


def make_optimizer(settings: Mapping[str, Any]) -> Optimizer:
    """The optimiser of a name in `OPTIMIZERS` and its constants, as its `settings` says them."""
    constants = {name: value for name, value in settings.items() if name != "name"}
    return OPTIMIZERS[settings["name"]](**constants)


def load_data(config: Mapping[str, Any], folder: str | Path | None = None) -> Dataset:
    """The data of a run as it used them: split, binarised and parted in the same way.

    folder  of the run; its card says what the data were.  A model that was saved without a card, or
            no folder: whatever stands under that name now.
    Raises  ValueError, one line, where the data of the card were others (SHA-256).
    """
    if "data" not in config:
        raise ValueError("the run's config.json does not say which data it had")
    data, told = config["data"], config.get("architecture", {}).get("condition")
    dataset = prepared(data["name"], data["validation"], data["binarisation"], told)
    carded = folder is not None and Path(folder, "card.json").exists()
    if carded and dataset.sha256 != read_card(Path(str(folder)))["data_sha256"]:
        raise ValueError(
            f"{folder}: the data are not those it began with (SHA-256): {data['name']} was changed "
            "since"
        )
    return dataset


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config = read_sealed(path)
    data = config.get("data", {"name": "digits", "validation": None, "binarisation": "none"})
    if not (
        isinstance(data, dict)
        and isinstance(data.get("name"), str)
        and isinstance(data.get("binarisation"), str)
        and type(data.get("validation", 0.5)) in (int, type(None))
    ):
        raise ValueError(f"{path}: expected data with name, validation and binarisation")
    if not isinstance(config.get("training", {}), dict):
        raise ValueError(f"{path}: expected training to be an object")
    return config


def _read_progress(folder: Path) -> dict[str, Any]:
    path = folder / "checkpoint.json"
    progress = read_sealed(path)
    rows: Any = progress.get("history")
    whole = isinstance(rows, list) and all(
        isinstance(row, dict)
        and row.keys() == rows[0].keys() >= {"epoch", "seconds"}
        and all(type(value) in NUMBER and abs(value) < 1e300 for value in row.values())
        for row in rows
    )
    if not (whole and _is_entry(progress.get("last")) and isinstance(progress.get("state"), str)):
        raise ValueError(f"{path}: not the progress of a run")
    if "best" not in progress or not (progress["best"] is None or _is_entry(progress["best"])):
        raise ValueError(f"{path}: not the progress of a run")
    in_order = all(row["epoch"] == i for i, row in enumerate(rows, 1))
    if not in_order or progress["last"]["epoch"] != len(rows):
        raise ValueError(f"{path}: its history does not lead to its last epoch")
    best = History(rows).best
    if progress["best"] is not None and progress["best"]["epoch"] != (best or {}).get("epoch"):
        raise ValueError(f"{path}: its best epoch is not the best of its history")
    return progress


def _require_fields(path: Path, value: dict, fields: dict[str, tuple[type, ...]]) -> None:
    for name, kinds in fields.items():
        if name not in value or type(value[name]) not in kinds:
            wanted = " or ".join("null" if kind is NOTHING else kind.__name__ for kind in kinds)
            got = one_line(repr(value.get(name)), 50)
            raise ValueError(f"{path}: expected {name} ({wanted}), got {got}")


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("file"), str)
        and FILE.fullmatch(entry["file"]) is not None
        and type(entry.get("bytes")) is int
        and type(entry.get("epoch")) is int
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("counts"), dict)
        and all(type(count) is int for count in entry["counts"].values())
        and isinstance(entry.get("moments"), list)
        and len(entry["moments"]) <= 4
        and all(isinstance(name, str) for name in entry["moments"])
    )


def _model(
    folder: Path, config: Mapping[str, Any], entry: Mapping[str, Any], device: Device
) -> Model:
    """The model of a configuration; one that asks for more than its checkpoint has is refused."""
    path = folder / entry["file"]
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        kind = MODELS[config["model"]]
        architecture = kind.Architecture(**config["architecture"])
        # A wrong number must not fill the memory before it is found to be wrong.
        if 4 * architecture.fewest_weights() > size:
            raise ValueError("asks for more parameters than the checkpoint holds")
        return kind(architecture, dtype=config["dtype"], device=device)
    except (KeyError, TypeError, ValueError) as error:
        path = folder / "config.json"
        raise ValueError(f"{path}: not a run's configuration ({one_line(error)})") from None


def _expected(model: Model, entry: Mapping[str, Any]) -> Expected:
    """The arrays of a checkpoint: the parameters, and the optimiser's moments if it has them."""
    views = model.parameters.views(model.parameters.theta)
    return {
        prefix + name: (tuple(view.shape), dtype_name(view))
        for prefix in ("", *(f"{moment}:" for moment in entry["moments"]))
        for name, view in views.items()
    }


def _vector(model: Model, arrays: Mapping[str, np.ndarray], prefix: str) -> np.ndarray:
    """The arrays of one prefix as one vector (P,), in the order of theta."""
    names = model.parameters.views(to_numpy(model.parameters.theta))
    return np.concatenate([arrays[prefix + name].ravel() for name in names])
