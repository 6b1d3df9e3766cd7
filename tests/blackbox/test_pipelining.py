"""Requests sent ahead to the real proxy: answered in order, one at a time, to the last."""

from __future__ import annotations

import asyncio

import pytest

from tests.blackbox.conftest import Shared
from tests.support.client import Client, get, request
from tests.support.origin import OriginConnection, keep_answering

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("count", [2, 50])
async def test_pipelined_requests_are_answered_in_order(shared: Shared, count: int) -> None:
    """All in one packet; one at a time goes to the server."""
    lane = shared.lane()

    async def script(connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            assert connection.unread == b""
            name = message.split(b" ")[1]
            await connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
            )

    async with lane.origin.serving(script), await Client.connect(shared.port) as client:
        await client.send(b"".join(get(f"/{lane.name}/{at}") for at in range(count)))
        bodies = [(await client.answer()).body for _ in range(count)]
    assert bodies == [f"/{lane.name}/{at}".encode() for at in range(count)]
    assert lane.origin.accepted == 1


async def test_pipelined_local_and_relayed_answers_keep_their_order(shared: Shared) -> None:
    """404 of the proxy's own between answers of the server, bodies between the heads."""
    lane = shared.lane()
    messages = []
    for at in range(40):
        messages.append(get(f"/{lane.name}/{at}") if at % 3 else get("/nowhere"))
        if at % 5 == 0:
            messages.append(request("POST", f"/{lane.name}/{at}", body=b"GET / HTTP/1.1\r\n\r\n"))
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.send(b"".join(messages))
        for message in messages:
            answer = await client.answer()
            assert answer.status == (404 if b"/nowhere" in message else 200)


async def test_five_thousand_pipelined_local_answers(shared: Shared) -> None:
    """Answers of the proxy's own neither nest nor get lost."""
    async with await Client.connect(shared.port) as client:
        sending = asyncio.ensure_future(client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000))
        for _ in range(5000):
            assert (await client.answer()).status == 404
        await sending


async def test_half_closed_client_gets_all_its_answers(shared: Shared) -> None:
    """Requests that came whole are answered, also those that wait behind the first."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/1") + get(f"/{lane.name}/2"))
        client.half_close()
        server = await lane.origin.accept()
        await server.answer()
        assert (await client.answer()).body == b"ok"
        await server.answer()
        assert (await client.answer()).body == b"ok"
        assert await client.rest() == b""
