"""The end of a connection needs no memory: whoever goes while there is none gives its place back, and nobody waits for ever."""

from __future__ import annotations

import _testcapi  # type: ignore[import-not-found]  # CPython's own: makes each allocation fail
import os

import pytest

from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.proxy.http1 import Http1Protocol

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
# Allocations that may succeed before the first one fails: far more than an end makes.
FIRST = range(60)


def lose(transport: FakeTransport, first: int) -> None:
    """Its connection is lost; of what is allocated for that all fails from the ``first`` on."""
    lost = transport.protocol.connection_lost
    transport.is_lost = True
    try:
        _testcapi.set_nomemory(first)
        lost(None)
    except MemoryError:
        pass
    finally:
        _testcapi.remove_mem_hooks()
        transport.near.close()
        transport.far.close()


@pytest.mark.parametrize("answered", [b"", HALF], ids=["nothing answered", "half answered"])
@pytest.mark.parametrize("goes", ["client", "server"])
def test_who_goes_without_memory_leaves_nothing_in_flight(goes: str, answered: bytes) -> None:
    for first in FIRST:
        stage = Stage()
        client = stage.client()
        client.deliver(GET)
        server = stage.server()
        if answered:
            server.deliver(answered)
        assert stage.inflight == 1
        lose(client if goes == "client" else server, first)
        stage.engine.sweep()  # what could not be closed is closed now
        if goes == "server" and not client.is_closing_ and stage.slow.waiting:
            stage.slow.waiting.pop().cut()  # it found memory for another try
        assert stage.inflight == 0
        other = server if goes == "client" else client
        assert other.calls[-1] in ("abort", "close", "write_eof") or other.drain()
        stage.end()


def test_connection_that_cannot_be_made_closes_no_descriptor_of_others() -> None:
    """What was not filled in yet is 0, and 0 is a descriptor."""
    engine = Stage().engine
    before = os.dup(0)
    try:
        for first in range(10):
            try:
                _testcapi.set_nomemory(first)
                Http1Protocol(engine)
            except MemoryError:
                pass
            finally:
                _testcapi.remove_mem_hooks()
            assert os.path.sameopenfile(0, before)
    finally:
        os.dup2(before, 0)
        os.close(before)
