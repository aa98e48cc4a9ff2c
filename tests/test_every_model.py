"""Every model of `minivae train --model`: it trains, goes on to the bit, samples, evaluates.

What a new model needs for this is its place in MODELS, and options that have defaults on digits.
"""

import math
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from minivae import runs
from minivae.cli import main
from minivae.models import MODELS
from minivae.runs import checkpoint

TINY = "--hidden 8 --epochs 3 --batch-size 400 --validation 50 --no-pictures"


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(name: str, folder: str) -> int:
    return main(["train", "--model", name, *TINY.split(), "--out", folder])


def killed_after_epoch(last: int, name: str, folder: str) -> None:
    """A training in a copy of this process, which dies when it has kept the epoch ``last``."""
    child = os.fork()
    if child == 0:
        try:
            after_epoch, checkpoint.SECONDS = runs.Keeper.after_epoch, 0.0
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

            def die(self: runs.Keeper, row: dict[str, float]) -> None:
                after_epoch(self, row)
                if row["epoch"] == last:
                    os.kill(os.getpid(), signal.SIGKILL)

            runs.Keeper.after_epoch = die  # type: ignore[method-assign]
            trained(name, folder)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def rows(run: runs.Training) -> list[dict[str, float]]:
    return [{**row, "seconds": 0.0} for row in run.history.rows]


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_a_killed_run_ends_equal_to_the_bit(name: str) -> None:
    assert trained(name, "straight") == 0
    straight = runs.load_training("straight")
    assert type(straight.model) is MODELS[name] and straight.state == "finished"
    criterion = next(column for column in rows(straight)[0] if column.startswith("train_"))
    first, *_, last = straight.history[criterion]
    assert math.isfinite(last) and last != first
    killed_after_epoch(2, name, "killed")
    before = runs.load_training("killed")
    assert len(before.history.rows) == 2 and before.state == "training"
    assert not np.array_equal(before.model.parameters.theta, straight.model.parameters.theta)
    assert main(["train", "--resume", "killed", "--no-pictures"]) == 0
    again = runs.load_training("killed")
    assert np.array_equal(again.model.parameters.theta, straight.model.parameters.theta)
    assert np.array_equal(again.history.best_theta, straight.history.best_theta)
    ours, theirs = again.optimizer.state(), straight.optimizer.state()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert rows(again) == rows(straight)


@pytest.mark.parametrize("name", MODELS)
def test_it_samples_and_evaluates(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained(name, "run") == 0
    label = ["--label", "1"] if name == "cvae" else []
    if name in ("vq", "vq2"):
        assert main(["prior", "run", "--epochs", "1"]) == 0
    for file in ("a.npy", "b.npy"):
        assert main(["sample", "run", "--n", "3", "--out", file, *label]) == 0
    a, b = np.load("a.npy"), np.load("b.npy")
    assert a.shape == (3, 64) and np.array_equal(a, b)
    assert np.isfinite(a).all() and a.min() >= 0.0 and a.max() <= 1.0
    assert not np.array_equal(a[0], a[1])
    capsys.readouterr()
    printed = []
    for _ in range(2):
        assert main(["evaluate", "run"]) == 0
        out, error = capsys.readouterr()
        assert error == "" and re.search(r"\d\.\d\d .*nats per image", out)
        printed.append(out)
    assert printed[0] == printed[1]
