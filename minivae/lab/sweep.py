"""A sweep of the KL weight: many trainings side by side, each in a process of its own.

    trials = plan(folder, [0.1, 1.0, 10.0])
    failed = train_all(trials, ["--likelihood", "gaussian", "--latent", "8"], jobs=2)

Every trial is an ordinary run folder, trained by an ordinary `minivae train` with one BLAS thread:
small matrix products gain nothing from a second, and with one process for each core nobody waits
for anybody.  So all that holds for runs holds here.  A trial that is finished is not trained again,
one that was stopped goes on from its last checkpoint and ends equal to the bit, and every command
that works on a run works on each of them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple

import minivae
from minivae import runs

TRAIN = (sys.executable, "-m", "minivae", "train")
"""The command that trains a trial; the options follow."""

ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
POLL = 0.1  # seconds between two looks at the processes
WATCH = 0.5  # seconds between two looks at how far they are
GRACE = 30.0  # seconds that an interrupted training has to write its state and its pictures
DONE = ("finished", "stopped early")


class Trial(NamedTuple):
    """One KL weight of a sweep, and the run folder of its training."""

    kl_weight: float
    folder: Path

    @property
    def log(self) -> Path:
        """What its training printed."""
        return self.folder.parent / "logs" / f"{self.folder.name}.txt"

    def progress(self) -> tuple[str, int]:
        """Its state and its epochs so far: "new", "training", "finished" or "stopped early".

        Raises  ValueError, one line, if its checkpoint.json is damaged.
        """
        path = self.folder / "checkpoint.json"
        if not path.exists():
            return "new", 0
        found = runs.read_sealed(path)
        return str(found["state"]), len(found["history"])

    def done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.progress()[0] in DONE

    def busy(self) -> bool:
        """Whether a process is training it: ours, or one that outlived a sweep that was killed."""
        if not self.folder.is_dir():
            return False
        try:
            with runs.claimed(self.folder):
                return False
        except ValueError:
            return True


def plan(folder: Path, kl_weights: Sequence[float]) -> list[Trial]:
    """A trial for each KL weight, by rising weight, in ``folder``/kl-weight-W.

    Raises  ValueError for a weight that is negative, not finite or given twice, or for none.
    """
    if not kl_weights:
        raise ValueError("expected at least one KL weight, got none")
    wrong = [w for w in kl_weights if not (isfinite(w) and w >= 0.0)]
    if wrong:
        raise ValueError(f"expected KL weights of at least 0, got {wrong[0]}")
    ordered = sorted(float(w) for w in kl_weights)
    for first, second in zip(ordered, ordered[1:], strict=False):
        if first == second:
            raise ValueError(f"expected different KL weights, got {shown(first)} twice")
    return [Trial(w, folder / f"kl-weight-{shown(w)}") for w in ordered]


def shown(kl_weight: float) -> str:
    """A KL weight with all its digits and no more: 1, 0.3, 1e-05."""
    return repr(float(kl_weight)).removesuffix(".0")


def train_all(
    trials: Sequence[Trial],
    options: Sequence[str],
    jobs: int,
    watch: Callable[[Sequence[Trial]], Any] | None = None,
) -> dict[float, str]:
    """Train what is not trained yet, ``jobs`` at a time; returns when all have ended.

    options  of `minivae train`, for those that begin; what goes on has them in its config.json.
    watch    called with the trials now and then.
    Returns  KL weight -> why, for every trial that could not be trained to the end.
    Raises   ValueError for fewer than one job; KeyboardInterrupt, after all trainings were told to
             stop and have written their state, for Ctrl-C and for a polite end (SIGTERM).
    """
    if jobs < 1:
        raise ValueError(f"expected at least one job, got {jobs}")
    waiting = list(trials)
    running: list[tuple[Trial, subprocess.Popen[bytes]]] = []
    failed: dict[float, str] = {}
    looked = -inf
    with _polite_end():
        try:
            while waiting or running:
                for trial, process in [one for one in running if one[1].poll() is not None]:
                    running.remove((trial, process))
                    if process.returncode != 0 or not trial.done():
                        failed[trial.kl_weight] = _last_words(trial, process.returncode)
                _start_some(waiting, running, options, jobs)
                if watch is not None and time.monotonic() - looked >= WATCH:
                    watch(trials)
                    looked = time.monotonic()
                time.sleep(POLL)
        except BaseException:
            _stop([process for _, process in running])
            raise
    if watch is not None:
        watch(trials)
    return failed


def _start_some(
    waiting: list[Trial],
    running: list[tuple[Trial, "subprocess.Popen[bytes]"]],
    options: Sequence[str],
    jobs: int,
) -> None:
    """Start as many as there is room for; what another process trains is left to it."""
    for trial in list(waiting):
        if len(running) >= jobs:
            return
        if trial.busy():
            continue
        waiting.remove(trial)
        if not trial.done():
            running.append((trial, _start(trial, options)))


def _start(trial: Trial, options: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Begin or go on, in a session of its own: Ctrl-C reaches the sweep alone, which passes it on.

    Its standard output and error go to the trial's log, one after the other.
    """
    if trial.progress()[0] == "new":
        if trial.folder.exists():  # it was killed before its first checkpoint: nothing is lost
            shutil.rmtree(trial.folder)
        weight = ["--kl-weight", shown(trial.kl_weight)]
        words = [*options, *weight, "--out", str(trial.folder)]
    else:
        quiet = [word for word in options if word == "--no-pictures"]
        words = ["--resume", str(trial.folder), *quiet]
    trial.log.parent.mkdir(parents=True, exist_ok=True)
    with trial.log.open("ab") as log:
        return subprocess.Popen(
            [*TRAIN, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=_environment(), start_new_session=True,
        )  # fmt: skip


def _environment() -> dict[str, str]:
    """Ours, with one thread for each library, and this very package to be found first."""
    here = str(Path(minivae.__file__).resolve().parents[1])
    path = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(path)}


def _stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask all to write their state and end, as Ctrl-C does; after `GRACE` seconds end them."""
    for process in processes:
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    end = time.monotonic() + GRACE
    try:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
    finally:  # also at a second Ctrl-C: what they wrote last is whole
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _last_words(trial: Trial, status: int) -> str:
    """Why a training ended: the last line that it wrote, or its exit status."""
    lines = trial.log.read_text(errors="replace").split("\n")
    said = [line for line in lines if line.startswith("minivae")]
    why = said[-1].removeprefix("minivae: ") if said and status == 2 else f"exit status {status}"
    return f"{why} ({trial.log})"


@contextlib.contextmanager
def _polite_end() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does; in the main thread, where alone that can be said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
