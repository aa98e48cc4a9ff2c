"""`minivae diagnose RUN`: is it posterior collapse, why, and what now."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from minivae import runs
from minivae.cli import _common, _examples
from minivae.cli.options import add_arguments as add_train_arguments
from minivae.cli.options import complete
from minivae.datasets import LOADERS, binarise
from minivae.datasets.binarisation import SEEDS
from minivae.evaluation import Estimate
from minivae.lab.advice import CAUSES, HEALTHY, UNCLEAR
from minivae.lab.diagnose import AUDIBLE, Diagnosis, diagnose
from minivae.lab.evidence import LIMIT, finite
from minivae.models import VAE

HELP = "posterior collapse: is it, why, and what to try"
DESCRIPTION = """\
Say in a sentence whether the posterior of a run has collapsed, partly
collapsed, or is healthy; why; and what to try, as a command line.

  collapsed         the decoder ignores its code: held-out images are as likely
                    with the code of another image
  partly collapsed  latents that are not used could raise the held-out ELBO, or
                    latents are paid for and not heard
  unclear           the held-out images are too few to tell
  not trained       worse than a model without a code, and its bound still rises
  healthy           everything else: a latent that is silent because nothing it
                    could say is worth its nats is no disease

Whether a latent could raise the ELBO is measured, by adding one that moves the
decoder's output along a line. The same at the training's own KL weight and
variance says why none does. At most 1,000 images of each kind are used."""
EXAMPLES = """examples:
  minivae diagnose runs/digits-vae-1
  minivae diagnose runs/digits-vae-1 --json diagnosis.json
"""


RATES = ("learning_rate", "momentum", "weight_decay")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    _common.add_run_argument(parser)
    _common.add_seed(parser, "the draws")
    _common.add_device(parser)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too; a new file")


def run(args: argparse.Namespace) -> None:
    """Examine and print."""
    if args.json is not None and Path(args.json).exists():
        raise ValueError(f"{args.json} exists already: --json wants a new file")
    if args.json is not None and not Path(args.json).parent.is_dir():
        raise ValueError(f"--json {args.json}: there is no folder {Path(args.json).parent}")
    model, config = _common.load(args)
    if not isinstance(model, VAE):
        raise ValueError(
            f"{args.run}: an autoencoder has no posterior that could collapse: see minivae probe"
        )
    dataset = _common.load_data(model, config, args.run)
    x, held = dataset.train.x[:LIMIT], np.concatenate([dataset.test.x, dataset.valid.x])
    if config["data"]["binarisation"] == "new":
        x = binarise(x, "fixed", np.random.default_rng(SEEDS["train"]))
    history = _history(Path(args.run), config)
    unit = _examples.unit(dataset)
    found = diagnose(model, x, held, config.get("training"), history, args.seed)
    print("\n".join(told(found, args.run, config, min(len(held), LIMIT), unit)))
    if args.json is not None:
        runs.write_json(Path(args.json), as_json(found, advice(found, args.run, config)))
        print(f"wrote {args.json}")


def _history(folder: Path, config: dict[str, Any]) -> list[dict[str, float]] | None:
    """The rows of the training; None for a model that was saved without one."""
    return runs.load_training(folder).history.rows if "training" in config else None


def told(
    found: Diagnosis, run: str, config: dict[str, Any], n: int, unit: str = "image"
) -> list[str]:
    """The verdict, the evidence and the advice, line by line."""
    kl, limit = found.surgery.kl, found.surgery.limit
    lines = [
        f"{run}: {found.sentence}",
        f"evidence, in nats per {unit}, {n:,} held-out {unit}s, +- the standard error",
        _line("ELBO above that of no code", found.gain, "independent pixels"),
        _line("log p(x|z) above it", found.reconstruction_gain, "what the code explains"),
        _line("KL", kl, "what the code costs"),
        _line("mutual information", found.surgery.mutual_information, f"at most {limit:.2f}"),
        _line("heard", found.heard.together, f"fall of log p(x|z) with the code of another {unit}"),
        _line("worth of one more latent", found.spare.worth, "at KL weight 1" + _fitting(found)),
    ]
    if found.kl_weight != 1.0:
        lines.append(
            _line("at the KL weight of the run", found.priced.worth, f"{found.kl_weight:g}")
        )
    if found.variance is not None and found.fitting is not None:
        lines.append(f"  {'decoder variance':28}{found.variance:8.4f}  squared error under q "
                     f"{found.fitting:.4f}")  # fmt: skip
    lines.append(f"  {'price test':28}{found.priced.ratio:8.2f}  what the best line left holds, in "
                 "units of its price")  # fmt: skip
    lines += ["latents, by KL", *_latents(found)]
    lines += [f"note: {note}" for note in found.notes]
    command = advice(found, run, config)
    return [*lines, f"try: {command or _nothing(found)}"]


def _nothing(found: Diagnosis) -> str:
    """What stands in place of a command line."""
    if found.changes:
        changed = ", ".join(f"{name} {value}" for name, value in found.changes.items())
        return f"{changed}; the run does not say how it was trained"
    if found.verdict == UNCLEAR:
        return "more held-out examples"
    if found.verdict == HEALTHY:
        more = "; more epochs would raise the bound" if found.rising else ""
        return f"nothing; no collapse to repair{more}"
    return "nothing; no option would make a code pay"


def _fitting(found: Diagnosis) -> str:
    return "" if found.fitting is None else " and the variance that fits"


def _line(name: str, value: Estimate, what: str) -> str:
    return f"  {name:28}{value.mean:8.2f} +- {value.standard_error:.2f}  {what}"


def _latents(found: Diagnosis, most: int = 20) -> list[str]:
    order = np.argsort(-found.usage.kl, kind="stable")
    lines = []
    for k in order[:most]:
        kl, kl_error = found.usage.kl[k], found.usage.kl_error[k]
        each, error = found.heard.each[k], found.heard.error[k]
        state = "used" if found.used[k] else "silent" if found.silent[k] else "not heard"
        if found.used[k] and each < AUDIBLE * kl:
            state = "unclear"
        lines.append(f"  latent {k + 1:3}  KL {kl:6.3f} +- {kl_error:.3f}  "
                     f"heard {each:6.3f} +- {error:.3f}  {state}")  # fmt: skip
    if len(order) > most:
        rest = found.usage.kl[order[most:]].sum()
        lines.append(f"  the other {len(order) - most}: KL {rest:.3f}")
    return lines


def advice(found: Diagnosis, run: str, config: dict[str, Any]) -> str | None:
    """A command line to try; None if there is nothing to repair."""
    if not found.changes or "training" not in config:
        return None
    if found.cause in ("untrained", "brief"):
        epochs = found.changes["epochs"]
        return f"minivae train --resume {shlex.quote(run)} --epochs {epochs}"
    return "minivae train " + shlex.join(train_options(config, found.changes))


def train_options(config: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    """The options of `minivae train` that give the run of a configuration, with changes.

    Only those that are not the default, so that the line can be read.
    """
    asked, a = config["training"], config["architecture"]
    optimizer = asked["optimizer"]
    values: dict[str, Any] = {
        "data": config["data"]["name"],
        "model": config["model"],
        **{n: a[n] for n in ("hidden", "latent", "activation", "likelihood")},
        **{n: a[n] for n in ("variance", "sigma") if a["likelihood"] == "gaussian"},
        **{n: v for n, v in asked.items() if n != "optimizer"},
        "optimizer": optimizer["name"],
        **{n: v for n, v in optimizer.items() if n in RATES},
        "validation": config["data"]["validation"],
        "binarisation": config["data"]["binarisation"],
        "dtype": config["dtype"],
        **changes,
    }  # fmt: skip
    options: list[str] = []
    for name, value in values.items():
        if value is not None and value != _default(name, values["data"], values["likelihood"]):
            words = value if isinstance(value, list | tuple) else [value]
            text = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
            options += [f"--{name.replace('_', '-')}", *text]
    return options


def _default(name: str, data: str, likelihood: str) -> Any:
    """The value that `minivae train` gives to an option of itself."""
    parser = argparse.ArgumentParser()
    add_train_arguments(parser)
    args = parser.parse_args(["--data", data, "--likelihood", likelihood])
    complete(args)
    if name == "validation" and data in LOADERS:
        return {"digits": 250, "mnist": 5000}.get(data, 1000)
    if name == "learning_rate":
        return 1e-3
    return {"data": "digits", "likelihood": "bernoulli"}.get(name, getattr(args, name))


def as_json(found: Diagnosis, command: str | None) -> dict[str, Any]:
    """The numbers of a diagnosis as plain values."""
    pairs = {
        "elbo_above_no_code": found.gain,
        "reconstruction_above_no_code": found.reconstruction_gain,
        "kl": found.surgery.kl,
        "mutual_information": found.surgery.mutual_information,
        "marginal_kl": found.surgery.marginal_kl,
        "heard": found.heard.together,
        "worth_of_one_more_latent": found.spare.worth,
        "worth_at_the_kl_weight_of_the_run": found.priced.worth,
    }
    return {
        "verdict": found.verdict,
        "cause": found.cause,
        "why": CAUSES.get(found.cause or ""),
        "sentence": found.sentence,
        "try": command,
        "units": "nats per held-out image, mean and standard error",
        **{name: [value.mean, finite(value.standard_error)] for name, value in pairs.items()},
        "kl_per_latent": found.usage.kl.tolist(),
        "heard_per_latent": found.heard.each.tolist(),
        "used": found.used.tolist(),
        "price_ratio": finite(found.priced.ratio),
        "kl_weight": found.kl_weight,
        "still_rising": found.rising,
        "variance": found.variance,
        "fitting_variance": found.fitting,
        "notes": found.notes,
    }
