"""
Whether requests fare worse since a reload than before it.

Driven by ``reload.loader``, once a second. Pure: it is given what stands in the shared state, and a time. Three kinds of failure
are compared, each as a share of all requests: 404 because no Route takes them, 5xx that wsproxy answers because no server does, and
requests that no server of their session takes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from wsproxy._fast.state.segment import Totals

# Fewer requests say nothing: of five, one is a fifth.
LEAST_REQUESTS = 20

_KINDS = (
    ("unrouted", "404: no Route takes them"),
    ("unserved", "5xx by wsproxy"),
    ("broken", "not taken by a server of their session"),
)


@dataclass(frozen=True, slots=True)
class _Look:
    at_s: float
    totals: Totals


class Guard:
    """Looks once a second; ``watch`` says from when on there is something to compare."""

    def __init__(self, guard_s: float, limit: float) -> None:
        """``guard_s``: how long after a reload, and how long before it."""
        self._guard_s = guard_s
        self._limit = limit
        self._looks: deque[_Look] = deque()
        self._before: dict[str, float] = {}
        self._began: _Look | None = None

    def adjust(self, guard_s: float, limit: float) -> None:
        """These hold from now on, for what is being watched, too; what it has seen before stays."""
        self._guard_s, self._limit = guard_s, limit

    def look(self, now_s: float, totals: Totals) -> str:
        """Why the last reload is to be undone; empty: nothing speaks against it, or its time is over."""
        self._looks.append(_Look(now_s, totals))
        while self._looks[0].at_s < now_s - self._guard_s:
            self._looks.popleft()
        if self._began is None:
            return ""
        if now_s - self._began.at_s > self._guard_s:
            self._began = None
            return ""
        shares, requests = _shares(self._began.totals, totals)
        if requests < LEAST_REQUESTS:
            return ""
        for kind, words in _KINDS:
            if shares[kind] - self._before.get(kind, 0.0) > self._limit:
                self._began = None
                return (
                    f"of {requests} requests since then {shares[kind]:.1%} were {words}; "
                    f"before it {self._before.get(kind, 0.0):.1%}"
                )
        return ""

    def watch(self, now_s: float, totals: Totals) -> None:
        """A reload is about to be in use."""
        first = self._looks[0].totals if self._looks else totals
        self._before, requests = _shares(first, totals)
        # Who had no requests before cannot have fewer that go well.
        self._began = _Look(now_s, totals) if requests >= LEAST_REQUESTS else None


def _shares(first: Totals, last: Totals) -> tuple[dict[str, float], int]:
    """Of each kind between the two, and how many requests there were."""
    unrouted, unserved = last.unrouted - first.unrouted, last.unserved - first.unserved
    requests = max(last.served - first.served, 0) + unrouted + unserved
    counts = {
        "unrouted": unrouted,
        "unserved": unserved,
        "broken": max(last.broken - first.broken, 0),
    }
    return {kind: count / requests if requests else 0.0 for kind, count in counts.items()}, requests
