"""`minivae train`: train a model, leave a run folder with its numbers and pictures; or go on."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from minivae import runs
from minivae.cli import conditional, quantised, resume, session
from minivae.cli.options import add_arguments, complete
from minivae.datasets import LOADERS, Dataset, prepared
from minivae.models import MODELS, smoothed_mean
from minivae.models.base import Model
from minivae.optimizers import OPTIMIZERS, Optimizer
from minivae.runs import Keeper, Training
from minivae.training import History, blas_threads

__all__ = ["DESCRIPTION", "EXAMPLES", "HELP", "add_arguments", "run"]

HELP = "train a model and draw its pictures, or resume a run"
DESCRIPTION = """Train a VAE (or an autoencoder) and write a run folder with numbers and pictures.

The folder holds a checkpoint from before the first step on, so that a run that was stopped, by
Ctrl-C, by a power cut or by a loss that is not finite, goes on with --resume."""
EXAMPLES = """examples:
  minivae train
      a VAE with two latents on the 1,797 embedded digits, in under a minute
  minivae train --likelihood gaussian --latent 8
      grey pixels, a Gaussian decoder with one learned variance
  minivae train --likelihood continuous-bernoulli
      grey pixels as a density on [0, 1], and no variance to choose
  minivae train --data sprites
      squares, ellipses and hearts, drawn with known factors; --data glyphs: letters in 16 faces
  minivae train --data mnist --epochs 10 --validation 0
      MNIST, trained on all 60,000 images
  minivae train --model made --direct
      no latents: p(x) exactly, pixel after pixel, from one masked network
  minivae train --model cvae --prior learned
      told the class of each digit, with a prior p(z|y); --condition factors for rendered worlds
  minivae train --model cvae --prior learned --condition quadrants-2
      given the left half of each image, to predict the right half; quadrants-1, -3: other parts
  minivae train --data my-images/ --likelihood gaussian --patience 20
      your own images, .npy, .npz or .csv; stop when 20 epochs bring nothing
  minivae train --learning-rate-schedule warmup:epochs=5+cosine --kl-schedule linear:epochs=50
      schedules of the learning rate and of the KL weight
  minivae train --resume runs/digits-vae-1
      go on with a run that was stopped
"""


def run(args: argparse.Namespace) -> None:
    """Train as asked, then draw; Ctrl-C ends the training, and keeps what it reached."""
    if args.resume is not None:
        resume.resume(args)
        return
    dataset, model, optimizer, config = prepare(args)
    _note_scale(dataset, args.likelihood)
    threads = blas_threads(model, args.batch_size * (args.samples or 1))
    name = args.data if args.data in LOADERS else Path(args.data).resolve().stem
    folder = runs.create(args.out, f"{name}-{args.model}")
    card = runs.card(dataset, args.seed, args.device, threads)
    with runs.claimed(folder):
        runs.write_sealed(folder / "card.json", card)
        runs.write_config(folder, model, config)
        history = History()
        keeper = Keeper(folder, model, optimizer, history)
        keeper.write("training")
        print(f"{session.describe(config, dataset, model)}\nrun folder {folder}", flush=True)
        training = Training(model, optimizer, history, keeper, config, card, "training")
        session.go(training, dataset, pictures=not args.no_pictures)


def prepare(args: argparse.Namespace) -> tuple[Dataset, Model, Optimizer, dict[str, Any]]:
    """What a training begins with; it raises ValueError for what cannot be trained."""
    complete(args)
    dataset = load_data(args)
    model = _model(args, dataset)
    optimizer, config = _optimizer(args), _config(args, len(dataset.valid))
    config["training"]["optimizer"] = optimizer.settings()
    session.check(config, dataset)
    return dataset, model, optimizer, config


def _note_scale(dataset: Dataset, likelihood: str) -> None:
    """Say that numbers far from unit size train badly: the first steps are taken at sigma = 0.2."""
    scale = float(dataset.train.x[:1000].std())
    if likelihood == "gaussian" and not 0.01 < scale < 10.0:
        print(f"minivae: note: the standard deviation of the data is {scale:.3g}; training wants "
              "numbers of about unit size: scale them", file=sys.stderr)  # fmt: skip


def load_data(args: argparse.Namespace) -> Dataset:
    """The data that the options name, as the training uses them."""
    return prepared(args.data, args.validation, args.binarisation, args.condition)


def _model(args: argparse.Namespace, dataset: Dataset) -> Model:
    kind, asked = MODELS[args.model], vars(args)
    asked = asked | {"n_features": dataset.train.x.shape[1], "image_shape": dataset.image_shape}
    asked |= conditional.fields(args, dataset)
    names = [field.name for field in fields(kind.Architecture)]
    architecture = kind.Architecture(
        **{name: asked[name] for name in names if asked.get(name) is not None}
    )
    quantised.check(args, architecture, len(dataset.train))
    mean = smoothed_mean(dataset.train.x)
    return kind(architecture, mean, args.seed, args.dtype, args.device)


def _optimizer(args: argparse.Namespace) -> Optimizer:
    names = ("learning_rate", "momentum", "weight_decay")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return OPTIMIZERS[args.optimizer](**given)


def _config(args: argparse.Namespace, n_valid: int) -> dict[str, Any]:
    """All that was asked for, so that --resume and `minivae evaluate` can ask for it again."""
    name = args.data if args.data in LOADERS else str(Path(args.data).resolve())
    data = {"name": name, "validation": n_valid, "binarisation": args.binarisation}
    names = ["epochs", "batch_size", "learning_rate_schedule", "kl_schedule", "clip", "patience"]
    names += ["seed", *MODELS[args.model].OPTIONS]
    return {
        "model": args.model,
        "data": data,
        "training": {name: getattr(args, name) for name in names},
    }
