"""`minivae prior RUN`: the second stage of a VQ-VAE, a distribution over its codes."""

import argparse
from pathlib import Path

import numpy as np

from minivae.arrays import to_numpy
from minivae.cli import _common, quantised
from minivae.evaluation import Estimate
from minivae.evaluation.quantised import codes_of
from minivae.models import MADE, VQVAE, IndependentPrior, prior_over
from minivae.schedules import learning_rate_schedule
from minivae.training import train

HELP = "train a prior over the codes of a VQ-VAE, to draw images from"
DESCRIPTION = """\
Train a MADE (an autoregressive network) on the codes that a VQ-VAE gives to its
training images, and write it into the run folder as prior.npz. From then on
`minivae evaluate` charges codes by it, and `minivae sample` draws them from it.

Where training drew black and white at every use, it sees the codes of --draws
drawings of each image. The epoch with the best held-out log p(codes) is kept.
Beside it the -log p of independent positions is printed: what looking at the
other codes is worth.

It takes seconds or minutes, and the file is written at the end, whole: one that
was stopped has left nothing behind, and starts from the beginning."""
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
    add("--draws", type=int, metavar="N",
        help="black and white drawings of each training image, where training drew afresh: more "
        "codes to learn from; default: 10, above 10,000 images 1")  # fmt: skip
    add("--force", action="store_true", help="replace the prior that the run has")
    _common.add_seed(parser, "all randomness")
    _common.add_device(parser)


def run(args: argparse.Namespace) -> None:
    """Train, print, write."""
    _check(args)
    model, config = _common.load(args, codes=False, told=True)
    if not isinstance(model, VQVAE):
        raise ValueError(f"{args.run}: a prior over codes needs a vq or vq2, got {config['model']}")
    path = Path(args.run, quantised.PRIOR)
    if path.exists() and not args.force:
        raise ValueError(f"{path} exists already: --force replaces it")
    dataset = _common.load_data(model, config, args.run)
    n_codes = model.architecture.n_codes
    if args.draws is not None and config["data"]["binarisation"] != "new":
        raise ValueError(
            f"--draws belongs to training images drawn black and white at every use: those of "
            f"{args.run} are always the same"
        )
    draws = args.draws or (10 if len(dataset.train) <= 10_000 else 1)
    codes = quantised.training_codes(model, dataset, config, draws)
    held_out = codes_of(model, dataset.valid.x) if len(dataset.valid) else None
    prior = prior_over(codes, n_codes, seed=args.seed, device=args.device, hidden=args.hidden)
    try:
        epoch = _train(args, prior, codes, held_out)
    except KeyboardInterrupt:
        what = "the prior that it had is as it was" if path.exists() else "nothing is written"
        raise KeyboardInterrupt(
            f"stopped: {what}; minivae prior {args.run} starts from the beginning"
        ) from None
    what, judged = ("training", codes) if held_out is None else ("held-out", held_out)
    n = len(dataset.train)
    each = f", {len(codes) // n} drawings of each" if len(codes) > n else ""
    print(f"{n:,} images of {model.architecture.M} codes{each}; "
          f"-log p of {what} codes, exact:")  # fmt: skip
    count = n if held_out is None else len(held_out)
    _line("MADE", prior, judged, count, f", epoch {epoch}")
    _line("independent positions", IndependentPrior(codes, n_codes), judged, count)
    quantised.save_prior(Path(args.run), model, prior)


def _check(args: argparse.Namespace) -> None:
    _common.within("--epochs", args.epochs, 1, 10**6, "of its training")
    _common.within("--batch-size", args.batch_size, 1, 10**6, "images")
    if args.draws is not None:
        _common.within("--draws", args.draws, 1, 1000, "of each training image")
    if min(args.hidden, default=1) < 1:
        raise ValueError(f"expected --hidden of at least 1 each, got {args.hidden}")


def _train(
    args: argparse.Namespace, prior: MADE, codes: np.ndarray, held_out: np.ndarray | None
) -> int:
    """Train on codes (N, M); the best epoch by the held-out ones is kept, and is the result."""
    steps = -(-len(codes) // args.batch_size)
    history = train(
        prior, codes.astype(np.float32),
        None if held_out is None else held_out.astype(np.float32),
        epochs=args.epochs, batch_size=args.batch_size, seed=args.seed, progress=None,
        learning_rate_schedule=learning_rate_schedule("cosine:floor=0.01", steps, args.epochs),
        patience=None if held_out is None else args.epochs,  # never too early; keeps the best
    )  # fmt: skip
    return int((history.best or history.rows[-1])["epoch"])


def _line(name: str, prior: quantised.CodePrior, codes: np.ndarray, n: int, more: str = "") -> None:
    """A prior's mean -log p of the codes of n images, which may be of several drawings each.

    The drawings of an image are alike, so it is images that the standard error counts: the mean of
    each first.
    """
    nll = -to_numpy(prior.log_prob(codes)).astype(np.float64)
    e = Estimate.of(nll.reshape(-1, n).mean(axis=0))
    error = f" +- {e.standard_error:.2f}" if n > 1 else ""
    print(f"  {name:22} {e.mean:9.2f}{error} nats per image{more}")
