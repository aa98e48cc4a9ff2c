"""What the commands do for a model that is given a part of each image: it completes the image."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from minivae.arrays import generator, to_numpy
from minivae.cli import _common
from minivae.datasets import Parted, PartedSplit, joined
from minivae.evaluation import completed
from minivae.models import ConditionalVAE

IMAGES, DRAWS = 8, 10
"""Images to complete by default, the rows of the picture, and completions of each."""

ENDS = 2
"""Columns of the picture that are no completions: what is given, and the image itself."""

ROWS = 100
"""Rows and columns that a picture can show."""


def pixels_counted(data: Parted) -> None:
    """What `minivae evaluate` says of its numbers: of which pixels they are."""
    C, D = int(data.known.sum()), len(data.known)
    print(f"  all numbers are of the {D - C} pixels that are not given, of {D}")


def sample(args: argparse.Namespace, model: ConditionalVAE, data: Parted, path: Path) -> None:
    """`minivae sample RUN`: test images, each completed several times."""
    if args.label is not None:
        raise ValueError("--label belongs to a run that was told labels: this one is given a part "
                         "of each image, and completes test images")  # fmt: skip
    N, as_array = len(data.test), path.suffix.lower() == ".npy"
    most, what = (N, "test images") if as_array else (min(N, ROWS), "test images in a picture")
    n = _common.within("--n", min(IMAGES, N) if args.n is None else args.n, 1, most, what)
    draws = _common.within("--columns", args.columns, 1 + ENDS, ROWS, "ends included") - ENDS
    some = data.test[:n]
    images = completions(model, some, draws, args)
    origin = "N(0, 1)" if model.prior is None else "the learned p(z|y)"
    if args.temperature != 1.0:
        origin += f" at temperature {args.temperature:g}"
    drawn = "pixels drawn from p(x|z,y)" if args.draw else "means of p(x|z,y)"
    print(f"{draws} completions of each of {n:,} test images, codes of {origin}; {drawn}")
    if as_array:
        _common.write_array(path, images.reshape(n * draws, -1))
        return
    _common.write_picture(path, figure(data, some, images, f"codes of {origin}, {drawn}"))


def completions(
    model: ConditionalVAE, images: PartedSplit, draws: int, args: argparse.Namespace
) -> np.ndarray:
    """Each of N images, completed several times: (N, draws, D); codes drawn on the host."""
    codes = generator("cpu", args.seed, 0, _common.SAMPLES)
    pixels = generator(args.device, args.seed, 0, _common.PIXELS) if args.draw else None
    told = images.given, images.known, codes, args.temperature, pixels
    return np.stack([completed(model, *told) for _ in range(draws)], axis=1)


def figure(data: Parted, images: PartedSplit, drawn: np.ndarray, shown: str) -> Any:
    """The picture of completions (N, draws, D), between what is given and the image itself."""
    from minivae import plots

    truth = images.images
    return plots.completions(truth, images.known, drawn, truth, data.whole_shape, shown)


def pictures(model: ConditionalVAE, data: Parted, seed: int) -> dict[str, Any]:
    """What a training run shows of held-out images: reconstructions, and completions."""
    from minivae import plots

    held = data.valid if len(data.valid) else data.test
    some, few = held[:48], held[:IMAGES]
    rest = to_numpy(model.reconstruct(some.x, some.given))
    seen, decoded = (joined(some.given, part, data.known) for part in (some.x, rest))
    args = argparse.Namespace(seed=seed, temperature=1.0, draw=False, device="cpu")
    drawn = completions(model, few, DRAWS, args)
    return {
        "reconstructions": plots.reconstructions(seen, decoded, data.whole_shape),
        "samples": figure(data, few, drawn, "means of p(x|z,y)"),
    }
