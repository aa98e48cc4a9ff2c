"""`minivae sweep`: train at several KL weights side by side, and lay rate against distortion."""

import argparse
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minivae import runs
from minivae.cli import _examples, options, train
from minivae.datasets import LOADERS
from minivae.lab import frontier
from minivae.lab.sweep import Trial, plan, shown, train_all

HELP = "train at several KL weights: rate against distortion"
DESCRIPTION = """Train a VAE at each of several KL weights, one process a core, and print and draw
what each buys: rate (mean KL), distortion (-E_q log p(x|z)), ELBO and active units of the test
images, in nats per image and bits per dimension, with standard errors.

All other options are those of `minivae train`. Each training is a run of its own in the sweep's
folder, and all commands work on it. A sweep that was stopped goes on with --resume: what is
finished is not trained again, what was begun goes on from its last checkpoint.

A sweep of the KL weight traces the lower convex hull of what can be achieved, not all of it: the
least D + beta R of any set of points is at a corner of its hull. For linear VAEs (--hidden without
numbers, --likelihood gaussian) the best that is possible is known: Shannon's curve is drawn."""
EXAMPLES = """examples:
  minivae sweep --kl-weight 0.1 0.3 1 3 10
      the embedded digits, black and white, two latents
  minivae sweep --kl-weight 0.5 1 2 4 8 --latent 20 --epochs 100
      with latents to spare
  minivae sweep --hidden --likelihood gaussian --variance fixed --sigma 0.2236 \\
      --kl-weight 1 2 4 8 --latent 20
      linear VAEs on Shannon's curve, with a latent for each direction that pays
  minivae sweep --resume runs/digits-sweep-1 --kl-weight 30
      go on with a sweep that was stopped, and add a point
"""
WEIGHTS = [0.1, 0.3, 1.0, 3.0, 10.0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minivae train`, of which a few mean something else here."""
    options.add_arguments(parser, without=("--kl-weight", "--out", "--resume"))
    add = parser.add_argument
    add("--kl-weight", type=float, nargs="+", metavar="W",
        help="the weights (beta); with --resume they are added; default: "
        + " ".join(map(shown, WEIGHTS)))  # fmt: skip
    add("--jobs", type=int, metavar="N", help="trainings side by side; default: one a core")
    add("--out", metavar="DIR", help="a new folder for the sweep; default: runs/DATA-sweep-1, ...")
    add("--resume", metavar="DIR",
        help="go on with a sweep; besides only --kl-weight and --jobs may be said")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Train, measure, print, draw; the exit status is 1 if a training failed."""
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"expected --jobs of at least 1, got {args.jobs}")
    folder, asked = _begin(args) if args.resume is None else _go_on(args)
    trials = plan(folder, asked["kl_weights"])
    _check_trials(trials, asked)
    with runs.claimed(folder):
        runs.write_sealed(folder / "sweep.json", asked)
        jobs = args.jobs or asked["jobs"] or min(_cores(), len(trials))
        print(f"sweep folder {folder}: {len(trials)} KL weights, {jobs} at a time", flush=True)
        try:
            failed = _train(trials, asked, jobs)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; to go on: minivae sweep --resume {folder}") from None
        good = [trial for trial in trials if trial.kl_weight not in failed]
        _check_trials(good, asked)
        if good:
            _show(folder, good)
    for weight, why in failed.items():
        print(f"KL weight {shown(weight)} failed: {why}")
    return 1 if failed else 0


def _cores() -> int:
    """Cores that this process may use, however few of them its own BLAS was told to take."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def _begin(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """A new folder for a sweep that can be trained, and what sweep.json says of it."""
    weights = WEIGHTS if args.kl_weight is None else args.kl_weight
    plan(Path(), weights)  # raises for a weight that cannot be
    if args.model != "vae":
        raise ValueError(f"a sweep of the KL weight is of --model vae, got --model {args.model}")
    words = _words(args)
    first = argparse.Namespace(**{**vars(args), "kl_weight": weights[0], "resume": None})
    dataset, _, _, config = train.prepare(first)
    if not len(dataset.test):
        raise ValueError(f"{dataset.name}: no test examples to measure on")
    name = args.data if args.data in LOADERS else Path(args.data).resolve().stem
    return _folder(args.out, f"{name}-sweep"), {
        "kl_weights": sorted(map(float, weights)),
        "options": words,
        "epochs": config["training"]["epochs"],
        "jobs": 1 if first.device == "cuda" else None,  # None: one for each core
        "data_sha256": dataset.sha256,
    }


def _words(args: argparse.Namespace) -> list[str]:
    """The options of the trainings; a path is made absolute, to be found from another folder."""
    said = dict(vars(args))
    for name in ("kl_weight", "out", "resume"):
        said.pop(name)
    if args.data not in LOADERS:
        said["data"] = str(Path(args.data).resolve())
    return options.as_words(argparse.Namespace(**said))


def _folder(out: str | None, name: str) -> Path:
    """A new folder, as `runs.create` makes one, but without the parts of a run."""
    folder = runs.create(out, name)
    for part in ("checkpoints", "pictures"):
        (folder / part).rmdir()
    return folder


def _go_on(args: argparse.Namespace) -> tuple[Path, dict[str, Any]]:
    """The folder of a sweep that was begun, and its sweep.json, with the weights that are new."""
    folder = Path(args.resume)
    if folder.is_dir() and not (folder / "sweep.json").exists():
        raise ValueError(f"{folder} is not a sweep: it has no sweep.json")
    plain = argparse.ArgumentParser()
    add_arguments(plain)
    for name, default in vars(plain.parse_args([])).items():
        if name not in ("resume", "kl_weight", "jobs") and getattr(args, name) != default:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} cannot be said with --resume: {folder}/sweep.json says it")
    asked = runs.read_sealed(folder / "sweep.json")
    asked.pop("format")
    asked["kl_weights"] = sorted({*asked["kl_weights"], *map(float, args.kl_weight or ())})
    _check_data(folder, asked)
    return folder, asked


def _check_data(folder: Path, asked: dict[str, Any]) -> None:
    """The data that the options name now are those that the sweep began with.

    Raises  ValueError, one line, if they are not: points of two data sets make no curve.
    """
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    said = parser.parse_args(asked["options"])
    options.complete(said)
    if train.load_data(said).sha256 != asked["data_sha256"]:
        raise ValueError(
            f"{folder}: the data are not those it began with (SHA-256): {said.data} was changed "
            "since; a new sweep is needed"
        )


def _check_trials(trials: list[Trial], asked: dict[str, Any]) -> None:
    """Those that were begun were begun on the data of the sweep."""
    for trial in trials:
        if not (trial.folder / "card.json").exists():
            continue
        if runs.read_card(trial.folder)["data_sha256"] != asked["data_sha256"]:
            raise ValueError(f"{trial.folder}: it was trained on other data than the sweep's")


def _train(trials: list[Trial], asked: dict[str, Any], jobs: int) -> dict[float, str]:
    """Train with a bar that counts the epochs of all."""
    epochs = asked["epochs"]
    with tqdm(total=epochs * len(trials), unit="epoch", disable=None, dynamic_ncols=True) as bar:

        def watch(trials: Any) -> None:
            states = [trial.progress() for trial in trials]
            ended = [state in ("finished", "stopped early") for state, _ in states]
            bar.set_description(f"{sum(ended)} of {len(trials)} trained", refresh=False)
            done = [epochs if end else n for (_, n), end in zip(states, ended, strict=True)]
            bar.update(sum(done) - bar.n)

        return train_all(trials, asked["options"], jobs, watch)


def _show(folder: Path, trials: list[Trial]) -> None:
    """Measure what was trained; print the table, write results.json and the picture."""
    from minivae import plots  # Matplotlib takes a while to load

    points = [frontier.measure(trial) for trial in
              tqdm(trials, desc="measuring", unit="run", disable=None, leave=False)]  # fmt: skip
    unit = _examples.unit(runs.load_data(runs.load_run(trials[0].folder)[1]))
    print(f"{points[0].n:,} test {unit}s, each mean with its standard error")
    print(frontier.table(points))
    print("hull: the corners of the lower convex hull; at its own KL weight, a point may be behind "
          "another's D + beta R")  # fmt: skip
    print("A sweep finds the lower convex hull only: no KL weight leads to a point above it.")
    if points[0].likelihood != "bernoulli":
        print("Densities: distortion and ELBO compare with others of the same data only.")
    value, values, linear = frontier.results(points), None, []
    if points[0].linear is not None:
        values = frontier.eigenvalues(trials[0])
        linear = [(p.linear.got.rate, p.linear.got.distortion) for p in points if p.linear]
        value["shannon"] = {"eigenvalues": values.tolist()}
        print(f"\non the training {unit}s, beside Shannon's curve of their covariance")
        print(frontier.linear_table(points, values))
    runs.write_json(folder / "results.json", value)
    figure = plots.rate_distortion(
        [p.kl_weight for p in points], [p.point for p in points], values, linear
    )
    runs.write_figure(folder / "rate-distortion.png", figure)
    print(f"wrote {folder / 'results.json'} and {folder / 'rate-distortion.png'}")
