"""
The tables of codes in docs/check.md, made from ``config.codes`` between ``<!-- codes X -->`` and ``<!-- end -->``.

``python -m tests.support.check_doc`` writes them anew; a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from wsproxy.config import codes

DOC = Path(__file__).resolve().parents[2] / "docs" / "check.md"
_TABLE = re.compile(r"(<!-- codes (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_EXAMPLE = re.compile(r"^### ([\w-]+)\n(?:(?!^### ).)*?```xml\n(.*?)```", re.MULTILINE | re.DOTALL)


def with_tables(text: str) -> str:
    """The document with every table as ``codes`` says."""
    sections = set(headings(text))

    def table(match: re.Match[str]) -> str:
        found: dict[str, str] = getattr(codes, match[2])
        rows = ["| code | meaning |", "|---|---|"]
        for code, meaning in found.items():
            name = f"[`{code}`](#{code})" if code in sections else f"`{code}`"
            rows.append(f"| {name} | {meaning} |")
        return match[1] + "\n".join(rows) + "\n" + match[3]

    return _TABLE.sub(table, text)


def headings(text: str) -> list[str]:
    """The codes that have a section of their own."""
    return re.findall(r"^### ([\w-]+)$", text, re.MULTILINE)


def examples(text: str) -> Iterator[tuple[str, str]]:
    """Each code that has a section, and the file in it."""
    yield from _EXAMPLE.findall(text)


if __name__ == "__main__":
    DOC.write_text(with_tables(DOC.read_text()))
