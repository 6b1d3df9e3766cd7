"""The kernel's choice among the sockets of a port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from wsproxy.config.address import Address
from wsproxy.process.listeners import (
    ListenerSet,
    ListenPlan,
    Source,
    WantedListener,
    open_listeners,
)
from wsproxy.process.seats import Seats

# By chance one of four sockets gets none of these once in 10^7 times.
MANY = 60


@dataclass(slots=True)
class Port:
    """Four workers' sockets on two addresses, as the proxy opens them."""

    listeners: ListenerSet
    stack: ExitStack

    def connect(self) -> None:
        for bound in self.listeners.by_worker[0]:
            for _ in range(MANY):
                client = socket.create_connection((bound.host, bound.port), 5)
                self.stack.enter_context(client)

    def reached(self) -> set[tuple[int, int]]:
        """Which (address, worker) have connections in their queues, which are emptied."""
        found = set()
        for worker, row in enumerate(self.listeners.by_worker):
            for address, bound in enumerate(row):
                while True:
                    try:
                        self.stack.enter_context(bound.sock.accept()[0])
                    except BlockingIOError:
                        break
                    found.add((address, worker))
        return found


@pytest.fixture
def port() -> Iterator[Port]:
    wanted = [
        WantedListener(Address(host, 0), Source("test")) for host in ("127.0.0.1", "127.0.0.2")
    ]
    listeners = open_listeners(ListenPlan(tuple(wanted), is_explicit=True), 4)
    with ExitStack() as stack:
        stack.callback(listeners.close)
        yield Port(listeners, stack)


def everywhere(*workers: int) -> set[tuple[int, int]]:
    return {(address, worker) for address in (0, 1) for worker in workers}


def test_new_connections_go_to_who_is_able(port: Port) -> None:
    """On every address, from one moment to the next and back; where nobody is able, to all."""
    seats = Seats(port.listeners.groups, 4)
    for able, reached in (
        ([0, 2, 3], (0, 2, 3)),
        ([3], (3,)),
        ([0, 1, 2, 3], (0, 1, 2, 3)),
        ([1, 2], (1, 2)),
        ([], (0, 1, 2, 3)),
    ):
        seats.give(able)
        port.connect()
        assert port.reached() == everywhere(*reached)


def test_queue_stays_with_its_socket(port: Port) -> None:
    """Who waits already is not reset: the worker, or its successor, takes him."""
    seats = Seats(port.listeners.groups, 4)
    port.connect()
    seats.give([0, 1, 2])
    assert port.reached() == everywhere(0, 1, 2, 3)
