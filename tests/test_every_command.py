"""Every command on a run of every model: it works, or says in one line why not, and harms nothing.

A new model needs nothing here: it may be refused anywhere, in one line.  A new command needs its
place in `WORKS`, or in `WITHOUT_A_RUN`.
"""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import runs
from minivae.arrays import generator
from minivae.cli import COMMANDS, _common, main, prior, quantised, report
from minivae.datasets import Split, Streamed
from minivae.evaluation import Estimate, class_pixels
from minivae.evaluation.quantised import codes_of
from minivae.models import MODELS, VQVAE, MadeArchitecture

TINY = "--hidden 4 --epochs 1 --batch-size 700 --no-pictures"
EVERY = {"vae", "ae", "dae", "iwae", "cvae", "made", "vq", "vq2"}
CODES = {"vae", "ae", "dae", "iwae"}  # points of a space that has something between them
BOUND = {"vae", "iwae"}

WORKS: dict[str, tuple[str, set[str]]] = {
    "evaluate": ("{run} --samples 3", EVERY),
    "sample": ("{run} --n 12", EVERY),
    "export": ("{run} --out {new}.npz", EVERY),
    "train": ("--resume {run}", EVERY),
    "report": ("{run} --out {new}.html", EVERY - {"made", "cvae"}),
    "encode": ("{run} --out {new}.csv", EVERY - {"made", "cvae"}),
    "reconstruct": ("{run}", EVERY - {"made", "cvae"}),
    "probe": ("{run} --examples 100", EVERY - {"made", "cvae"}),
    "interpolate": ("{run} --pairs 1 --steps 3", CODES),
    "traverse": ("{run} --steps 3", CODES),
    "holes": ("{run} --permutations 2 --examples 50 --components 2", CODES),
    "gap": ("{run} --examples 2 --steps 1 --samples 4", BOUND),
    "usage": ("{run}", BOUND),
    "diagnose": ("{run} --json {new}.json", BOUND),
    "prune": ("{run} --threshold 0 --out {new}", BOUND),
    "prior": ("{run} --epochs 1 --hidden 4 --force", {"vq", "vq2"}),
    "sweep": ("--model {kind} --hidden 4 --epochs 0 --out {new}", set()),  # 0 epochs: for none
    "factors": ("{run}", set()),  # digits have none
}
"""What follows the name of a command, and the models that it works for."""

WITHOUT_A_RUN = {"collapse-lab", "explain-loss", "info", "verify"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of each model."""
    path = tmp_path_factory.mktemp("family")
    for kind in MODELS:
        assert main(["train", "--model", kind, *TINY.split(), "--out", str(path / kind)]) == 0
        if kind in ("vq", "vq2"):
            assert main(["prior", str(path / kind), "--epochs", "1", "--hidden", "4"]) == 0
    return path


@pytest.fixture(autouse=True)
def no_time_for_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Figures are made, but not rendered; the page of a report has one question."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_common, "write_picture", lambda path, _: _common.write(path, b"drawn"))
    few = [question for question in report.QUESTIONS if question.name == "evaluate"]
    monkeypatch.setattr(report, "QUESTIONS", few)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def said(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(words.split())
    return status, *capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], words: str, *parts: str) -> str:
    status, _, error = said(capsys, words)
    assert status == 2 and re.fullmatch(r"minivae: [^\n]+\n", error), (words, status, error)
    assert all(part in error for part in parts), error
    return error


def test_the_table_has_every_command_and_every_model() -> None:
    assert set(WORKS) | WITHOUT_A_RUN == set(COMMANDS) and not set(WORKS) & WITHOUT_A_RUN
    assert set(MODELS) >= EVERY


@pytest.mark.parametrize("command", WORKS)
def test_it_works_or_says_why_not(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, works = WORKS[command]
    for kind in MODELS:
        run, new = folder / kind, tmp_path / f"new-{kind}"
        words = f"{command} {options.format(run=run, new=new, kind=kind)}"
        before = contents(folder)
        status, out, error = said(capsys, words)
        assert "Traceback" not in error
        if kind in works:
            assert (status, error) == (0, "") and out, (words, error)
            continue
        assert kind not in EVERY or status == 2, words
        assert re.fullmatch(r"minivae: [^\n]{20,250}\n", error) and not out, (words, error)
        assert contents(folder) == before and not list(tmp_path.glob(f"new-{kind}*")), words


def test_a_refusal_names_the_model_and_a_way_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("made", "cvae", "vq", "vq2"):
        error = refused(capsys, f"traverse {folder / kind}", str(folder / kind), "see minivae ")
        assert "autoencoder" not in error
    for kind in ("vq", "iwae", "made", "cvae"):
        refused(capsys, f"sweep --model {kind} --out new", f"got --model {kind}")
    for kind in EVERY - {"vq", "vq2"}:
        refused(capsys, f"prior {folder / kind}", f"needs a vq or vq2, got {kind}")
    for words, part in (
        ("--model dae --damage-level 2", "damage_level from 0 to 1, got 2.0"),
        ("--model dae --damage-level nan", "damage_level from 0 to 1, got nan"),
        ("--model vq2 --top 0", "--top of at least 1, got 0"),
        ("--model vq --codes 1000000000000", "n_codes of at most 5,188"),
    ):
        refused(capsys, f"train {words} --out new", part)
        assert not Path("new").exists()
    refused(capsys, f"train --resume {folder / 'vq'} --codes 4", "--codes cannot be said with")
    refused(capsys, f"train --resume {folder / 'made'} --masks 4", "--masks cannot be said with")


# ---- what evaluate says ----


def number(out: str, name: str) -> tuple[float, float]:
    """The value and the standard error on the line that begins with a name."""
    found = re.search(rf"^  {re.escape(name)} +(-?[\d.]+) \+- ([\d.]+) nats per image", out, re.M)
    assert found, (name, out)
    return float(found[1]), float(found[2])


def test_an_autoencoder_is_scored_on_its_own_code_and_on_that_of_a_damaged_copy(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = tmp_path / "noisy"
    words = f"--model dae --damage gaussian --damage-level 0.5 {TINY} --out {noisy}"
    assert main(["train", *words.split()]) == 0
    for run in (folder / "ae", folder / "dae", noisy):
        model, config = runs.load_run(run)
        x = runs.load_data(config).test.x

        def score(seen: np.ndarray, model: Any = model, x: np.ndarray = x) -> Estimate:
            p = model.reconstruct(seen).astype(np.float64)
            return Estimate.of((x * np.log(p) + (1.0 - x) * np.log1p(-p)).sum(axis=1))

        status, out, _ = said(capsys, f"evaluate {run}")
        mean, error = number(out, "reconstruction")
        own = score(x)
        assert status == 0 and (mean, error) == pytest.approx(
            (own.mean, own.standard_error), abs=0.006
        )
        if run.name == "ae":
            assert "repaired" not in out
            continue
        rng = generator("cpu", 0, 0, 6)
        if run is noisy:
            assert "gaussian 0.5" in out
            seen = x + np.float32(0.5) * rng.standard_normal(x.shape, dtype=np.float32)
        else:
            assert "mask 0.25" in out
            seen = x * (rng.random(x.shape, dtype=np.float32) >= 0.25)
        repaired = score(seen)
        assert number(out, "repaired") == pytest.approx(
            (repaired.mean, repaired.standard_error), abs=0.006
        )


@pytest.mark.filterwarnings("ignore:grey pixels under a Bernoulli")
def test_independent_pixels_stand_beside_black_and_white(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = runs.load_data(runs.load_run(folder / "vae")[1])
    x, test = dataset.train.x.astype(np.float64), dataset.test.x
    p = (x.sum(axis=0) + 1.0) / (len(x) + 2.0)
    nll = Estimate.of(-(test * np.log(p) + (1.0 - test) * np.log1p(-p)).sum(axis=1))
    wanted = f"  beside it: independent pixels, NLL {nll} nats per image, exact\n"
    for kind in EVERY:
        assert wanted in said(capsys, f"evaluate {folder / kind} --samples 2")[1], kind
    alone = class_pixels(x, dataset.train.y, test, dataset.test.y)
    wanted = f"  independent pixels of each class: NLL {Estimate.of(alone)} nats per image, exact\n"
    assert wanted in said(capsys, f"evaluate {folder / 'cvae'} --samples 2")[1]
    for name in ("likelihood gaussian", "binarisation none"):
        grey = tmp_path / name.split()[0]
        assert main(["train", *f"--{name} {TINY} --out {grey}".split()]) == 0
        status, out, _ = said(capsys, f"evaluate {grey} --samples 2")
        assert status == 0 and "beside it" not in out


def test_a_made_of_nine_pixels_by_hand_from_its_exported_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).integers(0, 2, (60, 3, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert main(["train", "--model", "made", "--data", "x.npy", *TINY.split(), "--order", "random",
                 "--out", "made"]) == 0  # fmt: skip
    assert main(["export", "made", "--out", "w.npz"]) == 0
    with np.load("w.npz") as w:
        layers = [w[f"network.{layer}.{name}"] for layer in ("0.0", "1") for name in "Wb"]
    W, b, V, c = (a.astype(np.float64) for a in layers)

    def log_p(v: np.ndarray) -> np.ndarray:
        a = np.maximum(v @ W + b, 0.0) @ V + c
        return (v * a - np.logaddexp(0.0, a)).sum(axis=1)

    every = np.array([[(i >> d) & 1 for d in range(9)] for i in range(512)], float)
    assert np.exp(log_p(every)).sum() == pytest.approx(1.0, abs=1e-6)
    nll = Estimate.of(-log_p(runs.load_data(runs.load_run("made")[1]).test.x))
    status, out, _ = said(capsys, "evaluate made")
    assert status == 0 and "exact: no bound" in out
    assert number(out, "NLL") == pytest.approx((nll.mean, nll.standard_error), abs=0.006)


def test_a_conditional_likelihood_beside_an_integral_over_both_latents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    x = (rng.random((100, 2, 3)) < np.where(y == 0, 0.2, 0.7)[:, None, None]).astype(np.float32)
    np.savez(tmp_path / "two.npz", x=x, y=y)
    words = "--model cvae --prior learned --latent 2 --hidden 8 --epochs 30 --batch-size 20"
    assert main(["train", "--data", "two.npz", *words.split(), "--no-pictures", "--out", "r"]) == 0
    model, config = runs.load_run("r")
    test, axis = runs.load_data(config).test, np.linspace(-8.0, 8.0, 161)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p = np.empty(len(test))
    for label in (0, 1):
        told = np.eye(2)[[label]]
        p_z = model.prior_of(told.astype(np.float32))  # type: ignore[operator]
        mu, logvar = p_z.mu.astype(np.float64), p_z.logvar.astype(np.float64)
        log_pz = (-0.5 * (logvar + np.log(2 * np.pi) + (grid - mu) ** 2 / np.exp(logvar))).sum(1)
        p = model.decode(grid, np.repeat(told, len(grid), axis=0)).mean.astype(np.float64)  # type: ignore[call-arg]
        for n in np.flatnonzero(test.y == label):
            log_px = (test.x[n] * np.log(p) + (1.0 - test.x[n]) * np.log1p(-p)).sum(axis=1)
            log_p[n] = np.logaddexp.reduce(log_px + log_pz) + 2.0 * np.log(axis[1] - axis[0])
    _, out, _ = said(capsys, "evaluate r --samples 4000")
    (nll, _), (elbo, _) = number(out, "NLL"), number(out, "ELBO")
    assert nll == pytest.approx(-log_p.mean(), abs=0.02)
    assert elbo <= log_p.mean() + 0.005 and "a lower bound on log p(x|y)" in out


# ---- what nobody should ask for ----


def test_bad_options_of_a_prior(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder / "vq"
    before = contents(run)
    for words, part in (
        ("--epochs 0", "--epochs from 1"),
        ("--epochs -3", "--epochs from 1"),
        ("--batch-size 0", "--batch-size from 1"),
        ("--hidden 0", "--hidden of at least 1 each"),
        ("--hidden 5 -1", "--hidden of at least 1 each"),
        ("--seed -1", "--seed of at least 0"),
    ):
        refused(capsys, f"prior {run} --force {words}", part)
    assert contents(run) == before


@pytest.mark.parametrize("there", [True, False])
def test_a_prior_that_was_stopped_leaves_what_was_there(
    there: bool, folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = folder / "vq2"
    kept = (run / "prior.npz").read_bytes()
    if not there:
        (run / "prior.npz").unlink()
    before = contents(run)

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prior, "train", stopped)
    try:
        status, _, error = said(capsys, f"prior {run} --force --epochs 2")
        assert status == 130 and contents(run) == before
        wanted = "the prior that it had is as it was" if there else "nothing is written"
        assert (
            error == f"minivae: stopped: {wanted}; minivae prior {run} starts from the beginning\n"
        )
    finally:
        (run / "prior.npz").write_bytes(kept)


def test_a_prior_file_of_other_sizes_that_claims_to_be_this_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "vq"
    path, kept = run / "prior.npz", (run / "prior.npz").read_bytes()
    model, _ = runs.load_run(run)
    assert isinstance(model, VQVAE)
    with np.load(path) as found:
        about, theta = json.loads(str(found["about"])), found["theta"]
    try:
        for change, part in (
            ({"n_codes": 5}, "over 4 codes of 5, the run has 4 of 8"),
            ({"n_features": 3}, "over 3 codes of 8, the run has 4 of 8"),
            ({"hidden": [10**9]}, "asks for more parameters than it holds"),
            ({"hidden": [5]}, "asks for more parameters than it holds"),
            ({"hidden": [3]}, "do not fit"),
            ({"order": "sideways"}, "expected order one of"),
        ):
            changed = json.dumps({**about, "architecture": {**about["architecture"], **change}})
            np.savez(path, theta=theta, about=np.array(changed))
            for command in ("evaluate", "sample"):
                refused(capsys, f"{command} {run}", "prior.npz: not a prior over codes", part)
        np.savez(path, theta=theta * np.nan, about=np.array(json.dumps(about)))
        refused(capsys, f"sample {run}", "do not fit")
    finally:
        path.write_bytes(kept)
    assert MadeArchitecture(**about["architecture"]).n_codes == 8
    assert quantised.load_prior(run, model) is not None


def test_a_checkpoint_of_another_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mine, other in (("vae", "cvae"), ("vq", "vq2"), ("made", "vae"), ("iwae", "ae")):
        run = tmp_path / f"{mine}-{other}"
        shutil.copytree(folder / mine, run)
        for file in (run / "checkpoints").iterdir():
            file.unlink()
        for file in (folder / other / "checkpoints").iterdir():
            shutil.copy(file, run / "checkpoints")
        refused(capsys, f"evaluate {run}", str(run))
        shutil.copy(folder / other / "checkpoint.json", run)
        refused(capsys, f"sample {run} --out a.npy", str(run))
        assert not Path("a.npy").exists()


def test_a_temperature_so_low_that_logits_overflow_draws_what_is_most_probable(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("vq", "made"):
        drawn = []
        for temperature in ("1e-40", "1e-5"):
            words = f"sample {folder / kind} --n 3 --temperature {temperature} --out {kind}.npy"
            status, _, error = said(capsys, f"{words} --force")
            assert status == 0 and not error
            drawn.append(np.load(f"{kind}.npy"))
        assert np.array_equal(*drawn) and np.array_equal(drawn[0][0], drawn[0][2])


# ---- labels of one's own data ----


def own(y: np.ndarray) -> np.ndarray:
    """Images of 2 x 2 that have these labels, in own.npz."""
    x = np.random.default_rng(0).integers(0, 2, (len(y), 2, 2)).astype(np.float32)
    np.savez("own.npz", x=x, y=y)
    return x


def test_labels_with_gaps_a_class_of_one_and_no_labels(capsys: pytest.CaptureFixture[str]) -> None:
    train = f"train --data own.npz --model cvae {TINY}"
    own(np.tile([0, 5, 7], 20))
    assert said(capsys, f"{train} --out gaps")[0] == 0
    assert said(capsys, "evaluate gaps --samples 2")[::2] == (0, "")
    assert main(["sample", "gaps", "--label", "5", "--n", "3", "--out", "five.npy"]) == 0
    refused(capsys, "sample gaps --label 3", "no training image has it")
    refused(capsys, "sample gaps --label 8", "one of 0, 1, 2, 3, 4, 5, 6, 7; got '8'")
    status, out, _ = said(capsys, "sample gaps")
    assert status == 0 and "each of 3 classes" in out
    labels = np.tile([0, 1], 30)
    labels[1] = 2  # an image that is held out
    own(labels)
    refused(capsys, f"{train} --out one", "images held out of training do")
    labels[1:3] = 1, 2  # one to train on
    own(labels)
    assert said(capsys, f"{train} --out one")[0] == 0
    status, out, error = said(capsys, "evaluate one --samples 2")
    assert status == 0 and not error, error
    own(np.full(60, 4))
    refused(capsys, f"{train} --out same", "label is the same for all training images")
    np.save("plain.npy", own(np.tile([0, 1], 30)))
    refused(
        capsys,
        f"{train.replace('own.npz', 'plain.npy')} --out none",
        "so it is where there are none",
    )
    assert not Path("same").exists() and not Path("none").exists()


# ---- data that stay on the disk ----


def test_codes_of_images_that_are_read_in_parts(folder: Path) -> None:
    for kind in ("vq", "vq2"):
        model, config = runs.load_run(folder / kind)
        assert isinstance(model, VQVAE)
        dataset = runs.load_data(config)
        whole = codes_of(model, quantised.training_images(dataset, config))
        parts = replace(dataset, train=Split(Streamed(dataset.train.x), dataset.train.y))
        assert np.array_equal(quantised.training_codes(model, parts, config), whole)


@pytest.mark.filterwarnings("ignore:grey pixels under a Bernoulli")
@pytest.mark.parametrize("name", ["vae", "made", "cvae"])
def test_bits_are_of_black_and_white_however_it_came_about(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (60, 6, 6)), rng.integers(0, 2, 60)
    np.savez(tmp_path / "drawn.npz", x=x.astype(np.float32), y=y)
    np.savez(tmp_path / "grey.npz", x=(0.9 * x).astype(np.float32), y=y)
    for data in ("drawn", "grey"):
        run, words = tmp_path / f"{data}-{name}", f"{TINY} --binarisation none --model {name}"
        words = f"train {words} --data {tmp_path / data}.npz --out {run}"
        assert main(words.split()) == 0
        out = said(capsys, f"evaluate {run}" + (" --samples 2" if name != "made" else ""))[1]
        drawn = data == "drawn"
        assert ("bits per dimension" in out) == drawn
        assert ("independent pixels" in out) == drawn
        assert ("no likelihood" in out) != drawn
        assert (", black and white" in out) == drawn and (", grey" in out) != drawn
