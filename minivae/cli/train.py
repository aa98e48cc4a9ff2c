"""`minivae train`: train a model, leave a run folder with its numbers and pictures."""

import argparse
import sys
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from minivae import runs
from minivae.arrays import generator, to_numpy
from minivae.datasets import Dataset, binarise_splits, load
from minivae.datasets.binarisation import CHOICES
from minivae.layers import ACTIVATIONS
from minivae.models import VAE, Architecture, smoothed_mean
from minivae.models.base import Model
from minivae.models.networks import LIKELIHOODS
from minivae.optimizers import Adam
from minivae.runs import Log
from minivae.training import Row, blas_threads, train

HELP = "train a model and draw its pictures"
DESCRIPTION = "Train a VAE (or an autoencoder) and write a run folder with numbers and pictures."
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
      MNIST from the folder mnist/ in $MINIVAE_DATA, trained on all 60,000 images
"""

DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": [256, 128], "latent": 2, "epochs": 400, "batch_size": 64},
    "mnist": {"hidden": [400], "latent": 20, "epochs": 10, "batch_size": 128},
    "sprites": {"hidden": [512, 256], "latent": 8, "epochs": 80, "batch_size": 128},
    "glyphs": {"hidden": [512, 256], "latent": 20, "epochs": 80, "batch_size": 128},
}
PICTURES = 7  # the purpose of the generator that draws the codes of samples.png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; those whose default depends on the data say both."""
    add = parser.add_argument
    add("--data", choices=list(DEFAULTS), default="digits", help="default: digits")
    add("--model", choices=list(runs.MODELS), default="vae", help="default: vae")
    add("--hidden", type=int, nargs="*", metavar="N", help=_either("hidden"))
    add("--latent", type=int, metavar="K", help=f"number of latents; {_either('latent')}")
    add("--activation", choices=list(ACTIVATIONS), default="relu", help="default: relu")
    add("--likelihood", choices=list(LIKELIHOODS), default="bernoulli",
        help="of a pixel given the code: black and white, or a density of grey values (the "
        "others); default: bernoulli")  # fmt: skip
    add("--variance", choices=["shared", "fixed", "pixel"],
        help="of a Gaussian pixel: one learned number, the fixed --sigma squared, or an output "
        "of the decoder; default: shared")  # fmt: skip
    add("--sigma", type=float, metavar="S",
        help="its standard deviation, fixed or at the start; default: 0.2")  # fmt: skip
    add("--kl-weight", type=float, default=1.0, metavar="W", help="beta; default: 1, the ELBO")
    add("--free-bits", type=float, default=0.0, metavar="F",
        help="nats of KL per latent that cost nothing; default: 0")  # fmt: skip
    add("--samples", type=int, default=1, metavar="S",
        help="codes drawn for each example and step; default: 1")  # fmt: skip
    add("--epochs", type=int, metavar="N", help=_either("epochs"))
    add("--batch-size", type=int, metavar="B", help=_either("batch_size"))
    add("--learning-rate", type=float, default=1e-3, metavar="R", help="of Adam; default: 0.001")
    add("--seed", type=int, default=0, help="of all randomness; default: 0")
    add("--validation", type=int, metavar="N",
        help="examples held out of training; "
        "default: 250 (digits), 5000 (mnist), 1000 (sprites, glyphs)")  # fmt: skip
    add("--binarisation", choices=CHOICES,
        help="of grey pixels: none; threshold, at 1/2; fixed, drawn once; new, drawn at every use; "
        "default: new for bernoulli, none for the densities of grey values")  # fmt: skip
    add("--dtype", choices=["float32", "float64"], default="float32", help="default: float32")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    add("--out", metavar="DIR", help="a new folder for the run; default: runs/DATA-MODEL-1, ...")


def run(args: argparse.Namespace) -> None:
    """Train as asked, then draw; Ctrl-C ends the training, and keeps what it reached."""
    _complete(args)
    dataset = _data(args)
    model = _model(args, dataset)
    optimizer = Adam(args.learning_rate)
    threads = blas_threads(model, args.batch_size * args.samples)
    folder = runs.create(args.out, f"{args.data}-{args.model}")
    card = runs.card(dataset, args.seed, args.device, threads)
    runs.write_json(folder / "card.json", card)
    print(f"{_describe(args, dataset, model)}\nrun folder {folder}", flush=True)
    log, interrupted = Log(folder / "history.csv"), False
    try:
        train(
            model, dataset.train.x, dataset.valid.x,
            epochs=args.epochs, batch_size=args.batch_size, optimizer=optimizer, seed=args.seed,
            binarisation="new" if args.binarisation == "new" else "none",
            progress=None, after_epoch=log.add, **_options(args),
        )  # fmt: skip
    except KeyboardInterrupt:
        print(f"\nstopped after {len(log.rows)} of {args.epochs} epochs", file=sys.stderr)
        if not log.rows:
            raise
        args.epochs = len(log.rows)
        interrupted = True
    log.write()
    runs.save(folder, model, _config(args, len(dataset.valid)))
    pictures = draw(folder, model, dataset, log.rows, args.seed)
    _report(log.rows, folder, pictures)
    if interrupted:
        raise KeyboardInterrupt


def draw(folder: Path, model: Model, dataset: Dataset, rows: list[Row], seed: int) -> list[Path]:
    """Draw every picture that this model has; returns the files."""
    from minivae import plots  # Matplotlib takes a while to load: only when there is something

    held_out = np.concatenate([dataset.valid.x, dataset.test.x])
    labels = np.concatenate([dataset.valid.y, dataset.test.y])
    shape, K = dataset.image_shape, model.architecture.latent
    means = to_numpy(model.means(held_out[:10_000]))
    shown = held_out[:48]
    figures = {
        "curves": plots.curves(rows),
        "reconstructions": plots.reconstructions(shown, to_numpy(model.reconstruct(shown)), shape),
        "samples": plots.samples(
            to_numpy(model.sample(96, generator("cpu", seed, 0, PICTURES))),
            shape,
            title="decoded draws of N(0, 1)" + (", the prior" if isinstance(model, VAE) else ""),
        ),
    }
    order = np.argsort(-means.var(axis=0))
    if isinstance(model, VAE):
        kl = to_numpy(model.encode(held_out[:10_000]).kl_terms()).mean(axis=0)
        order = np.argsort(-kl)
        figures["kl"] = plots.kl_per_latent(kl)
        if K == 2:
            figures["manifold"] = plots.manifold(model, shape)
    if K >= 2:
        first, second = (0, 1) if K == 2 else (int(order[0]), int(order[1]))
        figures["latents"] = plots.latents(
            means, labels[:10_000], (first, second), prior=isinstance(model, VAE),
            names=dataset.class_names or tuple("0123456789"),
        )  # fmt: skip
    files = []
    for name, figure in figures.items():
        files.append(folder / "pictures" / f"{name}.png")
        runs.write_figure(files[-1], figure)
    return files


def _complete(args: argparse.Namespace) -> None:
    """Fill in the defaults that depend on other options, and refuse what contradicts."""
    for name, value in DEFAULTS[args.data].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.binarisation is None:
        args.binarisation = "new" if args.likelihood == "bernoulli" else "none"
    if args.likelihood != "gaussian" and (args.variance, args.sigma) != (None, None):
        raise ValueError("--variance and --sigma belong to --likelihood gaussian")
    args.variance = args.variance or "shared"
    args.sigma = 0.2 if args.sigma is None else args.sigma
    if args.model == "ae" and (args.kl_weight, args.free_bits, args.samples) != (1.0, 0.0, 1):
        raise ValueError("an autoencoder has no KL and no samples: --model vae has")
    if not (0.0 <= args.kl_weight < inf and 0.0 <= args.free_bits < inf and args.samples >= 1):
        raise ValueError(
            "expected --kl-weight and --free-bits of at least 0 and --samples of at least 1, "
            f"got {args.kl_weight}, {args.free_bits} and {args.samples}"
        )
    if args.seed < 0 or args.epochs < 1 or args.batch_size < 1:
        raise ValueError(
            "expected --epochs and --batch-size of at least 1 and --seed of at least 0, "
            f"got {args.epochs}, {args.batch_size} and {args.seed}"
        )


def _data(args: argparse.Namespace) -> Dataset:
    dataset = load(args.data)
    if args.validation is not None:
        dataset = dataset.with_validation(args.validation)
    return binarise_splits(dataset, args.binarisation)


def _model(args: argparse.Namespace, dataset: Dataset) -> Model:
    architecture = Architecture(
        dataset.train.x.shape[1], args.latent, args.hidden, args.activation,
        args.likelihood, args.variance, args.sigma,
    )  # fmt: skip
    mean = smoothed_mean(dataset.train.x)
    return runs.MODELS[args.model](architecture, mean, args.seed, args.dtype, args.device)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    if args.model == "ae":
        return {}
    return {"kl_weight": args.kl_weight, "free_bits": args.free_bits, "samples": args.samples}


def _config(args: argparse.Namespace, n_valid: int) -> dict[str, Any]:
    data = {"name": args.data, "validation": n_valid, "binarisation": args.binarisation}
    training = {
        "epochs": args.epochs, "batch_size": args.batch_size, "optimizer": "adam",
        "learning_rate": args.learning_rate, "seed": args.seed, **_options(args),
    }  # fmt: skip
    return {"model": args.model, "data": data, "training": training}


def _describe(args: argparse.Namespace, dataset: Dataset, model: Model) -> str:
    widths = "-".join(str(n) for n in (dataset.train.x.shape[1], *args.hidden, args.latent))
    return (
        f"{args.model} {widths}, {args.likelihood}, {len(model.parameters):,} parameters; "
        f"{dataset.name}: {len(dataset.train):,} images to train, {len(dataset.valid):,} to watch"
    )


def _report(rows: list[Row], folder: Path, pictures: list[Path]) -> None:
    last = rows[-1]
    part = "valid" if "valid_reconstruction" in last else "train"
    terms = [
        f"{name} {last[f'{part}_{column}']:.2f}"
        for name, column in (("ELBO", "elbo"), ("reconstruction", "reconstruction"), ("KL", "kl"))
        if f"{part}_{column}" in last
    ]
    what = "held-out images" if part == "valid" else "training images"
    print(f"last epoch, {what}: {', '.join(terms)} nats per image")
    if part == "valid" and "valid_elbo" in last:
        best = max(rows, key=lambda row: row["valid_elbo"])
        if best["valid_elbo"] > last["valid_elbo"] + 1.0:
            print(
                f"the held-out ELBO was best after epoch {best['epoch']:.0f}, "
                f"{best['valid_elbo']:.2f}: --epochs {best['epoch']:.0f} would learn less by heart"
            )
    print("pictures " + " ".join(str(path) for path in pictures))
    print(f"next: minivae evaluate {folder}")


def _either(name: str) -> str:
    """The defaults of an option as help: each value with the data it is for."""
    shown: dict[str, list[str]] = {}
    for data, values in DEFAULTS.items():
        v = values[name]
        shown.setdefault(" ".join(map(str, v)) if isinstance(v, list) else str(v), []).append(data)
    return "default: " + ", ".join(f"{v} ({', '.join(data)})" for v, data in shown.items())
