"""The benchmark of the IWAE table: the recipe as coded, killed and gone on with, its figures."""

import importlib
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from minivae import objectives
from minivae.arrays import generator
from minivae.datasets import Dataset, Split
from minivae.models import Architecture
from minivae.verify import model_errors

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "iwae_table.py"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script as a module, without running it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("iwae_table")
    sys.modules.pop("iwae_table", None)


def grey(n: int, seed: int = 0, D: int = 9) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((n, D)) * rng.random(D)).astype(np.float32)


def binary(n: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((n, 9)) < 0.4).astype(np.float32)


@pytest.mark.parametrize("late", [False, True])
def test_the_optimiser_is_the_one_of_the_authors(bench: ModuleType, late: bool) -> None:
    """Plain moments; late: all assignments of a step from the values before it; float64."""
    rng = np.random.default_rng(1)
    theta = rng.normal(size=70_000)  # more than two blocks
    optimizer, own = bench.AsCoded(1e-3, 20.0, late), theta.copy()
    m, v = np.zeros_like(theta), np.ones_like(theta)
    for t in range(1, 30):
        grad = rng.normal(size=theta.shape)
        g = 20.0 * grad  # a sum over the batch
        alpha = 1e-3 * math.sqrt(1.0 - 0.999**t) / (1.0 - 0.99**t)
        before = m, v
        m, v = 0.99 * m + 0.01 * g, 0.999 * v + 0.001 * g**2
        by_m, by_v = before if late else (m, v)
        own = own - alpha * by_m / (np.sqrt(by_v) + 1e-4)
        optimizer.step(theta, grad)
        assert np.abs(theta - own).max() < 1e-13
    assert not np.array_equal(theta, np.random.default_rng(1).normal(size=70_000))


@pytest.mark.parametrize("late", [False, True])
def test_a_state_goes_on_to_the_bit_and_late_the_first_step_goes_nowhere(
    bench: ModuleType, late: bool
) -> None:
    rng = np.random.default_rng(2)
    theta, grads = rng.normal(size=50).astype(np.float32), rng.normal(size=(6, 50))
    start, grads = theta.copy(), grads.astype(np.float32)
    optimizer = bench.AsCoded(1e-3, 20.0, late)
    optimizer.step(theta, grads[0])
    assert np.array_equal(theta, start) == late
    other, twin = bench.AsCoded(1e-3, 20.0, late), theta.copy()
    other.restore(optimizer.state(), twin)
    for grad in grads[1:]:
        optimizer.step(theta, grad)
        other.step(twin, grad)
    assert np.array_equal(theta, twin) and not np.array_equal(theta, start)
    assert theta.dtype == np.float32 and optimizer.w.dtype == np.float32


def test_the_learning_rates_and_how_long_each_lasts(bench: ModuleType) -> None:
    rates = [bench.learning_rate(epoch) for epoch in range(3_280)]
    want = {1e-3: 1, 7.2e-4: 3, 5.2e-4: 9, 3.7e-4: 27, 2.7e-4: 81, 1.9e-4: 243, 1.4e-4: 729,
            1e-4: 2_187}  # fmt: skip
    assert rates == sorted(rates, reverse=True)
    assert [rates.count(rate) for rate in sorted(set(rates), reverse=True)] == list(want.values())
    assert sorted(set(rates), reverse=True) == pytest.approx(list(want))
    assert bench.learning_rate(10_000) == pytest.approx(1e-4)
    assert bench.TRAINING // bench.BATCH * 3_280 == 9_774_400


def test_the_weights_and_the_bias_at_the_start(bench: ModuleType) -> None:
    x = grey(300, D=64)
    x[:, 0], x[:, 1] = 0.0, 1.0
    model = bench.new_model(x, 0)
    views = model.parameters.views(model.parameters.theta)
    shapes = [view.shape for view in views.values() if view.ndim == 2]
    assert shapes == [(64, 200), (200, 200), (200, 50), (200, 50), (50, 200), (200, 200), (200, 64)]
    for name, view in views.items():
        if view.ndim == 2:
            limit = math.sqrt(6.0 / sum(view.shape))
            assert 0.99 * limit < np.abs(view).max() <= limit * (1.0 + 1e-6)
            assert view.var() == pytest.approx(limit**2 / 3.0, rel=0.05), name
        elif "logits" not in name:
            assert not view.any(), name
    bias = 1.0 / (1.0 + np.exp(-views["decoder.logits.b"]))
    assert bias[:2] == pytest.approx([0.001, 0.999], rel=1e-4)
    assert bias[2:] == pytest.approx(x[:, 2:].mean(axis=0), abs=1e-5)
    again, other = bench.new_model(x, 0), bench.new_model(x, 1)
    assert np.array_equal(model.parameters.theta, again.parameters.theta)
    assert not np.array_equal(model.parameters.theta, other.parameters.theta)


def test_the_head_is_log_sigma_and_its_gradient_is_right(bench: ModuleType) -> None:
    rng = np.random.default_rng(3)
    model = bench.Burda(Architecture(9, 2, (4, 5), "tanh"), dtype="float64")
    model.parameters.theta[...] = rng.normal(0.0, 0.5, model.parameters.theta.shape)
    x, eps = binary(3), rng.normal(size=(2, 3, 2))
    h, _ = model.encoder.trunk.forward(x)
    log_sigma, _ = model.encoder.heads["logvar"].layers[0].forward(h)
    assert np.exp(0.5 * model.encode(x).logvar) == pytest.approx(np.exp(log_sigma), rel=1e-14)
    errors = model_errors(model, lambda g: objectives.iwae(model, x, eps, gradient=g))
    assert max(errors.values()) <= 1e-12, errors


def test_an_epoch_sees_each_image_once_in_order_binarised_afresh(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, seen = np.linspace(0.0, 1.0, 60 * 9, dtype=np.float32).reshape(60, 9), []
    model, optimizer = bench.new_model(x, 0), bench.AsCoded(1e-3, 20.0)
    plain = model.objective

    def spy(batch: np.ndarray, rng: object, **options: int) -> object:
        assert not model.parameters.grad.any()  # emptied before each step
        seen.append((batch.copy(), options))
        return plain(batch, rng, **options)

    monkeypatch.setattr(model, "objective", spy)
    for epoch in range(2):
        means = bench.one_epoch(model, optimizer, x, epoch, 3, 0)
    assert means["iwae"] >= means["elbo"]
    assert optimizer.t == 6 and optimizer.learning_rate == bench.learning_rate(1)
    assert all(options == {"samples": 3} and len(b) == 20 for b, options in seen)
    first, second = (np.concatenate([b for b, _ in seen[i : i + 3]]) for i in (0, 3))
    assert set(np.unique(first)) == {0.0, 1.0} and not np.array_equal(first, second)
    assert first.mean(axis=1) == pytest.approx(x.mean(axis=1), abs=0.6)
    assert first[:20].mean() < first[20:40].mean() < first[40:].mean()


@pytest.mark.parametrize("k", [1, 2])
def test_training_learns(bench: ModuleType, tmp_path: Path, k: int) -> None:
    x = binary(200) * 0.9
    _, rows = bench.train(tmp_path, x, k, 3, 0)
    assert rows.shape == (3, 3) and rows[-1, 0] > rows[0, 0] + 0.3


def in_a_child(work: Callable[[], object]) -> int:
    """Do ``work`` in a copy of this process; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", range(1, 7))
def test_killed_at_any_moment_it_ends_with_the_same_figures(
    bench: ModuleType, tmp_path: Path, count: int, when: str, capfd: pytest.CaptureFixture[str]
) -> None:
    x, test_x = grey(40), binary(12)

    def work(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        model, rows = bench.train(folder, x, 2, 3, 0)
        found = bench.evaluate(folder / "e.npz", model, test_x, 30, 10, 0)
        assert rows.shape == (3, 3)
        bench.keep(folder / "end.npz", theta=model.parameters.theta, bound=rows[:, :2], **found)

    def dies() -> None:
        plain, left = bench.keep, [count]

        def keep(*arguments: object, **arrays: object) -> None:
            left[0] -= 1
            if left[0] == 0 and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            plain(*arguments, **arrays)
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        bench.keep, bench.CHUNK = keep, 5
        work(tmp_path / "killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "CHUNK", 5)
        patch.setattr(bench, "FEW", 7)
        status = in_a_child(dies)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        work(tmp_path / "killed")
        work(tmp_path / "whole")
    capfd.readouterr()
    killed, whole = (bench.read(tmp_path / name / "end.npz") for name in ("killed", "whole"))
    assert killed.keys() == whole.keys()
    for name, array in whole.items():
        assert np.array_equal(killed[name], array, equal_nan=True), name
    assert np.isnan(whole["nll"]).sum() == 2 and not np.isnan(whole["few"]).any()


def test_more_epochs_go_on_and_fewer_are_refused(bench: ModuleType, tmp_path: Path) -> None:
    x = grey(40)
    (tmp_path / "a").mkdir()
    bench.train(tmp_path / "a", x, 1, 1, 0)
    model, rows = bench.train(tmp_path / "a", x, 1, 3, 0)
    (tmp_path / "b").mkdir()
    straight, other = bench.train(tmp_path / "b", x, 1, 3, 0)
    assert np.array_equal(model.parameters.theta, straight.parameters.theta)
    assert np.array_equal(rows[:, :2], other[:, :2])
    with pytest.raises(ValueError, match="has 3 epochs, more than 2"):
        bench.train(tmp_path / "a", x, 1, 2, 0)


def test_more_images_keep_the_figures_of_those_that_are_done(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CHUNK", 5)
    model, x = bench.new_model(grey(40), 0), binary(20)
    some = bench.evaluate(tmp_path / "e.npz", model, x, 40, 10, 0)["nll"].copy()
    more = bench.evaluate(tmp_path / "e.npz", model, x, 40, 20, 0)["nll"]
    known = ~np.isnan(some)
    assert known.sum() == 10 and not np.isnan(more).any()
    assert np.array_equal(some[known], more[known])
    whole = bench.evaluate(tmp_path / "f.npz", model, x, 40, 20, 0)
    assert np.array_equal(more, whole["nll"])
    assert (whole["nll"] != whole["few"]).all()


def test_the_nll_of_the_benchmark_is_the_integral(bench: ModuleType, tmp_path: Path) -> None:
    """A decoder that ignores z, and q = p(z): all three are log p(x) of the decoder's bias."""
    x, model = binary(30), bench.new_model(grey(40), 0)
    for head in (model.decoder.heads["logits"], model.encoder.heads["mu"],
                 model.encoder.heads["logvar"].layers[0]):  # fmt: skip
        head.W[...] = 0.0
    p = 1.0 / (1.0 + np.exp(-model.decoder.heads["logits"].b.astype(np.float64)))
    want = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1)
    found = bench.evaluate(tmp_path / "e.npz", model, x, 40, 30, 0)
    for values in (found["nll"], found["few"], -found["elbo"]):
        assert values == pytest.approx(want, abs=1e-4)


def test_a_part_of_the_images_is_corrected_by_all(bench: ModuleType) -> None:
    """Unbiased, with the error that it says, and the plain mean where all are there."""
    rng = np.random.default_rng(5)
    nll = rng.normal(90.0, 25.0, 2_000)
    few = nll + rng.gamma(2.0, 0.4, 2_000)
    whole = bench.likelihood(few, nll)
    assert whole["nll"] == pytest.approx(nll.mean(), abs=1e-9)
    assert whole["nll_error"] == pytest.approx(nll.std(ddof=1) / math.sqrt(2_000))
    assert whole["nll_subset_error"] == 0.0
    errors, said = [], []
    for _ in range(400):
        part = np.full(2_000, math.nan)
        chosen = rng.permutation(2_000)[:500]
        part[chosen] = nll[chosen]
        got = bench.likelihood(few, part)
        errors.append(got["nll"] - nll.mean())
        said.append(got["nll_subset_error"])
    assert np.mean(errors) == pytest.approx(0.0, abs=0.004)
    assert np.std(errors) == pytest.approx(np.mean(said), rel=0.15)
    assert np.mean(said) < 0.03  # where 500 images alone would leave 25 / sqrt(500)
    assert got["nll_error"] == pytest.approx(25.0 / math.sqrt(2_000), rel=0.1)


@pytest.mark.parametrize(
    ("nll", "epochs", "lines"),
    [
        ({1: 92.5, 5: 92.0}, 40, 0), ({1: 92.51, 5: 91.0}, 40, 1), ({1: 92.0, 5: 91.6}, 40, 1),
        ({1: 93.0, 5: 93.0}, 40, 2), ({1: 99.0, 5: 99.0}, 39, 0), ({5: 99.0}, 40, 0),
        ({1: math.nan, 5: 91.0}, 40, 2), ({1: 92.0, 5: math.nan}, 40, 1),
    ],
)  # fmt: skip
def test_the_gate(bench: ModuleType, nll: dict[int, float], epochs: int, lines: int) -> None:
    results = [{"k": k, "nll": value, "epochs": epochs} for k, value in nll.items()]
    assert len(bench.verdict(results)) == lines


def tiny(n_valid: int) -> Dataset:
    assert n_valid == 0
    x, y = grey(60), np.zeros(60, np.int64)
    return Dataset("tiny", (3, 3), Split(x, y), Split(x[:0], y[:0]), Split(x[:12], y[:12]), "0")


def test_one_command_writes_the_table(
    bench: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(bench.mv, "load_mnist", tiny)
    folder = tmp_path / "new" / "folder"
    command = ["x", "--k", "1", "2", "--epochs", "2", "--samples", "60", "--folder", str(folder)]
    monkeypatch.setattr(sys, "argv", [*command, "--examples", "9"])
    monkeypatch.setattr(bench, "CHUNK", 3)
    assert bench.main() == 0
    printed = capsys.readouterr().out
    one, two = json.loads((folder / "results.json").read_text())
    assert (one["k"], two["k"], two["epochs"], two["examples"], two["samples"]) == (1, 2, 2, 9, 60)
    assert one["published_nll_3280_epochs"] == 86.76 and one["short_form"] is None
    assert 0 <= one["active_units"] <= 50 and one["nll_subset_error"] > 0.0
    assert one["nll"] < one["negative_elbo"] and len(one["train_bound"]) == 2
    text = (folder / "table.md").read_text()
    assert text in printed and "nothing outside the gate" in printed
    row = f"| 1 | 2 | {one['nll']:.2f} +- {one['nll_error']:.2f}, from 9 images"
    assert row in text and "| 86.76 |" in text
    before = (folder / "results.json").read_bytes()
    assert bench.main() == 0  # nothing is left to do, and nothing changes
    assert (folder / "results.json").read_bytes() == before
    assert "epoch" not in capsys.readouterr().out.split("| k |")[0]


def test_the_test_images_are_those_of_the_yardstick(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(bench.mv, "load_mnist", tiny)
    monkeypatch.setattr(bench, "evaluate", lambda file, model, x, *_: seen.append(x) or 1 / 0)
    monkeypatch.setattr(sys, "argv", ["x", "--epochs", "1", "--folder", str(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        bench.main()
    grey_x = tiny(0).test.x
    want = np.random.default_rng(777).random(grey_x.shape, dtype=np.float32) < grey_x
    assert np.array_equal(seen[0], want) and (bench.BATCH, bench.TRAINING) == (20, 59_600)


def test_the_figures_beside_it_are_printed_where_they_apply(bench: ModuleType) -> None:
    model, x = bench.new_model(grey(40), 0), binary(12)
    found = {"few": np.full(12, 93.0), "nll": np.full(12, 92.5), "elbo": np.full(12, -99.0)}
    row = bench.measure(model, np.ones((40, 3)), x, found, 1, 5_000)
    assert row["short_form"] == {"nll": 92.0, "negative_elbo": 99.0, "active_units": 21}
    assert row["negative_elbo"] == 99.0 and row["nll"] == 92.5 and row["seconds"] == 40.0
    assert "92.0, 99.0, 21" in bench.table([row]) and "images" not in bench.table([row])
    posterior = model.encode(x).mu.astype(np.float64)
    assert row["active_units"] == (posterior.var(axis=0) > 0.01).sum()


@pytest.mark.parametrize(
    "options", [["--epochs", "0"], ["--samples", "0"], ["--examples", "0"], ["--k", "0"],
                ["--seed", "-1"], ["--k", "1", "-5"]],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    bench: ModuleType, options: list[str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["x", *options])
    with pytest.raises(SystemExit) as exit:
        bench.main()
    assert exit.value.code == 2 and "expected" in capsys.readouterr().err.splitlines()[-1]


def test_noise_and_pixels_have_streams_of_their_own(bench: ModuleType) -> None:
    names = "WEIGHTS NOISE PIXELS BOUND LIKELIHOOD CHOICE"
    purposes = [getattr(bench, name) for name in names.split()]
    first = {generator("cpu", 0, 0, purpose).random() for purpose in purposes}
    assert len(first) == len(purposes)
    assert isinstance(bench.new_model(grey(5), 0).architecture, Architecture)


def test_rows_of_other_k_stay_in_the_table(bench: ModuleType, tmp_path: Path) -> None:
    file, row = tmp_path / "results.json", lambda k, nll: {"k": k, "epochs": 40, "nll": nll}
    assert bench.beside_others(file, [row(5, 1.0)]) == [row(5, 1.0)]
    file.write_text(json.dumps([row(5, 1.0), row(50, 2.0)]))
    assert bench.beside_others(file, [row(1, 3.0), row(50, 4.0)]) == [
        row(1, 3.0), row(5, 1.0), row(50, 4.0)
    ]  # fmt: skip


def test_the_minutes_of_the_text_are_those_of_the_results() -> None:
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    rows = [
        row
        for name in ("iwae_table.json", "iwae_table-late.json")
        for row in json.loads((folder / "results" / name).read_text())
    ]
    minutes = [round(row["seconds"] / 60.0) for row in rows]
    wanted = f"trained in {min(minutes)} to {max(minutes)} minutes each"
    assert wanted in (folder / "README.md").read_text(encoding="utf-8")
