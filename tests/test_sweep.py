"""minivae sweep: the processes with a stand-in for `minivae train`, and whole sweeps with it."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import VAE, Architecture, Autoencoder, exact, load_digits, plots, runs
from minivae.arrays import generator
from minivae.cli import main, options
from minivae.evaluation import latent_usage, rate_distortion
from minivae.lab import frontier, sweep
from minivae.lab.sweep import Trial, plan, train_all

SMALL = ["--hidden", "4", "--batch-size", "300", "--no-pictures"]
EPOCHS = "150"  # of those that are stopped on the way: the better part of a second
STUB = """
import hashlib, json, os, pathlib, signal, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--resume" if "--resume" in words else "--out") + 1])
begun = folder.is_dir()
folder.mkdir(exist_ok=True)
with (folder.parent / "events.txt").open("a") as events:
    events.write(json.dumps({"words": words, "at": time.time(), "begun": begun, "name": folder.name,
        "session": os.getsid(0), "environ": dict(os.environ)}) + "\\n")

def write(state):
    value = {"format": 2, "state": state, "history": [{"epoch": 1}]}
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    value["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "part").write_text(json.dumps(value))
    os.replace(folder / "part", folder / "checkpoint.json")

def end(*_):
    (folder / "told").write_text("")
    sys.exit(130)

kind = os.environ.get(folder.name, "")
signal.signal(signal.SIGINT, signal.SIG_IGN if kind == "deaf" else end)
(folder / "ready").write_text("")
print("a line of output", flush=True)
if kind == "bad":
    print("minivae: note: harmless", file=sys.stderr)
    print("minivae: the loss is not finite", file=sys.stderr)
    sys.exit(2)
if kind == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
if kind == "liar":
    sys.exit(0)
end_at = time.time() + (60 if kind else 0)
while time.time() < end_at and not (folder.parent / "go").exists():
    time.sleep(0.01)
write("finished")
with (folder.parent / "events.txt").open("a") as events:
    events.write(json.dumps({"end": folder.name, "at": time.time()}) + "\\n")
"""


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of `minivae train`: a program that says what it was told, and sleeps."""
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(sweep, "TRAIN", (sys.executable, "-S", "-E", str(tmp_path / "stub.py")))
    monkeypatch.setattr(sweep, "POLL", 0.02)
    monkeypatch.setattr(sweep, "WATCH", 0.0)
    Path("s").mkdir()


def events() -> list[dict[str, Any]]:
    lines = Path("s/events.txt").read_text().splitlines()
    return [event for event in map(json.loads, lines) if "words" in event]


def save(folder: Path, state: str, epochs: int) -> None:
    """The checkpoint of a trial, as far as a sweep looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    value = {"state": state, "history": [{"epoch": i + 1} for i in range(epochs)]}
    runs.write_sealed(folder / "checkpoint.json", value)


def theta(folder: str | Path) -> np.ndarray:
    model, _ = runs.load_run(folder)
    return np.asarray(model.parameters.theta)


# ---- the plan ----


def test_a_plan_has_a_folder_for_each_weight_in_order() -> None:
    trials = plan(Path("s"), [10, 0.1, 1.0, 1e-5, 0.30000000000000004])
    assert [t.kl_weight for t in trials] == [1e-5, 0.1, 0.30000000000000004, 1.0, 10.0]
    names = ["1e-05", "0.1", "0.30000000000000004", "1", "10"]
    assert [str(t.folder) for t in trials] == [f"s/kl-weight-{name}" for name in names]
    assert trials[0].log == Path("s/logs/kl-weight-1e-05.txt")
    assert plan(Path("s"), [0.0])[0].folder.name == "kl-weight-0"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "at least one KL weight, got none"),
        ([1.0, -0.5], "at least 0, got -0.5"),
        ([math.nan], "at least 0, got nan"),
        ([1.0, math.inf], "at least 0, got inf"),
        ([1, 3.0, 1.0], "different KL weights, got 1 twice"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plan(Path("s"), weights)


def test_a_trial_knows_its_state() -> None:
    (trial,) = plan(Path("s"), [1.0])
    assert trial.progress() == ("new", 0) and not trial.done() and not trial.busy()
    for state, done in (("training", False), ("finished", True), ("stopped early", True)):
        save(trial.folder, state, 7)
        assert trial.progress() == (state, 7) and trial.done() is done
    with runs.claimed(trial.folder):
        assert trial.busy()
    assert not trial.busy()
    (trial.folder / "checkpoint.json").write_text("{}")
    with pytest.raises(ValueError, match=r"checkpoint\.json: expected a run of format"):
        trial.progress()


# ---- the processes ----


def test_what_is_new_is_begun_what_was_begun_goes_on_and_the_rest_is_left(stub: None) -> None:
    trials = plan(Path("s"), [0.1, 1.0, 3.0, 4.0])
    save(trials[0].folder, "finished", 5)
    save(trials[1].folder, "training", 2)
    save(trials[3].folder, "stopped early", 2)
    seen: list[tuple] = []
    options = ["--latent", "8", "--no-pictures"]
    assert train_all(trials, options, 2, lambda t: seen.append(tuple(x.done() for x in t))) == {}
    said = {event["name"]: event for event in events()}
    assert set(said) == {"kl-weight-1", "kl-weight-3"}
    assert said["kl-weight-1"]["words"] == ["--resume", "s/kl-weight-1", "--no-pictures"]
    assert said["kl-weight-3"]["words"] == [*options, "--kl-weight", "3", "--out", "s/kl-weight-3"]
    assert all(trial.done() for trial in trials)
    assert seen[0] in [(True, a, b, True) for a in (True, False) for b in (True, False)]
    assert seen[-1] == (True,) * 4
    assert trials[2].log.read_text() == "a line of output\n"
    for event in said.values():
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            assert event["environ"][name] == "1"
        root = str(Path(sweep.__file__).parents[2])
        assert event["environ"]["PYTHONPATH"].split(os.pathsep)[0] == root
        assert event["session"] != os.getsid(0)  # Ctrl-C at the terminal does not reach it


@pytest.mark.parametrize("jobs", [1, 3])
def test_so_many_are_trained_side_by_side_and_no_more(
    stub: None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first wait for each other: as many as there may be, or the test would never end."""
    trials = plan(Path("s"), [1, 2, 3, 4])
    for trial in trials:
        monkeypatch.setenv(trial.folder.name, "slow")

    def watch(_: Any) -> None:
        if sum((trial.folder / "ready").exists() for trial in trials) >= jobs:
            Path("s/go").touch()

    assert train_all(trials, [], jobs, watch) == {}
    lines = map(json.loads, Path("s/events.txt").read_text().splitlines())
    running = most = 0
    for event in sorted(lines, key=lambda e: e["at"]):
        running += -1 if "end" in event else 1
        most = max(most, running)
    assert most == jobs
    if jobs == 1:
        assert [e["name"] for e in events()] == [trial.folder.name for trial in trials]


def test_what_fails_is_named_with_its_reason_and_the_others_go_on(
    stub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("kl-weight-1", "bad")
    monkeypatch.setenv("kl-weight-2", "crash")
    monkeypatch.setenv("kl-weight-3", "liar")
    trials = plan(Path("s"), [1, 2, 3, 4])
    failed = train_all(trials, [], 1)
    assert failed == {
        1.0: "the loss is not finite (s/logs/kl-weight-1.txt)",
        2.0: "exit status -9 (s/logs/kl-weight-2.txt)",
        3.0: "exit status 0 (s/logs/kl-weight-3.txt)",
    }
    assert trials[3].done() and len(events()) == 4


def test_what_died_before_its_first_checkpoint_begins_again(stub: None) -> None:
    (trial,) = plan(Path("s"), [1.0])
    (trial.folder / "checkpoints").mkdir(parents=True)
    (trial.folder / "config.json").write_text("half")
    assert train_all([trial], [], 1) == {}
    (event,) = events()
    assert "--out" in event["words"] and not event["begun"]


def test_a_training_of_another_process_is_waited_for(stub: None) -> None:
    one, two = plan(Path("s"), [1.0, 2.0])
    save(one.folder, "training", 1)

    def other() -> None:
        with runs.claimed(one.folder):
            claimed.set()
            time.sleep(0.6)
            save(one.folder, "finished", 2)

    claimed, thread = threading.Event(), threading.Thread(target=other)
    thread.start()
    claimed.wait()
    assert train_all([one, two], [], 1) == {}
    thread.join()
    assert [event["name"] for event in events()] == ["kl-weight-2"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_watch_sees_the_states_before_and_after(
    stub: None, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setenv("kl-weight-1", "slow")
    monkeypatch.setattr(sweep, "WATCH", 1e9 if stopped else 0.0)  # rarely, but at the end
    seen: list[bool] = []
    (trial,) = plan(Path("s"), [1])

    def watch(trials: Sequence[Trial]) -> None:
        seen.append(trials[0].done())
        Path("s/go").touch()

    assert train_all([trial], [], 1, watch) == {}
    assert seen[0] is False and seen[-1] is True and (len(seen) == 2 or not stopped)


def all_ready(trials: Sequence[Trial]) -> bool:
    return all((trial.folder / "ready").exists() for trial in trials)


@pytest.mark.parametrize("how", ["interrupt", "terminate", "error"])
def test_an_interrupt_tells_every_training_once_and_waits(
    stub: None, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("kl-weight-1", "slow")
    monkeypatch.setenv("kl-weight-2", "slow")
    trials = plan(Path("s"), [1, 2, 3])
    before = signal.getsignal(signal.SIGTERM)

    def watch(_: Any) -> None:
        if all_ready(trials[:2]):
            if how == "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            raise KeyboardInterrupt if how == "interrupt" else ValueError("watch")

    start = time.monotonic()
    with pytest.raises(ValueError if how == "error" else KeyboardInterrupt):
        train_all(trials, [], 2, watch)
    assert time.monotonic() - start < 10
    assert (trials[0].folder / "told").exists() and (trials[1].folder / "told").exists()
    assert len(events()) == 2 and not trials[2].folder.exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_does_not_listen_is_ended(stub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("kl-weight-1", "deaf")
    monkeypatch.setattr(sweep, "GRACE", 0.3)
    trials, started = plan(Path("s"), [1]), []
    start = sweep._start
    monkeypatch.setattr(sweep, "_start", lambda *a: started.append(start(*a)) or started[-1])

    def watch(_: Any) -> None:
        if all_ready(trials):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(trials, [], 1, watch)
    assert started[0].returncode == -signal.SIGKILL


def test_in_a_thread_a_sweep_leaves_signals_alone(stub: None) -> None:
    failed: list[Any] = []
    trials = plan(Path("s"), [1])
    thread = threading.Thread(target=lambda: failed.append(train_all(trials, [], 1)))
    thread.start()
    thread.join()
    assert failed == [{}]
    with pytest.raises(ValueError, match="at least one job, got 0"):
        train_all(trials, [], 0)


# ---- what the points say ----


def saved(folder: Path, model: Any, kind: str = "vae", drawn: str = "none") -> Trial:
    """A run folder with this model, as if it were trained on the digits."""
    (folder / "checkpoints").mkdir(parents=True)
    data = {"name": "digits", "validation": 250, "binarisation": drawn}
    runs.save(folder, model, {"model": kind, "data": data})
    return Trial(float(folder.name.removeprefix("kl-weight-")), folder)


def best_linear(betas: Sequence[float], K: int = 6, sigma2: float = 0.05) -> list[Trial]:
    spectrum = exact.Spectrum.of(load_digits().train.x.astype(np.float64))
    trials = []
    for trial in plan(Path("s"), betas):
        beta = trial.kl_weight
        world = exact.best_decoder(spectrum, K, sigma2, beta)
        learned = exact.as_vae(world, beta)
        a = Architecture(64, K, (), likelihood="gaussian", variance="fixed", sigma=sigma2**0.5)
        model = VAE(a, dtype="float64")
        views = model.parameters.views(model.parameters.theta)
        for name, value in learned.parameters.views(learned.parameters.theta).items():
            if name in views:
                views[name][...] = value
        trials.append(saved(trial.folder, model))
    return trials


def test_a_point_is_measured_on_test_images_and_a_linear_one_on_the_curve() -> None:
    trials = best_linear([5.0, 10.0, 20.0])
    points = [frontier.measure(trial) for trial in trials]
    values = frontier.eigenvalues(trials[0])
    x = load_digits().test.x
    for trial, p in zip(trials, points, strict=True):
        model, _ = runs.load_run(trial.folder)
        want = rate_distortion(model, x, generator("cpu", 0, 0, frontier.RATE), frontier.SAMPLES)
        assert p.point.rate == want.rate and p.point.distortion == want.distortion
        assert np.array_equal(p.usage.kl, latent_usage(model, x).kl)
        assert p.kl_weight == trial.kl_weight and p.n == 250 and p.likelihood == "gaussian"
        assert p.linear is not None and p.linear.level == pytest.approx(0.05 * trial.kl_weight)
        best = exact.reverse_water_filling(values, p.linear.level, 6)
        assert p.linear.got.rate == pytest.approx(best.rate, abs=1e-9)
        assert p.linear.got.distortion == pytest.approx(best.distortion, abs=1e-9)
    lines = frontier.linear_table(points, values).splitlines()
    row = lines[1].split()
    assert row[0] == "5" and row[3] == row[1]  # its rate is Shannon's, to the printed digits
    above = int((values > 0.25).sum())
    assert 1 < above < 6 and lines[1].endswith(f"  {above} of {above} wanted")
    assert lines[3].endswith("0 of 0 wanted")
    assert lines[3].split()[1:4] == ["0.0000", f"{values.sum():.4f}", "0.0000"]


def test_the_table_and_the_results_say_the_same() -> None:
    trials = best_linear([5.0, 10.0])
    points = [frontier.measure(trial) for trial in trials]
    text, value = frontier.table(points), frontier.results(points)
    json.dumps(value, allow_nan=False)
    head, units, *rows = text.splitlines()
    assert "active of 6" in head and units.count("nats") == 3 and units.count("bits/dim") == 2
    assert len({len(row.split("  corner")[0]) for row in rows}) == 1
    for row, one, p in zip(rows, value["points"], points, strict=True):
        numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", row)]
        rate, distortion, elbo = p.point.rate, p.point.distortion, p.point.elbo
        bits = 64 * math.log(2)
        want = [p.kl_weight, rate.mean, rate.standard_error, distortion.mean,
                distortion.standard_error, elbo.mean, elbo.standard_error,
                p.usage.active().sum(), rate.mean / bits, -elbo.mean / bits]  # fmt: skip
        assert np.allclose(numbers[:10], want, atol=5.1e-3, rtol=0)
        assert np.allclose(numbers[8:10], want[8:], atol=5.1e-5, rtol=0)
        assert one["rate"] == {"mean": rate.mean, "standard_error": rate.standard_error,
                               "bits_per_dimension": pytest.approx(rate.mean / bits)}  # fmt: skip
        assert one["elbo"]["mean"] == elbo.mean == pytest.approx(-rate.mean - distortion.mean)
        assert one["mean_squared_error"] == p.point.squared_error.mean / 64
        assert one["active_units"] == p.usage.active().sum()
        assert one["active_by_kl"] == p.usage.active_by_kl().sum()
        assert one["kl_per_latent"] == p.usage.kl.tolist() and one["run"] == p.folder
        assert one["on_training_data"]["rate"] == p.linear.got.rate  # type: ignore[union-attr]
    assert value["hull"] == [10.0, 5.0] and value["is_density"] is True and value["n"] == 250


def test_a_point_that_another_beats_at_its_own_objective_is_told() -> None:
    """The trainings of 5 and 10 exchanged: each would do better with the other's model."""
    five, ten = best_linear([5.0, 10.0])
    points = [frontier.measure(Trial(10.0, five.folder)), frontier.measure(Trial(5.0, ten.folder))]
    R, D = ([getattr(p.point, name).mean for p in points] for name in ("rate", "distortion"))
    lost = [D[0] + 10 * R[0] - D[1] - 10 * R[1], D[1] + 5 * R[1] - D[0] - 5 * R[0]]
    rows = frontier.table(points).splitlines()[2:]
    assert rows[0].endswith(f"corner {lost[0]:.2f} nats behind 5")
    assert rows[1].endswith(f"corner {lost[1]:.2f} nats behind 10")
    got = [one["regret"] for one in frontier.results(points)["points"]]
    assert got == pytest.approx(lost) and min(lost) > 0


def test_only_one_gaussian_variance_and_no_hidden_layer_is_shannons() -> None:
    for a, linear in (
        (Architecture(64, 2, (), likelihood="gaussian"), True),
        (Architecture(64, 2, (), likelihood="gaussian", variance="fixed"), True),
        (Architecture(64, 2, (), likelihood="gaussian", variance="pixel"), False),
        (Architecture(64, 2, (3,), likelihood="gaussian"), False),
        (Architecture(64, 2, ()), False),
    ):
        assert frontier.is_linear(VAE(a)) is linear
    shared = saved(Path("kl-weight-2"), VAE(Architecture(64, 2, (), likelihood="gaussian")))
    point = frontier.measure(shared)
    assert point.linear is not None and point.linear.level is None
    assert frontier.linear_table([point], frontier.eigenvalues(shared)).endswith("   2")
    coins = saved(Path("kl-weight-1"), VAE(Architecture(64, 2, (3,))), drawn="new")
    assert frontier.measure(coins).linear is None
    assert frontier.results([frontier.measure(coins)])["is_density"] is False
    with pytest.raises(ValueError, match="expected a VAE, which has a rate"):
        frontier.measure(saved(Path("kl-weight-3"), Autoencoder(Architecture(64, 2)), "ae"))


# ---- the command ----


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--hidden --latent 3 --likelihood gaussian --variance fixed --sigma 0.25",
        "--data glyphs --hidden 8 4 --epochs 3 --no-pictures --clip 2.5 --optimizer sgd",
        "--learning-rate 1e-05 --kl-schedule linear:epochs=2 --kl-weight 0.3 --patience 7",
    ],
)
def test_options_said_again_are_the_same(words: str) -> None:
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    args = parser.parse_args(words.split())
    again = options.as_words(args)
    assert parser.parse_args(again) == args
    assert len(again) == len(words.split())


def test_a_sweep_is_the_same_as_its_trainings_one_by_one(capsys: Any) -> None:
    asked = [*SMALL, "--epochs", "2", "--latent", "3", "--seed", "4"]
    assert main(["sweep", *asked, "--kl-weight", "3", "0.5", "--out", "s"]) == 0
    out = capsys.readouterr().out
    assert "sweep folder s: 2 KL weights" in out and "250 test images" in out
    assert "lower convex hull" in out and "Shannon" not in out and "Densities" not in out
    for weight in ("0.5", "3"):
        assert main(["train", *asked, "--kl-weight", weight, "--out", f"r{weight}"]) == 0
        assert np.array_equal(theta(f"s/kl-weight-{weight}"), theta(f"r{weight}"))
        assert not list(Path(f"s/kl-weight-{weight}/pictures").iterdir())
        assert runs.read_card(Path(f"s/kl-weight-{weight}"))["blas_threads"] == 1
    capsys.readouterr()
    value = json.loads(Path("s/results.json").read_text())
    points = [frontier.measure(trial) for trial in plan(Path("s"), [0.5, 3])]
    assert value == frontier.results(points)
    assert Path("s/rate-distortion.png").read_bytes()[:4] == b"\x89PNG"
    # once more: nothing is trained, all is measured and drawn again
    (Path("s") / "results.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in Path("s").glob("kl-weight-*/**/*")}
    assert main(["sweep", "--resume", "s"]) == 0
    assert {p: p.stat().st_mtime_ns for p in Path("s").glob("kl-weight-*/**/*")} == before
    assert json.loads(Path("s/results.json").read_text()) == value


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_a_sweep_survives_being_killed_and_ends_equal_to_the_bit(capsys: Any) -> None:
    """Killed with SIGKILL: its trainings outlive it.  Then Ctrl-C: they end; then to the end."""
    asked = [*SMALL, "--epochs", EPOCHS]
    environ = {**os.environ, "PYTHONPATH": str(Path(sweep.__file__).parents[2])}
    minivae = [sys.executable, "-m", "minivae", "sweep"]
    one, two = plan(Path("s"), [0.5, 2.0])

    def begin(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*minivae, *words], env=environ, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    process = begin(*asked, "--kl-weight", "0.5", "2", "--out", "s", "--jobs", "1")
    wait_for(lambda: one.progress()[0] == "training")
    process.kill()
    process.communicate()
    assert one.busy() and not one.done()

    process = begin("--resume", "s", "--jobs", "1")
    wait_for(lambda: two.progress()[0] == "training")  # beside the one that outlived, or after it
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "minivae: stopped; to go on: minivae sweep --resume s"
    assert "Traceback" not in err + two.log.read_text()
    assert two.progress()[0] == "training" and two.progress()[1] < int(EPOCHS)
    assert not two.busy() and not Path("s/results.json").exists()

    assert main(["sweep", "--resume", "s", "--seed", "7"]) == 2
    assert "--seed cannot be said with --resume: s/sweep.json says it" in capsys.readouterr().err
    assert main(["sweep", "--resume", "s"]) == 0
    for trial in (one, two):
        assert trial.done() and trial.progress()[1] == int(EPOCHS)
    stopped = runs.read_card(two.folder)["resumed"]
    assert len(stopped) == 1 and stopped[0]["different"] == []
    assert main(["train", *asked, "--kl-weight", "2", "--out", "whole"]) == 0
    assert np.array_equal(theta("whole"), theta(two.folder))


def test_a_sweep_of_two_data_sets_is_refused(capsys: Any) -> None:
    options_ = ["--data", "d.npy", "--likelihood", "gaussian", "--epochs", "1", *SMALL]
    np.save("d.npy", np.random.default_rng(0).random((60, 6)))
    assert main(["sweep", "--kl-weight", "1", "--jobs", "1", "--out", "s", *options_]) == 0
    before = Path("s/results.json").read_bytes()
    np.save("d.npy", np.random.default_rng(1).random((60, 6)))
    capsys.readouterr()
    assert main(["sweep", "--resume", "s", "--kl-weight", "3"]) == 2
    assert "the data are not those it began with" in capsys.readouterr().err
    assert Path("s/results.json").read_bytes() == before and not Path("s/kl-weight-3").exists()
    np.save("d.npy", np.random.default_rng(0).random((60, 6)))
    card = runs.read_sealed(Path("s/kl-weight-1/card.json"))
    runs.write_sealed(Path("s/kl-weight-1/card.json"), {**card, "data_sha256": "0" * 64})
    assert main(["sweep", "--resume", "s"]) == 2
    assert "trained on other data" in capsys.readouterr().err


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trainings that are done at once: what the command asks for, and nothing that runs."""
    asked: list[Any] = []

    def train(trials: Any, words: Any, jobs: int, watch: Any) -> dict[float, str]:
        asked.append((trials, words, jobs))
        for trial in trials:
            if not trial.folder.exists():
                saved(trial.folder, VAE(Architecture(64, 2, (3,))), drawn="new")
        watch(trials)
        return {}

    monkeypatch.setattr("minivae.cli.sweep.train_all", train)
    monkeypatch.setattr(runs, "write_figure", lambda path, figure: path.touch())
    return asked


def test_points_can_be_added_to_a_sweep(no_children: list, capsys: Any) -> None:
    assert main(["sweep", "--kl-weight", "1", "--hidden", "3", "--epochs", "2"]) == 0
    assert main(["sweep", "--resume", "runs/digits-sweep-1", "--kl-weight", "0.5"]) == 0
    (first, words, jobs), (second, same, _) = no_children
    assert [t.kl_weight for t in first] == [1.0] and [t.kl_weight for t in second] == [0.5, 1.0]
    assert words == same == ["--hidden", "3", "--epochs", "2"] and jobs == 1
    value = json.loads(Path("runs/digits-sweep-1/results.json").read_text())
    assert [p["kl_weight"] for p in value["points"]] == [0.5, 1.0]
    assert sorted(p.name for p in Path("runs/digits-sweep-1").iterdir()) == [
        "kl-weight-0.5", "kl-weight-1", "rate-distortion.png", "results.json", "sweep.json",
    ]  # fmt: skip


def test_by_default_five_weights_and_a_process_for_each_core(
    no_children: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivae.cli.sweep._cores", lambda: 3)
    assert main(["sweep", "--hidden", "3"]) == 0
    assert main(["sweep", "--hidden", "3", "--jobs", "4"]) == 0
    (trials, words, jobs), (_, _, more) = no_children
    assert [t.kl_weight for t in trials] == [0.1, 0.3, 1.0, 3.0, 10.0]
    assert words == ["--hidden", "3"] and (jobs, more) == (3, 4)
    assert Path("runs/digits-sweep-2").is_dir()


def test_data_of_ones_own_are_found_from_another_folder(
    no_children: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("mine.npy", np.random.default_rng(0).random((40, 64)).astype(np.float32))
    assert main(["sweep", "--data", "mine.npy", "--kl-weight", "1"]) == 0
    assert no_children[0][1] == ["--data", str(Path("mine.npy").resolve())]
    assert Path("runs/mine-sweep-1/sweep.json").exists()


def test_a_linear_sweep_is_drawn_on_shannons_curve(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    drawn: list[tuple] = []
    draw = plots.rate_distortion
    monkeypatch.setattr(plots, "rate_distortion", lambda *a: drawn.append(a) or draw(*a))
    monkeypatch.setattr("minivae.cli.sweep.train_all", lambda *_: best_linear([2.0, 8.0]) and {})
    linear = "sweep --hidden --likelihood gaussian --variance fixed --sigma 0.2236068 --latent 6"
    assert main([*linear.split(), "--kl-weight", "2", "8", "--out", "s"]) == 0
    out = capsys.readouterr().out
    assert "beside Shannon's curve" in out and "Densities" in out
    weights, points, values, linear_points = drawn[0]
    assert weights == [2.0, 8.0] and len(points) == 2
    best = [exact.reverse_water_filling(values, 0.05 * w, 6) for w in weights]
    assert np.allclose(linear_points, [(p.rate, p.distortion) for p in best], atol=1e-9)
    value = json.loads(Path("s/results.json").read_text())
    assert value["shannon"]["eigenvalues"] == values.tolist()


def test_a_training_that_failed_is_told_and_the_rest_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def train(trials: Any, *_: Any) -> dict[float, str]:
        for trial in trials[:-1]:
            saved(trial.folder, VAE(Architecture(64, 2, (3,))), drawn="new")
        return {trials[-1].kl_weight: "the loss is not finite (log)"}

    monkeypatch.setattr("minivae.cli.sweep.train_all", train)
    assert main(["sweep", "--kl-weight", "1", "2", "--out", "s"]) == 1
    assert "KL weight 2 failed: the loss is not finite (log)" in capsys.readouterr().out
    assert len(json.loads(Path("s/results.json").read_text())["points"]) == 1
    assert main(["sweep", "--kl-weight", "2", "--out", "t"]) == 1  # nothing at all to show
    assert not Path("t/results.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--kl-weight 1 1", "different KL weights, got 1 twice"),
        ("--kl-weight -1", "at least 0, got -1"),
        ("--jobs 0", "--jobs of at least 1, got 0"),
        ("--model ae", "is of --model vae, got --model ae"),
        ("--latent 0", "latent of at least 1, got 0"),
        ("--sigma 0.1", "--variance and --sigma belong to --likelihood gaussian"),
        ("--kl-schedule odd", "odd"),
        ("--patience 2 --validation 0", "--patience needs held-out data"),
        ("--data nowhere.npy", "nowhere.npy"),
        ("--out there", "there exists already"),
        ("--resume nothing", "nothing is not a run folder: it has no sweep.json"),
        ("--resume there", "there is not a sweep: it has no sweep.json"),
        ("--resume there --latent 3", "there is not a sweep"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    words: str, said: str, capsys: Any, no_children: list
) -> None:
    Path("there").mkdir()
    (Path("there") / "file").write_text("mine")
    assert main(["sweep", *words.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and err.startswith("minivae: ")
    assert sorted(p.name for p in Path().iterdir()) == ["there"] and not no_children
    assert [p.name for p in Path("there").iterdir()] == ["file"]


def test_what_belongs_to_one_sweep_is_not_another_ones(no_children: list, capsys: Any) -> None:
    assert main(["sweep", "--kl-weight", "1", "--out", "s"]) == 0
    with runs.claimed(Path("s")):
        assert main(["sweep", "--resume", "s"]) == 2
        assert "another process" in capsys.readouterr().err
    for words in ("--latent 3", "--data glyphs", "--no-pictures", "--out t", "--seed 1"):
        assert main(["sweep", "--resume", "s", *words.split()]) == 2
        option = words.split()[0]
        assert f"{option} cannot be said with --resume: s/sweep.json" in capsys.readouterr().err
    text = Path("s/sweep.json").read_text()
    Path("s/sweep.json").write_text(text.replace("1.0", "2.0"))
    assert main(["sweep", "--resume", "s"]) == 2
    assert "damaged or edited" in capsys.readouterr().err
