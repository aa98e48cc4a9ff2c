"""The loss translator: whatever it says is true of the losses themselves, differentiated."""

from __future__ import annotations

import io
import itertools
import math
import re
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import make_model

from minivae import VAE, cli, conventions, objectives
from minivae.cli import main
from minivae.conventions import PRESETS, Loss, Objective, at_beta, at_scale
from minivae.verify import complex_step

B, D, K = 3, 4, 2
TOLERANCE = 1e-12
FREE = ("mse", "l1")  # the terms that leave a scale to choose


# ---- losses as people write them, and nats as the textbook does ----


def absolute(e: np.ndarray) -> np.ndarray:
    """|e| that a complex step can differentiate."""
    return np.where(e.real < 0, -e, e)


def pixel_errors(term: str, x: np.ndarray, out: dict[str, np.ndarray]) -> np.ndarray:
    """The elementwise error (B, D), from a decoder's output y (a logit for bce)."""
    y = out["y"]
    if term == "mse":
        return (x - y) ** 2
    if term == "l1":
        return absolute(x - y)
    if term == "gaussian-nll":
        return (out["s"] + (x - y) ** 2 / np.exp(out["s"])) / 2
    p = 1 / (1 + np.exp(-y))
    return -(x * np.log(p) + (1 - x) * np.log(1 - p))


def kl_terms(out: dict[str, np.ndarray]) -> np.ndarray:
    return -(1 + out["logvar"] - out["mu"] ** 2 - np.exp(out["logvar"])) / 2


def written(loss: Loss, x: np.ndarray, out: dict[str, np.ndarray]) -> Any:
    """The loss, literally: the reductions are those of NumPy over the axes that they name."""
    reduce = {"sum": np.sum, "mean": np.mean}
    rec = pixel_errors(loss.term, x, out) / (2 if loss.half else 1)
    rec = reduce[loss.batch](reduce[loss.pixels](rec, axis=1))
    kl = reduce[loss.latents](kl_terms(out), axis=1)
    return rec + loss.kl_weight * reduce[loss.kl_batch or loss.batch](kl)


def nats(objective: Objective, x: np.ndarray, out: dict[str, np.ndarray]) -> Any:
    """-log p(x|z) + beta KL per example, from the densities and not from their logarithms."""
    e, s = x - out["y"], objective.scale
    if objective.likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-out["y"]))
        density = p**x * (1 - p) ** (1 - x)
    elif objective.likelihood == "laplace":
        assert s is not None
        density = np.exp(-absolute(e) / s) / (2 * s)
    else:
        sd = np.exp(out["s"] / 2) if s is None else s
        density = np.exp(-((e / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))
    per_example = -np.log(density).sum(axis=1) + objective.beta * kl_terms(out).sum(axis=1)
    return per_example.mean()


SHAPES = {"y": (B, D), "s": (B, D), "mu": (B, K), "logvar": (B, K)}


def outputs(v: np.ndarray) -> dict[str, np.ndarray]:
    """A vector of numbers as the outputs of a decoder and an encoder."""
    cuts = np.cumsum([math.prod(shape) for shape in SHAPES.values()])[:-1]
    parts = zip(SHAPES.items(), np.split(v, cuts), strict=True)
    return {name: part.reshape(shape) for (name, shape), part in parts}


def drawn(term: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (B, D)).astype(float) if term == "bce" else rng.random((B, D))
    return x, 0.7 * rng.normal(size=sum(math.prod(shape) for shape in SHAPES.values()))


def losses(kl_weight: float = 0.37) -> dict[str, Loss]:
    """Every preset with every reduction of the KL and of the batch."""
    reductions = ("sum", "mean")
    return {
        f"{name} {latents} {batch} {kl_batch}": Loss(
            term, pixels, kl_weight, D, half, latents, K, batch, kl_batch, B
        )
        for (name, (term, pixels, half)), latents, batch, kl_batch in itertools.product(
            PRESETS.items(), reductions, reductions, reductions
        )
    }


def members(loss: Loss) -> list[Objective]:
    """Objectives that a loss is said to be: several where a scale is left to choose."""
    if loss.term in FREE:
        return [at_beta(loss), at_beta(loss, 4.0), at_scale(loss, 1.0), at_scale(loss, 0.3)]
    return [at_beta(loss)]


@pytest.mark.parametrize("name", losses())
def test_a_loss_and_its_objective_have_proportional_gradients(name: str) -> None:
    loss = losses()[name]
    x, v = drawn(loss.term)
    of_loss = complex_step(lambda u: written(loss, x, outputs(u)), v)
    assert np.abs(of_loss).max() > 1e-3
    for objective in members(loss):
        of_nats = complex_step(lambda u, o=objective: nats(o, x, outputs(u)), v)
        slope = conventions.factor(loss, objective)
        error = np.abs(of_loss - slope * of_nats).max() / np.abs(of_loss).max()
        assert slope > 0 and error <= TOLERANCE
        rest = conventions.constant(objective, D)
        assert nats(objective, x, outputs(v)) == pytest.approx(
            written(loss, x, outputs(v)) / slope + rest, rel=TOLERANCE, abs=TOLERANCE
        )


@pytest.mark.parametrize("name", PRESETS)
def test_another_beta_is_another_gradient(name: str) -> None:
    """The check above can fail: a beta that is 1 % off turns the gradient."""
    loss = losses()[f"{name} sum mean mean"]
    x, v = drawn(loss.term)
    of_loss = complex_step(lambda u: written(loss, x, outputs(u)), v)
    wrong = replace(at_beta(loss), beta=1.01 * at_beta(loss).beta)
    of_nats = complex_step(lambda u: nats(wrong, x, outputs(u)), v)
    cosine = of_loss @ of_nats / np.linalg.norm(of_loss) / np.linalg.norm(of_nats)
    assert 1 - cosine > 1e-9


@pytest.mark.parametrize("name", [name for name in losses() if not name.startswith("l1")])
def test_minivae_has_the_gradient_of_the_loss(name: str) -> None:
    """The command that is printed, run by hand: theta's gradient is proportional to the loss's."""
    loss = losses()[name]
    for objective in members(loss):
        options = conventions.minivae_options(objective)
        assert options is not None
        shape = {k: v for k, v in options.items() if k != "kl-weight"}
        model, x, eps = make_model(VAE, np.random.default_rng(1), B, 1, D, K, **shape)
        theta = model.parameters.theta
        if "sigma" in options:  # where a model starts; make_model has drawn it anew
            sigma = float(options["sigma"])
            model.parameters.views(theta)["decoder.logvar.c"][:] = 2 * math.log(sigma)

        def by_hand(values: np.ndarray, model=model, x=x, eps=eps) -> Any:  # type: ignore[no-untyped-def]
            model.parameters.bind(values)
            (mu, logvar), _ = model.encoder.forward(x)
            decoded, _ = model.decoder.forward(mu + np.exp(logvar / 2) * eps[0])
            out = {"mu": mu, "logvar": logvar, "y": decoded[0], "s": decoded[-1]}
            return written(loss, x, out)

        wanted, value = complex_step(by_hand, theta), float(by_hand(theta.copy()).real)
        model.parameters.bind(theta)
        result = objectives.elbo(model, x, eps, kl_weight=float(options["kl-weight"]))
        slope = conventions.factor(loss, objective)
        rest = conventions.constant(objective, D)
        grad = model.parameters.views(slope * model.parameters.grad)
        wanted_by_name = model.parameters.views(wanted)
        if objective.scale is not None:  # fixed in minivae, and not in the loss at all
            assert not grad.pop("decoder.logvar.c").any()
        for key, mine in grad.items():
            assert np.abs(mine - wanted_by_name[key]).max() <= TOLERANCE * np.abs(wanted).max()
        assert float(result.loss) == pytest.approx(value / slope + rest, rel=TOLERANCE)


# ---- numbers known from elsewhere ----


def test_the_question_that_is_asked_most() -> None:
    loss = Loss("mse", "mean", 0.00025, dim=12288, latent=128)
    assert conventions.invariant(loss) == pytest.approx(0.00025 * 12288 / 2, rel=1e-15)
    elbo = at_beta(loss)
    assert elbo.beta == 1 and elbo.scale == pytest.approx(math.sqrt(1.536), rel=1e-15)
    assert at_scale(loss, 1.0).beta == pytest.approx(1.536, rel=1e-15)


@pytest.mark.parametrize(
    ("loss", "invariant"),
    [
        (Loss("mse", "sum", 1.0, 784, half=True), 1.0),  # the textbook, sigma = 1
        (Loss("mse", "sum", 1.0, 784), 0.5),  # beta = 1/2 at unit variance
        (Loss("mse", "mean", 1.0, 784), 392.0),  # beta D / 2 at unit variance
        (Loss("bce", "sum", 1.0, 784), 1.0),
        (Loss("bce", "sum", 1.0, 784, batch="sum", batch_size=128), 1.0),
        (Loss("bce", "mean", 1.0, 784), 784.0),
        (Loss("bce", "mean", 1 / 784, 784), 1.0),
        (Loss("bce", "sum", 1.0, 784, latents="mean", latent=20), 1 / 20),
        (Loss("bce", "mean", 1 / 784, 784, kl_batch="sum", batch_size=100), 100.0),
        (Loss("l1", "sum", 0.1, 784), 0.1),
        (Loss("gaussian-nll", "sum", 2.0, 784), 2.0),
    ],
)
def test_known_conventions(loss: Loss, invariant: float) -> None:
    assert conventions.invariant(loss) == pytest.approx(invariant, rel=1e-14)


# ---- laws ----

WEIGHTS = st.floats(1e-8, 1e8)
SCALES = st.floats(1e-3, 1e3)
REDUCTION = st.sampled_from(["sum", "mean"])


@st.composite
def any_loss(draw: st.DrawFn) -> Loss:
    term, pixels, half = PRESETS[draw(st.sampled_from(list(PRESETS)))]
    sizes = st.integers(1, 10**6)
    return Loss(
        term, pixels, draw(WEIGHTS), draw(sizes), half, draw(REDUCTION), draw(sizes),
        draw(REDUCTION), draw(st.none() | REDUCTION), draw(sizes),
    )  # fmt: skip


def close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-12)


@given(loss=any_loss(), scale=SCALES)
def test_there_and_back(loss: Loss, scale: float) -> None:
    objective = at_scale(loss, scale if loss.term in FREE else None)
    assert close(conventions.rewritten(objective, loss).kl_weight, loss.kl_weight)
    if loss.term in FREE:
        assert close(at_beta(loss, objective.beta).scale, scale)


@given(loss=any_loss(), other=any_loss(), scale=SCALES)
def test_translated_into_another_convention_it_is_the_same(
    loss: Loss, other: Loss, scale: float
) -> None:
    objective = at_scale(loss, scale if loss.term in FREE else None)
    if other.term not in objective.terms:
        with pytest.raises(ValueError, match="to write this objective"):
            conventions.rewritten(objective, other)
        return
    there = conventions.rewritten(objective, other)
    assert there == replace(other, kl_weight=there.kl_weight)
    assert close(conventions.invariant(there), conventions.invariant(loss))


@given(loss=any_loss(), times=st.integers(2, 50), scale=SCALES)
def test_how_the_meaning_scales(loss: Loss, times: int, scale: float) -> None:
    fixed = conventions.invariant(loss)

    def ratio(**changed: Any) -> float:
        return conventions.invariant(replace(loss, **changed)) / fixed

    assert close(ratio(kl_weight=times * loss.kl_weight), times)
    assert close(ratio(dim=times * loss.dim), times if loss.pixels == "mean" else 1)
    latent = (loss.latent or 1) * times
    assert close(ratio(latent=latent), 1 / times if loss.latents == "mean" else 1)
    power = {("sum", "mean"): -1, ("mean", "sum"): 1}.get(loss.batches, 0)
    assert close(ratio(batch_size=times * (loss.batch_size or 1)), times**power)
    if loss.term in FREE:
        beta, wider = at_scale(loss, scale).beta, at_scale(loss, times * scale).beta
        assert close(beta / wider, times ** (2 if loss.term == "mse" else 1))


@given(loss=any_loss())
def test_twice_the_objective_is_twice_the_slope(loss: Loss) -> None:
    """A batch that is summed turns no gradient: only the factor knows of it."""
    both_mean = replace(loss, batch="mean", kl_batch=None)
    both_sum = replace(loss, batch="sum", kl_batch=None)
    assert close(conventions.invariant(both_sum), conventions.invariant(both_mean))
    slopes = [conventions.factor(one, at_beta(one)) for one in (both_sum, both_mean)]
    assert close(slopes[0], slopes[1] * (loss.batch_size or 1))


# ---- the code that is printed ----


class Tensor(np.ndarray):
    """An array with the method of PyTorch that the printed code calls."""

    def exp(self) -> np.ndarray:
        return np.exp(self)


def stand_ins() -> dict[str, Any]:
    """What PyTorch and Keras document of these functions, in NumPy.  `reduction` must be sum."""

    def of(f: Any) -> Any:
        def summed(*args: Any, reduction: str) -> Any:
            assert reduction == "sum"
            return f(*args).sum()

        return summed

    def cross_entropy(a: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, a) - x * a

    def keras_bce(x: np.ndarray, a: np.ndarray, from_logits: bool) -> np.ndarray:
        assert from_logits
        return cross_entropy(a, x).mean(axis=-1)

    return {
        "F": SimpleNamespace(
            mse_loss=of(lambda y, x: (y - x) ** 2),
            l1_loss=of(lambda y, x: np.abs(y - x)),
            binary_cross_entropy_with_logits=of(cross_entropy),
            gaussian_nll_loss=of(lambda y, x, var: (np.log(var) + (y - x) ** 2 / var) / 2),
        ),
        "losses": SimpleNamespace(
            mean_squared_error=lambda x, y: ((x - y) ** 2).mean(axis=-1),
            mean_absolute_error=lambda x, y: np.abs(x - y).mean(axis=-1),
            binary_crossentropy=keras_bce,
        ),
        "ops": SimpleNamespace(sum=np.sum, exp=np.exp, log=np.log, mean=np.mean),
    }


OBJECTIVES = [
    Objective("gaussian", 1.0, 0.2),
    Objective("gaussian", 2.5, 1.2393546),
    Objective("gaussian", 0.5),
    Objective("laplace", 3.0, 0.1),
    Objective("bernoulli", 4.0),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("library", ["pytorch", "keras"])
def test_the_printed_code_computes_the_objective(objective: Objective, library: str) -> None:
    x, v = drawn("bce" if objective.likelihood == "bernoulli" else "mse")
    out = {name: part.view(Tensor) for name, part in outputs(v).items()}
    lines = (
        conventions.pytorch(objective)
        if library == "pytorch"
        else conventions.keras(objective, D)
    )  # fmt: skip
    names = {**stand_ins(), **out, "x": x, "x_hat": out["y"], "logits": out["y"]}
    names["var"] = np.exp(out["s"])
    exec("\n".join(lines), names)
    rest = conventions.constant(objective, D)
    assert names["loss"] + rest == pytest.approx(nats(objective, x, outputs(v)), rel=1e-12)


# ---- cautions ----


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss("mse", "mean", 0.00025, 12288), ["pixels are averaged", "1.24, larger than the"]),
        (Loss("mse", "sum", 0.72, 784), ["sd is 0.6, larger than half"]),
        (Loss("mse", "sum", 0.08, 784), []),
        (Loss("l1", "sum", 0.4, 784), ["sd is 0.566, larger than half"]),  # b sqrt(2)
        (Loss("l1", "sum", 0.3, 784), []),
        (Loss("mse", "sum", 1e-6, 784), ["grey levels"]),
        (Loss("bce", "sum", 1.0, 784), ["no likelihood"]),
        (Loss("bce", "sum", 20.0, 784), ["far above 1", "no likelihood"]),
        (Loss("gaussian-nll", "sum", 0.01, 784), ["far below 1"]),
        (Loss("gaussian-nll", "sum", 1.0, 784, latents="mean", latent=5), ["K = 5"]),
        (Loss("l1", "sum", 0.1, 784, batch="sum", batch_size=7), ["B = 7"]),
        (Loss("l1", "sum", 0.1, 784, kl_batch="sum", batch_size=2), ["beta depends on the batch"]),
    ],
)
def test_cautions_stand_where_they_belong(loss: Loss, words: list[str]) -> None:
    notes = conventions.cautions(loss, at_beta(loss))
    assert len(notes) == len(words)
    for word in words:
        assert sum(word in note for note in notes) == 1, (word, notes)


def test_the_range_of_the_data_is_the_measure_of_sigma() -> None:
    loss = Loss("mse", "sum", 0.72, 784)  # sigma = 0.6
    assert conventions.cautions(loss, at_beta(loss), 1.0)
    assert not conventions.cautions(loss, at_beta(loss), 2.0)
    grey = Loss("bce", "sum", 1.0, 784)
    assert "0 to 1" in conventions.cautions(grey, at_beta(grey), 2.0)[-1]


# ---- the command ----

EXAMPLE = "--reconstruction mse-mean --kl-weight 0.00025 --dim 12288 --latent 128"


def explain(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["explain-loss", *shlex.split(arguments)]) == 0
    captured = capsys.readouterr()
    assert not captured.err
    assert max(map(len, captured.out.splitlines())) <= 80
    return captured.out


def test_the_command_answers_the_question(capsys: pytest.CaptureFixture[str]) -> None:
    out = explain(f"{EXAMPLE} --sigma 0.2", capsys)
    assert "ordinary ELBO (beta = 1)" in out and "sigma^2 = 1.536, sigma = 1.23935" in out
    assert re.search(r"beta = 1.536 +at sigma = 1\n", out)
    assert re.search(r"beta = 38.4 +at sigma = 0.2 ", out)
    assert re.search(r"mse-sum +KL weight 3.072\n", out)
    assert "= 4,000 * loss + 13,928.8" in out


@pytest.mark.parametrize("name", losses())
def test_the_other_weights_that_are_printed_mean_the_same(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, latents, batch, kl_batch = name.split()
    loss = losses()[name]
    out = explain(
        f"--reconstruction {preset} --kl-weight 0.37 --dim {D} --latent {K} --kl-latents {latents} "
        f"--batch {batch} --kl-batch {kl_batch} --batch-size {B}", capsys
    )  # fmt: skip
    found = re.findall(r"    (\S+) +KL weight (\S+)", out)
    assert {preset for preset, _ in found} == {p for p in PRESETS if PRESETS[p][0] == loss.term}
    for other, weight in found:
        term, pixels, half = PRESETS[other]
        same = Loss(term, pixels, float(weight), D, half)
        assert conventions.invariant(same) == pytest.approx(conventions.invariant(loss), rel=1e-5)


@given(loss=any_loss(), scale=SCALES)
def test_every_output_fits_and_leads_back_to_its_weight(loss: Loss, scale: float) -> None:
    words = ["--reconstruction", loss.term, "--pixels", loss.pixels, "--dim", str(loss.dim)]
    words += ["--half"] if loss.half else []
    words += ["--kl-weight", repr(loss.kl_weight), "--kl-latents", loss.latents]
    words += ["--latent", str(loss.latent), "--batch-size", str(loss.batch_size)]
    words += ["--batch", loss.batch, "--kl-batch", loss.kl_batch or loss.batch]
    option = {"mse": "--sigma", "l1": "--scale"}.get(loss.term)
    words += [option, repr(scale)] if option else []
    with redirect_stdout(io.StringIO()) as out:
        assert main(["explain-loss", *words]) == 0
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    if option:
        (row,) = (line for line in lines if "(your --" in line)
        beta = float(row.split()[2])
        assert beta == pytest.approx(at_scale(loss, scale).beta, rel=1e-5)


def test_separate_flags_say_the_same_as_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    preset = explain("--reconstruction mse-mean-half --dim 784 --kl-weight 0.1", capsys)
    flags = "--reconstruction mse --pixels mean --half --dim 784 --kl-weight 0.1"
    assert explain(flags, capsys) == preset


@pytest.mark.parametrize(
    "arguments",
    [EXAMPLE, "--reconstruction bce-mean --dim 784", "--reconstruction gaussian-nll-sum --dim 9"],
)
def test_minivae_understands_the_command_that_is_printed(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = explain(arguments, capsys)
    command = out[out.index("minivae train") :].split("\n\n")[0].replace("\\\n", " ")
    args = cli.parser().parse_args(shlex.split(command)[1:])
    if arguments == EXAMPLE:
        assert (args.likelihood, args.variance, args.kl_weight) == ("gaussian", "fixed", 1.0)
        assert args.sigma**2 == pytest.approx(1.536, rel=1e-7)
    elif "bce" in arguments:
        assert (args.likelihood, args.kl_weight) == ("bernoulli", 784.0)
    else:
        assert (args.likelihood, args.variance, args.kl_weight) == ("gaussian", "pixel", 1.0)


def test_the_other_way_leads_back(capsys: pytest.CaptureFixture[str]) -> None:
    out = explain("--beta 2 --sigma 0.2 --dim 784", capsys)
    weight = dict(re.findall(r"    (\S+) +KL weight (\S+)", out))["mse-mean"]
    back = explain(f"--reconstruction mse-mean --kl-weight {weight} --dim 784 --sigma 0.2", capsys)
    assert re.search(r"beta = 2 +at sigma = 0.2 ", back)
    assert "-541.352 nats" in out
    assert "no Laplace" in explain("--likelihood laplace --beta 1 --scale 0.1 --dim 784", capsys)
    assert "bce-sum" in explain("--likelihood bernoulli --beta 1 --dim 784", capsys)
    assert "gaussian-nll-sum" in explain("--beta 1 --dim 784", capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--dim"),
        ("--dim 784", "--reconstruction"),
        ("--dim 784 --reconstruction mse-sum --beta 1", "either a loss"),
        ("--dim 784 --reconstruction mae", "mse-sum, mse-mean"),
        ("--dim 784 --reconstruction mse", "--pixels sum or --pixels mean"),
        ("--dim 784 --reconstruction mse-sum --pixels mean", "leave out"),
        ("--dim 784 --reconstruction l1 --pixels sum --half", "1/2"),
        ("--dim 0 --reconstruction mse-sum", "dim"),
        ("--dim 784 --reconstruction mse-sum --kl-weight 0", "kl_weight"),
        ("--dim 784 --reconstruction mse-sum --kl-weight nan", "kl_weight"),
        ("--dim 784 --reconstruction mse-sum --kl-weight 1e300", "kl_weight"),
        ("--dim 784 --reconstruction mse-sum --sigma -1", "sigma"),
        ("--dim 784 --reconstruction mse-sum --sigma 1e-200", "sigma"),
        ("--dim 784 --reconstruction mse-sum --scale 1", "--sigma with mse"),
        ("--dim 784 --reconstruction bce-sum --sigma 1", "--sigma with mse"),
        ("--dim 784 --reconstruction mse-sum --kl-latents mean", "--latent"),
        ("--dim 784 --reconstruction mse-sum --batch sum", "--batch-size"),
        ("--dim 784 --reconstruction mse-sum --range 0", "--range"),
        ("--dim 784 --reconstruction mse-sum --likelihood gaussian", "--likelihood"),
        ("--dim 784 --beta 1 --kl-weight 1", "options of a loss"),
        ("--dim 784 --beta 1 --batch sum", "options of a loss"),
        ("--dim 784 --beta 1 --scale 1", "--scale with laplace"),
        ("--dim 784 --beta 1 --likelihood laplace", "scale b"),
        ("--dim 784 --beta -1", "beta"),
    ],
)
def test_bad_input_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain-loss", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert not captured.out


def test_the_help_has_examples_that_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain-loss", "--help"])
    text = capsys.readouterr().out
    commands = re.findall(r"^  minivae explain-loss ((?:.*\\\n)*.*)", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        explain(command.replace("\\\n", " "), capsys)


def test_the_readme_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    pattern = r"```console\n\$ minivae explain-loss (.*?[^\\])\n([^$]*?)```"
    ((command, shown),) = re.findall(pattern, text, re.DOTALL)
    out = explain(command.replace("\\\n", " "), capsys)
    assert len(shown.splitlines()) > 10 and out.startswith(shown)
