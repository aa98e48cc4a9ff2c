"""Comma-separated values: rows of numbers, perhaps with a header and a column of labels."""

import csv
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

LABELS = ("label", "class", "y")
"""The columns of a header that are not data; of several the first, the others are data."""


class Table(NamedTuple):
    """Numbers (N, D) float32, and the column of labels as it is written, if there is one."""

    x: np.ndarray
    labels: list[str] | None


def read_csv(path: Path) -> Table:
    """Read a CSV file in UTF-8; blank lines are skipped.

    Header    The first line is one if it names a column of LABELS (in any case), or if none of its
              cells is a number.
    Numbers   what Python's `float` reads, in float32.
    Memory    4 bytes a number, and the labels; a line at a time.
    Raises    ValueError with line and column (from 1) of a cell that is no finite number, a line
              of another length, or text that cannot be read.
    """
    numbers, labels, reader = array("f"), list[str](), None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows: Iterator[list[str]] = (row for row in reader if row)
            first = next(rows, [])
            column = _label_column(first)
            if column is None and any(_number(cell) is not None for cell in first):
                numbers.extend(_numbers(first, None, reader.line_num))
            for row in rows:
                if len(row) != len(first):
                    raise ValueError(
                        f"line {reader.line_num}: expected {len(first)} columns, got {len(row)}"
                    )
                if column is not None:
                    labels.append(row[column].strip())
                numbers.extend(_numbers(row, column, reader.line_num))
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise ValueError(f"line {line}: cannot be read as CSV ({error})") from None
    except UnicodeDecodeError as error:  # text is decoded in pieces, so the line is not known
        raise ValueError(f"expected text in UTF-8 ({error.reason})") from None
    if not numbers:
        raise ValueError("expected lines of numbers, got none")
    x = np.frombuffer(numbers, np.float32).reshape(-1, len(first) - (column is not None))
    return Table(x, None if column is None else labels)


def _label_column(first: list[str]) -> int | None:
    """Which cell of the header, if it is one, names the labels."""
    names = [cell.strip().lower() for cell in first]
    return next((names.index(name) for name in LABELS if name in names), None)


def _number(cell: str) -> float | None:
    """A cell in float32; None if it is no number."""
    try:
        return array("f", [float(cell)])[0]
    except ValueError:
        return None


def _numbers(row: list[str], column: int | None, line: int) -> "array[float]":
    """The cells of a line but for the label's, all of them finite numbers."""
    cells = row if column is None else row[:column] + row[column + 1 :]
    try:
        numbers = array("f", map(float, cells))
        # A sum of float32 in float64 is finite if every term is: one test for the whole line.
        if math.isfinite(sum(numbers)):
            return numbers
    except ValueError:
        pass
    for i, cell in enumerate(row):
        value = _number(cell)
        if i != column and (value is None or not math.isfinite(value)):
            where = f"line {line}, column {i + 1}"
            raise ValueError(f"{where}: expected a finite number, got {cell[:40]!r}")
    raise AssertionError("a cell of this line is no finite number")
