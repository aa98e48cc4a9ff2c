"""The command line as a person uses it: a run folder, numbers with units, one line on bad input."""

import argparse
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import (
    VAE,
    Architecture,
    Autoencoder,
    estimate_likelihood,
    load_digits,
    plots,
    runs,
    smoothed_mean,
)
from minivae.arrays import generator
from minivae.cli import main, pictures, session
from minivae.cli import train as command
from minivae.cli.evaluate import EVALUATION
from minivae.datasets import Dataset, binarise_splits
from minivae.datasets.binarisation import CHOICES
from minivae.schedules import Cosine, LinearWarmUp

SMALL = ["--epochs", "3", "--hidden", "16", "--batch-size", "200"]


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_train_leaves_a_run_folder_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL]) == 0
    folder = Path("runs/digits-vae-1")
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "card.json", "checkpoint.json", "checkpoints", "history.csv", "pictures",
    }  # fmt: skip
    assert {p.stem for p in (folder / "pictures").iterdir()} == {
        "curves", "reconstructions", "samples", "manifold", "latents", "kl",
    }  # fmt: skip
    card = json.loads((folder / "card.json").read_text())
    assert card["seed"] == 0 and len(card["data_sha256"]) == 64 and card["blas_kernel"]
    rows = runs.read_history(folder / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        for part in ("train", "valid"):
            split = row[f"{part}_reconstruction"] - row[f"{part}_kl"]
            assert row[f"{part}_elbo"] == pytest.approx(split, abs=1e-3)
    assert "nats per image" in capsys.readouterr().out


def test_no_run_overwrites_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL]) == 0 and main(["train", *SMALL]) == 0
    assert Path("runs/digits-vae-2/checkpoint.json").exists()
    before = Path("runs/digits-vae-1/checkpoint.json").read_bytes()
    assert main(["train", *SMALL, "--out", "runs/digits-vae-1"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert Path("runs/digits-vae-1/checkpoint.json").read_bytes() == before


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    def theta(out: str, seed: str) -> np.ndarray:
        assert main(["train", *SMALL, "--out", out, "--seed", seed]) == 0
        return runs.load_run(out)[0].parameters.theta

    first, again, other = theta("a", "0"), theta("b", "0"), theta("c", "1")
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "ae"],
        ["--latent", "5", "--likelihood", "gaussian"],
        ["--likelihood", "continuous-bernoulli"],
        ["--model", "ae", "--likelihood", "continuous-bernoulli"],
        ["--likelihood", "gaussian", "--variance", "pixel", "--dtype", "float64"],
        ["--likelihood", "gaussian", "--variance", "fixed", "--sigma", "0.3", "--validation", "0"],
        ["--hidden", "--activation", "gelu", "--binarisation", "threshold", "--latent", "1"],
        ["--kl-weight", "0.5", "--free-bits", "0.1", "--samples", "2", "--binarisation", "fixed"],
    ],
    ids=" ".join,
)
def test_every_kind_of_model_trains_draws_and_evaluates(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = SMALL + options if "--hidden" not in options else SMALL[:2] + options
    assert main(["train", *options, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--samples", "10"]) == 0
    out = capsys.readouterr().out
    assert "reconstruction" in out and "nats per image" in out
    assert ("in the mean from above" in out) == ("ae" not in options)
    density = "--likelihood" in options  # the default is a Bernoulli, of black and white
    assert ("images of digits, grey" in out) == density
    assert ("densities of grey values" in out) == density
    assert ("independent pixels, NLL" in out) == (not density)


def test_evaluate_prints_the_numbers_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "--kl-weight", "0.5", "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--samples", "50", "--seed", "4"]) == 0
    printed = {
        line.split()[0]: [float(n) for n in re.findall(r"-?\d+\.\d+", line)]
        for line in capsys.readouterr().out.splitlines()[1:]
        if "nats" in line
    }
    model, config = runs.load_run("run")
    x = runs.load_data(config).test.x
    assert x.shape == (250, 64) and set(np.unique(x)) == {0.0, 1.0}
    result = estimate_likelihood(model, x, generator("cpu", 4, 0, EVALUATION), 50)  # type: ignore[arg-type]
    for name, values in (
        ("ELBO", result.elbo),
        ("reconstruction", result.reconstruction),
        ("KL", result.kl),
        ("NLL", result.nll),
    ):
        mean, error = printed[name][:2]
        assert mean == pytest.approx(values.mean(), abs=0.006)
        assert error == pytest.approx(values.std(ddof=1) / np.sqrt(250), abs=0.006)
    assert printed["NLL"][0] <= -printed["ELBO"][0]
    assert printed["NLL"][2] == pytest.approx(result.nll.mean() / 64 / math.log(2), abs=6e-5)


# ---- what was asked for is what is done, and what is written ----


def asked(monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[Any, ...]:
    """The model, x, valid_x and the keywords that `minivae train` would begin to train with."""
    calls: list[tuple[Any, ...]] = []

    def stop(*positional: Any, **keywords: Any) -> None:
        calls.append((*positional, keywords))
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "train", stop)
    assert main(["train", *options]) == 130
    return calls[0]


def digits(validation: int, how: str) -> Dataset:
    return binarise_splits(load_digits().with_validation(validation), how)


@pytest.mark.parametrize("how", CHOICES)
def test_it_trains_on_the_pixels_and_watches_the_split_that_were_asked_for(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--binarisation", how, "--validation", "100")
    _, x, valid_x, keywords = asked(monkeypatch, *options)
    want = digits(100, how)
    assert np.array_equal(x, want.train.x) and np.array_equal(valid_x, want.valid.x)
    assert keywords["binarisation"] == ("new" if how == "new" else "none")


def test_every_option_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--epochs 7 --batch-size 50 --learning-rate 0.002 --seed 6"
    options += " --kl-weight 0.5 --free-bits 0.25 --kl-floor 0.75 --samples 2 --clip 3 --patience 4"
    options += " --kl-schedule linear:epochs=2 --learning-rate-schedule cosine:floor=0.5"
    *_, keywords = asked(monkeypatch, *options.split())
    optimizer = keywords.pop("optimizer")
    assert type(optimizer).__name__ == "Adam" and optimizer.learning_rate == 0.002
    assert keywords.pop("history").rows == [] and keywords.pop("keep_best") is False
    del keywords["progress"], keywords["after_epoch"], keywords["binarisation"]
    steps = -(-1297 // 50)
    assert keywords.pop("kl_schedule") == LinearWarmUp(2 * steps)
    assert keywords.pop("learning_rate_schedule") == Cosine(7 * steps, 0.5)
    assert keywords == {
        "epochs": 7, "batch_size": 50, "seed": 6, "kl_weight": 0.5, "free_bits": 0.25, "samples": 2,
        "kl_floor": 0.75, "clip": 3.0, "patience": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {"name": "adam", "learning_rate": 0.001}),
        ("--optimizer sgd", {"name": "sgd", "learning_rate": 0.01, "momentum": 0.0}),
        ("--optimizer sgd --momentum 0.5 --learning-rate 2", {"momentum": 0.5, "learning_rate": 2}),
        ("--optimizer adamw", {"name": "adamw", "weight_decay": 0.01, "learning_rate": 0.001}),
        ("--optimizer adamw --weight-decay 0.2", {"name": "adamw", "weight_decay": 0.2}),
    ],
)
def test_the_optimiser_is_the_one_that_was_asked_for(
    options: str, settings: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, keywords = asked(monkeypatch, *options.split())
    assert keywords["optimizer"].settings().items() >= settings.items()


@pytest.mark.parametrize(("name", "kind"), [("vae", VAE), ("ae", Autoencoder)])
def test_every_option_reaches_the_model(
    name: str, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f"--model {name} --hidden 11 7 --latent 3 --activation tanh --likelihood gaussian"
    options += " --variance pixel --sigma 0.3 --seed 6 --dtype float64"
    model, x, *_ = asked(monkeypatch, *options.split())
    architecture = Architecture(64, 3, (11, 7), "tanh", "gaussian", "pixel", 0.3)
    assert type(model) is kind and model.architecture == architecture
    want = kind(architecture, smoothed_mean(x), 6, "float64").parameters.theta
    assert model.parameters.theta.dtype == np.float64
    assert np.array_equal(model.parameters.theta, want)


def test_config_json_says_all_that_was_asked_for() -> None:
    options = "--hidden 11 7 --latent 3 --activation tanh --dtype float64 --binarisation threshold"
    options += " --epochs 2 --batch-size 50 --learning-rate 0.002 --seed 6 --validation 100"
    options += " --kl-weight 0.5 --free-bits 0.25 --kl-floor 0.75 --samples 2 --out run"
    options += " --likelihood gaussian --variance pixel --sigma 0.3"
    assert main(["train", *options.split()]) == 0
    assert runs.read_sealed(Path("run/config.json")) == {
        "format": runs.FORMAT,
        "architecture": {
            "n_features": 64, "latent": 3, "hidden": [11, 7], "activation": "tanh",
            "likelihood": "gaussian", "variance": "pixel", "sigma": 0.3,
        },
        "dtype": "float64",
        "model": "vae",
        "data": {"name": "digits", "validation": 100, "binarisation": "threshold"},
        "training": {
            "epochs": 2, "batch_size": 50, "seed": 6, "clip": None, "patience": None,
            "learning_rate_schedule": "constant", "kl_schedule": "constant",
            "optimizer": {
                "name": "adam", "learning_rate": 0.002, "beta1": 0.9, "beta2": 0.999,
                "epsilon": 1e-8,
            },
            "kl_weight": 0.5, "kl_floor": 0.75, "free_bits": 0.25, "samples": 2,
        },
    }  # fmt: skip
    assert json.loads(Path("run/card.json").read_text())["seed"] == 6


def test_card_json_names_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is made on the CPU all the same, so that this needs no GPU."""
    right = command._model

    def on_the_cpu(args: argparse.Namespace, dataset: Dataset) -> Any:
        return right(argparse.Namespace(**{**vars(args), "device": "cpu"}), dataset)

    for device in ("cpu", "cuda"):
        with monkeypatch.context() as patch:
            patch.setattr(command, "_model", on_the_cpu)
            asked(patch, "--device", device, "--out", device)
        assert json.loads(Path(device, "card.json").read_text())["device"] == device


@pytest.mark.parametrize("how", CHOICES)
@pytest.mark.parametrize("validation", [0, 100])
def test_a_run_finds_its_data_again(how: str, validation: int) -> None:
    data = {"name": "digits", "validation": validation, "binarisation": how}
    got, want = runs.load_data({"data": data}), digits(validation, how)
    for part in ("train", "valid", "test"):
        assert np.array_equal(getattr(got, part).x, getattr(want, part).x)
        assert np.array_equal(getattr(got, part).y, getattr(want, part).y)


# ---- pictures ----


@pytest.mark.parametrize(("kind", "mean"), [(VAE, "encoder.mu.W"), (Autoencoder, "encoder.code.W")])
def test_pictures_show_held_out_images_and_the_latents_that_are_used_most(
    kind: Any, mean: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: dict[str, Any] = {}
    monkeypatch.setattr(runs, "write_figure", lambda path, figure: figures.update({path: figure}))
    dataset = digits(5, "fixed")
    model = kind(Architecture(64, 3, (20,)))
    model.parameters.views(model.parameters.theta)[mean][...] *= [1.0, 9.0, 3.0]
    rows = [{"epoch": e, "train_reconstruction": -e} for e in (1.0, 2.0)]
    files = pictures.draw(Path("run"), model, dataset, rows, seed=0)
    by_name = {path.stem: figures[path] for path in files}
    held_out = np.concatenate([dataset.valid.x, dataset.test.x])  # 5 and 250

    page = by_name["reconstructions"].axes[0].images[0].get_array()
    assert np.array_equal(page[:8], plots.mosaic(held_out[:12], (8, 8), 12))
    decoded = model.reconstruct(held_out[:48])[:12]
    assert np.array_equal(page[9:17], plots.mosaic(decoded, (8, 8), 12))

    dots = by_name["latents"].axes[0].collections[0]
    assert np.allclose(dots.get_offsets(), model.means(held_out)[:, [1, 2]])
    assert np.array_equal(dots.get_array(), np.concatenate([dataset.valid.y, dataset.test.y]))


# ---- what can go wrong ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["train", "--epochs", "0"], "epochs"),
        (["train", "--latent", "0"], "latent"),
        (["train", "--learning-rate", "-1"], "learning_rate"),
        (["train", "--learning-rate", "nan"], "learning_rate"),
        (["train", "--sigma", "0", "--likelihood", "gaussian"], "sigma"),
        (["train", "--validation", "1547"], "validation"),
        (["train", "--model", "ae", "--kl-weight", "2"], "--kl-weight belongs to --model vae"),
        (["train", "--kl-weight", "-1"], "--kl-weight"),
        (["train", "--kl-weight", "nan"], "--kl-weight"),
        (["train", "--free-bits", "inf"], "--free-bits"),
        (["train", "--sigma", "0.3"], "belong to --likelihood gaussian"),
        (["train", "--variance", "pixel"], "belong to --likelihood gaussian"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--patience", "0"], "--patience"),
        (["train", "--patience", "3", "--validation", "0"], "--patience needs held-out data"),
        (["train", "--clip", "0"], "--clip"),
        (["train", "--clip", "nan"], "--clip"),
        (["train", "--momentum", "0.9"], "--optimizer sgd"),
        (["train", "--weight-decay", "0.1"], "--optimizer adamw"),
        (["train", "--kl-schedule", "linaer:epochs=3"], "did you mean 'linear'"),
        (["train", "--learning-rate-schedule", "cosine:flor=3"], "did you mean 'floor'"),
        (["train", "--model", "ae", "--kl-schedule", "cyclical"], "--model ae has none"),
        (["train", "--data", "digts"], "digts"),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not list(Path().rglob("*.json"))


def test_grey_pixels_under_a_bernoulli_are_noted_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["train", *SMALL, "--binarisation", "none"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("minivae: note: grey pixels under a Bernoulli")
    assert error.count("\n") == 1


def test_an_option_is_not_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--laten", "4"])
    assert stop.value.code == 2 and "--laten" in capsys.readouterr().err


def test_mnist_that_cannot_be_downloaded_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    assert main(["train", "--data", "mnist"]) == 2
    error = capsys.readouterr().err
    assert "MINIVAE_DATA" in error and error.count("\n") == 1


def test_cuda_without_cupy_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)  # as if it were not installed
    assert main(["train", "--device", "cuda"]) == 2
    error = capsys.readouterr().err
    assert "minivae[cuda12]" in error and error.count("\n") == 1
    assert not Path("runs").exists()


def test_ctrl_c_keeps_what_was_reached(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    after_epoch = runs.Keeper.after_epoch

    def interrupt(self: runs.Keeper, row: dict[str, float]) -> None:
        after_epoch(self, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Keeper, "after_epoch", interrupt)
        assert main(["train", *SMALL]) == 130
    folder = Path("runs/digits-vae-1")
    error = capsys.readouterr().err
    last = f"minivae: stopped after 2 of 3 epochs; to go on: minivae train --resume {folder}\n"
    assert error.endswith(last)
    assert [row["epoch"] for row in runs.read_history(folder / "history.csv")] == [1, 2]
    assert len(list((folder / "pictures").iterdir())) == 6
    assert main(["evaluate", str(folder), "--samples", "2"]) == 0
    assert main(["train", "--resume", str(folder)]) == 0
    assert [row["epoch"] for row in runs.read_history(folder / "history.csv")] == [1, 2, 3]
    assert main(["train", *SMALL, "--out", "undisturbed"]) == 0
    ours, theirs = (runs.load_run(f)[0].parameters.theta for f in (folder, "undisturbed"))
    assert np.array_equal(ours, theirs)


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("minivae.cli.session.train", interrupted)
    assert main(["train", *SMALL]) == 130
    assert "minivae: stopped after 0 of 3 epochs; to go on" in capsys.readouterr().err


def test_a_diverging_run_stops_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SMALL, "--learning-rate", "1e30"]) == 2
    error = capsys.readouterr().err
    assert "not finite in epoch 1, step 2, first in the output of" in error
    assert "--resume runs/digits-vae-1 --learning-rate 1e+29" in error and error.count("\n") == 1
    model, _ = runs.load_run("runs/digits-vae-1")
    assert np.isfinite(model.parameters.theta).all()
    assert main(["train", "--resume", "runs/digits-vae-1", "--learning-rate", "1e-3"]) == 0


def test_info_names_the_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "BLAS kernel" in out and "GPU" in out


def test_the_learned_variance_rests_at_the_mean_squared_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--likelihood", "gaussian", "--hidden", "16", "--batch-size", "128"]
    options += ["--epochs", "200", "--learning-rate", "0.005"]
    assert main(["train", *options, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--samples", "2"]) == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if "decoder variance" in s)
    variance, error = (float(n) for n in re.findall(r"\d\.\d+", line))
    assert variance == pytest.approx(error, rel=0.01)
