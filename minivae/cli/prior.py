"""`minivae prior RUN`: the second stage of a VQ-VAE, a distribution over its codes."""

import argparse
from pathlib import Path

import numpy as np

from minivae.cli import _common, quantised
from minivae.evaluation.quantised import codes_of
from minivae.models import VQVAE, IndependentPrior, prior_over
from minivae.schedules import learning_rate_schedule
from minivae.training import train

HELP = "train a prior over the codes of a VQ-VAE, to draw images from"
DESCRIPTION = """\
Train a MADE (an autoregressive network) on the codes that a VQ-VAE gives to its
training images, and write it into the run folder as prior.npz. From then on
`minivae evaluate` charges codes by it, and `minivae sample` draws them from it.

The epoch with the best held-out log p(codes) is kept. Beside it the log p of
independent positions is printed: what looking at the other codes is worth."""
EXAMPLES = """examples:
  minivae train --model vq
  minivae prior runs/digits-vq-1
  minivae sample runs/digits-vq-1 --temperature 0.9
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--hidden", type=int, nargs="*", default=[256], metavar="N",
        help="widths of its hidden layers; default: 256")  # fmt: skip
    add("--epochs", type=int, default=20, metavar="N", help="default: 20")
    add("--batch-size", type=int, default=64, metavar="B", help="default: 64")
    add("--force", action="store_true", help="replace the prior that the run has")
    _common.add_seed(parser, "all randomness")
    _common.add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Train, print, write."""
    model, config = _common.load(args)
    if not isinstance(model, VQVAE):
        raise ValueError(f"{args.run}: a prior over codes needs a vq, got {config['model']}")
    path = Path(args.run, quantised.PRIOR)
    if path.exists() and not args.force:
        raise ValueError(f"{path} exists already: --force replaces it")
    dataset = _common.load_data(model, config, args.run)
    n_codes = model.architecture.n_codes
    codes = codes_of(model, quantised.training_images(dataset, config))
    held_out = codes_of(model, dataset.valid.x) if len(dataset.valid) else None
    prior = prior_over(codes, n_codes, seed=args.seed, device=args.device, hidden=args.hidden)
    steps = -(-len(codes) // args.batch_size)
    patience = {"patience": args.epochs} if held_out is not None and args.epochs > 0 else {}
    history = train(
        prior, codes.astype(np.float32),
        None if held_out is None else held_out.astype(np.float32),
        epochs=args.epochs, batch_size=args.batch_size, seed=args.seed, progress=None,
        learning_rate_schedule=learning_rate_schedule("cosine:floor=0.01", steps, args.epochs),
        **patience,
    )  # fmt: skip
    judged = codes if held_out is None else held_out
    what = "training codes" if held_out is None else "held-out codes"
    alone = -IndependentPrior(codes, n_codes).log_prob(judged).mean()
    best = history.best or history.rows[-1]
    column = "train_log_px" if held_out is None else "valid_log_px"
    print(f"{len(codes):,} images of {model.architecture.M} codes; {what}:")
    print(
        f"  MADE                   {-best[column]:9.2f} nats per image, epoch {best['epoch']:.0f}"
    )
    print(f"  independent positions  {alone:9.2f} nats per image")
    quantised.save_prior(Path(args.run), model, prior)
