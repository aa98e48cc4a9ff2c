"""Images that are given in part: the split, and the commands that complete them."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import runs
from minivae.arrays import generator
from minivae.cli import _common, completion, main
from minivae.cli.evaluate import EVALUATION
from minivae.datasets import (
    Dataset,
    Parted,
    PartedSplit,
    Split,
    Streamed,
    binarise_splits,
    conditions,
    joined,
    load_digits,
    parted,
    prepared,
    quadrants,
    quadrants_of,
)
from minivae.evaluation import completed, conditional_likelihood
from minivae.models import ConditionalVAE
from minivae.plots import conditional as plotted

SHORT = "train --model cvae --hidden 8 --batch-size 200 --no-pictures"
SEEDS = {"train": 776, "test": 777, "valid": 778}


# ---- the split ----


def toy(shape: tuple[int, ...], n: int = 5, seed: int = 0) -> Dataset:
    """Random grey images of any shape, with factors."""
    rng, D = np.random.default_rng(seed), int(np.prod(shape))

    def split(n: int) -> Split:
        x = rng.random((n, D), dtype=np.float32)
        return Split(x, rng.integers(0, 3, n), rng.random((n, 2)))

    return Dataset("toy", shape, split(n), split(0), split(3), "0", ("a", "b"), ("u", "v", "w"))


SHAPES = st.one_of(
    st.tuples(st.integers(2, 7), st.integers(2, 7)),
    st.tuples(st.integers(2, 5), st.integers(2, 5), st.just(3)),
)


@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES, k=st.integers(1, 3), how=st.sampled_from(["none", "threshold", "fixed", "new"])
)
def test_the_parts_are_the_image_and_only_the_rest_is_binarised(
    shape: tuple[int, ...], k: int, how: str
) -> None:
    data = toy(shape)
    parts, whole = parted(data, k, how), binarise_splits(data, how)
    known = quadrants(shape, k)
    assert np.array_equal(parts.known, known) and parts.whole_shape == shape
    assert parts.image_shape == (1, int((~known).sum()))
    for name in SEEDS:
        part, grey, drawn = (getattr(d, name) for d in (parts, data, whole))
        assert isinstance(part, PartedSplit)
        assert np.array_equal(part.given, grey.x[:, known])  # grey, whatever the binarisation
        assert np.array_equal(part.x, drawn.x[:, ~known])  # the same draw as of whole images
        assert np.array_equal(part.images, grey.x)
        assert np.array_equal(joined(part.given, part.x, known)[:, known], grey.x[:, known])
        assert np.array_equal(part.y, grey.y) and np.array_equal(part.factors, grey.factors)
    if how == "none":
        assert np.array_equal(joined(parts.train.given, parts.train.x, known), data.train.x)
    names = ("name", "sha256", "factor_names", "class_names", "spread")
    assert all(getattr(parts, name) == getattr(data, name) for name in names)


def test_some_of_the_images_keep_both_parts() -> None:
    parts = parted(load_digits(), 3)
    for rows in (slice(3, 9), np.array([4, 1])):
        some = parts.test[rows]
        assert isinstance(some, PartedSplit)
        assert np.array_equal(some.given, parts.test.given[rows])
        assert np.array_equal(some.x, parts.test.x[rows])
        assert np.array_equal(some.y, parts.test.y[rows])
    assert parts.with_validation(len(parts.valid)) is parts
    with pytest.raises(ValueError, match="choose the validation before the images are parted"):
        parts.with_validation(3)
    with pytest.raises(ValueError, match=r"expected images \(2, 64\) and x \(2, 16\)"):
        replace(parts.test[:2], images=parts.test.images[:1])
    with pytest.raises(ValueError, match=r"expected images \(2, 64\) and x \(2, 16\)"):
        replace(parts.test[:2], x=parts.test.x[:2, 1:])


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(2, 6), st.integers(2, 6), st.integers(1, 3)
)
def test_parts_join_to_several_images(n: int, s: int, h: int, w: int, k: int) -> None:
    known = quadrants((h, w), k)
    rng = np.random.default_rng(0)
    images = rng.random((n, s, h * w))
    images[..., known] = images[:, :1, known]
    got = joined(images[:, :1, known], images[..., ~known], known)
    assert np.array_equal(got, images) and got.dtype == images.dtype


def test_what_has_no_quadrants_is_refused() -> None:
    with pytest.raises(ValueError, match="toy has rows of 6 numbers: quadrants are of images"):
        parted(toy((1, 6)), 2)
    data = toy((4, 4))
    streamed = replace(data, train=Split(Streamed(data.train.x), data.train.y, data.train.factors))
    with pytest.raises(ValueError, match="toy is read from disk: quadrants are of images in mem"):
        parted(streamed, 2)
    with pytest.raises(ValueError, match="1, 2 or 3 quadrants"):
        parted(data, 4)


def test_a_condition_says_how_many_quadrants() -> None:
    assert [quadrants_of(f"quadrants-{k}") for k in (1, 2, 3)] == [1, 2, 3]
    assert [quadrants_of(how) for how in ("label", "factors", "x,y", None, 2)] == [None] * 5
    for bad in ("quadrants", "quadrants-0", "quadrants-4", "quadrants-2,label", "quadrants 2"):
        with pytest.raises(
            ValueError, match="expected one of quadrants-1, quadrants-2, quadrants-3"
        ):
            quadrants_of(bad)
    parts = prepared("digits", 100, "new", "quadrants-1")
    assert isinstance(parts, Parted) and len(parts.valid) == 100
    known = conditions(parts, "quadrants-1")
    assert (known.width, known.label) == (16, None)
    assert np.array_equal(known.of(parts.test), load_digits().test.x[:, quadrants((8, 8), 1)])
    with pytest.raises(ValueError, match="images in two parts"):
        known.of(load_digits().test)
    with pytest.raises(ValueError, match="no label says it, got '7'"):
        known.read("7")
    with pytest.raises(ValueError, match="expected digits parted into quadrants-2"):
        conditions(load_digits(), "quadrants-2")
    plain = prepared("digits", None, "threshold", "label")
    assert not isinstance(plain, Parted)
    assert np.array_equal(plain.test.x, load_digits().test.x >= 0.5)


# ---- completions ----


def test_completions_draw_their_pixels_if_they_are_to() -> None:
    parts, shape = parted(load_digits(), 2), ConditionalVAE.Architecture
    a = shape(32, 3, (8,), n_conditions=32, prior="learned")
    model = ConditionalVAE(a, np.full(32, 0.5, np.float32))
    y, known = parts.test.given[:50], parts.known
    means = completed(model, y, known, np.random.default_rng(0))
    drawn = completed(model, y, known, np.random.default_rng(0), 1.0, np.random.default_rng(1))
    assert np.array_equal(drawn[:, known], y)
    want = np.random.default_rng(1).random((50, 32), dtype=np.float32) < means[:, ~known]
    assert np.array_equal(drawn[:, ~known], want)


# ---- the commands ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("completion")


def trained(folder: Path, k: int, prior: str) -> Path:
    """A short run that is given k quadrants, without pictures; made once."""
    path = folder / f"{k}-{prior}"
    if not path.exists():
        assert main([*SHORT.split(), "--epochs", "2", "--condition", f"quadrants-{k}",
                     "--prior", prior, "--out", str(path)]) == 0  # fmt: skip
    return path


@pytest.fixture(scope="module", params=[(1, "standard"), (2, "learned"), (3, "learned")],
                ids=["quarter", "half", "three"])  # fmt: skip
def run(request: Any, folder: Path) -> Path:
    """A run of each number of quadrants, and of each prior."""
    return trained(folder, *request.param)


@pytest.fixture(scope="module")
def half(folder: Path) -> Path:
    """The run that is given the left half."""
    return trained(folder, 2, "learned")


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    status, _, err = said(capsys, *words)
    lines = err.splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("minivae: "), err
    return lines[0]


def test_a_run_says_what_it_is(run: Path) -> None:
    k = int(run.name[0])
    a = json.loads((run / "config.json").read_text())["architecture"]
    assert (a["condition"], a["n_conditions"]) == (f"quadrants-{k}", 16 * k)
    assert a["n_features"] == 64 - 16 * k


def test_it_is_evaluated_beside_pixels_that_look_at_nothing(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    k = int(run.name[0])
    status, out, _ = said(capsys, "evaluate", run, "--samples", 7)
    assert status == 0 and f"given quadrants-{k}: p(x|y)" in out
    assert f"{64 - 16 * k} pixels that are not given, of 64" in out
    # The numbers, from whole images and without the data set in two parts.
    grey, known = load_digits(), quadrants((8, 8), k)
    u = np.random.default_rng(777).random(grey.test.x.shape, dtype=np.float32)
    x = (u < grey.test.x).astype(np.float32)[:, ~known]
    model, _ = runs.load_run(run)
    assert isinstance(model, ConditionalVAE)
    rng = generator("cpu", 0, 0, EVALUATION)
    want = conditional_likelihood(model, x, grey.test.x[:, known], rng, 7)
    assert f"NLL {want.nll.mean():21.2f}" in out and f"ELBO {want.elbo.mean():20.2f}" in out
    train = grey.with_validation(250).train.x[:, ~known].astype(np.float64)
    p = (train.sum(axis=0) + 1.0) / (len(train) + 2.0)
    alone = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1)
    error = alone.std(ddof=1) / np.sqrt(len(alone))
    assert f"whatever is given, NLL {alone.mean():.2f} +- {error:.2f} nats" in out
    assert out.count("independent pixels") == 1, "one baseline, and one figure for it"
    assert "log p(x|z,y), z from the encoder" in out


@pytest.mark.parametrize("likelihood, how", [("gaussian", "fixed"), ("bernoulli", "none")])
def test_where_there_is_no_likelihood_of_black_and_white_there_is_no_baseline(
    folder: Path, likelihood: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / likelihood
    words = [*SHORT.split(), "--epochs", "1", "--condition", "quadrants-2", "--out", str(out)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # grey pixels under a Bernoulli
        assert main([*words, "--likelihood", likelihood, "--binarisation", how]) == 0
    status, text, _ = said(capsys, "evaluate", out, "--samples", 2)
    assert status == 0 and "pixels that are not given" in text and "independent" not in text
    data = runs.load_data(runs.load_run(out)[1], out)
    assert isinstance(data, Parted)
    whole = joined(data.test.given, data.test.x, data.known)
    assert np.array_equal(whole, load_digits().test.x) == (how == "none")


def test_it_completes_test_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    k, path = int(run.name[0]), tmp_path / "c.npy"
    words = ["sample", run, "--n", 5, "--columns", 6, "--seed", 3, "--temperature", 0.5]
    status, out, _ = said(capsys, *words, "--out", path)
    assert status == 0 and "4 completions of each of 5 test images" in out
    assert "at temperature 0.5" in out and "means of p(x|z,y)" in out
    assert ("N(0, 1)" in out) == (k == 1)
    grey, known = load_digits().test.x[:5], quadrants((8, 8), k)
    got = np.load(path).reshape(5, 4, 64)
    assert np.array_equal(got[..., known], np.repeat(grey[:, None, known], 4, axis=1))
    model, _ = runs.load_run(run)
    rng = generator("cpu", 3, 0, 20)
    for s in range(4):
        eps = rng.standard_normal((5, 2), dtype=np.float32)
        p = model.prior_of(grey[:, known])
        z = p.mu + np.exp(0.5 * p.logvar) * (0.5 * eps)
        want = model.decode(z, grey[:, known]).mean
        assert got[:, s][:, ~known] == pytest.approx(want, abs=1e-6)
    status, out, _ = said(capsys, *words, "--out", path, "--force", "--draw")
    assert status == 0 and "pixels drawn from p(x|z,y)" in out
    assert set(np.unique(np.load(path)[:, ~known])) == {0.0, 1.0}


def test_the_picture_shows_what_was_given_the_completions_and_the_truth(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    k, pages = int(run.name[0]), []

    def seen(images: np.ndarray, *rest: Any) -> np.ndarray:
        pages.append((images, *rest))
        return mosaic(images, *rest)

    mosaic = plotted.mosaic
    monkeypatch.setattr(plotted, "mosaic", seen)
    status, _, err = said(capsys, "sample", run)
    assert status == 0, err
    assert (run / "pictures" / "sample.png").stat().st_size > 5000
    images, shape, columns = pages[0]
    assert (shape, columns, images.shape) == ((8, 8), 12, (96, 64))
    page, grey = images.reshape(8, 12, 64), load_digits().test.x[:8]
    known = quadrants((8, 8), k)
    assert np.array_equal(page[:, :, known], np.repeat(grey[:, None, known], 12, axis=1))
    assert (page[:, 0, ~known] == 0.25).all() and np.array_equal(page[:, -1], grey)
    assert (page[:, 1, ~known] != page[:, 2, ~known]).any()


def test_sampling_refuses(half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "sample", half, "--label", 7)
    assert "--label belongs to a run that was told labels" in message
    assert "--columns from 3 to 100" in refused(capsys, "sample", half, "--columns", 2)
    assert "--n from 1 to 100" in refused(capsys, "sample", half, "--n", 101)
    every = refused(capsys, "sample", half, "--n", 251, "--out", tmp_path / "a.npy")
    assert "--n from 1 to 250 (test images)" in every
    assert not (tmp_path / "a.npy").exists()


def test_after_training_held_out_images_are_completed(folder: Path) -> None:
    data = prepared("digits", 30, "new", "quadrants-3")
    assert isinstance(data, Parted)
    a = ConditionalVAE.Architecture(16, 2, (4,), n_conditions=48)
    model = ConditionalVAE(a, np.full(16, 0.5, np.float32))
    calls: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda *args: calls.setdefault(name, args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minivae.plots.reconstructions", keep("reconstructions"))
        patch.setattr("minivae.plots.completions", keep("completions"))
        assert set(completion.pictures(model, data, 0)) == {"reconstructions", "samples"}
        seen, decoded, shape = calls["reconstructions"]
        valid = load_digits().with_validation(30).valid.x
        assert shape == (8, 8) and seen.shape == decoded.shape == (30, 64)
        known = data.known
        assert np.array_equal(seen[:, known], valid[:, known])
        assert np.array_equal(seen[:, ~known], data.valid.x)
        assert np.array_equal(decoded[:, known], valid[:, known])
        want = model.reconstruct(data.valid.x, data.valid.given)
        assert np.array_equal(decoded[:, ~known], want)
        assert np.array_equal(calls["completions"][0], valid[:8])
        calls.clear()
        completion.pictures(model, replace(data, valid=data.valid[:0]), 0)
        assert np.array_equal(calls["completions"][0], data.test.images[:8])


def test_a_resumed_run_is_equal_to_the_bit(folder: Path) -> None:
    words = [*SHORT.split(), "--condition", "quadrants-2", "--prior", "learned"]
    whole, parts = folder / "whole", folder / "parts"
    assert main([*words, "--epochs", "3", "--out", str(whole)]) == 0
    assert main([*words, "--epochs", "1", "--out", str(parts)]) == 0
    assert main(["train", "--resume", str(parts), "--epochs", "3", "--no-pictures"]) == 0
    a, b = (runs.load_run(path)[0].parameters.theta for path in (whole, parts))
    assert np.array_equal(a, b)
    first, last = (runs.read_history(path / "history.csv") for path in (whole, parts))
    assert all({**r, "seconds": 0} == {**s, "seconds": 0} for r, s in zip(first, last, strict=True))


COMMANDS = [
    "reconstruct", "interpolate", "traverse", "encode --out codes.npy", "usage",
    "holes", "gap", "probe", "factors", "diagnose", "report",
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_what_a_command_cannot_do_it_says_in_one_line(
    words: str, half: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    command, *rest = words.split()
    message = refused(capsys, command, half, *rest)
    assert "told a condition y (quadrants-2)" in message
    assert "see minivae evaluate, sample and export" in message


def test_its_weights_are_exported_and_not_pruned_and_have_no_codes(
    half: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "w.npz"
    assert said(capsys, "export", half, "--out", path)[0] == 0
    told = json.loads(json.loads(str(np.load(path)["metadata"]))["architecture"])
    assert told["condition"] == "quadrants-2"
    assert "it is told a condition" in refused(capsys, "prune", half, "--out", tmp_path / "p")
    assert "a prior over codes needs a vq or vq2, got cvae" in refused(capsys, "prior", half)


@pytest.mark.parametrize("words, message", [
    ("--model vae --condition quadrants-2", "--condition belongs to --model cvae"),
    ("--model cvae --condition quadrants-4", "expected one of quadrants-1, quadrants-2, quadrants"),
    ("--model cvae --condition quadrants", "got 'quadrants'"),
    ("--model cvae --condition label,quadrants-2", "quadrants-3; got 'label,quadrants-2'"),
])  # fmt: skip
def test_training_refuses(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "none"
    assert message in refused(capsys, "train", *words.split(), "--out", out)
    assert not out.exists()


def test_own_images_have_quadrants_and_a_table_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    rng, pictures = np.random.default_rng(0), tmp_path / "pictures"
    pictures.mkdir()
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (5, 7), np.uint8)).save(pictures / f"{i:02}.png")
    out = tmp_path / "run"
    words = [*SHORT.replace(" --no-pictures", "").split(), "--condition", "quadrants-3",
             "--epochs", 1]  # fmt: skip
    status, _, err = said(capsys, *words, "--data", pictures, "--out", out)
    assert status == 0, err
    a = json.loads((out / "config.json").read_text())["architecture"]
    assert (a["n_features"], a["n_conditions"]) == (3 * 4, 35 - 3 * 4)
    drawn = {path.stem for path in (out / "pictures").iterdir()}
    assert drawn == {"curves", "kl", "reconstructions", "samples", "latents"}
    assert said(capsys, "evaluate", out, "--samples", 2)[0] == 0
    assert said(capsys, "sample", out)[0] == 0
    table, none = tmp_path / "t.csv", tmp_path / "none"
    rows = rng.normal(size=(50, 3))
    table.write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows))
    message = refused(capsys, *words, "--data", table, "--likelihood", "gaussian", "--out", none)
    assert "has rows of 3 numbers: quadrants are of images" in message and not none.exists()


@pytest.mark.parametrize("other", ["quadrants-1", "label", 5])
def test_a_changed_configuration_is_seen(half: Path, other: Any) -> None:
    model, config = runs.load_run(half)
    config["architecture"]["condition"] = other
    with pytest.raises(ValueError, match="has 32 pixels, but .* config.json was changed"):
        _common.load_data(model, config, str(half))
