"""The README's example runs as it stands there, and what it names and counts exists."""

import importlib
import re
import unicodedata
from pathlib import Path

import pytest

from minivae.verify import LADDER
from minivae.verify.bugs import ZOO

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = EXAMPLES
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("nats per image") == 2
    assert {p.name for p in tmp_path.iterdir()} == {"samples.png", "latents.png"}


def test_the_example_with_scikit_learn_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    names: dict = {}
    exec(compile(EXAMPLES[1], "README.md", "exec"), names)
    assert "nats per example" in capsys.readouterr().out
    assert len(names["search"].cv_results_["params"]) == 4 and names["codes"].shape[0] == 150


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
