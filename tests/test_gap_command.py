"""`minivae gap RUN`: what it prints and draws, against the library."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import VAE, Architecture, Autoencoder, plots, runs
from minivae.arrays import generator
from minivae.cli import _common, main
from minivae.cli import gap as command
from minivae.datasets import Dataset, Split
from minivae.evaluation import Annealing, Refining, Sampled, anatomy
from minivae.models.base import Model

DATA = {"name": "digits", "validation": 250, "binarisation": "new"}
SMALL = ["--examples", "10", "--steps", "5", "--samples", "20"]


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(K: int = 2, kind: type[Model] = VAE) -> Model:
    model = kind(Architecture(64, K, (8,), "tanh"), seed=0)
    theta = model.parameters.theta
    theta += 0.3 * np.random.default_rng(0).standard_normal(theta.shape, dtype="float32")
    Path("run/pictures").mkdir(parents=True)
    runs.save(Path("run"), model, {"model": "vae" if kind is VAE else "ae", "data": DATA})
    return model


def row(text: str, name: str) -> list[float]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(name)]
    return [float(n) for n in re.findall(r"-?\d+\.\d{3}", line)]


def test_it_prints_the_anatomy_and_draws_it(capsys: Any) -> None:
    model = made()
    assert main(["gap", "run", *SMALL, "--seed", "3"]) == 0
    out = capsys.readouterr().out
    data = runs.load_data({"data": DATA}).test
    rng = generator("cpu", 3, 0, command.GAP)
    want = anatomy(model, data.x[:10], rng, Refining(5), 20).gaps
    for name, part in (
        ("log p(x)", want.log_evidence),
        ("ELBO, a full", want.full),
        ("ELBO, its own", want.refined),
        ("ELBO, the encoder", want.elbo),
        ("gap", want.gap),
        ("amortisation", want.amortisation),
        ("approximation", want.approximation),
        ("a full covariance's", want.full_approximation),
    ):
        estimate = part.over_examples()
        got = row(out, name)
        assert got == pytest.approx([estimate.mean, estimate.standard_error], abs=6e-4), name
    assert "10 test images of digits; nats per image" in out and "integrated, to" in out
    for label, part in want.by_class(data.y[:10]).items():
        (line,) = re.findall(rf"^  {label} +{len(part)} .*$", out, re.MULTILINE)
        mean = float(line.split()[2])
        assert mean == pytest.approx(part.amortisation.value.mean(), abs=6e-4)
    assert {p.name for p in Path("run/pictures").iterdir()} == {"gap.png", "gap-classes.png"}


def test_more_latents_are_annealed(capsys: Any) -> None:
    model = made(3)
    arguments = ["--chains", "4", "--temperatures", "20", "--out", "a.svg"]
    assert main(["gap", "run", *SMALL, *arguments]) == 0
    out = capsys.readouterr().out
    assert "annealed, 4 chains of 20: a lower bound" in out
    x = runs.load_data({"data": DATA}).test.x[:10]
    rng = generator("cpu", 0, 0, command.GAP)
    want = anatomy(
        model, x, rng, Refining(5), 20, Annealing(4, 20, n_leapfrog=5, start="encoder")
    ).gaps
    assert row(out, "log p(x)")[0] == pytest.approx(want.log_evidence.value.mean(), abs=1e-2)
    assert Path("a.svg").exists() and Path("a-classes.svg").exists()
    for name in ("a.svg", "b.svg"):
        if name == "b.svg":
            Path("b-classes.svg").write_text("mine")
        assert main(["gap", "run", *SMALL, "--out", name]) == 2
        assert "exists already: --force replaces it" in capsys.readouterr().err
    assert Path("b-classes.svg").read_text() == "mine" and not Path("b.svg").exists()


def test_a_log_likelihood_below_a_bound_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(3)
    monkeypatch.setattr(
        "minivae.evaluation.gaps.evidence_of",
        lambda model, x, *_: (Sampled(np.full(len(x), -1e4), np.zeros(len(x))), "annealing"),
    )
    assert main(["gap", "run", *SMALL]) == 0
    assert re.search(r"log p\(x\) came out \d+\.\d\d below a bound", capsys.readouterr().out)


def test_without_labels_there_are_no_classes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made()
    digits = runs.load_data({"data": DATA})
    plain = [Split(s.x, np.zeros_like(s.y)) for s in (digits.train, digits.valid, digits.test)]
    data = Dataset("mine", (8, 8), *plain, sha256="0")
    monkeypatch.setattr(_common, "load_data", lambda *_: data)
    assert main(["gap", "run", "--examples", "1", "--steps", "0", "--samples", "4"]) == 0
    out = capsys.readouterr().out
    assert "class" not in out and "+-" not in out  # and one image has no standard error
    assert "0 steps; 0% of them gained" in out and "nan" not in out
    assert [p.name for p in Path("run/pictures").iterdir()] == ["gap.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--examples 0", "--examples from 1 to 250 (test images of digits), got 0"),
        ("--examples 251", "--examples from 1 to 250"),
        ("--steps -1", "--steps from 0 to 100,000"),
        ("--samples 2", "--samples from 4"),
        ("--samples 7", "expected an even --samples, got 7"),
        ("--chains 0", "--chains from 1"),
        ("--temperatures 0", "--temperatures from 1"),
        ("--seed -1", "--seed of at least 0"),
        ("--out a.gif", "ends in .png or .svg"),
    ],
)
def test_bad_input_is_one_line(arguments: str, message: str, capsys: Any) -> None:
    made()
    assert main(["gap", "run", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(Path("run/pictures").iterdir())


def test_an_autoencoder_has_no_bound(capsys: Any) -> None:
    made(kind=Autoencoder)
    assert main(["gap", "run"]) == 2
    assert "expected the run of a VAE, got an autoencoder" in capsys.readouterr().err


# ---- the pictures ----


def test_the_curve() -> None:
    marks, gap = np.array([0, 1, 2, 5, 10, 30]), np.array([3.0, 2.0, 1.5, 1.2, 1.1, 1.05])
    figure = plots.gap_curve(marks, gap, 0.1 * gap, 1.05, 0.4)
    (plane,) = figure.axes
    points = plane.containers[0].lines[0].get_xydata()
    assert np.allclose(points, np.stack([marks, gap], axis=1))
    heights = [line.get_ydata()[0] for line in plane.lines if len(line.get_xdata()) == 2]
    assert heights == [1.05, 0.4]
    bars = plane.containers[0].lines[2][0].get_segments()
    assert np.allclose([b[1][1] - b[0][1] for b in bars], 0.2 * gap)
    assert [t.get_text() for t in plane.get_xticklabels()] == ["0", "1", "10", "30"]
    assert "nats" in plane.get_ylabel() and plane.get_ylim()[0] == 0.0


def test_the_bars_stand_on_each_other() -> None:
    parts = np.array([[0.1, 0.2], [0.3, -0.1], [1.0, 2.0]])
    figure = plots.gap_bars(["zero", "one"], parts, np.array([0.2, np.nan]))
    (plane,) = figure.axes
    boxes = [(bar.get_x() + 0.375, bar.get_y(), bar.get_height()) for bar in plane.patches]
    want = [(0, 0, 0.1), (1, 0, 0.2), (0, 0.1, 0.3), (1, 0.2, 0), (0, 0.4, 1.0), (1, 0.2, 2.0)]
    assert np.allclose(boxes, want)
    assert [t.get_text() for t in plane.get_xticklabels()] == ["zero", "one"]
    assert plane.get_ylim()[1] > 2.2 and "nats" in plane.get_ylabel()
