"""
One real proxy with everything on that looks at requests, and traffic that makes it keep, borrow and give back memory.

In ``make test-asan`` it is the instrumented build: what its processes read or write wrongly fails the module with the report's
text. In ``make test`` the same traffic has at least to be served. More of it, and worse, comes from ``tests/fuzz/traffic``.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import sanitized
from tests.support.admin import talk
from tests.support.certificates import Authority
from tests.support.client import Answer, Client, IncompleteError, get, request
from tests.support.corpus import CORPUS
from tests.support.flow import pull
from tests.support.origin import OK, Origin, OriginConnection, answering, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, processes_of, running_proxy
from tests.support.tls_pipe import TlsClient, TlsOrigin, client_context, server_context

pytestmark = [pytest.mark.asan, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = """
[timeouts]
body_s = 30
[queue]
size = 20
wait_s = 30
[http]
trailers = true
[forwarded]
x_forwarded = true
[affinity]
strip_clone_ids = ["pair"]
[fallback]
mode = "directory"
directory = "static"
[upstream.tls]
trust = "ca.pem"
[explain]
trusted = ["127.0.0.0/8"]
[log]
level = "debug"
access = "access.log"
[admin]
socket = "admin.sock"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "front.pem", key = "front.key" }]
"""
LOG = '<Log LogLevel="Trace" Name="plugin.log"/>'
EXPLAIN = "X-Wsproxy-Explain: 1"
# As many clone ids as are read, and none is a server's: all of them are kept, and pointed at.
STALE = "Cookie: JSESSIONID=0000abc" + ":zz" * 64
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
LARGE = 1 << 20
PAGE = bytes(range(256)) * 2000  # of the fallback's directory


@dataclass(slots=True)
class Bed:
    """The proxy, and the lanes behind it."""

    proxy: Proxy
    folder: Path
    plain: Lane
    pair: Lane  # two servers, and what is kept for another try
    full: Lane  # one request at a time, others wait
    secure: Lane  # servers that speak TLS

    async def client(self, *, secure: bool = False, receive_buffer: int = 0) -> Client:
        if not secure:
            return await Client.connect(self.proxy.port, receive_buffer=receive_buffer)
        context = client_context(self.folder / "front-ca.pem")
        return await TlsClient.open(self.proxy.ports[1], context, receive_buffer=receive_buffer)

    async def ask(self, data: bytes, *, secure: bool = False) -> Answer:
        async with await self.client(secure=secure) as client:
            return await client.ask(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    folder = tmp_path_factory.mktemp("sanitized")
    authority, front = Authority(), Authority("Front")
    authority.write_pem(folder)
    front.write_pem(folder, "front-ca")
    front.issue("shop.example").write_pem(folder, "front")
    server = server_context(authority.issue("127.0.0.1").write_pem(folder, "server"))
    (folder / "static").mkdir()
    (folder / "static" / "page.bin").write_bytes(PAGE)
    one = lane("plain", server='CloneID="c0"')
    pair = lane("pair", 2, attributes='RetryInterval="1"')
    full = lane("full", server='MaxConnections="1"')
    secure = Lane("secure", [Member(TlsOrigin(server), protocol="https")])
    async with running_proxy(
        [one, pair, full, secure],
        settings=SETTINGS,
        routes=LOG,
        listen=None,
        folder=folder,
    ) as proxy:
        yield Bed(proxy, folder, one, pair, full, secure)


@pytest.fixture(autouse=True)
def _nobody_ended(bed: Bed) -> Any:
    """Each test leaves the worker that it found."""
    before = workers(bed)
    yield
    assert workers(bed) == before


def workers(bed: Bed) -> list[int]:
    return bed.proxy.workers()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def maps_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


async def until(origin: Origin, count: int) -> None:
    """Waits until the server has so many connections open."""
    async with asyncio.timeout(WAIT_S):
        while origin.accepted < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.skipif(not sanitized.is_wanted(), reason="only in make test-asan")
async def test_all_processes_are_instrumented(bed: Bed) -> None:
    """Supervisor, worker and admin process have AddressSanitizer, and no extension of another build."""
    await explain(bed)  # the admin process runs from the first question on
    children = processes_of(bed.proxy.pid, r"wsproxy-(\d+|admin)")
    assert [name_of(pid) for pid in children] == ["wsproxy-0", "wsproxy-admin"]
    for mapped in map(maps_of, [bed.proxy.pid, *children]):
        assert "libasan" in mapped
        ours = {line.split()[-1] for line in mapped.splitlines() if "/wsproxy/_fast/" in line}
        assert ours
        assert all(path.startswith(os.environ["WSPROXY_ASAN_LIB"]) for path in ours)


async def test_what_is_told_of_a_request_is_its_own(bed: Bed) -> None:
    """
    After requests that were kept, and whose bytes are gone, one comes that nothing was decided for.

    At Trace and for who may ask, all that is known of it is told: no clone id of the request before may be among that.
    """
    ahead = get("/plain/x", STALE, "X-Room: " + "r" * 60_000)
    async with bed.plain.origin.serving(keep_answering), await bed.client() as client:
        await client.send(get("/plain/x") + ahead * 4)
        for _ in range(5):
            assert (await client.answer()).body == b"ok"
        assert (await bed.ask(get("/nowhere"))).status == 404
        assert (await bed.ask(get("/nowhere", EXPLAIN))).status == 404
        answer = await bed.ask(get("/plain/x", EXPLAIN))
    assert b"zz" not in answer.head


async def test_large_bodies_through_the_pipe(bed: Bed) -> None:
    """A MiB up and down, whole; then cut by the client's reset in each direction."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.head()
            await connection.exactly(LARGE)
            await connection.send(head + b"a" * LARGE)

    message = request("POST", "/plain/x", body=b"u" * LARGE)
    async with bed.plain.origin.serving(script), await bed.client() as client:
        assert (await client.ask(message)).body == b"a" * LARGE
    async with await bed.client() as client:
        await client.send(message[: LARGE // 2])
        server = await bed.plain.origin.accept()
        await server.exactly(LARGE // 3)
        client.reset()
        await server.end()
        server.close()
    async with await bed.client(receive_buffer=16_384) as client:
        await client.send(get("/plain/x"))
        server = await bed.plain.origin.accept()
        await server.head()
        sending = asyncio.ensure_future(server.send(head + b"a" * LARGE))
        await pull(client.sock, 100_000)
        client.reset()
        await asyncio.gather(sending, return_exceptions=True)
        server.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_servers_that_end_within_an_answer(bed: Bed, secure: bool) -> None:
    """Over TLS on both sides and on none: an answer that ends with the connection, by length, in chunks; each is cut by a reset."""
    one = bed.secure if secure else bed.plain
    starts = [
        UNTIL_CLOSE,
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30000\r\n",
    ]
    for start in starts:

        async def script(connection: OriginConnection, start: bytes = start) -> None:
            await connection.request()
            await connection.send(start + b"a" * 100_000)
            connection.reset()

        async with one.origin.serving(script), await bed.client(secure=secure) as client:
            with pytest.raises((IncompleteError, ConnectionResetError)):
                await client.ask(request("POST", f"/{one.name}/x", EXPLAIN, body=b"u" * 5000))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_tunnels(bed: Bed, secure: bool) -> None:
    """What comes with the head and behind it, both ways; ended by the client, by the server, and by a reset."""
    for ends in ("client", "server", "reset"):
        async with await bed.client(secure=secure) as client:
            await client.send(get("/plain/x", *UPGRADE, EXPLAIN) + b"early")
            server = await bed.plain.origin.accept()
            await server.request()
            await server.send(SWITCH + b"hello")
            assert (await client.head()).status == 101
            assert await client.exactly(5) == b"hello"
            assert await server.exactly(5) == b"early"
            await asyncio.gather(client.send(b"c" * 200_000), server.exactly(200_000))
            await asyncio.gather(server.send(b"s" * 200_000), client.exactly(200_000))
            if ends == "server":
                server.close()
                await client.is_cut()
            elif ends == "client":
                client.sock.close()
                await server.end()
            else:
                client.reset()
                await server.end()
        server.close()


async def test_requests_that_wait_for_a_place(bed: Bed) -> None:
    """Eight wait: every second one leaves, by reset and by its end; the others are served, their heads and bodies as they came."""
    held = asyncio.Event()

    async def script(connection: OriginConnection) -> None:
        while True:
            await connection.request()
            await held.wait()
            await connection.send(OK)

    message = request("POST", "/full/x", STALE, EXPLAIN, body=b"u" * 3000)
    origin = bed.full.origin
    async with origin.serving(script):
        clients = [await bed.client() for _ in range(8)]
        for client in clients:
            await client.send(message)
        await until(origin, 1)
        leaving = clients[2::2]
        for client in leaving[::2]:
            client.reset()
        for client in leaving[1::2]:
            client.half_close()
        held.set()
        for client in clients:
            if client not in leaving:
                assert (await client.answer()).body == b"ok"
            client.sock.close()
    # Those that left may have had their turn before it was seen.
    assert 4 <= len(origin.requests) <= 8
    assert len({each.partition(b"\r\n\r\n")[2] for each in origin.requests}) == 1


async def test_requests_that_are_sent_again(bed: Bed) -> None:
    """The server closed, said 503, and is gone: what was kept of the request goes to the other one, whole."""
    first, second = (member.origin for member in bed.pair.members)
    message = request("POST", "/pair/x", "Cookie: JSESSIONID=0000abc:c0", EXPLAIN, body=b"u" * 9000)

    async def close(connection: OriginConnection) -> None:
        await connection.request()

    busy = answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
    for script in (close, busy):
        async with first.serving(script), second.serving(keep_answering):
            assert (await bed.ask(message)).body == b"ok"
    first.refuse()
    async with second.serving(keep_answering):
        assert (await bed.ask(message)).body == b"ok"
    first.reopen()
    bodies = {each.partition(b"\r\n\r\n")[2] for each in second.requests}
    assert bodies == {b"u" * 9000}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
async def test_chunks_and_trailers_split_everywhere(bed: Bed, secure: bool) -> None:
    """A request and its answer, cut at every byte, with extensions and trailers, for HTTP/1.1 and 1.0."""
    body = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\nCookie: no\r\n\r\n"
    message = request("POST", "/plain/x", "Transfer-Encoding: chunked", "TE: trailers") + body
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + body

    async def script(connection: OriginConnection) -> None:
        at = 0
        while True:
            await connection.request()
            at = at % (len(answer) - 1) + 1
            await connection.send(answer[:at], answer[at:])

    async with bed.plain.origin.serving(script):
        async with await bed.client(secure=secure) as client:
            for at in range(1, len(message)):
                await client.send(message[:at], message[at:])
                assert (await client.answer()).body == b"abcde"
        for _ in range(20):
            assert (await bed.ask(get("/plain/x", version="1.0"), secure=secure)).body == b"abcde"


async def test_requests_of_the_corpus(bed: Bed) -> None:
    """Each raw request, sound or not, in two pieces and then the client's end: nobody else is disturbed."""
    files = sorted(CORPUS.glob("*/*.http"))
    assert len(files) > 50
    async with bed.plain.origin.serving(keep_answering):
        for at, path in enumerate(files):
            data = path.read_bytes()
            async with await bed.client(secure=at % 4 == 0) as client:
                await client.send(data[: len(data) // 2], data[len(data) // 2 :])
                if at % 4:
                    client.half_close()
        assert (await bed.ask(get("/plain/x"))).body == b"ok"


async def test_files_of_the_fallback(bed: Bed) -> None:
    """A file is read whole, by a client that is slow, and not to its end by one that leaves."""
    assert (await bed.ask(get("/page.bin", EXPLAIN))).body == PAGE
    async with await bed.client(receive_buffer=4096) as client:
        assert (await client.ask(get("/page.bin"))).body == PAGE
    async with await bed.client(receive_buffer=4096) as client:
        await client.send(get("/page.bin"))
        await client.exactly(1000)
        client.reset()


async def explain(bed: Bed, *headers: str) -> tuple[int, dict[str, Any]]:
    question = json.dumps({"method": "GET", "url": "http://h/pair/x", "headers": headers}).encode()
    return await talk(
        bed.folder / "admin.sock",
        b"POST /v1/explain HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
        % (len(question), question),
    )


async def test_questions_to_the_admin_process(bed: Bed) -> None:
    """A session's decision, one with more clone ids than are read, one that is refused, and what changed."""
    status, found = await explain(bed, "Cookie: JSESSIONID=0000abc:c1")
    assert (status, found["explanation"]["server"]) == (200, "s1")
    assert (await explain(bed, STALE))[0] == 200
    assert (await explain(bed, "Content-Length: x"))[0] == 400
    ask = b"GET /v1/changes HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    status, found = await talk(bed.folder / "admin.sock", ask)
    assert status == 200


async def test_logs_were_written(bed: Bed) -> None:
    """All of this went through http_plugin.log at Trace and through the access log; or the module tried nothing of them."""
    async with bed.plain.origin.serving(keep_answering):
        await bed.ask(get("/plain/last"))
    async with asyncio.timeout(WAIT_S):
        while b"/plain/last" not in (bed.folder / "access.log").read_bytes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert b"TRACE" in (bed.folder / "plugin.log").read_bytes()
