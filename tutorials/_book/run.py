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

import os
import sys
from pathlib import Path

# Outputs must not depend on how many cores a machine has, and two threads of OpenBLAS on products
# as small as these are slow where anything else is running.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The files beside this one, and the minivae of this checkout, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import minivae  # noqa: F401  # before NumPy, so that it may choose the kernel of its BLAS

# isort: split
import argparse
import re
from itertools import count, zip_longest

import matplotlib
from cells import TUTORIALS, BookError, Cell, Output, number, where
from execute import run
from figures import difference
from notebooks import notebook

PINNED_MATPLOTLIB = "3.11"  # the minor version that the extra `tutorials` pins

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
    fresh = (f"{number(path)}-{k}.svg" for k in count(1))
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
        for file in (path.parent / "figures").glob(f"{number(path)}-*.svg")
        if f"figures/{file.name}" not in text
    ]
    for file in stale:
        file.unlink()
    return bool(stale)


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
