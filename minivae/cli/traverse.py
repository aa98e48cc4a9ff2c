"""`minivae traverse RUN`: what each latent does, when the others stay as they are."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from minivae import walks
from minivae.cli import _common
from minivae.walks import Codes

HELP = "what each latent does when it is changed alone"
DESCRIPTION = """\
Take the mean code of a test image, change one latent at a time, and decode: a
row for each latent, the others as they are. The rows are sorted by the KL of
their latent, averaged over the test images, the most used first; a latent with
almost no KL does nothing.

The values run from -L to L: by default at quantiles of the prior N(0, 1), with
equal shares of it between neighbours and so denser in the middle; in equal
steps with --spacing even. An autoencoder has no prior and no KL: its rows are
sorted by the variance of the codes, and the values are in standard deviations
of the latent, from its mean.

No latent has a meaning of its own: the prior is the same in all directions,
and what a row shows depends on the image."""
EXAMPLES = """examples:
  minivae traverse runs/digits-vae-1
      test image 0, in runs/digits-vae-1/pictures/traverse.png
  minivae traverse runs/sprites-vae-1 --image 7 --spacing even --limit 3 --steps 13
  minivae traverse runs/sprites-vae-1 --latents 6 --gif
      an animation of the six latents that are used most
"""
SPACINGS = {"quantiles": walks.quantiles, "even": walks.even}
MOST = 50  # steps, and latents: what a picture can show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--image", type=int, default=0, metavar="I",
        help="the test image, counted from 0; default: 0")  # fmt: skip
    add("--limit", type=float, default=2.5, metavar="L",
        help="the values run from -L to L; default: 2.5")  # fmt: skip
    add("--steps", type=int, metavar="N", help="values; default: 9, in an animation 25")
    add("--spacing", choices=list(SPACINGS), help="default: quantiles; in an animation even")
    add("--latents", type=int, metavar="N",
        help="only the N that are used most; default: all, at most 20")  # fmt: skip
    _common.add_device(parser)
    _common.add_gif(parser)
    _common.add_out(parser, "a .png, a .svg, or a .gif", "RUN/pictures/traverse.png (.gif)")


def run(args: argparse.Namespace) -> None:
    """Traverse, print which latents are used, draw."""
    model, config = _common.load(args)
    path = _common.animated(args, "traverse")
    moving = path.suffix.lower() == ".gif"
    spacing = args.spacing or ("even" if moving else "quantiles")
    steps = args.steps if args.steps is not None else 25 if moving else 9
    _common.within("--steps", steps, 2, MOST, "ends included")
    values, K = SPACINGS[spacing](steps, args.limit), model.architecture.latent
    n = min(K, 20) if args.latents is None else args.latents
    _common.within("--latents", n, 1, min(K, MOST), "latents of the run")
    dataset = _common.load_data(model, config, args.run)
    _common.require_images(dataset, "`minivae encode` writes their codes")
    _common.within("--image", args.image, 0, len(dataset.test) - 1, "test images")
    codes = walks.codes(model, dataset.test.x)
    rows = codes.order()[:n]
    z, (centre, scale) = codes.mu[args.image], _scale(codes)
    walk = np.stack([walks.traversal(z, k, centre[k] + scale[k] * values) for k in rows])
    names = _report(codes, rows)
    images = walks.decoded(model, walk)
    from minivae import plots

    if moving:
        _common.write(path, plots.gif(_frames(images, dataset.image_shape, names, values)))
        return
    own = walks.decoded(model, z[None])[0], ((z - centre) / scale)[rows]
    what = _unit(codes, spacing)
    figure = plots.traversal(images, dataset.image_shape, names, values, own, what)
    _common.write_picture(path, figure)


def _scale(codes: Codes) -> tuple[np.ndarray, np.ndarray]:
    """What the values 0 and 1 mean for each latent: those of the prior, or of the points."""
    K = codes.mu.shape[1]
    if codes.logvar is not None:
        return np.zeros(K), np.ones(K)
    spread = codes.mu.std(axis=0, dtype=np.float64)
    return codes.mu.mean(axis=0, dtype=np.float64), np.where(spread > 0.0, spread, 1.0)


def _report(codes: Codes, rows: np.ndarray) -> list[str]:
    """How much each latent is used: printed, and as the names of the rows."""
    N, K = codes.mu.shape
    count = "1 latent" if K == 1 else f"{K} latents"
    if codes.logvar is None:
        print(f"{count}, by the standard deviation of the codes of {N:,} test images")
        return _listed(rows, codes.mu.std(axis=0, dtype=np.float64), "sd", "")
    kl = codes.kl()
    print(f"{count}, by KL, mean of {N:,} test images; together {kl.sum():.2f} nats per image")
    names = _listed(rows, kl, "KL", " nats")
    if len(rows) < K:
        print(f"  the other {K - len(rows)}: {kl.sum() - kl[rows].sum():.2f} nats")
    return names


def _listed(rows: np.ndarray, used: np.ndarray, word: str, unit: str) -> list[str]:
    for k in rows:
        print(f"  latent {k + 1:3}  {word} {used[k]:.3f}{unit}")
    return [f"latent {k + 1}: {word} {used[k]:.2f}{unit}" for k in rows]


def _unit(codes: Codes, spacing: str) -> str:
    """The label below the columns."""
    steps = {"quantiles": "at quantiles of N(0, 1)", "even": "in equal steps"}[spacing]
    if codes.logvar is None:
        return f"value of the latent in standard deviations from its mean, {steps}"
    return f"value of the latent, {steps}"


def _frames(
    images: np.ndarray, image_shape: tuple[int, ...], names: list[str], values: np.ndarray
) -> Iterator[Any]:
    """A figure for each value: a cell for each latent (R, T, D)."""
    from minivae import plots

    for i, value in enumerate(values):
        title = f"each latent changed alone, value {value:+.2f} ({plots.MEANS})"
        yield plots.cells(images[:, i], image_shape, names, title)
