"""`minivae prune RUN`: the same model without the latents that it does not use."""

import argparse
import math

from minivae.cli import _common
from minivae.lab.prune import Pruned, prune_run

HELP = "the same model without its inactive latents"
DESCRIPTION = """\
Write a new run folder whose model lacks the latents that RUN's does not use;
RUN itself is left as it is. A removed latent is held at its mean over the
training images, which goes into the bias of the decoder's first layer.

A latent is inactive where the variance of its mean over the training images
is at most 0.01 (Burda and others 2015), or with --rule kl where its KL is at
most 0.01 nats. The ELBO of the test images is printed before and after; if it
falls by more than --tolerance, nothing is written.

The new run is like any other. From the last epoch it has the optimiser's
moments too, so that `minivae train --resume` can go on; from the best epoch
it has none."""
EXAMPLES = """examples:
  minivae prune runs/mnist-vae-1
      in runs/mnist-vae-1-pruned-1
  minivae prune runs/mnist-vae-1 --rule kl --threshold 0.05 --out runs/small
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--rule", choices=["variance", "kl"], default="variance",
        help="what a latent needs to stay: a moving mean, or a KL; default: variance")  # fmt: skip
    add("--threshold", type=float, default=0.01, metavar="T",
        help="and how much of it, in units of the prior or in nats; default: 0.01")  # fmt: skip
    add("--tolerance", type=float, default=0.05, metavar="NATS",
        help="what the ELBO of the test images may lose; default: 0.05")  # fmt: skip
    add("--samples", type=int, default=10, metavar="S", help="codes an image; default: 10")
    _common.add_seed(parser, "the codes")
    _common.add_device(parser)
    add("--out", metavar="DIR", help="the new folder; default: RUN-pruned-1, -2, ...")


def run(args: argparse.Namespace) -> None:
    """Prune, and print what came of it."""
    for name in ("threshold", "tolerance"):
        value = getattr(args, name)
        if not 0.0 <= value < math.inf:
            raise ValueError(f"expected --{name} of at least 0 and finite, got {value}")
    _common.within("--samples", args.samples, 1, 10**6, "codes an image")
    if args.seed < 0:
        raise ValueError(f"expected --seed of at least 0, got {args.seed}")
    result = prune_run(
        args.run, args.out, args.rule, args.threshold, args.tolerance, args.samples, args.seed,
        args.device, args.checkpoint,
    )  # fmt: skip
    if result is None:
        print(f"{args.run}: all latents are active: there is nothing to prune")
        return
    _report(args.run, result)


def _report(run: str, result: Pruned) -> None:
    keep, usage, elbo = result.keep, result.usage, result.elbo
    names = ", ".join(str(k + 1) for k in range(len(keep)) if not keep[k])
    print(f"{run}: {keep.sum()} of {len(keep)} latents stay; without {names}")
    print(f"  KL that goes   {usage.kl[~keep].sum():10.4f} nats per training image")
    print(f"  ELBO before    {elbo.before.mean:10.4f} +- {elbo.before.standard_error:.4f} nats "
          "per test image")  # fmt: skip
    print(f"  ELBO after     {elbo.after.mean:10.4f} +- {elbo.after.standard_error:.4f}")
    print(f"  change         {elbo.change.mean:+10.4f} +- {elbo.change.standard_error:.4f} of the "
          "same images with the same noise")  # fmt: skip
    (p, p_after), (size, size_after) = result.parameters, result.file_bytes
    print(f"  parameters     {p:,} before, {p_after:,} after")
    print(f"  checkpoint     {size:,} bytes before, {size_after:,} after")
    print(f"wrote {result.folder}")
    print(f"next: minivae evaluate {result.folder}")
