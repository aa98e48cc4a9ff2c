"""`minivae explain-loss`: which beta and which sigma a loss written elsewhere implies."""

import argparse
import math
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from minivae import conventions
from minivae.conventions import PRESETS, Loss, Objective

HELP = "sum or mean? which beta and sigma a loss implies"
DESCRIPTION = """\
Say which beta and which sigma a loss implies, in nats per example, and write
the same objective in other conventions. Or the other way: give --beta and
--sigma, and get the loss to write in PyTorch, Keras and minivae.

x_hat is the decoder's output. The KL of a latent is
1/2 (mu^2 + sigma_z^2 - log sigma_z^2 - 1); if your code lacks this 1/2, give
twice the weight."""
EXAMPLES = """examples:
  minivae explain-loss --reconstruction mse-mean --kl-weight 0.00025 \\
      --dim 12288 --latent 128
      the mean squared error of 64 x 64 colour images, and a small KL weight
  minivae explain-loss --reconstruction bce-sum --dim 784 --batch sum \\
      --batch-size 128
      everything summed, the batch too
  minivae explain-loss --reconstruction mse --pixels sum --half --dim 784 \\
      --kl-latents mean --latent 20
      the separate flags instead of a preset
  minivae explain-loss --beta 1 --sigma 0.2 --dim 784
      the other way: how to write this objective
"""
WIDTH = 80
REDUCTIONS = ["sum", "mean"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of a loss, or of an objective."""
    loss = parser.add_argument_group("a loss").add_argument
    loss("--reconstruction", metavar="NAME",
         help=f"{', '.join(PRESETS)}; or mse, l1, bce, gaussian-nll with --pixels")  # fmt: skip
    loss("--pixels", choices=REDUCTIONS, help="how the reconstruction is reduced over an example")
    loss("--half", action="store_true", help="the mse has the factor 1/2")
    loss("--kl-weight", type=float, metavar="W", help="in front of the KL; default: 1")
    loss("--kl-latents", choices=REDUCTIONS, default="sum",
         help="how the KL is reduced over the latents; default: sum")  # fmt: skip
    loss("--batch", choices=REDUCTIONS, default="mean",
         help="how both terms are reduced over the batch; default: mean")  # fmt: skip
    loss("--kl-batch", choices=REDUCTIONS, help="the KL's, where it differs; default: --batch")
    loss("--batch-size", type=int, metavar="B", help="examples; for a sum over the batch")
    back = parser.add_argument_group("an objective (the other way)").add_argument
    back("--beta", type=float, metavar="BETA", help="weight of the KL in nats; 1 is the ELBO")
    back("--likelihood", choices=["gaussian", "laplace", "bernoulli"],
         help="of a pixel; default: gaussian")  # fmt: skip
    both = parser.add_argument_group("of both").add_argument
    both("--dim", type=int, metavar="D", help="numbers in an example: pixels times channels")
    both("--latent", type=int, metavar="K", help="number of latents; for --kl-latents mean")
    both("--sigma", type=float, metavar="S",
         help="standard deviation of a Gaussian pixel, to be assumed")  # fmt: skip
    both("--scale", type=float, metavar="B", help="the same of a Laplace pixel, exp(-|x-x_hat|/b)")
    both("--range", type=float, default=1.0, metavar="R", dest="data_range",
         help="largest pixel minus smallest, for the warnings; default: 1")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print the translation."""
    if args.dim is None:
        raise ValueError("expected --dim: the numbers in an example, as 784 or 12288 = 3 * 64 * 64")
    if not 0.0 < args.data_range < 1e60:
        raise ValueError(f"expected --range above 0 and finite, got {args.data_range}")
    if (args.reconstruction is None) == (args.beta is None):
        raise ValueError(
            "expected either a loss (--reconstruction) or an objective (--beta): see --help"
        )
    lines = list(_forward(args) if args.beta is None else _backward(args))  # all of it, or nothing
    print("\n".join(lines))


def _forward(args: argparse.Namespace) -> Iterator[str]:
    loss = _loss(args)
    chosen = _chosen_scale(args, loss.term)
    shown = conventions.at_beta(loss)
    notes = conventions.cautions(loss, shown, args.data_range)
    if chosen is not None:
        at_chosen = conventions.at_scale(loss, chosen)
        notes += conventions.scale_cautions(at_chosen, args.data_range)
    yield from _the_loss(loss)
    yield from _its_meaning(loss, chosen)
    yield from _in_nats(shown, loss)
    yield from _elsewhere(shown, loss)
    yield from _beware(notes)


def _backward(args: argparse.Namespace) -> Iterator[str]:
    given = {
        "--pixels": args.pixels, "--half": args.half, "--kl-weight": args.kl_weight,
        "--kl-batch": args.kl_batch, "--batch-size": args.batch_size,
    }  # fmt: skip
    wrong = [name for name, value in given.items() if value not in (None, False)]
    if wrong or args.kl_latents != "sum" or args.batch != "mean":
        raise ValueError("--beta describes an objective: leave out the options of a loss")
    likelihood = args.likelihood or "gaussian"
    wanted = {"gaussian": args.sigma, "laplace": args.scale, "bernoulli": None}[likelihood]
    if (args.sigma, args.scale).count(None) != (1 if wanted is not None else 2):
        raise ValueError("expected --sigma with gaussian, --scale with laplace, none otherwise")
    objective = Objective(likelihood, args.beta, wanted)
    like = Loss(objective.terms[0], "sum", 1.0, args.dim, latent=args.latent)
    yield from _in_nats(objective, like, with_loss=False)
    yield from _elsewhere(objective, like)
    yield from _beware(conventions.cautions(like, objective, args.data_range))


def _loss(args: argparse.Namespace) -> Loss:
    if args.likelihood is not None:
        raise ValueError("--likelihood goes with --beta: --reconstruction names the likelihood")
    if args.reconstruction in conventions.LIKELIHOODS:
        term, pixels, half = args.reconstruction, args.pixels, args.half
        if pixels is None:
            raise ValueError(
                f"{term}: expected --pixels sum or --pixels mean: that is the question"
            )
    else:
        term, pixels, half = conventions.preset(args.reconstruction)
        if args.half or args.pixels is not None:
            raise ValueError(f"{args.reconstruction} says it all: leave out --pixels and --half")
    return Loss(
        term, pixels, 1.0 if args.kl_weight is None else args.kl_weight, args.dim, half,
        args.kl_latents, args.latent, args.batch, args.kl_batch, args.batch_size,
    )  # fmt: skip


def _chosen_scale(args: argparse.Namespace, term: str) -> float | None:
    allowed = {"mse": args.sigma, "l1": args.scale}.get(term)
    if (args.sigma, args.scale).count(None) != (1 if allowed is not None else 2):
        raise ValueError(f"expected --sigma with mse, --scale with l1, neither with others: {term}")
    return allowed


def _the_loss(loss: Loss) -> Iterator[str]:
    half = "1/2 " if loss.half else ""
    weight = "" if loss.kl_weight == 1.0 else f"{loss.kl_weight:.6g} "
    pixel = f"{half}{conventions.FORMULAS[loss.term]}"
    yield f"loss = {loss.pixels}_d {pixel}  +  {weight}{loss.latents}_k KL"
    latents = "" if loss.latent is None else f", {loss.latent:,} latents k"
    of_pixels, of_latents = loss.batches
    size = f" of {loss.batch_size:,}" if "sum" in loss.batches else ""
    yield f"       {loss.dim:,} numbers d{latents}; {of_pixels} over the batch{size}"
    if of_pixels != of_latents:
        yield f"       but {of_latents} of the KL over the batch"
    yield ""


def _its_meaning(loss: Loss, chosen: float | None) -> Iterator[str]:
    fixed = conventions.invariant(loss)
    if loss.term == "mse":
        yield "It is an ordinary ELBO (beta = 1) with a Gaussian decoder of"
        yield f"    sigma^2 = {fixed:.6g}, sigma = {math.sqrt(fixed):.6g}, in units of x"
        yield from _family(loss, "sigma", "sigma^2", "--sigma", chosen)
        yield f"A linear VAE encodes at most the directions with a variance above {fixed:.6g}."
        yield "Once trained, the ELBO is best at sigma^2 = the mean squared error of a pixel."
    elif loss.term == "l1":
        yield "It is an ordinary ELBO (beta = 1) with a Laplace decoder of"
        yield f"    b = {fixed:.6g}, in units of x"
        yield from _family(loss, "b", "b", "--scale", chosen)
    else:
        is_elbo = math.isclose(fixed, 1.0, rel_tol=1e-9)
        what = "an ordinary ELBO" if is_elbo else "not an ELBO, which has beta = 1"
        yield f"It has beta = {fixed:.6g}: {what}."
        why = "A Bernoulli has no sigma"
        if loss.term == "gaussian-nll":
            why = "The decoder gives the variance v of a pixel"
        yield f"{why}, so there is nothing else to choose."
    yield ""


def _family(loss: Loss, name: str, power: str, option: str, chosen: float | None) -> Iterator[str]:
    """The objectives that a loss cannot tell apart."""
    fixed = conventions.invariant(loss)
    yield f"\nOnly beta * {power} = {fixed:.6g} is determined. The same training is"
    rows = [(conventions.at_beta(loss), ""), (conventions.at_scale(loss, 1.0), "")]
    if chosen is not None:
        rows.append((conventions.at_scale(loss, chosen), f"   (your {option})"))
    for row, why in rows:
        yield f"    beta = {row.beta:<11.6g} at {name} = {row.scale:.6g}{why}"


def _in_nats(objective: Objective, loss: Loss, with_loss: bool = True) -> Iterator[str]:
    name = "b" if objective.likelihood == "laplace" else "sigma"
    at = "" if objective.scale is None else f", {name} = {objective.scale:.6g}"
    yield f"In nats per example with constants, at beta = {objective.beta:.6g}{at}:"
    yield f"    {conventions.formula(objective)}"
    rest = conventions.constant(objective, loss.dim)
    if with_loss:
        slope = conventions.factor(loss, objective)
        tail = f" {'-' if rest < 0 else '+'} {abs(rest):,.6g}" if rest else ""
        yield f"    = {1.0 / slope:,.6g} * loss{tail}"
        if not math.isclose(slope, 1.0, rel_tol=1e-9):
            yield _wrap(SLOPE.format(f"{slope:,.6g}"), "")
    elif rest:
        yield f"    its constant is {rest:,.6g} nats"
    yield ""


SLOPE = (
    "The gradient of the loss is {} times that of the nats. Plain SGD feels it as a factor on its "
    "learning rate; Adam only in its epsilon, in gradient clipping and in a weight decay that is "
    "added to the gradient."
)


def _elsewhere(objective: Objective, loss: Loss) -> Iterator[str]:
    """The KL weight of every preset, and the code."""
    yield "The same objective elsewhere (KL summed over latents, both terms averaged"
    yield "over the batch):"
    plain = replace(loss, latents="sum", batch="mean", kl_batch=None)
    for name, (term, pixels, half) in PRESETS.items():
        if term in objective.terms:
            like = replace(plain, term=term, pixels=pixels, half=half)
            weight = conventions.rewritten(objective, like).kl_weight
            yield f"    {name:18} KL weight {weight:.6g}"
    if loss.latent is not None:
        yield f"    with the KL averaged over latents, K = {loss.latent:,} times these weights"
    logits = " (logits: before the sigmoid)" if objective.likelihood == "bernoulli" else ""
    yield from _code(f"PyTorch{logits}", conventions.pytorch(objective))
    keras = conventions.keras(objective, loss.dim)
    yield from _code("Keras (keras.losses, keras.ops), with x of shape (B, D)", keras)
    options = conventions.minivae_options(objective)
    if options is None:
        yield "\nminivae has no Laplace likelihood."
        return
    words = [f"--{k} {v:.8g}" if isinstance(v, float) else f"--{k} {v}" for k, v in options.items()]
    command = [f"minivae train {words[0]} \\", f"    {' '.join(words[1:])}"]
    yield from _code("minivae", command)


def _code(title: str, lines: list[str]) -> Iterator[str]:
    yield f"\n{title}"
    yield from (f"    {line}" for line in lines)


def _beware(notes: list[str]) -> Iterator[str]:
    if notes:
        yield "\nBeware"
    yield from (_wrap(note, "  - ") for note in notes)


def _wrap(text: str, mark: str) -> str:
    return textwrap.fill(
        text, WIDTH - 1, initial_indent=mark, subsequent_indent=" " * len(mark),
        break_on_hyphens=False,
    )  # fmt: skip
