"""Every tutorial is plain enough for the three places that show it, and says what its code says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("markdown_it", reason="the extra `tutorials` is not installed")
pytest.importorskip("matplotlib", reason="the extra `tutorials` is not installed")

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"
TUTORIALS = sorted(FOLDER.glob("[0-9]*.md"))


def book(name: str) -> ModuleType:
    """A module of tutorials/_book, which is not installed with the package."""
    spec = importlib.util.spec_from_file_location(f"_book_{name}", FOLDER / "_book" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if TUTORIALS:  # parametrising over nothing would be reported as a skip

    @pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
    def test_reads_the_same_everywhere(path: Path) -> None:
        messages = book("lint").lint(path)
        assert not messages, "\n".join(messages)

    @pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
    def test_says_what_its_code_says(path: Path) -> None:
        problems = book("run").check(path)
        assert not problems, "\n".join(problems)


def test_names_and_numbers() -> None:
    for path in TUTORIALS:
        assert re.fullmatch(r"\d\d-[a-z0-9-]+\.md", path.name), path.name
    numbers = [path.name[:2] for path in TUTORIALS]
    assert len(numbers) == len(set(numbers)), "two tutorials share a number, and so figure names"


def test_no_figure_is_left_behind() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in TUTORIALS)
    figures = (FOLDER / "figures").glob("*.svg")
    assert not [figure.name for figure in figures if f"figures/{figure.name}" not in text]


def test_as_many_test_images_of_a_class_as_tutorial_12_says() -> None:
    from minivae import load_digits

    text = (FOLDER / "12-conditional-vae.md").read_text(encoding="utf-8")
    assert "some twenty-five test images each" in text
    assert len(load_digits().test) == 25 * 10


def test_tutorial_13_keeps_its_test_images_for_the_test() -> None:
    text = (FOLDER / "13-vq-vae.md").read_text(encoding="utf-8")
    calls = re.findall(r"\btrain\([^)]*", text)
    assert len(calls) >= 4 and not [call for call in calls if "test" in call]
