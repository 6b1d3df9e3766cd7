"""What stands in etcd about published configurations, as JSON. Pure; read and written by ``library``, ``follower`` and commands."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from wsproxy.config.published import Moment, Number, TriedResult, Version
from wsproxy.ha.store.base import Entry, StoreAwayError

# 8 MiB: twenty such versions are a tenth of etcd's 2 GB. The largest plugin-cfg.xml, 10 MB, is a twentieth of that.
MOST_PIECES = 16

_StructT = TypeVar("_StructT", bound=Struct)


class UnreadableError(StoreAwayError):
    """The store has answered, with what no wsproxy of this version has written; the text says which key."""


class Head(Struct, frozen=True):
    """The version that all are to go by; ``only``: the members that may take it already, None: all."""

    version: Version
    only: tuple[str, ...] | None = None

    def is_for(self, member: str) -> bool:
        """Whether that one may take it now."""
        return self.only is None or member in self.only


class Content(Struct, frozen=True):
    """Contents in so many pieces; not ``is_whole``: somebody is putting them there, or has given up."""

    pieces: Annotated[int, Meta(ge=0, le=MOST_PIECES)]
    at_ms: Moment
    is_whole: bool = False


class Applied(Struct, frozen=True):
    """
    What a member goes by, and what became of the version that it tried last.

    ``number``, ``id``: of the version in use; 0: FILE of its command line. ``is_guarded``: the guard may still undo it. ``trouble``: why the
    wanted one is not on this proxy's disk.
    """

    number: Number
    id: str
    tried: Number = 0
    tried_id: str = ""
    result: TriedResult | None = None
    problems: tuple[str, ...] = ()
    generation: Number = 0
    at_ms: Moment = 0
    is_guarded: bool = False
    trouble: str = ""

    def is_done_with(self, version: Version) -> bool:
        """Whether it has tried that one, whatever came of it."""
        return version.id in (self.id, self.tried_id)

    def in_words(self) -> str:
        """For people; not safe to print."""
        now = f"version {self.number} in use" if self.number else "FILE of its command line in use"
        if self.number and self.id == self.tried_id:
            now += f" (generation {self.generation})" + (", guarded" if self.is_guarded else "")
        if self.result in ("refused", "undone", "left"):
            why = f": {'; '.join(self.problems)}" if self.problems else ""
            now += f"; version {self.tried} {self.result}{why}"
        elif self.result == "failed":
            now += "; not every worker goes by it yet"
        return f"{now}; {self.trouble}" if self.trouble else now


def decoded(entry: Entry, kind: type[_StructT]) -> _StructT:
    """
    What stands in it.

    Raises:
        UnreadableError: something else does: another version of wsproxy wrote it, or somebody by hand.
    """
    try:
        return msgspec.json.decode(entry.value, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnreadableError(
            f"{entry.key}: found what this wsproxy cannot read: {error}; allowed is what wsproxy writes there, or nothing (`etcdctl del` with this key)"
        ) from None
