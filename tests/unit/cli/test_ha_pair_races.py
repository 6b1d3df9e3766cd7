"""`wsproxy ha start` while agents begin and end: each found by attack on "two starts at once ask one agent"."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.test_ha_pair import processes_of, start, until_none

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as `wsproxy ha start` does")
LOOPBACK = "cannot use a loopback interface"


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="att-", dir="/run"))
    yield made
    for each in processes_of(made):
        os.kill(int(each), signal.SIGTERM)
    until_none(made)
    shutil.rmtree(made)


def test_an_agent_that_ends_between_both_questions(folder: Path, tmp_path: Path) -> None:
    """It still says its status, and is gone before it is asked to start: another start was refused at this moment."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "agent.sock"))
        sock.listen()

        def answer_once() -> None:
            one, _ = sock.accept()
            with one, one.makefile("rb") as stream:
                stream.readline()
                sock.close()
                (folder / "agent.sock").unlink()
                one.sendall(json.dumps({"given": {"agent": 1}}).encode() + b"\n")

        thread = threading.Thread(target=answer_once)
        thread.start()
        process = start(folder, tmp_path)
        said = process.communicate(timeout=60)[0]
        thread.join()
    assert LOOPBACK in said, said


def test_an_agent_that_takes_longer_to_end_than_its_lock_is_waited_for(
    folder: Path, tmp_path: Path
) -> None:
    """It answers no more and has the folder for six seconds: then the start's own agent has it."""
    with (folder / "agent.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(folder, tmp_path)
        timer = threading.Timer(6, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        timer.start()
        said = process.communicate(timeout=60)[0]
        timer.join()
    assert LOOPBACK in said, said


def test_a_start_that_is_killed_before_it_asks_leaves_nobody_behind(
    folder: Path, tmp_path: Path
) -> None:
    """Its agent was begun for it alone, and nobody asks it anything: nor does a later start that is refused end it."""
    process = start(folder, tmp_path)
    own = str(process.pid)
    while not [each for each in processes_of(folder) if each != own]:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while not (folder / "agent.sock").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1)
    assert LOOPBACK in start(folder, tmp_path).communicate(timeout=60)[0]
    until_none(folder)
