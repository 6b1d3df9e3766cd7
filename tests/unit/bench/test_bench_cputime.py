"""CPU accounting of ``wsproxy.bench.cputime``: parsing, process trees, ended children."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsproxy.bench.cputime import (
    CoreTime,
    CpuTime,
    ProcessStat,
    members,
    parse_core_time,
    parse_process_stat,
    read_processes,
    total,
)

# pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime ...
STAT = (
    "{pid} ({name}) S {parent} 7 {session} 0 -1 4194560 10 20 0 0 {times} 20 0 1 0 12345 1000 200"
)


def stat(
    pid: int, parent: int, session: int, times: str = "1 2 3 4", name: str = "nginx"
) -> ProcessStat:
    return parse_process_stat(
        STAT.format(pid=pid, parent=parent, session=session, times=times, name=name)
    )


@pytest.mark.parametrize("name", ["nginx", "tmux: server", "a) S 1 (b", ") (", "x y) R 0 0 0 0"])
def test_name_with_spaces_and_parentheses_does_not_shift_the_fields(name: str) -> None:
    process = stat(42, 41, 40, "11 22 33 44", name)
    assert process == ProcessStat(42, name, 41, 40, 11, 22, 33, 44)


def test_members_are_descendants_and_whoever_stays_in_the_session() -> None:
    processes = [
        stat(100, 1, 100),  # the leader
        stat(101, 100, 100),  # its child
        stat(102, 101, 102),  # a grandchild with a session of its own
        stat(103, 1, 100),  # lost its parent, kept the session
        stat(200, 1, 200),  # somebody else
        stat(201, 200, 200),
    ]
    assert {process.pid for process in members(100, processes)} == {100, 101, 102, 103}


def test_nobody_belongs_to_a_process_that_is_gone() -> None:
    assert members(100, [stat(200, 1, 200)]) == []


def test_total_counts_ended_children_of_every_member() -> None:
    assert total([stat(1, 0, 1, "10 20 1 2"), stat(2, 1, 1, "100 200 3 4")]) == CpuTime(114, 226)


def test_cpu_time_between_readings_is_in_microseconds() -> None:
    used = CpuTime(150, 70).since(CpuTime(50, 20))
    assert used == CpuTime(100, 50)
    assert used.user_us == 2 * used.system_us


def test_a_child_that_ended_still_counts() -> None:
    """A real child burns CPU and ends before we look; what it used must be in its parent's account."""
    child = "import time\nwhile time.process_time() < 0.3: pass"
    parent = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True);"
        "print('ended', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ended\n"
        family = members(process.pid, read_processes())
        used = total(family)
        process.communicate()
    assert [member.pid for member in family] == [process.pid]
    assert used.user_us + used.system_us >= 0.25e6


def test_core_time_splits_busy_from_idle_and_takes_the_right_core() -> None:
    text = (
        "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 100 10 4 5 6 0 0\ncpu10 7 7 7 7 7 7 7 7 0 0\nintr 5\n"
    )
    assert parse_core_time(text, 1) == CoreTime(busy_ticks=21, idle_ticks=110)


def test_core_without_a_line_is_named() -> None:
    with pytest.raises(ValueError, match="core 3"):
        parse_core_time("cpu0 1 1 1 1 1 1 1 1\n", 3)
