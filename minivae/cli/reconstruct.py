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
MOST = 100  # columns: what a picture can show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--n", type=int, metavar="N",
        help="images in the picture; default: 48, or all if there are fewer")  # fmt: skip
    add("--columns", type=int, default=12, metavar="N", help="images in a row; default: 12")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/reconstruct.png")


def run(args: argparse.Namespace) -> None:
    """Reconstruct, print, draw."""
    model, config = _common.load(args, numbers=True)
    path = _common.destination(args, "reconstruct.png")
    dataset = _common.load_data(model, config, args.run)
    x = dataset.test.x
    n = min(48, len(x)) if args.n is None else args.n
    _common.within("--n", n, 1, len(x), f"test images of {dataset.name}")
    _common.within("--columns", args.columns, 1, MOST, "images in a row")
    z = walks.codes(model, x).mu
    drawable = _common.is_image(dataset)
    if args.out is not None:
        _common.require_images(dataset, "without --out the numbers are printed")
    _report(model, x, z, drawable, grey=not _common.black_and_white(x))
    if not drawable:
        return
    from minivae import plots

    shown, decoded = x[:n], walks.decoded(model, z[:n])
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


def _report(model: Model, x: np.ndarray, z: np.ndarray, drawable: bool, grey: bool) -> None:
    N, D = x.shape
    squares, logs = fit(model, x, z)
    error, pixel, log = Estimate.of(squares), Estimate.of(squares / D), Estimate.of(logs)
    root = math.sqrt(pixel.mean)
    one, part = ("image", "pixel") if drawable else ("example", "number")
    code = "its mean code" if isinstance(model, VAE) else "its code"
    print(f"{N:,} test {one}s, each from {code}; mean +- standard error over the {one}s")
    print(f"  squared error   {error.mean:9.3f} +- {error.standard_error:.3f} per {one}")
    print(
        f"  {'per ' + part:15} {pixel.mean:9.5f} +- {pixel.standard_error:.5f}, "
        f"the square of {root:.3f}, in units of the data"
    )
    print(f"  log p(x|z)      {log.mean:9.2f} +- {log.standard_error:.2f} nats per {one}")
    if model.likelihood is not Bernoulli:
        print("  the last is the log of a density: it may be positive")
    elif grey:
        what = "grey pixels" if drawable else "numbers between 0 and 1"
        print(f"  {what} under a Bernoulli: the last is no likelihood")
