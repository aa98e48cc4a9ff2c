"""The README's example runs as it stands there, and what it names and counts exists."""

import importlib
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae.models import IWAE, Architecture
from minivae.verify import LADDER
from minivae.verify.bugs import ZOO

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = EXAMPLES
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("nats per image") == 2
    assert {p.name for p in tmp_path.iterdir()} == {"samples.png", "latents.png"}


def test_the_example_with_scikit_learn_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    names: dict = {}
    exec(compile(EXAMPLES[2], "README.md", "exec"), names)
    assert "nats per example" in capsys.readouterr().out
    assert len(names["search"].cv_results_["params"]) == 4 and names["codes"].shape[0] == 150


def test_the_model_in_one_file_is_the_one_of_the_package() -> None:
    names: dict = {}
    exec(compile(EXAMPLES[1], "README.md", "exec"), names)
    shown, ours = names["IWAE"], IWAE
    assert shown.OPTIONS == ours.OPTIONS and shown.BOUND == ours.BOUND
    results = []
    for kind in (shown, ours):
        model, rng = kind(Architecture(6, 2, (5,)), dtype="float64"), np.random.default_rng(1)
        x = (np.random.default_rng(0).random((4, 6)) < 0.5).astype(np.float64)
        bound = model.objective(x, rng, samples=3)
        results.append((bound.bound, model.parameters.grad))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1]) and results[0][1].any()


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_bugs_and_rungs_are_as_many_as_it_says() -> None:
    modules = ("gradients", "categorical", "continuous_bernoulli", "optimizers", "schedules")
    planted = sum(len(importlib.import_module(f"test_{name}").BUGS) for name in modules)
    assert f"plant {planted} bugs of their own" in TEXT
    assert f"The zoo has {len(ZOO)} bugs" in TEXT and f"**all {len(ZOO)} are caught**" in TEXT
    assert f"Of the {len(LADDER)} rungs the last one" in TEXT


def plain(name: str) -> str:
    """Without accents, and with oe for the letter that has one: Bjoerck is Björck."""
    letters = unicodedata.normalize("NFD", name.replace("ø", "o").replace("oe", "o"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def test_every_source_of_a_docstring_is_in_the_references() -> None:
    block = re.compile(r"^ *Source  +(.*?)(?:\n *\n|\"\"\")", re.MULTILINE | re.DOTALL)
    cited = re.compile(r"([A-Z][^();.]*?),? \(((?:19|20)\d\d(?:, (?:19|20)\d\d)*)\)")
    entries = [plain(" ".join(e.split())) for e in TEXT.split("## References")[1].split("\n- ")]
    found, missing = 0, list[str]()
    for path in sorted((ROOT / "minivae").rglob("*.py")):
        for source in block.findall(path.read_text()):
            for names, years in cited.findall(" ".join(source.split())):
                first = plain(re.split(", | and ", names)[0].split()[-1])
                for year in years.split(", "):
                    found += 1
                    if not any(first in entry and year in entry for entry in entries):
                        missing.append(f"{path.name}: {first} {year}")
    assert found > 100 and not missing, missing


def figures(name: str) -> Any:
    """What a benchmark wrote."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def on_mnist() -> Iterator[tuple[str, str]]:
    """Each figure of the table: whose it is, and how it has to stand there."""
    for late in ("", "-late"):
        for r in figures(f"iwae_table{late}"):
            nll = f"{r['nll']:.2f} ± {r['nll_subset_error'] or r['nll_error']:.2f}"
            yield f"iwae{late} {r['k']}", f"{nll}, −ELBO {r['negative_elbo']:.2f}"
    for name, r in figures("made").items():
        if name != "digits":
            yield f"made {name}", f"{r['nll']:.2f} ± {r['standard_error']:.2f}"
    for name, r in figures("quadrants").items():
        if name.startswith("grey"):
            yield name, f"{r['nelbo']:.2f}"
        if name.startswith("binary"):
            yield name, f"{r['nll']:.2f} ± {r['nll_error']:.2f}, −ELBO {r['nelbo']:.2f}"
        if name.startswith("class"):
            accepted = f"{100 * r['accepted']:.1f} ± {100 * r['accepted_error']:.1f} %"
            yield name, f"{accepted}, −ELBO {r['nelbo']:.2f}"
    vq = figures("vq")
    bits, error = vq["bits per image"], vq["standard error"]
    yield "vq", f"{bits:.1f} ± {error:.1f} bits, perplexity {vq['perplexity']:.1f}"
    yield "vq error", f"squared error {vq['squared error']:.2f}"
    for kind, took in (("as many", "that this took"), ("these", "that these took")):
        error, bits = vq[f"squared error, PCA in {kind}"], vq[f"bits {took}"]
        yield f"PCA in {kind}", f"{error:.2f} in {bits:.0f}"
    pixels = figures("baselines")["pixels"]["expected"]
    yield "independent pixels", f"{pixels:.2f}, the mean over drawings"
    for r in figures("baselines")["mixtures"]:
        yield f"mixture of {r['components']}", f"{r['nll']:.2f}"


@pytest.mark.parametrize(("whose", "figure"), list(on_mnist()))
def test_a_figure_on_mnist_is_what_the_benchmark_wrote(whose: str, figure: str) -> None:
    table = TEXT.split("### On MNIST")[1].split("\n## ")[0]
    assert figure in table, f"{whose}: expected {figure!r} in the table"


@pytest.mark.parametrize("name", ["vae", "iwae", "cvae", "made", "vq", "vq2", "ae", "dae"])
def test_a_figure_on_digits_is_what_the_benchmark_wrote(name: str) -> None:
    r = figures("family_digits")[name]
    row = next(line for line in TEXT.splitlines() if re.match(rf"\| `{name}`[:,] ", line))
    for value in (f"{r['value']:.2f} ± {r['error']:.2f}", f"{r['baseline_value']:.2f}",
                  f"{r['gain']:.2f} ± {r['gain_error']:.2f}", f"{r['wanted']:.2f}"):  # fmt: skip
        assert value in row, row
    assert r["passed"] and r["gain"] >= r["wanted"] and r["processor_seconds"] < 120.0
