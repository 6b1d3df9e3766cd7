"""Requests through the protocol classes over real sockets: bytes, order, reuse."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire, soon

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"


def payload(count: int) -> bytes:
    return random.Random(count).randbytes(count)


async def exchange(client: Wire, origin: Wire) -> None:
    """One whole request and answer on connections that both exist."""
    await client.send(GET)
    await origin.read_head()
    await origin.send(OK)
    assert await client.read_answer() == (200, b"ok")


async def first_exchange(client: Wire, origin: Origin) -> Wire:
    """One whole request and answer; the origin's new connection."""
    await client.send(GET)
    wire, _ = await origin.accept_request()
    await wire.send(OK)
    assert await client.read_answer() == (200, b"ok")
    return wire


async def test_second_request_uses_the_same_server_connection() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        wire = await first_exchange(client, origin)
        await exchange(client, wire)
        assert not origin.has_waiting()
        assert bed.server_state(0)["total"] == 2


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(
            b"".join(b"GET /app/%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(5))
        )
        wire = await origin.accept()
        for number in range(5):
            head = await wire.read_head()
            assert head.startswith(b"GET /app/%d " % number)
            await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 1\r\n\r\n%d" % number)
        for number in range(5):
            assert await client.read_answer() == (200, b"%d" % number)


async def test_head_byte_by_byte_is_one_request() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        for at in range(len(GET)):
            await client.send(GET[at : at + 1])
        wire, head = await origin.accept_request()
        assert head.startswith(b"GET /app/x HTTP/1.1\r\nHost: h\r\n")
        for at in range(len(OK)):
            await wire.send(OK[at : at + 1])
        assert await client.read_answer() == (200, b"ok")


@pytest.mark.parametrize("size", [1, 4096, 4097, 262144, 5_000_000])
async def test_answer_arrives_byte_for_byte(size: int) -> None:
    """Also where the kernel takes only a part of it: the client reads late and has a small window."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client(receive_buffer=4096)
        await client.send(GET)
        wire, _ = await origin.accept_request()
        body = payload(size)
        sending = wire.send(
            b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: %d\r\n\r\n" % size + body
        )
        _, (status, received) = await soon(asyncio.gather(sending, client.read_answer()))
        assert status == 200
        assert received == body
        await exchange(client, wire)  # and the connections are good for more


@pytest.mark.parametrize("size", [1, 65536, 65537, 5_000_000])
@pytest.mark.parametrize("warm", [True, False])
async def test_request_body_arrives_byte_for_byte(size: int, warm: bool) -> None:
    """Also where the server reads late and has a small window."""
    origin = Origin(receive_buffer=4096)
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        if warm:
            wire = await first_exchange(client, origin)
        body = payload(size)
        head = b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size

        async def serve() -> Wire:
            served = wire if warm else await origin.accept()
            await served.read_head()
            assert await served.read_exactly(size) == body
            await served.send(OK)
            return served

        _, served = await soon(asyncio.gather(client.send(head + body), serve()))
        assert await client.read_answer() == (200, b"ok")
        await exchange(client, served)


async def test_chunked_bodies_go_on_as_they_came() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        chunks = b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire, head = await origin.accept_request()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        for at in range(len(chunks)):
            await client.send(chunks[at : at + 1])
        assert await wire.read_exactly(len(chunks)) == chunks
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
        await client.read_head()
        assert await client.read_exactly(len(chunks)) == chunks
        await exchange(client, wire)


async def test_trailers_are_dropped_in_both_directions() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(
            b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nX: y\r\n\r\n"
        )
        wire, _ = await origin.accept_request()
        assert await wire.read_exactly(11) == b"1\r\na\r\n0\r\n\r\n"
        await wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX: y\r\n\r\n"
        )
        await client.read_head()
        assert await client.read_exactly(11) == b"1\r\nb\r\n0\r\n\r\n"
        await exchange(client, wire)


async def test_http_1_0_client_gets_chunked_answer_without_chunks() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(b"GET /app/x HTTP/1.0\r\n\r\n")
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")  # HTTP/1.0 knows no interim answers
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        await wire.send(b"lo\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n")
        answer = await client.read_to_end()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert b"Transfer-Encoding" not in head
        assert body == b"hello!"


async def test_head_answer_tells_http_1_0_nothing_of_chunks() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(b"HEAD /app/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        head = await client.read_head()
        assert b"Transfer-Encoding" not in head
        assert b"Connection: keep-alive" in head


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_body_leave_both_connections_usable(status: bytes) -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 %b\r\nContent-Length: 7\r\n\r\n" % status)
        head = await client.read_head()
        assert (b"Content-Length" in head) is status.startswith(b"304")
        await exchange(client, wire)


async def test_204_with_transfer_encoding_is_sent_without() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b"Transfer-Encoding" not in await client.read_head()


async def test_interim_answers_are_passed_on_before_the_final_one() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(
            b"POST /app/x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        wire, head = await origin.accept_request()
        assert b"Expect: 100-continue" in head
        await wire.send(b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.1 103 Early H")
        assert (await client.read_head()).startswith(b"HTTP/1.1 100 Continue\r\n")
        await client.send(b"abc")
        assert await wire.read_exactly(3) == b"abc"
        await wire.send(b"ints\r\n\r\n" + OK)
        assert (await client.read_head()).startswith(b"HTTP/1.1 103 Early Hints\r\n")
        assert await client.read_answer() == (200, b"ok")
        await exchange(client, wire)


async def test_answer_until_close_ends_with_the_connection() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        wire.close()
        answer = await client.read_to_end()
        assert answer.endswith(b"\r\nConnection: close\r\n\r\nhello")


async def test_cut_answer_until_close_is_seen_as_cut() -> None:
    """Nothing but the end of the connection ends it, so an orderly end would say that it is whole."""
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await client.read_until(b"hel")
        wire.reset()
        with pytest.raises(ConnectionResetError):
            await client.read_to_end()


async def test_cut_chunked_answer_is_seen_as_cut_by_http_1_0() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        for ending in (b"", b"zz\r\n"):
            client = await bed.client()
            await client.send(b"GET /app/x HTTP/1.0\r\n\r\n")
            wire, _ = await origin.accept_request()
            await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await client.read_until(b"abc")
            await wire.send(ending)
            if not ending:
                wire.close()
            with pytest.raises(ConnectionResetError):
                await client.read_to_end()


async def test_bytes_behind_an_answer_never_answer_the_next_request() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK + b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\nevil")
        assert await client.read_answer() == (200, b"ok")
        await client.send(GET)
        second, _ = await origin.accept_request()
        await second.send(OK)
        assert await client.read_answer() == (200, b"ok")


async def test_bytes_on_an_idle_connection_never_answer_the_next_request() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        wire = await first_exchange(client, origin)
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 4\r\n\r\nevil")
        assert await wire.is_ended()
        await first_exchange(client, origin)


async def test_answer_before_the_request_is_whole_ends_both_connections() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        head = await client.read_head()
        assert b"\r\nConnection: close\r\n" in head
        await client.send(b"d" * 50)  # thrown away, so that the client can read its answer
        assert await client.read_to_end() == b"ok"
        assert await wire.is_ended()


async def test_half_closed_client_gets_its_answer() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        client.end_sending()
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert (await client.read_to_end()).endswith(b"\r\n\r\nok")
        assert bed.inflight() == [0]


async def test_body_over_post_size_limit_is_refused_and_nothing_behind_it_is_read() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port), post_size_limit_kb=1)) as bed:
        client = await bed.client()
        await client.send(b"POST /app/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire, _ = await origin.accept_request()
        await client.send(b"800\r\n" + b"a" * 0x800 + b"\r\n0\r\n\r\n" + GET)
        answer = await client.read_to_end()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.count(b"HTTP/1.1") == 1
        assert await wire.is_ended()
        assert bed.inflight() == [0]
        assert not origin.has_waiting()


async def test_refusal_is_not_shaped_by_the_request_before() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(b"HEAD /app/x HTTP/1.1\r\nHost: h\r\n\r\n")
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 9\r\n\r\n")
        await client.read_head()
        await client.send(b"GET / HTTP/3.0\r\n\r\n")
        status, body = await client.read_answer()
        assert status == 505
        assert body.startswith(b"<!DOCTYPE html>")
        assert await client.is_ended()


async def test_bad_chunk_beside_the_head_of_an_answer_is_a_bad_gateway() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port))) as bed:
        client = await bed.client()
        await client.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        assert (await client.read_answer())[0] == 502
        assert bed.inflight() == [0]
