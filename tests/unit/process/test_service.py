"""systemd's protocol: word to it, and its watchdog."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsproxy.process.service import ServiceWatchdog, notify_systemd


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        yield sock


def test_service_manager_may_have_an_abstract_socket_or_be_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``@name`` reaches a socket without a file; a manager that is gone or absent is no error."""
    name = f"wsproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_systemd("READY=1")
        assert abstract.recv(64) == b"READY=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify_systemd("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify_systemd("READY=1")


def test_manager_that_does_not_read_is_not_waited_for(manager: socket.socket) -> None:
    """Its queue is full: what it would have heard is lost."""
    with contextlib.suppress(BlockingIOError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:  # fmt: skip
        other.setblocking(False)
        other.connect(os.environ["NOTIFY_SOCKET"])
        while True:
            other.send(b"x")
    notify_systemd("READY=1")
    assert manager.recv(64) == b"x"


def test_watchdog_is_fed_twice_in_its_time(manager: socket.socket) -> None:
    watchdog = ServiceWatchdog({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "17"}, 17)
    fed = []
    for tenth in range(60):
        watchdog.feed(100 + tenth / 10, is_well=True)
        with contextlib.suppress(BlockingIOError):
            assert manager.recv(64) == b"WATCHDOG=1"
            fed.append(tenth)
    assert fed == [0, 15, 30, 45]
    assert watchdog.next_feed(106.0) == 106.0


def test_watchdog_is_not_fed_while_something_is_wrong(manager: socket.socket) -> None:
    """It is looked at twice a second then, not without a pause, and fed as soon as all is well."""
    watchdog = ServiceWatchdog({"WATCHDOG_USEC": "3000000"}, 17)
    for tenth in range(24):
        watchdog.feed(100 + tenth / 10, is_well=False)
        next_s = watchdog.next_feed(100 + tenth / 10)
        assert next_s is not None
        assert 0 < next_s - (100 + tenth / 10) <= 0.5
    with pytest.raises(BlockingIOError):
        manager.recv(64)
    watchdog.feed(102.5, is_well=True)
    assert manager.recv(64) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "18"}],
)  # fmt: skip
def test_nobody_waits_for_a_watchdog(manager: socket.socket, environ: dict[str, str]) -> None:
    """None is wanted, or of another process."""
    watchdog = ServiceWatchdog(environ, 17)
    watchdog.feed(100.0, is_well=True)
    assert watchdog.next_feed(100.0) is None
    with pytest.raises(BlockingIOError):
        manager.recv(64)
