"""
What follows when a server gave no answer, or one that says it cannot: the one place that says retry (PLUGIN.md 5.1, 5.4).

Driven by ``dataplane.slowpath``. Pure: takes what happened, returns what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Failure(Enum):
    """How a try at a server ended without an answer that may go to the client."""

    CONNECT = "could not connect"
    CLOSED_EARLY = "connection closed before the answer"
    IO_TIMEOUT = "ServerIOTimeout"
    BAD_RESPONSE = "answer is not HTTP/1.1"
    BUSY = "answered 503"
    SERVER_ERROR = "answered with a server error"


class Next(Enum):
    """Where the request goes now."""

    SAME_SERVER = "the same server, on a new connection"
    OTHER_SERVER = "another server"
    GIVE_UP = "nowhere: the client gets an error"


@dataclass(frozen=True, slots=True)
class Try:
    """One failed try and the request it carried."""

    failure: Failure
    reused_connection: bool
    replayable: bool  # all bytes sent so far are kept (no body, or within PostBufferSize)
    io_timeout_marks_down: bool  # ServerIOTimeout is negative
    timeout_retries: int  # so far, because of ServerIOTimeout
    io_timeout_retry: int  # ServerIOTimeoutRetry; -1 no extra limit
    may_not_repeat: bool = (
        False  # [retry] strict_once, and the server may have received some of the request
    )


@dataclass(frozen=True, slots=True)
class Ruling:
    """
    What to do with the server and with the request.

    ``status`` is what the client gets where nothing is left; 0: the answer that the server gave.
    """

    next: Next
    mark_down: bool
    status: int


def decide_retry(failed: Try) -> Ruling:
    """
    The ruling for one failed try.

    Nothing was sent when connecting fails, so the request always goes on (5.1). A reused connection may simply have been
    closed by the server in between: once more on a new one. A request that cannot be sent again ends with 500 (5.4);
    a timeout with 504 and a broken answer with 502, which say more than the plug-in's 500 (docs/compatibility.md).
    503 is a server's own word that another one should do it, and no reason to mark it down (PM49491).
    """
    can_repeat = failed.replayable and not failed.may_not_repeat
    unsent = Next.OTHER_SERVER if can_repeat else Next.GIVE_UP
    lost = 502 if failed.replayable else 500
    match failed.failure:
        case Failure.CONNECT:
            return Ruling(Next.OTHER_SERVER, mark_down=True, status=503)
        case Failure.BAD_RESPONSE:
            return Ruling(Next.GIVE_UP, mark_down=False, status=502)
        case Failure.BUSY:
            return Ruling(unsent, mark_down=False, status=0)
        case Failure.SERVER_ERROR:
            return Ruling(unsent, mark_down=True, status=0)
        case Failure.CLOSED_EARLY if failed.reused_connection:
            again = Next.SAME_SERVER if can_repeat else Next.GIVE_UP
            return Ruling(again, mark_down=False, status=lost)
        case Failure.CLOSED_EARLY:
            return Ruling(unsent, mark_down=failed.io_timeout_marks_down, status=lost)
        case Failure.IO_TIMEOUT:
            more = failed.io_timeout_retry < 0 or failed.timeout_retries < failed.io_timeout_retry
            where = unsent if more else Next.GIVE_UP
            return Ruling(where, mark_down=failed.io_timeout_marks_down, status=504)


def decide_status(status: int, style: Literal["precise", "plugin"], *, full: bool = False) -> int:
    """
    The status that the client gets for a failure of servers.

    The plug-in of the field reports says 500 for all of them (PLUGIN.md 5.5, Q3) but one: 503 where every server is at
    MaxConnections (``full``).
    """
    return 500 if style == "plugin" and not full else status
