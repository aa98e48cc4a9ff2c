"""A tutorial as a Jupyter notebook."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cells import Cell, parse


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
