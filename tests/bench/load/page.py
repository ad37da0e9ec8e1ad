"""A report as one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; background: #f8fafc; margin: 0; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p { max-width: 52rem; margin: .5rem 0; } .where { color: #6b7280; font-size: .87rem; }
table { border-collapse: collapse; background: white; margin: .8rem 0; font-size: .9rem;
  box-shadow: 0 1px 2px #0001; font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .75rem; text-align: right; border-bottom: 1px solid #e5e7eb; }
th { background: #f1f5f9; font-weight: 600; } th:first-child, td:first-child { text-align: left; }
td.yes { color: #047857; font-weight: 600; } td.no { color: #b91c1c; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(27rem, 1fr)); gap: 1rem; }
.charts img { width: 100%; background: white; box-shadow: 0 1px 2px #0001; }
.scroll { overflow-x: auto; }
"""


@dataclass
class Page:
    """Headings, paragraphs, tables and pictures, one after another."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, *, where: bool = False) -> None:
        """A paragraph; `where` it was measured is set smaller."""
        kind = ' class="where"' if where else ""
        self.parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; a truth value is shown as yes or no, None as not measured."""
        cells = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        self.parts.append(
            f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>'
            f"<tbody>{lines}</tbody></table></div>"
        )

    def charts(self, pictures: Mapping[str, str]) -> None:
        """SVG pictures by what they show."""
        images = "".join(
            f'<img alt="{html.escape(name, quote=True)}" '
            f'src="data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}">'
            for name, picture in pictures.items()
        )
        self.parts.append(f'<div class="charts">{images}</div>')

    def render(self, report: Mapping[str, Any]) -> str:
        """The page, with the report itself as JSON in it."""
        data = json.dumps(report).replace("</", "<\\/")
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head>\n"
            f"<body><main><h1>{html.escape(self.title)}</h1>\n"
            + "\n".join(self.parts)
            + f'\n</main><script type="application/json" id="report">{data}</script>'
            "</body></html>\n"
        )


def _word(value: object) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _cell(value: object) -> str:
    kind = f' class="{_word(value)}"' if isinstance(value, bool) else ""
    return f"<td{kind}>{html.escape(_word(value))}</td>"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The same table in Markdown: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for row in rows:
        words = ["**no**" if cell is False else _word(cell) for cell in row]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)
