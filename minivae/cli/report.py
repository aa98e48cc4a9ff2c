"""`minivae report RUN`: one HTML page with all that the other commands find out about a run."""

import argparse
import contextlib
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from minivae import runs
from minivae.cli import (
    _common,
    diagnose,
    evaluate,
    factors,
    gap,
    holes,
    interpolate,
    probe,
    reconstruct,
    sample,
    traverse,
    usage,
)
from minivae.lab.report import Section, page

HELP = "one HTML page with every figure of a run, explained"
DESCRIPTION = """\
Run every command that examines a run, and put what they print and draw into
one HTML file, with an explanation of each figure. The file needs nothing else:
send it, print it, keep it.

What a run cannot answer (an autoencoder has no bound, digits have no known
factors) is said in its place. It takes a minute or two on digits; --quick asks
for fewer draws and examples."""
EXAMPLES = """examples:
  minivae report runs/digits-vae-1
      writes runs/digits-vae-1/report.html
  minivae report runs/mnist-vae-1 --quick --out mnist.html
"""


class Question(NamedTuple):
    """A section of the page: a command with its options, and what its numbers mean."""

    title: str
    name: str
    command: Any
    options: Sequence[str]
    quick: Sequence[str]
    explanation: Sequence[str]


QUESTIONS = (
    Question("How good is it?", "evaluate", evaluate, (), ("--samples", "100"), (
        "The ELBO is a lower bound on log p(x): reconstruction minus KL. The NLL comes from S "
        "importance samples an image; its mean falls to -log p(x) as S grows, so that the true "
        "likelihood is at least this good. Numbers in nats compare only between models of the "
        "same pixels: binarised in the same way, or densities of the same grey values.",
    )),
    Question("Does the code say anything?", "diagnose", diagnose, (), (), (
        "Posterior collapse means that the decoder ignores the code: then an image is as likely "
        "with the code of another one. A latent that is silent because nothing it could say is "
        "worth its nats is no disease.",
    )),
    Question("Which latents are used?", "usage", usage, (), (), (
        "The KL of a latent is what its message costs. Averaged over the data it is the "
        "information that the latents hold about x, plus the distance of all codes together from "
        "the prior; the first part cannot exceed ln N, whatever is paid.",
    )),
    Question("What does each latent do?", "traverse", traverse, (), (), (
        "Each row moves one latent from the one end of the prior to the other and leaves the "
        "rest as it is. An axis has no meaning by itself: another run may rotate them.",
    )),
    Question("What is lost between the bound and the likelihood?", "gap", gap,
             ("--examples", "100"), ("--examples", "30"), (
        "log p(x) - ELBO is what the approximate posterior loses. Part of it (amortisation) is "
        "gained back by tuning q for each image alone; the rest (approximation) is the price of "
        "the diagonal family.",
    )),
    Question("What does it draw?", "sample", sample, (), (), (
        "Decoded draws of the prior, as means of p(x|z): grey where the model is in doubt.",
    )),
    Question("What does it keep of an image?", "reconstruct", reconstruct, (), (), (
        "Test images above their reconstructions from the mean code.",
    )),
    Question("Do the codes fill the prior?", "holes", holes, (), (), (
        "Samples come from the prior, but the decoder learned at the codes of the data. Where the "
        "two differ there are holes: the tests ask whether draws of a prior and codes of test "
        "images can be told apart, and a mixture fitted to the codes is tried in its place.",
    )),
    Question("What lies between two images?", "interpolate", interpolate, (), (), (
        "Walks between the codes of two images, straight and spherical.",
    )),
    Question("What is the code good for?", "probe", probe, (), (), (
        "Labels from the code by a linear probe, by neighbours and by clusters; and bytes against "
        "error when the code is quantised and packed. Beside each stands PCA with as many "
        "dimensions, and the pixels themselves.",
    )),
    Question("Does each latent stand for one factor?", "factors", factors, (), (), (
        "Where images were rendered from known factors: how much each latent says about each, and "
        "the gap between the best latent and the second best.",
    )),
)  # fmt: skip


CAPTIONS = {
    "curves": "Each term against the epoch, nats per image; higher is better, but for the KL.",
    "latents": "The mean codes of held-out images, coloured by class: the two latents with the "
    "largest KL. For a VAE the circles hold half and 95 % of the prior.",
    "manifold": "Decoded codes on a grid of quantiles of the prior: every cell is as likely.",
    "usage": "Above, the KL of each latent, the largest first; below, how far its mean moves over "
    "the data. Dotted: the borders of the two rules for an active latent.",
    "traverse": "Each row changes one latent alone, at quantiles of the prior; orange marks where "
    "the image itself lies.",
    "gap": "log p(x) - ELBO against the steps by which q was refined for each image alone. At 0 "
    "stands the encoder's own q; what is left at the end is the approximation gap.",
    "gap-classes": "The same gap for each class, split into its parts, with standard errors.",
    "sample": "Decoded draws of the prior: means of p(x|z), not yet draws of pixels.",
    "reconstruct": "Test images, each above its reconstruction.",
    "holes": "Left, the density of all codes together, under the prior's contours. Right, that "
    "density along straight lines between two codes: where it dips, a walk crosses a hole. Below, "
    "draws of each prior, decoded.",
    "interpolate": "From the first image of a row to its last, through codes in between.",
    "probe": "Squared error against bytes per image: codes and PCA, each quantised and packed.",
    "factors": "How much of each factor's entropy each latent knows.",
}
"""What each picture shows, by the name of its file."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    _common.add_run_argument(parser)
    _common.add_device(parser)
    parser.add_argument("--quick", action="store_true", help="fewer draws and examples")
    _common.add_out(parser, "a .html file", "RUN/report.html")


def run(args: argparse.Namespace) -> None:
    """Ask every question, and write the page."""
    path = _destination(args)
    model, config = _common.load(args, numbers=True)
    sections, n = _drawn(Path(args.run)), _tests(model, config, args.run)
    with tqdm(QUESTIONS, unit="question", disable=None, leave=False) as bar:
        for question in bar:
            bar.set_description(question.name)
            sections.append(_answer(question, args, n))
    summary = _summary(Path(args.run), model, config)
    _common.write(path, page(f"{Path(args.run).resolve().name}", summary, sections).encode())


def _destination(args: argparse.Namespace) -> Path:
    if args.out is None:  # its own page is made anew, as a command's own picture is
        args.out, args.force = str(Path(args.run, "report.html")), True
    return _common.destination(args, None, (".html", ".htm"))


def _fitting(options: Sequence[str], n: int | None) -> list[str]:
    """The options, with no more --examples than the run has test examples."""
    words = list(options)
    if "--examples" in words and n is not None:
        at = words.index("--examples") + 1
        words[at] = str(min(int(words[at]), n))
    return words


def _tests(model: Any, config: dict[str, Any], run: str) -> int | None:
    """How many test examples the run has; None where its data are not to be had."""
    try:
        return len(_common.load_data(model, config, run).test)
    except ValueError:
        return None


def _answer(question: Question, args: argparse.Namespace, n: int | None) -> Section:
    """What the command says about this run; or, in a line, why it says nothing.

    n  test examples of the run, if that is known.
    """
    options = _fitting(question.quick if args.quick else question.options, n)
    options += ["--device", args.device]
    if args.checkpoint is not None:
        options += ["--checkpoint", args.checkpoint]
    parser = argparse.ArgumentParser()
    question.command.add_arguments(parser)
    printed = io.StringIO()
    shown = [word for word in options if word not in ("--device", "cpu")]
    command = shlex.join(["minivae", question.name, args.run, *shown])
    about = (question.title, question.explanation, command)
    try:
        with contextlib.redirect_stdout(printed):
            question.command.run(parser.parse_args([args.run, *options]))
    except (ValueError, TypeError, ArithmeticError) as error:
        return Section(*about, missing=" ".join(str(error).split()))
    lines, pictures = [], []
    for line in printed.getvalue().splitlines():
        wrote = re.fullmatch(r"wrote (.+\.png)", line)
        if wrote:
            pictures.append(_captioned(Path(wrote[1])))
        else:
            lines.append(line)
    return Section(*about, "\n".join(lines), pictures)


def _captioned(path: Path) -> tuple[Path, str]:
    return path, CAPTIONS.get(path.stem, path.stem)


def _drawn(folder: Path) -> list[Section]:
    """What the training itself drew, if the pictures are still there."""
    sections = []
    for title, names, explanation in (
        ("How did it learn?", ("curves",),
         "The terms of the objective, averaged over each epoch while the weights changed (train), "
         "and on held-out examples after it (valid). Where valid turns and train goes on, examples "
         "are learned by heart."),
        ("Where do the codes lie?", ("latents", "manifold"),
         "Close together lie images that the decoder draws alike. Classes that overlap here may "
         "still be apart in the other latents."),
    ):  # fmt: skip
        paths = [folder / "pictures" / f"{name}.png" for name in names]
        there = [_captioned(path) for path in paths if path.is_file()]
        missing = "" if there else "its folder has no such picture"
        sections.append(Section(title, (explanation,), "", "", there, missing))
    return sections


def _summary(folder: Path, model: Any, config: dict[str, Any]) -> dict[str, str]:
    a, data, asked = model.architecture, config.get("data", {}), config.get("training", {})
    rows = runs.read_history(folder / "history.csv") if (folder / "history.csv").is_file() else []
    fields = {
        "model": f"{config['model']}, {len(model.parameters):,} parameters in "
        f"{str(model.parameters.theta.dtype)}",
        "networks": ", ".join(f"{name} {value}" for name, value in vars(a).items()),
        "data": ", ".join(f"{name} {value}" for name, value in data.items() if value is not None),
        "training": ", ".join(
            f"{name} {value}" for name, value in asked.items() if not isinstance(value, dict)
        ),
        "optimiser": ", ".join(f"{k} {v}" for k, v in asked.get("optimizer", {}).items()),
        "epochs": f"{len(rows)}, {sum(row['seconds'] for row in rows):.0f} s" if rows else "0",
    }
    return {name: value for name, value in fields.items() if value}
