"""What the commands share that work on a run folder: their run, their data, where results go."""

import argparse
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from minivae import runs, walks
from minivae.datasets import Dataset, binarise
from minivae.datasets.binarisation import SEEDS
from minivae.models import MADE, VQVAE
from minivae.models.base import Model

PICTURES = (".png", ".svg")
SAMPLES, PIXELS, PAIRS, DRAWS = 20, 21, 22, 23
"""Purposes of generators: codes and pixels of `sample`, pairs and draws of `interpolate`."""


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """The run folder, which every one of these commands begins with, and which of its models."""
    parser.add_argument("run", metavar="RUN", help="a run folder that `minivae train` wrote")
    parser.add_argument("--checkpoint", choices=["best", "last"],
        help="the model after the epoch with the best held-out ELBO, or after the last; default: "
        "best for a run that was to stop early, otherwise last")  # fmt: skip


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """--seed."""
    parser.add_argument("--seed", type=int, default=0, help=f"of {what}; default: 0")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")


def add_out(parser: argparse.ArgumentParser, kinds: str, default: str | None = None) -> None:
    """--out and --force, with one policy: a file that is named is not lost without --force."""
    add = parser.add_argument
    rest = "must be given" if default is None else f"default: {default}"
    add("--out", metavar="FILE", help=f"{kinds}; {rest}")
    add("--force", action="store_true",
        help="replace FILE if it exists; otherwise that is refused")  # fmt: skip


def add_gif(parser: argparse.ArgumentParser) -> None:
    """--gif, for pictures that can move."""
    parser.add_argument("--gif", action="store_true",
        help="an animation, there and back for ever; --out FILE.gif means it too")  # fmt: skip


def load(
    args: argparse.Namespace, codes: bool = True, told: bool = False, numbers: bool = False
) -> tuple[Model, dict[str, Any]]:
    """The model of the run, and its configuration.

    codes    whether the command asks for latent codes, which not every model has.
    told     whether the command can tell a conditional model what it is given.
    numbers  whether the command can take the codes of a VQ-VAE, which are numbers of entries.
    Raises   ValueError, one line, for a model that the command cannot take.
    """
    if getattr(args, "seed", 0) < 0:
        raise ValueError(f"expected --seed of at least 0, got {args.seed}")
    model, config = runs.load_run(args.run, args.device, args.checkpoint)
    if codes and isinstance(model, MADE):
        raise ValueError(
            f"{args.run}: a made has no latent codes: see minivae evaluate, sample and export"
        )
    if codes and not numbers and isinstance(model, VQVAE):
        raise ValueError(
            f"{args.run}: the codes of a {config['model']} are numbers of codebook entries, with "
            "no q(z|x) and nothing between them: see minivae evaluate, sample, reconstruct, encode"
        )
    if model.conditional and not told:
        raise ValueError(
            f"{args.run}: its model is told a condition y ({model.architecture.condition}) and has "
            "no codes of images alone: see minivae evaluate, sample and export"
        )
    return model, config


def load_data(model: Model, config: dict[str, Any], run: str) -> Dataset:
    """The data of the run in the folder ``run``, held-out splits as they were binarised there.

    Raises  ValueError if the data are not those that the run had, or if the model is not of images
            of this size: somebody changed the file, or config.json.
    """
    dataset = runs.load_data(config, run)
    D = model.architecture.n_features
    if dataset.test.x.shape[1] != D:
        raise ValueError(
            f"the run's model has {D} pixels, but images of {dataset.name} have "
            f"{dataset.test.x.shape[1]}: its config.json was changed"
        )
    return dataset


def black_and_white(x: np.ndarray) -> bool:
    """Whether all pixels are 0 or 1: what a Bernoulli says of them is then a probability."""
    return bool(((x == 0.0) | (x == 1.0)).all())


def is_image(dataset: Dataset) -> bool:
    """Whether the examples are images, and not rows of a table."""
    return min(dataset.image_shape) > 1


def require_images(dataset: Dataset, instead: str) -> None:
    """Raise a ValueError if there is nothing to draw; it says what to do ``instead``."""
    if not is_image(dataset):
        D = dataset.test.x.shape[1]
        raise ValueError(f"{dataset.name} has rows of {D} numbers, no images to show: {instead}")


def encoded(model: Model, dataset: Dataset, config: dict[str, Any], part: str) -> walks.Codes:
    """The codes of a split, black and white if the model saw it so.

    Training images that were drawn anew at every use are drawn here as in binarisation "fixed":
    once, with the same seed for everyone.
    """
    x = getattr(dataset, part).x
    if part != "train" or config["data"]["binarisation"] != "new":
        return walks.codes(model, x)
    rng = np.random.default_rng(SEEDS["train"])  # from chunk to chunk: as if all were drawn at once
    return walks.codes(model, x, lambda rows: binarise(rows, "fixed", rng))


def destination(
    args: argparse.Namespace, name: str | None, kinds: tuple[str, ...] = PICTURES
) -> Path:
    """The file that --out names, or RUN/pictures/``name``; judged before any work is done.

    The pictures of a run can be made again by the command that they are named after, so those are
    replaced.  A file that somebody named is not, unless --force says so.

    Raises  ValueError for another ending than ``kinds``, a file that exists, a missing folder.
    """
    if args.out is None and name is not None:
        path = Path(args.run, "pictures", name)
    elif args.out is None:
        raise ValueError(f"expected --out FILE, which ends in {_either(kinds)}")
    else:
        path = Path(args.out)
        if path.suffix.lower() not in kinds:
            raise ValueError(f"--out: expected a file that ends in {_either(kinds)}, got {path}")
        if os.path.lexists(path) and not args.force:
            raise ValueError(f"{path} exists already: --force replaces it")
        if not path.parent.is_dir():
            raise ValueError(f"{path}: there is no folder {path.parent}")
    if os.path.lexists(path) and not path.is_file():
        raise ValueError(f"{path} is no regular file")
    return path


def animated(args: argparse.Namespace, name: str) -> Path:
    """`destination` of a picture that --gif, or the ending .gif, sets in motion."""
    if args.gif and args.out is not None and Path(args.out).suffix.lower() != ".gif":
        raise ValueError(f"--gif: expected --out with a file that ends in .gif, got {args.out}")
    return destination(args, f"{name}.gif" if args.gif else f"{name}.png", (*PICTURES, ".gif"))


def write(path: Path, content: bytes) -> None:
    """Write a result, whole or not at all, and say so.

    Raises  ValueError, one line that names the file and the reason.
    """
    try:
        path.parent.mkdir(exist_ok=True)  # somebody may have removed RUN/pictures
        runs.write(path, content)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error})") from None
    print(f"wrote {path}")


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array as .npy, and say its shape."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    print(f"array {array.shape} {array.dtype}")
    write(path, buffer.getvalue())


def write_picture(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure as the PNG or the SVG that the file's name asks for."""
    import matplotlib

    kind, buffer = path.suffix.lower()[1:], io.BytesIO()
    # No date and no random names inside: the same picture is the same file.
    with matplotlib.rc_context({"svg.hashsalt": "minivae"}):
        figure.savefig(
            buffer, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None
        )
    write(path, buffer.getvalue())


def within(name: str, value: int, low: int, high: int, what: str) -> int:
    """``value`` itself, if it lies between both ends; else a ValueError that names them."""
    if not low <= value <= high:
        raise ValueError(f"expected {name} from {low} to {high:,} ({what}), got {value}")
    return value


def _either(kinds: tuple[str, ...]) -> str:
    return " or ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
