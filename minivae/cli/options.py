"""The options of `minivae train`: their defaults, and which of them contradict each other."""

import argparse
from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from minivae import datasets
from minivae.cli import autoregressive, conditional, quantised
from minivae.datasets.binarisation import CHOICES
from minivae.layers import ACTIVATIONS
from minivae.models import MODELS
from minivae.models.denoising import DAMAGES, damaged
from minivae.models.networks import LIKELIHOODS
from minivae.optimizers import OPTIMIZERS

DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"hidden": [256, 128], "latent": 2, "epochs": 400, "batch_size": 64},
    "mnist": {"hidden": [400], "latent": 20, "epochs": 10, "batch_size": 128},
    "sprites": {"hidden": [512, 256], "latent": 8, "epochs": 80, "batch_size": 128},
    "glyphs": {"hidden": [512, 256], "latent": 20, "epochs": 80, "batch_size": 128},
    "your own": {"hidden": [400], "latent": 10, "epochs": 50, "batch_size": 128},
}


def add_arguments(parser: argparse.ArgumentParser, without: Sequence[str] = ()) -> None:
    """The options; those whose default depends on the data say both.

    without  options that another command, which trains, has in a form of its own.
    """

    def add(option: str, **how: Any) -> None:
        if option not in without:
            parser.add_argument(option, **how)

    add("--data", default="digits", metavar="DATA",
        help=f"{', '.join(datasets.LOADERS)}, or the path of a file or a folder of images; "
        "default: digits")  # fmt: skip
    add("--model", choices=list(MODELS), default="vae",
        help="vae; ae, an autoencoder, no distribution of codes; dae, one that repairs damaged "
        "images; iwae, a vae with several codes in its bound; cvae, a vae that is told a label or "
        "more; made, no codes, one pixel after the other; vq and vq2, codes from a list, on one "
        "level or two; default: vae")  # fmt: skip
    add("--hidden", type=int, nargs="*", metavar="N",
        help=f"widths of the hidden layers; {_either('hidden')}")  # fmt: skip
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
    add("--kl-weight", type=float, metavar="W",
        help="beta, the factor of the KL in the loss; default: 1, the ELBO")  # fmt: skip
    add("--kl-schedule", default="constant", metavar="SPEC",
        help="a factor of the KL weight: constant, linear:epochs=20 or cyclical:cycles=4,ramp=0.5; "
        "default: constant")  # fmt: skip
    add("--free-bits", type=float, metavar="F",
        help="nats of KL per latent that cost nothing; default: 0")  # fmt: skip
    add("--kl-floor", type=float, metavar="F",
        help="nats of KL of all latents together that cost nothing; default: 0")  # fmt: skip
    add("--samples", type=int, metavar="S",
        help="codes drawn for each example and step; default: 1, for iwae 5")  # fmt: skip
    add("--damage", choices=DAMAGES,
        help="of what a dae sees: pixels set to 0, pixels set to 0 or 1, or noise added to all; "
        "default: mask")  # fmt: skip
    add("--damage-level", type=float, metavar="L",
        help="share of damaged pixels, or sigma of the noise; default: 0.25")  # fmt: skip
    autoregressive.add_arguments(add)
    conditional.add_arguments(add)
    quantised.add_arguments(add)
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
    add("--no-pictures", action="store_true", help="train, and draw nothing afterwards")


def complete(args: argparse.Namespace) -> None:
    """Fill in the defaults that depend on other options, and refuse what contradicts."""
    args.device = args.device or "cpu"
    quantised.complete(args)
    autoregressive.complete(args)
    for name, value in DEFAULTS[args.data if args.data in datasets.LOADERS else "your own"].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.binarisation is None:
        args.binarisation = "new" if args.likelihood == "bernoulli" else "none"
    if args.likelihood != "gaussian" and (args.variance, args.sigma) != (None, None):
        raise ValueError("--variance and --sigma belong to --likelihood gaussian")
    args.variance = args.variance or "shared"
    args.sigma = 0.2 if args.sigma is None else args.sigma
    _complete_options(args)
    conditional.complete(args)
    if args.damage is not None:  # judged before a run folder is made
        damaged(np.zeros((1, 1)), args.damage, args.damage_level, np.random.default_rng(0))
    if args.momentum is not None and args.optimizer != "sgd":
        raise ValueError("--momentum belongs to --optimizer sgd")
    if args.weight_decay is not None and args.optimizer != "adamw":
        raise ValueError("--weight-decay belongs to --optimizer adamw")
    check_numbers(vars(args))


def _complete_options(args: argparse.Namespace) -> None:
    """The options of the model's objective: its own with their defaults, and no others."""
    own = MODELS[args.model].OPTIONS
    for name in sorted({name for kind in MODELS.values() for name in kind.OPTIONS}):
        if name in own and getattr(args, name) is None:
            setattr(args, name, own[name])
        elif name not in own and getattr(args, name) is not None:
            owners = ", ".join(known for known, kind in MODELS.items() if name in kind.OPTIONS)
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} belongs to --model {owners}, got --model {args.model}")
    if "kl_weight" not in own and args.kl_schedule != "constant":
        raise ValueError(f"--kl-schedule needs a KL that is weighed: --model {args.model} has none")
    for name, least, most in (
        ("kl_weight", 0, inf), ("free_bits", 0, inf), ("kl_floor", 0, inf), ("samples", 1, 10_000),
    ):  # fmt: skip
        value = getattr(args, name)
        if value is not None and not (least <= value <= most and value < inf):
            option, limit = "--" + name.replace("_", "-"), f"from {least} to {most:,}"
            limit = f"of at least {least}" if most == inf else limit
            raise ValueError(f"expected {option} {limit}, got {value}")


def as_words(args: argparse.Namespace) -> list[str]:
    """The command line that says these options of `minivae train`: those that are no defaults."""
    plain = argparse.ArgumentParser()
    add_arguments(plain)
    words: list[str] = []
    for action in plain._actions:
        value = getattr(args, action.dest, action.default)
        if action.dest == "help" or value == action.default:
            continue
        words.append(action.option_strings[0])
        if value is not True:
            words += map(str, value) if isinstance(value, list) else [str(value)]
    return words


def check_numbers(asked: dict[str, Any]) -> None:
    """Raise ValueError for a number that no training can have."""
    for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("seed", 0)):
        value, option = asked[name], "--" + name.replace("_", "-")
        if value is not None and value < least:
            raise ValueError(f"expected {option} of at least {least}, got {value}")
    if asked["clip"] is not None and not 0.0 < asked["clip"] < inf:
        raise ValueError(f"expected --clip positive, got {asked['clip']}")


def _either(name: str) -> str:
    """The defaults of an option as help: each value with the data it is for."""
    shown: dict[str, list[str]] = {}
    for data, values in DEFAULTS.items():
        v = values[name]
        shown.setdefault(" ".join(map(str, v)) if isinstance(v, list) else str(v), []).append(data)
    return "default: " + ", ".join(f"{v} ({', '.join(data)})" for v, data in shown.items())
