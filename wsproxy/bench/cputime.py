"""
CPU time of a proxy: all its processes, those that ended included; and of one core, whoever used it.

Driven by ``measure``. Reads /proc only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")  # unit of /proc/PID/stat and /proc/stat: USER_HZ
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """The fields of /proc/PID/stat that matter here; times in ticks."""

    pid: int
    name: str
    parent_pid: int
    session_id: int
    user_ticks: int
    system_ticks: int
    ended_children_user_ticks: int
    ended_children_system_ticks: int


@dataclass(frozen=True, slots=True)
class CpuTime:
    """User and system time in ticks."""

    user_ticks: int
    system_ticks: int

    def since(self, earlier: CpuTime) -> CpuTime:
        """What was used between two readings."""
        return CpuTime(
            self.user_ticks - earlier.user_ticks, self.system_ticks - earlier.system_ticks
        )

    @property
    def user_us(self) -> float:
        """User time in microseconds."""
        return self.user_ticks / TICKS_PER_SECOND * 1e6

    @property
    def system_us(self) -> float:
        """System time in microseconds."""
        return self.system_ticks / TICKS_PER_SECOND * 1e6


@dataclass(frozen=True, slots=True)
class CoreTime:
    """Ticks of one core since boot: in use by anybody (interrupts included), and idle."""

    busy_ticks: int
    idle_ticks: int


def parse_process_stat(text: str) -> ProcessStat:
    """
    The values of one /proc/PID/stat line.

    The name stands in parentheses and may itself hold spaces and parentheses (proc(5)): it ends at the LAST one.
    """
    pid, _, rest = text.partition(" (")
    name, _, tail = rest.rpartition(") ")
    fields = tail.split()  # fields[0] is field 3 of proc(5), the state
    return ProcessStat(
        pid=int(pid),
        name=name,
        parent_pid=int(fields[1]),
        session_id=int(fields[3]),
        user_ticks=int(fields[11]),
        system_ticks=int(fields[12]),
        ended_children_user_ticks=int(fields[13]),
        ended_children_system_ticks=int(fields[14]),
    )


def members(root_pid: int, processes: Iterable[ProcessStat]) -> list[ProcessStat]:
    """The process, its descendants, and whoever is in the session that it leads (a child may have lost its parent)."""
    by_pid = {process.pid: process for process in processes}

    def belongs(process: ProcessStat) -> bool:
        current: ProcessStat | None = process
        while current is not None:
            if root_pid in (current.pid, current.session_id):
                return True
            current = by_pid.get(current.parent_pid)
        return False

    return [process for process in by_pid.values() if belongs(process)]


def total(processes: Iterable[ProcessStat]) -> CpuTime:
    """
    The sum over processes, with what their ended children used.

    Nothing is counted twice: a parent's ended-children time starts to hold a child's when the child leaves the table.
    """
    user = system = 0
    for process in processes:
        user += process.user_ticks + process.ended_children_user_ticks
        system += process.system_ticks + process.ended_children_system_ticks
    return CpuTime(user, system)


def read_processes() -> list[ProcessStat]:
    """All processes of the machine. I/O. One that ends while we read is left out."""
    processes = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                processes.append(parse_process_stat((entry / "stat").read_text()))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return processes


def parse_core_time(text: str, core: int) -> CoreTime:
    """
    One core's line of /proc/stat.

    Raises: ValueError where the core has no line.
    """
    for line in text.splitlines():
        label, *values = line.split()
        if label == f"cpu{core}":
            user, nice, system, idle, iowait, irq, softirq, steal = (
                int(value) for value in values[:8]
            )
            return CoreTime(user + nice + system + irq + softirq + steal, idle + iowait)
    msg = f"/proc/stat has no line for core {core}"
    raise ValueError(msg)


def read_core_time(core: int) -> CoreTime:
    """One core's time until now. I/O."""
    return parse_core_time((PROC / "stat").read_text(), core)
