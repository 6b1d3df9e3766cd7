"""
The order of names as people expect it: s2 before s10.

Used by ``config.merge`` and ``config.diff``. Pure.
"""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(text: str) -> tuple[tuple[int, str, str], ...]:
    """A key to sort by; two different texts never have the same one."""
    return tuple(
        (len(part.lstrip("0")), part.lstrip("0"), part) if at % 2 else (0, part, "")
        for at, part in enumerate(_NUMBER.split(text))
    )
