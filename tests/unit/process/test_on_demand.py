"""When a process that runs on demand may be started again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsproxy.admin.sockets import AdminSocket
from wsproxy.process.fork import FIRST_BACKOFF_S, HEALTHY_AFTER_S, LAST_BACKOFF_S
from wsproxy.process.on_demand import OnDemand


@pytest.fixture
def child(tmp_path: Path) -> Iterator[OnDemand]:
    with socket.socket(socket.AF_UNIX) as sock:
        yield OnDemand(
            "admin", AdminSocket(sock, tmp_path / "a.sock", 0), None, lambda _box: 0, row=0
        )


def test_crash_loop_costs_less_and_less(child: OnDemand) -> None:
    """Each short life doubles the wait, up to a limit; a long one forgets that."""
    waits = []
    for _ in range(9):
        child.note_start(1, 100.0)
        waits.append(child.note_end(100.1))
        assert child.pid is None
        assert child.watch_at == 100.1 + waits[-1]
    assert waits[:3] == [FIRST_BACKOFF_S, 2 * FIRST_BACKOFF_S, 4 * FIRST_BACKOFF_S]
    assert waits[-1] == LAST_BACKOFF_S
    child.note_start(1, 100.0)
    assert child.note_end(100.0 + HEALTHY_AFTER_S) == 0.0
    child.note_start(1, 200.0)
    assert child.note_end(200.0) == FIRST_BACKOFF_S
