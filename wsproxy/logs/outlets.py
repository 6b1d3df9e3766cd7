"""
Where a log goes that is no file: standard output, and a syslog daemon (RFC 5424 over a local socket or UDP).

Driven by ``access_writer``, as ``file`` is, whose thread and whose limits these have: the loop never waits, what is not taken in
time is dropped and counted. Must not know what a line says; a line for syslog has its header already (``syslog_header``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import socket
import struct
from importlib.metadata import version

from wsproxy._fast.net.appends import lock_file
from wsproxy._fast.net.datagrams import send_lines
from wsproxy._fast.tell.access_parts import Item
from wsproxy.config.access_target import FACILITIES, Target
from wsproxy.logs.file import LOCK_MS, LogFile

# A daemon that takes nothing for so long does not get these lines; then the next ones are tried.
SEND_S = 0.5
# RFC 5424 6.2.1: informational. What went wrong with a request its line says.
SEVERITY = 6
APP_NAME = "wsproxy"
MESSAGE_ID = "access"

# 6.2.4: printable ASCII without blanks.
_NO_NAME = re.compile(r"[^\x21-\x7e]")
# What SD-PARAM values must not have by themselves (6.3.3).
_SPECIAL = re.compile(r'(["\\\]])')
# The daemon is another one by now, or gone: what it had is connected anew.
_WENT_AWAY = frozenset(
    (errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.ENOENT, errno.EPIPE)
)
_FULL = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))


def syslog_header(facility: str, hostname: str) -> list[tuple[int, bytes]]:
    """
    The header of RFC 5424 as parts of a line's format, to stand before all others.

    PROCID is the worker's pid. ``origin`` is the one structured element: its names are registered (7.2), and what a request
    is, is the message. Of a name that is no HOSTNAME the other characters are left out.
    """
    name = _NO_NAME.sub("", hostname)[:255] or "-"
    software = _SPECIAL.sub(r"\\\1", version("wsproxy"))
    priority = FACILITIES[facility] * 8 + SEVERITY
    return [
        (int(Item.TEXT), f"<{priority}>1 ".encode()),
        (int(Item.STAMP), b""),
        (int(Item.TEXT), f" {name} {APP_NAME} ".encode()),
        (int(Item.PID), b""),
        (
            int(Item.TEXT),
            f' {MESSAGE_ID} [origin software="wsproxy" swVersion="{software}"] '.encode(),
        ),
    ]


def _too_long() -> OSError:
    return OSError(errno.EMSGSIZE, "a line is longer than this machine sends in one datagram")


class SyslogLog(LogFile):
    """One worker's way to a syslog daemon: a datagram a line."""

    def __init__(self, target: Target, name: str) -> None:
        """Nothing is opened before the first line: make it after the fork."""
        super().__init__(name, "syslog")
        self._target = target
        self._sock: socket.socket | None = None
        self._waits = True  # not again where it was in vain, until something is taken

    def _append(self, lines: bytes) -> tuple[bytes, OSError | None]:
        at = 0
        long = b""  # lines that no datagram to there may have
        for is_again in (False, True):
            sock = self._sock or self._open()
            self._sock = sock
            before = at
            at, number = send_lines(sock.fileno(), lines, at, self._waits)
            while number == errno.EMSGSIZE:
                end = lines.find(b"\n", at) + 1 or len(lines)
                long += lines[at:end]
                at, number = send_lines(sock.fileno(), lines, end, self._waits)
            self._waits = number not in _FULL
            if number == 0:
                return long, _too_long() if long else None
            if number in _WENT_AWAY:
                self._end()
            if number not in _WENT_AWAY or (is_again and at == before):
                break
        else:
            number = errno.ECONNREFUSED
        rest = long + lines[at:]
        if number in _FULL:
            return rest, TimeoutError(number, f"takes nothing for {SEND_S:g} s")
        return rest, OSError(number, os.strerror(number))

    def _open(self) -> socket.socket:
        """
        A connected socket; connecting sends nothing.

        Raises:
            OSError: nobody listens there, or the name is not known.
        """
        target = self._target
        if target.path:
            family, address = socket.AF_UNIX, (target.path)
        else:
            try:
                found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
            except (
                UnicodeError
            ) as error:  # no name of a host: none of errno's, and no end of the thread
                raise OSError(errno.EINVAL, f"{target.host} is no name of a host") from error
            family, address = found[0][0], found[0][4]  # type: ignore[assignment]
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            # Blocking, for so long: who waits is a thread that does nothing else.
            limit = struct.pack("ll", int(SEND_S), int(SEND_S % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def reopen(self) -> None:
        """A daemon has no file."""

    def _end(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class StdoutLog(LogFile):
    """One worker's way to standard output, which all of them share: a file, a pipe, a terminal, journald's socket."""

    def __init__(self, lock: int, fd: int = 1) -> None:
        """``lock``: a descriptor that all workers have of the same file; whoever writes holds its lock."""
        super().__init__("stdout", "stdout-log")
        self._fd = fd
        self._lock_of_all = lock
        self._lock_fd = -1
        self._is_torn = False

    def _append(self, lines: bytes) -> tuple[bytes, OSError | None]:
        rest = lines
        is_locked = self._lock()
        try:
            if self._is_torn:
                self._write_all(b"\n")
                self._is_torn = False
            while rest:
                # A write of PIPE_BUF bytes is never torn apart by another's, lock or none.
                end = len(rest) if len(rest) <= select.PIPE_BUF else _end_of_lines(rest)
                self._write_all(rest[:end])
                rest = rest[end:]
        except OSError as error:
            return rest, error
        finally:
            if is_locked:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        return b"", None

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:  # somebody has made it so for all who have it
                select.select([], [self._fd], [], 1.0)
                continue
            self._is_torn = written < len(data)
            data = data[written:]

    def _lock(self) -> bool:
        """Whether no other worker writes meanwhile; one that stands still within its write holds nobody up for long."""
        if self._lock_fd < 0:
            try:  # a lock belongs to whoever opened it: workers share what they inherited
                self._lock_fd = os.open(f"/proc/self/fd/{self._lock_of_all}", os.O_RDWR | os.O_CLOEXEC)  # fmt: skip
            except OSError:  # no /proc
                return False
        return lock_file(self._lock_fd, LOCK_MS)

    def reopen(self) -> None:
        """It is what it was at the start."""

    def _end(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _end_of_lines(rest: bytes) -> int:
    """Where the last line ends that one write takes whole; of a longer line its own end."""
    end = rest.rfind(b"\n", 0, select.PIPE_BUF) + 1
    return end or rest.find(b"\n") + 1 or len(rest)
