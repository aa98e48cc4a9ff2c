"""Comma-separated values: rows of numbers, perhaps with a header and a column of labels."""

import csv
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

LABELS = ("label", "class", "y")
"""The columns of a header that are not data; of several the first, the others are data."""

_PIECE = 2**18  # characters that are read at a time, up to the end of their last line


class Table(NamedTuple):
    """Numbers (N, D) float32, and the column of labels as it is written, if there is one."""

    x: np.ndarray
    labels: list[str] | None


class Columns(NamedTuple):
    """How many cells a line has, and which of them is the label."""

    number: int
    label: int | None


def read_csv(path: Path) -> Table:
    """Read a CSV file in UTF-8; blank lines are skipped.

    Header    The first line is one if it names a column of LABELS (in any case), if none of its
              cells is a number, or if they are 0, 1, 2, ..., as pandas writes them.
    Numbers   as Python writes them, in float32.
    Memory    4 bytes a number, and the labels; the text comes in pieces.
    Raises    ValueError with line and column (from 1) of a cell that is no finite number, a line
              of another length, or text that cannot be read.
    """
    numbers, labels, columns = array("f"), list[str](), None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for start, lines in _pieces(file):
                if columns is None:
                    first = next(csv.reader(lines[:1]))
                    columns = Columns(len(first), _label_column(first))
                    if columns.label is not None or _is_header(first):
                        start, lines = start + 1, lines[1:]
                block, words = _fast(lines, columns) or _careful(lines, columns, start)
                numbers.frombytes(block.tobytes())
                labels += words
    except UnicodeDecodeError as error:  # text is decoded in pieces, so the line is not known
        raise ValueError(f"expected text in UTF-8 ({error.reason})") from None
    if columns is None or not numbers:
        raise ValueError("expected lines of numbers, got none")
    x = np.frombuffer(numbers, np.float32).reshape(-1, columns.number - (columns.label is not None))
    return Table(x, None if columns.label is None else labels)


def _pieces(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Some lines at a time, and the number of the first; blank ones only within a piece."""
    start = 1
    while lines := file.readlines(_PIECE):
        blank = next((i for i, line in enumerate(lines) if line.strip("\r\n")), len(lines))
        if blank < len(lines):
            yield start + blank, lines[blank:]
        start += len(lines)


def _is_header(first: list[str]) -> bool:
    """Whether the first line names the columns: in words, or as pandas does, 0, 1, 2, ..."""
    counted = len(first) > 1 and first == [str(i) for i in range(len(first))]
    return counted or all(_number(cell) is None for cell in first)


def _label_column(first: list[str]) -> int | None:
    """Which cell of the header, if it is one, names the labels."""
    names = [cell.strip().lower() for cell in first]
    return next((names.index(name) for name in LABELS if name in names), None)


def _fast(lines: list[str], columns: Columns) -> tuple[np.ndarray, list[str]] | None:
    """Numbers and labels by NumPy's reader; None if there is anything to complain about."""
    words: list[str] = []
    if not any(line.strip("\r\n") for line in lines):
        return None  # nothing at all is a complaint of NumPy's

    def keep(word: str) -> float:
        words.append(word.strip())
        return 0.0

    try:
        x = np.loadtxt(
            lines, np.float32, comments=None, delimiter=",", quotechar='"', ndmin=2, encoding=None,
            converters=None if columns.label is None else {columns.label: keep},
        )  # fmt: skip
    except ValueError:
        return None
    if x.shape[1] != columns.number or not np.isfinite(x).all():
        return None
    return (x, words) if columns.label is None else (np.delete(x, columns.label, axis=1), words)


def _careful(lines: list[str], columns: Columns, start: int) -> tuple[np.ndarray, list[str]]:
    """The same, six times slower, with the line and the column of what is wrong."""
    rows, words = array("f"), list[str]()
    reader, end = csv.reader(lines), start - 1
    try:
        for row in reader:
            end = start - 1 + reader.line_num
            if row and len(row) != columns.number:
                raise ValueError(f"line {end}: expected {columns.number} columns, got {len(row)}")
            for i, cell in enumerate(row):
                value = _number(cell)
                if i == columns.label:
                    words.append(cell.strip())
                elif value is None or not math.isfinite(value):
                    where = f"line {end}, column {i + 1}"
                    hint = "" if any(c.isdigit() for c in cell) else "; labels need the name label"
                    if ";" in cell or "\t" in cell:
                        hint = "; columns are separated by commas"
                    got = repr(cell[:40])
                    raise ValueError(f"{where}: expected a finite number, got {got}{hint}")
                else:
                    rows.append(value)
    except csv.Error as error:
        raise ValueError(f"line {end + 1}: cannot be read as CSV ({error})") from None
    return np.frombuffer(rows, np.float32), words


def _number(cell: str) -> float | None:
    """A cell in float32; None if it is no number."""
    try:
        return None if "_" in cell else array("f", [float(cell)])[0]
    except ValueError:
        return None
