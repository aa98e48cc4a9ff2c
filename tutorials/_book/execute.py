"""Run the cells of a tutorial, at a desk that is always the same, and keep what they show."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from cells import TUTORIALS, BookError, Cell, Output, parse, where
from figures import take_figures
from matplotlib.figure import Figure

PRINTING: dict[str, Any] = {  # the defaults of NumPy
    "precision": 8,
    "suppress": False,
    "linewidth": 75,
    "threshold": 1000,
    "edgeitems": 3,
    "floatmode": "maxprec",
}
NEVER_TWICE_THE_SAME = {
    r" at 0x[0-9a-fA-F]+": "an address in memory (end the cell with `;`, or print something else)",
    r"\r": "a carriage return, as of a progress bar (send it to stderr)",
    r"\x1b": "a terminal colour",
}


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
        stack.enter_context(np.printoptions(**PRINTING))
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
    stdout, before = io.StringIO(), generator_state()
    try:
        with contextlib.redirect_stdout(stdout):
            value = _execute(path, cell, namespace)
            figures = take_figures(value)
            if value is not None and not isinstance(value, Figure):
                _start_line(stdout)
                print(repr(value))
    except (Exception, SystemExit) as error:
        raise BookError(_report(path, cell, error)) from error
    text = stdout.getvalue()
    _refuse_output(path, cell, text)
    if generator_state() != before:
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


def generator_state() -> tuple[Any, ...]:
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
