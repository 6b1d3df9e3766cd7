"""One probe of a real socket: what is good, what is not, and why."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bed import config_of
from tests.support.certificates import Authority
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.model import Property, Server, Transport
from wsproxy.config.settings import Settings, UpstreamSettings, UpstreamTlsSettings
from wsproxy.config.settings_probe import ProbeSettings
from wsproxy.dataplane.plan import build_plan
from wsproxy.probe.ask import MOST_BODY_BYTES, Finding, ask, question, where
from wsproxy.probe.names import Names
from wsproxy.probe.targets import Target, targets_of

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """Answers every connection with the same bytes, then closes; ``heads`` are what it was asked."""

    def __init__(self, answer: bytes = OK, *, stays: bool = False) -> None:
        self.answer = answer
        self.stays = stays
        self.port = 0
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            if self.stays:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the probe has seen enough
        finally:
            writer.close()

    @asynccontextmanager
    async def run(self, host: str = "127.0.0.1", **more: Any) -> AsyncIterator[Scripted]:
        server = await asyncio.start_server(self, host, 0, **more)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self


def target_of(
    port: int,
    *,
    host: str = "127.0.0.1",
    protocol: str = "http",
    keyring: Path | None = None,
    verify: Any = "full",
    proxy_protocol: Any = "none",
    **probe: Any,
) -> Target:
    properties = () if keyring is None else (Property("keyring", str(keyring)),)
    transport = Transport(host, port, protocol, properties=properties)
    settings = Settings(
        probe=ProbeSettings(**{"type": "http", "timeout_s": 5.0, **probe}),
        upstream=UpstreamSettings(
            proxy_protocol=proxy_protocol, tls=UpstreamTlsSettings(verify=verify)
        ),
    )
    plan = build_plan(config_of(Server("s", transports=(transport,))), settings, SharedState(8, 2))
    plan.apply()
    [target] = targets_of(plan)
    return target


async def probe(server: Scripted, **more: Any) -> Finding:
    return await ask(target_of(server.port, **more), Names(60.0))


async def test_a_good_answer_and_what_was_asked() -> None:
    async with Scripted().run() as server:
        found = await probe(server, path="/health?key=1")
    assert found == Finding(True, "status 200")
    [head] = server.heads
    assert head.split(b"\r\n")[:2] == [
        b"GET /health?key=1 HTTP/1.1",
        b"Host: 127.0.0.1:%d" % server.port,
    ]
    assert b"User-Agent: wsproxy-probe/" in head
    assert b"Connection: close\r\n" in head
    assert "key" not in where(target_of(server.port, path="/health?key=1"))


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_ANSWERS = {
    "status": (
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        "found status 503; allowed is 200-399",
    ),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP in answer to the probe: "),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "no HTTP in answer to the probe: ",
    ),
    "nothing": (b"", "connection closed in the probe"),
    "half a head": (b"HTTP/1.1 200 OK\r\n", "connection closed in the probe"),
    "half a body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        "connection closed within the answer",
    ),
    "half a chunk": (CHUNKED + b"9\r\nok", "connection closed within the answer"),
    "no chunk": (CHUNKED + b"xyz\r\nok\r\n", "no HTTP in answer to the probe: "),
    "only 1xx": (b"HTTP/1.1 100 Continue\r\n\r\n", "connection closed in the probe"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_bad_answer_says_what_was_wrong(name: str) -> None:
    answer, words = BAD_ANSWERS[name]
    async with Scripted(answer).run() as server:
        found = await probe(server)
    assert not found.is_good
    assert words in found.words
    assert found.is_counted


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
    ],
)
async def test_answers_of_every_framing_are_read(answer: bytes) -> None:
    async with Scripted(answer).run() as server:
        assert (await probe(server)).is_good


@pytest.mark.parametrize("framing", ["length", "chunked", "end"])
async def test_text_of_the_page(framing: str) -> None:
    """It may be cut by chunks; behind the first 64 KiB nobody looks, and a page without end is no reason to wait."""
    page = b"x" * 100 + b"all well"
    head = {
        "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
        "chunked": CHUNKED,
        "end": b"HTTP/1.1 200 OK\r\n\r\n",
    }[framing]

    def answer(data: bytes) -> bytes:
        if framing == "length":
            return head % len(data) + data
        if framing == "end":
            return head + data
        pieces = [data[:103], data[103:]]
        return (
            head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
        )

    async with Scripted(answer(page)).run() as server:
        assert (await probe(server, body="all well")).is_good
        wrong = await probe(server, body="all ill")
        assert (wrong.is_good, wrong.words) == (
            False,
            "found a page of status 200 without the text of probe.body",
        )
    async with Scripted(answer(b"x" * MOST_BODY_BYTES + page), stays=True).run() as server:
        assert not (await probe(server, body="all well")).is_good
        assert (await probe(server, body="xxx")).is_good


async def test_a_server_that_says_nothing() -> None:
    async with Scripted(b"", stays=True).run() as server:
        found = await probe(server, timeout_s=0.2)
    assert found == Finding(False, "no answer within 0.2 s", errno.ETIMEDOUT)


async def test_only_a_connection() -> None:
    """Whoever accepts and stays is good, whether it speaks or not; whoever closes is not."""

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with Scripted().run() as server:
        assert await probe(server, type="tcp") == Finding(True, "connected")
    async with await asyncio.start_server(close, "127.0.0.1", 0) as closing:
        port = closing.sockets[0].getsockname()[1]
        found = await ask(target_of(port, type="tcp"), Names(60.0))
    assert found.words == "it accepts connections and closes them"
    found = await ask(target_of(port, type="tcp"), Names(60.0))
    assert (found.words, found.error) == ("Connection refused", errno.ECONNREFUSED)


async def test_ipv6_and_another_host() -> None:
    async with Scripted().run("::1") as server:
        assert (await probe(server, host="[::1]")).is_good
        target = target_of(server.port, host="[::1]")
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in question(target)
    shop = target_of(1, path="/x")
    assert where(shop) == "GET http://127.0.0.1:1/x"


async def test_a_name_that_does_not_resolve() -> None:
    found = await ask(target_of(80, host="no-such-host.invalid"), Names(60.0))
    assert found.words.startswith("no-such-host.invalid: ")
    assert (found.is_good, found.is_counted, found.error) == (False, True, errno.EHOSTUNREACH)


def tls_of(authority: Authority, folder: Path, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(*names).write_pem(folder, names[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_tls_is_verified_as_for_requests(tmp_path: Path) -> None:
    """By the keyring of the Transport, with its host's name; a session that was verified is taken up as requests do."""
    ours, others = Authority(), Authority("Other CA")
    keyring = ours.write_pem(tmp_path)
    secure: dict[str, Any] = {"protocol": "https", "keyring": keyring}
    async with Scripted().run(ssl=tls_of(ours, tmp_path, "127.0.0.1")) as server:
        target = target_of(server.port, **secure)
        for _ in range(3):
            assert await ask(target, Names(60.0)) == Finding(True, "status 200")
        assert where(target).startswith("GET https://127.0.0.1:")
        assert await probe(server, type="tcp", **secure) == Finding(True, "connected")
        plain = await probe(server)
        assert not plain.is_good
    async with Scripted().run(ssl=tls_of(ours, tmp_path, "another.example")) as server:
        assert "IP address mismatch" in (await probe(server, **secure)).words
        assert (await probe(server, verify="chain", **secure)).is_good
    async with Scripted().run(ssl=tls_of(others, tmp_path, "127.0.0.1")) as server:
        for kind in ("http", "tcp"):
            found = await probe(server, type=kind, **secure)
            assert (found.is_good, found.error) == (False, errno.EPROTO)
            assert found.words.startswith("TLS: self-signed certificate in certificate chain")


async def test_a_long_page_over_tls_in_small_records(tmp_path: Path) -> None:
    """More records than a turn of live traffic reads at a time."""
    ours = Authority()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n")
        for _ in range(200):
            writer.write(b"0123456789")
        writer.close()

    context = tls_of(ours, tmp_path, "127.0.0.1")
    async with await asyncio.start_server(drip, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        target = target_of(port, protocol="https", keyring=ours.write_pem(tmp_path), body="0123")
        assert await ask(target, Names(60.0)) == Finding(True, "status 200")


async def test_a_keyring_that_cannot_be_used_is_why_it_fails(tmp_path: Path) -> None:
    """Where there is no http Transport, to which requests would go instead."""
    target = target_of(1, protocol="https", keyring=tmp_path / "none.pem")
    found = await ask(target, Names(60.0))
    assert "https Transport of no use" in found.words


async def test_servers_that_want_a_proxy_header_get_one() -> None:
    async with Scripted().run() as server:
        assert (await probe(server, proxy_protocol="v1")).is_good
    assert server.heads[0].startswith(b"PROXY UNKNOWN\r\nGET / ")
