"""Runs that survive: killed at any moment, a run goes on, and ends equal to the bit."""

import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae import blas, runs
from minivae.cli import main, session
from minivae.runs import checkpoint

RUN = "--epochs 6 --hidden 8 --batch-size 300 --optimizer adamw --kl-schedule cyclical:cycles=2"
SHORT = ["--epochs", "1", "--hidden", "8"]
RUN += " --learning-rate-schedule warmup:epochs=2+cosine --clip 2 --patience 5 --validation 50"

HASTY = RUN.replace("--epochs 6", "--epochs 8").replace("--patience 5", "--patience 3")
HASTY = HASTY.replace("+cosine", "") + " --learning-rate 0.6"
"""So fast that it gets worse after its fourth epoch, and stops after its seventh."""


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "draw", lambda *_: [])  # pictures are tested elsewhere


def in_a_child(work: Callable[[], object], stderr: int | None = None) -> int:
    """Do ``work`` in a process of its own, a copy of this one; its wait status."""
    child = os.fork()
    if child == 0:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing if stderr is None else stderr, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        status = 1
        try:
            status = int(work() or 0)  # type: ignore[call-overload]
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def was_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Torn:
    """A file of which a write leaves the first half behind, and then the process dies."""

    def __init__(self, file: Any, countdown: list[int]) -> None:
        self.file, self.countdown = file, countdown

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> int:
        self.countdown[0] -= 1
        if self.countdown[0] == 0:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            die()
        return self.file.write(data)


def killed_in(what: str, at: int) -> Callable[[], int]:
    """Resume the run, and die in the write number ``at`` or just before or after it."""

    def work() -> int:
        countdown = [at]
        if what == "write":
            opened = pathlib.Path.open

            def torn(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
                file = opened(path, mode, *rest, **more)
                return Torn(file, countdown) if mode == "wb" else file

            pathlib.Path.open = torn  # type: ignore[method-assign,assignment]
        else:
            place, name = {
                "replace": (os, "replace"),
                "fsync": (os, "fsync"),
                "unlink": (pathlib.Path, "unlink"),
            }[what]
            right = getattr(place, name)

            def wrong(*args: Any, **more: Any) -> Any:
                countdown[0] -= 1
                if countdown[0] == 0:
                    die()
                return right(*args, **more)

            setattr(place, name, wrong)
        return main(["train", "--resume", "run"])

    return work


def killed_after(seconds: float) -> Callable[[], int]:
    def work() -> int:
        signal.signal(signal.SIGALRM, lambda *_: die())
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return main(["train", "--resume", "run"])

    return work


def moments(rng: random.Random) -> Iterator[Callable[[], int]]:
    """Fourteen deaths in a write, each kind several times, and ten at any time; shuffled."""
    inside = [killed_in(what, rng.randint(1, 8)) for what in
              ["write"] * 6 + ["replace"] * 4 + ["fsync"] * 2 + ["unlink"] * 2]  # fmt: skip
    outside = [killed_after(rng.uniform(0.002, 0.12)) for _ in range(10)]
    chosen = inside + outside
    rng.shuffle(chosen)
    return iter(chosen)


def begin(number: int) -> None:
    """A run folder as it is before the first step; its process died there."""
    if Path("run").exists():
        Path("run").rename(f"done-{number}")

    def work() -> int:
        session.train = lambda *_, **__: die()  # type: ignore[assignment]
        return main(["train", *HASTY.split(), "--out", "run"])

    assert was_killed(in_a_child(work))
    assert len(runs.load_training("run").history.rows) == 0


def test_killed_at_any_moment_a_run_loads_and_ends_equal_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resumed and killed again and again; where a run comes to its end in between, a new one."""
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)  # a checkpoint after every epoch
    assert in_a_child(lambda: main(["train", *HASTY.split(), "--out", "right"])) == 0
    right = runs.load_training("right")
    best, last = right.keeper.best, right.keeper.last
    assert right.state == "stopped early" and best and last and best["epoch"] < last["epoch"] < 8
    begin(0)
    deaths = 0
    for number, death in enumerate(moments(random.Random(5)), 1):
        deaths += was_killed(in_a_child(death))
        training = runs.load_training("run")  # whatever happened, the folder is whole
        if training.state != "training":
            same(training, right)
            begin(number)
    assert deaths >= 20, deaths
    assert in_a_child(lambda: main(["train", "--resume", "run"])) == 0
    same(runs.load_training("run"), right)
    assert files_of("run") == files_of("right")
    assert len(list(Path("run/checkpoints").iterdir())) == 2  # the last and the best


def files_of(folder: str) -> set[str]:
    """No death has left anything behind: the names of a folder's files."""
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*")}


def same(ours: runs.Training, theirs: runs.Training) -> None:
    """Two runs are equal to the bit: parameters, moments, the best epoch, the history."""
    assert np.array_equal(ours.model.parameters.theta, theirs.model.parameters.theta)
    assert np.array_equal(ours.history.best_theta, theirs.history.best_theta)
    assert ours.state == theirs.state
    a, b = ours.optimizer.state(), theirs.optimizer.state()
    assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
    for mine, yours in zip(ours.history.rows, theirs.history.rows, strict=True):
        assert {**mine, "seconds": 0} == {**yours, "seconds": 0}


# ---- going on ----


def resumed(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["train", "--resume", "run", *options])
    return status, *capsys.readouterr()


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of six epochs that was stopped after the third."""
    after_epoch = runs.Keeper.after_epoch

    def interrupt(self: runs.Keeper, row: dict[str, float]) -> None:
        after_epoch(self, row)
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Keeper, "after_epoch", interrupt)
        assert main(["train", *RUN.split(), "--out", "run"]) == 130
    assert len(runs.load_training("run").history.rows) == 3
    return Path("run")


def test_ctrl_c_in_the_middle_of_an_epoch_keeps_the_state_before_it(
    half: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, calls = runs.load_training(half), 0
    objective = type(before.model).objective

    def interrupt(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return objective(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(before.model), "objective", interrupt)
        assert resumed(capsys)[0] == 130
    same(runs.load_training(half), before)


def test_a_finished_run_says_so(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert resumed(capsys)[0] == 0
    before = {p: p.read_bytes() for p in half.rglob("*") if p.is_file()}
    status, out, error = resumed(capsys)
    assert (status, out, error) == (
        0,
        "run finished after 6 epochs: there is nothing to resume\n",
        "",
    )
    assert before == {p: p.read_bytes() for p in half.rglob("*") if p.is_file()}


def test_a_finished_run_goes_on_for_more_epochs(
    half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resumed(capsys)[0] == 0 and resumed(capsys, "--epochs", "8")[0] == 0
    training = runs.load_training(half)
    assert len(training.history.rows) == 8 and training.config["training"]["epochs"] == 8


def test_what_differs_is_said_and_written(
    half: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blas, "loaded_kernel", lambda: "Cray")
    status, out, error = resumed(capsys)
    assert status == 0 and "on from epoch 3" in out
    assert error.startswith("minivae: note: blas_kernel was ") and "is Cray" in error
    assert error.count("\n") == 1
    (entry,) = runs.read_sealed(half / "card.json")["resumed"]
    assert entry["after_epoch"] == 3 and "is Cray" in entry["different"][0]


def test_on_the_same_machine_nothing_differs(
    half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resumed(capsys)[2] == ""
    assert runs.read_sealed(half / "card.json")["resumed"][0]["different"] == []


def test_other_data_are_refused(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = runs.read_sealed(half / "card.json")
    runs.write_sealed(half / "card.json", {**card, "data_sha256": "0" * 64})
    status, _, error = resumed(capsys)
    assert status == 2 and "the data are not those it began with" in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latent", "3"], "--latent cannot be said with --resume"),
        (["--out", "other"], "--out cannot"),
        (["--epochs", "0"], "--epochs"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--clip", "0"], "--clip"),
        (["--epochs", "1"], "warmup"),  # which would be longer than the run
    ],
)
def test_other_options_are_refused_and_nothing_changes(
    options: list[str], message: str, half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (half / "config.json").read_bytes()
    status, _, error = resumed(capsys, *options)
    assert status == 2 and message in error and error.count("\n") == 1
    assert (half / "config.json").read_bytes() == before


def test_two_processes_do_not_train_in_one_folder(
    half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runs.claimed(half):
        status, _, error = resumed(capsys)
    assert status == 2 and "another process is training this run" in error
    assert resumed(capsys)[0] == 0


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"training": {}}, "expected epochs"),
        ("config.json", {"training": {"clip": "much"}}, "expected clip (int or float or null)"),
        ("config.json", {"training": {"samples": "x"}}, "expected samples (int), got 'x'"),
        ("config.json", {"training": {"batch_size": 0}}, "--batch-size"),
        ("config.json", {"training": {"epochs": True}}, "expected epochs (int), got True"),
        ("config.json", {"training": {"optimizer": {"name": "lion"}}}, "optimizer"),
        ("config.json", {"training": {"optimizer": {"name": "sgd"}}}, "expected the state of sgd"),
        ("config.json", {"training": {"optimizer": {"name": "adam", "x": 1}}}, "optimizer"),
        ("config.json", {"training": {"kl_schedule": "none"}}, "expected a KL schedule"),
        ("card.json", {"resumed": 5}, "expected resumed (list), got 5"),
        ("card.json", {"device": 3}, "expected device (str), got 3"),
        ("card.json", {"blas_threads": "all"}, "expected blas_threads"),
    ],
    ids=str,
)
def test_a_folder_that_makes_no_sense_is_one_line(
    file: str, change: dict, message: str, half: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sealed rightly, so no accident; but nothing may end in a traceback."""
    value = runs.read_sealed(half / file)
    part = change.get("training")
    if part:
        change = {"training": {**value["training"], **part}}
    runs.write_sealed(half / file, value | change)
    status, _, error = resumed(capsys)
    assert status == 2 and message in error and error.count("\n") == 1


# ---- a full disk, a folder that cannot be written ----


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(half: Path) -> None:
    before = runs.load_training(half)

    def work() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return main(["train", "--resume", "run"])

    with open("said", "w") as said:
        assert os.waitstatus_to_exitcode(in_a_child(work, stderr=said.fileno())) == 2
    line = Path("said").read_text()
    assert line.count("\n") == 1 and "File too large" in line
    same(runs.load_training(half), before)


@pytest.mark.parametrize("out", ["a-file/run", "/proc/run", "a-file"])
def test_a_folder_that_cannot_be_written_is_one_line(
    out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a-file").write_text("precious")
    assert main(["train", *RUN.split(), "--out", out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and out in error
    assert Path("a-file").read_text() == "precious"


# ---- the kernel and the threads of the card ----


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is chosen on Linux only")
def test_a_resumed_process_starts_again_with_the_kernel_and_threads_of_the_card() -> None:
    """In processes of their own: NumPy loads its BLAS only once."""
    start = [sys.executable, "-m", "minivae", "train"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    where = {"cwd": Path.cwd(), "check": True, "capture_output": True, "text": True}
    env = {**clean, "OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([*start, *SHORT, "--out", "run"], env=env, **where)  # type: ignore[call-overload]
    card = runs.read_sealed(Path("run/card.json"))
    if card["blas_kernel"] != "Nehalem":
        pytest.skip(f"this NumPy's BLAS has the kernel {card['blas_kernel']} only")
    env = {**clean, "OPENBLAS_CORETYPE": "Haswell"}
    done = subprocess.run([*start, "--resume", "run", "--epochs", "2"], env=env, **where)  # type: ignore[call-overload]
    assert done.stderr == "" and "on from epoch 1" in done.stdout
    assert runs.read_sealed(Path("run/card.json"))["resumed"][0]["different"] == []


def test_the_environment_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = "flags : sse4_2 avx avx2 fma\n"
    monkeypatch.setattr(blas, "cpuinfo", lambda: flags)
    assert blas.environment("Haswell", 2) == {
        "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2",
    }  # fmt: skip
    assert blas.environment("SkylakeX", 1) == {"OPENBLAS_NUM_THREADS": "1"}
    assert blas.environment("unknown", None) == {}
    monkeypatch.setattr(blas, "cpuinfo", lambda: flags.replace("avx2", " ".join(blas.AVX512)))
    assert blas.environment("SkylakeX", None) == {"OPENBLAS_CORETYPE": "SkylakeX"}
    assert blas.environment("Haswell", None) == {}


# ---- which epoch is loaded ----


def test_the_best_epoch_counts_where_the_run_was_to_stop_early() -> None:
    assert main(["train", *HASTY.split(), "--out", "run"]) == 0
    training = runs.load_training("run")
    last, best = training.model.parameters.theta, training.history.best_theta
    assert training.keeper.best is not None and training.history.best is not None
    assert training.keeper.best["epoch"] == training.history.best["epoch"] == 4
    assert not np.array_equal(last, best)

    def loaded(checkpoint: str | None = None) -> np.ndarray:
        return runs.load_run("run", checkpoint=checkpoint)[0].parameters.theta

    assert np.array_equal(loaded(), best) and np.array_equal(loaded("best"), best)
    assert np.array_equal(loaded("last"), last)
    config = runs.read_sealed(Path("run/config.json"))
    config["training"]["patience"] = None
    runs.write_sealed(Path("run/config.json"), config)
    assert np.array_equal(loaded(), last)


def test_pictures_are_of_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        session, "draw", lambda folder, model, *_: drawn.append(model.parameters.theta.copy()) or []
    )
    assert main(["train", *HASTY.split(), "--out", "run"]) == 0
    assert np.array_equal(drawn[0], runs.load_training("run").history.best_theta)
