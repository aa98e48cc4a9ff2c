"""`minivae interpolate RUN`: walks between the codes of two test images."""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from minivae import walks
from minivae.arrays import generator
from minivae.cli import _common
from minivae.walks import Codes

HELP = "walks between the codes of two test images"
DESCRIPTION = """\
Walk from the mean code of one test image to that of another, and decode the
way.

  straight    z(t) = (1 - t) z0 + t z1
  spherical   z(t) = sin((1 - t) w) / sin w z0 + sin(t w) / sin w z1
              with w the angle between z0 and z1

With many latents, draws of the prior N(0, 1) have norms near sqrt(K), and
hardly any are much shorter. The straight line cuts through the empty middle;
the arc keeps the norm, if both ends have it. With few latents the middle is
full, and the line is as good. The norms along both ways are printed. Mean
codes are shorter than draws, above all where latents are not used."""
EXAMPLES = """examples:
  minivae interpolate runs/digits-vae-1
      five random pairs of test images, both ways
  minivae interpolate runs/digits-vae-1 --from 3 --to 12 --steps 15 --path spherical
      test images 3 and 12, counted from 0
  minivae interpolate runs/digits-vae-1 --gif
      an animation that goes there and back, in RUN/pictures/interpolate.gif
"""
WAYS = {"straight": walks.straight, "spherical": walks.spherical}
MOST = 50  # steps, and pairs: what a picture can show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--from", type=int, metavar="I", dest="first", help="a test image, counted from 0")
    add("--to", type=int, metavar="J", dest="last",
        help="another; default: random pairs")  # fmt: skip
    add("--pairs", type=int, metavar="N", help="how many random pairs; default: 5")
    add("--steps", type=int, metavar="N",
        help="codes of a walk, ends included; default: 9, in an animation 25")  # fmt: skip
    add("--path", choices=[*WAYS, "both"],
        help="default: both; straight with a single latent, where there is no sphere")  # fmt: skip
    _common.add_seed(parser, "the random pairs")
    _common.add_device(parser)
    _common.add_gif(parser)
    _common.add_out(parser, "a .png, a .svg, or a .gif", "RUN/pictures/interpolate.png (.gif)")


def run(args: argparse.Namespace) -> None:
    """Walk, print the norms, draw."""
    model, config = _common.load(args)
    path = _common.animated(args, "interpolate")
    moving = path.suffix.lower() == ".gif"
    steps = args.steps if args.steps is not None else 25 if moving else 9
    t = walks.times(_common.within("--steps", steps, 2, MOST, "ends included"))
    dataset = _common.load_data(model, config, args.run)
    _common.require_images(dataset, "`minivae encode` writes their codes")
    codes = walks.codes(model, dataset.test.x)
    pairs, ways = _pairs(args, len(codes.mu)), _ways(args, model.architecture.latent)
    _report(codes, pairs, ways, args.seed)
    decoded = {
        name: walks.decoded(model, walk) for name, walk in _walks(codes, pairs, ways, t).items()
    }
    from minivae import plots

    if moving:
        _common.write(path, plots.gif(_frames(decoded, dataset.image_shape, t)))
        return
    ends = dataset.test.x[pairs]
    figure = plots.interpolation(decoded, ends, dataset.image_shape, t)
    _common.write_picture(path, figure)


def _pairs(args: argparse.Namespace, N: int) -> np.ndarray:
    """The indices of the test images, (P, 2)."""
    if (args.first is None) != (args.last is None):
        raise ValueError("--from and --to go together; without both, the pairs are random")
    if args.first is not None:
        if args.pairs is not None:
            raise ValueError("--pairs are random: leave out --from and --to")
        for name, index in (("--from", args.first), ("--to", args.last)):
            _common.within(name, index, 0, N - 1, "test images")
        return np.array([[args.first, args.last]])
    if N < 2:
        raise ValueError("expected at least 2 test images to walk between, the run has 1")
    n = min(5, N // 2) if args.pairs is None else args.pairs
    _common.within("--pairs", n, 1, min(MOST, N // 2), "of different test images")
    rng = generator("cpu", args.seed, 0, _common.PAIRS)
    return rng.choice(N, (n, 2), replace=False)


def _ways(args: argparse.Namespace, K: int) -> list[str]:
    if args.path is None:
        return list(WAYS) if K > 1 else ["straight"]
    return list(WAYS) if args.path == "both" else [args.path]


def _walks(
    codes: Codes, pairs: np.ndarray, ways: list[str], t: np.ndarray
) -> dict[str, np.ndarray]:
    """The walks by name, each (P, T, K)."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for i, j in pairs:
        for name in ways:
            try:
                found[name].append(WAYS[name](codes.mu[i], codes.mu[j], t))
            except ValueError as error:
                raise ValueError(f"test images {i} and {j}: {error}") from None
    return {name: np.stack(walk) for name, walk in found.items()}


def _report(codes: Codes, pairs: np.ndarray, ways: list[str], seed: int) -> None:
    """The norms along the ways, and what is usual."""
    t = walks.times(5)
    shown = ", ".join(f"{i} to {j}" for i, j in pairs[:10]) + (", ..." if len(pairs) > 10 else "")
    print(f"test images {shown}")
    print("norm of the code along the way" + (", mean of the pairs" if len(pairs) > 1 else ""))
    print(_row("t", t))
    for name, walk in _walks(codes, pairs, ways, t).items():
        print(_row(name, np.linalg.norm(walk, axis=-1).mean(axis=0)))
    N, K = codes.mu.shape
    print(f"usual norms, mean +- standard deviation, K = {K}")
    if codes.logvar is not None:
        print(f"  draws of the prior N(0, 1)      {_spread(*walks.chi(K))}")
        eps = generator("cpu", seed, 0, _common.DRAWS).standard_normal((N, K))
        draws = np.linalg.norm(codes.mu + np.exp(0.5 * codes.logvar) * eps, axis=1)
        print(f"  draws of q(z|x), test images    {_spread(draws.mean(), draws.std())}")
    norms = np.linalg.norm(codes.mu, axis=1)
    name = "codes" if codes.logvar is None else "mean codes"
    print(f"  {name + ', test images':31} {_spread(norms.mean(), norms.std())}")


def _row(name: str, values: np.ndarray) -> str:
    return f"  {name:10}" + "".join(f"{v:8.2f}" for v in values)


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:6.2f} +- {deviation:.2f}"


def _frames(
    decoded: dict[str, np.ndarray], image_shape: tuple[int, ...], t: np.ndarray
) -> Iterator[Any]:
    """A figure for each time: a row for each way, or for a single pair one row of both."""
    from minivae import plots

    P = len(next(iter(decoded.values())))
    names = [name for name in decoded for _ in range(P)]
    for i, time in enumerate(t):
        images = np.concatenate([walk[:, i] for walk in decoded.values()])
        title = f"from code to code, t = {time:.2f} ({plots.MEANS})"
        columns = P if P > 1 else len(names)
        yield plots.cells(images, image_shape, names, title, columns)
