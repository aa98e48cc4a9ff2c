"""The two stages of a VQ-VAE from the command line: codes, a prior over them, images."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import runs
from minivae.cli import main, session
from minivae.cli.quantised import load_prior, save_prior, training_codes, training_images
from minivae.evaluation.quantised import code_lengths, codes_of
from minivae.models import (
    MADE,
    MODELS,
    VQVAE,
    IndependentPrior,
    QuantisedArchitecture,
    prior_over,
)

TRAIN = "train --model vq --epochs 2 --hidden 8 --codes 6 --code-size 2 --batch-size 200"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vq") / "run"
    assert main([*TRAIN.split(), "--out", str(folder)]) == 0
    assert main(["prior", str(folder), "--epochs", "2", "--hidden", "8"]) == 0
    return folder


def one_line(capsys: pytest.CaptureFixture, words: str, *parts: str) -> None:
    capsys.readouterr()
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("minivae: "), error
    for part in parts:
        assert part in error, error


def test_training_leaves_pictures_of_codes(run: Path) -> None:
    names = {path.stem for path in (run / "pictures").iterdir()}
    assert {"codebook", "codes", "curves", "reconstructions"} <= names
    rows = runs.load_training(run).history.rows
    assert rows[-1]["train_perplexity"] <= 6.0 and rows[-1]["valid_distance"] > 0.0


def test_evaluate_charges_codes_by_the_prior(run: Path, capsys: pytest.CaptureFixture) -> None:
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    text = capsys.readouterr().out
    model, config = runs.load_run(run)
    assert isinstance(model, VQVAE)
    dataset = runs.load_data(config)
    prior = load_prior(run, model)
    assert isinstance(prior, MADE)
    lengths = code_lengths(model, prior, dataset.test.x)
    for value in (lengths.rate.mean(), lengths.total.mean(), -lengths.distortion.mean(),
                  4 * math.log(6), lengths.total.mean() / math.log(2)):  # fmt: skip
        assert f"{value:9.2f}" in text, (value, text)
    assert "a MADE over the codes" in text


def test_samples_are_decoded_draws_of_the_prior(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.npy"
    assert main(["sample", str(run), "--n", "7", "--out", str(out), "--temperature", "0.5"]) == 0
    images = np.load(out)
    assert images.shape == (7, 64) and 0.0 <= images.min() <= images.max() <= 1.0
    assert main(["sample", str(run), "--n", "5"]) == 0
    assert (run / "pictures" / "sample.png").exists()


def test_encode_writes_numbers(run: Path, tmp_path: Path) -> None:
    model, config = runs.load_run(run)
    assert isinstance(model, VQVAE)
    want = codes_of(model, runs.load_data(config).test.x)
    array, table = tmp_path / "c.npy", tmp_path / "c.csv"
    for out in (array, table):
        assert main(["encode", str(run), "--out", str(out)]) == 0
    assert np.array_equal(np.load(array), want) and want.dtype == np.int64
    lines = table.read_text().splitlines()
    assert lines[0] == "index,label,code_1,code_2,code_3,code_4"
    assert [int(v) for v in lines[3].split(",")[2:]] == want[2].tolist()


@pytest.mark.parametrize(
    "command", ["reconstruct {}", "export {} --out {}/w.npz", "evaluate {} --checkpoint last",
                "probe {}"],
)  # fmt: skip
def test_the_other_commands_work(run: Path, command: str) -> None:
    assert main(command.replace("{}", str(run)).split()) == 0


def test_a_run_that_was_stopped_ends_equal_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "draw", lambda *_: [])
    whole, part = tmp_path / "whole", tmp_path / "part"
    words = f"{TRAIN} --restart 0.9 --optimizer adamw".replace("--epochs 2", "--epochs 4")
    assert main([*words.split(), "--out", str(whole)]) == 0
    assert main([*words.replace("--epochs 4", "--epochs 2").split(), "--out", str(part)]) == 0
    assert main(["train", "--resume", str(part), "--epochs", "4"]) == 0
    theta = [runs.load_run(folder)[0].parameters.theta for folder in (whole, part)]
    assert np.array_equal(*theta)


def test_one_line_for_what_cannot_be(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    bad = f"train --model vq --out {tmp_path}/new"
    one_line(capsys, f"{bad} --codes 6000", "n_codes of at most 5,188", "got 6,000")
    one_line(capsys, f"{bad} --patch 3", "divides images of 8 x 8 (1, 2, 4, 8), got 3")
    one_line(capsys, f"{bad} --latent 3", "--latent: --model vq has --codes")
    one_line(capsys, f"{bad} --kl-weight 2", "--kl-weight belongs to --model")
    one_line(capsys, f"{bad} --decay 2", "decay from 0 to 1, got 2.0")
    one_line(capsys, f"{bad} --commitment -1", "commitment of at least 0, got -1.0")
    one_line(capsys, "train --codes 4", "--codes belongs to --model vq, vq2; got --model vae")
    one_line(capsys, "train --decay 0.5", "--decay belongs to --model vq")
    assert not (tmp_path / "new").exists()
    for value in ("0", "-1", "nan", "inf"):
        one_line(capsys, f"sample {run} --temperature {value}", "--temperature above 0 and finite")
    one_line(capsys, f"prior {run}", "prior.npz exists already: --force replaces it")
    one_line(capsys, f"prior {run} --draws 0", "--draws from 1 to 1,000")
    other = tmp_path / "vae"
    assert main(f"train --epochs 1 --hidden 4 --no-pictures --out {other}".split()) == 0
    one_line(capsys, f"prior {other}", "a prior over codes needs a vq or vq2, got vae")


def test_a_damaged_or_a_foreign_prior(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, _ = runs.load_run(run)
    assert isinstance(model, VQVAE)
    path, content = run / "prior.npz", (run / "prior.npz").read_bytes()
    try:
        path.write_bytes(content[: len(content) // 2])
        one_line(capsys, f"evaluate {run}", "prior.npz: not a prior over codes")
        model.codebook.E[...] += 1.0
        codes = np.zeros((5, 4), int)
        save_prior(run, model, prior_over(codes, 6, hidden=(3,)))
        one_line(capsys, f"sample {run}", "over the codes of other parameters, those of another")
        path.unlink()
        capsys.readouterr()
        assert main(["evaluate", str(run)]) == 0
        known = "prior: independent positions; a better one: minivae prior"
        assert known in capsys.readouterr().out
        assert main(["sample", str(run), "--n", "2", "--out", str(tmp_path / "s.png")]) == 0
        assert known in capsys.readouterr().out
    finally:
        path.write_bytes(content)


def test_the_independent_prior() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, 3, 5000), rng.integers(1, 2, 5000)], axis=1)
    prior = IndependentPrior(codes, 4)
    every = np.array([[i, j] for i in range(4) for j in range(4)])
    assert np.exp(prior.log_prob(every)).sum() == pytest.approx(1.0, abs=1e-12)
    count = (codes[:, 0] == 2).sum()
    want = math.log((count + 1) / 5004) + math.log(5001 / 5004)
    assert prior.log_prob(np.array([[2, 1]]))[0] == pytest.approx(want, abs=1e-12)
    drawn = prior.sample(20_000, np.random.default_rng(1))
    assert abs((drawn[:, 0] == 2).mean() - count / 5000) < 0.015 and drawn.max() <= 3
    skewed = IndependentPrior(np.repeat([[0], [1]], [300, 100], axis=0), 2)
    cold = skewed.sample(20_000, np.random.default_rng(1), temperature=0.5)
    p = 301.0**2 / (301.0**2 + 101.0**2)
    assert abs((cold == 0).mean() - p) < 4 * math.sqrt(p * (1 - p) / 20_000)
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature above 0 and finite"):
            prior.sample(1, rng, bad)
    with pytest.raises(ValueError, match=r"shape \(N, 2\), got \(1, 3\)"):
        prior.log_prob(np.zeros((1, 3), int))
    with pytest.raises(ValueError, match="codes from 0 to 3, got 4"):
        prior.log_prob(np.full((1, 2), 4))


def test_the_bound_is_below_the_sum_over_all_codes() -> None:
    """Rate + distortion >= -log sum_c p(c) p(x|c), with every code enumerated."""
    model = VQVAE(QuantisedArchitecture((2, 2), 1, n_codes=3, code_size=2), dtype="float64")
    x = np.random.default_rng(0).integers(0, 2, (20, 4)).astype(float)
    every = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    prior = IndependentPrior(codes_of(model, x), 3)
    log_pc = prior.log_prob(every)
    p = model.decode(model.vectors(every))
    for row, total in zip(x, code_lengths(model, prior, x).total, strict=True):
        exact = np.logaddexp.reduce(log_pc + p.log_prob(row[None]))
        assert total >= -exact


def test_training_images_are_drawn_once(run: Path) -> None:
    config: dict[str, Any] = json.loads((run / "config.json").read_text())
    dataset = runs.load_data(config)
    first, again = training_images(dataset, config), training_images(dataset, config)
    assert np.array_equal(first, again) and set(np.unique(first)) == {0.0, 1.0}


def test_a_prior_learns_the_codes_of_several_drawings(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, config = runs.load_run(run)
    dataset, x = runs.load_data(config), training_images(runs.load_data(config), config)
    codes, n = training_codes(model, dataset, config, 3), len(x)
    assert np.array_equal(codes[:n], codes_of(model, x)) and len(codes) == 3 * n
    assert not np.array_equal(codes[:n], codes[n : 2 * n])
    assert not np.array_equal(codes[n : 2 * n], codes[2 * n :])
    once = {**config, "data": {**config["data"], "binarisation": "fixed"}}
    assert len(training_codes(model, dataset, once, 3)) == n, "the same pixels at every use"
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    words = f"prior {folder} --force --epochs 1 --hidden 4 --draws"
    assert main([*words.split(), "2"]) == 0
    assert "1,297 images of 4 codes, 2 drawings of each;" in capsys.readouterr().out
    assert main(words.removesuffix(" --draws").split()) == 0
    assert "1,297 images of 4 codes, 10 drawings of each;" in capsys.readouterr().out


def test_the_help_says_what_each_model_is(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    about = text.partition(" --model {")[2].partition("} ")[2].partition("; default: vae")[0]
    said = re.findall(r"\w+", " ".join(part.split(",")[0] for part in about.split(";")))
    assert set(MODELS) <= set(said), about


def test_the_error_of_a_prior_counts_images_and_not_their_drawings(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "all"
    words = [*TRAIN.split(), "--validation", "0", "--no-pictures", "--out", str(folder)]
    assert main(words) == 0
    capsys.readouterr()
    words = f"prior {folder} --epochs 1 --hidden 4 --draws"
    assert main([*words.split(), "4"]) == 0
    out = capsys.readouterr().out
    model, config = runs.load_run(folder)
    assert isinstance(model, VQVAE)
    codes = training_codes(model, runs.load_data(config), config, 4)
    n = len(codes) // 4
    prior = load_prior(folder, model)
    assert prior is not None
    for name, p in (("MADE", prior), ("independent positions", IndependentPrior(codes, 6))):
        nll = -np.asarray(p.log_prob(codes), np.float64)
        each = np.array([nll[i::n].mean() for i in range(n)])  # of each image, its four drawings
        error = each.std(ddof=1) / math.sqrt(n)
        assert f"  {name:22} {nll.mean():9.2f} +- {error:.2f} nats per image" in out
        naive = nll.std(ddof=1) / math.sqrt(len(nll))
        assert f"{error:.2f}" > f"{naive:.2f}", "the test would not tell them apart"


def test_drawings_belong_to_images_that_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "once"
    words = [*TRAIN.split(), "--no-pictures", "--binarisation", "fixed", "--out", str(folder)]
    assert main(words) == 0
    one_line(capsys, f"prior {folder} --draws 3", "--draws belongs to", "are always the same")
    assert not (folder / "prior.npz").exists()


@pytest.mark.filterwarnings("ignore:grey pixels under a Bernoulli")
def test_what_a_bernoulli_says_of_grey_is_called_no_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "grey"
    words = [*TRAIN.split(), "--no-pictures", "--binarisation", "none", "--out", str(folder)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    out = capsys.readouterr().out
    for word in ("bound", "honest", "never below", "bits per image"):
        assert word not in out, word
    assert "nats per image: rate - reconstruction\n" in out and "no likelihood" in out
