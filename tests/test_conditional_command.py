"""`minivae train --model cvae` and what the other commands say of such a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import runs
from minivae.cli import main, session
from minivae.models import ConditionalVAE

SHORT = "train --model cvae --hidden 8 --batch-size 200 --no-pictures"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cvae")


@pytest.fixture(scope="module", params=["standard", "learned"])
def run(request: Any, folder: Path) -> Path:
    """A run of each prior, with pictures."""
    path = folder / request.param
    words = SHORT.replace(" --no-pictures", "").split()
    assert main([*words, "--epochs", "2", "--prior", request.param, "--out", str(path)]) == 0
    return path


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    status, out, err = said(capsys, *words)
    lines = err.splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("minivae: "), err
    return lines[0]


def test_a_run_says_what_it_is(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    a = config["architecture"]
    assert (a["condition"], a["n_conditions"], a["prior"]) == ("label", 10, run.name)
    drawn = {path.stem for path in (run / "pictures").iterdir()}
    assert drawn == {"curves", "kl", "reconstructions", "samples", "latents"}
    assert "valid_elbo" in runs.read_history(run / "history.csv")[-1]
    model, _ = runs.load_run(run)
    assert isinstance(model, ConditionalVAE) and (model.prior is None) == (run.name == "standard")


def test_it_is_evaluated(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "evaluate", run, "--samples", 5)
    assert status == 0
    for text in (
        "given label",
        "ELBO",
        "NLL",
        "independent pixels of each class",
        "linear probe",
        "chance",
        {"standard": "N(0, 1)", "learned": "the learned p(z|y)"}[run.name],
    ):
        assert text in out
    assert said(capsys, "evaluate", run, "--samples", 5)[1] == out


def test_it_draws_a_chosen_class_and_the_same_styles_in_all(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seven, every = tmp_path / "7.npy", tmp_path / "all.npy"
    assert said(capsys, "sample", run, "--label", 7, "--n", 5, "--out", seven)[0] == 0
    status, out, _ = said(capsys, "sample", run, "--n", 50, "--out", every)
    assert status == 0 and "50 images given each of 10 classes" in out
    a, b = np.load(seven), np.load(every).reshape(5, 10, 64)
    assert a.shape == (5, 64)
    assert a == pytest.approx(b[:, 7], abs=1e-6)  # the same seed, so the same styles
    model, _ = runs.load_run(run)
    for temperature in (1.0, 2.0):
        out_path = tmp_path / f"{temperature}.npy"
        assert main(["sample", str(run), "--label", "3", "--n", "4", "--out", str(out_path),
                     "--temperature", str(temperature)]) == 0  # fmt: skip
        from minivae.arrays import generator

        u = generator("cpu", 0, 0, 20).standard_normal((4, 1, 2), dtype="float32")[:, 0]
        y = np.repeat(np.eye(10, dtype=np.float32)[[3]], 4, axis=0)
        p = model.prior_of(y)
        z = p.mu + np.exp(0.5 * p.logvar) * (temperature * u)
        assert np.load(out_path) == pytest.approx(model.decode(z, y).mean, abs=1e-6)
    drawn = tmp_path / "drawn.npy"
    assert said(capsys, "sample", run, "--label", 7, "--n", 5, "--draw", "--out", drawn)[0] == 0
    assert set(np.unique(np.load(drawn))) <= {0.0, 1.0}
    for words in ((), ("--label", "7")):
        assert said(capsys, "sample", run, *words)[0] == 0
    assert (run / "pictures" / "sample.png").stat().st_size > 5000


def test_a_resumed_run_is_equal_to_the_bit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SHORT.split(), "--prior", "learned", "--optimizer", "adamw"]
    whole, parts = folder / "whole", folder / "parts"
    assert main([*words, "--epochs", "4", "--out", str(whole)]) == 0
    assert main([*words, "--epochs", "2", "--out", str(parts)]) == 0
    assert main(["train", "--resume", str(parts), "--epochs", "4", "--no-pictures"]) == 0
    a, b = (runs.load_run(path)[0].parameters.theta for path in (whole, parts))
    assert np.array_equal(a, b)
    first, last = (runs.read_history(path / "history.csv") for path in (whole, parts))
    assert all({**r, "seconds": 0} == {**s, "seconds": 0} for r, s in zip(first, last, strict=True))


@pytest.mark.parametrize("words", [
    "reconstruct", "interpolate", "traverse", "encode --out codes.npy", "usage", "prune",
    "holes", "gap", "probe", "factors", "diagnose", "report",
])  # fmt: skip
def test_what_a_command_cannot_do_it_says_in_one_line(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = folder / "learned"
    if not run.exists():
        main([*SHORT.split(), "--epochs", "1", "--prior", "learned", "--out", str(run)])
        capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    command, *rest = words.split()
    message = refused(capsys, command, run, *rest)
    assert "told a condition" in message and "autoencoder" not in message


@pytest.mark.parametrize("words, message", [
    ("--model vae --condition label", "--condition belongs to --model cvae, got --model vae"),
    ("--model ae --prior learned", "--prior belongs to --model cvae, got --model ae"),
    ("--model cvae --condition factors", "digits has no known factors"),
    ("--model cvae --condition colour", "a condition of digits (label), or one of quadrants-1, qu"),
    ("--model cvae --samples 0", "--samples from 1"),
    ("--model cvae --damage mask", "--damage belongs to --model dae"),
])  # fmt: skip
def test_training_refuses(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "none"
    assert message in refused(capsys, "train", *words.split(), "--out", out)
    assert not out.exists()


def test_sampling_refuses(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = folder / "learned"
    for label in ("11", "-1", "seven", "x=3", ""):
        assert "expected" in refused(capsys, "sample", run, f"--label={label}")
    assert "--temperature above 0" in refused(capsys, "sample", run, "--temperature", 0)
    assert "--n and --columns of at least 1" in refused(capsys, "sample", run, "--n", 0)
    plain = tmp_path / "vae"
    main(["train", "--hidden", "4", "--epochs", "1", "--no-pictures", "--out", str(plain)])
    capsys.readouterr()
    assert "--label belongs to a run of --model cvae" in refused(
        capsys, "sample", plain, "--label", 7
    )


def test_own_data_with_factors_and_a_class_that_training_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (90, 6, 6)).astype(np.float32)
    labels = np.repeat([0, 1, 2], 30)
    np.savez(tmp_path / "own.npz", x_train=x[:60], y_train=labels[:60], x_test=x[60:],
             y_test=labels[60:])  # fmt: skip
    data, out = tmp_path / "own.npz", tmp_path / "run"
    status, _, err = said(capsys, *SHORT.split(), "--data", data, "--epochs", 1, "--out", out,
                          "--validation", 5)  # fmt: skip
    assert status == 0, err
    assert "no training image has it" in refused(capsys, "evaluate", out, "--samples", 2)
    assert "label one of 0, 1; got '2'" in refused(capsys, "sample", out, "--label", 2)


def test_factors_of_a_rendered_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minivae import datasets
    from minivae.datasets import load_sprites

    monkeypatch.setitem(datasets.LOADERS, "sprites", lambda: load_sprites(200, 40, 40))
    out = tmp_path / "run"
    words = SHORT.replace(" --no-pictures", "").split()
    status, said_out, err = said(capsys, *words, "--data", "sprites", "--validation", 40,
                                 "--condition", "factors", "--epochs", 1, "--out", out)  # fmt: skip
    assert status == 0, err
    assert (out / "pictures" / "samples.png").exists()
    status, text, _ = said(capsys, "evaluate", out, "--samples", 2)
    assert status == 0 and "given factors" in text and "probe" not in text
    label = "shape=heart,scale=10,rotation=0.5,x=0,y=-4"
    assert said(capsys, "sample", out, "--label", label)[0] == 0
    assert "--label shape=...,scale=..." in refused(capsys, "sample", out)
    assert "y from -4 to 4" in refused(capsys, "sample", out, "--label", label.replace("-4", "-5"))


def test_nothing_is_drawn_without_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack([rng.normal(size=(50, 3)), rng.integers(0, 2, 50)])
    table = tmp_path / "t.csv"
    table.write_text("a,b,c,label\n" + "\n".join(",".join(map(str, row)) for row in rows))
    out = tmp_path / "run"
    status, _, err = said(capsys, *SHORT.split(), "--data", table, "--likelihood", "gaussian",
                          "--epochs", 1, "--out", out)  # fmt: skip
    assert status == 0, err
    assert said(capsys, "evaluate", out, "--samples", 2)[0] == 0
    assert said(capsys, "sample", out, "--label", "1.0", "--out", tmp_path / "a.npy")[0] in (0, 2)
    assert "no images to show" in refused(capsys, "sample", out)
    assert session.PIXELS["none"] == ""


def test_a_condition_without_a_name_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "nothing"
    refused(capsys, *SHORT.split(), "--epochs", 1, "--condition", "", "--out", out)
    assert not out.exists()
