"""A single HTML page about a run: every figure with its explanation, and nothing to fetch."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 56rem; color: #1d2430;
       background: #fff; font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .4rem; padding-top: .8rem;
     border-top: 1px solid #d5dbe3; }
p { margin: .5rem 0; max-width: 44rem; }
pre { margin: .8rem 0; padding: .7rem .9rem; overflow-x: auto; background: #f3f6fa;
      border-radius: .4rem; font: .84rem/1.45 ui-monospace, Consolas, monospace; }
figure { margin: 1rem 0; }
figcaption { max-width: 44rem; margin-top: .3rem; }
img { display: block; max-width: 100%; height: auto; }
figcaption, .from { color: #55606e; font-size: .86rem; }
table { border-collapse: collapse; margin: .8rem 0; }
th, td { text-align: left; padding: .15rem 1.4rem .15rem 0; vertical-align: top; font-weight: 400; }
th { color: #55606e; white-space: nowrap; }
nav ol { columns: 2 24rem; padding-left: 1.3rem; }
a { color: #1a5fb4; }
@media (max-width: 40rem) { .wide { overflow-x: auto; }
                            .wide img { max-width: none; width: 36rem; } }
@media print { body { max-width: none; } h2 { break-after: avoid; }
               figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Section:
    """One question about a run, and what a command answered.

    title        the question.
    explanation  what the numbers mean, paragraph by paragraph.
    command      the command line that prints and draws the same.
    text         what it printed; empty if it had nothing to say about this run.
    pictures     (file, caption) of the PNG pictures that it drew.
    missing      why there is no answer, in place of text and pictures.
    """

    title: str
    explanation: Sequence[str]
    command: str
    text: str = ""
    pictures: Sequence[tuple[Path, str]] = ()
    missing: str = ""


def page(title: str, summary: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The page as HTML; its pictures are inside, so that the file can be sent and kept.

    Everything that comes from a run is escaped: a name with an angle bracket is a name.
    """
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in summary.items()
    )
    contents = "\n".join(
        f'<li><a href="#s{i}">{html.escape(section.title)}</a></li>'
        for i, section in enumerate(sections, 1)
    )
    body = "\n".join(_section(i, section) for i, section in enumerate(sections, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<table>
{rows}
</table>
<nav><ol>
{contents}
</ol></nav>
{body}
</body>
</html>
"""


def _section(number: int, section: Section) -> str:
    parts = [f'<h2 id="s{number}">{number}. {html.escape(section.title)}</h2>']
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.explanation]
    if section.missing:
        parts.append(f"<p><em>Not for this run: {html.escape(section.missing)}.</em></p>")
        return "\n".join(parts)
    parts += [_figure(path, caption) for path, caption in section.pictures]
    if section.text:
        # a table may be wider than a phone: it scrolls, and the keyboard reaches it
        parts.append(f'<pre tabindex="0">{html.escape(section.text)}</pre>')
    if section.command:
        parts.append(f'<p class="from">From <code>{html.escape(section.command)}</code></p>')
    return "\n".join(parts)


def _figure(path: Path, caption: str) -> str:
    data, words = base64.b64encode(path.read_bytes()).decode(), html.escape(caption, quote=True)
    return (
        f'<figure><div class="wide" tabindex="0"><img src="data:image/png;base64,{data}" '
        f'alt="{words}"></div><figcaption>{words}</figcaption></figure>'
    )
