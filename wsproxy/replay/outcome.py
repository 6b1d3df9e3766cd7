"""
What a replay says of each request: which checks were made and how they came out. Pure data.

Driven by ``replay``; read by ``summary``, ``html`` and ``cli.replay``. The names are those of docs/replay.md.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Result = Literal["same", "differs", "undecided"]
SAME: Result = "same"
DIFFERS: Result = "differs"
UNDECIDED: Result = "undecided"


class What:
    """
    The decisions that are checked, in the order of a request's life.

    Plain texts: they are counted ten times a request, and an Enum member hashes in interpreted code.
    """

    VHOST = "vhost"  # a VirtualHost matches, with this score
    URI = "uri"  # a Uri matches, with this score
    GROUP = "server_group"  # the ServerCluster of the best Route
    SCORE = "score"  # highScore/highExactMatch of that Route
    AFFINITY_NAMES = "affinity_names"  # cookie and path parameter that carry the session
    CLONES = "clone_ids"  # the ids that the request brings, in order
    POST_SIZE = "post_size"  # whether its body may be this large
    MAX_CONNECTIONS = "max_connections"  # of a server
    SERVER = "server"  # who gets the request, try by try
    AFFINITY = "affinity"  # whether that is by clone id, or by regular balancing
    TRANSPORT = "transport"  # host and port of that server
    IO_TIMEOUT = "io_timeout"  # how long a server may be silent, and how many are asked
    RETRY = "retry"  # whether a request that failed goes to another server
    MARK_DOWN = "mark_down"  # whether a failure marks the server down
    RETRY_INTERVAL = "retry_interval"  # when a server that is down is tried again
    STATUS = "status"  # whether the client gets an answer that is an error
    COUNTERS = "counters"  # the server's STATS line


DECISIONS: tuple[str, ...] = tuple(value for name, value in vars(What).items() if name.isupper())
# What compares no request with the configuration: a log of LogLevel Stats has these too, and nothing else.
BESIDE = frozenset((What.MARK_DOWN, What.RETRY_INTERVAL, What.COUNTERS))


class Check(msgspec.Struct, gc=False):
    """One decision: what the log says and what the live code says; ``line`` 0: the log has no line for it."""

    what: str
    result: Result
    logged: str
    ours: str
    line: int
    note: str = ""  # why it is undecided, or by which rule it is the same


class RequestOutcome(msgspec.Struct, kw_only=True):
    """One request of the log; texts are empty and numbers 0 where the log does not say."""

    type: Literal["request"] = "request"
    file: str
    lines: tuple[int, int]  # first and last
    time: str
    pid: str
    tid: str
    host: str
    port: int
    method: str
    uri: str
    group: str
    server: str  # that took it in the end
    by_affinity: bool
    status: int
    failures: int
    result: Result
    checks: list[Check]


# (what, log, wsproxy, note), without what only one request has.
Kind = tuple[str, str, str, str]
# Kinds that are told apart: a log may make up as many as it has lines.
MOST_KINDS_KEPT = 1000
# Requests that are kept for the report: above, nobody reads them one by one.
MOST_KEPT = 1000
# A path or host within what a ``Found a match`` line says.
_SUBJECT = re.compile(r" for .*: (?=\d+/\d+$)")


@dataclass(slots=True)
class Others:
    """Requests that are not the same: ``kept`` are the first of each result, the counts are of all."""

    kept: list[RequestOutcome] = field(default_factory=list)
    results: Counter[Result] = field(default_factory=Counter)
    # what differs, and in how many requests: hundreds have one cause mostly
    kinds: Counter[Kind] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Also of those that are not kept."""
        return self.results.total()

    def add(self, outcome: RequestOutcome) -> None:
        """One more; each kind counts once in a request."""
        self.results[outcome.result] += 1
        if self.results[outcome.result] <= MOST_KEPT:
            self.kept.append(outcome)
        for kind in {_kind(check) for check in outcome.checks if check.result == DIFFERS}:
            if kind in self.kinds or len(self.kinds) < MOST_KINDS_KEPT:
                self.kinds[kind] += 1


def _kind(check: Check) -> Kind:
    if check.what == What.COUNTERS:  # each has other numbers
        return check.what, "", "", check.note
    if check.what in (What.VHOST, What.URI):
        return (
            check.what,
            _SUBJECT.sub(": ", check.logged),
            _SUBJECT.sub(": ", check.ours),
            check.note,
        )
    return check.what, check.logged, check.ours, check.note


def result_of(checks: list[Check]) -> Result:
    """The worst of them; a request without any check is undecided."""
    worst = SAME if checks else UNDECIDED
    for check in checks:
        if check.result == DIFFERS:
            return DIFFERS
        if check.result == UNDECIDED:
            worst = UNDECIDED
    return worst
