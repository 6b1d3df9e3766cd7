"""
How many messages of a kind are written: so many a second, the rest are summed.

Driven by ``process.log_handler``, with its clock. Must not format or write. A kind is what one place in the code says, whatever
it says it of: clients choose what stands in a message, and must not choose how many kinds there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsproxy.config.settings_told import LogSettings

# Of each kind, in each process: a person reads no more, and a flood of one kind leaves room for the others.
MOST_A_SECOND = LogSettings().most_a_second
# How often what was held back is told: a line of each kind.
SUM_S = 10.0
# Kinds that are told apart. The code has about a hundred; libraries may build their texts at run time.
MOST_KINDS = 500

# Named like the loggers whose messages are never held back: each says something that nobody else says. A server is down or up;
# a request that may have been executed, and should not be twice, failed there.
UNLIMITED = frozenset({"wsproxy.servers", "wsproxy.orders"})

Kind = tuple[str, int, str]
_OTHER: Kind = ("", 0, "")


@dataclass(slots=True)
class _Held:
    """Of one kind: what was let through in this second, and what was held back since it was told last."""

    second: float = 0.0
    passed: int = 0
    held: int = 0
    since: float = 0.0
    level: int = 0
    example: str = ""


@dataclass(frozen=True, slots=True)
class Sum:
    """Messages that were held back: ``example`` is the first of ``count``."""

    level: int
    example: str
    count: int
    over_s: float

    def __str__(self) -> str:
        """One line for all of them."""
        if self.count == 1:
            return self.example
        return f"{self.example} ... and {self.count - 1} more like this in the last {max(1, self.over_s):.0f} s"


class LogRate:
    """One a process; ``now`` is any clock of seconds that only goes forward."""

    def __init__(self, most_a_second: int = MOST_A_SECOND) -> None:
        """Nothing is held back yet."""
        self._most_a_second = most_a_second
        self._kinds: dict[Kind, _Held] = {}

    def passes(self, kind: Kind, now: float) -> bool:
        """Whether a message is written now; if not, ``hold`` it."""
        if kind[0] in UNLIMITED:
            return True
        at = self._find(kind)
        if not 0 <= now - at.second < 1.0:
            at.second, at.passed = now, 0
        if at.passed >= self._most_a_second:
            return False
        at.passed += 1
        return True

    def hold(self, kind: Kind, now: float) -> bool:
        """Counts one that is not written; True: it is the first, and its text is wanted (``give_example``)."""
        at = self._find(kind)
        at.held += 1
        if at.held == 1:
            at.since, at.level = now, kind[1]
        return at.held == 1

    def give_example(self, kind: Kind, text: str) -> None:
        """What the first one that was held back says."""
        self._find(kind).example = text

    def due(self, now: float, *, is_end: bool = False) -> Iterator[Sum]:
        """What was held back for long enough, or at all; it is told and forgotten."""
        for at in self._kinds.values():
            if at.held and (is_end or now - at.since >= SUM_S):
                told = Sum(at.level, at.example, at.held, now - at.since)
                at.held, at.example = 0, ""
                yield told

    def _find(self, kind: Kind) -> _Held:
        at = self._kinds.get(kind)
        if at is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds = {
                    key: each for key, each in self._kinds.items() if each.held or key == _OTHER
                }
            if len(self._kinds) >= MOST_KINDS:
                kind = _OTHER
            at = self._kinds.setdefault(kind, _Held())
        return at
