"""Run the tutorials: execute their cells, keep the outputs they carry true, write notebooks.

    python tutorials/_book/run.py --check            every tutorial still says what its code says
    python tutorials/_book/run.py --update FILE      rewrite the outputs and figures of one
    python tutorials/_book/run.py --notebooks DIR    one .ipynb each, from the committed outputs

What a tutorial is
    A plain Markdown file ``NN-name.md``. A fenced ``python`` block at the left margin is a *cell*.
    Its *committed output* is what directly follows it, blank lines aside: at most one fenced
    ``text`` block, then image lines ``![what it shows](figures/NN-x.svg)``, one per line, alone in
    their paragraph. A ``text`` block after anything but a cell is ordinary text; to put one behind
    a cell, put a sentence between them. Everything else in the file is prose.

What a cell shows
    What it prints, then the repr of its last expression, as in a notebook (not None, not a figure,
    and not when the cell ends in ``;``). stderr is not captured, so progress bars stay outside.
    Every figure left open is saved and closed; a figure that is the last expression counts as open.
    Figures take the names in the image lines, in order, then ``NN-1.svg``, ``NN-2.svg``, ... Their
    alt text is kept by ``--update``; a new figure has an empty one, and the lint asks for it.
    Trailing blanks do not count.

What is refused, because it cannot be the same twice
    Addresses (``<... at 0x7f...>``), carriage returns and colours of a terminal, the name of the
    temporary folder, draws from the global generator of NumPy (use ``default_rng(seed)``), and the
    warnings RuntimeWarning and UserWarning, which are errors here.

Where cells run
    In this process, one fresh namespace per tutorial, in a fresh temporary working directory, with
    NumPy's default printing and error state and the Matplotlib settings of ``matplotlibrc``.
    All of that is put back afterwards.

Data that may be missing
    A cell marked ``python if=mnist`` runs when MINIVAE_DATA names a folder that has ``mnist/``.
    Otherwise it is skipped: ``--check`` does not compare its outputs, ``--update`` leaves them as
    they are. A later cell that uses its variables needs the mark, too.

Figures
    They are equal when they differ only in generated ids, by 0.05 pt in a coordinate or by 2/255 in
    a colour or an embedded image. Across minor versions of Matplotlib drawings change, so
    ``--check`` compares them under the pinned one only and ``--update`` works there only.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any

# Outputs must not depend on how many cores a machine has, and two threads of OpenBLAS on products
# as small as these are slow where anything else is running.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import minivae  # noqa: F401  # before NumPy, so that it may choose the kernel of its BLAS

# isort: split
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from markdown_it import MarkdownIt
from markdown_it.token import Token
from matplotlib.figure import Figure

TUTORIALS = Path(__file__).resolve().parents[1]
PINNED_MATPLOTLIB = "3.11"  # the minor version that the extra `tutorials` pins

IMAGE_LINE = re.compile(r"!\[((?:(?!\]\().)*)\]\(figures/([\w.-]+\.svg)\)\s*")
NEVER_TWICE_THE_SAME = {
    r" at 0x[0-9a-fA-F]+": "an address in memory (end the cell with `;`, or print something else)",
    r"\r": "a carriage return, as of a progress bar (send it to stderr)",
    r"\x1b": "a terminal colour",
}


class BookError(Exception):
    """A tutorial that cannot be read or run; the message starts with file:line."""


@dataclass(frozen=True)
class Cell:
    """A cell and its committed output; lines count from 1, `start`, `stop`, `end` are slices."""

    line: int  # of the first line of code
    code: str
    needs: str | None  # the folder of `if=...`
    text: str  # committed output
    text_line: int  # its first line, or that of the fence of the cell
    images: tuple[tuple[str, str], ...]  # (alt, file name)
    start: int  # lines[start:stop] is the cell, lines[stop:end] its output
    stop: int
    end: int


@dataclass(frozen=True)
class Output:
    """What a cell showed: its text and its figures as SVG."""

    text: str
    figures: tuple[str, ...]


# --- reading ------------------------------------------------------------------------------------


def where(path: Path, line: int) -> str:
    """`folder/file:line`, the same on every machine."""
    path = path.resolve()
    return f"{path.parent.name}/{path.name}:{line}"


def parse(path: Path) -> list[Cell]:
    """The cells of a tutorial with their committed outputs, in order."""
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token in tokens:
        _refuse_fence(path, lines, token)
    blocks = [token for token in tokens if token.map and token.level == 0]
    cells = [
        _cell(path, lines, blocks[i:]) for i, block in enumerate(blocks) if _is(block, "python")
    ]
    _refuse_names(path, cells)
    return cells


def _is(block: Token, language: str) -> bool:
    return block.type == "fence" and block.info.split()[:1] == [language]


def _refuse_fence(path: Path, lines: list[str], token: Token) -> None:
    """Fences that look like cells to a reader or to Jupyter and are none, or never end."""
    line = token.map[0] + 1 if token.map else 0
    if _is(token, "bash"):
        raise BookError(f"{where(path, line)}: a bash fence becomes a cell in Jupyter: `console`")
    if not _is(token, "python"):
        return
    if token.level > 0:
        raise BookError(f"{where(path, line)}: a cell in a list or quote: move it to the margin")
    if not re.fullmatch(r"python( if=[\w-]+)?", token.info.strip()):
        raise BookError(f"{where(path, line)}: `{token.info}`: `python` or `python if=folder`")
    if token.map and not lines[token.map[1] - 1].strip().startswith(token.markup):
        raise BookError(f"{where(path, line)}: a cell that is never closed")


def _refuse_names(path: Path, cells: list[Cell]) -> None:
    """One picture per name, and no tutorial writes over the pictures of another."""
    seen: set[str] = set()
    for cell in cells:
        for _, name in cell.images:
            if not name.startswith(_number(path) + "-") or name in seen:
                hint = f"a name of its own that starts with {_number(path)}-"
                raise BookError(f"{where(path, cell.line)}: figure {name}: give it {hint}")
            seen.add(name)


def _number(path: Path) -> str:
    return path.stem.split("-")[0]


def _span(block: Token) -> tuple[int, int]:
    assert block.map is not None  # parse() kept only blocks that have one
    return block.map[0], block.map[1]


def _cell(path: Path, lines: list[str], blocks: list[Token]) -> Cell:
    """The cell that is the first of the blocks, and the output that the next ones may be."""
    fence, following = blocks[0], blocks[1:]
    start, stop = _span(fence)
    text, text_line, end = "", start + 1, stop
    images: list[tuple[str, str]] = []
    if following and following[0].type == "fence" and following[0].info.strip() == "text":
        text = following[0].content
        first, end = _span(following.pop(0))
        text_line = first + 2
    while following and (found := _image_lines(lines, following[0])):
        images += found
        end = _span(following.pop(0))[1]
    needs = fence.info.partition("if=")[2].strip() or None
    return Cell(start + 2, fence.content, needs, text, text_line, tuple(images), start, stop, end)


def _image_lines(lines: list[str], block: Token) -> list[tuple[str, str]]:
    """(alt, name) of a paragraph that consists of image lines only, or nothing."""
    if block.type != "paragraph_open":
        return []
    matches = [IMAGE_LINE.fullmatch(line) for line in lines[slice(*_span(block))]]
    return [(m[1], m[2]) for m in matches if m] if all(matches) else []


# --- running ------------------------------------------------------------------------------------


def data_folder() -> Path | None:
    """The folder that MINIVAE_DATA names, or None."""
    name = os.environ.get("MINIVAE_DATA")
    return Path(name).expanduser().resolve() if name else None


def run(path: Path) -> list[tuple[Cell, Output | None]]:
    """Every cell with what it shows now; None for a cell whose data are missing."""
    path = path.resolve()
    cells, data = parse(path), data_folder()
    namespace: dict[str, Any] = {"__name__": "__main__"}
    results: list[tuple[Cell, Output | None]] = []
    with _session(data):
        for cell in cells:
            missing = cell.needs and not (data and (data / cell.needs).is_dir())
            results.append((cell, None if missing else _run_cell(path, cell, namespace)))
    return results


@contextlib.contextmanager
def _session(data: Path | None) -> Iterator[None]:
    """A desk that is the same for every tutorial, and cleared afterwards."""
    generator, environment = np.random.get_state(), dict(os.environ)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="minivae-tutorial-"))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(
            np.printoptions(
                precision=8,
                suppress=False,
                linewidth=75,
                threshold=1000,
                edgeitems=3,
                floatmode="maxprec",
            )
        )
        stack.enter_context(_strict_warnings())
        stack.enter_context(_matplotlib())
        if data:  # a relative name would be read from the temporary folder
            os.environ["MINIVAE_DATA"] = str(data)
        try:
            yield
        finally:
            np.random.set_state(generator)
            os.environ.clear()
            os.environ.update(environment)


@contextlib.contextmanager
def _strict_warnings() -> Iterator[None]:
    """What a reader would see in red is an error; notices to developers are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (RuntimeWarning, UserWarning):
            warnings.simplefilter("error", category)
        yield


@contextlib.contextmanager
def _matplotlib() -> Iterator[None]:
    """The settings of `matplotlibrc` on top of the defaults, and no figures of anybody else."""
    matplotlib.use("Agg")
    plt.close("all")
    with matplotlib.rc_context():
        matplotlib.rc_file(TUTORIALS / "matplotlibrc")
        try:
            yield
        finally:
            plt.close("all")


def _run_cell(path: Path, cell: Cell, namespace: dict[str, Any]) -> Output:
    """Execute one cell; an error names the line of the Markdown file."""
    stdout, before = io.StringIO(), _generator_state()
    try:
        with contextlib.redirect_stdout(stdout):
            value = _execute(path, cell, namespace)
            figures = _figures(value)
            if value is not None and not isinstance(value, Figure):
                _start_line(stdout)
                print(repr(value))
    except (Exception, SystemExit) as error:
        raise BookError(_report(path, cell, error)) from error
    text = stdout.getvalue()
    _refuse_output(path, cell, text)
    if _generator_state() != before:
        raise BookError(
            f"{where(path, cell.line)}: the cell draws from the global generator of "
            "NumPy: use np.random.default_rng(seed)"
        )
    return Output(text, tuple(figures))


def _start_line(stdout: io.StringIO) -> None:
    if not stdout.getvalue().endswith("\n") and stdout.getvalue():
        stdout.write("\n")


def _execute(path: Path, cell: Cell, namespace: dict[str, Any]) -> Any:
    """Run the code; the value of the last expression, None if it is none or ends in `;`."""
    source = "\n" * (cell.line - 1) + cell.code  # so that tracebacks name the line of the .md
    tree, last = ast.parse(source, str(path)), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        node = tree.body[-1]
        assert node.end_lineno is not None
        rest = source.split("\n")[node.end_lineno - 1].encode()[node.end_col_offset :]
        if not rest.lstrip().startswith(b";"):
            last = ast.Expression(node.value)
            tree.body.pop()
    # dont_inherit: the `from __future__` of this file is not the tutorial's.
    exec(compile(tree, str(path), "exec", dont_inherit=True), namespace)
    return eval(compile(last, str(path), "eval", dont_inherit=True), namespace) if last else None


def _figures(value: Any) -> list[str]:
    """The open figures as SVG, and the last expression if it is another one; all get closed."""
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    drawn = [_svg(figure) for figure in figures]
    plt.close("all")
    return drawn


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Date and Creator (with the patch version) would change the bytes of an unchanged drawing.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in buffer.getvalue().split("\n"))


def _generator_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    return (state[1].tobytes(), *state[2:])


def _refuse_output(path: Path, cell: Cell, text: str) -> None:
    temporary = {re.escape(os.getcwd()): "the name of the temporary folder"}
    for pattern, what in (NEVER_TWICE_THE_SAME | temporary).items():
        if re.search(pattern, text):
            raise BookError(f"{where(path, cell.line)}: the output has {what}")


def _report(path: Path, cell: Cell, error: BaseException) -> str:
    """file:line, the error, and the traceback from the cell on."""
    frames: list[TracebackType] = []
    tb = error.__traceback__
    while tb:
        frames += [tb] if tb.tb_frame.f_code.co_filename == str(path) else []
        tb = tb.tb_next
    line = frames[-1].tb_lineno if frames else cell.line
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.lineno:
        line = error.lineno
    ours = error.with_traceback(frames[0] if frames else None)
    details = "".join(traceback.format_exception(ours)).rstrip()
    return f"{where(path, line)}: {type(error).__name__}: {error}\n{details}"


# --- comparing ----------------------------------------------------------------------------------


def check(path: Path) -> list[str]:
    """What the tutorial says and its code does not: one message per difference, none if true."""
    try:
        results = run(path)
    except BookError as error:
        return [str(error)]
    problems: list[str] = []
    for cell, output in results:
        if output is not None:
            problems += _compare_text(path, cell, output.text)
            problems += _compare_figures(path, cell, output.figures)
    return problems


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")] if text.strip() else []


def _compare_text(path: Path, cell: Cell, text: str) -> list[str]:
    """The first line that differs, if one does."""
    for i, (old, new) in enumerate(zip_longest(_lines(cell.text), _lines(text))):
        if old != new:
            expected = "nothing more" if old is None else repr(old)
            found = "nothing more" if new is None else repr(new)
            return [f"{where(path, cell.text_line + i)}: expected {expected}, found {found}"]
    return []


def _compare_figures(path: Path, cell: Cell, figures: tuple[str, ...]) -> list[str]:
    at = where(path, cell.line)
    if len(figures) != len(cell.images):
        return [f"{at}: expected {len(cell.images)} figure(s), found {len(figures)}"]
    problems = []
    for (_, name), new in zip(cell.images, figures, strict=True):
        file = path.parent / "figures" / name
        if not file.is_file():
            problems.append(f"{at}: figures/{name} is missing")
        elif pinned() and (reason := difference(file.read_text(encoding="utf-8"), new)):
            problems.append(f"{at}: figures/{name} differs: {reason}")
    return problems


def pinned() -> bool:
    """Whether this Matplotlib draws like the one that drew the committed figures."""
    return matplotlib.__version__.startswith(PINNED_MATPLOTLIB + ".")


_ID = re.compile(r'(id="|url\(#|href="#)([^")]*[0-9a-f]{10})(?=[")])')
_IMAGE = re.compile(r'data:image/png;base64,([^"]*)')
_COLOUR = re.compile(r"#([0-9a-f]{6})\b")
_NUMBER = re.compile(r"(?<![\w#.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def difference(old: str, new: str) -> str | None:
    """Why two SVG drawings are not the same picture, or None if they are."""
    (frame, *parts), (new_frame, *new_parts) = _dissect(old), _dissect(new)
    if frame != new_frame:
        return "other elements, labels or styles"
    kinds = (("a coordinate", "pt", 0.05), ("a colour", "/255", 2.0), ("a pixel", "/255", 2.0))
    for (what, unit, tolerance), a, b in zip(kinds, parts, new_parts, strict=True):
        largest = float(np.abs(a - b).max(initial=0.0))
        if largest > tolerance + 1e-9:
            return f"{what} by {largest:.3g} {unit} (allowed: {tolerance:g})"
    return None


def _dissect(svg: str) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """A drawing as (everything else, coordinates, colours, pixels of the images)."""
    names: dict[str, str] = {}
    images = [_pixels(data) for data in _IMAGE.findall(svg)]
    svg = _IMAGE.sub("image", svg)
    svg = _ID.sub(lambda m: m[1] + names.setdefault(m[2], f"id{len(names)}"), svg)
    colours = [list(bytes.fromhex(colour)) for colour in _COLOUR.findall(svg)]
    svg = _COLOUR.sub("colour", svg)
    numbers = np.array([float(number) for number in _NUMBER.findall(svg)])
    frame = (_NUMBER.sub("0", svg).split(), [image.shape for image in images])
    pixels = np.concatenate([image.ravel() for image in images]) if images else np.zeros(0)
    return frame, numbers, np.array(colours, dtype=float), pixels


def _pixels(data: str) -> np.ndarray:
    png = io.BytesIO(base64.b64decode(data))
    return np.asarray(plt.imread(png, format="png"), dtype=float) * 255.0


# --- updating -----------------------------------------------------------------------------------


def update(path: Path) -> bool:
    """Rewrite the outputs and figures of a tutorial; whether anything changed.

    Nothing is written unless every cell ran. A figure that is the same picture keeps its bytes.
    Figures of this tutorial that its text no longer names are deleted.
    """
    if not pinned():
        raise BookError(
            f"{where(path, 1)}: figures are drawn by Matplotlib {PINNED_MATPLOTLIB}, "
            f"this is {matplotlib.__version__}"
        )
    old = path.read_text(encoding="utf-8")
    results = run(path)
    if path.read_text(encoding="utf-8") != old:  # the line numbers are those of the old text
        raise BookError(f"{where(path, 1)}: the file changed while its cells ran: update again")
    text, drawings = _rewritten(path, old, results)
    folder = path.parent / "figures"
    changed = [_write_figure(folder / name, svg) for name, svg in drawings.items()]
    if text != old:
        _write(path, text)
    return any([*changed, text != old, _sweep(path, text)])


def _rewritten(
    path: Path, old: str, results: list[tuple[Cell, Output | None]]
) -> tuple[str, dict[str, str]]:
    """The text with new outputs, and the drawings by name; skipped cells stay as they are."""
    lines = old.split("\n")
    used = {name for cell, _ in results for _, name in cell.images}
    pieces: list[tuple[Cell, list[str]]] = []
    drawings: dict[str, str] = {}
    for cell, output in results:
        if output is not None:
            images = _named(path, cell, len(output.figures), used)
            pieces.append((cell, _render(output.text, images)))
            for (_, name), svg in zip(images, output.figures, strict=True):
                drawings[name] = svg
    for cell, piece in reversed(pieces):  # from below, so that line numbers above stay right
        after = [""] if piece and cell.end < len(lines) and lines[cell.end].strip() else []
        lines[cell.stop : cell.end] = piece + after
    return "\n".join(lines), drawings


def _named(path: Path, cell: Cell, n: int, used: set[str]) -> list[tuple[str, str]]:
    """(alt, name) for n figures: those of the image lines first, then new names."""
    images = list(cell.images[:n])
    fresh = (f"{_number(path)}-{k}.svg" for k in count(1))
    while len(images) < n:
        name = next(name for name in fresh if name not in used)
        used.add(name)
        images.append(("", name))
    return images


def _render(text: str, images: list[tuple[str, str]]) -> list[str]:
    """The Markdown lines of an output; a fence longer than any in the text."""
    lines: list[str] = []
    if shown := _lines(text):
        longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        lines += ["", fence + "text", *shown, fence]
    for alt, name in images:
        lines += ["", f"![{alt}](figures/{name})"]
    return lines


def _write_figure(file: Path, svg: str) -> bool:
    if file.is_file() and difference(file.read_text(encoding="utf-8"), svg) is None:
        return False
    _write(file, svg)
    return True


def _write(file: Path, text: str) -> None:
    """Write all or nothing: a reader never sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _sweep(path: Path, text: str) -> bool:
    """Delete the figures of this tutorial that its text does not name."""
    stale = [
        file
        for file in (path.parent / "figures").glob(f"{_number(path)}-*.svg")
        if f"figures/{file.name}" not in text
    ]
    for file in stale:
        file.unlink()
    return bool(stale)


# --- notebooks ----------------------------------------------------------------------------------


def notebook(path: Path) -> str:
    """The tutorial as a Jupyter notebook (format 4.5) with its committed outputs."""
    lines, position = path.read_text(encoding="utf-8").split("\n"), 0
    cells: list[dict[str, Any]] = []
    for cell in parse(path):
        cells += _prose(lines[position : cell.start])
        cells.append(_code(path, cell))
        position = cell.end
    cells += _prose(lines[position:])
    for i, entry in enumerate(cells):
        entry["id"] = f"cell-{i:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _prose(lines: list[str]) -> list[dict[str, Any]]:
    """A Markdown cell, or none for blank lines; links to tutorials become links to notebooks."""
    text = "\n".join(lines).strip("\n")
    text = re.sub(r"\]\((\d\d-[\w-]+)\.md(?=[#)])", r"](\1.ipynb", text)
    source = text.splitlines(keepends=True)
    return [{"cell_type": "markdown", "metadata": {}, "source": source}] if text.strip() else []


def _code(path: Path, cell: Cell) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    if cell.text:
        text = cell.text.splitlines(keepends=True)
        outputs.append({"name": "stdout", "output_type": "stream", "text": text})
    for alt, name in cell.images:
        svg = (path.parent / "figures" / name).read_text(encoding="utf-8")
        data = {"image/svg+xml": svg.splitlines(keepends=True), "text/plain": [alt]}
        outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": [f"needs-{cell.needs}"]} if cell.needs else {},
        "outputs": outputs,
        "source": cell.code.rstrip("\n").splitlines(keepends=True),
    }


# --- the command --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Run the tutorials.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--update", action="store_true", help="rewrite outputs and figures")
    action.add_argument("--check", action="store_true", help="compare outputs and figures")
    action.add_argument("--notebooks", metavar="DIR", type=Path, help="write .ipynb files")
    parser.add_argument("files", nargs="*", type=Path, help="default: all tutorials")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(TUTORIALS.parent))  # the minivae of this checkout, installed or not
    if options.check and not pinned():
        print(
            f"Matplotlib {matplotlib.__version__} is not {PINNED_MATPLOTLIB}: "
            "figures are not compared"
        )
    failed = False
    for path in options.files or sorted(TUTORIALS.glob("[0-9]*.md")):
        problems, verdict = _act(options, path)
        print("\n".join(problems) or f"{path.name}: {verdict}", flush=True)
        failed = failed or bool(problems)
    return int(failed)


def _act(options: argparse.Namespace, path: Path) -> tuple[list[str], str]:
    """Do one thing to one tutorial: what is wrong, and one word if nothing is."""
    try:
        if options.check:
            return check(path), "true"
        if options.update:
            return [], "updated" if update(path) else "unchanged"
        _write(options.notebooks / f"{path.stem}.ipynb", notebook(path))
        return [], "written"
    except (BookError, OSError) as error:
        return [str(error)], ""


if __name__ == "__main__":
    sys.exit(main())
