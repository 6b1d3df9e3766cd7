"""What the compiler makes of a handler must hold without memory, too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wsproxy._fast

SOURCES = sorted(Path(wsproxy._fast.__file__).parent.rglob("*.pyx"))
LEAVES = re.compile(r"(return|break|continue)\b")


def leaves_within_except(text: str) -> list[int]:
    """Lines that leave a handler by a jump."""
    found, handlers = [], list[int]()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        while handlers and depth <= handlers[-1]:
            handlers.pop()
        if re.match(r"except\b.*:", words):
            handlers.append(depth)
        elif handlers and LEAVES.match(words):
            found.append(number)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_handler_is_left_by_a_jump(path: Path) -> None:
    """Where memory was short an exception has no traceback, and Cython lets go of that in front of each jump: it crashes."""
    assert leaves_within_except(path.read_text()) == []


def test_jump_within_a_handler_is_found() -> None:
    """Of the looking itself."""
    text = "try:\n    return a()\nexcept Exception:\n    if b:\n        return c()\n    d()\nreturn 0\n"
    assert leaves_within_except(text) == [5]
