"""Why an exchange may end (``_fast/tell/ended.pxd``): constants of C, which have no names at run time."""

from __future__ import annotations

import re
from pathlib import Path

import wsproxy._fast

_SOURCE = Path(wsproxy._fast.__file__).parent / "tell" / "ended.pxd"


def letters_of_causes() -> dict[str, str]:
    """The two letters of each, by its name without ``ENDED_``."""
    text = _SOURCE.read_text()
    enum = text[text.index("cdef enum Cause:") : text.index("cdef enum Waited:")]
    found = re.findall(r"^    ENDED_(\w+) = 0x([0-9A-F]{4})\b", enum, re.MULTILINE)
    return {name: bytes.fromhex(value).decode() for name, value in found}
