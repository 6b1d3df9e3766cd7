"""ExtendedHandshake and WaitForContinue: what is exchanged with a server before it gets a request, or its body."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import Client, ask, chunks, get, request
from tests.support.origin import (
    OK,
    OriginConnection,
    Script,
    body_of,
    field,
    keep_answering,
)
from tests.support.proxy import Lane, Proxy, lane, running_proxy

COOKIE = "Cookie: JSESSIONID=0000abc:c0"
HANDSHAKE = 'ExtendedHandshake="true" ConnectTimeout="1"'
WAITS = 'WaitForContinue="true"'
LIBERTY_404 = b"HTTP/1.1 404 Not Found\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nno"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LIBERTY_100 = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\nDate: x\r\n\r\n"


def shaking(reply: bytes) -> Script:
    """A server that answers OPTIONS with this and closes, and any other request with OK."""

    async def script(connection: OriginConnection) -> None:
        message = await connection.request()
        if message.startswith(b"OPTIONS "):
            await connection.send(reply)
            await connection.end()
            return
        await connection.send(OK)
        await keep_answering(connection)

    return script


@pytest.mark.parametrize(
    "reply",
    [
        LIBERTY_404,
        b"HTTP/1.1 200 \r\nAllow: GET\r\nContent-Length: 0\r\n\r\n",  # Tomcat's
        b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 501 No\r\n\r\n",
    ],
    ids=["liberty", "tomcat", "interim and 501"],
)
async def test_handshake_comes_before_each_new_connection(reply: bytes) -> None:
    """On a connection of its own, since Liberty closes that; a warm connection needs none."""
    one = lane("one", server=HANDSHAKE)
    async with running_proxy([one]) as proxy, one.origin.serving(shaking(reply)):
        async with await Client.connect(proxy.port) as client:
            for _ in range(3):
                assert (await client.ask(get("/one/x"))).body == b"ok"
        asked, served = one.origin.connections
        assert asked.requests[0].startswith(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:")
        assert len(asked.requests) == 1
        assert len(served.requests) == 3


async def silence(connection: OriginConnection) -> None:
    await connection.request()
    await connection.end()


async def closing(connection: OriginConnection) -> None:
    await connection.request()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (shaking(b"HTTP/1.1 502 x\r\n\r\n"), "answered with 502"),
        (shaking(b"HTTP/1.1 503 x\r\n\r\n"), "answered with 503"),
        (shaking(b"SSH-2.0-x\r\n\r\n"), "no HTTP in answer"),
        (silence, "no answer to ExtendedHandshake within 1 s"),
        (closing, "connection closed in ExtendedHandshake"),
    ],
    ids=["502", "503", "no http", "silent", "closed"],
)
async def test_failed_handshake_marks_down_and_the_next_server_gets_the_request(
    script: Script, words: str
) -> None:
    """A firewall or a gateway accepts connections for a server that is gone; nothing of the request was sent."""
    pair = lane("pair", 2, 'PostBufferSize="0" RetryInterval="3600"')
    pair.members[0].attributes += HANDSHAKE
    async with (
        running_proxy([pair]) as proxy,
        pair.origin.serving(script),
        pair.members[1].origin.serving(keep_answering),
    ):
        for _ in range(2):
            answer = await ask(proxy.port, request("POST", "/pair/x", COOKIE, body=b"data"))
            assert answer.body == b"ok"
        await proxy.line(f"Marking s0 down.*{words}")
        assert [each[:9] for each in pair.origin.requests] == [b"OPTIONS *"]


# --- WaitForContinue ----------------------------------------------------------------------------------------------------


async def assert_quiet(connection: OriginConnection, proxy: Proxy) -> None:
    """Nothing more has come; whatever the proxy meant to send before, it has sent after another exchange with it."""
    assert (await ask(proxy.port, get("/none"))).status == 404
    assert connection.unread == b""
    with pytest.raises(BlockingIOError):
        connection.sock.recv(1)


async def head_of_held(one: Lane, proxy: Proxy) -> tuple[OriginConnection, bytes]:
    """The server's end of a request whose body waits."""
    server = await one.origin.accept()
    head = await server.head()
    assert field(head, b"expect") == b"100-continue"
    await assert_quiet(server, proxy)
    return server, head


SENT = [
    pytest.param(request("POST", "/one/x", body=b"data"), b"data", False, id="plain"),
    pytest.param(request("POST", "/one/x", "Expect: 100-continue", body=b"data"), b"data", True, id="client asks"),
    pytest.param(request("POST", "/one/x", body=b"data", version="1.0"), b"data", False, id="HTTP/1.0"),
    pytest.param(
        request("POST", "/one/x", "Expect: 100-continue", body=b"data", version="1.0"), b"data", False, id="HTTP/1.0 asks"
    ),
    pytest.param(
        request("POST", "/one/x", "Transfer-Encoding: chunked") + chunks(b"da", b"ta"), chunks(b"da", b"ta"), False, id="chunked"
    ),
]  # fmt: skip


@pytest.mark.parametrize("kilobytes", [0, 64])
@pytest.mark.parametrize("interim", [CONTINUE, LIBERTY_100], ids=["bare", "liberty"])
@pytest.mark.parametrize(("message", "body", "is_asked_for"), SENT)
async def test_body_waits_for_continue(
    message: bytes, body: bytes, is_asked_for: bool, interim: bytes, kilobytes: int
) -> None:
    """Only who asked for the 100 sees it."""
    one = lane("one", attributes=f'PostBufferSize="{kilobytes}"', server=WAITS)
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        for _ in range(
            2
        ):  # the second on the connection of the first, as far as the client keeps its own
            await client.send(message)
            if one.origin.accepted:
                server = one.origin.connections[0]
                assert field(await server.head(), b"expect") == b"100-continue"
                await assert_quiet(server, proxy)
            else:
                server, _ = await head_of_held(one, proxy)
            await server.send(interim)
            assert await server.exactly(len(body)) == body
            await server.send(OK)
            head = await client.head()
            if is_asked_for:
                assert head.status == 100
                head = await client.head()
            assert (await client.body(head)).body == b"ok"
            if head.closes:
                break
        assert one.origin.accepted == 1


async def test_large_body_waits_in_the_client() -> None:
    """What did not come yet is not read before the 100."""
    one = lane("one", attributes='PostBufferSize="0"', server=WAITS)
    body = bytes(range(256)) * 131_072  # more than kernels keep
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        sending = asyncio.ensure_future(client.send(request("POST", "/one/x", body=body)))
        server, _ = await head_of_held(one, proxy)
        assert not sending.done()
        await server.send(CONTINUE)
        assert await server.exactly(len(body)) == body
        await sending
        await server.send(OK)
        assert (await client.answer()).body == b"ok"


@pytest.mark.parametrize("is_whole", [True, False])
async def test_final_answer_instead_of_continue(is_whole: bool) -> None:
    """It goes to the client, the body goes nowhere, and the server's connection is not used again."""
    one = lane("one", server=WAITS)
    async with running_proxy([one]) as proxy, await Client.connect(proxy.port) as client:
        body = b"data" if is_whole else b"da"
        await client.send(request("POST", "/one/x", "Content-Length: 4") + body)
        server, _ = await head_of_held(one, proxy)
        await server.send(b"HTTP/1.1 401 Who\r\nContent-Length: 2\r\n\r\nno")
        answer = await client.answer()
        assert (answer.status, answer.body, answer.closes) == (401, b"no", not is_whole)
        assert await server.end() == b""
        if is_whole:
            await client.send(get("/one/y"))
            other = await one.origin.accept()
            assert field(await other.request(), b"expect") is None
            await other.send(OK)
            assert (await client.answer()).body == b"ok"


async def hang_up(connection: OriginConnection) -> None:
    await connection.head()


async def be_silent(connection: OriginConnection) -> None:
    await connection.head()
    assert await connection.end() == b""


async def be_busy(connection: OriginConnection) -> None:
    await connection.head()
    await connection.send(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
    assert await connection.end() == b""


@pytest.mark.parametrize("sign", ["", "-"], ids=["positive", "negative"])
@pytest.mark.parametrize(
    "script",
    [be_silent, hang_up, be_busy],
    ids=["silent", "closed", "503"],
)
@pytest.mark.parametrize("waits", [True, False], ids=["both wait", "one waits"])
async def test_server_that_fails_before_it_has_the_body(
    script: Script, sign: str, waits: bool
) -> None:
    """The body is all here, whatever PostBufferSize says: the next server gets it."""
    pair = lane("pair", 2, 'PostBufferSize="0"', server=f'ServerIOTimeout="{sign}1"')
    for member in pair.members[: 1 + waits]:
        member.attributes += f" {WAITS}"
    body = b"data" * 10_000

    async def healthy(connection: OriginConnection) -> None:
        head = await connection.head()
        if waits:
            assert connection.unread == b""
            await connection.send(CONTINUE)
        assert await connection.exactly(len(body)) == body
        connection.requests.append(head)
        await connection.send(OK)
        await connection.end()

    async with (
        running_proxy([pair]) as proxy,
        pair.origin.serving(script),
        pair.members[1].origin.serving(healthy),
    ):
        answer = await ask(proxy.port, request("POST", "/pair/x", COOKIE, body=body))
        assert answer.body == b"ok"
        (again,) = pair.members[1].origin.requests
        assert field(again, b"$wsfo") == b"true"
        if sign == "-" and script is not be_busy:
            await proxy.line("Marking s0 down")
        else:
            assert not any("Marking s0 down" in line for line in proxy.lines)


async def test_others_never_wait() -> None:
    """Without a body, or with WaitForContinue="false": no Expect of ours, and the body is sent at once."""
    one, other = lane("one", server=WAITS), lane("other")
    async with (
        running_proxy([one, other]) as proxy,
        one.origin.serving(keep_answering),
        other.origin.serving(keep_answering),
    ):
        assert (await ask(proxy.port, get("/one/x"))).status == 200
        assert (await ask(proxy.port, request("POST", "/other/x", body=b"data"))).status == 200
        (without,), (plain,) = one.origin.requests, other.origin.requests
        assert field(without, b"expect") is None
        assert field(plain, b"expect") is None
        assert body_of(plain) == b"data"
