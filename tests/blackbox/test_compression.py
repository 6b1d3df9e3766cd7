"""Answers that are compressed on their way: the real process, plain and TLS, whatever pieces the server sends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.client import Answer, Client, IncompleteError, chunks, get, request
from tests.support.origin import OriginConnection
from tests.support.origin import field as field_of
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, TlsOrigin, client_context, server_context

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdDecompressor
else:
    from backports.zstd import ZstdDecompressor

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = """
[timeouts]
body_s = 30
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "shop.pem", key = "shop.key" }]
[upstream.tls]
verify = "none"
[[edge]]
paths = ["/app/*", "/secure/*"]
compress = { with = ["zstd", "gzip"], types = ["text/*", "application/json"], min_bytes = 200, level = 5 }
"""
MIB = 1024 * 1024
PAGE = b"<p>A page that says the same again and again.</p>\n" * 40


@dataclass(slots=True)
class Bench:
    """A proxy, and a server that answers a path with what ``answers`` has for it, piece by piece."""

    proxy: Proxy
    folder: Path
    answers: dict[str, list[bytes]] = field(default_factory=dict)
    after: dict[str, asyncio.Event] = field(
        default_factory=dict
    )  # what a path's server waits for between two pieces
    ended: set[str] = field(default_factory=set)  # the server ends its connection behind the answer
    reset: set[str] = field(default_factory=set)
    asked: list[bytes] = field(default_factory=list)

    async def play(self, connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            self.asked.append(message)
            path = message.split()[1].decode()
            for number, piece in enumerate(self.answers[path]):
                if number and path in self.after:
                    await self.after[path].wait()
                    self.after[path].clear()
                # What the client does not want any more.
                with contextlib.suppress(ConnectionError):
                    await connection.send(piece)
                await asyncio.sleep(0)
            if path in self.reset:
                connection.reset()
                return
            if path in self.ended:
                return

    def page(self, name: str, *pieces: bytes, lane: str = "app") -> str:
        path = f"/{lane}/{name}"
        self.answers[path] = list(pieces)
        return path

    async def open(self, *, tls: bool = False) -> Client:
        if tls:
            context = client_context(self.folder / "ca.pem")
            return await TlsClient.open(self.proxy.ports[1], context, "shop.example")
        return await Client.connect(self.proxy.port)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("compression")
    ca = Authority()
    ca.write_pem(folder)
    ca.issue("shop.example").write_pem(folder, "shop")
    app, other = lane("app"), lane("other")
    context = server_context(ca.issue("127.0.0.1").write_pem(folder, "server"))
    secure = Lane("secure", [Member(TlsOrigin(context), "s", protocol="https")])
    lanes = [app, other, secure]
    async with (
        running_proxy(lanes, settings=SETTINGS, listen=None, folder=folder) as proxy,
        contextlib.AsyncExitStack() as serving,
    ):
        made = Bench(proxy, folder)
        for each in lanes:
            await serving.enter_async_context(each.origin.serving(made.play))
        yield made


def head(*lines: str, kind: str = "text/html", status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", "")).encode()


def sized(body: bytes, *lines: str, kind: str = "text/html", status: str = "200 OK") -> bytes:
    return head(f"Content-Length: {len(body)}", *lines, kind=kind, status=status) + body


def plain(answer: Answer) -> bytes:
    """The body without its coding; fails where it does not end with its last bytes."""
    coding = answer.get(b"content-encoding")
    if coding is None:
        return answer.body
    if coding == b"zstd":
        zstd = ZstdDecompressor()
        found = zstd.decompress(answer.body)
        assert (zstd.eof, zstd.unused_data) == (True, b"")
        return found
    assert coding == b"gzip"
    gzip = zlib.decompressobj(31)
    found = gzip.decompress(answer.body)
    assert (gzip.eof, gzip.unused_data) == (True, b"")
    return found


CODINGS = pytest.mark.parametrize("coding", ["gzip", "zstd"])


@CODINGS
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_page_is_compressed(bench: Bench, coding: str, tls: bool) -> None:
    """With everything that its head has to say then; the server was asked as the client asks."""
    path = bench.page("page", sized(PAGE, 'ETag: "a"', "Accept-Ranges: bytes"))
    async with await bench.open(tls=tls) as client:
        answer = await client.ask(get(path, f"Accept-Encoding: {coding}"))
        assert plain(answer) == PAGE
        assert len(answer.body) < len(PAGE) / 5
        assert [answer.get(name) for name in (b"content-encoding", b"etag", b"vary")] == [
            coding.encode(),
            b'W/"a"',
            b"Accept-Encoding",
        ]
        assert [answer.get(name) for name in (b"content-length", b"accept-ranges")] == [None, None]
        assert answer.get(b"transfer-encoding") == b"chunked"
        assert field_of(bench.asked[-1], b"accept-encoding") == coding.encode()
        # The connection goes on, in the other coding as well.
        assert plain(await client.ask(get(path, "Accept-Encoding: gzip, zstd"))) == PAGE
        assert plain(await client.ask(get(path))) == PAGE


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (("Accept-Encoding: gzip;q=0, br",), sized(PAGE)),
        ((), sized(PAGE)),
        (("Accept-Encoding: gzip",), sized(PAGE, kind="image/png")),
        (("Accept-Encoding: gzip",), sized(PAGE, status="206 Partial Content")),
        (("Accept-Encoding: gzip",), sized(PAGE, status="404 Not Found")),
        (("Accept-Encoding: gzip",), sized(PAGE[:199])),
        (("Accept-Encoding: gzip",), head("Transfer-Encoding: chunked") + chunks(PAGE[:100])),
        (("Accept-Encoding: gzip",), sized(PAGE, "Cache-Control: no-transform")),
        (("Accept-Encoding: gzip",), sized(PAGE, "Content-Encoding: br")),
    ],
)  # fmt: skip
async def test_answer_goes_as_it_is(bench: Bench, lines: tuple[str, ...], answer: bytes) -> None:
    path = bench.page("as-it-is", answer)
    async with await bench.open() as client:
        found = await client.ask(get(path, *lines))
        assert found.get(b"content-encoding") in (None, b"br")
        assert PAGE.startswith(found.body)
        assert found.body


async def test_other_paths_are_left_alone(bench: Bench) -> None:
    """The [[edge]] says which; without one nothing is compressed, and nothing said of it."""
    path = "/other/page"
    bench.answers[path] = [sized(PAGE, 'ETag: "a"')]
    async with await bench.open() as client:
        answer = await client.ask(get(path, "Accept-Encoding: gzip"))
        assert (answer.body, answer.get(b"vary"), answer.get(b"etag")) == (PAGE, None, b'"a"')


async def test_client_of_http_1_0_gets_it_plain(bench: Bench) -> None:
    path = bench.page("old", sized(PAGE))
    async with await bench.open() as client:
        answer = await client.ask(get(path, "Accept-Encoding: gzip", version="1.0"))
        assert (answer.body, answer.get(b"content-encoding"), answer.get(b"vary")) == (
            PAGE,
            None,
            b"Accept-Encoding",
        )


async def test_head_says_what_get_would_say(bench: Bench) -> None:
    """But for the framing, which is nobody's."""
    path = bench.page("head", head("Content-Length: 5000", 'ETag: "a"'))
    async with await bench.open() as client:
        answer = await client.ask(request("HEAD", path, "Accept-Encoding: gzip"), head_only=True)
        assert [answer.get(name) for name in (b"content-encoding", b"content-length", b"etag")] == [
            b"gzip",
            None,
            b'W/"a"',
        ]
        bench.page("head", sized(PAGE))
        assert plain(await client.ask(get(path, "Accept-Encoding: gzip"))) == PAGE


async def test_not_modified_has_the_tag_that_the_client_has(bench: Bench) -> None:
    path = bench.page("known", head('ETag: "a"', status="304 Not Modified"))
    async with await bench.open() as client:
        answer = await client.ask(get(path, "Accept-Encoding: gzip", 'If-None-Match: W/"a"'))
        assert (answer.status, answer.get(b"etag")) == (304, b'W/"a"')
        assert answer.get(b"vary") == b"Accept-Encoding"
        assert (await client.ask(get(path))).get(b"vary") == b"Accept-Encoding"


def any_body(rng: random.Random, most: int) -> bytes:
    """Text, noise, or both."""
    size = rng.choice((0, 1, rng.randrange(400), rng.randrange(most)))
    kind = rng.randrange(3)
    if kind == 0:
        return rng.randbytes(size)
    words = [rng.randbytes(rng.randrange(1, 9)).hex().encode() for _ in range(50)]
    text = b" ".join(rng.choice(words) for _ in range(size // 4))[:size]
    return text if kind == 1 else text[: size // 2] + rng.randbytes(size - size // 2)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """Into some pieces, in order."""
    if not data:
        return []
    at = sorted({0, *(rng.randrange(len(data)) for _ in range(rng.randrange(12)))})
    return [data[a:b] for a, b in zip(at, [*at[1:], len(data)], strict=True) if b > a]


@CODINGS
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("seed", range(3))
async def test_any_body_in_any_pieces_arrives(
    bench: Bench, coding: str, tls: bool, seed: int
) -> None:
    """With a length, in chunks, or up to the connection's end; some asked ahead on one connection, each whole."""
    rng = random.Random(f"{coding} {tls} {seed}")
    bodies: list[tuple[str, bytes]] = []
    for number in range(12):
        body = any_body(rng, 600_000)
        name = f"any-{coding}-{tls}-{seed}-{number}"
        framing = rng.choice(("length", "chunks", "end"))
        if framing == "length":
            wire = sized(body)
        elif framing == "chunks":
            wire = head("Transfer-Encoding: chunked", "Trailer: X") + chunks(*cut(rng, body))[:-2]
            wire += rng.choice((b"\r\n", b"X: y\r\n\r\n"))
        else:
            wire = head() + body
            bench.ended.add(f"/app/{name}")
        bodies.append((bench.page(name, *cut(rng, wire)), body))
    async with await bench.open(tls=tls) as client:
        while bodies:
            ahead = [bodies.pop() for _ in range(min(len(bodies), rng.randrange(1, 4)))]
            await client.send(
                b"".join(get(path, f"Accept-Encoding: {coding}") for path, _ in ahead)
            )
            for _, body in ahead:
                assert plain(await client.answer()) == body


async def test_answers_of_a_server_by_tls(bench: Bench) -> None:
    """Where reads are larger."""
    rng = random.Random(7)
    async with await bench.open(tls=True) as client:
        for number in range(6):
            body = any_body(rng, 900_000)
            wire = sized(body)
            if number % 2:
                wire = head("Transfer-Encoding: chunked") + chunks(*cut(rng, body))
            path = bench.page(str(number), *cut(rng, wire), lane="secure")
            answer = await client.ask(get(path, "Accept-Encoding: gzip"))
            assert plain(answer) == body


@CODINGS
async def test_each_piece_arrives_as_it_comes(bench: Bench, coding: str) -> None:
    """An event stream: nothing waits in the compressor for what the server has not said yet."""
    pieces = [f"data: {number}\n\n".encode() for number in range(5)]
    wire = [
        head("Transfer-Encoding: chunked", kind="text/event-stream"),
        *(chunks(piece)[:-5] for piece in pieces),
    ]
    path = bench.page(f"events-{coding}", *wire, b"0\r\n\r\n")
    bench.after[path] = go_on = asyncio.Event()
    async with await bench.open() as client:
        await client.send(get(path, f"Accept-Encoding: {coding}"))
        answer = await client.head()
        assert answer.get(b"content-encoding") == coding.encode()
        reader = zlib.decompressobj(31) if coding == "gzip" else ZstdDecompressor()
        for piece in pieces:
            go_on.set()
            size = int(await client.exactly(6), 16)
            found = reader.decompress((await client.exactly(size + 4))[2:-2])
            assert found == piece
        go_on.set()
        rest = await client.body(answer)
        assert reader.decompress(rest.body) == b""
        assert reader.eof


@pytest.mark.parametrize("framing", ["length", "chunks", "reset"])
async def test_answer_that_breaks_off_is_not_ended(bench: Bench, framing: str) -> None:
    """No last chunk: what was cut must not look whole."""
    noise = os.urandom(100_000)
    if framing == "length":
        path = bench.page("cut-length", sized(noise)[:-1])
    elif framing == "chunks":
        path = bench.page("cut-chunks", head("Transfer-Encoding: chunked") + chunks(noise)[:-5])
    else:
        path = bench.page("cut-reset", head() + noise)
        bench.reset.add(path)
    bench.ended.add(path)
    async with await bench.open() as client:
        await client.send(get(path, "Accept-Encoding: gzip"))
        answer = await client.head()
        assert answer.get(b"transfer-encoding") == b"chunked"
        with pytest.raises(IncompleteError):
            await client.body(answer)


async def test_bad_chunk_cuts_the_client(bench: Bench) -> None:
    """At once, and later; before anything was sent it is another server's turn, or a 502."""
    later = bench.page(
        "bad-later", head("Transfer-Encoding: chunked") + chunks(PAGE)[:-5], b"x\r\n"
    )
    bench.after[later] = asyncio.Event()
    async with await bench.open() as client:
        await client.send(get(later, "Accept-Encoding: gzip"))
        answer = await client.head()
        bench.after[later].set()
        with pytest.raises(IncompleteError):
            await client.body(answer)
    first = bench.page("bad-first", head("Transfer-Encoding: chunked") + b"x\r\n")
    async with await bench.open() as client:
        answer = await client.ask(get(first, "Accept-Encoding: gzip"))
        assert (answer.status, answer.get(b"content-encoding")) == (502, None)
        assert (
            plain(await client.ask(get(bench.page("good", sized(PAGE)), "Accept-Encoding: gzip")))
            == PAGE
        )


async def test_big_answer_holds_little_and_holds_up_nobody(bench: Bench) -> None:
    """A client that does not read stops the server; others are served meanwhile."""
    body = random.Random(1).randbytes(MIB // 2).hex().encode() * 24
    path = bench.page("big", sized(body))
    small = bench.page("small", sized(PAGE))
    before = bench.proxy.resident_bytes()
    async with await Client.connect(bench.proxy.port, receive_buffer=65536) as client:
        await client.send(get(path, "Accept-Encoding: gzip"))
        answer = await client.head()
        async with await bench.open() as other:
            for _ in range(5):
                assert plain(await other.ask(get(small, "Accept-Encoding: gzip"))) == PAGE
        assert bench.proxy.resident_bytes() - before < 8 * MIB
        assert plain(await client.body(answer)) == body


async def test_client_that_leaves_frees_the_compressor(bench: Bench) -> None:
    """More of them than may be compressed at a time; the next answer is compressed all the same."""
    body = os.urandom(3 * MIB)
    path = bench.page("left", sized(body))
    for _ in range(20):
        clients = [await bench.open() for _ in range(15)]
        for client in clients:
            await client.send(get(path, "Accept-Encoding: gzip"))
        for client in clients:
            assert (await client.head()).get(b"content-encoding") == b"gzip"
            client.reset()
    async with await bench.open() as client:
        answer = await client.ask(get(bench.page("after", sized(PAGE)), "Accept-Encoding: gzip"))
        assert answer.get(b"content-encoding") == b"gzip"
