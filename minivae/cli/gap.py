"""`minivae gap RUN`: what the bound of a run loses, and whether to its encoder or to its family."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minivae.arrays import generator
from minivae.cli import _common, _examples
from minivae.datasets import Dataset
from minivae.evaluation import Anatomy, Annealing, Estimate, Gaps, Refining, anatomy
from minivae.models import VAE

HELP = "what the bound loses: to the encoder, and to q being a Gaussian"
DESCRIPTION = """\
Take the gap between log p(x) and the ELBO apart, on test images, in nats:

  amortisation    what one encoder for all images loses; found by climbing the
                  ELBO of each image by its own mu and logvar
  approximation   what no diagonal Gaussian can avoid, and what is left of it
                  with a full covariance

log p(x) is an integral up to two latents. Beyond, it is annealed importance
sampling, which is too low in the mean: more --chains and --temperatures raise
it, and with it every gap but the amortisation gap."""
EXAMPLES = """examples:
  minivae gap runs/digits-vae-1
      256 test images; the curve in runs/digits-vae-1/pictures/gap.png, the
      classes beside it in gap-classes.png
  minivae gap runs/mnist-vae-1 --examples 100 --steps 500
  minivae gap runs/digits-vae-1 --chains 32 --temperatures 1000
"""
GAP = 40  # the purpose of the generator's noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--examples", type=int, metavar="N",
        help="the first N test images; default: 256, or all if there are fewer")  # fmt: skip
    add("--steps", type=int, default=300, metavar="T", help="of refinement; default: 300")
    add("--samples", type=int, default=400, metavar="S",
        help="codes an image for each bound; even; default: 400")  # fmt: skip
    add("--chains", type=int, default=8, metavar="C", help="of annealing; default: 8")
    add("--temperatures", type=int, default=100, metavar="T", help="of annealing; default: 100")
    _common.add_seed(parser, "all noise")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/gap.png, and gap-classes.png")


def run(args: argparse.Namespace) -> None:
    """Refine, measure, print, draw."""
    model, config = _common.load(args)
    path = _common.destination(args, "gap.png")
    beside = path.with_name(f"{path.stem}-classes{path.suffix}")
    if args.out is not None and os.path.lexists(beside) and not args.force:
        raise ValueError(f"{beside} exists already: --force replaces it")
    if not isinstance(model, VAE):
        raise ValueError(
            f"{args.run}: expected the run of a VAE, got an autoencoder: it has no bound to refine"
        )
    _common.within("--steps", args.steps, 0, 100_000, "of refinement")
    _common.within("--samples", args.samples, 4, 1_000_000, "even")
    if args.samples % 2:
        raise ValueError(f"expected an even --samples, got {args.samples}")
    _common.within("--chains", args.chains, 1, 100_000, "of annealing")
    _common.within("--temperatures", args.temperatures, 1, 1_000_000, "of annealing")
    annealing = Annealing(args.chains, args.temperatures, n_leapfrog=5, start="encoder")
    dataset = _common.load_data(model, config, args.run)
    unit = _examples.unit(dataset)
    n = min(256, len(dataset.test)) if args.examples is None else args.examples
    _common.within("--examples", n, 1, len(dataset.test), f"test {unit}s of {dataset.name}")
    rng = generator(args.device, args.seed, 0, GAP)
    refining = Refining(args.steps)
    x = dataset.test.x[:n]
    found = anatomy(model, x, rng, refining, args.samples, annealing, progress=_say)
    print(
        f"{args.run}: {n:,} test {unit}s of {dataset.name}; nats per {unit}, with standard errors"
    )
    _table(found, annealing, unit)
    short = found.gaps.full_approximation.over_examples()
    if found.method == "annealing" and short.mean < 0.0:
        print(f"  log p(x) came out {-short.mean:.2f} below a bound on it: it and the "
              "approximation gaps are too low; give more --temperatures")  # fmt: skip
    _curve(found, path)
    labels = dataset.test.y[:n]
    if np.ptp(labels):  # data without labels have 0 throughout
        _classes(found.gaps, labels, dataset, beside)


def _say(stage: str) -> None:
    if sys.stderr.isatty():
        print(f"  {stage} ...", file=sys.stderr, flush=True)


def _table(found: Anatomy, annealing: Annealing, unit: str) -> None:
    """log p(x), the bounds, the gaps."""
    gaps = found.gaps
    if found.method == "quadrature":
        how = f"integrated, to {gaps.log_evidence.error.max():.0e}"
    else:
        how = f"annealed, {annealing.n_chains} chains of {annealing.n_temperatures}: a lower bound"
    moved = f"{found.diagonal.marks[-1]} steps; {found.diagonal.moved.mean():.0%} of them gained"
    for name, values, remark in (
        ("log p(x)", gaps.log_evidence, how),
        ("ELBO, a full covariance", gaps.full, f"refined for each {unit}"),
        ("ELBO, its own diagonal q", gaps.refined, moved),
        ("ELBO, the encoder's q", gaps.elbo, ""),
        ("gap", gaps.gap, ""),
        ("  amortisation", gaps.amortisation, "one encoder for all"),
        ("  approximation", gaps.approximation, "the diagonal family"),
        ("    a full covariance's", gaps.full_approximation, "any Gaussian"),
    ):
        line = f"  {name:25} {_number(values.over_examples(), 9)}  {remark}"
        print(line.rstrip())


def _number(estimate: Estimate, width: int) -> str:
    """Mean and standard error; one example has none."""
    error = "" if np.isnan(estimate.standard_error) else f"+- {estimate.standard_error:.3f}"
    return f"{estimate.mean:{width}.3f} {error:9}"


def _curve(found: Anatomy, path: Path) -> None:
    from minivae import plots

    gaps, curve = found.gaps, found.diagonal
    # Relative to the end by the draws of the choice, which all marks have in common.
    rise = [Estimate.of(row) for row in curve.elbo[-1] - curve.elbo]
    level = gaps.approximation.over_examples().mean
    gap = np.array([level + r.mean for r in rise])
    error = np.nan_to_num(np.array([r.standard_error for r in rise]))
    full = gaps.full_approximation.over_examples().mean
    _common.write_picture(path, plots.gap_curve(curve.marks, gap, error, level, full))


def _classes(gaps: Gaps, labels: np.ndarray, dataset: Dataset, beside: Path) -> None:
    """The same, class by class: printed, and as bars."""
    from minivae import plots

    classes = gaps.by_class(labels)
    names = [dataset.class_names[c] if dataset.class_names else str(c) for c in classes]
    print(f"  {'class':10} {_examples.unit(dataset) + 's':>8} {'amortisation':>18} "
          f"{'approximation':>19} {'full covariance':>19}")  # fmt: skip
    parts: list[list[Any]] = []
    for name, part in zip(names, classes.values(), strict=True):
        three = part.amortisation, part.approximation, part.full_approximation
        columns = " ".join(_number(each.over_examples(), 9) for each in three)
        print(f"  {name:10} {len(part):8} {columns}".rstrip())
        pieces = part.full_approximation, part.covariance, part.amortisation
        spread = part.gap.over_examples().standard_error
        parts.append([*(piece.value.mean() for piece in pieces), spread])
    *heights, error = np.array(parts).T
    _common.write_picture(beside, plots.gap_bars(names, np.array(heights), error))
