"""
Which processes are a resource's, whether its ports and locks are free; and SIGKILL for all of it.

Driven by ``keeper``, which is their ancestor whatever they do (PR_SET_CHILD_SUBREAPER: one that makes itself a daemon becomes its child), and by whoever
ends a keeper. Those of a keeper that was killed are found by a word in their environment. Reads /proc; waits for nothing but an execve.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import stat
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from wsproxy.config.address import Address

# In the environment of every process of a resource: cell/core group/member/resource.
MARK = "WSPROXY_HA_RESOURCE"
# A port of this machine answers at once, or is not asked again before the next look.
_CONNECT_S = 0.05
# A number and a line end; what comes behind them is not read.
_PID_FILE_BYTES = 64
# Parent of the kernel's own processes, which no signal ends; in a container the number is anybody's, who has a program.
_KTHREADD = 2
# An execve takes a millisecond; on a machine that is busy its process waits for its turn meanwhile.
_BECOMING_S = 0.5
# Rounds of a kill: who forks while it is killed is found in the next one.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Process:
    """One of /proc. ``session``: of the command that it comes from, unless it has made its own."""

    pid: int
    parent: int
    session: int
    is_dead: bool  # a zombie: it holds nothing any more
    began: str  # in the kernel's ticks since it started itself
    is_becoming: bool  # another program in this very moment: its environment cannot be read. The kernel's own are always so


@dataclass(frozen=True, slots=True)
class Known:
    """One that is known for good: by its number and when it began."""

    pid: int
    began: str


def all_processes() -> list[Process]:
    """As they are now. # I/O."""
    found = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [each for each in found if each is not None]


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Process(
        pid, int(fields[1]), int(fields[3]), fields[0] in "ZX", fields[19], fields[47] == "0"
    )


def descendants(ancestor: int, but_sessions: Collection[int] = ()) -> list[int]:
    """Pids of those that live; ``but_sessions``: and not of these."""
    by_parent: dict[int, list[Process]] = {}
    for each in all_processes():
        by_parent.setdefault(each.parent, []).append(each)
    found, looked_at = [], [ancestor]
    while looked_at:
        for each in by_parent.get(looked_at.pop(), ()):
            looked_at.append(each.pid)
            if not each.is_dead and each.session not in but_sessions:
                found.append(each.pid)
    return found


def marked(mark: str, but_sessions: Collection[int] = ()) -> list[int]:
    """
    Pids of those that have the mark in their environment, of this user's; a program that clears it is not found.

    One that becomes another program in this very moment (execve) is awaited, ``_BECOMING_S`` at most for all: who relies on nobody being found looks more than once.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    until = time.monotonic() + _BECOMING_S
    for each in all_processes():
        if each.is_dead or each.pid == os.getpid() or each.session in but_sessions:
            continue
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if wanted in _environment(each.pid, until).split(b"\0"):
                found.append(each.pid)
    return found


def _environment(pid: int, until: float) -> bytes:
    """
    As it is, or will be once it has become the program that it is about to be.

    Nobody is waited for who has no program: the kernel's own, an init that is none of this machine's, who is about to end.
    """
    file = Path(f"/proc/{pid}/environ")
    text = file.read_bytes()
    while not text and time.monotonic() < until:
        os.readlink(f"/proc/{pid}/exe")  # raises: it has none
        before = _read(pid)
        text = file.read_bytes()
        now = _read(pid)
        if (
            before is None
            or now is None
            or now.is_dead
            or not (before.is_becoming or now.is_becoming)
        ):
            break
        time.sleep(0.001)
    return text


def named_by(path: str, since: float) -> Known | None:
    """
    The process that a pid file names, if it lives, and the file was written after ``since`` (seconds of 1970).

    Ask only while the resource runs: a number in an older file, or later, may be another program's. It may be killed for this, so what cannot be a resource's is none: this
    process and those that it comes from, the kernel's own, and where the file is a stranger's, all but that one's processes.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_mtime < since:
            return None
        pid = int(os.read(fd, _PID_FILE_BYTES).split()[0])
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(fd)
    if pid <= 1 or pid in _own_line() or not _may_name(about.st_uid, pid):
        return None
    return known_of(pid)


def known_of(pid: int) -> Known | None:
    """For good; None: it has ended."""
    found = _read(pid)
    return None if found is None else Known(pid, found.began)


def _own_line() -> set[int]:
    """Who asks, and those that it comes from."""
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        found = _read(pid)
        pid = 0 if found is None else found.parent
    return line


def _may_name(owner: int, pid: int) -> bool:
    found = _read(pid)
    if found is None:
        return False
    if _KTHREADD in (pid, found.parent) and not os.path.exists(f"/proc/{pid}/exe"):
        return False
    try:
        return owner in (0, os.geteuid(), os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return False


def lives(known: Known) -> bool:
    """Whether it does, and is the same."""
    found = _read(known.pid)
    return found is not None and not found.is_dead and found.began == known.began


def kill(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    """Those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_all(ancestor: int, mark: str, but_sessions: Collection[int] = ()) -> None:
    """All descendants, and who else has the mark: until none is found, or they are found again and again (a process in the kernel). ``but_sessions`` live on."""
    for _ in range(_ROUNDS):
        pids = {*descendants(ancestor, but_sessions), *marked(mark, but_sessions)}
        if not pids:
            return
        kill(pids)


def is_open(address: Address, *, doubt: bool) -> bool:
    """Whether somebody accepts connections there; ``doubt``: what to say where neither that nor the contrary is proved (it does not answer)."""
    try:
        with socket.create_connection((address.host, address.port), timeout=_CONNECT_S) as found:
            # A port that the kernel may choose for us can be its own other end: nobody listens.
            return bool(found.getsockname() != found.getpeername())
    except OSError as error:
        is_closed = error.errno in (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH)  # fmt: skip
        return doubt and not is_closed


def no_proof_of_free(path: str) -> str:
    """Why nobody can be said to hold no lock on the file, by flock(2) or by fcntl(2); empty: nobody holds one."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be opened ({error.strerror}), so nobody can say whether its lock is free"
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return "is locked"
    finally:
        os.close(fd)
    return ""


def taken(ports: Iterable[Address], lock_files: Iterable[str]) -> str:
    """A port or a lock of which it is not proved that nobody has it, and why; empty: none."""
    for port in ports:
        if is_open(port, doubt=True):
            return f"{port} is taken"
    found = ((each, no_proof_of_free(each)) for each in lock_files)
    return next((f"{path} {why}" for path, why in found if why), "")
