"""
How servers were over the last hours: a column each half minute, kept in the admin process.

Driven by ``admin.events``, which has a column taken; the dashboard draws them. Bounded in time and in servers, whatever is configured. They are kept in
a file without a name that the supervisor has, and hands on to a program that replaces it: the admin process may end. The workers hear nothing of it: it reads the slots that ``status`` reads.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from zlib import crc32

import msgspec

from wsproxy.admin.control_messages import ServerStatus

STEP_S = 30
# Three hours.
MOST_COLUMNS = 360
# 3 numbers of 4 bytes a column: 4.3 KB a server, 2.2 MB for all. More is for Prometheus (/metrics), which keeps days.
MOST_SERVERS = 500

NOT_THERE = -1.0
# What is kept begins with this, and a checksum: another version, or half of something that was being written, begins anew.
_FORM = b"heat 1\n"
_SUM = struct.Struct("<I")
# Names have some hundred bytes at most, columns 4.3 KB; more is none of ours.
MOST_BYTES = 16 << 20


class ServerHeat(msgspec.Struct):
    """
    Of one server, a number a column: requests given to it, tries that failed, mean ms until its answers began.

    -1: it was not there, or (``latency_ms``) began no answer.
    """

    cluster: str
    server: str
    requests: list[float]
    errors: list[float]
    latency_ms: list[float]


class HeatAnswer(msgspec.Struct):
    """
    Columns above ``since``, the oldest first: ``last`` is the number of the newest, which ended ``age_s`` ago; each is ``step_s`` long.

    ``pid``: of the process that keeps them; another one has begun anew.

    ``left_out``: servers beyond those that are kept.
    """

    pid: int
    step_s: int
    most_columns: int
    last: int
    age_s: float
    left_out: int
    servers: list[ServerHeat]


@dataclass(slots=True)
class _Ring:
    """Of one server; ``before``: its counts at the end of the last column."""

    before: tuple[int, int, int, float]
    columns: tuple[array[float], array[float], array[float]] = field(
        default_factory=lambda: (_empty(), _empty(), _empty())
    )


class _KeptServer(msgspec.Struct, array_like=True):
    """``columns``: three of them, as they lie in memory."""

    cluster: str
    server: str
    before: tuple[int, int, int, float]
    columns: tuple[bytes, bytes, bytes]


class _Kept(msgspec.Struct, array_like=True):
    last: int
    ended_at: float
    servers: list[_KeptServer]


def _empty() -> array[float]:
    return array("f", [NOT_THERE]) * MOST_COLUMNS


class Heat:
    """The columns of all servers."""

    def __init__(self, fd: int = -1) -> None:
        """
        The first column has no predecessor to be reckoned from: it ends with the second look.

        ``fd``: where they are kept, and those of an earlier process stand; -1: nowhere. # I/O.
        """
        self._fd = fd
        self._rings: dict[tuple[str, str], _Ring] = {}
        self.last = 0  # number of the newest column
        self._ended_at = 0.0
        self._left_out = 0
        self._is_kept = False  # the newest column is another process's
        if fd >= 0:
            self._read()

    def _read(self) -> None:
        size = os.fstat(self._fd).st_size
        data = os.pread(self._fd, size, 0) if 0 < size <= MOST_BYTES else b""
        head = len(_FORM) + _SUM.size
        if not data.startswith(_FORM) or data[len(_FORM) : head] != _SUM.pack(crc32(data[head:])):
            return
        try:
            kept = msgspec.msgpack.decode(data[head:], type=_Kept)
        except msgspec.DecodeError:
            return
        length = MOST_COLUMNS * array("f").itemsize
        for each in kept.servers:
            if any(len(column) != length for column in each.columns):
                return
            columns = tuple(array("f", column) for column in each.columns)
            self._rings[each.cluster, each.server] = _Ring(each.before, columns)  # type: ignore[arg-type]
        self.last, self._ended_at, self._is_kept = kept.last, kept.ended_at, True

    def _keep(self) -> None:
        servers = [
            _KeptServer(*key, ring.before, tuple(column.tobytes() for column in ring.columns))  # type: ignore[arg-type]
            for key, ring in self._rings.items()
        ]
        data = msgspec.msgpack.encode(_Kept(self.last, self._ended_at, servers))
        whole = _FORM + _SUM.pack(crc32(data)) + data
        with suppress(OSError):  # no memory: then they end with this process
            os.pwrite(self._fd, whole, 0)
            os.ftruncate(self._fd, len(whole))

    def _leave_gap(self, now_s: float) -> None:
        """Nobody has looked for a while: those columns are empty, and what was counted meanwhile is nobody's."""
        missed = int((now_s - self._ended_at) / STEP_S - 0.5)
        if not self._rings or missed <= 0:
            return
        for number in range(self.last + 1, self.last + 1 + min(missed, MOST_COLUMNS)):
            for ring in self._rings.values():
                for column in ring.columns:
                    column[number % MOST_COLUMNS] = NOT_THERE
        self.last += min(missed, MOST_COLUMNS)

    def take(self, rows: Iterable[ServerStatus], now_s: float) -> None:
        """Ends a column with these counts; who is not among them any more is forgotten. ``now_s``: on a clock that never goes back."""
        if self._is_kept and now_s - self._ended_at < STEP_S / 2:
            return  # of a process that has just ended: its last column is too young for another one
        self._is_kept = False
        before = self.last
        self._leave_gap(now_s)
        is_gap = self.last > before
        if self._rings:
            self.last += 1
        self._ended_at = now_s
        at = self.last % MOST_COLUMNS
        kept: dict[tuple[str, str], _Ring] = {}
        self._left_out = 0
        for row in rows:
            key = (row.cluster, row.server)
            if key in kept:  # it stands twice in its cluster
                continue
            if len(kept) >= MOST_SERVERS:
                self._left_out += 1
                continue
            counts = (row.requests, row.errors, row.answers, row.latency_total_ms)
            ring = kept[key] = self._rings.get(key) or _Ring(counts)
            if self.last:
                is_known = key in self._rings and not is_gap
                found = _column(ring.before, counts) if is_known else (NOT_THERE,) * 3
                for column, value in zip(ring.columns, found, strict=True):
                    column[at] = value
            ring.before = counts
        self._rings = kept
        if self._fd >= 0:
            self._keep()

    def answer(self, since: int, now_s: float) -> HeatAnswer:
        """What was taken after column number ``since``."""
        count = min(max(self.last - since, 0), self.last, MOST_COLUMNS)
        places = [number % MOST_COLUMNS for number in range(self.last - count + 1, self.last + 1)]
        servers = [
            ServerHeat(
                *key, *([round(column[place], 2) for place in places] for column in ring.columns)
            )
            for key, ring in self._rings.items()
        ]
        age_s = round(max(now_s - self._ended_at, 0), 1)
        return HeatAnswer(
            os.getpid(), STEP_S, MOST_COLUMNS, self.last, age_s, self._left_out, servers
        )


def _column(
    before: tuple[int, int, int, float], now: tuple[int, int, int, float]
) -> tuple[float, float, float]:
    requests, errors, answers = (max(now[at] - before[at], 0) for at in range(3))
    latency = max(now[3] - before[3], 0) / answers if answers else NOT_THERE
    return requests, errors, latency
