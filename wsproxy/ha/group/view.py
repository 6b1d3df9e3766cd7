"""
The members of a core group, as all of them see them: a view, with an id and one order. Pure.

Driven by ``group.membership``. A view's id is the revision of the last word under ``members/``, so it is the same for
everybody without anybody counting; the order is that in which they joined (``joined``, the revision at which a key came to
be), so that who was there stays where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from wsproxy.ha.store.base import Entry


class Word(msgspec.Struct, frozen=True):
    """What a member says of itself, the value of its key."""

    id: int  # its number, for good
    instance: (
        str  # of this start of the proxy: another one with the same name is told from itself by it
    )
    host: str
    pid: int
    version: str
    said_ms: int  # since 1970, on its own clock: to be shown, never compared


@dataclass(frozen=True, slots=True)
class Member:
    """One that lives. ``joined``: the revision of its key's beginning, ``said``: of its last word."""

    name: str
    word: Word
    joined: int
    said: int
    lease: int

    @property
    def id(self) -> int:
        """Its number: the lowest one coordinates, where nobody is preferred."""
        return self.word.id


@dataclass(frozen=True, slots=True)
class View:
    """``id`` 0: nobody has joined yet. ``members`` in the order in which they joined."""

    id: int = 0
    members: tuple[Member, ...] = ()
    by_name: Mapping[str, Member] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members, in their order."""
        return tuple(each.name for each in self.members)

    def after(self, revision: int, changes: Sequence[tuple[str, Entry | None]]) -> View:
        """The view that the words of this revision make of this one: (name, entry), None: its lease has ended."""
        found = dict(self.by_name)
        for name, entry in changes:
            member = None if entry is None else member_of(name, entry)
            if member is None:
                found.pop(name, None)
            else:
                found[name] = member
        return view_of(revision, found.values())


@dataclass(frozen=True, slots=True)
class ViewChange:
    """What is otherwise in ``view`` than in the one before, both in the order of the views."""

    view: View
    joined: tuple[Member, ...]
    left: tuple[Member, ...]

    @property
    def is_change(self) -> bool:
        """Whether anybody came or went; a member that says its word again makes a view, but none that is told."""
        return bool(self.joined or self.left)


def member_of(name: str, entry: Entry) -> Member | None:
    """The member that this key is of; None: it is no word of a member (another version's)."""
    try:
        word = msgspec.json.decode(entry.value, type=Word)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return Member(name, word, entry.created, entry.modified, entry.lease)


def view_of(id_: int, members: Iterable[Member]) -> View:
    """One with these, in their order."""
    ordered = tuple(sorted(members, key=lambda each: (each.joined, each.name)))
    return View(id_, ordered, {each.name: each for each in ordered})


def compare(before: View, view: View) -> ViewChange:
    """Who came and who went; one that came back between two views did both."""
    joined = [
        each
        for each in view.members
        if (old := before.by_name.get(each.name)) is None or old.joined != each.joined
    ]
    left = [
        each
        for each in before.members
        if (new := view.by_name.get(each.name)) is None or new.joined != each.joined
    ]
    return ViewChange(view, tuple(joined), tuple(left))


def coordinator_of(view: View, preferred: Sequence[str]) -> str | None:
    """Who is to coordinate: the first of ``preferred`` that lives, else the one with the lowest id; None: nobody lives."""
    for name in preferred:
        if name in view.by_name:
            return name
    if not view.members:
        return None
    return min(view.members, key=lambda each: (each.id, each.joined, each.name)).name
