"""When a process beside the workers is started again, and whether at all."""

from __future__ import annotations

import socket

from wsproxy.process.fork import FIRST_BACKOFF_S, HEALTHY_AFTER_S
from wsproxy.process.resident import Resident


def run(_sock: socket.socket) -> int:
    return 0


def test_it_is_started_at_once_and_again_after_its_end() -> None:
    """Later after a short life, so that one that keeps dying costs nothing."""
    child = Resident("loader", run, row=1)
    assert child.next_start == 0.0
    child.note_start(7, 100.0)
    assert child.pid == 7
    assert child.next_start is None
    assert child.note_end(100.5) == FIRST_BACKOFF_S
    assert (child.pid, child.next_start) == (None, 100.5 + FIRST_BACKOFF_S)
    child.note_start(8, 101.0)
    assert child.note_end(101.0 + HEALTHY_AFTER_S) == 0.0


def test_one_that_is_not_wanted_is_not_started() -> None:
    """Until it is."""
    wanted: list[bool] = []
    child = Resident("prober", run, is_wanted=lambda: bool(wanted), row=1)
    assert child.next_start is None
    wanted.append(True)
    assert child.next_start == 0.0
    child.note_start(7, 100.0)
    wanted.clear()
    child.note_end(200.0)
    assert child.next_start is None
