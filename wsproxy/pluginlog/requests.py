"""
A request while its lines are being read: what the log has said of it so far.

Driven by ``replay``. Pure data; must not decide anything.
"""

from __future__ import annotations

from wsproxy._fast.replay import ReplayedRequest
from wsproxy.pluginlog.outcome import Check
from wsproxy.pluginlog.world import Place, Process
from wsproxy.routing.retry import Failure, Next, Ruling


class Attempt:
    """One try at a server. Defaults stand at the class: most of them hold to the end, and there is one a request."""

    server: bytes = b""  # that the log names, once it does
    is_decided: bool = False
    place: Place | None = None  # the same in the configuration, once it is decided
    transport: tuple[str, int] | None = None  # host:port, line
    failure: Failure = Failure.CLOSED_EARLY  # where it fails, how
    reused: bool = False
    moved: bool = False  # the log says that its session was remembered with the server
    status: int = 0
    status_line: int = 0
    is_marked: int = 0  # line that marks its server down


class LoggedRequest:
    """What is known of a request; ``uri`` is None until the log has told it. Defaults stand at the class, as Attempt's."""

    host: bytes = b""
    port: int = -1
    uri: bytes | None = None
    method: bytes = b""
    replayed: ReplayedRequest | None = None
    cluster: int = -1  # index of the live match
    group: str = ""
    clone_ids: bytes = b""  # that the decision was taken with
    is_secure: bool | None = None
    ruling: Ruling | None = None  # on the last failed try
    timeouts: int = 0
    body: int = 0
    server_name: str = ""  # of the last try that was decided
    by_affinity: bool = False
    knows_affinity: bool = False
    failures: int = 0
    counted: bool = False
    gave_up: bool = False
    declined: bool = False
    has_debug: bool = False  # it has lines of LogLevel Debug: what is not there did not happen
    status_seen: int = 0
    same_count: int = 0
    try_us: int = 0  # when its last try began, after one that failed; 0: with the request
    end_us: int = 0  # of the last line that tells how far it is; 0: none does
    failed_at: tuple[str, ...] = ()  # servers of the tries that failed
    marked: tuple[str, ...] = ()  # servers that it marked down
    set_cookies: tuple[bytes, ...] = ()  # of its answer

    def __init__(
        self,
        process: Process,
        key: tuple[int, int],
        file: str,
        number: int,
        time_us: int,
        *,
        has_begun: bool,
    ) -> None:
        """``number``: its first line; ``has_begun``: that is where it begins."""
        self.process = process
        self.key = key  # pid and tid
        self.file = file
        self.first = self.last = number
        self.time_us = time_us
        self.has_begun = has_begun
        self.values: list[bytes] = []  # that clone ids were parsed from
        self.cookies: list[bytes] = []
        self.checks: list[Check] = []
        self.attempt = Attempt()
        self.meetings = -1  # of its process when it began alone; -1: it did not
        process.running += 1
        if process.running > 1:
            process.meetings += 1
        else:
            self.meetings = process.meetings

    @property
    def is_alone(self) -> bool:
        """Whether no other request of the process has run beside it so far."""
        return self.meetings == self.process.meetings

    @property
    def goes_on(self) -> bool:
        """Whether the live code would have gone to another server after its last failure."""
        return self.ruling is None or self.ruling.next is not Next.GIVE_UP
