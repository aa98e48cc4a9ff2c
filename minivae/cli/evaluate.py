"""`minivae evaluate RUN`: the bound and the likelihood of a run on its test images."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minivae.arrays import generator, standard_normal, to_numpy
from minivae.cli import _common, autoregressive, conditional, quantised
from minivae.datasets import Dataset, binarise
from minivae.distributions import Bernoulli, Gaussian
from minivae.evaluation import Estimate, Likelihood, estimate_likelihood
from minivae.models import MADE, VAE, VQVAE, ConditionalVAE
from minivae.models.base import Model
from minivae.training import evaluate_objective

HELP = "ELBO and likelihood of a run on its test images"
DESCRIPTION = """Print ELBO, reconstruction, KL and the importance-sampled negative log-likelihood
of a run on its test images, each with its standard error, in nats per image.

The bound is the plain one, whatever the run's KL weight. The NLL is -log of the mean of S
importance weights with the encoder as proposal; its mean falls to -log p(x) as S grows."""
EXAMPLES = """examples:
  minivae evaluate runs/digits-vae-1
  minivae evaluate runs/mnist-vae-1 --samples 5000
"""
EVALUATION = 6  # the purpose of the generator's noise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--samples", type=int, default=1000, metavar="S", help="codes an image; default: 1000")
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
    print(f"{args.run}: {len(x):,} test images of {dataset.name}, {_what(config)}")
    if len(x) < 2:
        print("  one image: no standard error")
    if isinstance(model, ConditionalVAE):
        result = conditional.evaluate(args, model, config, dataset, rng)
        _table(result, D, probability=model.likelihood is Bernoulli)
        conditional.extras(model, config, dataset)
        _warn(model, config, x)
        return
    if isinstance(model, VQVAE):
        quantised.evaluate(model, Path(args.run), dataset, config)
        _warn(model, config, x)
        return
    if isinstance(model, MADE):
        autoregressive.evaluate(model, x, grey=config["data"]["binarisation"] == "none")
        return
    if not isinstance(model, VAE):
        value = evaluate_objective(model, model.array(x), rng)["reconstruction"]
        print(f"  reconstruction  {value:9.2f} nats per image: log p(x | its own code)")
        print("  An autoencoder has no distribution over codes, so no ELBO and no likelihood.")
        return
    with tqdm(total=len(x), unit="ex", disable=None, leave=False) as bar:
        result = estimate_likelihood(model, x, rng, args.samples, bar.update)
    _table(result, D, probability=model.likelihood is Bernoulli)
    if model.likelihood is Gaussian:
        _variance(model, dataset, config, rng)
    _warn(model, config, x)


def _table(result: Likelihood, D: int, probability: bool) -> None:
    """The four numbers; bits per dimension only where p(x) is a probability, not a density."""
    for name, values in (
        ("ELBO", result.elbo),
        ("reconstruction", result.reconstruction),
        ("KL", result.kl),
        ("NLL", result.nll),
    ):
        e = Estimate.of(values)
        bits = f"  ({e.bits_per_dimension(D):.4f} bits per dimension)"
        per_dim = bits if name == "NLL" and probability else ""
        error = f" +- {e.standard_error:.2f}" if len(values) > 1 else ""
        print(f"  {name:14}  {e.mean:9.2f}{error} nats per image{per_dim}")
    print(f"  S = {result.n_samples:,} samples an image, the encoder as proposal")


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


def _warn(model: Model, config: dict[str, Any], x: np.ndarray) -> None:
    """What these numbers are not."""
    grey = config["data"]["binarisation"] == "none"
    if model.likelihood is Bernoulli and grey:
        print("  grey pixels under a Bernoulli: these numbers are no likelihood")
    if model.likelihood is not Bernoulli:
        values = "values that are only 0 and 1"
        if grey:
            inside = x.min() >= 0.0 and x.max() <= 1.0
            values = "grey values in [0, 1]" if inside else "these numbers, in their units"
        print(f"  densities of {values}: comparable with others of the same only")


def _what(config: dict[str, Any]) -> str:
    drawn = {
        "new": "binarised once",
        "fixed": "binarised once",
        "threshold": "binarised at 1/2",
        "none": "grey",
    }
    return drawn[config["data"]["binarisation"]]
