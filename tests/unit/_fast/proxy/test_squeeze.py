"""Compressing in the engine, step by step: what is held, what is counted, what a client without chunks gets."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from tests.support.fake_transport import FakeTransport
from tests.support.stage import Stage
from wsproxy._fast.proxy.squeeze import MOST_SQUEEZED
from wsproxy.config.settings import RetrySettings, Settings
from wsproxy.config.settings_content import CompressSettings
from wsproxy.config.settings_edge import EdgeSettings

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/html\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = b"again and " * 100


def stage(**more: Any) -> Stage:
    edge = EdgeSettings(compress=CompressSettings(min_bytes=0))
    return Stage(settings=Settings(edge=(edge,), **more))


def answered(on: Stage, client: FakeTransport, answer: bytes) -> FakeTransport:
    """Its server, which has said so much."""
    client.deliver(GET)
    server = on.server(kernel_bytes=1 << 20)
    server.deliver(answer)
    return server


def parts(taken: bytes) -> tuple[bytes, bytes, bool]:
    """Head, what is in the chunks, whether the last one came."""
    head, _, rest = taken.partition(b"\r\n\r\n")
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n"
            return head, body, True
        body += rest[: int(size, 16)]
        assert rest[int(size, 16) :].startswith(b"\r\n")
        rest = rest[int(size, 16) + 2 :]
    return head, body, False


def test_small_page_is_one_send_with_its_head() -> None:
    """One chunk, and the last one."""
    on = stage()
    client = on.client(kernel_bytes=1 << 20)
    answered(on, client, HEAD + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE)
    taken = client.taken()
    head, body, is_whole = parts(taken)
    assert b"\r\nContent-Encoding: gzip" in head
    assert b"Content-Length" not in head
    assert (zlib.decompress(body, 31), is_whole) == (PAGE, True)
    assert taken.count(b"\r\n00") == 1  # the chunk's size has leading zeros
    assert on.engine.squeezed == 0
    on.end()


def test_what_came_is_all_told_before_more_comes() -> None:
    on = stage()
    client = on.client(kernel_bytes=1 << 20)
    server = answered(on, client, CHUNKED)
    head, body, is_whole = parts(client.taken())
    assert b"\r\nContent-Encoding: gzip" in head
    assert (body, is_whole, on.engine.squeezed) == (b"", False, 1)
    reader = zlib.decompressobj(31)
    for piece in (b"one", b"two", b"x" * 50_000):
        server.deliver(b"%x\r\n%b\r\n" % (len(piece), piece))
        _, body, _ = parts(b"\r\n\r\n" + client.taken())
        assert reader.decompress(body) == piece
    server.deliver(b"0\r\n\r\n")
    _, body, is_whole = parts(b"\r\n\r\n" + client.taken())
    assert (reader.decompress(body), reader.eof, is_whole) == (b"", True, True)
    assert on.engine.squeezed == 0
    on.end()


@pytest.mark.parametrize("who", ["client", "server"])
def test_compressor_is_given_back_whoever_leaves(who: str) -> None:
    on = stage()
    client = on.client(kernel_bytes=1 << 20)
    server = answered(on, client, CHUNKED + b"3\r\nabc\r\n")
    assert on.engine.squeezed == 1
    (client if who == "client" else server).lose()
    if who == "server":
        assert not parts(client.taken())[2]
        assert client.is_lost or client.is_closing_
        client.lose()
    assert on.engine.squeezed == 0
    on.end()


def test_beyond_the_limit_answers_go_as_they_are() -> None:
    """Each holds memory until it is over; and when one is over there is room for another."""
    on = stage()
    clients = [on.client(kernel_bytes=1 << 20) for _ in range(MOST_SQUEEZED + 1)]
    servers = [answered(on, client, CHUNKED) for client in clients]
    assert on.engine.squeezed == MOST_SQUEEZED
    heads = [client.taken() for client in clients]
    assert [b"Content-Encoding" in head for head in heads] == [True] * MOST_SQUEEZED + [False]
    assert b"Vary: Accept-Encoding" in heads[-1]
    for server in servers:
        server.deliver(b"0\r\n\r\n")
        server.taken()
    assert on.engine.squeezed == 0
    clients[-1].taken()
    clients[-1].deliver(GET)
    (asked,) = [each for each in servers if not each.is_closing_ and each.taken()]
    asked.deliver(CHUNKED)
    assert b"Content-Encoding" in clients[-1].taken()
    on.end()


def test_answer_that_is_refused_is_never_compressed() -> None:
    """Another server's is, from its beginning."""
    edge = EdgeSettings(compress=CompressSettings(min_bytes=0))
    on = Stage(settings=Settings(edge=(edge,), retry=RetrySettings()), backup=True)
    client = on.client(kernel_bytes=1 << 20)
    client.deliver(GET)
    on.server().deliver(
        b"HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"
    )
    assert on.engine.squeezed == 0
    on.server().deliver(HEAD + b"Content-Length: %d\r\n\r\n" % len(PAGE) + PAGE)
    assert zlib.decompress(parts(client.taken())[1], 31) == PAGE
    on.end()


def test_first_chunk_that_is_wrong_is_another_servers_turn() -> None:
    """Nothing of the answer was sent, so nothing of the compressor is left."""
    on = stage()
    client = on.client(kernel_bytes=1 << 20)
    answered(on, client, CHUNKED + b"wrong\r\n")
    assert on.engine.squeezed == 0
    assert client.taken().startswith(b"HTTP/1.1 502 ")
    answered(on, client, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    assert zlib.decompress(parts(client.taken())[1], 31) == b"abc"
    on.end()
