"""Requests that two parsers could read differently are refused by the real proxy, and no byte of them reaches a server."""

from __future__ import annotations

import pytest

from tests.blackbox.conftest import Shared
from tests.support.client import Client, IncompleteError, ask, chunks, get, request
from tests.support.origin import OK, answering, keep_answering
from tests.support.proxy import lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = b"Host: a\r\n"

# name -> (request with PATH in place of the lane's, status, what the log says)
REFUSED: dict[str, tuple[bytes, int, str]] = {
    "bare LF after the request line": (b"GET PATH HTTP/1.1\nHost: a\r\n\r\n", 400, "LF without CR"),
    "bare LF after a field": (b"GET PATH HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, "LF without CR"),
    "bare LF as empty line": (b"GET PATH HTTP/1.1\r\nHost: a\r\n\n", 400, "LF without CR"),
    "bare CR in a value": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        400,
        "CR without LF",
    ),
    "bare CR in the request line": (
        b"GET PATH\r HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        "CR without LF",
    ),
    "NUL in a value": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "NUL or control"),
    "NUL in the target": (b"GET PATH\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "NUL or control"),
    "folded field": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "folded"),
    "folded first field": (b"GET PATH HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folded"),
    "blank before the colon": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\nx",
        400,
        "blank before the colon",
    ),
    "empty field name": (b"GET PATH HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400, "field name"),
    "field without colon": (b"GET PATH HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, "field name"),
    "field name beyond ASCII": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX\xe4: y\r\n\r\n",
        400,
        "field name",
    ),
    "bad character in the method": (b"G(T PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400, "method"),
    "long method": (b"G" * 40 + b" PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400, "method"),
    "no method": (b" PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400, "method"),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "CONNECT"),
    "two blanks": (b"GET  PATH HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line"),
    "tab for a blank": (b"GET\tPATH\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "NUL|request line|method"),
    "target without slash": (b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "fragment": (b"GET PATH#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "target beyond ASCII": (b"GET PATH\xe4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "asterisk of GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"),
    "no version": (b"GET PATH\r\nHost: a\r\n\r\n", 400, "request line"),
    "lower case version": (b"GET PATH http/1.1\r\nHost: a\r\n\r\n", 400, "version"),
    "HTTP/2.0": (b"GET PATH HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"),
    "HTTP/1.2": (b"GET PATH HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version"),
    "HTTP/1.10": (b"GET PATH HTTP/1.10\r\nHost: a\r\n\r\n", 400, "version"),
    "no Host": (b"GET PATH HTTP/1.1\r\n\r\n", 400, "no Host"),
    "two Hosts": (b"GET PATH HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "several Host"),
    "Host with a path": (b"GET PATH HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "Host is not"),
    "Host with userinfo": (b"GET PATH HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "Host is not"),
    "Host with a bad port": (b"GET PATH HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, "Host is not"),
    "two Content-Lengths": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        400,
        "several Content-Length",
    ),
    "Content-Length list": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
        400,
        "Content-Length",
    ),
    "Content-Length with sign": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        400,
        "Content-Length",
    ),
    "negative Content-Length": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx",
        400,
        "Content-Length",
    ),
    "hexadecimal Content-Length": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx",
        400,
        "Content-Length",
    ),
    "empty Content-Length": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        400,
        "Content-Length",
    ),
    "huge Content-Length": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        400,
        "Content-Length",
    ),
    "Content-Length and Transfer-Encoding": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "both Content-Length and",
    ),
    "Transfer-Encoding gzip": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    "Transfer-Encoding with vertical tab": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        400,
        "NUL or control",
    ),
    "Transfer-Encoding identity": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    "two Transfer-Encodings": (
        b"POST PATH HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    "chunked of HTTP/1.0": (
        b"POST PATH HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "Transfer-Encoding",
    ),
    "unknown Expect": (b"POST PATH HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417, "Expect"),
    "Connection that is no list": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n",
        400,
        "Connection",
    ),
    "too many fields": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        431,
        "more fields",
    ),
    "head too large": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 66000 + b"\r\n\r\n",
        431,
        "larger than limits.head_bytes",
    ),
    "head too large and endless": (
        b"GET PATH HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 66000,
        431,
        "larger than limits.head_bytes",
    ),
    "target too long": (
        b"GET PATH" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        414,
        "target_bytes",
    ),
    "TLS handshake": (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 40 + b"\r\n\r\n",
        400,
        ".",
    ),
}

BAD_CHUNKS: dict[str, bytes] = {
    "no size": b"\r\nx\r\n0\r\n\r\n",
    "sign": b"+1\r\nx\r\n0\r\n\r\n",
    "0x": b"0x1\r\nx\r\n0\r\n\r\n",
    "blank before the size": b" 1\r\nx\r\n0\r\n\r\n",
    "blank after the size": b"1 \r\nx\r\n0\r\n\r\n",
    "letters": b"xyz\r\n",
    "too large": b"f" * 16 + b"\r\n",
    "bare LF after the size": b"1\nx\r\n0\r\n\r\n",
    "bare LF after the data": b"1\r\nx\n0\r\n\r\n",
    "data longer than its size": b"1\r\nxy\r\n0\r\n\r\n",
    "endless extension": b"1;" + b"a" * 300 + b"\r\nx\r\n0\r\n\r\n",
    "LF in an extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "trailer that is a request": b"0\r\nGET /x HTTP/1.1\r\n\r\n",
    "bare LF after the last chunk": b"0\r\n\n",
}


def check_page(answer_head: bytes) -> None:
    assert b"\r\nCache-Control: no-store" in answer_head
    assert b"\r\nConnection: close" in answer_head


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("packets", ["one packet", "dripped"])
async def test_request_is_refused(shared: Shared, name: str, packets: str) -> None:
    """Answered with the status, closed, logged with the reason; the server hears nothing."""
    lane = shared.silent
    message, status, reason = REFUSED[name]
    message = message.replace(b"PATH", f"/{lane.name}/x".encode())
    logged = len(shared.proxy.lines)
    async with await Client.connect(shared.port) as client:
        if packets == "dripped" and len(message) < 1000:
            await client.send(*(message[at : at + 1] for at in range(len(message))))
        else:
            await client.send(message)
        answer = await client.answer()
        assert answer.status == status
        check_page(answer.head)
        assert await client.rest() == b""
    await shared.proxy.line(rf"127\.0\.0\.1: {status}: .*({reason})", logged)
    assert not lane.origin.has_waiting()


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_bad_chunk_with_the_head_is_refused(shared: Shared, name: str) -> None:
    """A chunked body that is bad in its first packet: 400, and no server is asked."""
    lane = shared.silent
    head = request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked")
    logged = len(shared.proxy.lines)
    async with await Client.connect(shared.port) as client:
        answer = await client.ask(head + BAD_CHUNKS[name])
        assert answer.status == 400
        check_page(answer.head)
        assert await client.rest() == b""
    await shared.proxy.line("400: (chunk|trailer)", logged)
    assert not lane.origin.has_waiting()


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_bad_chunk_later_cuts_the_server_off(shared: Shared, name: str) -> None:
    """The server has part of the body: it sees the cut and no end; the client gets 400."""
    lane = shared.lane()
    head = request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked")
    async with await Client.connect(shared.port) as client:
        await client.send(head + b"3\r\nabc\r\n")
        server = await lane.origin.accept()
        await server.head()
        assert await server.exactly(8) == b"3\r\nabc\r\n"
        await client.send(BAD_CHUNKS[name])
        answer = await client.answer()
        assert answer.status == 400
        check_page(answer.head)
        rest = await server.end()
        assert b"0\r\n\r\n" not in rest
        assert b"GET" not in rest
        assert await client.rest() == b""


async def test_bad_chunk_after_the_answer_began_cuts_both(shared: Shared) -> None:
    """With part of the answer out there is no 400: the client sees an incomplete answer."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        await client.send(request("POST", f"/{lane.name}/x", "Transfer-Encoding: chunked"))
        server = await lane.origin.accept()
        await server.head()
        await server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await client.head()
        await client.send(b"zz\r\n")
        with pytest.raises(IncompleteError):
            await client.exactly(100)
        await server.end()


async def test_refusal_has_a_page_also_after_head(shared: Shared) -> None:
    """A HEAD before it on the connection does not swallow the page of a refused request."""
    lane = shared.lane()
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with lane.origin.serving(answering(reply)), await Client.connect(shared.port) as client:
        await client.ask(request("HEAD", f"/{lane.name}/x"), head_only=True)
        answer = await client.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert answer.status == 400
        assert b"400 Bad Request" in answer.body


async def test_nothing_after_a_refused_request_is_read(shared: Shared) -> None:
    """A request behind a refused one is not answered: nobody knows whether it is one."""
    lane = shared.lane()
    async with await Client.connect(shared.port) as client:
        answer = await client.ask(b"GET / HTTP/1.1\r\n\r\n" + get(f"/{lane.name}/x"))
        assert answer.status == 400
        assert await client.rest() == b""
    assert not lane.origin.has_waiting()


async def test_requests_before_a_refused_one_are_answered(shared: Shared) -> None:
    """Pipelined: a good one, then a bad one."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x") + b"GET / HTTP/1.1\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.rest() == b""


async def test_refused_upload_still_reads_its_answer(shared: Shared) -> None:
    """A client that sends on after the refusal gets the page, not a reset."""
    async with await Client.connect(shared.port) as client:
        await client.send(b"POST /x HTTP/1.1\r\nContent-Length: 400000\r\n\r\n", bytes(400_000))
        assert (await client.answer()).status == 400
        assert await client.rest() == b""


async def test_empty_lines_before_a_request_are_skipped(shared: Shared) -> None:
    """RFC 9112 2.2: old clients send CR LF after a body."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for _ in range(2):
            assert (await client.ask(b"\r\n\r\n" + get(f"/{lane.name}/x"))).status == 200


async def test_absolute_target_decides_over_host(shared: Shared) -> None:
    """The target's authority becomes Host; the server gets a path (RFC 9112 3.2.2)."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering):
        answer = await ask(
            shared.port,
            f"GET http://real.example:81/{lane.name}/x?q HTTP/1.1\r\nHost: other\r\n\r\n".encode(),
        )
    assert answer.status == 200
    [message] = lane.origin.requests
    assert message.startswith(
        f"GET /{lane.name}/x?q HTTP/1.1\r\nHost: real.example:81\r\n".encode()
    )
    assert b"other" not in message


async def test_limits_of_the_settings_hold() -> None:
    """Heads up to the largest limit go through with all their bytes; one above is refused."""
    big = lane("big")
    settings = "[limits]\nhead_bytes = 1048576\ntarget_bytes = 65536\nheader_fields = 20\n"
    async with running_proxy([big], settings=settings) as proxy:
        value = b"v" * 900_000
        reply = b"HTTP/1.1 103 Early Hints\r\nX: %b\r\n\r\n" % value + OK
        async with big.origin.serving(answering(reply)):
            target = f"/big/{'t' * 65000}"
            async with await Client.connect(proxy.port) as client:
                await client.send(get(target, f"X-Big: {value.decode()}"))
                assert (await client.head()).get(b"x") == value
                assert (await client.answer()).status == 200
            [message] = big.origin.requests
            assert message.startswith(f"GET {target} HTTP/1.1\r\n".encode())
            assert value in message
            assert (await ask(proxy.port, get(target, f"X: {'v' * 1_048_576}"))).status == 431
            assert (await ask(proxy.port, get(f"/big/{'t' * 65536}"))).status == 414
            assert (await ask(proxy.port, get("/big/x", *["X: y"] * 20))).status == 431


async def test_post_size_limit_counts_the_body_only() -> None:
    """PostSizeLimit in KB: by Content-Length, chunked in one packet, chunked in many; framing bytes do not count."""
    small = lane("small", attributes='PostSizeLimit="1"')
    async with running_proxy([small]) as proxy, small.origin.serving(keep_answering):
        chunked = request("POST", "/small/x", "Transfer-Encoding: chunked")
        fits = chunks(*[b"a"] * 1024)
        over = chunks(*[b"a"] * 1025)
        assert (await ask(proxy.port, request("POST", "/small/x", body=bytes(1024)))).status == 200
        assert (await ask(proxy.port, chunked + fits)).status == 200
        asked = len(small.origin.requests)
        async with await Client.connect(proxy.port) as client:
            assert (
                await client.ask(chunked + over)
            ).status == 413  # was read whole: no reason to close
            answer = await client.ask(request("POST", "/small/x", body=bytes(1025)))
            assert (answer.status, answer.closes) == (413, True)
            assert await client.rest() == b""
        async with await Client.connect(proxy.port) as client:
            await client.send(chunked)
            await client.send(over)
            assert (await client.answer()).status == 413
        assert len(small.origin.requests) == asked
