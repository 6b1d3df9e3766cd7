"""The orderly end of a client's connection: half closed first, and what still comes is thrown away for a while."""

from __future__ import annotations

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.stage import Stage
from wsproxy._fast.proxy.linger import Lingering

pytestmark = pytest.mark.asan

CLOSE = b"GET /app/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
MISS = b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n"
BAD = b"nonsense\r\n\r\n"
# More than a turn throws bytes of away, and how many and how much those are.
CLIENTS = 30
MOST_READS = 8
READ_BYTES = 65536


def test_client_that_is_refused_gets_its_answer_and_time_to_read_it(stage: Stage) -> None:
    client = stage.client()
    client.deliver(BAD)
    assert client.calls[-1] == "write_eof"
    assert stage.engine.lingering == 1
    client.deliver(MISS * 10)  # no request any more
    assert client.drain().startswith(b"HTTP/1.1 400 ")
    assert client.drain() == b""
    assert stage.engine.requests == 1
    client.protocol.eof_received()
    assert client.calls[-1] == "close"
    client.lose()
    assert stage.engine.lingering == 0


async def test_what_many_clients_send_behind_their_end_takes_few_reads_of_a_turn() -> None:
    """In turn: who has more stands behind everybody else, so each of them goes on."""
    upload = b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n"
    async with Bed(config_of(server("s", 1))) as bed:
        poller = bed.engine.poller
        clients = [await bed.client() for _ in range(CLIENTS)]
        for client in clients:
            await client.send(upload)
        await bed.until(lambda: bed.engine.lingering == CLIENTS)

        def thrown_away() -> list[int]:
            streams = bed.engine.streams()
            return [each.lingered for each in streams if isinstance(each, Lingering)]

        # No await below: whatever is read is read by the two calls that are a turn.
        turns = 0
        while min(thrown_away()) < 2 * READ_BYTES:
            for client in clients:
                while client.send_now(bytes(READ_BYTES)):
                    pass
            for step in (poller.run, poller.give_turns):
                before = sum(thrown_away())
                step()
                assert sum(thrown_away()) - before <= MOST_READS * READ_BYTES
            turns += 1
            assert turns < 10 * CLIENTS  # nobody is forgotten
        # The one that was read most often is not far ahead.
        assert max(thrown_away()) <= min(thrown_away()) + 4 * READ_BYTES


async def test_client_whose_rest_is_thrown_away_later_is_heard_to_its_end() -> None:
    """What it sent stood behind what others sent; then its end comes, and its connection is over."""
    async with Bed(config_of(server("s", 1))) as bed:
        clients = [await bed.client() for _ in range(CLIENTS)]
        for client in clients:
            await client.send(b"POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n")
        await bed.until(lambda: bed.engine.lingering == CLIENTS)
        for client in clients:
            client.send_now(bytes(3 * READ_BYTES + 1))
            client.end_sending()
        for client in clients:
            assert (await client.read_answer())[0] == 404
            assert await client.read_to_end() == b""
        await bed.until(lambda: bed.engine.lingering == 0)
