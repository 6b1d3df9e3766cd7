"""
Whether two held what only one may, by what was seen and what was broken meanwhile. Pure: events have their order and their times.

Driven by ``pair`` and ``group``. Times are seconds of CLOCK_BOOTTIME, which all namespaces of a machine share.

What counts for the address. Two machines have it is what a kernel says: it answers ARP for it, whoever of ours runs on it. That is
**never** allowed where anybody could know better, which is while one of these holds:

- VRRP passes between both, and both keepalived run: the lower one must give way;
- words pass between both agents over one of the networks, and both agents run: the guard keeps the second one from it.

Where neither holds nobody can know (both networks cut; a machine that hangs as a whole, whose kernel keeps the address; agent and keepalived of
one machine stopped; the agent stopped and VRRP cut): there both may have it, and ``RECOVERY_S`` after it can be known again only one has. A machine that
is dead holds nothing from the moment of its death.

Nor is a hand-over two holders: VRRP has the new one take the address as it says so, and the old one give it up as it hears that (RFC 5798 6.4.3), so that it is never nowhere.
In that moment both kernels have it, which no look at them now and then would show: some milliseconds, and no longer than ``HANDOVER_S``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

# From when it can be known again until one of two holders has given way: several adverts, and a busy machine's part.
RECOVERY_S = 10.0
# Less than one advert of the lab's pair: the old one has heard the first that the new one sent.
HANDOVER_S = 0.4


@dataclass(frozen=True, slots=True)
class Window:
    """``what`` is broken from ``begin`` to ``end``: "agent:p1", "keepalived:p1", "service", "sync", "vrrp"."""

    what: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Event:
    """A kernel has the address from now on, or has it not."""

    at: float
    node: str
    has: bool


@dataclass(frozen=True, slots=True)
class Span:
    """Some time."""

    begin: float
    end: float


def overlaps(events: Sequence[Event], until: float) -> list[Span]:
    """When more than one had it; events in the order of the kernel, which is the truth where two have one time."""
    found: list[Span] = []
    holders: set[str] = set()
    begin = 0.0
    for each in events:
        was = len(holders) > 1
        (holders.add if each.has else holders.discard)(each.node)
        if len(holders) > 1 and not was:
            begin = each.at
        elif was and len(holders) < 2:
            found.append(Span(begin, each.at))
    if len(holders) > 1:
        found.append(Span(begin, until))
    return found


_OF_VRRP = frozenset({"keepalived", "service", "vrrp"})


def _kinds(broken: set[str]) -> set[str]:
    return {each.partition(":")[0] for each in broken}


def knows(broken: set[str]) -> bool:
    """Whether one of both nodes can know of the other, with these things broken."""
    kinds = _kinds(broken)
    if not kinds & _OF_VRRP:
        return True
    return "agent" not in kinds and not {"service", "sync"} <= kinds


def unknowable(windows: Sequence[Window]) -> list[Span]:
    """When nobody could know, and ``RECOVERY_S`` after each; in order, and apart from each other."""
    return _spans(windows, knows, RECOVERY_S)


def blind(windows: Sequence[Window]) -> list[Span]:
    """When VRRP did not pass: nobody can have handed over by it."""
    return _spans(windows, lambda broken: not _kinds(broken) & _OF_VRRP, 0.0)


def _spans(
    windows: Sequence[Window], is_well: Callable[[set[str]], bool], more_s: float
) -> list[Span]:
    edges = sorted({each for window in windows for each in (window.begin, window.end)})
    found: list[Span] = []
    for begin, end in itertools.pairwise(edges):
        broken = {each.what for each in windows if each.begin <= begin and each.end >= end}
        if is_well(broken):
            continue
        if found and begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, end + more_s)
        else:
            found.append(Span(begin, end + more_s))
    return found


def beyond(spans: Iterable[Span], excused: Sequence[Span]) -> Iterator[Span]:
    """What of these spans is not within the excused ones, which are in order."""
    for span in spans:
        begin = span.begin
        for each in excused:
            if each.end <= begin or each.begin >= span.end:
                continue
            if each.begin > begin:
                yield Span(begin, each.begin)
            begin = each.end
        if begin < span.end:
            yield Span(begin, span.end)


def two_holders(
    both: Iterable[Span], excused: Sequence[Span], blinded: Sequence[Span] = ()
) -> list[Span]:
    """Of the times in which two had it those that must not be: longer than a hand-over, or where VRRP could not hand over."""
    return [
        each
        for each in beyond(both, excused)
        if each.end - each.begin > HANDOVER_S
        or any(span.begin <= each.begin < span.end for span in blinded)
    ]


def unexplained(doubles: Iterable[Span], both: Sequence[Span]) -> list[Span]:
    """Questions that two answered while no two kernels had the address. An observer that was late by less than ``HANDOVER_S`` is none of that."""
    return [
        each
        for each in doubles
        if not any(
            span.begin - HANDOVER_S <= each.end and each.begin <= span.end + HANDOVER_S
            for span in both
        )
    ]


# --- a seat of the core group ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """Something that only the holder of a seat may do: who, with which token; ``process`` tells who was started again."""

    at: float
    who: str
    process: int
    token: int


def late_acts(acts: Sequence[Act], thaws: Sequence[tuple[float, str]]) -> list[Act]:
    """
    Acts with an older token behind the first one with a newer token.

    A process that was stopped and goes on may do what was due before it looks at its clock, once: that is what tokens are for
    (docs/high-availability.md, "The core group"). A second act is none of that.
    """
    found = []
    forgiven = set(thaws)
    newest = 0
    for act in sorted(acts, key=lambda each: each.at):
        if act.token >= newest:
            newest = act.token
            continue
        thaw = max(
            (each for each in thaws if each[1] == act.who and each[0] <= act.at), default=None
        )
        if thaw is not None and thaw in forgiven:
            forgiven.discard(thaw)
            continue
        found.append(act)
    return found
