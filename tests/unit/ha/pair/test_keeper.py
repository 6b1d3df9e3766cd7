"""Who starts the agent again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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


def test_agent_beside_another_one_is_not_started_again(keeper: subprocess.Popen[str]) -> None:
    """It would be one, of nobody's, when that one ends."""
    next_agent(keeper)
    assert keeper.stdin is not None
    keeper.stdin.write(f"{NOT_NEEDED}\n")
    keeper.stdin.flush()
    assert keeper.wait(WAIT_S) == NOT_NEEDED
