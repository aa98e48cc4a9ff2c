"""Mutation testing: change one thing in a formula, and see whether a test notices.

    python benchmarks/mutation.py --seed 0 --mutants 400
    python benchmarks/mutation.py --only layers --mutants 60 --json result.json

A mutant is one module of `SUITES` with one small change: + for -, an operand left out, 2.02 for
2.0, two arguments swapped, = for +=, a line left out (`mutants.py` lists them all).  A test that
fails kills it.  Text, docstrings and annotations are left alone.  A seed draws the sample among all
mutants, each as likely as any other.  The tests of a module are those of its own test file, with
few drawn examples; the first failure ends them.

A mutant that lives is a test that is missing, or it computes the same as the original: then it is
named in mutation_equivalents.json, by its words and not by its line number, with the reason.  An
entry that is killed, or that fits no mutant of the modules, is an error.  Exit status 0: at least
95 % of the mutants that are not equivalent were killed.

How.  One process collects the tests of a module.  Each mutant gets a fork of it, which runs the
changed source in the module's own namespace and gives the new code to the functions and classes
that everybody has imported already (`plant`): a mutant costs its tests, not an import of NumPy.  A
limited processor time ends loops that have no end.  Forks: Linux and macOS only.

Why not a library.  mutmut 3.8 leaves out functions with a decorator, which are all the kernels
(`fused`) and properties, and everything outside functions, like the series of the continuous
Bernoulli; it changes text, but no sign and no order of arguments, and draws no sample by a seed.
cosmic-ray 8.7 starts a new process for each mutant, rewrites the file in the working tree, draws no
sample, and removes neither a statement nor an argument.
"""

import argparse
import ast
import functools
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mutants import Mutant, mutants, mutated

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENTS = Path(__file__).with_name("mutation_equivalents.json")
LEAST = 0.95
EXAMPLES = 8
"""Cases that a test of hypothesis draws, at most."""
PATIENCE = 5
"""Seconds of the processor for a mutant, beyond five times what the original needs."""

_GRADIENTS = ("tests/test_gradients.py::test_the_gradient_of_the_vae",
              "tests/test_gradients.py::test_the_gradient_of_the_autoencoder")  # fmt: skip
SUITES = {  # the tests that must notice
    "layers": ("tests/test_layers.py",),
    "distributions/bernoulli": ("tests/test_distributions.py",),
    "distributions/categorical": ("tests/test_categorical.py",),
    "distributions/continuous_bernoulli": ("tests/test_continuous_bernoulli.py",),
    "distributions/gaussian": ("tests/test_distributions.py",),
    "objectives": ("tests/test_objectives.py", "tests/test_iwae.py", *_GRADIENTS),
    "optimizers": ("tests/test_optimizers.py",),
}
LEFT_OUT = "planted"  # these test the tests, with mutants of their own


# ---- one mutant ----


def plant(module: types.ModuleType, tree: ast.Module) -> None:
    """Run ``tree`` as the module, and change all that others have imported from it in place."""
    old = dict(vars(module))
    exec(compile(tree, str(module.__file__), "exec"), vars(module))
    for name, was in old.items():
        now = vars(module)[name]
        if now is was or getattr(was, "__module__", None) != module.__name__:
            if type(was) in (int, float, tuple) and was != now:  # a constant, and its copies
                for other in list(sys.modules.values()):
                    if vars(other).get(name) is was:
                        setattr(other, name, now)
        elif isinstance(was, type):
            _become_class(was, now)
            setattr(module, name, was)
        elif isinstance(was, types.FunctionType):
            _become_function(was, now)
            setattr(module, name, was)


def _become_function(was: Any, now: Any) -> None:
    for cell, new in zip(was.__closure__ or (), now.__closure__ or (), strict=True):
        cell.cell_contents = new.cell_contents  # the formula inside `fused`
    was.__code__, was.__defaults__ = now.__code__, now.__defaults__
    was.__kwdefaults__ = now.__kwdefaults__


def _become_class(was: type, now: type) -> None:
    own = {"__dict__", "__weakref__", "__doc__", "__module__", "__subclasshook__"}
    for name in vars(was).keys() - vars(now).keys() - own:
        delattr(was, name)
    for name in vars(now).keys() - own:
        value = vars(now)[name]
        if isinstance(value, types.MemberDescriptorType) or name.startswith("_abc"):
            continue
        for cell in getattr(value, "__closure__", None) or ():
            if cell.cell_contents is now:  # what super() looks into
                cell.cell_contents = was
        setattr(was, name, value)


def few_examples(items: list[Any]) -> None:
    """Fewer drawn cases, no shrinking, nothing that depends on the clock."""
    from hypothesis import HealthCheck, Phase, settings

    for item in items:
        test = getattr(item, "obj", None)
        given = getattr(test, "_hypothesis_internal_use_settings", None)
        if given is not None:
            test._hypothesis_internal_use_settings = settings(  # type: ignore[union-attr]
                given,
                max_examples=min(EXAMPLES, given.max_examples),
                phases=(Phase.explicit, Phase.generate),
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
                print_blob=False,
                database=None,
                deadline=None,
            )


class Verdict(NamedTuple):
    """How it went: ``outcome`` is killed, timed out or survived."""

    outcome: str
    caught_by: str
    seconds: float


class Hunt:
    """A plugin of pytest: the tests are collected once, and run in a fork for each mutant."""

    def __init__(self, module: str, drawn: list[Mutant], tell: Callable[..., None]) -> None:
        self.module, self.drawn, self.tell = module, drawn, tell
        self.verdicts: list[Verdict] = []
        self.error = ""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        few_examples(items)

    def pytest_runtestloop(self, session: Any) -> bool:
        module = importlib.import_module("minivae." + self.module.replace("/", "."))
        source, items = Path(str(module.__file__)).read_text(), list(session.items)
        sane, times = _in_fork(functools.partial(plant, module, ast.parse(source)), items, 600)
        if sane.outcome != "survived":
            self.error = f"{self.module}: without a change {sane.caught_by or 'no test'} fails"
            return True
        cost = {item.nodeid: 0.001 + t for item, t in zip(items, times, strict=True)}
        limit, kills = PATIENCE + 5 * int(sane.seconds), Counter[str]()
        for mutant in self.drawn:  # what is quick and has killed others comes first
            items.sort(key=lambda item: -(kills[item.nodeid] + 1) / cost[item.nodeid])
            tree = mutated(source, mutant)
            verdict, _ = _in_fork(functools.partial(plant, module, tree), items, limit)
            kills[verdict.caught_by] += 1
            self.verdicts.append(verdict)
            self.tell(mutant, verdict)
        return True


def _in_fork(
    change: Callable[[], None], items: list[Any], limit: int
) -> tuple[Verdict, list[float]]:
    """Make the change and run the tests up to the first failure, in a process of its own."""
    ends = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        times: list[float] = []
        try:
            change()
            caught = first_failure(items, times)
        except BaseException as error:  # the module cannot even be imported
            caught = f"{type(error).__name__} on import"
        os.write(ends[1], json.dumps([caught, times]).encode())
        os._exit(0)
    os.close(ends[1])
    with open(ends[0]) as answer:
        text = answer.read()
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if not text:  # it was stopped
        late = os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
        return Verdict("timed out" if late else "killed", "", seconds), []
    caught, times = json.loads(text)
    return Verdict("killed" if caught else "survived", caught, seconds), times


def first_failure(items: list[Any], times: list[float]) -> str:
    """Run tests until one fails: its name, or nothing; ``times`` gets the seconds of each."""
    from _pytest.runner import runtestprotocol

    for i, item in enumerate(items):
        start = time.process_time()
        reports = runtestprotocol(item, log=False, nextitem=(items[i + 1 :] or [None])[0])
        times.append(round(time.process_time() - start, 4))
        if any(report.failed for report in reports):
            return str(item.nodeid)
    return ""


def hunt(
    module: str, drawn: list[Mutant], tests: tuple[str, ...], tell: Callable[..., None]
) -> list[Verdict]:
    """The verdict of the tests on each mutant of a module."""
    import pytest

    plugin = Hunt(module, drawn, tell)
    options = [
        "-n0",
        "-q",
        "--no-header",
        "--no-summary",
        "--tb=native",
        "-p",
        "no:cacheprovider",
        "-k",
    ]
    options += [f"not {LEFT_OUT}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status = pytest.main([*options, *(str(ROOT / t) for t in tests)], plugins=[plugin])
    if plugin.error or len(plugin.verdicts) < len(drawn):
        raise SystemExit(plugin.error or f"the tests of {module} end with status {status}")
    return plugin.verdicts


# ---- the sample and the report ----


def all_mutants(only: list[str]) -> list[Mutant]:
    """Every mutant of these modules."""
    sources = {m: (ROOT / "minivae" / f"{m}.py").read_text() for m in SUITES if m in only}
    return [mutant for m, source in sources.items() for mutant in mutants(m, source)]


def equivalents(among: list[Mutant], modules: list[str]) -> dict[tuple[str, ...], str]:
    """The reasons of the list that ships, by `Mutant.key`; each must name one mutant."""
    keys = Counter(mutant.key() for mutant in among)
    reasons = {}
    for entry in json.loads(EQUIVALENTS.read_text()):
        key = tuple(entry[name] for name in ("module", "where", "before", "after"))
        if key[0] not in modules:
            continue
        if keys[key] != 1:
            raise SystemExit(f"{EQUIVALENTS.name}: {keys[key]} mutants fit {key}, expected one")
        reasons[key] = entry["reason"]
    return reasons


def results(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Draw the sample and try each mutant of it; an equivalent one too, which must survive."""
    among = all_mutants(args.only)
    known = equivalents(among, args.only)
    drawn = random.Random(args.seed).sample(among, min(args.mutants, len(among)))
    found: list[dict[str, Any]] = []

    def tell(mutant: Mutant, verdict: Verdict) -> None:
        outcome = verdict.outcome
        if mutant.key() in known:
            outcome = "equivalent" if outcome == "survived" else f"{outcome}, not equivalent"
        entry = {name: getattr(mutant, name) for name in Mutant._fields[:5]}
        found.append({**entry, **verdict._asdict(), "outcome": outcome})
        if outcome not in ("killed", "equivalent"):
            print(f"{outcome}: minivae/{mutant.module}.py, line {mutant.line}, {mutant.where}")
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)

    for module in args.only:
        sample = [mutant for mutant in drawn if mutant.module == module]
        if sample:
            hunt(module, sample, SUITES[module], tell)
    return found


def table(found: list[dict[str, Any]], every: Counter[str]) -> str:
    """A line for each module, and one for all of them."""
    columns = ("killed", "timed out", "equivalent", "survived")
    lines = [f"{'module':34}{'mutants':>8}{'drawn':>7}" + "".join(f"{c:>12}" for c in columns)]
    for module in (*every, "all"):
        mine = [f for f in found if module in ("all", f["module"])]
        counts = Counter(f["outcome"] for f in mine)
        total = every[module] if module in every else every.total()
        numbers = "".join(f"{counts[c]:12}" for c in columns)
        lines.append(f"{module:34}{total:8}{len(mine):7}{numbers}{share(mine):9.1%}")
    return "\n".join(lines)


def share(found: list[dict[str, Any]]) -> float:
    """Of the mutants that are not equivalent, the killed (and those that found no end)."""
    real = [f for f in found if f["outcome"] != "equivalent"]
    return sum(f["outcome"] != "survived" for f in real) / len(real) if real else 1.0


def main() -> int:
    """Draw, try, print; 0 if enough were killed and the list of equivalents is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--mutants", type=int, default=400, help="how many are drawn")
    parser.add_argument("--only", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--json", type=Path, help="write every mutant and its fate here")
    args = parser.parse_args()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # after a fork, threads would be missing
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    found = results(args)
    print(table(found, Counter(mutant.module for mutant in all_mutants(args.only))))
    print(f"seed {args.seed}: {share(found):.1%} of the mutants that are not equivalent killed")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    wrong = [f for f in found if f["outcome"].endswith("not equivalent")]
    return 0 if share(found) >= LEAST and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
