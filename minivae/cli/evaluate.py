"""`minivae evaluate RUN`: the bound and the likelihood of a run on its test images."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minivae.arrays import Array, generator, standard_normal, to_numpy
from minivae.cli import _common, autoregressive, conditional, quantised
from minivae.datasets import Dataset, Parted, binarise
from minivae.distributions import Bernoulli, Gaussian
from minivae.evaluation import Estimate, Likelihood, estimate_likelihood, independent_pixels
from minivae.models import MADE, VAE, VQVAE, ConditionalVAE
from minivae.models.base import Model
from minivae.models.denoising import DenoisingAutoencoder, damaged

HELP = "ELBO and likelihood of a run on its test images"
DESCRIPTION = """Print ELBO, reconstruction, KL and the importance-sampled negative log-likelihood
of a run on its test images, each with its standard error, in nats per image.

The bound is the plain one, whatever the run's KL weight. The NLL is -log of the mean of S
importance weights with the encoder as proposal; its mean falls to -log p(x) as S grows.

A conditional VAE's numbers are of p(x|y). A MADE's NLL is exact. For a VQ-VAE it is the length of
a message: the codes under its prior, then the pixels. An autoencoder has a reconstruction only.
Where the images are black and white, independent pixels stand beside it, the least of models."""
EXAMPLES = """examples:
  minivae evaluate runs/digits-vae-1
  minivae evaluate runs/mnist-vae-1 --samples 5000
"""
EVALUATION = 6  # the purpose of the generator's noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--samples", type=int, default=1000, metavar="S",
        help="codes an image, for models with a q(z|x); default: 1000")  # fmt: skip
    add("--seed", type=int, default=0, help="of the codes; default: 0")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")


def run(args: argparse.Namespace) -> None:
    """Evaluate and print."""
    if not 1 <= args.samples <= 10**7 or args.seed < 0:
        raise ValueError(
            "expected --samples from 1 to 10,000,000 and --seed of at least 0, "
            f"got {args.samples} and {args.seed}"
        )
    model, config = _common.load(args, codes=False, told=True)
    dataset = _common.load_data(model, config, args.run)
    x = dataset.test.x
    rng = generator(args.device, args.seed, 0, EVALUATION)
    D = model.architecture.n_features
    print(f"{args.run}: {len(x):,} test images of {dataset.name}, {_what(config, x)}")
    if len(x) < 2:
        print("  one image: no standard error")
    counted = model.likelihood is Bernoulli and _common.black_and_white(x)
    if isinstance(model, ConditionalVAE):
        result = conditional.evaluate(args, model, config, dataset, rng)
        _table(result, D, counted, "|y")
        conditional.extras(model, config, dataset)
    elif isinstance(model, VQVAE):
        quantised.evaluate(model, Path(args.run), dataset, config, counted)
    elif isinstance(model, MADE):
        autoregressive.evaluate(model, x, counted)
    elif not isinstance(model, VAE):
        _autoencoder(model, config, x, rng)
    else:
        with tqdm(total=len(x), unit="ex", disable=None, leave=False) as bar:
            result = estimate_likelihood(model, x, rng, args.samples, bar.update)
        _table(result, D, counted, "")
        if model.likelihood is Gaussian:
            _variance(model, dataset, config, rng)
    if counted:
        _baseline(dataset)
    _warn(model, x)


def _table(result: Likelihood, D: int, probability: bool, given: str) -> None:
    """The four numbers; bits per dimension only where p(x) is a probability: of black and white,
    neither a density nor what a Bernoulli says of grey.

    given  what stands behind x: "|y" or nothing.
    """
    what, inside = f"log p(x{given})", f"log p(x|z{given.replace('|', ',')})"
    for name, values, is_what in (
        ("ELBO", result.elbo, f"a lower bound on {what}"),
        ("reconstruction", result.reconstruction, f"of the ELBO: {inside}, z from the encoder"),
        ("KL", result.kl, "of the ELBO, in closed form"),
        ("NLL", result.nll, f"estimates -{what}, in the mean from above"),
    ):
        e = Estimate.of(values)
        bits = f" ({e.bits_per_dimension(D):.4f} bits per dimension)"
        per_dim = bits if name == "NLL" and probability else ""
        _line(name, values, f"{per_dim}: {is_what}")
    print(f"  S = {result.n_samples:,} samples an image, the encoder as proposal")


def _line(name: str, values: np.ndarray, rest: str) -> None:
    """A name, the mean of values (N,) and its standard error, in nats per image, and what it is."""
    e = Estimate.of(values)
    error = f" +- {e.standard_error:.2f}" if len(values) > 1 else ""
    print(f"  {name:14}  {e.mean:9.2f}{error} nats per image{rest}")


def _autoencoder(model: Model, config: dict[str, Any], x: np.ndarray, rng: Any) -> None:
    """log p(x|z) at the code of x; and of a denoising one, at that of a damaged copy."""
    _line("reconstruction", _at_codes(model, x), ": log p(x | its own code)")
    if isinstance(model, DenoisingAutoencoder):
        asked: dict[str, Any] = {**model.OPTIONS, **config.get("training", {})}
        damage, level = asked["damage"], asked["damage_level"]
        values = _at_codes(model, x, lambda rows: damaged(rows, damage, level, rng))
        _line("repaired", values, f": log p(x | the code of a copy with {damage} {level:g})")
    print("  An autoencoder has no distribution over codes, so no ELBO and no likelihood.")


def _at_codes(
    model: Model, x: np.ndarray, seen: Callable[[Array], Array] = lambda rows: rows
) -> np.ndarray:
    """log p(x | f(what is seen of x)) of each row of x (N, D): (N,), in nats."""
    found = []
    for start in range(0, len(x), 500):
        rows = model.array(x[start : start + 500])
        p = model.decode(model.means(seen(rows)))
        found.append(to_numpy(p.log_prob(rows)).astype(np.float64))
    return np.concatenate(found)


def _baseline(dataset: Dataset) -> None:
    """Independent pixels, where x is black and white: what a code or an order has to beat."""
    nll = -independent_pixels(dataset.train.x).log_prob(dataset.test.x)
    e = Estimate.of(nll)
    shown = f"{e}" if len(nll) > 1 else f"{e.mean:.2f}"
    of_these = " of the rest, whatever is given" if isinstance(dataset, Parted) else ""
    print(f"  beside it: independent pixels{of_these}, NLL {shown} nats per image, exact")


def _variance(model: VAE, dataset: Dataset, config: dict[str, Any], rng: Any) -> None:
    """A learned variance comes to rest at the mean squared error: say both."""
    how = config["data"]["binarisation"]
    x = binarise(dataset.train.x, how if how == "new" else "none", np.random.default_rng(0))
    errors, variances = [], []
    for start in range(0, len(x), 500):
        batch = model.array(x[start : start + 500])
        q = model.encode(batch)
        p = model.decode(q.sample(standard_normal(rng, q.mu.shape, q.mu)))
        assert isinstance(p, Gaussian)
        errors.append(to_numpy((batch - p.mean) ** 2).mean(axis=1))
        variances.append(np.exp(to_numpy(p.logvar)).mean(axis=1))
    error, variance = np.concatenate(errors).mean(), np.concatenate(variances).mean()
    print(f"  decoder variance {variance:.5f}; training mean squared error under q {error:.5f}")


def _warn(model: Model, x: np.ndarray) -> None:
    """What these numbers are not."""
    grey = not _common.black_and_white(x)
    if model.likelihood is Bernoulli and grey:
        print("  grey pixels under a Bernoulli: these numbers are no likelihood")
    if model.likelihood is not Bernoulli:
        values = "values that are only 0 and 1"
        if grey:
            inside = x.min() >= 0.0 and x.max() <= 1.0
            values = "grey values in [0, 1]" if inside else "these numbers, in their units"
        print(f"  densities of {values}: comparable with others of the same only")


def _what(config: dict[str, Any], x: np.ndarray) -> str:
    drawn = {
        "new": "binarised once",
        "fixed": "binarised once",
        "threshold": "binarised at 1/2",
        "none": "black and white" if _common.black_and_white(x) else "grey",
    }
    return drawn[config["data"]["binarisation"]]
