"""What the operating system is asked for."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from wsproxy.process.system import (
    count_usable_cpus,
    is_dying,
    raise_open_files_limit,
    read_process,
    set_process_name,
)

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000\n", ALLOWED),
        ("50000 100000\n", 1),
        ("100001 100000\n", min(2, ALLOWED)),
        ("99999900000 100000\n", ALLOWED),
        ("nonsense\n", ALLOWED),
    ],
)
def test_cpu_time_of_the_control_group_limits_the_cpus(
    tmp_path: Path, cpu_max: str, cpus: int
) -> None:
    """A container with half a CPU on a big host gets one worker; without a limit every allowed CPU counts."""
    file = tmp_path / "cpu.max"
    file.write_text(cpu_max)
    assert count_usable_cpus(file) == cpus


def test_cpus_count_without_a_control_group(tmp_path: Path) -> None:
    """The file is absent outside cgroup v2."""
    assert count_usable_cpus(tmp_path / "none") == ALLOWED


def test_open_files_limit_is_raised_to_the_hard_one() -> None:
    """The soft limit is what the process runs into."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] // 2, before[1]))
        assert raise_open_files_limit() == before[1]
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_process_name_is_shown_by_the_kernel() -> None:
    """``ps`` and ``top`` read the same file."""
    comm = Path(f"/proc/self/task/{os.getpid()}/comm")
    before = comm.read_text().strip()
    try:
        set_process_name("wsproxy-7")
        assert comm.read_text() == "wsproxy-7\n"
    finally:
        set_process_name(before)


def test_process_tells_what_it_does() -> None:
    """Its state, who traces it and the CPU time that it had; nothing of one that is not there."""
    found = read_process(os.getpid())
    assert found is not None
    assert (found.letter, found.tracer_pid) == ("R", 0)
    assert found.cpu_s == pytest.approx(time.process_time(), abs=0.5)
    assert read_process(2**22 + 1) is None


def test_process_is_dying_from_the_moment_it_is_killed() -> None:
    """Whether it has run since or not, and after it was reaped; one that is only stopped is not."""
    block = bytearray(32 << 20)  # memory that takes a moment to be given back
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            block[:: 1 << 12] = b"x" * (len(block) >> 12)
            signal.pause()
        assert not is_dying(pid)
        os.kill(pid, signal.SIGSTOP)
        assert not is_dying(pid)
        os.kill(pid, signal.SIGKILL)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            assert is_dying(pid)
        assert is_dying(pid)
