"""
JSON as the commands print it: on a terminal it shows itself, and drives nothing.

Driven by every command that has ``--json``. Must not change what the JSON says: what it escapes stands within strings only.
"""

from __future__ import annotations

import json

import msgspec


def json_text(value: object, *, indent: int = 0) -> str:
    """The value as JSON text; characters that are not printable, such as bidirectional controls, as ``\\u`` escapes."""
    data = msgspec.json.encode(value)
    text = (msgspec.json.format(data, indent=indent) if indent else data).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]
