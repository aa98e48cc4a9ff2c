"""`minivae probe RUN`: what the codes are good for, when labels ask and when bytes count."""

import argparse
import math

import numpy as np

from minivae import walks
from minivae.arrays import generator
from minivae.cli import _common, _examples
from minivae.datasets import Dataset
from minivae.evaluation import (
    PCA,
    Compressed,
    Estimate,
    adjusted_rand,
    compression_curve,
    k_means,
    linear_probe,
    nearest_neighbours,
    purity,
)
from minivae.evaluation.compression import spread
from minivae.models import VQVAE

HELP = "what the codes are good for: labels, clusters, compression"
DESCRIPTION = """\
The mean code of every image, beside as many principal components and beside the
pixels themselves; fitted on training images, judged on test images:
  linear probe   softmax regression on standardised codes, its weights held small
  neighbours     the commonest label among the k nearest training codes
  k-means        as many clusters as classes: the share of images with the
                 commonest label of their cluster, and the adjusted Rand index
                 (0 for chance, 1 for equality)
Then the codes of the test images are rounded to multiples of a step and written
into a string of bytes (LZMA): bytes per image, really written, against the mean
squared error of a pixel. The entropy is the length of an ideal code that knows
the table of every latent. The same for the principal components, with the same
quantiser. The parameters of decoder and components are not counted.

What is compressed are the images as the run sees them: black and white if it
was trained so. Principal components have the least squared error that a linear
code can have; a Bernoulli decoder was not asked for it.

Of a VQ-VAE the labels are asked of the codebook entries of each image, without
compression and picture: its codes are whole numbers as they are."""
EXAMPLES = """examples:
  minivae probe runs/digits-vae-1
      in runs/digits-vae-1/pictures/probe.png
  minivae probe runs/mnist-vae-1 --neighbours 10 --decay 1e-4
"""
STEPS = tuple(2.0**-j for j in range(-2, 6))
"""Steps of the quantiser, in standard deviations of the code."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--neighbours", type=int, default=5, metavar="N", help="k; default: 5")
    add("--decay", type=float, default=1e-3, metavar="D",
        help="of the linear probe: D / 2 times the squares of its weights is added to its nats per "
        "label; default: 0.001")  # fmt: skip
    _examples.add_examples(parser)
    _common.add_seed(parser, "the starts of k-means")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/probe.png")


def run(args: argparse.Namespace) -> None:
    """Probe, compress, print and draw."""
    model, config = _common.load(args, numbers=True)
    path = _common.destination(args, "probe.png")
    if not 0.0 <= args.decay < math.inf:
        raise ValueError(f"expected --decay of at least 0 and finite, got {args.decay}")
    dataset = _common.load_data(model, config, args.run)
    x, y = _examples.training_examples(dataset, config, args.examples)
    _common.within("--neighbours", args.neighbours, 1, len(x), "training examples")
    test, K = dataset.test, model.architecture.latent
    if isinstance(model, VQVAE):
        K = min(K, *x.shape)
    pca = PCA.fit(x, _common.within("latents", K, 1, min(x.shape), "principal components"))
    mu, held = walks.codes(model, x).mu, walks.codes(model, test.x).mu
    unit = _examples.unit(dataset)
    what = "the entries of a code" if isinstance(model, VQVAE) else _examples.named(model)
    print(f"{args.run}: {what}; fitted on {len(x):,} training {unit}s, judged on "
          f"{len(test):,} test {unit}s")  # fmt: skip
    views = {"codes": (mu, held), "PCA": (pca.encode(x), pca.encode(test.x)),
             "pixels" if unit == "image" else "numbers": (x, test.x)}  # fmt: skip
    if np.ptp(y):
        _labels(args, views, y, test.y)
    else:
        print("  no labels: no probe, no neighbours, no clusters")
    if isinstance(model, VQVAE):
        a = model.architecture
        print(f"  a code is {a.M} whole numbers of {a.n_codes}: nothing to round; minivae evaluate "
              "says what it costs")  # fmt: skip
        return
    curves = {
        name: compression_curve(z, test.x, decode, [s * spread(z) for s in STEPS])
        for name, z, decode in (
            ("codes", held, lambda z: walks.decoded(model, z)),
            ("PCA", pca.encode(test.x), pca.decode),
        )
    }
    _bytes(curves, dataset)
    from minivae import plots

    D = test.x.shape[1]
    _common.write_picture(path, plots.compression(curves, D, unit))


def _labels(
    args: argparse.Namespace,
    views: dict[str, tuple[np.ndarray, np.ndarray]],
    y: np.ndarray,
    test_y: np.ndarray,
) -> None:
    """A column for each view, a row for each question."""
    n_classes = len(np.unique(y))
    rows: dict[str, list[str]] = {}

    def add(name: str, value: object) -> None:
        rows.setdefault(name, []).append(str(value))

    for z, held in views.values():
        rng = generator("cpu", args.seed, 0, _examples.PROBE)
        probe = linear_probe(z, y, held, test_y, args.decay)
        add("linear probe", probe.accuracy)
        add("  nats per label", probe.cross_entropy)
        k = args.neighbours
        add("nearest" if k == 1 else f"{k} nearest", nearest_neighbours(z, y, held, test_y, k))
        clusters = k_means(z, n_classes, rng)
        found = clusters.nearest(held)
        add("k-means", purity(clusters.labels, y, found, test_y))
        add("  adjusted Rand", adjusted_rand(found, test_y) if len(test_y) > 2 else "-")
    print(" " * 20 + "".join(f"{name:>18}" for name in views))
    for name, cells in rows.items():
        print(f"  {name:18}" + "".join(f"{cell:>18}" for cell in cells))


def _bytes(curves: dict[str, list[Compressed]], dataset: Dataset) -> None:
    """The points of both curves; each has its own steps."""
    unit, D = _examples.unit(dataset), dataset.test.x.shape[1]
    print(f"  compression of {len(dataset.test):,} test {unit}s of {D} numbers, bytes per {unit}:")
    print(f"    {'':6}{'step':>8}{'written':>10}{'bits/dim':>10}{'entropy':>16}"
          f"  {'squared error':>22}")  # fmt: skip
    for name, points in curves.items():
        for p in points:
            error, entropy = _number(p.error, ".5g"), _number(p.entropy, ".2f")
            bits = 8.0 * p.bytes / D
            print(f"    {name:6}{p.step:8.3g}{p.bytes:10.2f}{bits:10.4f}{entropy:>16}"
                  f"  {error:>22}")  # fmt: skip


def _number(value: Estimate, form: str) -> str:
    """The mean, and its error unless one example is all there is."""
    error = "" if math.isnan(value.standard_error) else f" +- {value.standard_error:{form}}"
    return f"{value.mean:{form}}{error}"
