"""The commands that work on a run: what they write and print, against the model itself."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from minivae import VAE, Architecture, Autoencoder, plots, runs, walks
from minivae.arrays import generator
from minivae.cli import COMMANDS, _common, main, probe
from minivae.cli.export import description
from minivae.datasets import Dataset, Split, binarise, load_digits
from minivae.distributions import Bernoulli
from minivae.evaluation import Estimate
from minivae.evaluation.compression import Compressed
from minivae.models.base import Model

DIGITS = {"name": "digits", "validation": 250, "binarisation": "new"}
GREY = {**DIGITS, "binarisation": "none"}
KINDS: dict[str, tuple[type[Model], Architecture, dict[str, Any]]] = {
    "vae": (VAE, Architecture(64, 2, (16,)), DIGITS),
    "five": (VAE, Architecture(64, 5, (12, 9), "tanh", "gaussian", "pixel"), GREY),
    "continuous": (VAE, Architecture(64, 3, (8,), likelihood="continuous-bernoulli"), GREY),
    "one": (VAE, Architecture(64, 1, (8,)), DIGITS),
    "ae": (Autoencoder, Architecture(64, 4, (16,)), DIGITS),
}
SHOW = ["sample", "reconstruct", "interpolate", "traverse"]
FILES = {"encode": "codes.npy", "export": "weights.npz"}
OUT = {**dict.fromkeys(SHOW, "picture.png"), **FILES}


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(name: str, seed: int = 0) -> Model:
    """The folder of a run that was never trained, at ``name``; weights as ``seed`` draws them."""
    kind, architecture, data = KINDS[name]
    model = kind(architecture, seed=seed)
    theta = model.parameters.theta
    theta += 0.3 * np.random.default_rng(seed).standard_normal(theta.shape, dtype="float32")
    folder = Path(name)
    (folder / "pictures").mkdir(parents=True)
    runs.save(folder, model, {"model": "ae" if kind is Autoencoder else "vae", "data": data})
    return model


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that a command would write; none is rendered."""
    seen: list[Any] = []
    monkeypatch.setattr(_common, "write_picture", lambda path, figure: seen.append(figure))
    return seen


def page(figure: Any) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def numbers(line: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*\.?\d*", line)]


# ---- sample ----


def test_sample_shows_decoded_draws_of_the_prior(figures: list, capsys: Any) -> None:
    model = made("vae")
    assert main(["sample", "vae", "--n", "10", "--columns", "4", "--seed", "3"]) == 0
    z = generator("cpu", 3, 0, _common.SAMPLES).standard_normal((10, 2), dtype="float32")
    want = plots.mosaic(model.decode(z).mean, (8, 8), 4)
    assert np.array_equal(page(figures[0]), want)
    title = figures[0].axes[0].get_title()
    assert title == "decoded draws of the prior N(0, 1) (means of p(x|z))"
    assert "means of p(x|z)" in capsys.readouterr().out


def test_sample_writes_the_same_images_as_an_array() -> None:
    model = made("five")
    assert main(["sample", "five", "--n", "1203", "--out", "s.npy"]) == 0
    images = np.load("s.npy", allow_pickle=False)
    z = generator("cpu", 0, 0, _common.SAMPLES).standard_normal((1203, 5), dtype="float32")
    assert images.dtype == np.float32
    assert np.allclose(images, model.decode(z).mean, rtol=1e-4, atol=1e-6)


def test_a_temperature_scales_the_codes_and_stands_in_the_title(figures: list) -> None:
    model = made("vae")
    assert main(["sample", "vae", "--n", "5", "--temperature", "0.25"]) == 0
    z = generator("cpu", 0, 0, _common.SAMPLES).standard_normal((5, 2), dtype="float32")
    want = plots.mosaic(model.decode(np.float32(0.25) * z).mean, (8, 8), 5)
    assert np.allclose(page(figures[0]), want, atol=1e-6)
    assert "at temperature 0.25" in figures[0].axes[0].get_title()


@pytest.mark.parametrize("name", ["vae", "five", "continuous"])
def test_drawn_pixels_scatter_around_the_means(name: str) -> None:
    made(name)
    common = ["sample", name, "--n", "60", "--seed", "1"]
    assert main([*common, "--out", "means.npy"]) == 0
    assert main([*common, "--draw", "--out", "draw.npy"]) == 0
    assert main([*common, "--draw", "--out", "again.npy"]) == 0
    means, draw = np.load("means.npy"), np.load("draw.npy")
    assert np.array_equal(draw, np.load("again.npy"))
    error = draw - means
    assert abs(error.mean()) < 5 * error.std() / math.sqrt(error.size) and error.std() > 0.05
    assert (set(np.unique(draw)) == {0, 1}) == (name == "vae")


def test_a_picture_of_drawn_pixels_says_so(figures: list) -> None:
    made("vae")
    assert main(["sample", "vae", "--n", "4", "--draw"]) == 0
    assert figures[0].axes[0].get_title().endswith("(pixels drawn from p(x|z))")
    assert set(np.unique(page(figures[0]))) == {0, 1}


def test_an_autoencoder_draws_from_what_its_training_codes_look_like(figures: list) -> None:
    model = made("ae")
    assert main(["sample", "ae", "--n", "5000", "--out", "s.npy"]) == 0
    data = runs.load_data({"data": DIGITS})
    x = binarise(data.train.x, "fixed", np.random.default_rng(776))
    assert not np.array_equal(x, data.train.x)
    eps = generator("cpu", 0, 0, _common.SAMPLES).standard_normal((5000, 4), dtype="float32")
    want = model.decode(walks.alike(model.means(x), eps)).mean
    assert np.allclose(np.load("s.npy"), want, atol=1e-5)
    assert main(["sample", "ae", "--n", "5"]) == 0
    assert "a Gaussian fitted to the training codes" in figures[0].axes[0].get_title()


def test_an_array_of_samples_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    made("vae")
    monkeypatch.setattr(runs, "load_data", lambda config: pytest.fail("it was loaded"))
    assert main(["sample", "vae", "--n", "2", "--out", "s.npy"]) == 0


# ---- reconstruct ----


@pytest.mark.parametrize("name", ["vae", "five", "ae"])
def test_reconstruct_prints_the_numbers_of_the_model(
    name: str, figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(name)
    assert main(["reconstruct", name, "--n", "15", "--columns", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    printed = {line[:18].strip(): numbers(line[18:]) for line in lines[1:4]}
    x = runs.load_data({"data": KINDS[name][2]}).test.x
    p = model.decode(model.means(x))
    squares = ((x.astype("float64") - p.mean) ** 2).sum(axis=1)
    log = p.log_prob(x).astype("float64")
    for label, values, digit in (
        ("squared error", squares, 3), ("per pixel", squares / 64, 5), ("log p(x|z)", log, 2),
    ):  # fmt: skip
        mean, error = printed[label][:2]
        size = 0.51 * 10**-digit + 1e-5 * abs(values.mean())
        assert mean == pytest.approx(values.mean(), abs=size)
        assert error == pytest.approx(values.std(ddof=1) / math.sqrt(len(x)), abs=size)
    assert printed["per pixel"][2] == pytest.approx(math.sqrt(squares.mean() / 64), abs=6e-4)
    assert "nats per image" in lines[3] and "250 test images" in lines[0]
    assert any("density" in line for line in lines) == (model.likelihood is not Bernoulli)
    rows = page(figures[0])
    assert np.array_equal(rows[:8], plots.mosaic(x[:6], (8, 8), 6))
    assert np.allclose(rows[9:17], plots.mosaic(p.mean[:6], (8, 8), 6), atol=1e-5)
    assert np.array_equal(rows[-17:-9, :26], plots.mosaic(x[12:15], (8, 8), 3))


def test_reconstruct_of_grey_pixels_under_a_bernoulli_says_that_it_is_no_likelihood(
    figures: list, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "vae", (*KINDS["vae"][:2], GREY))
    made("vae")
    assert main(["reconstruct", "vae"]) == 0
    assert "no likelihood" in capsys.readouterr().out


# ---- interpolate ----


def test_interpolate_shows_both_walks_between_two_images(figures: list) -> None:
    model = made("five")
    assert main(["interpolate", "five", "--from", "3", "--to", "12", "--steps", "5"]) == 0
    x = runs.load_data({"data": GREY}).test.x
    z0, z1 = model.means(x[[3, 12]])
    t = np.array([0, 0.25, 0.5, 0.75, 1])
    rows = page(figures[0])
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels == ["straight", "spherical"]
    w = math.acos(z0 @ z1 / np.linalg.norm(z0) / np.linalg.norm(z1))
    weights = [(1 - t, t), (np.sin((1 - t) * w) / np.sin(w), np.sin(t * w) / np.sin(w))]
    for i, (a, b) in enumerate(weights):
        z = (a[:, None] * z0 + b[:, None] * z1).astype("float32")
        strip = plots.mosaic(model.decode(z).mean, (8, 8), 5)
        row = rows[9 * i : 9 * i + 8]
        assert np.array_equal(row[:, :8], x[3].reshape(8, 8))
        assert np.array_equal(row[:, -8:], x[12].reshape(8, 8))
        assert np.allclose(row[:, 10:-10], strip, atol=1e-4)
    ticks = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert ticks == ["image", "0", "0.25", "0.5", "0.75", "1", "image"]
    assert "means of p(x|z)" in figures[0].axes[0].get_title()


def test_interpolate_prints_norms_beside_the_usual_ones(
    figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made("five")
    assert main(["interpolate", "five", "--from", "3", "--to", "12"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    x = runs.load_data({"data": GREY}).test.x
    codes = walks.codes(model, x)
    t = walks.times(5)
    assert numbers(lines[0]) == t.tolist()
    for line, way in zip(lines[1:3], (walks.straight, walks.spherical), strict=True):
        norms = np.linalg.norm(way(codes.mu[3], codes.mu[12], t), axis=1)
        assert numbers(line) == pytest.approx(norms.tolist(), abs=0.006)
    mean, sd = walks.chi(5)
    assert numbers(lines[3])[-2:] == pytest.approx([mean, sd], abs=0.006)
    norms = np.linalg.norm(codes.mu, axis=1)
    assert numbers(lines[5])[-2:] == pytest.approx([norms.mean(), norms.std()], abs=0.006)
    # E |z|^2 = |mu|^2 + sum sigma^2, without a draw
    rms = math.sqrt((norms**2).mean() + np.exp(codes.logvar).sum(axis=1).mean())  # type: ignore
    got, spread = numbers(lines[4])[-2:]
    assert math.hypot(got, spread) == pytest.approx(rms, rel=0.05)


def test_random_pairs_are_different_images_and_depend_on_the_seed(
    figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")

    def pairs(seed: str) -> list[float]:
        assert main(["interpolate", "vae", "--pairs", "7", "--seed", seed]) == 0
        return numbers(capsys.readouterr().out.splitlines()[0])

    first = pairs("1")
    assert len(set(first)) == 14 and first == pairs("1") and first != pairs("2")
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels == ["straight", "spherical"] * 7


@pytest.mark.parametrize(("N", "pairs"), [(1, 0), (2, 1), (7, 3), (250, 5)])
def test_few_test_images_make_few_pairs_and_few_reconstructions(
    N: int, pairs: int, figures: list, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    made("vae")
    data = runs.load_data({"data": DIGITS})
    few = replace(data, test=data.test[:N])
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: few)
    assert main(["interpolate", "vae", "--path", "straight"]) == (0 if pairs else 2)
    if pairs:
        assert len(figures.pop().axes[0].get_yticks()) == pairs
    else:
        assert "at least 2 test images" in capsys.readouterr().err
    assert main(["reconstruct", "vae"]) == 0
    shown = page(figures.pop())[:8]
    assert np.array_equal(
        shown, plots.mosaic(data.test.x[: min(N, 12)], (8, 8), 12)[:, : shown.shape[1]]
    )


def test_a_single_latent_has_no_sphere(figures: list, capsys: pytest.CaptureFixture[str]) -> None:
    made("one")
    assert main(["interpolate", "one"]) == 0
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels == ["straight"] * 5
    mu = walks.codes(runs.load_run("one")[0], runs.load_data({"data": DIGITS}).test.x).mu[:, 0]
    low, high = str(int(np.argmin(mu))), str(int(np.argmax(mu)))
    capsys.readouterr()
    assert mu.min() < 0 < mu.max()
    arguments = ["interpolate", "one", "--from", low, "--to", high, "--path", "spherical"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"test images {low} and {high}: opposite codes" in error and error.count("\n") == 1


def test_an_autoencoder_has_walks_but_no_prior_to_compare_with(
    figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    made("ae")
    assert main(["interpolate", "ae", "--path", "straight"]) == 0
    out = capsys.readouterr().out
    assert "codes, test images" in out and "prior" not in out and "q(z|x)" not in out


# ---- traverse ----


def test_traverse_sorts_by_kl_and_holds_the_other_latents(
    figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made("five")
    assert main(["traverse", "five", "--image", "7", "--steps", "5", "--latents", "4"]) == 0
    x = runs.load_data({"data": GREY}).test.x
    assert isinstance(model, VAE)
    kl = model.encode(x).kl_terms().mean(axis=0)
    order = np.argsort(-kl)[:4]
    plane = figures[0].axes[0]
    labels = [label.get_text() for label in plane.get_yticklabels()]
    assert labels == [f"latent {k + 1}: KL {kl[k]:.2f} nats" for k in order]
    lines = capsys.readouterr().out.splitlines()
    assert f"together {kl.sum():.2f} nats per image" in lines[0]
    for line, k in zip(lines[1:5], order, strict=True):
        assert numbers(line) == pytest.approx([k + 1, kl[k]], abs=6e-4)
    rest = kl.sum() - kl[order].sum()
    assert numbers(lines[5]) == pytest.approx([1, rest], abs=0.006)

    values = [-2.5, *(math.nan,) * 3, 2.5]
    share = math.erf(2.5 / math.sqrt(2)) / 4  # of the prior, between neighbours
    values[1] = -(2**0.5) * inverse_erf(2 * share)
    values[2], values[3] = 0.0, -values[1]
    mean = model.means(x[7:8])[0]
    rows = page(figures[0])
    for i, k in enumerate(order):
        z = np.tile(mean, (5, 1))
        z[:, k] = values
        strip = plots.mosaic(model.decode(z).mean, (8, 8), 5)
        row = rows[2 + 10 * i : 2 + 10 * i + 8]
        assert np.allclose(row[:, 10:], strip, atol=1e-4)
        assert np.allclose(row[:, :8].ravel(), model.decode(mean[None]).mean[0], atol=1e-5)
    ticks = [label.get_text() for label in plane.get_xticklabels()]
    assert ticks == ["own code", *(f"{v:.2g}" for v in values)]
    assert "quantiles of N(0, 1)" in plane.get_xlabel()
    centres = plane.get_xticks()[1:]
    marks = plane.collections[0].get_offsets()
    for k, x_mark in zip(order, marks[:, 0], strict=True):
        assert x_mark == pytest.approx(np.interp(mean[k], values, centres), abs=1e-4)


def inverse_erf(y: float) -> float:
    """By bisection."""
    low, high = 0.0, 6.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < y else (low, middle)
    return low


def test_even_spacing_has_equal_steps_and_says_so(figures: list) -> None:
    made("vae")
    assert main(["traverse", "vae", "--spacing", "even", "--limit", "3", "--steps", "7"]) == 0
    plane = figures[0].axes[0]
    ticks = [label.get_text() for label in plane.get_xticklabels()][1:]
    assert [float(tick) for tick in ticks] == [-3, -2, -1, 0, 1, 2, 3]
    assert "equal steps" in plane.get_xlabel()


def test_an_autoencoders_traversal_is_in_its_own_standard_deviations(
    figures: list, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made("ae")
    options = ["--spacing", "even", "--limit", "1", "--steps", "3"]
    assert main(["traverse", "ae", "--image", "2", *options]) == 0
    z = model.means(runs.load_data({"data": DIGITS}).test.x)
    centre, spread = z.mean(axis=0), z.std(axis=0)
    order = np.argsort(-spread)
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels == [f"latent {k + 1}: sd {spread[k]:.2f}" for k in order]
    first = np.tile(z[2], (3, 1))
    first[:, order[0]] = centre[order[0]] + spread[order[0]] * np.array([-1, 0, 1])
    row = page(figures[0])[2:10, 10:]
    assert np.allclose(row, plots.mosaic(model.decode(first).mean, (8, 8), 3), atol=1e-4)
    assert "standard deviations" in figures[0].axes[0].get_xlabel()
    assert "KL" not in capsys.readouterr().out
    centres, marks = figures[0].axes[0].get_xticks()[1:], figures[0].axes[0].collections[0]
    own = (z[2, order[0]] - centre[order[0]]) / spread[order[0]]
    place = np.interp(own, [-1, 0, 1], centres)
    assert marks.get_offsets()[0, 0] == pytest.approx(place, abs=1e-4)


def test_a_latent_that_never_changes_is_the_last_row_and_no_error(figures: list) -> None:
    made("ae")
    model, config = runs.load_run("ae")
    views = model.parameters.views(model.parameters.theta)
    views["encoder.code.W"][:, 1] = 0.0
    Path("dead/pictures").mkdir(parents=True)
    runs.save(Path("dead"), model, {"model": "ae", "data": config["data"]})
    assert main(["traverse", "dead"]) == 0
    marks = figures[0].axes[0].collections[0].get_offsets()  # masked where they are not finite
    assert np.isfinite(np.ma.filled(marks, np.nan)).all()
    assert figures[0].axes[0].get_yticklabels()[-1].get_text() == "latent 2: sd 0.00"


# ---- rows of a table ----


def test_rows_of_a_table_have_numbers_but_no_pictures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made("vae")
    split = Split(np.random.default_rng(0).random((9, 64), dtype="float32"), np.zeros(9, "int64"))
    rows = Dataset("rows", (1, 64), split, split, split, "")
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: rows)
    for command in SHOW:
        for option in ([], ["--out", "a.png"]):
            if command == "reconstruct" and not option:
                continue
            assert main([command, "vae", *option]) == 2
            error = capsys.readouterr().err
            assert "rows of 64 numbers, no images" in error and error.count("\n") == 1
    assert main(["reconstruct", "vae"]) == 0
    out = capsys.readouterr().out
    assert "9 test examples" in out and "nats per example" in out and "per number" in out
    assert "image" not in out and "wrote" not in out and "pixel" not in out
    for arguments in (["sample", "vae", "--out", "s.npy"], ["encode", "vae", "--out", "c.npy"]):
        assert main(arguments) == 0
    assert np.allclose(np.load("c.npy"), model.means(split.x), atol=1e-6)
    assert not list(Path("vae/pictures").iterdir())


# ---- animations ----


@pytest.mark.parametrize(
    ("arguments", "frames"),
    [
        (["interpolate", "vae", "--gif", "--steps", "3", "--pairs", "2"], 4),
        (["interpolate", "five", "--from", "0", "--to", "1", "--out", "a.gif", "--steps", "2"], 2),
        (["traverse", "five", "--gif", "--steps", "4"], 6),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_an_animation_plays_there_and_back_for_ever(arguments: list[str], frames: int) -> None:
    made(arguments[1])
    assert main(arguments) == 0
    own = Path(arguments[1], "pictures", f"{arguments[0]}.gif")
    with Image.open("a.gif" if "--out" in arguments else own) as film:
        assert film.n_frames == frames and film.info["loop"] == 0
        durations, pictures = [], []
        for i in range(frames):
            film.seek(i)
            durations.append(film.info["duration"])
            pictures.append(np.asarray(film.convert("L")))
    half = frames // 2
    want = [plots.animation.STEP] * frames
    want[0] = want[half] = plots.animation.HOLD
    assert durations == want
    for i in range(1, half):
        assert np.array_equal(pictures[i], pictures[-i])
    assert not np.array_equal(pictures[0], pictures[half])


def test_the_frames_of_an_animation_are_the_steps_of_the_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = made("five")
    frames: list[Any] = []
    monkeypatch.setattr(plots, "gif", lambda figures: b"" if frames.extend(figures) else b"")
    assert main(["traverse", "five", "--gif", "--limit", "2", "--image", "4", "--steps", "5"]) == 0
    assert len(frames) == 5
    x = runs.load_data({"data": GREY}).test.x
    mean, order = model.means(x[4:5])[0], walks.codes(model, x).order()
    for i, value in ((0, -2.0), (1, -1.0), (4, 2.0)):
        z = np.tile(mean, (5, 1))
        z[range(5), order] = value
        row = page(frames[i])[:8]
        assert np.allclose(row, plots.mosaic(model.decode(z).mean, (8, 8), 5), atol=1e-4)
        assert f"value {value:+.2f}" in frames[i].axes[0].get_title()
    texts = [text.get_text() for text in frames[0].axes[0].texts]
    assert [t.split(":")[0] for t in texts] == [f"latent {k + 1}" for k in order]


def test_an_animated_walk_goes_from_code_to_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("five")
    frames: list[Any] = []
    monkeypatch.setattr(plots, "gif", lambda figures: b"" if frames.extend(figures) else b"")
    arguments = ["interpolate", "five", "--gif", "--from", "3", "--to", "12", "--steps", "3"]
    assert main(arguments) == 0
    z0, z1 = model.means(runs.load_data({"data": GREY}).test.x[[3, 12]])
    for figure, t in zip(frames, (0.0, 0.5, 1.0), strict=True):
        ways = [way(z0, z1, np.array([t])) for way in (walks.straight, walks.spherical)]
        row = plots.mosaic(model.decode(np.concatenate(ways)).mean, (8, 8), 2)
        assert np.allclose(page(figure)[:8], row, atol=1e-4)
        assert f"t = {t:.2f}" in figure.axes[0].get_title()
        assert [text.get_text() for text in figure.axes[0].texts] == ["straight", "spherical"]


# ---- encode ----


@pytest.mark.parametrize("part", ["train", "valid", "test"])
@pytest.mark.parametrize("name", ["vae", "five", "ae"])
def test_encode_writes_the_means_of_the_model(name: str, part: str) -> None:
    model = made(name)
    assert main(["encode", name, "--data", part, "--out", "codes.npy"]) == 0
    x = getattr(runs.load_data({"data": KINDS[name][2]}), part).x
    if part == "train" and KINDS[name][2] is DIGITS:
        x = binarise(x, "fixed", np.random.default_rng(776))
    codes = np.load("codes.npy", allow_pickle=False)
    assert codes.dtype == np.float32
    assert np.allclose(codes, model.means(x), rtol=1e-4, atol=1e-6)


def test_encode_writes_log_variances_beside_the_means() -> None:
    model = made("five")
    assert isinstance(model, VAE)
    assert main(["encode", "five", "--logvar", "--out", "codes.npy"]) == 0
    mu, logvar = np.load("codes.npy")
    q = model.encode(runs.load_data({"data": GREY}).test.x)
    assert np.array_equal(mu, q.mu) and np.array_equal(logvar, q.logvar)


def test_a_table_of_codes_keeps_every_digit_and_names_its_columns() -> None:
    model = made("five")
    assert main(["encode", "five", "--logvar", "--out", "codes.csv"]) == 0
    text = Path("codes.csv").read_text()
    header = text.partition("\n")[0].split(",")
    assert header == [
        "index", "label", *(f"mu_{k}" for k in range(1, 6)), *(f"logvar_{k}" for k in range(1, 6)),
    ]  # fmt: skip
    rows = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    data = runs.load_data({"data": GREY})
    codes = walks.codes(model, data.test.x)
    assert np.array_equal(rows[:, 0], range(250)) and np.array_equal(rows[:, 1], data.test.y)
    assert np.array_equal(rows[:, 2:7].astype("float32"), codes.mu)
    assert np.array_equal(rows[:, 7:].astype("float32"), codes.logvar)


def test_a_table_has_the_factors_of_a_rendered_world(monkeypatch: pytest.MonkeyPatch) -> None:
    made("vae")
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((7, 2))
    split = Split(rng.random((7, 64), dtype="float32"), np.arange(7), factors)
    world = Dataset("world", (8, 8), split, split[2:], split, "", ("shape", "the angle"))
    monkeypatch.setattr(_common, "load_data", lambda model, config, run: world)
    assert main(["encode", "vae", "--data", "valid", "--out", "codes.csv"]) == 0
    lines = Path("codes.csv").read_text().splitlines()
    assert lines[0] == "index,label,shape,the angle,mu_1,mu_2"
    rows = np.array([line.split(",") for line in lines[1:]], dtype=float)
    assert np.array_equal(rows[:, 0], range(5)) and np.array_equal(rows[:, 1], range(2, 7))
    assert np.array_equal(rows[:, 2:4], factors[2:])


def test_a_table_of_a_float64_run_keeps_every_digit_too() -> None:
    model = VAE(Architecture(64, 2, (8,)), dtype="float64")
    Path("double").mkdir()
    runs.save(Path("double"), model, {"model": "vae", "data": GREY})
    assert main(["encode", "double", "--out", "codes.csv"]) == 0
    rows = np.loadtxt("codes.csv", delimiter=",", skiprows=1)
    x = runs.load_data({"data": GREY}).test.x
    assert np.array_equal(rows[:, 2:], walks.codes(model, x).mu)


# ---- export ----


def by_hand(w: Any, x: np.ndarray) -> np.ndarray:
    """The mean code by three products: nothing of minivae, only the file."""
    h = np.tanh(x @ w["encoder.trunk.0.W"] + w["encoder.trunk.0.b"])
    h = np.tanh(h @ w["encoder.trunk.2.W"] + w["encoder.trunk.2.b"])
    return h @ w["encoder.mu.W"] + w["encoder.mu.b"]


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_file_of_weights_is_enough_to_encode_by_hand(kind: str) -> None:
    model = made("five")
    assert main(["export", "five", "--out", f"w.{kind}"]) == 0
    if kind == "npz":
        w = np.load("w.npz", allow_pickle=False)
        metadata, names = json.loads(str(w["metadata"])), set(w.files) - {"metadata"}
    else:
        raw = Path("w.safetensors").read_bytes()  # its format is simple enough to be read by hand
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        metadata = header.pop("__metadata__")
        w, names = {}, set(header)
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            assert entry["dtype"] == "F32"
            array = np.frombuffer(raw[8 + size + start : 8 + size + stop], "<f4")
            w[name] = array.reshape(entry["shape"])
    x = runs.load_data({"data": GREY}).test.x
    assert isinstance(model, VAE)
    q = model.encode(x)
    assert np.allclose(by_hand(w, x), q.mu, rtol=1e-4, atol=1e-5)
    views = model.parameters.views(model.parameters.theta)
    assert names == set(views)
    for name, view in views.items():
        assert np.array_equal(w[name], view) and w[name].dtype == np.float32
    architecture = json.loads(metadata["architecture"])
    assert Architecture(**architecture) == model.architecture
    assert metadata["format"] == "minivae weights 1" and metadata["model"] == "vae"
    # and with the limits the log-variance, and a decoded pixel's
    limits = json.loads(metadata["limits"])
    assert set(limits) == {"encoder.logvar", "decoder.logvar"}
    h = np.tanh(x @ w["encoder.trunk.0.W"] + w["encoder.trunk.0.b"])
    h = np.tanh(h @ w["encoder.trunk.2.W"] + w["encoder.trunk.2.b"])
    a, c = h @ w["encoder.logvar.0.W"] + w["encoder.logvar.0.b"], limits["encoder.logvar"]
    assert np.allclose(c * np.tanh(a / c), q.logvar, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(KINDS))
def test_the_limits_of_a_description_are_those_of_the_layers(name: str) -> None:
    model = made(name)
    limits = json.loads(description(model)["limits"])
    found = {}
    for part in ("encoder", "decoder"):
        for head, layer in getattr(model, part).heads.items():
            for inner in layer.parts().values():
                if hasattr(inner, "limit"):
                    found[f"{part}.{head}"] = inner.limit
    assert limits == found


def test_without_safetensors_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert main(["export", "vae", "--out", "w.safetensors"]) == 2
    error = capsys.readouterr().err
    assert "pip install safetensors" in error and error.count("\n") == 1
    assert not Path("w.safetensors").exists()


def test_safetensors_itself_reads_our_file() -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    model = made("vae")
    assert main(["export", "vae", "--out", "w.safetensors"]) == 0
    arrays = numpy.load_file("w.safetensors")
    views = model.parameters.views(model.parameters.theta)
    assert all(np.array_equal(arrays[name], view) for name, view in views.items())


# ---- files ----


def test_pictures_go_to_the_run_and_may_be_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    made("vae")
    for command in SHOW:
        path = Path("vae/pictures", f"{command}.png")
        for content in (None, b"old") if command == "sample" else (b"old",):
            if content is not None:
                path.write_bytes(content)
            assert main([command, "vae"]) == 0
            assert capsys.readouterr().out.endswith(f"wrote {path}\n")
            with Image.open(path) as image:
                assert image.format == "PNG" and image.width == 910
    assert {p.name for p in Path("vae/pictures").iterdir()} == {f"{c}.png" for c in SHOW}


def test_a_pictures_folder_that_was_removed_comes_back() -> None:
    made("vae")
    Path("vae/pictures").rmdir()
    assert main(["sample", "vae", "--n", "2"]) == 0
    assert Path("vae/pictures/sample.png").exists()


def test_svg_is_svg_and_the_same_every_time() -> None:
    made("vae")
    for name in ("a.svg", "b.SVG"):
        assert main(["traverse", "vae", "--out", name]) == 0
    text = Path("a.svg").read_text()
    assert "<svg" in text and text == Path("b.SVG").read_text() and "<dc:date>" not in text


@pytest.mark.parametrize("command", OUT)
def test_a_file_that_exists_needs_force(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    made("vae")
    path = Path(OUT[command])
    path.write_bytes(b"precious")
    assert main([command, "vae", "--out", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"minivae: {path} exists already: --force replaces it\n"
    assert path.read_bytes() == b"precious" and not captured.out
    assert main([command, "vae", "--out", str(path), "--force"]) == 0
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize("command", OUT)
@pytest.mark.parametrize("place", ["nowhere", "a-file"])
def test_a_folder_that_is_none_is_one_line(
    command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    Path("a-file").touch()
    assert main([command, "vae", "--out", f"{place}/{OUT[command]}"]) == 2
    error = capsys.readouterr().err
    assert f"there is no folder {place}" in error and error.count("\n") == 1


@pytest.mark.parametrize("command", OUT)
def test_a_name_that_says_no_format_lists_what_is_possible(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    kinds = {
        "sample": ".png, .svg or .npy", "reconstruct": ".png or .svg",
        "interpolate": ".png, .svg or .gif", "traverse": ".png, .svg or .gif",
        "encode": ".npy or .csv", "export": ".npz or .safetensors",
    }  # fmt: skip
    for name in ("out.jpg", "out", ".png"):
        assert main([command, "vae", "--out", name]) == 2
        error = capsys.readouterr().err
        assert f"ends in {kinds[command]}, got {name}" in error and error.count("\n") == 1
    assert {p.name for p in Path().iterdir()} == {"vae"}


@pytest.mark.parametrize("command", FILES)
def test_numbers_have_no_place_of_their_own(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    assert main([command, "vae"]) == 2
    error = capsys.readouterr().err
    assert "expected --out FILE" in error and error.count("\n") == 1


@pytest.mark.parametrize("command", OUT)
def test_a_folder_in_place_of_the_file_is_refused(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    Path(OUT[command]).mkdir()
    assert main([command, "vae", "--out", OUT[command], "--force"]) == 2
    assert "no regular file" in capsys.readouterr().err and Path(OUT[command]).is_dir()


@contextlib.contextmanager
def tiny_disk() -> Iterator[None]:
    """No file can grow beyond 100 bytes: what a full disk is to a program (and to a test's log)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", ["sample", "traverse", *FILES])
def test_a_full_disk_is_one_line_and_the_old_file_stays(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    path = Path(OUT[command])
    path.write_bytes(b"precious")
    with tiny_disk():
        status = main([command, "vae", "--out", str(path), "--force"])
    assert status == 2
    error = capsys.readouterr().err
    assert error == f"minivae: {path}: cannot be written (File too large)\n"
    assert path.read_bytes() == b"precious"
    assert {p.name for p in Path().iterdir()} == {"vae", path.name}


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_pictures_that_cannot_be_written_are_one_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made("vae")
    Path("vae/pictures").rmdir()
    Path("vae/pictures").touch()
    assert main([command, "vae"]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error and error.count("\n") == 1
    assert Path("vae/pictures").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    made("vae")
    Path("locked").mkdir(mode=0o500)
    assert main(["sample", "vae", "--out", "locked/a.png"]) == 2
    error = capsys.readouterr().err
    assert "cannot be written (Permission denied)" in error and error.count("\n") == 1


# ---- what can go wrong ----


@pytest.mark.parametrize("command", OUT)
def test_a_run_that_is_none_or_damaged_is_one_line(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    made("vae")
    config = Path("vae/config.json")
    config.write_text(config.read_text()[:-20])
    for run in ("nowhere", "empty", "vae"):
        assert main([command, run, "--out", OUT[command]]) == 2
        error = capsys.readouterr().err
        assert run in error and error.count("\n") == 1 and "Traceback" not in error
    assert not Path(OUT[command]).exists() and not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sample vae --n 0", "at least 1, got 0"),
        ("sample vae --columns 0", "at least 1, got 96 and 0"),
        ("sample vae --n 2001", "at most 2,000 images, got 2,001"),
        ("sample vae --temperature 0", "--temperature above 0 and finite, got 0.0"),
        ("sample vae --temperature -1", "--temperature"),
        ("sample vae --temperature inf", "--temperature"),
        ("sample vae --temperature nan", "--temperature"),
        ("sample vae --seed -1", "--seed of at least 0, got -1"),
        ("reconstruct vae --n 0", "--n from 1 to 250 (test images of digits), got 0"),
        ("reconstruct vae --n 251", "--n from 1 to 250"),
        ("reconstruct vae --columns 0", "--columns from 1 to 100 (images in a row), got 0"),
        ("interpolate vae --from 3", "--from and --to go together"),
        ("interpolate vae --to 0", "--from and --to go together"),
        ("interpolate vae --from 250 --to 3", "--from from 0 to 249 (test images), got 250"),
        ("interpolate vae --from 3 --to -1", "--to from 0 to 249 (test images), got -1"),
        ("interpolate vae --from 3 --to 4 --pairs 2", "--pairs are random"),
        ("interpolate vae --pairs 0", "--pairs from 1 to 50"),
        ("interpolate vae --pairs 51", "--pairs from 1 to 50"),
        ("interpolate vae --steps 1", "--steps from 2 to 50"),
        ("interpolate vae --steps 51", "--steps from 2 to 50"),
        ("interpolate vae --seed -1", "--seed"),
        ("interpolate vae --gif --out a.png", "--gif: expected --out with a file that ends in"),
        ("traverse vae --image 250", "--image from 0 to 249 (test images), got 250"),
        ("traverse vae --image -1", "--image from 0 to 249"),
        ("traverse vae --latents 3", "--latents from 1 to 2 (latents of the run), got 3"),
        ("traverse vae --latents 0", "--latents from 1 to 2"),
        ("traverse vae --limit 0", "a limit between 0 and 8, got 0.0"),
        ("traverse vae --limit nan", "a limit between 0 and 8"),
        ("traverse vae --steps 1", "--steps from 2 to 50"),
        ("encode ae --logvar --out a.npy", "--logvar: an autoencoder's code is a point"),
    ],
    ids=lambda v: v if " " in v else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = arguments.split()[1]
    made(name)
    before = {p.name for p in Path(name).rglob("*")}
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert captured.err.startswith("minivae: ")
    assert {p.name for p in Path(name).rglob("*")} == before
    assert {p.name for p in Path().iterdir()} == {name}


def test_a_split_without_images_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "vae", (*KINDS["vae"][:2], {**DIGITS, "validation": 0}))
    made("vae")
    assert main(["encode", "vae", "--data", "valid", "--out", "a.csv"]) == 2
    assert "--data valid: the run has no such examples" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*SHOW, "encode"])
def test_data_of_another_size_are_refused(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "vae", (VAE, Architecture(63, 2, (4,)), DIGITS))
    made("vae")
    assert main([command, "vae", "--out", OUT[command]]) == 2
    error = capsys.readouterr().err
    assert "63 pixels" in error and "64" in error and error.count("\n") == 1


@pytest.mark.parametrize("command", OUT)
@pytest.mark.parametrize("checkpoint", [None, "best", "last"])
def test_every_command_loads_the_checkpoint_that_was_asked_for(
    command: str, checkpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load(*arguments: Any) -> None:
        asked.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "load_run", load)
    option = [] if checkpoint is None else ["--checkpoint", checkpoint]
    assert main([command, "vae", *option]) == 130
    assert asked == [("vae", "cpu", checkpoint)]


def test_a_run_without_a_best_epoch_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made("vae")
    assert main(["sample", "vae", "--checkpoint", "best"]) == 2
    error = capsys.readouterr().err
    assert "no epoch is the best" in error and error.count("\n") == 1


# ---- the parser ----


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    captured = capsys.readouterr()
    assert stop.value.code == 2 and not captured.out
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --laten 4",
         "minivae train: unknown option --laten, did you mean --latent? "
         "(minivae train --help lists all)"),
        ("train --Latent=4", "unknown option --Latent, did you mean --latent? "),
        ("train --LATENT=4", "unknown option --LATENT, did you mean --latent? "),
        ("train -latent 4", "unknown option -latent, did you mean --latent? "),
        ("sample a --colums 3", "minivae sample: unknown option --colums, did you mean --columns?"),
        ("sample a b", "minivae sample: one word too many: b (minivae sample --help"),
        ("trian", "minivae: unknown command trian, did you mean train? (minivae --help lists"),
        ("Sample a", "unknown command Sample, did you mean sample?"),
        ("xyz", "minivae: unknown command xyz (minivae --help lists all)"),
        ("--verison", "minivae: unknown option --verison, did you mean --version?"),
        ("train --likelihood gausian",
         "--likelihood: expected one of bernoulli, continuous-bernoulli, gaussian; got gausian, "
         "did you mean gaussian?"),
        ("interpolate a --path curved",
         "--path: expected one of straight, spherical, both; got curved (minivae"),
        ("train --epochs x", "minivae train: --epochs: expected a whole number, got 'x' ("),
        ("traverse a --limit x", "--limit: expected a number, got 'x' ("),
        ("sample a --n", "minivae sample: --n: expected a value ("),
        ("sample", "minivae sample: missing RUN ("),
        ("train --zzz", "minivae train: unknown option --zzz ("),
    ],
    ids=lambda v: v.split("(")[0],
)  # fmt: skip
def test_a_slip_is_one_line_with_what_was_meant(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, *arguments.split())
    assert message in error and error.startswith("minivae") and "usage" not in error


def test_a_slip_with_line_breaks_is_still_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--ab c" in refused(capsys, "train", "--ab\nc\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_fits_the_screen_and_teaches(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: minivae {command}" in text
    if command in OUT:
        assert "examples:" in text and f"minivae {command} runs/" in text
        body = text.partition("examples:")[0]
        assert max(len(line) for line in body.splitlines()) < 80
        for line in re.findall(r"^  --(?!force|draw|gif|from|logvar).*(?:\n {10,}.*)*", text, re.M):
            assert re.search(r"default:|must be given", line), line


def test_the_help_of_all_names_every_command_and_so_does_no_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out == bare
    for name, module in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(module.HELP)}$", bare, re.M)


@pytest.mark.parametrize(
    ("arguments", "buffered"),
    [(["info"], True), (["sample", "--help"], True), (["sample", "--help"], False)],
    ids=str,
)
def test_a_reader_that_goes_away_ends_it_quietly_and_a_full_disk_does_not(
    arguments: list[str], buffered: bool
) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-m", "minivae", *arguments]

    def status(stdout: Any) -> tuple[int, str]:
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
        )
        return done.returncode, done.stderr

    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert status(writer) == (141, "")
    finally:
        os.close(writer)
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            code, error = status(full)
        assert code == 2 and "No space left" in error and error.count("\n") == 1


def test_the_commands_load_neither_matplotlib_nor_the_image_library() -> None:
    code = (
        "import sys, minivae.cli; print(sorted({'matplotlib', 'PIL', 'cupy', 'safetensors'}"
        " & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ---- data that were changed ----


@pytest.mark.parametrize("command", ["usage", "evaluate", "encode --out z.npy", "probe", "prune"])
def test_data_that_were_replaced_are_not_examined(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command.split()
    np.save("tab.npy", np.random.default_rng(0).random((60, 6)))
    trained = ["train", "--data", "tab.npy", "--likelihood", "gaussian", "--epochs", "1"]
    assert main([*trained, "--hidden", "4", "--no-pictures", "--out", "tab"]) == 0
    np.save("tab.npy", np.random.default_rng(1).random((60, 6)))
    capsys.readouterr()
    assert main([name, "tab", *options]) == 2
    error = capsys.readouterr().err
    assert "the data are not those it began with" in error and error.count("\n") == 1
    Path("tab/card.json").unlink()  # a model that was saved without one says nothing of its data
    main([name, "tab", *options])
    assert "began with" not in capsys.readouterr().err


# ---- tables, of which a run may have one test row ----


@pytest.fixture
def tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs on tables: "rows" with 6 test rows, "row" with one."""
    for name, n in (("rows", 60), ("row", 12)):
        x, y = np.random.default_rng(0).random((n, 6)), np.arange(n) % 2
        np.savez(f"{name}.npz", x=x, y=y)
        trained = [
            "--likelihood",
            "gaussian",
            "--latent",
            "3",
            "--hidden",
            "4",
            "--epochs",
            "1",
            "--no-pictures",
        ]
        assert main(["train", "--data", f"{name}.npz", *trained, "--out", name]) == 0
    capsys.readouterr()


def test_rows_of_a_table_are_no_images(tables: None, capsys: pytest.CaptureFixture[str]) -> None:
    fast = ["--steps", "2", "--chains", "2", "--temperatures", "2", "--samples", "4"]
    for words in (["usage", "rows"], ["gap", "rows", *fast], ["diagnose", "rows"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "image" not in out and "nats per example" in out
        assert "6 test examples" in out or "12 held-out examples" in out


def test_one_test_row_has_no_error_and_no_holes(
    tables: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["holes", "row"]) == 2
    assert "expected at least 2 test examples" in capsys.readouterr().err
    assert main(["probe", "row", "--neighbours", "1"]) == 0
    out = capsys.readouterr().out
    assert "nan" not in out and "compression of 1 test example" in out


def test_columns_of_large_numbers_stay_apart() -> None:
    point = Compressed(0.5, 3.0, Estimate(0.08, 0.05), Estimate(12059.26853, 746.57285))
    data = load_digits()
    with contextlib.redirect_stdout(io.StringIO()) as told:
        probe._bytes({"codes": [point]}, data)
    assert told.getvalue().splitlines()[-1].endswith("0.08 +- 0.05         12059 +- 746.57")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("probe rows --neighbours 0", "expected --neighbours from 1 to"),
        ("probe rows --neighbours 5000", "expected --neighbours from 1 to"),
        ("probe rows --decay -1", "expected --decay of at least 0 and finite, got -1"),
        ("gap rows --samples 11", "expected an even --samples, got 11"),
        ("gap rows --chains 0", "expected --chains from 1 to"),
        ("gap rows --temperatures 0", "expected --temperatures from 1 to"),
        ("diagnose rows --json nodir/x.json", "--json nodir/x.json: there is no folder nodir"),
        ("collapse-lab --seed -1", "expected a seed of at least 0, got -1"),
    ],
)
def test_what_an_option_cannot_be_names_it(
    words: str, told: str, tables: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    out, error = capsys.readouterr()
    assert told in error and out == "" and error.count("\n") == 1


# ---- other data than the run's ----


def test_encode_takes_data_that_the_run_has_never_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every row, in its order, binarised as the run says; a wrong width is one line."""
    made("vae")
    model, config = runs.load_run("vae")
    grey = np.random.default_rng(3).random((7, 64)).astype(np.float32)
    np.save("new.npy", grey)
    np.save("wide.npy", grey[:, :63])
    assert main(["encode", "vae", "--data", "new.npy", "--out", "codes.npy"]) == 0
    how = config["data"]["binarisation"]
    seen = binarise(grey, "none" if how == "none" else "fixed", np.random.default_rng(776))
    want = model.means(seen)
    assert np.array_equal(np.load("codes.npy"), want) and len(want) == 7
    capsys.readouterr()
    for name, message in (("wide.npy", "(N, 64)"), ("no.npy", "a path, got no.npy")):
        assert main(["encode", "vae", "--data", name, "--out", "more.npy"]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
