"""The benchmarks run, name whom they leave out, and refuse to compare what differs."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
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
    for name in ("train_step", "contestants", "memory_map", "mutation", "mutants"):
        sys.modules.pop(name, None)


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


# ---- training from a memory map ----


@pytest.fixture(scope="module")
def memory_map(train_step: ModuleType) -> ModuleType:
    """The other script as a module; it imports the first."""
    return importlib.import_module("memory_map")


def test_memory_map_measures_both_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    (tmp_path / "here").mkdir()
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = ["--gigabytes", "0.0002", "--size", SIZE, "--steps", "20", "--rounds", "2"]
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "memory_map.py"), *options]
    command += ["--folder", str(tmp_path / "here"), "--json", str(file)]
    # So small a training is all overhead: whether it passes the gate is another matter.
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert done.stderr == "" and done.returncode in (0, 1)
    result = json.loads(file.read_text())
    assert {name: len(s) for name, s in result["seconds"].items()} == {"mapped": 2, "memory": 2}
    assert min(map(min, result["seconds"].values())) > 0
    rows = round(0.0002 * 1e9 / 48)
    assert result["rows"] == rows - 2 * (rows // 10) and result["size"] == "12-8-2@4"
    if sys.platform == "linux":
        assert 1e7 < result["anonymous"] < 6e8
    passed = result["ratio"] >= 0.9 and result["anonymous"] < 6e8
    assert result["passed"] == passed == (done.returncode == 0)
    assert f"mapped / memory {result['ratio']:.3f} (at least 0.90)" in done.stdout
    assert re.search(r"^  mapped +[\d,]+ examples/s", done.stdout, re.MULTILINE)
    assert not list((tmp_path / "here").iterdir())


def test_the_file_is_a_tenth_on_and_as_large_as_asked_for(
    memory_map: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_map, "CHUNK", 1000)
    memory_map.make_file(tmp_path / "x.npy", 0.0004, 10)
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (10_000, 10) and x.dtype == np.float32 and set(np.unique(x)) == {0, 1}
    assert abs(x.mean() - 0.1) < 0.01 and not np.array_equal(x[:100], x[100:200])
    with pytest.raises(SystemExit, match="do not fit"):
        memory_map.make_file(tmp_path / "y.npy", 1e9, 10)
    assert not (tmp_path / "y.npy").exists()


def test_the_batches_are_drawn_from_the_whole_file(
    memory_map: ModuleType, contestants: ModuleType
) -> None:
    x = memory_map.Streamed(np.arange(10_000, dtype=np.float32)[:, None])
    plan = memory_map.Plan("", contestants.Size(1, 1, 1, 10), 30)
    rows = plan.batches(x)[:].ravel()
    assert len(rows) == len(set(rows)) == 300
    assert np.histogram(rows, 10, (0, 10_000))[0].min() > 10
    with pytest.raises(SystemExit, match="too few"):
        plan._replace(steps=1001).batches(x)


@pytest.mark.parametrize(
    ("mapped", "anonymous", "passed"),
    [([1.0, 9.0, 1.1], 6e8 - 1, True), ([1.2, 1.2, 1.0], 1, False), ([1.0, 1.0, 1.0], 6e8, False)],
)
def test_the_verdict_is_of_medians_and_memory(
    memory_map: ModuleType, mapped: list[float], anonymous: float, passed: bool
) -> None:
    seconds = {"mapped": mapped, "memory": [1.0, 1.0, 0.1]}
    memory = {"mapped": anonymous, "memory": 9e9}
    got = memory_map.verdict({"seconds": seconds, "anonymous": memory})
    assert got["passed"] is passed and got["anonymous"] == anonymous
    assert got["ratio"] == 1.0 / sorted(mapped)[1]


def test_other_batches_are_noticed(memory_map: ModuleType) -> None:
    memory_map.require_same({"mapped": 100.0, "memory": 100.001})
    for other in (100.1, float("nan")):
        with pytest.raises(SystemExit, match="not train on the same"):
            memory_map.require_same({"mapped": 100.0, "memory": other})


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is Linux's")
def test_anonymous_memory_is_that_of_arrays_and_not_of_maps(
    memory_map: ModuleType, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.ones(4_000_000))
    with memory_map.watched(0.001) as most:
        before = memory_map.anonymous_memory()
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert mapped.sum() == 4_000_000
        assert memory_map.anonymous_memory() - before < 4e6
        held = np.ones(8_000_000)  # more than 32 MB: never from what was freed before
        end = time.monotonic() + 10.0
        while most[0] < before + 40e6:  # the watch sees it, sooner or later
            assert held.sum() == 8_000_000 and time.monotonic() < end


# ---- the sweep of beta against Shannon's curve ----


@pytest.fixture(scope="module")
def exact_worlds() -> ModuleType:
    """The script under another name: a module of the tests has its own."""
    path = SCRIPT.with_name("exact_worlds.py")
    spec = importlib.util.spec_from_file_location("benchmark_of_exact_worlds", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_linear_vaes_reach_shannons_curve(
    exact_worlds: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In four dimensions; and a curve that is wrong by a hundredth is noticed, row by row."""
    signs = np.array([[a, b, a * b, a * b * c] for a in (1, -1) for b in (1, -1) for c in (1, -1)])
    x = signs * np.sqrt([0.4, 0.3, 0.04, 0.02])
    monkeypatch.setattr(exact_worlds, "BETAS", (2.0,))
    monkeypatch.setattr(exact_worlds, "SPARE", 1)
    train = exact_worlds.exact.train_exactly
    monkeypatch.setattr(
        exact_worlds.exact,
        "train_exactly",
        lambda m, d, kl_weight, **_: train(m, d, 900, 0.1, kl_weight),
    )
    table = exact_worlds.Table()
    exact_worlds.beta_sweep(x, table)
    assert table.failed == 0, capsys.readouterr().out
    assert "trained: 2 of 3 latents in use, Shannon's 2" in capsys.readouterr().out
    exact_worlds.on_the_curve("trained: rate", 1.23442, 1.2339, 4, table)
    assert table.failed == 1 and "1.234, Shannon's 1.234" in capsys.readouterr().out
    exact_worlds.on_the_curve("trained: rate", 12.3435, 12.339, 4, table)
    exact_worlds.on_the_curve("trained: rate", 4e-5, 0.0, 4, table)
    assert table.failed == 1 and table.done() == 1
    monkeypatch.setattr(exact_worlds, "BETAS", (6.1,))  # the level 0.305 is too near to 0.3
    monkeypatch.setattr(exact_worlds.exact, "train_exactly", lambda *_, **__: None)
    exact_worlds.beta_sweep(x, exact_worlds.Table())
    printed = capsys.readouterr().out
    assert "threshold nearer than 5 %" in printed and printed.count("FAILED") >= 3


# ---- mutation testing ----


@pytest.fixture(scope="module")
def mutation(train_step: ModuleType) -> ModuleType:
    """The script as a module."""
    return importlib.import_module("mutation")


SOURCE = '''
"""Text - and + nothing else."""
def f(x: int = 2, y: "a - b" = None) -> "c + d":
    """1 + 1."""
    x += y
    if not x < -y:
        raise ValueError(f"{x + 1} of 3")
    return g(x * y, axis=0)
'''


def test_every_place_of_a_formula_is_changed_and_no_text(mutation: ModuleType) -> None:
    found = mutation.mutants("m", SOURCE)
    changes = [(mutant.line, mutant.after) for mutant in found]
    head, result = "def f(x: int={}, y: 'a - b'=None) -> 'c + d':", "return {}"
    condition = "if {}:"
    assert sorted(changes) == sorted(
        [(3, head.format(n)) for n in (1, 3)]
        + [(5, text) for text in ("x -= y", "x = y", "pass")]
        + [(6, condition.format(t)) for t in ("True", "False", "x < -y", "not x < y")]
        + [(6, condition.format(t)) for t in ("not x <= -y", "not x > -y")]
        + [(7, "pass"), (7, "raise f'{x + 1} of 3'")]
        + [(8, result.format(t)) for t in ("None", "-g(x * y, axis=0)", "x * y", "g(x * y)")]
        + [(8, result.format(f"g({t}, axis=0)")) for t in ("x / y", "x", "y")]
        + [(8, result.format(f"g(x * y, axis={n})")) for n in (1, -1)]
    )
    assert {mutant.where for mutant in found} == {"f"}
    for mutant in found:
        tree = mutation.mutated(SOURCE, mutant)
        assert mutant.after in [line.strip() for line in mutation.ast.unparse(tree).splitlines()]


HUNT = """
import ast, sys, mutation
mutation.PATIENCE = 1
name = "distributions/bernoulli"
found = mutation.mutants(name, (mutation.ROOT / "minivae" / f"{name}.py").read_text())
wanted = [m for m in found if m.where == "_log_density" and m.after != "return None"][:3]
wanted += [m for m in found if m.where == "Bernoulli.grad_value"][:2]
loop = ast.parse("while True: pass").body[0]
wanted += [wanted[0]._replace(where="loop", path=(*wanted[0].path[:1], ("body", 0)), node=loop)]
verdicts = mutation.hunt(name, wanted, (sys.argv[1],), lambda *_: None)
print()
for mutant, verdict in zip(wanted, verdicts):
    print("FATE", mutant.where, verdict.outcome)
"""

WATCH = """
import numpy as np
from minivae.distributions import Bernoulli
def test_log_prob():
    a = np.array([-1.0, 2.0, 3.0])
    want = 1.0 / ((1 + np.exp(1)) * (1 + np.exp(-2)) * (1 + np.exp(3)))
    assert np.allclose(np.exp(Bernoulli(a).log_prob(np.array([1.0, 1.0, 0.0]))), want, rtol=1e-12)
"""


def test_a_mutant_dies_where_a_test_looks_and_lives_where_none_does(
    mutation: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "test_watch.py").write_text(WATCH)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), str(ROOT)])}
    command = [sys.executable, "-c", HUNT, str(tmp_path / "test_watch.py")]
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fates: dict[str, set[str]] = {}
    for where, fate in re.findall(r"^FATE (\S+) (.*)$", done.stdout, re.MULTILINE):
        fates.setdefault(where, set()).add(fate)
    assert fates == {
        "_log_density": {"killed"},
        "Bernoulli.grad_value": {"survived"},
        "loop": {"timed out"},
    }


ORIGINAL = """
from dataclasses import dataclass
import numpy as np
from minivae.arrays import fused
N = 3
@fused
def kernel(x): return N * x
class Base:
    def value(self, x=1.0): return kernel(np.array([x + 0.0]))[0]
@dataclass(frozen=True)
class Child(Base):
    a: float = 0.0
    def value(self, x=1.0): return super().value(x) + 0.0
    @property
    def twice(self): return 2 * self.a
"""


@pytest.mark.parametrize(
    ("before", "after", "want"),
    [
        ("", "", (3, 3.0, 3.0, 2.0, True)),
        ("N = 3", "N = 400", (400, 400.0, 400.0, 2.0, True)),
        ("N * x", "N - x", (3, 2.0, 2.0, 2.0, True)),
        ("x + 0.0", "x + 1.0", (3, 3.0, 6.0, 2.0, True)),
        ("x=1.0): return super", "x=2.0): return super", (3, 3.0, 6.0, 2.0, True)),
        ("super().value(x) + 0.0", "7.0", (3, 3.0, 7.0, 2.0, True)),
        ("2 * self.a", "5.0", (3, 3.0, 3.0, 5.0, True)),
        ("frozen=True", "frozen=False", (3, 3.0, 3.0, 2.0, False)),
    ],
)
def test_what_was_imported_before_gets_the_changed_code(
    mutation: ModuleType, before: str, after: str, want: tuple[object, ...]
) -> None:
    module, user = ModuleType("changing"), ModuleType("user")
    module.__file__ = "changing.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "changing", module)
        patch.setitem(sys.modules, "user", user)
        exec(ORIGINAL, vars(module))
        exec("from changing import N, kernel, Child\nchild = Child(1.0)", vars(user))
        mutation.plant(module, mutation.ast.parse(ORIGINAL.replace(before, after)))
        got = user.N, user.kernel(np.ones(1))[0], user.child.value(), user.child.twice
        try:
            user.child.a = 1.0
            frozen = False
        except AttributeError:
            frozen = True
        assert (*got, frozen) == want


def test_an_entry_that_fits_no_mutant_is_an_error(
    mutation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    among = mutation.mutants("m", SOURCE)
    key = dict(zip(("module", "where", "before", "after"), among[0].key(), strict=True))
    monkeypatch.setattr(mutation, "EQUIVALENTS", tmp_path / "list.json")
    mutation.EQUIVALENTS.write_text(json.dumps([{**key, "reason": "why"}]))
    assert mutation.equivalents(among, ["m"]) == {among[0].key(): "why"}
    assert mutation.equivalents(among, ["other"]) == {}
    mutation.EQUIVALENTS.write_text(json.dumps([{**key, "after": "x += 2 * y", "reason": "why"}]))
    with pytest.raises(SystemExit, match="0 mutants fit"):
        mutation.equivalents(among, ["m"])


def test_the_list_that_ships_fits_the_sources_and_gives_reasons(mutation: ModuleType) -> None:
    modules = ["objectives", "optimizers"]  # the rest costs seconds; the script itself checks all
    assert mutation.equivalents(mutation.all_mutants(modules), modules)
    entries = json.loads(mutation.EQUIVALENTS.read_text())
    assert all(len(entry["reason"].split()) > 3 for entry in entries)
    assert {entry["module"] for entry in entries} <= set(mutation.SUITES)


def test_the_share_leaves_out_what_is_equivalent(mutation: ModuleType) -> None:
    outcomes = ["killed"] * 18 + ["timed out"] + ["survived"] + ["equivalent"] * 5
    found = [{"module": "m", "outcome": outcome} for outcome in outcomes]
    assert mutation.share(found) == 0.95
    lines = mutation.table(found, mutation.Counter(m=40)).splitlines()
    assert lines[1].split() == ["m", "40", "25", "18", "1", "5", "1", "95.0%"]
