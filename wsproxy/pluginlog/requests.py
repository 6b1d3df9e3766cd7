"""
A request while its lines are being read: what the log has said of it so far.

Driven by ``replay``. Pure data; must not decide anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wsproxy._fast.loglines import LogLine
from wsproxy._fast.replay import ReplayedRequest
from wsproxy.pluginlog.outcome import Check
from wsproxy.pluginlog.world import Place, Process
from wsproxy.routing.retry import Failure, Next, Ruling


@dataclass(slots=True)
class Attempt:
    """One try at a server."""

    server: bytes = b""  # that the log names, once it does
    is_decided: bool = False
    secure: bool | None = None
    place: Place | None = None  # the same in the configuration, once it is decided
    transport: tuple[str, int] | None = None  # host:port, line
    failure: Failure = Failure.CLOSED_EARLY  # where it fails, how
    reused: bool = False
    moved: bool = False  # the log says that its session was remembered with the server
    status: int = 0
    status_line: int = 0
    is_marked: int = 0  # line that marks its server down


@dataclass(slots=True, eq=False)
class LoggedRequest:
    """What is known of a request; ``uri`` is None until the log has told it."""

    process: Process
    pid: int
    tid: int
    file: str
    first: int
    last: int
    time_us: int
    has_begun: bool  # its first line is in the log
    meetings: int = -1  # of its process when it began alone; -1: it did not
    host: bytes = b""
    port: int = -1
    uri: bytes | None = None
    method: bytes = b""
    replayed: ReplayedRequest | None = None
    cluster: int = -1  # index of the live match
    group: str = ""
    values: list[bytes] = field(default_factory=list)  # that clone ids were parsed from
    cookies: list[bytes] = field(default_factory=list)
    clone_ids: bytes = b""  # that the decision was taken with
    is_secure: bool | None = None
    attempt: Attempt = field(default_factory=Attempt)
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
    has_debug: bool = (
        False  # its lines are those of LogLevel Debug: what is not there did not happen
    )
    status_seen: int = 0
    same_count: int = 0
    checks: list[Check] = field(default_factory=list)

    @classmethod
    def from_line(
        cls, line: LogLine, process: Process, file: str, time_us: int, *, has_begun: bool
    ) -> LoggedRequest:
        """A request of which this is the first line."""
        number = line.number
        request = cls(process, line.pid, line.tid, file, number, number, time_us, has_begun)
        process.running += 1
        if process.running > 1:
            process.meetings += 1
        else:
            request.meetings = process.meetings
        return request

    @property
    def is_alone(self) -> bool:
        """Whether no other request of the process has run beside it so far."""
        return self.meetings == self.process.meetings

    @property
    def goes_on(self) -> bool:
        """Whether the live code would have gone to another server after its last failure."""
        return self.ruling is None or self.ruling.next is not Next.GIVE_UP
