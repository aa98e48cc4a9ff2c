"""`minivae usage RUN`: which latents a run uses, and what its KL consists of."""

import argparse
import math

from minivae.arrays import generator
from minivae.cli import _common, _examples
from minivae.evaluation import Surgery, Usage, exact_surgery, latent_usage, surgery
from minivae.models import VAE

HELP = "which latents a run uses, and what its KL consists of"
DESCRIPTION = """\
For each latent of a run, on its test images: the KL to the prior in nats per
image with its standard error, the variance of its mean, and whether it is
active by either rule (variance above 0.01; KL above 0.01 nats).

Then the KL is taken apart (Hoffman and Johnson 2016),
    KL = I(x; z) + KL(q(z) || p(z)),
with all test images as the mixture q(z): what the code says about the image,
and how far all codes together are from the prior. The information is at most
ln N. With one or two latents both are integrated, too."""
EXAMPLES = """examples:
  minivae usage runs/digits-vae-1
  minivae usage runs/mnist-vae-1 --samples 4 --out usage.svg
"""
SURGERY = 31  # the purpose of the generator's noise
LARGEST = 2_000  # examples for which two latents are integrated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--samples", type=int, default=1, metavar="S", help="codes an image; default: 1")
    _common.add_seed(parser, "the codes")
    _common.add_device(parser)
    _common.add_out(parser, "a .png or a .svg", "RUN/pictures/usage.png")


def run(args: argparse.Namespace) -> None:
    """Measure, print, draw."""
    model, config = _common.load(args)
    _common.within("--samples", args.samples, 1, 10**5, "codes an image")
    path = _common.destination(args, "usage.png")
    if not isinstance(model, VAE):
        raise ValueError(
            f"{args.run}: expected a VAE, got an autoencoder: it has no KL; minivae traverse "
            "sorts its latents by their variance"
        )
    dataset = _common.load_data(model, config, args.run)
    x = dataset.test.x[:]
    usage = latent_usage(model, x)
    unit = _examples.unit(dataset)
    print(f"{args.run}: {len(x):,} test {unit}s of {dataset.name}")
    _table(usage, unit)
    rng = generator(args.device, args.seed, 0, SURGERY)
    _report(surgery(model, x, rng, args.samples), unit)
    if model.architecture.latent <= 2 and len(x) <= LARGEST:
        _integrals(model, x)
    from minivae import plots

    _common.write_picture(path, plots.latent_use(usage, f"nats per {unit}"))


def _table(usage: Usage, unit: str) -> None:
    """A line for each latent, the largest KL first."""
    print(f"  latent   {f'KL [nats per {unit}]':25}variance   active by variance, by KL")
    words = {True: "yes", False: "no"}
    active, by_kl = usage.active(), usage.active_by_kl()
    for k in (-usage.kl).argsort():
        error = "" if math.isnan(usage.kl_error[k]) else f" +- {usage.kl_error[k]:.4f}"
        print(f"  {k + 1:6}   {usage.kl[k]:8.4f}{error:11}   {usage.variance[k]:10.5f}   "
              f"{words[bool(active[k])]:18} {words[bool(by_kl[k])]}")  # fmt: skip
    print(f"  active: {active.sum()} of {len(active)} by variance, {by_kl.sum()} by KL")


def _report(found: Surgery, unit: str) -> None:
    for name, e in (
        ("KL", found.kl),
        ("I(x; z)", found.mutual_information),
        ("KL(q(z) || p(z))", found.marginal_kl),
    ):
        error = "" if math.isnan(e.standard_error) else f" +- {e.standard_error:.4f}"
        print(f"  {name:17}{e.mean:9.4f}{error} nats per {unit}")
    noise = "" if math.isnan(found.noise) else f"; the draws alone leave {found.noise:.4f}"
    print(f"  ln N = {found.limit:.4f}, the largest information of {found.n_examples:,} {unit}s; "
          f"S = {found.n_samples}{noise}")  # fmt: skip


def _integrals(model: VAE, x: object) -> None:
    """The same by quadrature, or why not."""
    try:
        exact = exact_surgery(model, x, 1e-5)  # type: ignore[arg-type]
    except ValueError as error:
        print(f"  by integration: {error}")
        return
    print(f"  by integration: I(x; z) {exact.mutual_information:.5f}, KL(q(z) || p(z)) "
          f"{exact.marginal_kl:.5f}, within {max(exact.error, 1e-5):.0e}")  # fmt: skip
