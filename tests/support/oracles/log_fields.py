"""Readable twin of ``_fast.logs.fields``: the usual wording of a message as a pattern."""

from __future__ import annotations

import re

FIELD = re.compile(r"\{(\w+)(:d)?\}")


def pattern_of(template: str) -> re.Pattern[bytes]:
    """What a whole message of this template matches; fields have neither quotes nor blanks."""
    pattern = b""
    at = 0
    for found in FIELD.finditer(template):
        pattern += re.escape(template[at : found.start()].encode())
        at = found.end()
        text = (
            rb"-?\d{1,12}" if found[2] else rb"[^';]*" if template[at : at + 1] in "';" else rb"\S+"
        )
        if at == len(template) and not found[2]:
            text = rb".*\S"
        pattern += b"(%b)" % text
    return re.compile(pattern + re.escape(template[at:].encode()), re.DOTALL)


def read(template: str, text: bytes) -> tuple[bytes | int, ...] | None:
    """The fields of the message; None: it is not of this wording."""
    found = pattern_of(template).fullmatch(text)
    if found is None:
        return None
    kinds = FIELD.findall(template)
    return tuple(
        int(value) if is_number else value
        for value, (_, is_number) in zip(found.groups(), kinds, strict=True)
    )
