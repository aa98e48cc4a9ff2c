"""The benchmarks of the family: they say where they are, go on from there, and judge rightly."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import minivae as mv
from minivae import runs
from minivae.datasets import Dataset, Split
from minivae.evaluation import PCA

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules, without running them."""
    names = ("quadrants", "family_digits", "vq", "made")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def tiny_mnist() -> Dataset:
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        x = rng.random((n, 784), dtype=np.float32)
        return Split(x, np.arange(n, dtype=np.int64) % 10)

    return Dataset("mnist", (28, 28), split(40), split(0), split(20), "none")


def called(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, words)])
    return script.main()


def test_quadrants_say_where_they_are_and_keep_the_stages_of_others(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    script, out = bench["quadrants"], tmp_path / "q"
    reads: list[int] = []
    monkeypatch.setattr(mv, "load_mnist", lambda: (reads.append(1), tiny_mnist())[1])
    monkeypatch.setattr(script, "picture", lambda *_: None)
    script.loaded.cache_clear()
    words = ("--out", out, "--epochs", 2, "--hidden", 4, "--samples", 3, "--images", 5)
    path, stop = out / "results.json", {"given": 9}

    def beside(*_: Any) -> dict[str, Any]:  # another process ends its stage meanwhile
        assert json.loads(path.read_text()).keys() == {"options"}  # what was asked, from the start
        script.recorded(path, json.loads(path.read_text())["options"], {"grey-3": stop})
        return stop | {"nelbo": 0.0, "pixels": "binary", "nll": 1.0, "nll_error": 0.1, "images": 5,
                       "noise_over_draws": 0.1, "samples": 3, "ess": 1.0}  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr(script, "quadrant", beside)
        assert called(patch, script, *words, "--stages", "binary-2") == 0
    assert json.loads(path.read_text()).keys() == {"options", "grey-3", "binary-2"}
    capsys.readouterr()
    assert called(monkeypatch, script, *words, "--stages", "binary-1") == 0
    printed = capsys.readouterr().out
    for text in ("binary-1: epoch 1/2, training ELBO -", "binary-1: epoch 2/2", "likelihood, 3"):
        assert text in printed
    found = json.loads(path.read_text())["binary-1"]
    assert len(reads) == 1 and found["images"] == 5 and found["nll"] > 0.0
    script.loaded.cache_clear()
    with pytest.raises(SystemExit, match="begun with other options"):
        called(monkeypatch, script, *words, "--samples", 4, "--stages", "binary-1")
    with pytest.raises(SystemExit):
        called(monkeypatch, script, *words, "--stages", "binary-4")
    assert "got binary-4" in capsys.readouterr().err
    (out / "grey-1").mkdir()
    with runs.claimed(out / "grey-1"), pytest.raises(ValueError, match="another process"):
        called(monkeypatch, script, *words, "--stages", "grey-1")


def test_a_benchmark_of_made_is_of_the_epochs_that_were_asked_for(
    bench: dict[str, ModuleType], tmp_path: Path
) -> None:
    words = ["--hidden", "4", "--batch-size", "700", "--no-pictures", "--epochs", "1"]
    model, _ = bench["made"].trained(tmp_path / "m", words)
    again, _ = bench["made"].trained(tmp_path / "m", words)
    assert np.array_equal(model.parameters.theta, again.parameters.theta)
    with pytest.raises(SystemExit, match="a training of 1 epochs, not of 2"):
        bench["made"].trained(tmp_path / "m", [*words[:-1], "2"])


def test_the_best_linear_repair(bench: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + 3.0
    seen = x * (rng.random(x.shape) > 0.3)
    best = bench["family_digits"].best_of_rank

    def error(W: np.ndarray, seen: np.ndarray = seen) -> float:
        out = (seen - seen.mean(axis=0)) @ W + x.mean(axis=0)
        return float(((x - out) ** 2).sum())

    repair = best(seen, x, 2)
    W = np.stack([repair(seen.mean(axis=0) + e) - x.mean(axis=0) for e in np.eye(6)])
    assert np.linalg.matrix_rank(W, tol=1e-8) == 2
    U, s, V = np.linalg.svd(W)
    A, B = U[:, :2] * s[:2], V[:2]
    least = error(W)
    for _ in range(50):  # no other map of rank two near it is better
        da, db = (0.01 * rng.standard_normal(m.shape) for m in (A, B))
        assert error((A + da) @ (B + db)) > least
    pca = PCA.fit(x, 2)  # of what is not damaged: principal components
    assert best(x, x, 2)(x) == pytest.approx(pca.decode(pca.encode(x)), abs=1e-9)


def test_the_table_of_digits(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    script, plain = bench["family_digits"], bench["family_digits"].minivae
    asked: list[list[str]] = []

    def tiny(words: list[str]) -> int:
        asked.append(words)
        train = ["--hidden", "4", "--epochs", "1", "--batch-size", "700", "--no-pictures"]
        if words[0] == "prior":
            return plain([*words, "--epochs", "1", "--hidden", "4"])
        return plain(words if "--resume" in words else [*words, *train])

    monkeypatch.setattr(script, "minivae", tiny)
    monkeypatch.setattr(script, "SAMPLES", 3)
    monkeypatch.setattr(script, "DRAWS", 1)
    out = tmp_path / "table"
    (out / "vae").mkdir(parents=True)  # of a training that was stopped before it had begun
    assert called(monkeypatch, script, "--folder", out) == 1  # one epoch is too few
    printed = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert results.keys() == script.JUDGED.keys() == set(mv.models.MODELS)
    plainly = [words for words in asked if words[0] == "train"]
    assert all(words == ["train", "--model", n, "--out", str(out / n)]
               for words, n in zip(plainly, script.JUDGED, strict=True))  # fmt: skip
    for name, r in results.items():
        assert f"| {name} | 1 |" in printed and r["epochs"] == 1
        assert r["gain"] == pytest.approx(r["baseline_value"] - r["value"], abs=1e-9)
        below = r.get(script.ERROR, 0.0) <= 0.95 * r.get(script.PCA_ERROR, 1.0)
        assert r["passed"] == (r["gain"] >= r["wanted"] and below) and r["wanted"] > 0.1
    assert script.below_pca({}) and script.below_pca({script.ERROR: 0.94, script.PCA_ERROR: 1.0})
    assert not script.below_pca({script.ERROR: 0.96, script.PCA_ERROR: 1.0})
    assert results["vae"]["baseline_value"] == pytest.approx(27.10, abs=0.02)
    begun = len(asked)
    assert called(monkeypatch, script, "--folder", out, "--only", "made", "vq") == 1
    assert len(asked) == begun  # all is there
    del results["dae"], results["vq"]
    for r in results.values():
        r["passed"] = True
    runs.write_json(out / "results.json", results)
    (out / "vq" / "prior.npz").unlink()
    others = [name for name in results if name not in ("dae", "vq")]
    assert called(monkeypatch, script, "--folder", out, "--only", *others) == 0
    called(monkeypatch, script, "--folder", out, "--only", "dae", "vq")
    assert [words[:2] for words in asked[begun:]] == [
        ["train", "--resume"], ["train", "--resume"], ["prior", str(out / "vq")],
    ]  # fmt: skip


def test_a_prior_over_other_codes_is_trained_again(
    bench: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, run = bench["vq"], tmp_path / "vq"
    words = ["--model", "vq", "--hidden", "4", "--batch-size", "700", "--no-pictures"]
    assert script.minivae(["train", *words, "--epochs", "1", "--out", str(run)]) == 0
    assert not script.has_prior(run)
    assert script.minivae(["prior", str(run), "--epochs", "1", "--hidden", "4"]) == 0
    assert script.has_prior(run)
    assert script.minivae(["train", "--resume", str(run), "--epochs", "2", "--no-pictures"]) == 0
    assert not script.has_prior(run) and "it is trained again" in capsys.readouterr().out
