"""
What a replay says of each request: which checks were made and how they came out. Pure data.

Driven by ``replay``; read by ``summary``, ``html`` and ``cli.replay``. The names are those of docs/replay.md.
"""

from __future__ import annotations

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
    AFFINITY = "affinity_names"  # cookie and path parameter that carry the session
    CLONES = "clone_ids"  # the ids that the request brings, in order
    MAX_CONNECTIONS = "max_connections"  # of a server
    SERVER = "server"  # who gets the request, try by try
    TRANSPORT = "transport"  # host and port of that server
    MARK_DOWN = "mark_down"  # whether a failure marks the server down
    STATUS = "status"  # what the client gets
    COUNTERS = "counters"  # the server's STATS line


DECISIONS: tuple[str, ...] = tuple(value for name, value in vars(What).items() if name.isupper())


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


def result_of(checks: list[Check]) -> Result:
    """The worst of them; a request without any check is undecided."""
    worst = SAME if checks else UNDECIDED
    for check in checks:
        if check.result == DIFFERS:
            return DIFFERS
        if check.result == UNDECIDED:
            worst = UNDECIDED
    return worst
