"""Pruning: the model that is left, its bound, its folder, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import make_model

from minivae import VAE, Adam, Architecture, Autoencoder, estimate_likelihood, objectives, runs
from minivae.arrays import generator
from minivae.cli import main
from minivae.datasets import binarise, load_digits
from minivae.distributions import Gaussian
from minivae.evaluation import latent_usage
from minivae.lab.prune import (
    COMPARISON,
    compare,
    prune,
    prune_run,
    prune_vector,
    training_examples,
)
from minivae.training import train

GREY = {"name": "digits", "validation": 250, "binarisation": "none"}
SHAPES: dict[str, dict[str, Any]] = {
    "bernoulli": {},
    "continuous": {"likelihood": "continuous-bernoulli"},
    "shared": {"likelihood": "gaussian"},
    "fixed": {"likelihood": "gaussian", "variance": "fixed"},
    "pixel": {"likelihood": "gaussian", "variance": "pixel"},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mask(*kept: int, K: int) -> np.ndarray:
    return np.isin(np.arange(K), kept)


def parameters_of(p: Any) -> list[np.ndarray]:
    return [p.mu, p.logvar] if isinstance(p, Gaussian) else [p.logits]


# ---- the model ----


@pytest.mark.parametrize("hidden", [(), (6,), (7, 5)])
@pytest.mark.parametrize("kind", SHAPES)
def test_it_is_the_old_model_with_the_others_held(kind: str, hidden: tuple[int, ...]) -> None:
    model, x, _ = make_model(VAE, rng(), B=6, latent=4, hidden=hidden, **SHAPES[kind])
    before, keep, at = model.parameters.theta.copy(), mask(1, 3, K=4), rng(1).normal(size=4)
    smaller = prune(model, keep, at)
    assert smaller.architecture.latent == 2 and smaller.architecture.hidden == hidden
    assert np.array_equal(model.parameters.theta, before)
    q, q_small = model.encode(x), smaller.encode(x)
    assert np.array_equal(q_small.mu, q.mu[:, [1, 3]])
    assert np.array_equal(q_small.logvar, q.logvar[:, [1, 3]])
    z = rng(2).normal(size=(6, 2))
    held = np.stack([np.full(6, at[0]), z[:, 0], np.full(6, at[2]), z[:, 1]], axis=1)
    for a, b in zip(
        parameters_of(smaller.decode(z)), parameters_of(model.decode(held)), strict=True
    ):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_dtype_and_device_stay() -> None:
    model, _, _ = make_model(VAE, rng(), latent=3)
    model.parameters.bind(model.parameters.theta.astype("f"))
    assert prune(model, mask(0, K=3), np.zeros(3)).parameters.theta.dtype == np.float32


def test_with_all_latents_it_is_a_copy() -> None:
    model, _, _ = make_model(VAE, rng(), latent=3)
    same = prune(model, mask(0, 1, 2, K=3), np.ones(3))
    assert np.array_equal(same.parameters.theta, model.parameters.theta)
    assert not np.shares_memory(same.parameters.theta, model.parameters.theta)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=6).filter(any), st.booleans())
def test_a_moment_keeps_the_entries_of_the_parameters_that_stay(
    kept: list[bool], deep: bool
) -> None:
    """Every number of the vector carries its own name, row and column; nothing is folded."""
    keep = np.array(kept)
    a = Architecture(5, len(kept), (4,) if deep else (), likelihood="gaussian", variance="pixel")
    model = VAE(a, dtype="float64")
    vector = np.arange(len(model.parameters), dtype=float)
    smaller = prune(model, keep, np.zeros(len(kept)))
    got = smaller.parameters.views(prune_vector(model, vector, keep))
    first = ["decoder.trunk.0.W"] if deep else ["decoder.mu.W", "decoder.logvar.0.W"]
    for name, old in model.parameters.views(vector).items():
        want = old
        if name in first:
            want = old[keep]
        elif name.startswith(("encoder.mu", "encoder.logvar")):
            want = old.T[keep].T
        assert np.array_equal(got[name], want), name


def test_refusals_of_the_model() -> None:
    model, _, _ = make_model(VAE, rng(), latent=3)
    for keep in (mask(K=3), mask(0, K=2), np.array([1, 0, 1])):
        with pytest.raises(ValueError, match="mask of 3 latents that keeps at least one"):
            prune(model, keep, np.zeros(3))
    with pytest.raises(TypeError, match="Autoencoder"):
        prune(make_model(Autoencoder, rng())[0], mask(0, K=2), np.zeros(2))  # type: ignore[arg-type]


# ---- the bounds ----


def test_the_comparison_is_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, _ = make_model(VAE, rng(), B=7, latent=3)
    keep = mask(0, 2, K=3)
    smaller = prune(model, keep, np.full(3, 0.3))
    eps = rng(5).standard_normal((4, 7, 3))
    old = objectives.elbo(model, x, eps, gradient=False).elbo
    new = objectives.elbo(smaller, x, eps[..., [0, 2]], gradient=False).elbo
    got = compare(model, smaller, keep, x, rng(5), samples=4)
    assert math.isclose(got.before.mean, old.mean()) and math.isclose(got.after.mean, new.mean())
    assert math.isclose(got.change.mean, (new - old).mean(), rel_tol=1e-10)
    error = (new - old).std(ddof=1) / math.sqrt(7)
    assert math.isclose(got.change.standard_error, error, rel_tol=1e-10)
    monkeypatch.setattr("minivae.lab.prune.ROWS", 12)  # three examples at a time
    parts = compare(model, smaller, keep, x, rng(5), samples=4)
    draw = rng(5)
    noise = [draw.standard_normal((4, n, 3)) for n in (3, 3, 1)]
    want = [objectives.elbo(model, x[3 * i : 3 * i + 3], e, gradient=False).elbo
            for i, e in enumerate(noise)]  # fmt: skip
    assert math.isclose(parts.before.mean, np.concatenate(want).mean())
    with pytest.raises(ValueError, match="samples of at least 1, got 0"):
        compare(model, smaller, keep, x, rng(), samples=0)


def test_a_latent_that_stands_still_elsewhere_goes_with_its_kl() -> None:
    """Its mean is 3 for every x, its decoder relies on the 3: held there, nothing is lost."""
    model, x, _ = make_model(VAE, rng(), B=40, latent=2)
    view = model.parameters.views(model.parameters.theta)
    view["encoder.mu.W"][:, 1], view["encoder.mu.b"][1] = 0.0, 3.0
    view["encoder.logvar.0.W"][:, 1], view["encoder.logvar.0.b"][1] = 0.0, -6.0
    usage = latent_usage(model, x)
    assert usage.active().tolist() == [True, False] and usage.active_by_kl().all()
    keep = usage.active()
    right = compare(model, prune(model, keep, np.array([0.0, 3.0])), keep, x, rng(), 100)
    wrong = compare(model, prune(model, keep, np.zeros(2)), keep, x, rng(), 100)
    assert abs(right.change.mean - usage.kl[1]) < 0.05
    assert wrong.change.mean < right.change.mean - 0.3


# ---- the folder ----

OPTIONS = ["--hidden", "16", "--activation", "tanh", "--likelihood", "gaussian", "--variance",
           "fixed", "--sigma", "0.3", "--learning-rate", "0.01", "--learning-rate-schedule",
           "cosine", "--batch-size", "32", "--latent", "6", "--epochs", "60"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six latents on points near a plane in ten dimensions, with a little noise."""
    folder, draw = tmp_path_factory.mktemp("pruned"), rng(8)
    plane = np.linalg.qr(draw.normal(size=(10, 2)))[0].T * [[2.0], [1.0]]
    x = draw.normal(size=(700, 2)) @ plane + 0.1 * draw.normal(size=(700, 10))
    np.save(folder / "plane.npy", x.astype("f"))
    argv = ["train", "--data", str(folder / "plane.npy"), *OPTIONS, "--out", str(folder / "run")]
    assert main(argv) == 0
    return folder / "run"


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_trained_run_becomes_smaller_and_is_as_good(trained: Path, capsys: Any) -> None:
    before = all_bytes(trained)
    assert main(["prune", str(trained)]) == 0
    out = capsys.readouterr().out
    folder = trained.parent / "run-pruned-1"
    assert all_bytes(trained) == before
    old, config = runs.load_run(trained)
    new, new_config = runs.load_run(folder)
    K = new.architecture.latent
    assert isinstance(old, VAE) and isinstance(new, VAE)
    assert 2 <= K <= 4 and f"{K} of 6 latents stay" in out
    assert new_config["data"] == config["data"] and len(new_config["pruned"]["kept"]) == K
    x = runs.load_data(config).test.x
    elbos = [estimate_likelihood(m, x, rng(), n_samples=200).elbo for m in (old, new)]
    change = elbos[1] - elbos[0]
    assert abs(change.mean()) < 0.05 + 3 * change.std() / math.sqrt(len(x))
    assert f"{len(old.parameters):,} before, {len(new.parameters):,} after" in out
    files = [next((f / "checkpoints").glob("last-*.npz")).stat().st_size for f in (trained, folder)]
    assert files[1] < files[0] and f"{files[0]:,} bytes before, {files[1]:,} after" in out
    said = [float(line.split()[2]) for line in out.split("\n") if line.startswith("  ELBO")]
    assert abs(said[0] - elbos[0].mean()) < 0.05 and abs(said[1] - elbos[1].mean()) < 0.05
    assert main(["evaluate", str(folder), "--samples", "3"]) == 0
    array = str(folder / "draws.npy")
    assert main(["sample", str(folder), "--n", "4", "--out", array]) == 0
    assert np.load(array).shape == (4, 10)


def test_every_number_of_the_report(trained: Path, tmp_path: Path) -> None:
    result = prune_run(trained, str(tmp_path / "new"), samples=3, seed=4)
    assert result is not None
    model, config = runs.load_run(trained)
    smaller, _ = runs.load_run(result.folder)
    assert isinstance(model, VAE) and isinstance(smaller, VAE)
    data = runs.load_data(config)
    x = data.train.x.astype(np.float64)
    mu = model.twin("float64").encode(x).mu
    assert np.array_equal(result.keep, mu.var(axis=0) > 0.01)
    view = model.parameters.views(model.parameters.theta)
    gone = ~result.keep
    bias = view["decoder.trunk.0.b"] + mu.mean(axis=0)[gone] @ view["decoder.trunk.0.W"][gone]
    got = smaller.parameters.views(smaller.parameters.theta)
    assert np.allclose(got["decoder.trunk.0.b"], bias, atol=1e-6)
    noise = generator("cpu", 4, 0, COMPARISON)
    again = compare(model, smaller, result.keep, data.test.x, noise, 3)
    assert again == result.elbo


def test_training_goes_on_with_the_moments_that_stay(trained: Path, tmp_path: Path) -> None:
    result = prune_run(trained, str(tmp_path / "new"))
    assert result is not None and result.resumable
    old, new = runs.load_training(trained), runs.load_training(result.folder)
    assert isinstance(old.optimizer, Adam) and isinstance(new.optimizer, Adam)
    assert new.optimizer.t == old.optimizer.t > 100
    assert new.optimizer.settings() == old.optimizer.settings()
    assert len(new.history.rows) == 60 and new.state == "finished" and new.card == old.card
    for moment in ("u", "w"):
        mine = new.model.parameters.views(getattr(new.optimizer, moment))
        theirs = old.model.parameters.views(getattr(old.optimizer, moment))
        assert np.array_equal(mine["decoder.trunk.0.W"], theirs["decoder.trunk.0.W"][result.keep])
        assert np.array_equal(mine["encoder.mu.b"], theirs["encoder.mu.b"][result.keep])
        assert np.array_equal(
            mine["decoder.trunk.0.b"], theirs["decoder.trunk.0.b"]
        )  # nothing folded
    x = runs.load_data(new.config)
    train(
        new.model, x.train.x, x.valid.x, epochs=61, batch_size=32, optimizer=new.optimizer,
        history=new.history, progress=None,
    )  # fmt: skip
    assert new.history["valid_elbo"][-1] > new.history["valid_elbo"][-2] - 0.3


def test_from_the_best_epoch_it_cannot_go_on(trained: Path, tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "best")
    assert main(["prune", str(trained), "--checkpoint", "best", "--out", out]) == 0
    best = max(runs.load_training(trained).history.rows, key=lambda row: row["valid_elbo"])
    assert runs.load_run(out)[1]["pruned"]["epoch"] == best["epoch"]
    capsys.readouterr()
    assert main(["train", "--resume", out, "--epochs", "70"]) == 2
    err = capsys.readouterr().err
    assert "expected the state of adam" in err and err.count("\n") == 1


def test_nothing_is_overwritten(trained: Path, tmp_path: Path, capsys: Any) -> None:
    names = [prune_run(trained).folder.name for _ in range(2)]  # type: ignore[union-attr]
    assert names[0] != names[1] and names[1].startswith("run-pruned-")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    assert main(["prune", str(trained), "--out", str(tmp_path / "there")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert all_bytes(tmp_path / "there") == {"file": b"mine"}


def made(folder: Path, bias: float = 0.0, model: str = "vae", **shape: Any) -> VAE:
    """A run that was never trained, whose encoder's means are silent, but for a bias."""
    folder.mkdir()
    a = Architecture(64, 3, (8,), **shape)
    kind = VAE if model == "vae" else Autoencoder
    vae: Any = kind(a)
    view = vae.parameters.views(vae.parameters.theta)
    if model == "vae":
        view["encoder.mu.W"][...], view["encoder.mu.b"][...] = 0.0, bias
        view["encoder.logvar.0.W"][...] = 0.0
    runs.save(folder, vae, {"model": model, "data": GREY | {"binarisation": "new"}})
    return vae


def test_a_collapsed_run_is_one_line(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "dead")
    assert main(["prune", str(tmp_path / "dead")]) == 2
    out, err = capsys.readouterr()
    assert "none of its 3 latents is active: the model has collapsed" in err
    assert err.count("\n") == 1 and out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["dead"]


def test_where_all_are_active_nothing_is_done(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "moved", bias=2.0)
    assert main(["prune", str(tmp_path / "moved"), "--rule", "kl"]) == 0  # KL 2 each
    assert "all latents are active: there is nothing to prune" in capsys.readouterr().out
    assert main(["prune", str(tmp_path / "moved"), "--rule", "variance"]) == 2
    assert main(["prune", str(tmp_path / "moved"), "--rule", "kl", "--threshold", "2.1"]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["moved"]


def test_what_costs_too_much_is_not_written(trained: Path, tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "new")
    argv = ["prune", str(trained), "--rule", "kl", "--threshold", "1.5", "--out", out]
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert "the held-out ELBO changes by -" in err and "nothing is written" in err
    assert not Path(out).exists()
    assert main([*argv, "--tolerance", "100"]) == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("--threshold", "-1"), ("--threshold", "nan"), ("--tolerance", "inf"), ("--samples", "0"),
     ("--seed", "-1")],
)  # fmt: skip
def test_bad_numbers_are_refused(option: str, value: str, tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "run")
    assert main(["prune", str(tmp_path / "run"), option, value]) == 2
    err = capsys.readouterr().err
    assert f"expected {option}" in err and err.count("\n") == 1


def test_an_autoencoder_is_refused(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "ae", model="ae")
    assert main(["prune", str(tmp_path / "ae")]) == 2
    assert "expected a VAE, got ae" in capsys.readouterr().err


def test_the_examples_are_those_that_the_model_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_digits()
    grey = training_examples(data, {"data": {"binarisation": "none"}})
    assert np.array_equal(grey, data.train.x)
    drawn = training_examples(data, {"data": {"binarisation": "new"}})
    assert np.array_equal(drawn, binarise(data.train.x, "fixed", rng(776)))
    monkeypatch.setattr("minivae.lab.prune.EXAMPLES", 500)
    few = training_examples(data, {"data": {"binarisation": "none"}})
    assert 250 <= len(few) <= 500 and np.array_equal(
        few[1], data.train.x[len(data.train) // 500 + 1]
    )
