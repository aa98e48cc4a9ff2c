"""`minivae train`: train a model, leave a run folder with its numbers and pictures; or go on."""

import argparse
import os
import sys
from math import inf
from pathlib import Path
from typing import Any

from minivae import blas, datasets, runs
from minivae.arrays import like
from minivae.cli.pictures import draw, report
from minivae.datasets import Dataset, binarise_splits, load
from minivae.datasets.binarisation import CHOICES
from minivae.layers import ACTIVATIONS
from minivae.models import Architecture, smoothed_mean
from minivae.models.base import Model
from minivae.models.networks import LIKELIHOODS
from minivae.optimizers import OPTIMIZERS, Optimizer
from minivae.runs import Keeper, Training
from minivae.schedules import kl_schedule, learning_rate_schedule
from minivae.training import History, blas_threads, train

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
  minivae train --data my-images/ --likelihood gaussian --patience 20
      your own images, .npy, .npz or .csv; stop when 20 epochs bring nothing
  minivae train --learning-rate-schedule warmup:epochs=5+cosine --kl-schedule linear:epochs=50
      schedules of the learning rate and of the KL weight
  minivae train --resume runs/digits-vae-1
      go on with a run that was stopped
"""

DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": [256, 128], "latent": 2, "epochs": 400, "batch_size": 64},
    "mnist": {"hidden": [400], "latent": 20, "epochs": 10, "batch_size": 128},
    "sprites": {"hidden": [512, 256], "latent": 8, "epochs": 80, "batch_size": 128},
    "glyphs": {"hidden": [512, 256], "latent": 20, "epochs": 80, "batch_size": 128},
    "your own": {"hidden": [400], "latent": 10, "epochs": 50, "batch_size": 128},
}
RESUMED = {"resume", "epochs", "learning_rate", "clip", "patience", "device"}
"""What may be said together with --resume; the rest stands in the run's config.json."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; those whose default depends on the data say both."""
    add = parser.add_argument
    add("--data", default="digits", metavar="DATA",
        help=f"{', '.join(datasets.LOADERS)}, or the path of a file or a folder of images; "
        "default: digits")  # fmt: skip
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
    add("--kl-schedule", default="constant", metavar="SPEC",
        help="a factor of the KL weight: constant, linear:epochs=20 or cyclical:cycles=4,ramp=0.5; "
        "default: constant")  # fmt: skip
    add("--free-bits", type=float, default=0.0, metavar="F",
        help="nats of KL per latent that cost nothing; default: 0")  # fmt: skip
    add("--samples", type=int, default=1, metavar="S",
        help="codes drawn for each example and step; default: 1")  # fmt: skip
    add("--epochs", type=int, metavar="N", help=_either("epochs"))
    add("--batch-size", type=int, metavar="B", help=_either("batch_size"))
    add("--optimizer", choices=list(OPTIMIZERS), default="adam", help="default: adam")
    add("--learning-rate", type=float, metavar="R", help="default: 0.001, for sgd 0.01")
    add("--learning-rate-schedule", default="constant", metavar="SPEC",
        help="a factor of it: constant, step:every=30,factor=0.1, cosine:floor=0.01 or "
        "warmup:epochs=5+cosine; default: constant")  # fmt: skip
    add("--momentum", type=float, metavar="M", help="of sgd; default: 0")
    add("--weight-decay", type=float, metavar="D", help="of adamw; default: 0.01")
    add("--clip", type=float, metavar="NORM",
        help="the largest norm of the gradient; default: no limit")  # fmt: skip
    add("--patience", type=int, metavar="N",
        help="stop after N epochs without a better held-out bound; default: never")  # fmt: skip
    add("--seed", type=int, default=0, help="of all randomness; default: 0")
    add("--validation", type=int, metavar="N",
        help="examples held out of training; default: 250 (digits), 5000 (mnist), "
        "1000 (sprites, glyphs), a tenth and at most 1000 (your own)")  # fmt: skip
    add("--binarisation", choices=CHOICES,
        help="of grey pixels: none; threshold, at 1/2; fixed, drawn once; new, drawn at every use; "
        "default: new for bernoulli, none for the densities of grey values")  # fmt: skip
    add("--dtype", choices=["float32", "float64"], default="float32", help="default: float32")
    add("--device", choices=["cpu", "cuda"], help="default: cpu")
    add("--out", metavar="DIR", help="a new folder for the run; default: runs/DATA-MODEL-1, ...")
    add("--resume", metavar="RUN",
        help="go on with a run; of the other options only --epochs, --learning-rate, --clip, "
        "--patience and --device may change")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Train as asked, then draw; Ctrl-C ends the training, and keeps what it reached."""
    if args.resume is not None:
        _resume(args)
        return
    _complete(args)
    dataset = _data(args)
    if args.patience is not None and not len(dataset.valid):
        raise ValueError("--patience needs held-out data to watch, but --validation is 0")
    model = _model(args, dataset)
    optimizer, config = _optimizer(args), _config(args, len(dataset.valid))
    config["training"]["optimizer"] = optimizer.settings()
    _schedules(config, len(dataset.train))  # a wrong one is noticed before a folder is made
    threads = blas_threads(model, args.batch_size * args.samples)
    name = args.data if args.data in DEFAULTS else Path(args.data).resolve().stem
    folder = runs.create(args.out, f"{name}-{args.model}")
    card = runs.card(dataset, args.seed, args.device, threads)
    with runs.claimed(folder):
        runs.write_sealed(folder / "card.json", card)
        runs.write_config(folder, model, config)
        history = History()
        keeper = Keeper(folder, model, optimizer, history)
        keeper.write("training")
        print(f"{_describe(config, dataset, model)}\nrun folder {folder}", flush=True)
        _train(Training(model, optimizer, history, keeper, config, card, "training"), dataset)


def _resume(args: argparse.Namespace) -> None:
    """Go on from the last checkpoint of a run."""
    _refuse_other_options(args)
    folder = Path(args.resume)
    card = runs.read_sealed(folder / "card.json")
    if args.own_process:
        _start_again_as(card)
    with runs.claimed(folder):
        training = runs.load_training(folder, args.device or card["device"])
        _change(args, training)
        asked, done = training.config["training"], len(training.history.rows)
        if training.state != "training" and _is_done(asked, training.history):
            print(f"{folder} {training.state} after {done} epochs: there is nothing to resume")
            return
        dataset = runs.load_data(training.config)
        if dataset.sha256 != card["data_sha256"]:
            raise ValueError(f"{folder}: the data are not those it began with (SHA-256)")
        threads = blas_threads(training.model, asked["batch_size"] * asked.get("samples", 1))
        now = runs.card(dataset, asked["seed"], str(training.model.device), threads)
        different = runs.differences(card, now)
        if different:
            print(f"minivae: note: {'; '.join(different)}: the run goes on, but not bit for bit as "
                  "it would have", file=sys.stderr)  # fmt: skip
        resumed = {"at": now["started"], "after_epoch": done, "different": different}
        card["resumed"] = [*card.get("resumed", []), resumed]
        runs.write_sealed(folder / "card.json", card)
        print(f"{_describe(training.config, dataset, training.model)}\n"
              f"run folder {folder}, on from epoch {done}", flush=True)  # fmt: skip
        _train(training, dataset)


def _train(run: Training, dataset: Dataset) -> None:
    """Train to the end, or to where it stops, and draw what came of it."""
    model, keeper, rows = run.model, run.keeper, run.history.rows
    asked, folder, interrupted = run.config["training"], keeper.folder, False
    try:
        train(
            model, dataset.train.x, dataset.valid.x,
            epochs=asked["epochs"], batch_size=asked["batch_size"], optimizer=run.optimizer,
            **_schedules(run.config, len(dataset.train)),
            clip=asked["clip"], patience=asked["patience"], seed=asked["seed"],
            binarisation="new" if run.config["data"]["binarisation"] == "new" else "none",
            progress=None, history=run.history, keep_best=False, after_epoch=keeper.after_epoch,
            **{name: asked[name] for name in OBJECTIVE if name in asked},
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = True
        keeper.write("training")
        print(f"\nstopped after {len(rows)} of {asked['epochs']} epochs; to go on: "
              f"minivae train --resume {folder}", file=sys.stderr)  # fmt: skip
    except FloatingPointError as error:
        keeper.write("training")
        raise FloatingPointError(
            f"{error}; the state after epoch {len(rows)} is kept: minivae train --resume {folder} "
            f"--learning-rate {run.optimizer.learning_rate / 10:g}"
        ) from None
    if rows:
        keeper.write("training")
        if asked["patience"] is not None and run.history.best_theta is not None:
            theta = model.parameters.theta
            theta[...] = like(run.history.best_theta, theta)
        report(rows, folder, draw(folder, model, dataset, rows, asked["seed"]))
    if interrupted:
        raise KeyboardInterrupt
    keeper.mark("stopped early" if len(rows) < asked["epochs"] else "finished")


OBJECTIVE = ("kl_weight", "free_bits", "samples")
"""The options of `minivae.objectives.elbo` that stand in a configuration."""


def _schedules(config: dict[str, Any], n: int) -> dict[str, Any]:
    """The schedules of a configuration, for n examples to train on."""
    asked = config["training"]
    epochs, steps = asked["epochs"], -(-n // asked["batch_size"])
    kl = None
    if asked["kl_schedule"] != "constant":
        kl = kl_schedule(asked["kl_schedule"], steps, epochs)
    rate = learning_rate_schedule(asked["learning_rate_schedule"], steps, epochs)
    return {"learning_rate_schedule": rate, "kl_schedule": kl}


def _is_done(asked: dict[str, Any], history: History) -> bool:
    patience = asked["patience"]
    impatient = patience is not None and history.stale >= patience
    return len(history.rows) >= asked["epochs"] or impatient


def _refuse_other_options(args: argparse.Namespace) -> None:
    """With --resume the run's configuration says everything but a few things."""
    plain = argparse.ArgumentParser()
    add_arguments(plain)
    for name, default in vars(plain.parse_args([])).items():
        if name not in RESUMED and getattr(args, name) != default:
            option = "--" + name.replace("_", "-")
            raise ValueError(
                f"{option} cannot be said with --resume: {args.resume}/config.json says it"
            )


def _change(args: argparse.Namespace, training: Training) -> None:
    """Take over what --resume allows to be changed, into config.json as well."""
    asked, optimizer = training.config["training"], training.optimizer
    for name in ("epochs", "clip", "patience"):
        if getattr(args, name) is not None:
            asked[name] = getattr(args, name)
    _check_numbers(asked)
    if args.learning_rate is not None:
        settings = {**optimizer.settings(), "learning_rate": args.learning_rate}
        type(optimizer)(
            **{k: v for k, v in settings.items() if k != "name"}
        )  # raises if it cannot be
        optimizer.learning_rate = args.learning_rate
    before = asked["optimizer"]
    asked["optimizer"] = optimizer.settings()
    if before != asked["optimizer"] or any(getattr(args, n) is not None for n in
                                           ("epochs", "clip", "patience")):  # fmt: skip
        runs.write_config(training.keeper.folder, training.model, training.config)


def _start_again_as(card: dict[str, Any]) -> None:
    """Replace this process by one whose BLAS has the kernel and the threads of the run card.

    Both are chosen when NumPy is loaded, and it has been loaded; so the same command starts once
    more, with the environment that makes them so.
    """
    wanted = blas.environment(card["blas_kernel"], card["blas_threads"])
    changed = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    same = (blas.loaded_kernel(), blas.loaded_threads()) == (
        card["blas_kernel"],
        card["blas_threads"],
    )
    if same or not changed or STARTED_AGAIN in os.environ:
        return
    sys.stdout.flush()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **changed, STARTED_AGAIN: "1"})


STARTED_AGAIN = "MINIVAE_STARTED_AGAIN"


def _complete(args: argparse.Namespace) -> None:
    """Fill in the defaults that depend on other options, and refuse what contradicts."""
    args.device = args.device or "cpu"
    for name, value in DEFAULTS.get(args.data, DEFAULTS["your own"]).items():
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
    if args.model == "ae" and args.kl_schedule != "constant":
        raise ValueError("an autoencoder has no KL: --model vae has")
    if args.momentum is not None and args.optimizer != "sgd":
        raise ValueError("--momentum belongs to --optimizer sgd")
    if args.weight_decay is not None and args.optimizer != "adamw":
        raise ValueError("--weight-decay belongs to --optimizer adamw")
    _check_numbers(vars(args))


def _check_numbers(asked: dict[str, Any]) -> None:
    for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("seed", 0)):
        value, option = asked[name], "--" + name.replace("_", "-")
        if value is not None and value < least:
            raise ValueError(f"expected {option} of at least {least}, got {value}")
    if asked["clip"] is not None and not 0.0 < asked["clip"] < inf:
        raise ValueError(f"expected --clip positive, got {asked['clip']}")


def _optimizer(args: argparse.Namespace) -> Optimizer:
    names = ("learning_rate", "momentum", "weight_decay")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return OPTIMIZERS[args.optimizer](**given)


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


def _config(args: argparse.Namespace, n_valid: int) -> dict[str, Any]:
    """All that was asked for, so that --resume and `minivae evaluate` can ask for it again."""
    name = args.data if args.data in DEFAULTS else str(Path(args.data).resolve())
    data = {"name": name, "validation": n_valid, "binarisation": args.binarisation}
    names = ["epochs", "batch_size", "learning_rate_schedule", "kl_schedule", "clip", "patience"]
    names += ["seed", *(OBJECTIVE if args.model != "ae" else ())]
    return {
        "model": args.model,
        "data": data,
        "training": {name: getattr(args, name) for name in names},
    }


def _describe(config: dict[str, Any], dataset: Dataset, model: Model) -> str:
    a = model.architecture
    widths = "-".join(str(n) for n in (a.n_features, *a.hidden, a.latent))
    return (
        f"{config['model']} {widths}, {a.likelihood}, {len(model.parameters):,} parameters; "
        f"{dataset.name}: {len(dataset.train):,} images to train, {len(dataset.valid):,} to watch"
    )


def _either(name: str) -> str:
    """The defaults of an option as help: each value with the data it is for."""
    shown: dict[str, list[str]] = {}
    for data, values in DEFAULTS.items():
        v = values[name]
        shown.setdefault(" ".join(map(str, v)) if isinstance(v, list) else str(v), []).append(data)
    return "default: " + ", ".join(f"{v} ({', '.join(data)})" for v, data in shown.items())
