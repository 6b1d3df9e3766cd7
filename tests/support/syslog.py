"""A strict reading of RFC 5424, and a daemon's socket that takes one message a datagram."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

# RFC 5424 6: every limit that its ABNF has. MSG may be anything here.
_PRINTABLE = r"[\x21-\x7e]"
_SD_NAME = r"[\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}"
_PARAM = rf'{_SD_NAME}="(?:[^"\\\]]|\\["\\\]])*"'
_ELEMENT = rf"\[{_SD_NAME}(?: {_PARAM})*\]"
_MESSAGE = re.compile(
    r"<(?P<pri>0|[1-9]\d{0,2})>(?P<version>[1-9]\d{0,2})"
    r" (?P<time>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))"
    rf" (?P<host>{_PRINTABLE}{{1,255}}) (?P<app>{_PRINTABLE}{{1,48}}) (?P<pid>{_PRINTABLE}{{1,128}})"
    rf" (?P<id>{_PRINTABLE}{{1,32}}) (?P<data>-|(?:{_ELEMENT})+)(?: (?P<message>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Message:
    """One message; ``time`` as it stands there."""

    facility: int
    severity: int
    time: str
    host: str
    app: str
    pid: str
    id: str
    data: str
    text: str


def parse(data: bytes) -> Message:
    """
    The message of a datagram.

    Raises:
        AssertionError: it is none.
    """
    found = _MESSAGE.fullmatch(data.decode("utf-8"))
    assert found is not None, data
    priority = int(found["pri"])
    assert priority <= 191
    assert found["version"] == "1"
    datetime.fromisoformat(found["time"])  # a day and a time that there are
    return Message(
        priority // 8, priority % 8, found["time"], found["host"], found["app"], found["pid"], found["id"],
        found["data"], found["message"] or "",
    )  # fmt: skip


def daemon(path: Path | None = None, *, buffer: int = 0) -> socket.socket:
    """A socket that messages come to: at ``path``, or on a free UDP port; it blocks no longer than 20 s."""
    sock = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind(("127.0.0.1", 0) if path is None else str(path))
    sock.settimeout(20)
    return sock
