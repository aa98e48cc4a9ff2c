"""`minivae reconstruct RUN`: test images above their reconstructions, and how good they are."""

import argparse
import math

import numpy as np

from minivae import walks
from minivae.arrays import to_numpy
from minivae.cli import _common
from minivae.distributions import Bernoulli
from minivae.evaluation import Estimate
from minivae.models import VAE
from minivae.models.base import Model

HELP = "test images above their reconstructions"
DESCRIPTION = """\
Show the first test images above their reconstructions, the means of p(x|z) at
the mean code of each image, and print for all test images how near they come:
the squared error, and log p(x|z) at that code.

The second is no bound on log p(x): the ELBO draws its codes from q(z|x) and
pays the KL for them. `minivae evaluate` prints it."""
EXAMPLES = """examples:
  minivae reconstruct runs/digits-vae-1
  minivae reconstruct runs/mnist-vae-1 --n 100 --columns 20 --out mnist.svg
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--n", type=int, default=48, metavar="N", help="images in the picture; default: 48")
    add("--columns", type=int, default=12, metavar="N", help="images in a row; default: 12")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/reconstruct.png")


def run(args: argparse.Namespace) -> None:
    """Reconstruct, print, draw."""
    model, config = _common.load(args)
    path = _common.destination(args, "reconstruct.png")
    dataset = _common.load_data(model, config)
    x = dataset.test.x
    _common.within("--n", args.n, 1, len(x), f"test images of {dataset.name}")
    _common.within("--columns", args.columns, 1, len(x), "images in a row")
    z = walks.codes(model, x).mu
    _report(model, x, z, grey=config["data"]["binarisation"] == "none")
    from minivae import plots

    shown, decoded = x[: args.n], walks.decoded(model, z[: args.n])
    figure = plots.reconstructions(shown, decoded, dataset.image_shape, args.columns)
    _common.write_picture(path, figure)


def fit(model: Model, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|x - E[x|z]|^2 and log p(x|z) of every example.

    Shapes  x (N, D), z (N, K), both results (N,) float64.
    Unit    squares of grey values, summed over the pixels; nats per example.
    """
    squares, logs = [], []
    for start in range(0, len(x), walks.ROWS):
        batch = model.array(x[start : start + walks.ROWS])
        p = model.decode(z[start : start + walks.ROWS])
        error = to_numpy(batch - p.mean).astype(np.float64)
        squares.append((error * error).sum(axis=1))
        logs.append(to_numpy(p.log_prob(batch)).astype(np.float64))
    return np.concatenate(squares), np.concatenate(logs)


def _report(model: Model, x: np.ndarray, z: np.ndarray, grey: bool) -> None:
    N, D = x.shape
    squares, logs = fit(model, x, z)
    error, pixel, log = Estimate.of(squares), Estimate.of(squares / D), Estimate.of(logs)
    root = math.sqrt(pixel.mean)
    code = "its mean code" if isinstance(model, VAE) else "its code"
    print(f"{N:,} test images, each from {code}; mean +- standard error over the images")
    print(f"  squared error   {error.mean:9.3f} +- {error.standard_error:.3f} per image")
    print(
        f"  per pixel       {pixel.mean:9.5f} +- {pixel.standard_error:.5f}, "
        f"the square of {root:.3f} (paper is 0, ink is 1)"
    )
    print(f"  log p(x|z)      {log.mean:9.2f} +- {log.standard_error:.2f} nats per image")
    if model.likelihood is not Bernoulli:
        print("  the last is the log of a density: it may be positive")
    elif grey:
        print("  grey pixels under a Bernoulli: the last is no likelihood")
