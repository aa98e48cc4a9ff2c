"""`minivae holes RUN`: do the codes fill the prior, and what lies between them?"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from minivae import walks
from minivae.arrays import generator
from minivae.cli import _common, _examples
from minivae.datasets import Dataset
from minivae.evaluation import (
    AggregatedPosterior,
    Crossing,
    Mixture,
    PriorFit,
    cross,
    disjoint_pairs,
    draw_codes,
    judge_priors,
)
from minivae.models import VAE
from minivae.models.base import Model
from minivae.walks import Codes

HELP = "do the codes fill the prior, and what lies between them"
DESCRIPTION = """\
A decoder learned on the codes of images, and is asked for samples of a prior.
Where the prior has mass and no codes are, it draws what it never learned.

For the prior N(0, I), for a Gaussian with the mean and the covariance of the
codes, and for a mixture of Gaussians, both fitted to codes of training images:
  log density  of the codes of test images, in nats per code; for a VAE the
               gain is what its ELBO wins with this prior
  energy       between as many draws of it and the codes, by the energy
               coefficient: 0 the same, 1 as different as can be; with the
               p-value of a permutation test, at least 1 / (P + 1)
Codes are draws of q(z|x), one an image; an autoencoder's code is a point.

Then straight lines between the codes of pairs of test images: how far the log
density of all codes falls below its lower end on the way, in nats. A Gaussian
has no such holes. The density is that mixture, and for a VAE also the sum of
the q(z|x) of the training images; the picture shows the latter if there is one,
of the two latents that are used most. With narrow q(z|x) in many latents that
sum has a valley between any two images, which only more images would fill."""
EXAMPLES = """examples:
  minivae holes runs/digits-vae-1
      in runs/digits-vae-1/pictures/holes.png
  minivae holes runs/digits-ae-1 --components 20
"""
PAIRS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--components", type=int, default=10, metavar="C",
        help="Gaussians of the mixture; default: 10")  # fmt: skip
    add("--permutations", type=int, default=999, metavar="P",
        help="of the two-sample test; default: 999")  # fmt: skip
    _examples.add_examples(parser)
    _common.add_seed(parser, "draws, permutations and pairs")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/holes.png")


def run(args: argparse.Namespace) -> None:
    """Judge the priors, cross between codes, print and draw."""
    model, config = _common.load(args)
    path = _common.destination(args, "holes.png")
    _common.within("--permutations", args.permutations, 1, 100_000, "of the test")
    dataset = _common.load_data(model, config, args.run)
    if len(dataset.test) < 2:
        raise ValueError(
            f"{dataset.name}: expected at least 2 test examples, whose codes are compared with "
            f"draws, got {len(dataset.test)}"
        )
    x, _ = _examples.training_examples(dataset, config, args.examples)
    _common.within("--components", args.components, 1, len(x), "at most one for each code")
    train, test = walks.codes(model, x), walks.codes(model, dataset.test.x)
    rng = generator("cpu", args.seed, 0, _examples.HOLES)
    priors = judge_priors(train, test, rng, args.components, args.permutations)
    _table(args, model, dataset, priors, len(x), len(test.mu))
    crossing = _cross(train, test, priors[-1], rng, args.components)
    from minivae import plots

    figure = plots.holes(
        *_plane(train, draw_codes(test, rng), priors[-1]), crossing,
        _samples(model, dataset, priors, rng), dataset.image_shape, _names(train),
    )  # fmt: skip
    _common.write_picture(path, figure)


def _table(
    args: argparse.Namespace, model: Model, dataset: Dataset, priors: list[PriorFit], n: int, m: int
) -> None:
    what, unit = _examples.named(model), _examples.unit(dataset)
    print(f"{args.run}: {what}; codes of {m:,} test {unit}s, priors fitted to {n:,} of training")
    print(f"  {'prior':15} {'log density [nats]':>19} {'gain [nats]':>17} "
          f"{'energy coefficient':>21} {'p':>7}")  # fmt: skip
    for prior in priors:
        c = prior.test.coefficient
        print(f"  {prior.name:15} {prior.log_prob!s:>19} {prior.gain!s:>17} "
              f"{c.mean:11.4f} +- {c.standard_error:.4f} {prior.test.p_value:8.4f}")  # fmt: skip
    print(f"  p of {priors[0].test.permutations:,} permutations; three tests, so ask each for a "
          "third of the level")  # fmt: skip
    if isinstance(model, VAE):
        print(f"  gain: of the ELBO in nats per {unit}, with this prior in place of N(0, I)")
    else:
        print("  gain: over N(0, I), which nothing in this model's training asked the codes to be")


def _cross(
    train: Codes, test: Codes, mixture: PriorFit, rng: np.random.Generator, components: int
) -> Crossing:
    """Lines between the codes, in the mixture and in the sum of all q(z|x); the last is drawn."""
    starts, ends = disjoint_pairs(len(test.mu), PAIRS, rng)
    mu = test.mu.astype(np.float64)
    densities: dict[str, Callable] = {f"the mixture of {components}": mixture.density.log_prob}
    if train.logvar is not None:
        densities["the sum of q(z|x)"] = AggregatedPosterior(train).log_prob
    print(f"  straight lines between the codes of {len(starts)} pairs, log density below its "
          "lower end:")  # fmt: skip
    for name, log_prob in densities.items():
        crossing = cross(log_prob, mu[starts], mu[ends])
        fall = crossing.log.min(axis=1) - np.minimum(crossing.log[:, 0], crossing.log[:, -1])
        share = float((fall < -1.0).mean())
        print(f"    in {name:20} {crossing.depth!s:>15} nats; more than 1 nat on {share:.0%}")
    return crossing


def _plane(
    train: Codes, points: np.ndarray, mixture: PriorFit
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Density and codes of the two latents that are used most; with one, beside N(0, 1)."""
    K = train.mu.shape[1]
    if K == 1:  # a plane needs a second axis: noise that says nothing
        noise = np.random.default_rng(0).standard_normal(len(points))
        log_prob = _first(train, mixture)
        return lambda z: log_prob(z[:, :1]) - 0.5 * z[:, 1] ** 2, np.stack(
            [points[:, 0], noise], axis=1
        )
    pair = tuple(train.order()[:2].tolist())
    if train.logvar is not None:
        return AggregatedPosterior(train, pair).log_prob, points[:, pair]
    assert isinstance(mixture.density, Mixture)
    return mixture.density.marginal(pair).log_prob, points[:, pair]


def _first(train: Codes, mixture: PriorFit) -> Callable[[np.ndarray], np.ndarray]:
    return mixture.density.log_prob if train.logvar is None else AggregatedPosterior(train).log_prob


def _names(train: Codes) -> list[str]:
    if train.mu.shape[1] == 1:
        return ["latent 1", "nothing: draws of N(0, 1)"]
    return [f"latent {k + 1}" for k in train.order()[:2]]


def _samples(
    model: Model, dataset: Dataset, priors: list[PriorFit], rng: np.random.Generator
) -> dict[str, Any] | None:
    """Images decoded from N(0, I) and from the mixture."""
    if not _common.is_image(dataset):
        return None
    return {
        prior.name: walks.decoded(model, prior.density.sample(40, rng))
        for prior in (priors[0], priors[-1])
    }
