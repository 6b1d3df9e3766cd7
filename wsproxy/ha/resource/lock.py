"""
The lock of all keepers and guards with one mark: who has it may act, and there is one. And who has it, in words, where it is somebody else.

Driven by ``keeper``. It is an abstract Unix socket: a name in the kernel, bound by one process at a time and given back however that one ends; a guard has it
by fork. Not a file: whose folder it is in would have to be the same for every proxy that was ever started here by this user, whatever its environment says, or there were two.
The price: any user of this machine can bind the name first. Then nothing of the resource begins here (never two), and who it is is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from pathlib import Path

from wsproxy.config.problems import printable

# A lock that another process of ours has is free when that one has ended what it keeps; so long nothing is said of it, nor looked for again.
PATIENCE_S = 2.0


def lock_name(mark: str) -> str:
    """Without the zero byte that it begins with."""
    digest = hashlib.sha256(mark.encode()).hexdigest()[:32]  # a name has 107 bytes
    return f"wsproxy-ha/{os.getuid()}/{digest}"


def lock_of(mark: str) -> socket.socket | None:
    """The one of all keepers with this mark that may act; None: somebody has it. The kernel gives it back, however a keeper ends."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0{lock_name(mark)}")
    except OSError:
        lock.close()
        return None
    return lock


def holder_of(mark: str) -> str:
    """Who has it, in words; empty: nobody any more. # I/O: all that this user may see of all processes."""
    wanted = f"@{lock_name(mark)}"
    inode = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_text(errors="replace").splitlines():
            fields = line.split()
            if fields[-1] == wanted:
                inode = fields[-2]
    if not inode:
        return ""
    link = f"socket:[{inode}]"
    for name in os.listdir("/proc"):
        if name.isdigit() and (about := _if_it_has(Path("/proc") / name, link)):
            return about
    return "a process that this user may not look at, so another user's"


def _if_it_has(process: Path, link: str) -> str:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for each in os.listdir(process / "fd"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "fd" / each) == link:
                    # Not the owner of its folder: that is root where it may not be looked into.
                    text = (process / "status").read_text(errors="replace")
                    about = dict(line.partition(":")[::2] for line in text.splitlines())
                    called = printable(about["Name"].strip())
                    return f"pid {process.name} ({called}), user {about['Uid'].split()[1]}"
    return ""


class Claim:
    """Of one keeper to the lock. ``why``: who has it; empty: it is ours, or it was not long ago that it was asked for."""

    def __init__(self, mark: str, now: float) -> None:
        """Nothing is tried yet."""
        self._mark = mark
        self._look_at = now + PATIENCE_S
        self.why = ""

    def take(self, now: float) -> socket.socket | None:
        """The lock, if it is free now."""
        lock = lock_of(self._mark)
        if lock is not None:
            self.why = ""
        elif now >= self._look_at:
            self._look_at = now + PATIENCE_S
            if holder := holder_of(self._mark):
                self.why = f"the lock of its keeper (@{lock_name(self._mark)}) is held by {holder}: nothing of it begins here before that one has ended"
        return lock
