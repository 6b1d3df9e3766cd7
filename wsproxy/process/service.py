"""
Word to the service manager: systemd's protocol (sd_notify(3)) and its watchdog (sd_watchdog_enabled(3)).

Driven by ``process.supervisor``. Must not wait: a manager that does not read is not told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

# When it could not be said that all is well.
AGAIN_S = 0.5


def notify_systemd(state: str) -> None:
    """Sends ``READY=1`` or the like to the service manager; does nothing without one (sd_notify(3)). # I/O."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    if path.startswith("@"):  # abstract: no file
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(path)
            sock.send(state.encode())
        except OSError:
            return  # a service manager that went away, or does not read, must not stop the proxy


class ServiceWatchdog:
    """Says ``WATCHDOG=1`` twice in the time after which the manager would restart the service."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        """Nobody waits for it without WATCHDOG_USEC, or where WATCHDOG_PID is another process."""
        given = environ.get("WATCHDOG_USEC", "")
        is_ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        wanted = is_ours and given.isascii() and given.isdecimal() and int(given) > 0
        self._every_s = int(given) / 2e6 if wanted else 0.0
        self._next = 0.0

    @property
    def patience_s(self) -> float:
        """How long the manager waits for it; 0: nobody does."""
        return 2 * self._every_s

    @property
    def is_wanted(self) -> bool:
        """Whether a manager waits for it."""
        return self._every_s > 0

    def next_feed(self, now: float) -> float | None:
        """When to look whether to say it; None: never."""
        return max(self._next, now) if self.is_wanted else None

    def feed(self, now: float, *, is_well: bool) -> None:
        """Says it where it is time and all ``is_well``; else looks again soon."""
        if not self.is_wanted or now < self._next:
            return
        self._next = now + (self._every_s if is_well else min(self._every_s, AGAIN_S))
        if is_well:
            notify_systemd("WATCHDOG=1")


class ServiceReload:
    """
    Tells the manager of a reload by SIGHUP: that it has begun, and that it is over (``Type=notify-reload``, systemd 253).

    ``systemctl reload`` returns at the second word. The supervisor begins and ends, for it alone is listened to; that the loader is done
    comes by an eventfd, which outlives the loader.
    """

    def __init__(self) -> None:
        """Made before the fork."""
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = 0
        self._is_ready = False

    def say_ready(self) -> None:
        """All workers accept connections, and this program is the proxy."""
        self._is_ready = True
        notify_systemd("READY=1")

    def begin(self) -> None:
        """SIGHUP has come. The manager takes word only that is younger than its own signal (CLOCK_MONOTONIC); none before ``say_ready``."""
        if not self._is_ready:
            return
        self._open += 1
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def say_done(self) -> None:
        """In the loader: one that SIGHUP had asked for is over, whatever became of it."""
        os.eventfd_write(self.fd, 1)

    def take(self) -> None:
        """In the supervisor: the loader may have said something; the last of several that were begun is the end."""
        with contextlib.suppress(BlockingIOError):
            self._end(os.eventfd_read(self.fd))

    def give_up(self) -> None:
        """The loader has ended, or there is none: nobody else will say that it is over."""
        self._end(self._open)

    def _end(self, count: int) -> None:
        was_open, self._open = self._open, max(0, self._open - count)
        if was_open and not self._open:
            notify_systemd("READY=1")
