r"""Find what a tutorial may not contain, because it breaks on one of the places that show it.

    python tutorials/_book/lint.py [files]      default: all tutorials

A tutorial is read on the repository page, on the site and in Jupyter. On the repository page
Markdown runs before TeX: it eats the backslash of ``\,`` and turns a pair of underscores into
italics. So each formula has to come out of a CommonMark renderer as it went in; that one check
finds most mistakes, and the table FORBIDDEN gives the usual ones a better message. The rest of the
rules keeps to what all three places understand, and asks that images and links lead somewhere.

A formula is ``$...$`` within a paragraph or ``$$...$$`` with a paragraph of its own. Dollars in
code are code. A message reads ``file:line: what was found: what to write instead``.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

TUTORIALS = Path(__file__).resolve().parents[1]
Found = tuple[int, str]  # line, message

# In a formula: what is found (a regular expression), and what to write instead.
FORBIDDEN = {
    r"\\\\": r"write \cr",
    r"\\\{": r"write \lbrace",
    r"\\\}": r"write \rbrace",
    r"\\\|": r"write \Vert",
    r"\\[,;:!]": r"write \quad, or a backslash and a space",
    r"\\[#$%&_]": "Markdown eats this backslash: write words",
    r"\\operatorname\b": r"write \mathrm{KL}",
    r"\\(?:re)?newcommand\b|\\def\b": "write the macro out",
    r"\\label\b|\\tag\b|\\(?:eq)?ref\b": "refer to formulas in words",
    r"\*": r"write \ast, or \cdot",
    r"<": r"write \lt",
    r"\n[ \t]*\n": "a blank line ends the paragraph and the formula: take it out",
    r"\n[ \t]*(?:[=+#-]|\d+[.)]\s)": "Markdown takes this start of a line for its own: "
    "join it to the line before",
    r"\0": "code in a formula: write TeX only",
}
# Outside of code: what only one of the three places understands.
ONE_PLACE_ONLY = {
    r"^ *:::": "a MyST directive: write `> [!NOTE]` or plain text",
    r"\{[\w:-]+\}(?=\0)": "a MyST role: write a link, `$...$` or code",
    r"^\([\w-]+\)=[ \t]*$": "a MyST target: link to the heading",
    r"<img\b": "an HTML image: write ![what it shows](figures/NN-x.svg)",
}
SHELLS = {"bash", "sh", "shell", "zsh", "ksh", "fish", "powershell"}
NOT_CELLS = {"py", "py3", "python3", "pycon", "ipython", "ipython3"}

FORMULA = re.compile(r"\$\$([^$]+)\$\$|\$((?:(?!\n[ \t]*\n)[^$])+)\$")
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)((?:(?!\n[ \t]*\n).)+?)(?<!`)\1(?!`)", re.DOTALL)


def lint(path: Path) -> list[str]:
    """The messages for one tutorial, by line; none if it is fine."""
    path = path.resolve()
    source = path.read_text(encoding="utf-8")
    tokens = _markdown().parse(source)
    text = _mask(source, tokens)
    found = [
        *_header(source),
        *_fences(tokens),
        *_patterns(text, ONE_PLACE_ONLY),
        *_formulas(text),
        *_changed(text, tokens),
        *_images(path, tokens),
        *_links(path, tokens),
    ]
    name = f"{path.parent.name}/{path.name}"
    return [f"{name}:{line}: {message}" for line, message in sorted(set(found))]


def _markdown() -> MarkdownIt:
    """The Markdown of the repository page, as far as it matters here."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _mask(source: str, tokens: list[Token]) -> str:
    """The source with its lines and columns, but without code, comments and quote marks.

    A NUL stands for the first character of a code span, so that it is still seen to be one.
    """
    lines = source.split("\n")
    for token in tokens:
        first, last = token.map or (0, 0)
        comment = token.type == "html_block" and token.content.lstrip().startswith("<!--")
        if token.type in ("fence", "code_block") or comment:
            lines[first:last] = [" " * len(line) for line in lines[first:last]]
        elif token.type == "blockquote_open":
            lines[first:last] = [
                re.sub(r"^[ >]+", lambda m: " " * len(m[0]), line) for line in lines[first:last]
            ]
    return CODE_SPAN.sub(lambda m: "\0" + re.sub(r"[^\n]", " ", m[0][1:]), "\n".join(lines))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _header(source: str) -> Iterator[Found]:
    if re.match(r"(---|\+\+\+)[ \t]*\n", source):
        yield 1, "a YAML header is a table on the repository page: start with `# Title`"


def _fences(tokens: list[Token]) -> Iterator[Found]:
    """Fences that become cells, or nothing, in one of the three places."""
    for token in tokens:
        if token.type != "fence" or not token.map:
            continue
        line, language = token.map[0] + 1, (token.info.split() or [""])[0]
        if language.startswith("{"):
            yield line, f"a MyST fence {language}: write `python` for a cell, `text` for text"
        if language in SHELLS:
            yield line, f"a {language} fence becomes a cell in Jupyter: write `console` or `text`"
        if language.lower() in NOT_CELLS or language == "Python":
            yield line, f"{language} is not run: write `python` for a cell, `text` for none"


def _patterns(text: str, patterns: dict[str, str], start: int = 1) -> Iterator[Found]:
    for pattern, hint in patterns.items():
        for m in re.finditer(pattern, text, re.MULTILINE):
            # A match that begins with line ends is about the line on which it stops.
            line = start + text.count("\n", 0, m.end() - 1 if m[0].startswith("\n") else m.start())
            shown = m[0].strip().replace("\0", "`")
            yield line, f"{shown}: {hint}" if shown else hint


def _formulas(text: str) -> Iterator[Found]:
    """What each formula contains, what stands next to it, and dollars that belong to none."""
    for m in FORMULA.finditer(text):
        line, inner = _line(text, m.start()), m[1] or m[2]
        yield from _patterns(inner, FORBIDDEN, line)
        before, after = text[: m.start()].split("\n")[-1], text[m.end() :].split("\n")[0]
        if m[1] and (before.strip(" \t0123456789.-") or after.strip()):
            yield line, "$$ within a line of text: give the formula a paragraph of its own"
        if m[2] and inner != inner.strip():
            yield line, f"{m[0]}: no space inside of the dollars"
        if m[2] and (before[-1:].isalnum() or after[:1].isalnum()):
            yield line, f"{m[0]}: a letter or digit touches the dollar: put a space or hyphen there"
    for m in re.finditer(r"\$+", FORMULA.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)):
        yield (
            _line(text, m.start()),
            (
                f"{m[0]} without a partner in its paragraph: close the formula, take blank lines "
                "out of it, or write the word dollar"
            ),
        )


def _changed(text: str, tokens: list[Token]) -> Iterator[Found]:
    """Formulas that do not come out of Markdown as they went in, block by block."""
    found = [(_line(text, m.start()), " ".join(m[0].split())) for m in FORMULA.finditer(text)]
    for first, last, rendered in _rendered(tokens):
        formulas = [(line, formula) for line, formula in found if first < line <= last]
        wanted = Counter(formula for _, formula in formulas)
        for line, formula in formulas:
            if rendered.count(formula) < wanted[formula]:
                yield (
                    line,
                    (
                        f"{formula}: Markdown changes it: no `}}_` before another `_{{` (write "
                        r"\mathbb E_{q}, \bar x_i), no backslash before punctuation, \mid for |"
                    ),
                )


def _rendered(tokens: list[Token]) -> Iterator[tuple[int, int, str]]:
    """(first line, last line, text after Markdown) of each block at the margin."""
    first, last, texts = 0, 0, [""]
    for token in tokens:
        if token.level == 0 and token.map:
            yield first, last, " ".join(" ".join(texts).split())
            (first, last), texts = token.map, [""]
        if token.type == "inline":
            texts.append("".join(_after(child) for child in token.children or []))
    yield first, last, " ".join(" ".join(texts).split())


def _after(child: Token) -> str:
    """What TeX sees of a piece of a paragraph; NUL where there is more than text."""
    if child.type in ("text", "text_special"):
        return child.content
    return "\n" if child.type == "softbreak" else "\0"


def _inline(tokens: list[Token], kind: str) -> Iterator[tuple[int, Token]]:
    """The images or links of a text with the line that their paragraph begins in."""
    for token in tokens:
        line = token.map[0] + 1 if token.map else 1
        for child in token.children or []:
            if child.type == kind:
                yield line, child
            line += child.type in ("softbreak", "hardbreak")


def _images(path: Path, tokens: list[Token]) -> Iterator[Found]:
    for line, image in _inline(tokens, "image"):
        target = unquote(str(image.attrs["src"]))
        if not image.content.strip():
            yield line, f"{target} has no alt text: write ![what it shows]({target})"
        if re.match(r"[a-z]+:|//", target):
            yield line, f"{target} is fetched from elsewhere: copy it to figures/"
        elif not re.fullmatch(r"[\w./-]+", target, re.ASCII):
            yield line, f"{target}: only ASCII letters, digits and . _ - / in the path of an image"
        elif not (path.parent / target).is_file():
            yield line, f"{target} does not exist: run --update, or correct the path"


def _links(path: Path, tokens: list[Token]) -> Iterator[Found]:
    for line, link in _inline(tokens, "link_open"):
        href = unquote(str(link.attrs["href"]))
        target, _, anchor = href.partition("#")
        if re.match(r"[a-z]+:|//", href):
            continue
        file = path.parent / target if target else path
        if target.startswith("/") or not file.exists():
            yield line, f"{href} leads nowhere: write a path relative to this file"
        elif anchor and file.suffix == ".md" and anchor not in _anchors(file):
            known = ", ".join(_anchors(file))
            yield line, f"{href}: no such heading in {file.name}: it has {known}"


def _anchors(file: Path) -> list[str]:
    """The names that the repository page gives to the headings of a Markdown file."""
    tokens = _markdown().parse(file.read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    anchors = []
    for heading, content in zip(tokens, tokens[1:], strict=False):
        if heading.type == "heading_open":
            words = "".join(child.content for child in content.children or [])
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            anchors.append(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return anchors


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 if nothing was found."""
    names = sys.argv[1:] if arguments is None else arguments
    paths = [Path(name) for name in names] or sorted(TUTORIALS.glob("[0-9]*.md"))
    messages = [message for path in paths for message in lint(path)]
    print("\n".join(messages) or f"{len(paths)} tutorial(s), nothing found")
    return int(bool(messages))


if __name__ == "__main__":
    sys.exit(main())
