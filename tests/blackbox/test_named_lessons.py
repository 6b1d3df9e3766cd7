"""
Each lesson that others paid for (PEERS.md D, "Lessons with a named incident") as a request against the real proxy.

The table says which test shows that wsproxy does not repeat it; those of this module are what the others leave open.

| lesson | incident | tests |
|---|---|---|
| 1 CL and TE | Pingora CVE-2026-2835 | `test_length_and_encoding_in_any_order_and_spelling_are_refused` |
| 1 bytes after 200 to an upgrade | Pingora CVE-2026-2833 | `test_bytes_behind_a_refused_upgrade_are_no_tunnel` |
| 1 HTTP/1.0 body up to the end | Pingora 2026 | `test_http10_request_has_no_body_up_to_the_end` |
| 2 answer with the body unread, local | Pingora CVE-2025-4366 | `test_body_left_by_a_local_answer_is_no_request` |
| 2 answer with the body unread, a server's | the same | `test_body_left_by_an_early_answer_is_no_request` |
| 3 empty Content-Length | HAProxy 2023 | test_refusals `REFUSED["empty Content-Length"]` |
| 3 empty field name | HAProxy 2023 | test_refusals `REFUSED["empty field name"]` |
| 3 numbers beyond 64 bits | HAProxy 3.4-dev | `test_numbers_that_wrap_at_64_bits_are_refused`, `test_answer_whose_length_wraps_is_502` |
| 4 trailers as a request | gevent CVE-2023-41419 | `test_trailers_are_no_request`, test_refusals `BAD_CHUNKS["trailer that is a request"]` |
| 4 several Transfer-Encodings | gunicorn CVE-2024-1135 | test_refusals `REFUSED["two Transfer-Encodings"]`, first row of this table |
| 4 chunk sizes | protocol-http1 CVE-2023-38697 | test_refusals `BAD_CHUNKS`; of answers: `test_bad_chunk_of_an_answer_is_passed_on_to_nobody` |
| 5 one path, two meanings | httpd CVE-2024-38473, Traefik 3.6.4 | `test_path_is_forwarded_as_it_came_and_matched_without_parameters`, `test_encoded_path_is_another_path`, test_paths |
| 6 connection of another user | HAProxy 3.4-dev | `test_unread_answer_of_one_client_is_not_the_next_ones`, `test_connection_that_would_be_logged_in_serves_nobody_else`, test_reuse |
| 8 identity headers | WAS PH27966 | test_headers `test_private_headers_are_the_proxys_own`, `test_private_headers_are_ours_on_every_path` |
| 9 PROXY v2 lengths | HAProxy | `test_proxy_protocol_from_anybody_is_no_request` |

Left to what is not there yet: upgrade itself (1, 8), TLS sessions and virtual hosts (6), PROXY protocol (9).
"""

from __future__ import annotations

import contextlib

import pytest

from tests.blackbox.conftest import Shared
from tests.blackbox.test_refusals import BAD_CHUNKS
from tests.support.client import Client, IncompleteError, ask, get, request
from tests.support.origin import (
    OK,
    OriginConnection,
    answering,
    body_of,
    field,
    fields,
    keep_answering,
)
from tests.support.proxy import lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

TE_FIELDS = [
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: \tchunked ",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    'Transfer-Encoding: "chunked"',
    "Transfer-Encoding : chunked",
    "Transfer-Encoding:\r\n chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "Transfer-Encoding",
    "Transfer_Encoding\x00: chunked",
]


@pytest.mark.parametrize("order", ["length first", "encoding first"])
@pytest.mark.parametrize("encoding", TE_FIELDS)
async def test_length_and_encoding_in_any_order_and_spelling_are_refused(
    shared: Shared, order: str, encoding: str
) -> None:
    """Whichever of the two a server prefers: it gets neither, and what stands in the body is not read as a request."""
    lines = ["Content-Length: 6", encoding]
    if order == "encoding first":
        lines.reverse()
    smuggled = get(f"/{shared.silent.name}/smuggled")
    async with await Client.connect(shared.port) as client:
        await client.send(
            request("POST", f"/{shared.silent.name}/x", *lines) + b"0\r\n\r\nG" + smuggled
        )
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
    assert not shared.silent.origin.has_waiting()


async def test_bytes_behind_a_refused_upgrade_are_no_tunnel(shared: Shared) -> None:
    """The server answers 200: what the client sent ahead is judged as a request, and the server gets none of it."""
    lane = shared.lane()
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/chat", *upgrade) + b"\x81\x05hello\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
    assert len(lane.origin.requests) == 1
    assert b"hello" not in lane.origin.received


@pytest.mark.parametrize("keep", [(), ("Connection: keep-alive",)], ids=["close", "keep-alive"])
async def test_http10_request_has_no_body_up_to_the_end(
    shared: Shared, keep: tuple[str, ...]
) -> None:
    """Without a length there is no body: what follows is not sent along, and only with keep-alive it is a request."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.send(
            request("POST", f"/{lane.name}/x", *keep, version="1.0") + b"some=body\r\n\r\n"
        )
        client.half_close()
        assert (await client.answer()).status == 200
        if keep:
            assert (await client.answer()).status == 400
        assert await client.rest() == b""
    [message] = lane.origin.requests
    assert field(message, b"transfer-encoding") is None
    assert b"some=body" not in lane.origin.received


async def listen(server: OriginConnection) -> None:
    """The script of a server that never answers."""
    await server.end()


def with_body(target: str, framing: str, body: bytes, *lines: str) -> bytes:
    """A POST whose body has this framing."""
    if framing == "length":
        return request("POST", target, *lines, body=body)
    head = request("POST", target, *lines, "Transfer-Encoding: chunked")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("parts", ["with the head", "after the answer"])
@pytest.mark.parametrize(
    ("why", "status"), [("no route", 404), ("too large", 413), ("nobody there", 503)]
)
async def test_body_left_by_a_local_answer_is_no_request(
    why: str, status: int, framing: str, parts: str
) -> None:
    """The proxy answers itself while the body is unread: it reads the body or closes, and runs nothing of it."""
    one = lane("one", attributes='PostSizeLimit="1"' if why == "too large" else "")
    target = "/nowhere" if why == "no route" else "/one/x"
    message = with_body(target, framing, get("/one/smuggled") * 40)
    end_of_head = message.index(b"\r\n\r\n") + 4
    async with running_proxy([one]) as proxy, contextlib.AsyncExitStack() as stack:
        if why == "nobody there":
            one.origin.refuse()
        else:
            await stack.enter_async_context(one.origin.serving(listen))
        client = await stack.enter_async_context(await Client.connect(proxy.port))
        if parts == "with the head":
            await client.send(message)
        else:
            await client.send(message[:end_of_head])
            if framing == "chunked" and why == "too large":
                await client.send(message[end_of_head:])  # its size is not known before
        answer = await client.answer()
        if parts == "after the answer" and not (framing == "chunked" and why == "too large"):
            await client.send(message[end_of_head:])
        assert answer.status == status
        if answer.closes:
            assert await client.is_cut()
        else:
            # the connection goes on: the next request is the next one sent, not one from the body
            again = await client.ask(get("/still-here"))
            assert (again.status, again.closes) == (404, False)
    # a server may have been asked before a body without length was too long: then it was cut off within it
    assert one.origin.received[:12] in (b"", b"POST /one/x ")
    assert not one.origin.received.endswith(b"\r\n0\r\n\r\n")
    assert why == "too large" or not one.origin.received


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_body_left_by_an_early_answer_is_no_request(shared: Shared, framing: str) -> None:
    """The server says 401 and would keep the connection: no request begins in the rest of the body, on either side."""
    lane = shared.lane()
    smuggled = get(f"/{lane.name}/smuggled")
    message = with_body(f"/{lane.name}/x", framing, b"a" * 2000 + smuggled)
    at = message.index(b"a" * 1000) + 1000
    async with await Client.connect(shared.port) as client:
        await client.send(message[:at])
        server = await lane.origin.accept()
        await server.until(b"a" * 1000)
        await server.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        answer = await client.answer()
        assert (answer.status, answer.body) == (401, b"no")
        await client.send(message[at:])
        if answer.closes:
            assert await client.is_cut()
            await server.end()
            assert b"smuggled" not in server.received
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/next"))
        # either on a fresh connection, or on the old one after the whole body; never in the middle of it
        if answer.closes:
            server = await lane.origin.accept()
        else:
            await server.until(message[at:][-200:])
        assert (await server.answer()).startswith(f"GET /{lane.name}/next ".encode())
        assert (await client.answer()).body == b"ok"


WRAPPED = [
    f"Content-Length: {2**64 + 5}",
    f"Content-Length: {2**63}",
    f"Content-Length: {2**32 * 10**10 + 5}",
]


@pytest.mark.parametrize("line", WRAPPED)
async def test_numbers_that_wrap_at_64_bits_are_refused(shared: Shared, line: str) -> None:
    """As lengths and as chunk sizes: 5 to whoever counts in 64 or 32 bits, something else to everybody else."""
    number = int(line.partition(":")[2])
    for head, body in (
        (request("POST", f"/{shared.silent.name}/x", line), b"hello"),
        (
            request("POST", f"/{shared.silent.name}/x", "Transfer-Encoding: chunked"),
            b"%x\r\nhello\r\n0\r\n\r\n" % number,
        ),
    ):
        async with await Client.connect(shared.port) as client:
            await client.send(head + body)
            assert (await client.answer()).status == 400
            assert await client.rest() == b""
    assert not shared.silent.origin.has_waiting()


@pytest.mark.parametrize("line", WRAPPED)
async def test_answer_whose_length_wraps_is_502(shared: Shared, line: str) -> None:
    """The same from a server; nothing of it is passed on."""
    lane = shared.lane()
    number = int(line.partition(":")[2])
    for reply in (
        b"HTTP/1.1 200 OK\r\n%b\r\n\r\nhello" % line.encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\nhello\r\n0\r\n\r\n" % number,
    ):
        async with lane.origin.serving(answering(reply)):
            assert (await ask(shared.port, get(f"/{lane.name}/x"))).status == 502


async def test_trailers_are_no_request(shared: Shared) -> None:
    """What looks like the head of a request in the trailers is a trailer; the request behind it is the next one."""
    lane = shared.lane()
    head = request("POST", f"/{lane.name}/one", "Transfer-Encoding: chunked")
    trailers = b"GET: /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        await client.send(head + b"2\r\nok\r\n0\r\n" + trailers + get(f"/{lane.name}/two"))
        for _ in range(2):
            assert (await client.answer()).status == 200
    one, two = lane.origin.requests
    assert body_of(one) == b"2\r\nok\r\n0\r\n\r\n"
    assert two.startswith(f"GET /{lane.name}/two ".encode())
    assert b"smuggled" not in lane.origin.received


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_bad_chunk_of_an_answer_is_passed_on_to_nobody(shared: Shared, name: str) -> None:
    """In the first packet 502; later the client sees an incomplete answer. The server's connection is given up."""
    lane = shared.lane()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        server = await lane.origin.accept()
        await server.answer(head + BAD_CHUNKS[name])
        assert (await client.answer()).status == 502
        assert await server.end() == b""
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        server = await lane.origin.accept()
        await server.answer(head + b"4\r\npart\r\n")
        answer = await client.head()
        assert await client.exactly(9) == b"4\r\npart\r\n"
        await server.send(BAD_CHUNKS[name])
        with pytest.raises(IncompleteError) as incomplete:
            await client.body(answer)
        assert b"0\r\n" not in incomplete.value.incomplete
        assert await server.end() == b""


@pytest.mark.parametrize(
    "rest",
    [
        "/a/../../admin",
        "/..;/admin",
        "/%2e%2e/admin",
        "//admin",
        "/a%2fb",
        "/a%2Fb%3bc%25d%23e",
        "/a;jsessionid=x/b",
        "/a\\b",
    ],
)
async def test_path_is_forwarded_as_it_came_and_matched_without_parameters(
    shared: Shared, rest: str
) -> None:
    """Byte for byte, and parameters do not count for the match: a server that decodes decides what it means."""
    lane = shared.lane()
    async with lane.origin.serving(keep_answering), await Client.connect(shared.port) as client:
        for prefix in (f"/{lane.name}", f"/{lane.name};x=y"):
            assert (await client.ask(get(prefix + rest))).status == 200
            assert lane.origin.requests[-1].startswith(f"GET {prefix}{rest} HTTP/1.1\r\n".encode())


async def test_encoded_path_is_another_path(shared: Shared) -> None:
    """Routes compare undecoded: what only a decoder takes for the cluster's path is not routed to it."""
    name = shared.silent.name
    async with await Client.connect(shared.port) as client:
        for path in (
            f"/%{ord(name[0]):x}{name[1:]}/x",
            f"/{name}%2fx",
            f"//{name}/x",
            f"/./{name}/x",
        ):
            assert (await client.ask(get(path))).status == 404, path
    assert not shared.silent.origin.has_waiting()


async def test_unread_answer_of_one_client_is_not_the_next_ones(shared: Shared) -> None:
    """A client leaves before its answer: the server's connection with that answer on it serves nobody else."""
    lane = shared.lane()
    client = await Client.connect(shared.port)
    await client.send(get(f"/{lane.name}/private", "Cookie: user=alice"))
    server = await lane.origin.accept()
    await server.request()
    client.reset()
    assert await server.end() == b""  # the request is cancelled
    async with await Client.connect(shared.port) as other:
        await other.send(get(f"/{lane.name}/private", "Cookie: user=bob"))
        fresh = await lane.origin.accept()
        assert b"bob" in await fresh.answer(OK)
        assert (await other.answer()).body == b"ok"


@pytest.mark.parametrize(
    ("challenge", "is_kept"),
    [
        ("WWW-Authenticate: Basic realm=x", True),
        ('WWW-Authenticate: Digest realm="ntlm"', True),
        ("WWW-Authenticate: NTLM", False),
        ("www-authenticate: ntlm TlRMTVNTUAACAAAA", False),
        ("WWW-Authenticate: Basic realm=x, Negotiate", False),
        ("WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: Negotiate", False),
        ("WWW-Authenticate:", True),
        ("WWW-Authenticate: ,", True),
    ],
)
async def test_connection_that_would_be_logged_in_serves_nobody_else(
    shared: Shared, challenge: str, is_kept: bool
) -> None:
    """NTLM and Negotiate log in the connection: after their 401 it is closed; others stay in the pool."""
    lane = shared.lane()
    reply = f"HTTP/1.1 401 Unauthorized\r\n{challenge}\r\nContent-Length: 0\r\n\r\n".encode()
    async with await Client.connect(shared.port) as client:
        await client.send(get(f"/{lane.name}/x"))
        server = await lane.origin.accept()
        await server.answer(reply)
        answer = await client.answer()
        assert (answer.status, answer.closes) == (401, False)
        await client.send(get(f"/{lane.name}/x"))
        if is_kept:
            await server.answer()
        else:
            fresh = await lane.origin.accept()
            await fresh.answer()
            assert await server.end() == b""
        assert (await client.answer()).status == 200


PRIVATE = [
    "$WSRA: 10.9.9.9",
    "$WSRU: admin",
    "$WSCC: forged",
    "$WSSC: https",
    "_WS_HAPRT_WLMVERSION: 9",
]


@pytest.mark.parametrize(
    "path",
    ["HTTP/1.0", "chunked", "expect", "pipelined", "absolute target", "HEAD", "asks for upgrade"],
)
async def test_private_headers_are_ours_on_every_path(shared: Shared, path: str) -> None:
    """However the request comes: the client's are gone, ours are there."""
    lane = shared.lane()
    target = f"/{lane.name}/x"
    spoofed = "\r\n".join(PRIVATE)
    message = {
        "HTTP/1.0": get(target, spoofed, version="1.0"),
        "chunked": with_body(target, "chunked", b"abc", spoofed),
        "expect": request("POST", target, spoofed, "Expect: 100-continue", body=b"abc"),
        "pipelined": get(target) + get(target, spoofed),
        "absolute target": get(f"http://shop.example:9080{target}", spoofed),
        "HEAD": request("HEAD", target, spoofed),
        "asks for upgrade": get(
            target, spoofed, "Connection: Upgrade, $WSRA", "Upgrade: websocket"
        ),
    }[path]
    reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with (
        lane.origin.serving(answering(reply)),
        await Client.connect(shared.port) as client,
    ):
        await client.send(message)
        assert (await client.answer()).status == 204
        if path == "pipelined":
            assert (await client.answer()).status == 204
    found = dict(fields(lane.origin.requests[-1]))
    assert found[b"$wsra"] == b"127.0.0.1"
    assert found[b"$wssc"] == b"http"
    assert found[b"_ws_haprt_wlmversion"] == b"-1"
    assert b"$wsru" not in found
    assert b"$wscc" not in found


PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11"


@pytest.mark.parametrize(
    "preface",
    [
        b"PROXY TCP4 10.9.9.9 10.0.0.1 1 2\r\n",
        PROXY_V2 + b"\0\x0c" + b"\x0a\x09\x09\x09\x0a\0\0\1\0\1\0\2",
        PROXY_V2 + b"\xff\xff" + b"\x0a\x09\x09\x09\x0a\0\0\1\0\1\0\2" + b"\4\xff\xff",
        PROXY_V2 + b"\0\0",
    ],
    ids=["v1", "v2", "v2 longer than it is", "v2 without addresses"],
)
async def test_proxy_protocol_from_anybody_is_no_request(shared: Shared, preface: bytes) -> None:
    """Nobody is listed who may speak for others: the connection is refused, the request behind it is not run."""
    async with await Client.connect(shared.port) as client:
        await client.send(preface + get(f"/{shared.silent.name}/x"))
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
    assert not shared.silent.origin.has_waiting()
