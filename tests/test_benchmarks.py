"""The benchmarks run, name whom they leave out, and refuse to compare what differs."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "train_step.py"
SIZE = "12-8-2@4"
TINY = ["--sizes", SIZE, "--rounds", "1", "--seconds", "0.005"]


@pytest.fixture(scope="module")
def train_step() -> Iterator[ModuleType]:
    """The script as a module, without running it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("train_step")
    for name in ("train_step", "contestants"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def contestants(train_step: ModuleType) -> ModuleType:
    """The implementations, as the script imported them."""
    return sys.modules["contestants"]


def run(*arguments: str, path: tuple[Path, ...] = ()) -> str:
    """What the script prints; it must end with 0 and complain of nothing."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))}
    command = [sys.executable, "-W", "error", str(SCRIPT), *TINY, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_prints_a_table_of_ratios_and_writes_every_round(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    printed = run("--only", "minivae", "floor", "--json", str(file))
    assert re.search(rf"^{SIZE} +ms/step +minivae / it", printed, re.MULTILINE)
    assert re.search(r"^  minivae +\d+\.\d+$", printed, re.MULTILINE)
    ratio = r"\d+\.\d\d"
    assert re.search(rf"^  floor +\S+ +{ratio} +\[{ratio} - {ratio}\]$", printed, re.MULTILINE)
    (result,) = json.loads(file.read_text())["results"]
    assert {name: len(times) for name, times in result["seconds"].items()} == {
        "minivae": 1,
        "floor": 1,
    }


def test_names_the_absent(tmp_path: Path) -> None:
    for name in ("torch", "jax"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} today')\n")
    printed = run(path=(tmp_path,))
    for name, why in (("torch", "torch"), ("torch-fused", "torch"), ("jax", "jax")):
        assert re.search(rf"^  {name} +left out: no {why} today$", printed, re.MULTILINE)


def test_floor_has_the_products_of_a_step(contestants: ModuleType) -> None:
    size = contestants.Size(12, 8, 2, 4)
    floor = contestants.Floor(size, "cpu")
    multiplied = sum(inputs.shape[1] * W.shape[1] for inputs, W, _ in floor.products)
    parameters = floor.model.parameters
    assert multiplied == sum(
        a.size for a in parameters.views(parameters.theta).values() if a.ndim == 2
    )
    assert floor.step(size.data()[0]).shape == (4, 12)


@pytest.mark.parametrize("what", ["loss", "gradient", "update"])
def test_a_difference_raises(train_step: ModuleType, contestants: ModuleType, what: str) -> None:
    size = contestants.Size(12, 8, 2, 4)
    batches, ours = list(size.data()), contestants.Minivae
    answers = [train_step._agreed(ours(size, "cpu"), batches, size) for _ in range(2)]
    assert set(train_step.compare(["a", "b"], answers).values()) == {0.0}
    answers[1][what][0] = answers[1][what][0] * np.float32(1.001 if what != "update" else 1.1)
    with pytest.raises(train_step.Disagreement, match=f"{what} of b and a"):
        train_step.compare(["a", "b"], answers)


@pytest.mark.parametrize("text", ["784-400@128", "784-400-20", "784-400-20@0", "a-b-c@d"])
def test_sizes_are_checked(train_step: ModuleType, text: str) -> None:
    with pytest.raises((ValueError, train_step.argparse.ArgumentTypeError)):
        train_step.parse_size(text)
