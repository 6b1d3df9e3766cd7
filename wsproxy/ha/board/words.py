"""
What this proxy's slots say of each server, as words of the board; and words of the board, said into the slots.

Driven by ``board.board``. Both ways go through the same functions as an operator's commands and a worker's marks
(``_fast.decide.operate``), so workers obey them from their next decision on. Must not decide which word counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import (
    AS_FILE,
    hold_server,
    said_of,
    set_numbers,
    take_mark,
)
from wsproxy._fast.state.changes import Change, ChangeKind
from wsproxy._fast.state.operator import Hold
from wsproxy.dataplane.plan import Plan
from wsproxy.ha.board.rule import KINDS, Kind, Word

# What a name in the ring of changes has room for, and a sentence: 79 and 157 bytes.
_NAME_BYTES = 79

# Changes that say why there is no mark, or no hold, any more.
_UP = (ChangeKind.UP, ChangeKind.MARK_CLEARED)
_FREE = (ChangeKind.DRAIN_OFF, ChangeKind.DOWN_OFF)


@dataclass(frozen=True, slots=True)
class Subject:
    """One property of one server of one configuration."""

    kind: Kind
    cluster: str
    server: str


@dataclass(slots=True)
class Ends:
    """When a server's last mark, or hold, ended, and whether an operator said so; 0: it is not known."""

    at_ms: int = 0
    is_operator: bool = False


class Slots:
    """The servers of one configuration, in shared memory."""

    def __init__(self, plan: Plan, me: str) -> None:
        """``me``: in whose name words are said."""
        self._me = me
        self._places: dict[tuple[str, str], tuple[Cluster, int]] = {}
        self._by_ring: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for _, config, cluster in plan.operated():
            for index, server in enumerate(config.all_servers):
                name = config.name, server.name
                self._places[name] = cluster, index
                self._by_ring.setdefault(_cut(*name), []).append(name)
        self._ends: dict[tuple[Kind, str, str], Ends] = {}

    def subjects(self) -> Iterator[Subject]:
        """All."""
        for cluster, server in self._places:
            for kind in KINDS:
                yield Subject(kind, cluster, server)

    def has(self, subject: Subject) -> bool:
        """Whether this configuration has the server."""
        return (subject.cluster, subject.server) in self._places

    def note(self, change: Change) -> Iterator[Subject]:
        """What may be otherwise after this entry of the ring."""
        for cluster, server in self._by_ring.get((change.cluster, change.server), ()):
            if change.kind in _UP:
                is_operator = change.kind == ChangeKind.MARK_CLEARED
                self._ends["mark", cluster, server] = Ends(change.wall_ms, is_operator)
            elif change.kind in _FREE:
                self._ends["hold", cluster, server] = Ends(change.wall_ms, is_operator=True)
            for kind in KINDS:
                yield Subject(kind, cluster, server)

    def read(self, subject: Subject) -> Word | None:
        """What the slots say now; None: nothing was ever said."""
        cluster, index = self._places[subject.cluster, subject.server]
        if subject.kind == "mark":
            return self._read_mark(subject, cluster, index)
        said = said_of(cluster, index)
        if subject.kind == "hold":
            if said.hold == Hold.NO_HOLD:
                ends = self._ends.get(("hold", subject.cluster, subject.server))
                return None if ends is None else Word(self._me, ends.at_ms, is_operator=True)
            return Word(
                self._me, said.since_ms, is_operator=True, who=said.who, why=said.why,
                hold=int(said.hold), until_ms=said.until_ms,
            )  # fmt: skip
        if not said.numbers_ms:
            return None
        return Word(
            self._me, said.numbers_ms, is_operator=True, who=said.numbers_who, why=said.numbers_why,
            weight=said.weight, limit=said.limit, file_weight=said.file_weight, file_limit=said.file_limit,
        )  # fmt: skip

    def _read_mark(self, subject: Subject, cluster: Cluster, index: int) -> Word | None:
        failure = cluster.why_down(index)
        if failure is not None:
            return Word(
                self._me, failure.wall_ms, why=failure.detail, error=failure.error, is_down=True
            )
        ends = self._ends.get(("mark", subject.cluster, subject.server))
        if ends is None:
            return None
        return Word(self._me, ends.at_ms, is_operator=ends.is_operator)

    def say(self, subject: Subject, word: Word, wall_ms: int) -> bool:
        """Has the word hold here; whether anything is otherwise now. ``wall_ms``: of now."""
        cluster, index = self._places[subject.cluster, subject.server]
        if subject.kind == "mark":
            age_ms = max(wall_ms - word.at_ms, 0)
            detail = f"{word.speaker}: {word.why}" if word.why else f"as {word.speaker} says"
            return take_mark(
                cluster, index, word.is_down, is_operator=word.is_operator, age_ms=age_ms,
                error=word.error, detail=detail.encode(),
            )  # fmt: skip
        if subject.kind == "hold":
            if word.until_ms and word.until_ms <= wall_ms:
                return False  # its time is over, here as there
            return hold_server(
                cluster, index, word.hold, who=word.who.encode(), why=word.why.encode(),
                words=f"said at {word.speaker}".encode(), until_wall_ms=word.until_ms, said_ms=word.at_ms,
            )  # fmt: skip
        return self._say_numbers(cluster, index, word)

    def _say_numbers(self, cluster: Cluster, index: int, word: Word) -> bool:
        """By an operator, for the file as it was: where the file says otherwise here, the word holds and status shows both."""
        said = said_of(cluster, index)
        if (
            word.weight is None
            and said.weight is None
            and word.limit is None
            and said.limit is None
        ):
            return False
        return set_numbers(
            cluster, index,
            weight=AS_FILE if word.weight is None else word.weight,
            limit=AS_FILE if word.limit is None else word.limit,
            who=word.who.encode(), why=word.why.encode(), said_ms=word.at_ms,
        )  # fmt: skip


def _cut(cluster: str, server: str) -> tuple[str, str]:
    """As the ring of changes has the names."""
    one, two = (
        name.encode()[:_NAME_BYTES].decode("utf-8", "replace") for name in (cluster, server)
    )
    return one, two
