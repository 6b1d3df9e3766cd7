"""
What a merge decided and what it refused, each with the places in the inputs that it is about.

Filled by ``config.merge`` and its parts. Pure. Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from wsproxy.config.problems import MAX_PROBLEMS, printable
from wsproxy.errors import ConfigRefusedError, Counts, Problem

# Places in one sentence; the rest is counted. All of them are in the note itself.
MOST_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in an input."""

    file: str
    line: int

    def __str__(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that the inputs do not agree on: what was found, and what was done, or what decides it."""

    rule: str  # of docs/merge.md
    found: str
    done: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        """``file:line, file:line: found X; done``."""
        return f"{places_text(self.places)}: {self.found}; {self.done}"


class MergeRefusedError(ConfigRefusedError):
    """The inputs contradict each other where no rule decides; ``clashes`` says where, and with what it can be decided."""

    def __init__(self, clashes: tuple[Note, ...], more: int) -> None:
        """``more``: clashes that are not told of."""
        lines = [str(clash) for clash in clashes]
        if more:
            lines.append(f"and {more} more clashes")
        problems = tuple(
            Problem(
                "error",
                f"merge-{clash.rule}",
                clash.places[0].file,
                clash.places[0].line,
                clash.found,
                clash.done,
                f"{clash.found} (also {places_text(clash.places[1:])}); {clash.done}"
                if len(clash.places) > 1
                else f"{clash.found}; {clash.done}",
            )
            for clash in clashes
        )
        super().__init__("\n".join(lines), problems, Counts(len(clashes) + more))
        self.clashes = clashes
        self.more = more


@dataclass(slots=True)
class Notes:
    """Of one merge so far."""

    decisions: list[Note] = field(default_factory=list)
    clashes: list[Note] = field(default_factory=list)
    more_clashes: int = 0
    _told: set[tuple[str, str, str]] = field(default_factory=set)

    def decide(self, rule: str, found: str, done: str, places: Iterable[Place]) -> None:
        """Something was decided; told once, however often it was met. None is left out: what is not in the output is here."""
        if (rule, found, done) not in self._told:
            self._told.add((rule, found, done))
            self.decisions.append(Note(rule, found, done, _distinct(places)))

    def refuse(self, rule: str, found: str, allowed: str, places: Iterable[Place]) -> None:
        """Nothing decides it; ``allowed``: what would."""
        if (rule, found, allowed) in self._told:
            return
        self._told.add((rule, found, allowed))
        if len(self.clashes) < MAX_PROBLEMS:
            self.clashes.append(Note(rule, found, f"allowed is {allowed}", _distinct(places)))
        else:
            self.more_clashes += 1

    def raise_if_refused(self) -> None:
        """
        Returns where everything could be decided.

        Raises:
            MergeRefusedError: with every clash.
        """
        if self.clashes:
            raise MergeRefusedError(tuple(self.clashes), self.more_clashes)


def places_text(places: Iterable[object]) -> str:
    """``a.xml:3, b.xml:7`` and how many more there are."""
    texts = [printable(str(place)) for place in places]
    more = len(texts) - MOST_SHOWN
    return ", ".join(texts[:MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _distinct(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(places))
