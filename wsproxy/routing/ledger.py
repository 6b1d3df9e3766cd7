"""
What became of a request at each server it was tried at, and the sentence about it in the log.

Filled by ``dataplane.slowpath`` from the first failure on; a request that goes well has no ledger. Pure. Must not hold
anything of the request itself: targets and cookies carry session ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one server."""

    server: str
    address: str  # as configured: HOST:PORT
    since_ms: int  # when it ended, since the request came
    failure: str = ""  # in words; empty: the server's answer went to the client
    status: int = 0  # of the answer that the server gave; 0: none came
    bytes_sent: int = 0  # of the request, as far as the system took them
    reused_connection: bool = False

    @property
    def may_have_run(self) -> bool:
        """Whether the server may have received, and so executed, the request."""
        return self.bytes_sent > 0


@dataclass(slots=True)
class Ledger:
    """The tries of one request, first to last; begins with the first that failed."""

    request: str  # method and path without parameters; empty where the request was not kept
    attempts: list[Attempt] = field(default_factory=list)


def describe(attempts: Sequence[Attempt]) -> str:
    """All attempts in one sentence, first to last, for somebody who was woken up by it."""
    return "; then ".join(map(_describe, attempts))


def _describe(attempt: Attempt) -> str:
    where = f"{attempt.server} ({attempt.address})"
    if attempt.status:
        return f"{where} answered {attempt.status} after {attempt.since_ms} ms"
    if not attempt.may_have_run:
        return f"{where}: {attempt.failure}; it received nothing; after {attempt.since_ms} ms"
    kind = "reused" if attempt.reused_connection else "new"
    return (
        f"{where}: {attempt.failure}; {attempt.bytes_sent} bytes were sent on a {kind} connection,"
        f" so it may have run the request; after {attempt.since_ms} ms"
    )
