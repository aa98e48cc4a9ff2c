"""MNIST with a condition: quadrants of an image given, and digits drawn by class.

    MINIVAE_DATA=... python benchmarks/quadrants.py --out quadrants

Quadrants.  One, two or three quarters of an image are given, the rest is predicted by a conditional
VAE with a learned prior p(z|y).  Two numbers for each:

    grey      grey targets, -ELBO with the recognition net: the convention of the published figures;
              no likelihood, but comparable with them
    binary    black and white drawn afresh for the rest, the given part grey: -ELBO, and -log p(rest
              | given) with importance weights, with its errors over images and over draws

Digits by class.  A classifier of our own layers is trained on real binarised digits; it judges
binarised samples of p(x|y) from a model with N(0, I) for all classes and from one with a learned
p(z|y), beside real test digits.  The label that a linear probe reads from the codes says why the
two differ.

Every stage is a run folder below --out and an entry in its results.json; a benchmark that was
killed goes on where it was, to the bit, and two processes may do different --stages side by side.
The exit status is 0 if all that was asked for was reached.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import minivae as mv
from minivae import runs
from minivae.arrays import generator
from minivae.datasets import Dataset, conditions, parted
from minivae.evaluation import (
    Classifier,
    Estimate,
    completed,
    conditional_importance,
    leakage,
    mean_codes,
)
from minivae.models import ConditionalArchitecture, ConditionalVAE
from minivae.runs import Keeper
from minivae.schedules import learning_rate_schedule
from minivae.training import History, Row, evaluate_objective, train

SIDE = (28, 28)
PUBLISHED = {1: (100.4, 71.8), 2: (61.9, 51.0), 3: (25.4, 24.2)}
"""-ELBO in nats, deterministic net and CVAE: Sohn and others (2015), reproduced by Pyro."""

ABOVE = 3.0  # nats that a quadrant may cost more than published
ACCEPTED = 0.93  # of binarised samples with the learned prior


def trained(
    folder: Path, architecture: ConditionalArchitecture, x: np.ndarray, y: np.ndarray,
    binarisation: str, epochs: int,
) -> ConditionalVAE:  # fmt: skip
    """A model that is trained in a run folder, or goes on there; its last epochs learn slowly."""
    optimizer = mv.Adam(1e-3)
    schedule = "cosine:floor=0.02"
    if (folder / "checkpoint.json").exists():
        run = runs.load_training(folder)
        model, optimizer, history, keeper = run.model, run.optimizer, run.history, run.keeper
    else:
        folder.mkdir(parents=True, exist_ok=True)
        model, history = ConditionalVAE(architecture, mv.smoothed_mean(x)), History()
        keeper = Keeper(folder, model, optimizer, history)
        asked = {
            "epochs": epochs, "batch_size": 128, "seed": 0, "optimizer": optimizer.settings(),
            "clip": None, "patience": None, "learning_rate_schedule": schedule,
            "kl_schedule": "constant",
        }  # fmt: skip
        data = {"name": "mnist", "validation": 0, "binarisation": binarisation}
        runs.write_config(folder, model, {"model": "cvae", "data": data, "training": asked})
        card = runs.card(loaded(), 0, "cpu", 1)
        runs.write_sealed(folder / "card.json", card)
        keeper.write("training")
    steps = -(-len(x) // 128)

    def kept(row: Row) -> None:
        keeper.after_epoch(row)
        print(f"{folder.name}: epoch {row['epoch']:.0f}/{epochs}, training ELBO "
              f"{row['train_elbo']:.2f} nats, {row['seconds']:.0f} s", flush=True)  # fmt: skip

    train(
        model, x, y=y, epochs=epochs, batch_size=128, optimizer=optimizer, progress=None,
        learning_rate_schedule=learning_rate_schedule(schedule, steps, epochs),
        binarisation=binarisation, history=history, after_epoch=kept,
    )  # fmt: skip
    keeper.write("finished")
    assert isinstance(model, ConditionalVAE)
    return model


@cache
def loaded() -> Dataset:
    """MNIST, read once, and so its note said once."""
    return mv.load_mnist()


def mnist(options: argparse.Namespace) -> Any:
    """All 60,000 images to train, or the first of them for a trial."""
    data = loaded().with_validation(0)
    return replace(data, train=data.train[: options.examples])


def quadrant(folder: Path, given: int, pixels: str, options: argparse.Namespace) -> dict[str, Any]:
    """One, two or three quarters given: the figures of one model."""
    how = "none" if pixels == "grey" else "new"
    data = parted(mnist(options), given, how)
    a = ConditionalArchitecture(
        data.train.x.shape[1], 50, (options.hidden,), n_conditions=int(data.known.sum()),
        prior="learned", condition=f"quadrants-{given}",
    )  # fmt: skip
    model = trained(folder, a, data.train.x, data.train.given, how, options.epochs)
    held, held_y = data.test.x, data.test.given
    rng = generator("cpu", 0, 0, 61)
    terms = evaluate_objective(model, model.array(held), rng, y=model.array(held_y))
    result = {
        "given": given, "pixels": pixels, "nelbo": -terms["elbo"], "kl": terms["kl"],
        "published_net": PUBLISHED[given][0], "published_cvae": PUBLISHED[given][1],
    }  # fmt: skip
    if pixels == "binary":
        some, rng = slice(options.images), generator("cpu", 0, 0, 62)
        print(f"{folder.name}: likelihood, {options.samples} draws an image", flush=True)
        with tqdm(total=len(held[some]), unit="ex", disable=None, leave=False) as bar:
            found = conditional_importance(
                model, held[some], held_y[some], rng, options.samples, bar.update
            )
        nll = Estimate.of(found.nll)
        result |= {
            "nll": nll.mean, "nll_error": nll.standard_error, "samples": options.samples,
            "images": len(found.nll), "noise_over_draws": found.noise_of_mean,
            "bias": float(found.bias.mean()), "ess": float(np.median(found.ess)),
        }  # fmt: skip
    picture(folder, model, data.test.images[:8], data.known)
    return result


def picture(folder: Path, model: ConditionalVAE, x: np.ndarray, known: np.ndarray) -> None:
    """Completions of some test images."""
    from minivae import plots

    drawn = np.stack(
        [completed(model, x[:, known], known, generator("cpu", 0, s, 63)) for s in range(8)], 1
    )
    figure = plots.completions(x, known, drawn, x, SIDE)
    runs.write_figure(folder / "completions.png", figure)


def judge(data: Any, options: argparse.Namespace) -> tuple[Classifier, float]:
    """A classifier of binarised digits, and the share of real ones that it accepts."""
    y = conditions(data).of(data.train)
    model = Classifier(ConditionalArchitecture(784, hidden=(options.hidden,), n_conditions=10))
    train(model, data.train.x, y=y, epochs=options.judge_epochs, binarisation="new", progress=None)
    test = mv.binarise(data.test.x, "fixed", np.random.default_rng(777))
    return model, float((model.classes(test) == data.test.y).mean())


def by_class(folder: Path, prior: str, options: argparse.Namespace) -> dict[str, Any]:
    """Binarised samples of every class, judged; and the label in the codes."""
    data = mnist(options)
    known = conditions(data)
    hidden = (options.class_hidden, options.class_hidden)
    a = ConditionalArchitecture(784, options.latent, hidden, n_conditions=10, prior=prior)
    model = trained(folder, a, data.train.x, known.of(data.train), "new", options.epochs)
    judged, real = judge(data, options)
    asked = np.repeat(np.arange(10), 1000)
    means = model.sample(len(asked), generator("cpu", 0, 0, 64), np.eye(10)[asked])
    drawn = mv.binarise(means, "new", np.random.default_rng(0))
    right = judged.classes(drawn) == asked
    rng = np.random.default_rng(776)
    train_x = mv.binarise(data.train.x[:10_000], "fixed", rng)
    test_x = mv.binarise(data.test.x, "fixed", np.random.default_rng(777))
    y, held_y = known.of(data.train)[:10_000], known.of(data.test)
    found = leakage(
        mean_codes(model, train_x, y), data.train.y[:10_000],
        mean_codes(model, test_x, held_y), data.test.y,
    )  # fmt: skip
    terms = evaluate_objective(
        model, model.array(test_x), generator("cpu", 0, 0, 65), y=model.array(held_y)
    )
    from minivae import plots

    runs.write_figure(
        folder / "styles.png",
        plots.samples(drawn.reshape(10, 1000, -1)[:, :10].reshape(100, -1), SIDE, 10,
                      f"a class in a row, prior {prior}", "pixels drawn"),
    )  # fmt: skip
    return {
        "prior": prior, "accepted": float(right.mean()),
        "accepted_error": float(np.sqrt(right.mean() * (1 - right.mean()) / len(right))),
        "accepted_by_class": right.reshape(10, -1).mean(axis=1).tolist(), "real": real,
        "probe": found.accuracy.mean, "probe_error": found.accuracy.standard_error,
        "chance": found.chance, "information": found.information,
        "nelbo": -terms["elbo"], "kl": terms["kl"],
    }  # fmt: skip


def main() -> int:
    """Every stage that is not done yet; then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("quadrants"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--examples", type=int, default=60_000, help="to train on")
    parser.add_argument("--judge-epochs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=400)
    parser.add_argument("--class-hidden", type=int, default=500, help="of digits by class, twice")
    parser.add_argument("--latent", type=int, default=10, help="of the digits by class")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--images", type=int, default=10_000, help="for the likelihood")
    parser.add_argument("--stages", nargs="*", help="some of them; default: all")
    options = parser.parse_args()
    stages: dict[str, Callable[[Path], dict[str, Any]]] = {}
    for pixels in ("grey", "binary"):
        for given in (1, 2, 3):
            stages[f"{pixels}-{given}"] = lambda folder, given=given, pixels=pixels: quadrant(
                folder, given, pixels, options
            )  # type: ignore[misc]
    for prior in ("standard", "learned"):
        stages[f"class-{prior}"] = lambda folder, prior=prior: by_class(folder, prior, options)  # type: ignore[misc]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    asked = {name: value for name, value in vars(options).items() if name not in ("out", "stages")}
    unknown = sorted(set(options.stages or ()) - set(stages))
    if unknown:
        parser.error(f"expected --stages of {', '.join(stages)}; got {', '.join(unknown)}")
    results = recorded(path, asked)
    for name in options.stages or stages:
        if name not in results:
            begun, folder = time.perf_counter(), options.out / name
            folder.mkdir(exist_ok=True)
            with runs.claimed(folder):
                result = stages[name](folder)
            result["seconds"] = round(time.perf_counter() - begun, 1)
            results = recorded(path, asked, {name: result})
        print(line(results[name]), flush=True)
    return int(not all(passed(results[name]) for name in options.stages or stages))


def recorded(path: Path, asked: dict[str, Any], more: Any = None) -> dict[str, Any]:
    """What results.json has, with ``more`` in it; another process may have added its stages.

    It is written before the first stage, too: what was begun goes on with the same options only.
    """
    results = json.loads(path.read_text()) if path.exists() else {"options": asked}
    if results["options"] != asked:
        raise SystemExit(f"{path}: was begun with other options: {results['options']}")
    results |= more or {}
    runs.write_json(path, results)
    return results


def line(r: dict[str, Any]) -> str:
    """A result in a line."""
    if "prior" in r:
        return (f"by class, {r['prior']:8} prior: accepted {100 * r['accepted']:.2f} +- "
                f"{100 * r['accepted_error']:.2f} % of samples, {100 * r['real']:.2f} % of real "
                f"digits; the probe reads the label from {100 * r['probe']:.1f} % of codes "
                f"(chance {100 * r['chance']:.1f}), -ELBO {r['nelbo']:.2f}")  # fmt: skip
    text = f"{r['given']} of 4 given, {r['pixels']:6}: -ELBO {r['nelbo']:.2f} nats"
    if r["pixels"] == "grey":
        return f"{text}; published: net {r['published_net']}, CVAE {r['published_cvae']}"
    return (f"{text}; -log p(rest | given) {r['nll']:.2f} +- {r['nll_error']:.2f} over "
            f"{r['images']} images, {r['noise_over_draws']:.3f} over {r['samples']} draws, "
            f"median ess {r['ess']:.0f}")  # fmt: skip


def passed(r: dict[str, Any]) -> bool:
    """Whether a stage reached what was asked for; one without a goal always did."""
    if r.get("prior") == "learned":
        return r["accepted"] >= ACCEPTED
    return r.get("pixels") != "grey" or r["nelbo"] <= r["published_cvae"] + ABOVE


if __name__ == "__main__":
    sys.exit(main())
