"""`minivae train --resume RUN`: go on as if nothing had happened."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from minivae import blas, runs
from minivae.cli import session
from minivae.cli.options import add_arguments, check_numbers
from minivae.datasets import Dataset
from minivae.runs import Training
from minivae.training import History, blas_threads

FREE = ("resume", "device", "no_pictures")
"""What is no matter of the run: which one, and where and with what pictures it goes on."""

CHANGEABLE = ("epochs", "learning_rate", "clip", "patience")
"""What may be changed when a run is resumed; the rest stands in its config.json."""

STARTED_AGAIN = "MINIVAE_STARTED_AGAIN"


def resume(args: argparse.Namespace) -> None:
    """Go on from the last checkpoint of a run."""
    _refuse_other_options(args)
    folder = Path(args.resume)
    card = runs.read_card(folder)
    if args.own_process:
        _start_again_as(card)
    with runs.claimed(folder):
        training = runs.load_training(folder, args.device or card["device"])
        _change(args, training)
        asked, done = training.config["training"], len(training.history.rows)
        if training.state != "training" and _is_done(asked, training.history):
            print(f"{folder} {training.state} after {done} epochs: there is nothing to resume")
            return
        dataset = runs.load_data(training.config, folder)
        session.check(training.config, dataset)
        if args.epochs is not None and _stretched(asked):
            print(f"minivae: note: the schedules are those of {args.epochs} epochs from here on",
                  file=sys.stderr)  # fmt: skip
        _note_what_differs(card, training, dataset)
        runs.write_config(folder, training.model, training.config)
        runs.write_sealed(folder / "card.json", card)
        print(f"{session.describe(training.config, dataset, training.model)}\n"
              f"run folder {folder}, on from epoch {done}", flush=True)  # fmt: skip
        session.go(training, dataset, pictures=not args.no_pictures)


def _stretched(asked: dict[str, Any]) -> bool:
    """Whether a schedule depends on how long the run is."""
    return "cosine" in asked["learning_rate_schedule"] or "cyclical" in asked["kl_schedule"]


def _note_what_differs(card: dict[str, Any], training: Training, dataset: Dataset) -> None:
    """Say what is not as it was when the run began, and add it to the card."""
    asked, model = training.config["training"], training.model
    threads = blas_threads(model, asked["batch_size"] * asked.get("samples", 1))
    now = runs.card(dataset, asked["seed"], str(model.device), threads)
    different = runs.differences(card, now)
    if different:
        print(f"minivae: note: {'; '.join(different)}: the run goes on, but not bit for bit as "
              "it would have", file=sys.stderr)  # fmt: skip
    done = len(training.history.rows)
    resumed = {"at": now["started"], "after_epoch": done, "different": different}
    card["resumed"] = [*card["resumed"], resumed]


def _is_done(asked: dict[str, Any], history: History) -> bool:
    patience = asked["patience"]
    impatient = patience is not None and history.stale >= patience
    return len(history.rows) >= asked["epochs"] or impatient


def _refuse_other_options(args: argparse.Namespace) -> None:
    """With --resume the run's configuration says everything but a few things."""
    plain = argparse.ArgumentParser()
    add_arguments(plain)
    options = {action.dest: action.option_strings[-1] for action in plain._actions}
    for name, default in vars(plain.parse_args([])).items():
        if name not in (*FREE, *CHANGEABLE) and getattr(args, name) != default:
            raise ValueError(
                f"{options[name]} cannot be said with --resume: {args.resume}/config.json says it"
            )


def _change(args: argparse.Namespace, training: Training) -> None:
    """Take over what --resume allows to be changed."""
    asked, optimizer = training.config["training"], training.optimizer
    for name in ("epochs", "clip", "patience"):
        if getattr(args, name) is not None:
            asked[name] = getattr(args, name)
    check_numbers(asked)
    if args.learning_rate is not None:
        settings = {**optimizer.settings(), "learning_rate": args.learning_rate}
        runs.make_optimizer(settings)  # raises if there is none with such a rate
        optimizer.learning_rate = args.learning_rate
    asked["optimizer"] = optimizer.settings()


def _start_again_as(card: dict[str, Any]) -> None:
    """Replace this process by one whose BLAS has the kernel and the threads of the run card.

    Both are chosen when NumPy is loaded, and it has been loaded; so the same command starts once
    more, with the environment that makes them so.
    """
    wanted = blas.environment(card["blas_kernel"], card["blas_threads"])
    changed = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    same = blas.loaded_kernel(), blas.loaded_threads()
    if (
        same == (card["blas_kernel"], card["blas_threads"])
        or not changed
        or STARTED_AGAIN in os.environ
    ):
        return
    sys.stdout.flush()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **changed, STARTED_AGAIN: "1"})
