"""The report of a run: one page, everything inside, nothing executed or lost."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivae import runs
from minivae.cli import COMMANDS, main, report
from minivae.cli.report import CAPTIONS, QUESTIONS
from minivae.lab.report import Section, page
from minivae.models import VAE, Architecture, Autoencoder


class Seen(HTMLParser):
    """The tags of a page that have to be closed, what they hold, and the addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        self.addresses += [v or "" for k, v in attrs if k in ("href", "src")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def picture(path: Path) -> Path:
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(path)
    return path


def test_a_page_holds_everything_and_runs_nothing(tmp_path: Path) -> None:
    bad = '<script>alert(1)</script> & "quotes"'
    sections = [
        Section(bad, (bad, "two"), bad, bad, [(picture(tmp_path / "a.png"), bad)]),
        Section("why not", ("because",), "minivae x", missing=bad),
    ]
    text = page(bad, {bad: bad}, sections)
    seen = Seen(text)
    assert "<script" not in text and text.count(html.escape(bad)) == 12
    assert all(a.startswith(("#s", "data:image/png;base64,")) for a in seen.addresses)
    assert seen.addresses.count("#s1") == 1 and len(seen.pictures) == 1
    assert seen.pictures[0]["alt"] == bad
    assert "Not for this run" in text and "minivae x" not in text
    assert re.search(r'<h2 id="s2">2\. why not</h2>', text)


def saved(folder: Path, kind: type = VAE, latent: int = 3) -> None:
    folder.mkdir()
    model = kind(Architecture(64, latent, (8,), "tanh"))
    data = {"name": "digits", "validation": 250, "binarisation": "threshold"}
    name = "vae" if kind is VAE else "ae"
    runs.save(folder, model, {"model": name, "data": data})


QUICK = ("evaluate", "usage", "sample", "reconstruct", "factors")


@pytest.mark.parametrize(
    ("kind", "names", "missing"),
    [
        (VAE, QUICK, 3),
        (Autoencoder, QUICK, 4),
        pytest.param(VAE, tuple(q.name for q in QUESTIONS), 3, marks=pytest.mark.slow),
        pytest.param(Autoencoder, tuple(q.name for q in QUESTIONS), 6, marks=pytest.mark.slow),
    ],
)
def test_the_report_of_a_run(
    kind: type,
    names: tuple[str, ...],
    missing: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = tuple(question for question in QUESTIONS if question.name in names)
    monkeypatch.setattr(report, "QUESTIONS", asked)
    run = tmp_path / "a <run>"
    saved(run, kind)
    assert main(["report", str(run), "--quick"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [f"wrote {run / 'report.html'}"]
    text = (run / "report.html").read_text()
    seen = Seen(text)
    assert text.count("<h2 ") == len(asked) + 2
    # no history, no pictures of a training, and digits have no factors; an ae has no bound either
    assert text.count("Not for this run") == missing
    assert all(p["alt"] in CAPTIONS.values() for p in seen.pictures) and len(seen.pictures) >= 2
    assert "a &lt;run&gt;" in text and str(run) not in text
    assert main(["report", str(run), "--quick"]) == 0  # its own page is made anew


@pytest.mark.parametrize("quick", [(), ("--quick",)])
def test_a_gap_of_few_test_examples_is_of_all_of_them(
    quick: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("tab.npy", np.random.default_rng(0).random((60, 6)))
    trained = ["train", "--data", "tab.npy", "--likelihood", "gaussian", "--epochs", "1"]
    assert main([*trained, "--hidden", "4", "--no-pictures", "--out", "run"]) == 0
    gap = next(question for question in QUESTIONS if question.name == "gap")
    monkeypatch.setattr(report, "QUESTIONS", (gap,))
    assert main(["report", "run", *quick]) == 0
    text = Path("run/report.html").read_text()
    assert "minivae gap run --examples 6" in text and "amortisation" in text
    assert "expected --examples" not in text


def test_a_page_that_somebody_named_is_not_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "run")
    out = tmp_path / "mine.html"
    out.write_text("dear")
    assert main(["report", str(tmp_path / "run"), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err and out.read_text() == "dear"
    for wrong in ("mine.txt", "no/where.html"):
        assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / wrong)]) == 2
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_every_question_is_a_command_with_options_that_it_has() -> None:
    for question in QUESTIONS:
        assert COMMANDS[question.name] is question.command
        assert question.title.endswith("?") and question.explanation
