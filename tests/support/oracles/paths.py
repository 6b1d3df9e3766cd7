"""
Which paths two readers may understand differently: by taking them apart and decoding them, as those readers would.

Driven by tests/unit/_fast. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re

ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")


def is_ambiguous(path: bytes) -> bool:
    """``path`` begins with a slash and has no query."""
    codes = [found[1] for found in ESCAPE.finditer(path)]
    if b"\\" in path or None in codes:
        return True
    decoded = {int(code, 16) for code in codes}
    if decoded & {*range(0x20), 0x7F, *b"/\\.;"}:
        return True
    *names, last = [segment.split(b";")[0] for segment in path[1:].split(b"/")]
    return b"" in names or not {b".", b".."}.isdisjoint([*names, last])
