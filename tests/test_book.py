"""The runner and the lint of the tutorials, on small texts."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import sys
import tomllib
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("markdown_it", reason="the extra `tutorials` is not installed")
pytest.importorskip("matplotlib", reason="the extra `tutorials` is not installed")

BOOK = Path(__file__).resolve().parents[1] / "tutorials" / "_book"


def book(name: str) -> ModuleType:
    """A module of tutorials/_book, which is not installed with the package."""
    spec = importlib.util.spec_from_file_location(f"_book_{name}", BOOK / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run, lint = book("run"), book("lint")
cells, execute = (sys.modules[name] for name in ("cells", "execute"))  # that run imported

PLOT = "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([0, 1], [0, {}]);"

needs_pin = pytest.mark.skipif(
    not run.pinned(), reason=f"figures are drawn by Matplotlib {run.PINNED_MATPLOTLIB}"
)


def cell(code: str, info: str = "python") -> str:
    return f"```{info}\n{code}\n```\n"


def tutorial(folder: Path, *parts: str, name: str = "03-x.md") -> Path:
    path = folder / name
    path.write_text("# Title\n\n" + "\n".join(parts), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINIVAE_DATA", raising=False)


# --- the runner: text ---------------------------------------------------------------------------


@needs_pin
def test_update_then_check(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("print('one')\n1 + 1"), "Prose.\n", cell("x = 3"), cell("x"))
    assert run.update(path)
    assert "```\n\n```text\none\n2\n```\n\nProse." in path.read_text()
    assert run.check(path) == []
    assert not run.update(path), "a second update changes nothing"


@needs_pin
def test_update_writes_the_canonical_text(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("1"), "```text\nold\n```\n![old](figures/03-a.svg)\n\nEnd.")
    run.update(path)
    assert path.read_text() == "# Title\n\n```python\n1\n```\n\n```text\n1\n```\n\nEnd."


@needs_pin
def test_prose_right_after_a_cell_is_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "03-x.md"
    path.write_text("```python\n1\n```\nProse.\n")
    run.update(path)
    assert path.read_text() == "```python\n1\n```\n\n```text\n1\n```\n\nProse.\n"


def test_a_changed_number_is_caught(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("print('a')\n2 + 2"), "```text\na\n5\n```\n")
    assert run.check(path) == [f"{tmp_path.name}/03-x.md:10: expected '5', found '4'"]


@pytest.mark.parametrize(
    ("code", "committed", "message"),
    [
        ("1", "", "03-x.md:3: expected nothing more, found '1'"),
        ("x = 1", "```text\n1\n```\n", "03-x.md:8: expected '1', found nothing more"),
        ("print('a\\nb')", "```text\na\n```\n", "03-x.md:9: expected nothing more, found 'b'"),
    ],
)
def test_outputs_of_other_lengths(tmp_path: Path, code: str, committed: str, message: str) -> None:
    [problem] = run.check(tutorial(tmp_path, cell(code), committed))
    assert problem.endswith(message)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("1", "1"),
        ("1;", ""),
        ("1;  # a comment", ""),
        ("(1 +\n 1)", "2"),
        ("'é'; 'é;'", "'é;'"),
        ("None", ""),
        ("x = 1", ""),
        ("print('a', end='')\n1", "a\n1"),
        ("print('trailing  ')\nprint('blanks ')\nprint()", "trailing\nblanks"),
        ("import sys\nprint('bar', file=sys.stderr)", ""),
        ("'# no;'", "'# no;'"),
    ],
)
def test_what_a_cell_shows(tmp_path: Path, code: str, shown: str) -> None:
    [(_, output)] = run.run(tutorial(tmp_path, cell(code)))
    assert "\n".join(run._lines(output.text)) == shown


@needs_pin
def test_an_output_with_a_fence_in_it(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("print('```text\\na\\n```')"))
    run.update(path)
    assert "````text\n```text\na\n```\n````" in path.read_text()
    assert run.check(path) == []


def test_only_a_text_block_right_after_a_cell_is_its_output(tmp_path: Path) -> None:
    block = "```text\nb\n```\n"
    path = tutorial(tmp_path, cell("1"), "```text\n1\n```\n", block, cell("2;"), "Words.\n", block)
    first, second = cells.parse(path)
    assert (first.text, second.text) == ("1\n", "")
    assert run.check(path) == []


def test_a_fence_within_a_longer_fence_is_no_cell(tmp_path: Path) -> None:
    assert cells.parse(tutorial(tmp_path, "````text\n" + cell("1") + "````\n")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- item\n\n  ```python\n  1\n  ```\n", "03-x.md:5: a cell in a list or quote"),
        ("```python if = mnist\n1\n```\n", "`python if=folder`"),
        ("```python skip\n1\n```\n", "`python if=folder`"),
        ("```python\n1\n", "never closed"),
        ("```bash\nls\n```\n", "03-x.md:3: a bash fence"),
        (cell("1") + "\n![a](figures/04-x.svg)\n", "starts with 03-"),
        ((cell("1") + "\n![a](figures/03-x.svg)\n\n") * 2, "a name of its own"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    [problem] = run.check(tutorial(tmp_path, text))
    assert message in problem


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("object()", "an address"),
        ("print('10%\\r20%')", "carriage return"),
        ("print('\\x1b[31mred')", "a terminal colour"),
        ("import os\nos.getcwd()", "temporary folder"),
        ("import numpy as np\nnp.random.rand();", "default_rng(seed)"),
        ("import numpy as np\nnp.random.seed(0)", "default_rng(seed)"),
        ("import numpy as np\nnp.float64(1.0) / np.float64(0.0);", "RuntimeWarning"),
        ("import warnings\nwarnings.warn('look')", "UserWarning"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_what_is_refused(tmp_path: Path, code: str, message: str) -> None:
    [problem] = run.check(tutorial(tmp_path, cell(code)))
    assert problem.startswith(f"{tmp_path.name}/03-x.md:") and message in problem


# --- the runner: errors and surroundings --------------------------------------------------------


def test_a_failing_cell_names_its_line(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("def f():\n    return 1 / 0"), "Prose.\n", cell("x = 1\nf()"))
    [problem] = run.check(path)
    assert problem.startswith(f"{tmp_path.name}/03-x.md:5: ZeroDivisionError: ")
    assert '03-x.md", line 12, in <module>\n    f()' in problem
    assert '03-x.md", line 5, in f\n    return 1 / 0' in problem
    assert "execute.py" not in problem, "the traceback begins in the tutorial"


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    [problem] = run.check(tutorial(tmp_path, cell("x = 1\nx = = 2")))
    assert problem.startswith(f"{tmp_path.name}/03-x.md:5: SyntaxError")


@needs_pin
def test_a_failing_update_writes_nothing(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("1"), cell(PLOT.format(1)), cell("1 / 0"))
    before = path.read_text()
    with pytest.raises(run.BookError):
        run.update(path)
    assert path.read_text() == before and [file.name for file in tmp_path.iterdir()] == ["03-x.md"]


@needs_pin
def test_an_update_does_not_write_over_an_edit(tmp_path: Path) -> None:
    code = f"from pathlib import Path\nPath({str(tmp_path / '03-x.md')!r}).write_text('new');"
    path = tutorial(tmp_path, cell(code))
    with pytest.raises(run.BookError, match="changed while its cells ran"):
        run.update(path)
    assert path.read_text() == "new"


def test_each_tutorial_has_its_own_names(tmp_path: Path) -> None:
    run.run(tutorial(tmp_path, cell("left = 1")))
    [problem] = run.check(tutorial(tmp_path, cell("left"), name="04-y.md"))
    assert "NameError" in problem


def test_futures_of_the_runner_are_not_those_of_the_cell(tmp_path: Path) -> None:
    [(_, output)] = run.run(tutorial(tmp_path, cell("def f(x: int): ...\nf.__annotations__['x']")))
    assert output.text == "<class 'int'>\n"


def test_the_desk_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    code = (
        "import os, warnings\nimport numpy as np\nimport matplotlib.pyplot as plt\n"
        "open('file', 'w').close()\nos.environ['LEFT'] = '1'\nwarnings.simplefilter('ignore')\n"
        "np.set_printoptions(precision=1)\nnp.seterr(all='ignore')\n"
        "plt.rcParams['lines.linewidth'] = 9"
    )
    path = tutorial(tmp_path, cell(code))

    def desk() -> tuple[object, ...]:
        return (
            os.getcwd(),
            dict(os.environ),
            list(warnings.filters),
            np.get_printoptions(),
            np.geterr(),
            plt.rcParams["lines.linewidth"],
            execute.generator_state(),
            plt.get_fignums(),
        )

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = desk()
    assert run.check(path) == []
    assert desk() == before
    assert run.check(tutorial(tmp_path, cell(code + "\nnp.random.rand();"))) != []
    assert execute.generator_state() == before[-2]
    assert not list((tmp_path / "here").iterdir()), "files of a cell go to a temporary folder"


def test_the_desk_is_always_the_same(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell("import numpy as np\nprint(np.geterr(), np.array([1 / 3]))"))
    [(_, first)] = run.run(path)
    with np.printoptions(precision=2), np.errstate(all="raise"):
        [(_, second)] = run.run(path)
    assert first == second


# --- the runner: data that may be missing -------------------------------------------------------

IF_MNIST = cell("import os\nos.path.isabs(os.environ['MINIVAE_DATA'])", "python if=mnist")


@needs_pin
def test_without_the_data_a_cell_is_left_alone(tmp_path: Path) -> None:
    path = tutorial(tmp_path, IF_MNIST, "```text\nold\n```\n\n![a](figures/03-a.svg)\n")
    assert run.check(path) == []
    assert not run.update(path)


@needs_pin
def test_with_the_data_it_is_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tutorial(tmp_path, IF_MNIST, "```text\nold\n```\n")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIVAE_DATA", "data")
    assert run.check(path) == [], "the folder is there, but mnist is not in it"
    (tmp_path / "data" / "mnist").mkdir()
    [problem] = run.check(path)
    assert problem.endswith("expected 'old', found 'True'")
    run.update(path)
    assert run.check(path) == []
    assert os.environ["MINIVAE_DATA"] == "data"


# --- the runner: figures ------------------------------------------------------------------------


@needs_pin
def test_figures_are_saved_named_and_compared(tmp_path: Path) -> None:
    twice = PLOT.format(1) + "\n" + PLOT.format(2)
    path = tutorial(tmp_path, cell(twice), "![A line](figures/03-line.svg)\n", cell(PLOT.format(3)))
    run.update(path)
    text = path.read_text()
    assert "\n![A line](figures/03-line.svg)\n\n![](figures/03-1.svg)\n" in text
    assert text.rstrip().endswith("![](figures/03-2.svg)")
    assert run.check(path) == []
    path.write_text(text.replace("[0, 2]", "[0, 2.5]"))
    [problem] = run.check(path)
    assert ":4: figures/03-1.svg differs: " in problem


@needs_pin
def test_an_update_of_a_figure_keeps_its_alt_text(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    path = tutorial(tmp_path, cell(PLOT.format(1)), "![It's [up]](figures/03-a.svg)\n")
    run.update(path)
    first = (figures / "03-a.svg").read_bytes()
    path.write_text(path.read_text().replace("[0, 1]);", "[0, 5]);"))
    assert run.update(path)
    assert "![It's [up]](figures/03-a.svg)" in path.read_text()
    assert (figures / "03-a.svg").read_bytes() != first


@needs_pin
def test_stale_figures_go_and_the_others_stay(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell(PLOT.format(1)), "![a](figures/03-a.svg)\n")
    run.update(path)
    (tmp_path / "figures" / "04-a.svg").write_text("another tutorial's")
    tutorial(tmp_path, cell("1;"), "![a](figures/03-a.svg)\n")
    assert run.update(path)
    assert [file.name for file in (tmp_path / "figures").iterdir()] == ["04-a.svg"]


@needs_pin
def test_a_missing_or_superfluous_figure(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell(PLOT.format(1)), "![a](figures/03-a.svg)\n")
    assert "figures/03-a.svg is missing" in run.check(path)[0]
    tutorial(tmp_path, cell("1;"), "![a](figures/03-a.svg)\n")
    assert "expected 1 figure(s), found 0" in run.check(path)[0]


@needs_pin
def test_a_figure_keeps_its_bytes(tmp_path: Path) -> None:
    path = tutorial(tmp_path, cell(PLOT.format(1)))
    run.update(path)
    file = tmp_path / "figures" / "03-1.svg"
    first = file.read_bytes()
    assert b"<dc:date>" not in first and b"Matplotlib v" not in first
    file.unlink()
    run.update(path)
    assert file.read_bytes() == first
    nearly = first.replace(b"<path ", b"<path  ", 1)
    file.write_bytes(nearly)
    assert not run.update(path) and file.read_bytes() == nearly, "the same picture"


def test_a_figure_as_last_expression(tmp_path: Path) -> None:
    alone = "from matplotlib.figure import Figure\nFigure()"
    opened = "import matplotlib.pyplot as plt\nplt.figure()"
    for code in (alone, opened):
        [(_, output)] = run.run(tutorial(tmp_path, cell(code)))
        assert output.text == "" and len(output.figures) == 1


def test_figures_of_others_are_not_the_tutorials(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    plt.figure()
    assert run.check(tutorial(tmp_path, cell("1;"))) == []


def test_another_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tutorial(tmp_path, cell(PLOT.format(1)), "![a](figures/03-a.svg)\n")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "03-a.svg").write_text("<svg/>")
    monkeypatch.setattr(run, "PINNED_MATPLOTLIB", "3.1")
    assert run.check(path) == []
    with pytest.raises(run.BookError, match=r"drawn by Matplotlib 3\.1"):
        run.update(path)


def _png(*pixels: int) -> str:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    rows = np.array([pixels], dtype=np.uint8)
    plt.imsave(buffer, np.stack([rows, rows, rows], axis=-1), format="png")
    return f'<image href="data:image/png;base64,\n{base64.b64encode(buffer.getvalue()).decode()}"/>'


USE = '<g id="m{0}"/><use href="#m{0}"/><g clip-path="url(#m{0})"/>'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('<path d="M 1.0 2"/>', '<path d="M 1.04 2"/>', None),
        ('<path d="M 1.0 2"/>', '<path d="M 1.06 2"/>', "a coordinate by 0.06 pt"),
        ('<path d="M 1 -2"/>', '<path d="M 1 2"/>', "a coordinate by 4 pt"),
        ('<path d="M 1 2"/>', '<path d="M 1 2 L 3 4"/>', "other elements"),
        ('<a style="fill: #1e5555"/>', '<a style="fill: #1e5557"/>', None),
        ('<a style="fill: #1e5555"/>', '<a style="fill: #1e5558"/>', "a colour by 3 /255"),
        (USE.format("0123456789"), USE.format("abcdef0123"), None),
        ('<use href="#DejaVuSans-31"/>', '<use href="#DejaVuSans-32"/>', "a coordinate"),
        (_png(10, 20), _png(12, 20), None),
        (_png(10, 20), _png(13, 20), "a pixel by 3 /255"),
        (_png(10, 20), _png(10, 20, 30), "other elements"),
        ("<a/>", "<b/>", "other elements"),
    ],
)
def test_when_two_drawings_are_the_same(old: str, new: str, reason: str | None) -> None:
    found = run.difference(old, new)
    assert found is None if reason is None else found is not None and found.startswith(reason)


def test_the_pin_is_that_of_the_package() -> None:
    with (BOOK.parents[1] / "pyproject.toml").open("rb") as file:
        extra = tomllib.load(file)["project"]["optional-dependencies"]["tutorials"]
    assert any(one.startswith(f"matplotlib>={run.PINNED_MATPLOTLIB},<") for one in extra)


# --- the runner: notebooks and the command ------------------------------------------------------


@needs_pin
def test_notebooks(tmp_path: Path) -> None:
    path = tutorial(
        tmp_path, "See [the next](04-y.md#here).\n", cell("print(1)\n" + PLOT.format(1)), IF_MNIST
    )
    run.update(path)
    for folder in ("a", "b"):
        assert run.main(["--notebooks", str(tmp_path / folder), str(path)]) == 0
    first, second = ((tmp_path / folder / "03-x.ipynb").read_bytes() for folder in "ab")
    assert first == second
    document = json.loads(first)
    prose, code, data = document["cells"]
    assert "".join(prose["source"]) == "# Title\n\nSee [the next](04-y.ipynb#here)."
    assert [entry["id"] for entry in document["cells"]] == ["cell-000", "cell-001", "cell-002"]
    assert "".join(code["source"]).startswith("print(1)\n")
    assert code["outputs"][0]["text"] == ["1\n"]
    assert "".join(code["outputs"][1]["data"]["image/svg+xml"]).startswith("<?xml")
    assert data["metadata"] == {"tags": ["needs-mnist"]}
    if importlib.util.find_spec("nbformat"):
        import nbformat

        nbformat.validate(document)


@needs_pin
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tutorial(tmp_path, cell("1")))
    assert run.main(["--check", path]) == 1
    assert "expected nothing more, found '1'" in capsys.readouterr().out
    assert run.main(["--update", path]) == 0
    assert run.main(["--check", path]) == 0
    assert capsys.readouterr().out == "03-x.md: updated\n03-x.md: true\n"
    tutorial(tmp_path, cell("1 / 0"))
    assert run.main(["--update", path]) == 1
    assert "03-x.md:4: ZeroDivisionError" in capsys.readouterr().out


# --- the lint -----------------------------------------------------------------------------------

RULES = {
    "double backslash": (r"$$a \\ b$$", r"$$a \cr b$$", r"write \cr"),
    "brace": (r"$\{ a \}$", r"$\lbrace a \rbrace$", r"write \lbrace"),
    "thin space": (r"$a \, b$", r"$a \ b$", r"\, : write \quad".replace(" :", ":")),
    "thick space": (r"$a \; b$", r"$a \quad b$", r"\;: write \quad"),
    "norm": (r"$\|x\|$", r"$\Vert x \Vert$", r"write \Vert"),
    "percent": (r"$5 \%$", r"$5$ percent", "write words"),
    "operatorname": (r"$\operatorname{KL}$", r"$\mathrm{KL}$", r"write \mathrm"),
    "newcommand": (r"$\newcommand{\a}{b}$", r"$b$", "write the macro out"),
    "label": (r"$$a \label{b}$$", "$$a$$", "refer to formulas in words"),
    "tag": (r"$$a \tag{1}$$", "$$a$$", "refer to formulas in words"),
    "star": ("$q^*$", r"$q^\ast$", r"write \ast"),
    "less": ("$a < b$", r"$a \lt b$", r"write \lt"),
    "blank line": ("$$\na\n\nb\n$$", "$$\na\nb\n$$", ":5: a blank line"),
    "starts with =": ("$$\na\n= b\n$$", "$$\na =\nb\n$$", ":5: =: Markdown takes this start"),
    "starts with -": ("$$\na\n- b\n$$", "$$\na -\nb\n$$", ":5: -: Markdown takes this start"),
    "starts with +": ("$$\na\n  + b\n$$", "$$\na +\nb\n$$", ":5: +: Markdown takes this start"),
    "starts with >": ("$$\na\n> b\n$$", "$$\na >\nb\n$$", ":3: $$ a b $$: Markdown"),
    "inline starts with -": ("so $a\n- b$ is", "so $a -\nb$ is", "Markdown takes this start"),
    "italics": (
        r"Text," + "\n" + r"then $\mathbb{E}_{q} x_{i}$ here.",
        r"Text, then $\mathbb E_{q} x_{i}$ and $\mathbb{E}_{q}$.",
        r":4: $\mathbb{E}_{q} x_{i}$: Markdown changes it: no `}_`",
    ),
    "italics over two": (r"$\bar{x}_{i}$, $\bar{y}_{j}$", r"$\bar x_i$, $\bar y_j$", "no `}_`"),
    "entity": ("$a &gt; b$", "$a > b$", "Markdown changes it"),
    "bar in a table": ("| a |\n|---|\n| $p(x|z)$ |", "| a |\n|---|\n| $p(x \\mid z)$ |", r"\mid"),
    "code in a formula": ("$`x`$", "$x$ and `$x$`", "write TeX only"),
    "formula in alt text": ("![the $x$](a.svg)", "![the x](a.svg)", "Markdown changes it"),
    "one of two": ("![a $x$](a.svg) $x$", "$x$ [$x$](a.svg)", ":3: $x$: Markdown changes it"),
    "lone dollar": ("It costs $5.", "It costs 5 dollars, `$5` in code.", "without a partner"),
    "unclosed formula": ("$$\na\n\nProse.", "$$\na\n$$\n\nProse.", "$$ without a partner"),
    "dollar with a space": ("so $ x$ is", "so $x$ is", "no space inside"),
    "dollar at a letter": ("the $k$th", "the $k$-th", "a letter or digit touches"),
    "display in a line": ("so $$x$$ is", "so\n\n$$x$$\n\n1. is", "a paragraph of its own"),
    "myst cell": ("```{code-cell}\n1\n```", "```python\n1\n```", "a MyST fence {code-cell}"),
    "myst figure": ("```{figure} a.svg\n```", "![a](a.svg)", "a MyST fence {figure}"),
    "colons": (":::\nnote\n:::", "> [!NOTE]\n> note", "a MyST directive"),
    "role": ("see {ref}`there`", "see {there} `there`", "{ref}: a MyST role"),
    "target": ("(there)=\n\nText", "(there) =\n\nText", "a MyST target"),
    "bash": ("```bash\nls\n```", "```console\n$ ls $HOME\n```", "write `console` or `text`"),
    "python3": ("```python3\n1\n```", "```text\n1\n```", "python3 is not run"),
    "html image": ('<img src="a.svg">', "![a](a.svg)", "an HTML image"),
    "no alt text": ("![](a.svg)", "![a](a.svg)", "a.svg has no alt text"),
    "image missing": ("![a](b.svg)", "![a](a.svg)", "b.svg does not exist"),
    "image line": ("Text\n![a](b.svg)", "Text\n![a](a.svg)", ":4: b.svg"),
    "unicode image": ("![a](ä.svg)", "![ä](a.svg)", "only ASCII"),
    "image elsewhere": ("![a](https://x.org/a.svg)", "[a](https://x.org/a.svg)", "copy it"),
    "link": ("[a](b.md)", "[a](04-y.md)", "b.md leads nowhere"),
    "absolute link": ("[a](/)", "[a](#title)", "/ leads nowhere"),
    "anchor": ("[a](#nothing)", "[a](#title)", "no such heading in 03-x.md: it has title"),
    "anchor elsewhere": ("[a](04-y.md#b)", "[a](04-y.md#a-bc-1)", "it has a-bc, a-bc-1"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "04-y.md").write_text("# *A* `b`c\n\n# A bc!\n")
    (tmp_path / "a.svg").write_text("<svg/>")
    return tmp_path


@pytest.mark.parametrize("rule", RULES)
def test_lint_finds(folder: Path, rule: str) -> None:
    wrong, _, message = RULES[rule]
    found = lint.lint(tutorial(folder, wrong))
    assert any(message in one for one in found), found
    assert all(one.startswith(f"{folder.name}/03-x.md:") for one in found)


@pytest.mark.parametrize("rule", RULES)
def test_lint_passes(folder: Path, rule: str) -> None:
    _, right, _ = RULES[rule]
    assert lint.lint(tutorial(folder, right)) == []


def test_lint_finds_a_header(tmp_path: Path) -> None:
    path = tmp_path / "03-x.md"
    path.write_text("---\ntitle: a\n---\n")
    assert ":1: a YAML header" in lint.lint(path)[0]
    path.write_text("# Title\n\n---\n\nText\n")
    assert lint.lint(path) == []


DOLLARS = r"""
```python
price = "$5"  # $\{ \, $$
```

```text
$ 3 \\ $
```

Code `$\{`, ``a ` $ b`` and `two
lines $` are code; <!-- so is a comment -->

<!-- $ in a comment -->

    $indented code

> [!NOTE]
> The bound of $x$ is
>
> $$
> \log p(x) \ge
> \mathbb E_{q(z)} [\log p(x \mid z)]
> $$

1. In a list $x_i$, $z_{k}$ and $\mu^{(1)}_k$:

   $$
   a =
   b
   $$
"""


def test_lint_does_not_trip_over_code_quotes_and_lists(folder: Path) -> None:
    assert lint.lint(tutorial(folder, DOLLARS)) == []


def test_lint_names_the_formula_and_its_line(folder: Path) -> None:
    path = tutorial(folder, "$x$ and $x$", "", r"- $\hat{x}_{i} x_{j}$ after $x$")
    [message] = lint.lint(path)
    assert message.startswith(rf"{folder.name}/03-x.md:5: $\hat{{x}}_{{i}} x_{{j}}$: Markdown")


def test_lint_as_a_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tutorial(folder, "It costs $5.")
    assert lint.main([str(path)]) == 1
    assert "03-x.md:3: $ without a partner" in capsys.readouterr().out
    assert lint.main([str(folder / "04-y.md")]) == 0
