"""`minivae factors RUN`: what each latent says about each known factor of a rendered world."""

import argparse
from collections.abc import Callable

import numpy as np

from minivae import walks
from minivae.arrays import generator
from minivae.cli import _common, _examples
from minivae.datasets import binarise, glyphs_grid, sprites_grid
from minivae.datasets.binarisation import SEEDS
from minivae.evaluation import FactorInformation, factor_information

HELP = "what each latent says about each known factor (sprites, glyphs)"
DESCRIPTION = """\
Sprites and glyphs are drawn from factors that are known. For every latent and
every factor this command computes the mutual information of the two over the
whole grid of the world, every combination once, in nats; and the mutual
information gap: of the two latents that say most about a factor, the difference
as a share of the factor's entropy, averaged over the factors. 1 is a code in
which every factor has a latent of its own, 0 one where none has.

For a VAE the information is that of q(z|x), by quadrature. An autoencoder's
code is a point, and is counted in cells: that number depends on the cells.

The gap asks for axes. A code that is turned by 45 degrees knows the same and
has a gap of 0; and a low one is no reason to think that the code knows little.
Black and white images are drawn once from the grey ones, so that an image may
know less than its factors."""
EXAMPLES = """examples:
  minivae factors runs/sprites-vae-1
      in runs/sprites-vae-1/pictures/factors.png
"""
GRIDS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "sprites": sprites_grid,
    "glyphs": glyphs_grid,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    _common.add_run_argument(parser)
    parser.add_argument("--bins", type=int, default=50, metavar="N",
        help="cells of an autoencoder's latent, at most; default: 50")  # fmt: skip
    _common.add_seed(parser, "the groups of the jackknife")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/factors.png")


def run(args: argparse.Namespace) -> None:
    """Encode the grid, print and draw what the latents say."""
    model, config = _common.load(args)
    path = _common.destination(args, "factors.png")
    dataset = _common.load_data(model, config, args.run)
    if dataset.name not in GRIDS:
        known = " and ".join(GRIDS)
        raise ValueError(f"{dataset.name}: its factors are not known; only those of {known} are")
    images, factors = GRIDS[dataset.name]()
    grey = images.reshape(len(images), -1).astype(np.float32) / 255
    how = config["data"]["binarisation"].replace("new", "fixed")
    x = binarise(grey, how, np.random.default_rng(SEEDS["test"]))
    codes = walks.codes(model, x)
    rng = generator("cpu", args.seed, 0, _examples.FACTORS)
    found = factor_information(codes.mu, factors, rng, codes.logvar, args.bins)
    print(f"{args.run}: {_examples.named(model)}, all {len(x):,} {dataset.name}; {_how(found)}")
    _table(found, dataset.factor_names)
    gap = f"mutual information gap {found.gap.mean:.3f} +- {found.gap.standard_error:.3f}"
    print(f"  {gap}, from 0 to 1")
    from minivae import plots

    figure = plots.factor_shares(found.information, found.entropy, dataset.factor_names, gap)
    _common.write_picture(path, figure)


def _how(found: FactorInformation) -> str:
    if found.estimator == "binned":
        return "points counted in cells"
    return f"q(z|x) by quadrature, to {max(found.integration_error, 1e-15):.0e} nats"


def _table(found: FactorInformation, names: tuple[str, ...]) -> None:
    """A row for each factor: the two latents that say most, and the gap."""
    print("  information in nats; errors as if the grid were a sample of examples")
    print(f"  {'factor':10}{'entropy':>8}   {'most':28}{'then':28}{'gap':>15}")
    order = np.argsort(-found.information, axis=0, kind="stable")
    for f, name in enumerate(names):
        cells = ""
        for k in order[:2, f]:
            value, error = found.information[k, f], found.error[k, f]
            cells += f"{f'latent {k + 1}: {value:.3f} +- {error:.3f}':28}"
        gap = f"{found.gaps[f]:.3f} +- {found.gap_errors[f]:.3f}"
        print(f"  {name:10}{found.entropy[f]:8.3f}   {cells:56}{gap:>15}")
