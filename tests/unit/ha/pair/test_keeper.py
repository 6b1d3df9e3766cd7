"""Who starts the agent again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import WAIT_S
from wsproxy.ha.pair.keeper import NOT_NEEDED

# Says its pid, then what the next line of its folder's fifo is: "end", or it is killed while it waits for that.
PROGRAM = """
import os, sys
from wsproxy.ha.pair.keeper import keep
def agent():
    print(os.getpid(), flush=True)
    return int(sys.stdin.readline())
sys.exit(keep(agent))
"""


@pytest.fixture
def keeper() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def next_agent(keeper: subprocess.Popen[str]) -> int:
    assert keeper.stdout is not None
    return int(keeper.stdout.readline())


def test_killed_agent_is_started_again_until_it_ends_well(keeper: subprocess.Popen[str]) -> None:
    """One that was killed, and one that failed; with exit code 0 the keeper ends as well."""
    first = next_agent(keeper)
    assert Path(f"/proc/{keeper.pid}/comm").read_text().strip() == "wsproxy-keeper"
    os.kill(first, signal.SIGKILL)
    second = next_agent(keeper)
    assert second != first
    assert keeper.stdin is not None
    keeper.stdin.write("3\n")
    keeper.stdin.flush()
    assert next_agent(keeper) != second
    keeper.stdin.write("0\n")
    keeper.stdin.flush()
    assert keeper.wait(WAIT_S) == 0


def test_told_to_end_it_tells_the_agent_and_starts_no_other(keeper: subprocess.Popen[str]) -> None:
    """SIGTERM of a service manager, or of an operator."""
    agent = next_agent(keeper)
    keeper.send_signal(signal.SIGTERM)
    assert keeper.wait(WAIT_S) != 0
    assert not Path(f"/proc/{agent}").exists()


def test_told_to_end_at_any_moment_it_ends_with_its_agent() -> None:
    """Also between an agent's first word and the keeper's knowing who it is, and in the pause before the next one."""
    for delay_s in (0.0, 0.0, 0.0, 0.02, 0.05, 0.09, 0.1, 0.101, 0.102, 0.104, 0.106, 0.11):
        other = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        try:
            agent = next_agent(other)
            if delay_s:
                os.kill(agent, signal.SIGKILL)
                time.sleep(delay_s)  # the pause is 0.1 s
            other.send_signal(signal.SIGTERM)
            other.wait(WAIT_S)
            # nobody is left who could write: this ends
            assert other.stdout is not None
            other.stdout.read()
        finally:
            other.kill()
            other.communicate()


def test_told_to_end_in_a_fork_it_ends(tmp_path: Path) -> None:
    """A fork that takes its time, on both sides, as on a busy machine: the signal comes amid it."""
    program = f"""
import os, signal, time
from wsproxy.ha.pair import keeper
real = os.fork
def fork():
    pid = real()
    if pid:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
    return pid
os.fork = fork
def agent():
    open({str(tmp_path / "agent")!r}, "w").write(str(os.getpid()))
    time.sleep({WAIT_S * 2})
    return 0
raise SystemExit(abs(keeper.keep(agent)))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=WAIT_S, check=False)
    assert done.returncode == signal.SIGTERM
    agent = tmp_path / "agent"
    assert not agent.exists() or not Path(f"/proc/{agent.read_text()}").exists()


def test_agent_beside_another_one_is_not_started_again(keeper: subprocess.Popen[str]) -> None:
    """It would be one, of nobody's, when that one ends."""
    next_agent(keeper)
    assert keeper.stdin is not None
    keeper.stdin.write(f"{NOT_NEEDED}\n")
    keeper.stdin.flush()
    assert keeper.wait(WAIT_S) == NOT_NEEDED
