"""What a store has of a subject, as a bridge reads it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wsproxy.ha.board.rule import KINDS, Word
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store has of a subject. ``word`` None: of another version, which is left alone; ``modified`` 0: nothing."""

    word: Word | None
    modified: int


NOTHING = Kept(None, 0)


def subject_of(names: Names, key: str) -> str | None:
    """The part of a key that is the same at all sites; None: it is none of the board."""
    parts = names.parts_of_subject(key)
    return key.removeprefix(names.board) if parts is not None and parts[0] in KINDS else None


def kept_of(entry: Entry) -> Kept:
    """Its word, if it is one of this version."""
    try:
        return Kept(msgspec.json.decode(entry.value, type=Word), entry.modified)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return Kept(None, entry.modified)
