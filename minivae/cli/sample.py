"""`minivae sample RUN`: decoded draws of the prior."""

import argparse
from math import inf
from typing import Any

import numpy as np

from minivae import walks
from minivae.arrays import dtype_name, generator
from minivae.cli import _common, autoregressive, conditional, quantised
from minivae.datasets import Dataset
from minivae.models import MADE, VAE, VQVAE, ConditionalVAE
from minivae.models.base import Model

HELP = "new images: codes drawn from the prior, decoded"
DESCRIPTION = """\
Draw codes z from the prior N(0, 1), decode them, and show the images.

An image is the mean of p(x|z), grey where the model is in doubt. That is not
yet a sample of the model's p(x): --draw draws the pixels too, each by itself,
and shows how grainy that is.

An autoencoder has no prior: nothing tells its codes where to lie, and draws of
N(0, 1) may fall where no code is. Its codes are drawn from the Gaussian with
the mean and the covariance of the codes of its training images, and the title
says so.

A VQ-VAE's codes are drawn from the prior that `minivae prior` has trained;
until then each position alone, as often as in the training images.

A MADE has no codes: its pixels are drawn one after the other, each given those
before it, which takes as many passes as there are pixels.

A conditional VAE draws what --label asks for; without it, rows of one style in
all classes: the same noise in each column, under another label. One that is
given quadrants completes test images, each several times, and shows them
between what is given and the image itself."""
EXAMPLES = """examples:
  minivae sample runs/digits-vae-1
      96 images, in runs/digits-vae-1/pictures/sample.png
  minivae sample runs/digits-vae-1 --temperature 0.7 --seed 1
      other codes, nearer to the prior's middle: cleaner images, more alike
  minivae sample runs/digits-cvae-1 --label 7
      96 sevens; without --label the same styles in all ten classes
  minivae sample runs/digits-vq-1 --temperature 0.7
      after `minivae prior runs/digits-vq-1`
  minivae sample runs/digits-vae-1 --draw --n 10000 --out samples.npy
      an array (10000, 64) of drawn pixels, for statistics
"""
KINDS = (*_common.PICTURES, ".npy")
MOST = 2_000  # images that a picture can show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--n", type=int, metavar="N",
        help="images; default: 96; to complete: 8")  # fmt: skip
    add("--label", metavar="L",
        help="what a conditional model is to draw: a class, or shape=heart,x=-2,... for factors; "
        "default: the same styles in all classes")  # fmt: skip
    add("--columns", type=int, default=12, metavar="N", help="images in a row; default: 12")
    add("--temperature", type=float, default=1.0, metavar="T",
        help="standard deviation of the codes, in place of the prior's 1; of a vq or a made, what "
        "its logits are divided by: below 1 it prefers what it is sure of; default: 1")  # fmt: skip
    add("--draw", action="store_true", help="draw the pixels from p(x|z), not only the codes")
    _common.add_seed(parser, "the codes and the pixels")
    _common.add_device(parser)
    _common.add_out(parser, "a .png, a .svg, or a .npy of shape (N, D)", "RUN/pictures/sample.png")


def run(args: argparse.Namespace) -> None:
    """Sample, and write the picture or the array."""
    model, config = _common.load(args, codes=False, told=True)
    path = _common.destination(args, "sample.png", KINDS)
    as_array = path.suffix.lower() == ".npy"
    _check(args, as_array)
    if isinstance(model, ConditionalVAE):
        conditional.sample(args, model, config, path)
        return
    if args.label is not None:
        raise ValueError("--label belongs to a run of --model cvae: this one was told no labels")
    args.n = 96 if args.n is None else args.n
    if isinstance(model, MADE):
        autoregressive.sample(args, model, config, path, as_array)
        return
    # An array of a VAE's images needs no data, not even their shape.
    needed = not (as_array and isinstance(model, VAE))
    dataset = _common.load_data(model, config, args.run) if needed else None
    if dataset is not None and not as_array:
        _common.require_images(dataset, "--out FILE.npy writes an array")
    origin = _origin(model, args.temperature)
    if isinstance(model, VQVAE):
        assert dataset is not None
        z, name = quantised.sample(model, args, dataset, config)
        at = "" if args.temperature == 1.0 else f" at temperature {args.temperature:g}"
        origin = f"decoded draws of {name}{at}"
    else:
        z = _codes(model, dataset, config, args)
    rng = generator(args.device, args.seed, 0, _common.PIXELS) if args.draw else None
    images = walks.decoded(model, z, rng)
    shown = "pixels drawn from p(x|z)" if args.draw else "means of p(x|z)"
    print(f"{args.n:,} {origin}; {shown}")
    if as_array:
        _common.write_array(path, images)
        return
    from minivae import plots

    assert dataset is not None
    _common.write_picture(
        path, plots.samples(images, dataset.image_shape, args.columns, origin, shown)
    )


def _check(args: argparse.Namespace, as_array: bool) -> None:
    n = 96 if args.n is None else args.n
    if n < 1 or args.columns < 1:
        raise ValueError(f"expected --n and --columns of at least 1, got {n} and {args.columns}")
    if n > MOST and not as_array:
        raise ValueError(f"a picture shows at most {MOST:,} images, got {n:,}: --out FILE.npy")
    if not 0.0 < args.temperature < inf:
        raise ValueError(f"expected --temperature above 0 and finite, got {args.temperature}")


def _codes(
    model: Model, dataset: Dataset | None, config: dict[str, Any], args: argparse.Namespace
) -> np.ndarray:
    """The codes (n, K); drawn on the host, and so the same for every device."""
    rng = generator("cpu", args.seed, 0, _common.SAMPLES)
    dtype, shape = dtype_name(model.parameters.theta), (args.n, model.architecture.latent)
    eps = args.temperature * rng.standard_normal(shape, dtype=dtype)
    if dataset is None or isinstance(model, VAE):
        return eps
    return walks.alike(_common.encoded(model, dataset, config, "train").mu, eps)


def _origin(model: Model, temperature: float) -> str:
    """What the codes are draws of, for the title."""
    at = "" if temperature == 1.0 else f" at temperature {temperature:g}"
    if isinstance(model, VAE):
        return f"decoded draws of the prior N(0, 1){at}"
    return f"decoded draws of a Gaussian fitted to the training codes{at}"
