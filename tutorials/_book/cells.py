"""What a tutorial consists of: its cells, each with the output it carries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

TUTORIALS = Path(__file__).resolve().parents[1]

IMAGE_LINE = re.compile(r"!\[((?:(?!\]\().)*)\]\(figures/([\w.-]+\.svg)\)\s*")


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
            if not name.startswith(number(path) + "-") or name in seen:
                hint = f"a name of its own that starts with {number(path)}-"
                raise BookError(f"{where(path, cell.line)}: figure {name}: give it {hint}")
            seen.add(name)


def number(path: Path) -> str:
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
