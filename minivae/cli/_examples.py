"""What `holes`, `probe` and `factors` share: the examples that they fit on and judge on."""

import argparse
from typing import Any

import numpy as np

from minivae.cli import _common
from minivae.datasets import Dataset, binarise
from minivae.datasets.base import spread_rows
from minivae.datasets.binarisation import SEEDS
from minivae.models.base import Model

MOST = 10_000
"""Training examples that are used by default."""

HOLES, PROBE, FACTORS = 50, 51, 52
"""Purposes of generators."""


def add_examples(parser: argparse.ArgumentParser) -> None:
    """--examples."""
    parser.add_argument("--examples", type=int, default=MOST, metavar="N",
        help=f"training examples to fit on, evenly spaced, or all if there are fewer; "
        f"default: {MOST:,}")  # fmt: skip


def training_examples(
    dataset: Dataset, config: dict[str, Any], n: int
) -> tuple[np.ndarray, np.ndarray]:
    """x and y of n training examples, or of all; binarised once if training did so at every use.

    Raises  ValueError for n below 2.
    """
    if n < 2:
        raise ValueError(f"expected --examples of at least 2, got {n}")
    rows = spread_rows(len(dataset.train), min(n, len(dataset.train)))
    x = np.asarray(dataset.train.x[rows])
    how = "fixed" if config["data"]["binarisation"] == "new" else "none"
    return binarise(x, how, np.random.default_rng(SEEDS["train"])), dataset.train.y[rows]


def unit(dataset: Dataset) -> str:
    """What an example is called: an image, or a row of a table."""
    return "image" if _common.is_image(dataset) else "example"


def named(model: Model) -> str:
    """What a code of this model is."""
    K = model.architecture.latent
    return "1 latent" if K == 1 else f"{K} latents"
