"""
Tables and sentences for people: as wide as the terminal, no word and no number cut.

Used by ``cli.replay``, ``cli.simulate``, ``cli.merge`` and ``cli.diff``. Must not know what stands in them. Rich's own tables cut numbers and titles that do
not fit; these break titles between words, give a long name a line of its own, and are wider than the terminal as a last resort.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

# Columns of a table that goes to a file: names of generated servers have up to 60.
PIPED_WIDTH = 160
# A name in less is hard to read.
LEAST_NAME = 12
_GAP = "  "

Row = tuple[str, ...]


def make_console(*, is_error: bool = False) -> Console:
    """Standard output or standard error; names of a log or a configuration are no markup."""
    console = Console(stderr=is_error, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def print_table(
    console: Console,
    title: str,
    head: Row,
    rows: Sequence[Row],
    *,
    names: int = 1,
    styles: dict[int, str] | None = None,
) -> None:
    """Rows of ``names`` texts and then numbers; ``styles``: of some rows. A first text without room has a line of its own."""
    widths = _widths(head, rows, names, console.width)
    console.print(Text(title, style="bold"))
    for line in _lines(head, widths, names, at_bottom=True):
        console.print(Text(line, style="bold"))
    console.print(Text("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)), style="dim"))
    for at, row in enumerate(rows):
        for line in _lines(row, widths, names):
            console.print(Text(line, style=(styles or {}).get(at, "")))
    console.print()


def _widths(head: Row, rows: Sequence[Row], names: int, most: int) -> list[int]:
    """All in one line where there is room; else the longest titles in several, and then less for the first text."""
    gaps = len(_GAP) * (len(head) - 1)
    cells = [max((len(row[at]) for row in rows), default=0) for at in range(len(head))]
    widths = [max(len(name), cell) for name, cell in zip(head, cells, strict=True)]
    for at in sorted(range(names, len(head)), key=lambda at: cells[at] - widths[at]):
        if sum(widths) + gaps > most:
            widths[at] = max(cells[at], *(len(word) for word in head[at].split()))
    if sum(widths) + gaps > most:
        widths[0] = max(most - gaps - sum(widths[1:]), min(LEAST_NAME, widths[0]), len(head[0]))
    return widths


def _lines(row: Row, widths: list[int], names: int, *, at_bottom: bool = False) -> list[str]:
    if len(row[0]) > widths[0] and not at_bottom:
        return [row[0], *_lines(("", *row[1:]), widths, names)]
    parts = [
        textwrap.wrap(cell, max(width, 1)) or [""] for cell, width in zip(row, widths, strict=True)
    ]
    if at_bottom:
        most = max(map(len, parts))
        parts = [[""] * (most - len(part)) + part for part in parts]
    return [
        _GAP.join(
            cell.ljust(width) if at < names else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in zip_longest(*parts, fillvalue="")
    ]


def print_text(
    console: Console, text: str, style: str = "", *, indent: str = "", first: str = ""
) -> None:
    """
    Broken between words where the terminal ends, further lines behind ``indent``; a word that is longer is left whole.

    ``first``: what stands before it in a style of its own, then as wide as ``indent``. What goes to a file is one line.
    """
    head = first.ljust(len(indent)) if first else ""
    lines = [head + text]
    if console.is_terminal:
        lines = textwrap.wrap(
            head + text, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
            drop_whitespace=True,
        )  # fmt: skip
    for at, line in enumerate(lines or [""]):
        shown = Text(line, style="" if first else style)
        if first and at == 0:
            shown.stylize(style, 0, len(first))
        console.print(shown)
