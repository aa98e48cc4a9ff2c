"""From a checkpoint, the one before the first step or a later one, to the end of a run."""

import sys
from typing import Any

from minivae.arrays import like
from minivae.cli import conditional
from minivae.cli.pictures import draw, report
from minivae.datasets import Dataset
from minivae.models.base import Model
from minivae.runs import Training
from minivae.schedules import kl_schedule, learning_rate_schedule
from minivae.training import train

PIXELS = {
    "none": "",
    "threshold": ", black and white above and below 1/2",
    "fixed": ", black and white drawn once",
    "new": ", black and white drawn at every use",
}


def go(run: Training, dataset: Dataset, pictures: bool = True) -> None:
    """Train to the end, or to where it stops, and draw what came of it if ``pictures`` says so."""
    model, keeper, rows = run.model, run.keeper, run.history.rows
    asked, folder, interrupted = run.config["training"], keeper.folder, ""
    try:
        train(
            model, dataset.train.x, dataset.valid.x, **conditional.training(model, dataset),
            epochs=asked["epochs"], batch_size=asked["batch_size"], optimizer=run.optimizer,
            **schedules(run.config, len(dataset.train)),
            clip=asked["clip"], patience=asked["patience"], seed=asked["seed"],
            binarisation="new" if run.config["data"]["binarisation"] == "new" else "none",
            progress=None, history=run.history, keep_best=False, after_epoch=keeper.after_epoch,
            **{name: asked[name] for name in model.OPTIONS if name in asked},
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = f"stopped after {len(rows)} of {asked['epochs']} epochs"
        keeper.write("training")
        print(f"\n{interrupted}", file=sys.stderr)
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
        drawn = draw(folder, model, dataset, rows, asked["seed"]) if pictures else []
        report(rows, folder, drawn)
    if interrupted:
        raise KeyboardInterrupt(f"{interrupted}; to go on: minivae train --resume {folder}")
    keeper.mark("stopped early" if len(rows) < asked["epochs"] else "finished")


def check(config: dict[str, Any], dataset: Dataset) -> None:
    """Raise ValueError for what cannot be trained, before anything is written."""
    if config["training"]["patience"] is not None and not len(dataset.valid):
        raise ValueError("--patience needs held-out data to watch, but there are none")
    schedules(config, len(dataset.train))


def schedules(config: dict[str, Any], n: int) -> dict[str, Any]:
    """The schedules of a configuration, for n examples to train on."""
    asked = config["training"]
    epochs, steps = asked["epochs"], -(-n // asked["batch_size"])
    kl = None
    if asked["kl_schedule"] != "constant":
        kl = kl_schedule(asked["kl_schedule"], steps, epochs)
    rate = learning_rate_schedule(asked["learning_rate_schedule"], steps, epochs)
    return {"learning_rate_schedule": rate, "kl_schedule": kl}


def describe(config: dict[str, Any], dataset: Dataset, model: Model) -> str:
    """One line about what is trained on what."""
    a = model.architecture
    widths = "-".join(str(n) for n in (a.n_features, *a.hidden, getattr(a, "latent", a.n_features)))
    drawn = PIXELS[config["data"]["binarisation"]]
    return (
        f"{config['model']} {widths}, {a.likelihood}, {len(model.parameters):,} parameters; "
        f"{dataset.name}: {len(dataset.train):,} images to train, {len(dataset.valid):,} to watch"
        f"{drawn}"
    )
