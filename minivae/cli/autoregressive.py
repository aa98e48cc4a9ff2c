"""What `minivae train`, `evaluate` and `sample` do for a MADE."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minivae.arrays import generator, to_numpy
from minivae.cli import _common
from minivae.datasets import Dataset
from minivae.evaluation import Estimate
from minivae.models import MADE
from minivae.training import Row

DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": [200], "epochs": 300, "batch_size": 64},
    "mnist": {"hidden": [500], "epochs": 20, "batch_size": 100},
}
"""Where they differ from those of the models with latents."""

OPTIONS = {
    "order": "raster", "degrees": "even", "direct": False, "n_masks": 1,
}  # fmt: skip
"""Options that are fields of `MadeArchitecture`, and nobody else's."""

DRAWS = 24
"""The purpose of the generator that draws pixels."""


def add_arguments(add: Callable[..., None]) -> None:
    """The options of --model made."""
    add("--order", choices=["raster", "random"],
        help="in which a made predicts the pixels: raster is row after row; "
        "default: raster")  # fmt: skip
    add("--degrees", choices=["even", "drawn"],
        help="how many pixels each hidden unit of a made may see; default: even")  # fmt: skip
    add("--direct", action="store_true", default=None,
        help="connections of a made from the pixels to the outputs after them")  # fmt: skip
    add("--masks", dest="n_masks", type=int, metavar="N",
        help="orders, or draws of the degrees, that share the weights of a made: the model is the "
        "mean of so many; default: 1")  # fmt: skip


def complete(args: argparse.Namespace) -> None:
    """Fill in what a MADE has, and refuse what it has not; for other models the other way round."""
    mine = args.model == "made"
    for name, default in OPTIONS.items():
        if not mine and getattr(args, name) is not None:
            option = "--" + name.removeprefix("n_")
            raise ValueError(f"{option} belongs to --model made, got --model {args.model}")
        if mine and getattr(args, name) is None:
            setattr(args, name, default)
    if not mine:
        return
    if args.latent is not None:
        raise ValueError("--latent: --model made has no latents")
    if args.likelihood != "bernoulli":
        raise ValueError(f"--model made is of black and white, got --likelihood {args.likelihood}")
    for name, value in DEFAULTS.get(args.data, {}).items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def pictures(model: MADE, dataset: Dataset, rows: list[Row], seed: int) -> dict[str, Any]:
    """What `minivae train` draws: the curves, and samples if the data are images."""
    from minivae import plots

    figures = {"curves": plots.curves(rows)}
    if _common.is_image(dataset):
        images = draws(model, 96, generator(model.device, seed, 0, DRAWS))
        figures["samples"] = plots.samples(
            images, dataset.image_shape, title="draws of p(x)", shown="one pixel after the other"
        )
    return figures


def draws(model: MADE, n: int, rng: Any, temperature: float = 1.0) -> np.ndarray:
    """n draws of p(x), (n, D), with a progress bar: it takes a pass for each pixel."""
    a = model.architecture
    passes = a.n_features * min(a.n_masks, n)
    with tqdm(total=passes, unit="pass", disable=None, leave=False) as bar:
        return to_numpy(model.sample(n, rng, temperature, bar.update))


def evaluate(model: MADE, x: np.ndarray, counted: bool) -> None:
    """Print -log p(x) of images x (N, D), which is known exactly.

    In bits, too, if x is ``counted``, 0 and 1: what is said of grey is no length of a code.
    """
    found = []
    with tqdm(total=len(x), unit="ex", disable=None, leave=False) as bar:
        for start in range(0, len(x), 500):
            rows = x[start : start + 500]
            found.append(to_numpy(model.log_prob(rows)).astype(np.float64))
            bar.update(len(rows))
    nll = Estimate.of(-np.concatenate(found))
    bits = nll.mean / (x.shape[1] * math.log(2.0))
    error = f" +- {nll.standard_error:.2f}" if len(x) > 1 else ""
    per_dim = f" ({bits:.4f} bits per dimension)" if counted else ""
    print(f"  {'NLL':14}  {nll.mean:9.2f}{error} nats per image{per_dim}: -log p(x)")
    print("  exact: no bound, and no samples")
    if model.architecture.n_masks > 1:
        print(f"  the mean of p(x) over {model.architecture.n_masks} masks")


def sample(
    args: argparse.Namespace, model: MADE, config: dict[str, Any], path: Path, as_array: bool
) -> None:
    """Draw images pixel by pixel, and write the picture or the array."""
    if args.draw:
        raise ValueError("--draw: a made has no means to show, its pixels are always drawn")
    dataset = None if as_array else _common.load_data(model, config, args.run)
    if dataset is not None:
        _common.require_images(dataset, "--out FILE.npy writes an array")
    D = model.architecture.n_features
    at = "" if args.temperature == 1.0 else f" at temperature {args.temperature:g}"
    images = draws(model, args.n, generator(args.device, args.seed, 0, DRAWS), args.temperature)
    print(f"{args.n:,} draws of p(x){at}, one pixel after the other: {D} passes of the network")
    if dataset is None:
        _common.write_array(path, images)
        return
    from minivae import plots

    shown = "one pixel after the other"
    _common.write_picture(
        path,
        plots.samples(images, dataset.image_shape, args.columns, f"draws of p(x){at}", shown),
    )
