"""Blocks of Markdown: tables, lists, pictures, text that stands as it is."""

from __future__ import annotations

from collections.abc import Sequence


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "\n".join(f"- {line}" for line in lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; bars and line ends in cells are made harmless."""

    def line(cells: Sequence[str]) -> str:
        safe = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(safe)} |"

    return "\n".join([line(head), line(["---"] * len(head)), *map(line, rows)])


def fence(text: str, language: str = "") -> str:
    """Text as it is."""
    marks = "```"
    while marks in text:
        marks += "`"  # a longer fence than any inside
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def picture(file: str, caption: str) -> str:
    """A picture beside the text, with its caption below."""
    return f"![{caption}]({file})\n\n*{caption}*"


def document(sections: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Titled sections of blocks, the first one's title the document's; empty ones are left out."""
    blocks = [
        "\n\n".join([f"{'#' if index == 0 else '##'} {title}", *body])
        for index, (title, body) in enumerate(sections)
        if body
    ]
    return "\n\n".join(blocks) + "\n"
