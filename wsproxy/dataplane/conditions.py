"""
What a conditional or partial request gets of a file: RFC 9110 13 and 14.

Called by ``dataplane.files``. Pure. Several ranges at once are answered with the whole file, as RFC 9110 14.2 allows: a client that
asks for a thousand of them gets no more than the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

Fields = Mapping[bytes, bytes]

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)
_TAG = re.compile(rb'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Version:
    """What is sent, as clients keep it: ``tag`` with its quotes, ``W/`` before one that is weak; seconds since 1970."""

    tag: bytes
    changed_s: int
    size: int

    @property
    def is_strong(self) -> bool:
        """Whether equal tags mean equal bytes: only then a part of the one fits to a part of the other."""
        return not self.tag.startswith(b"W/")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``status``: 200, 206, 304, 412 or 416; bytes from ``first`` on, ``length`` of them."""

    status: int
    first: int = 0
    length: int = 0


def judge(version: Version, fields: Fields, *, is_head: bool) -> Verdict:
    """The answer to a GET or HEAD with these fields, names in lower case, in the order of RFC 9110 13.2.2."""
    whole = Verdict(200, 0, version.size)
    wanted = fields.get(b"if-match")
    if wanted is not None:
        if not _has_tag(wanted, version.tag, is_weak_enough=False):
            return Verdict(412)
    elif _is_changed_since(version, fields.get(b"if-unmodified-since")) is True:
        return Verdict(412)
    known = fields.get(b"if-none-match")
    if known is not None:
        if _has_tag(known, version.tag, is_weak_enough=True):
            return Verdict(304)
    elif _is_changed_since(version, fields.get(b"if-modified-since")) is False:
        return Verdict(304)
    asked = fields.get(b"range")
    # A Range means something with GET alone (RFC 9110 14.2).
    if asked is None or is_head or not _is_in_range(version, fields.get(b"if-range")):
        return whole
    return _part(version.size, asked) or whole


def _part(size: int, asked: bytes) -> Verdict | None:
    """None: it is answered as if nothing was asked: several ranges, another unit, or no range at all."""
    found = _RANGE.fullmatch(asked)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last so many
        length = min(int(found[2]), size)
        if length == 0:
            return None if int(found[2]) else Verdict(416)
        return Verdict(206, size - length, length)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    if first >= size:
        return Verdict(416)
    return Verdict(206, first, min(last, size - 1) - first + 1)


def _has_tag(value: bytes, tag: bytes, *, is_weak_enough: bool) -> bool:
    """Whether the list names the tag, by RFC 9110 8.8.3.2: the weak comparison, or the strong one."""
    if value.strip() == b"*":
        return True
    if not is_weak_enough and tag.startswith(b"W/"):
        return False
    for found in _TAG.finditer(value):
        if found[0] == tag or (
            is_weak_enough and found[0].removeprefix(b"W/") == tag.removeprefix(b"W/")
        ):
            return True
    return False


def _is_changed_since(version: Version, date: bytes | None) -> bool | None:
    """None: no date is given, or none that can be read; then the field is ignored."""
    seconds = _seconds(date)
    return None if seconds is None else version.changed_s > seconds


def _is_in_range(version: Version, condition: bytes | None) -> bool:
    """If-Range: whether the client's part is of this very version (RFC 9110 13.1.5)."""
    if condition is None:
        return True
    if not version.is_strong:
        return False
    if condition.startswith((b'"', b"W/")):
        return condition.strip() == version.tag
    return _seconds(condition) == version.changed_s


def _seconds(date: bytes | None) -> int | None:
    if date is None:
        return None
    try:
        found = parsedate_to_datetime(date.decode("ascii"))
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):  # UnicodeDecodeError is one
        return None
