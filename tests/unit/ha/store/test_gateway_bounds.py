"""An endpoint that answers without end: what is taken from it has bounds, and what is read of it is not cut in the reader's hands."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.settings_ha import HaSettings
from wsproxy.ha.store.base import StoreAwayError, TooLargeError
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import MOST_REASON, Gateway
from wsproxy.ha.store.token import Token

MOST = 1 << 20


@contextlib.asynccontextmanager
async def saying(
    head: bytes, parts: Callable[[], AsyncIterator[bytes]], status: bytes = b"200 OK"
) -> AsyncIterator[str]:
    """Whatever is asked."""
    ends: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + head + b"\r\n")
        with contextlib.suppress(OSError):
            async for part in parts():
                writer.write(part)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(asyncio.ensure_future(answer(reader, writer)))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*ends)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def _bomb() -> AsyncIterator[bytes]:
    yield gzip.compress(b" " * (64 << 20))


async def _many() -> AsyncIterator[bytes]:
    kv = b'{"key":"YQ==","create_revision":"1","mod_revision":"1"}'
    yield b'{"header":{"revision":"9"},"kvs":[' + b",".join([kv] * 101) + b"]}"


async def _error() -> AsyncIterator[bytes]:
    yield b'{"code":13,"message":"\\u001b[2J' + b"y" * 100_000 + b'"}'


async def test_an_answer_without_end() -> None:
    """Refused when it is too large, not when it has ended."""
    async with saying(b"", _endless) as url:
        store = EtcdStore(Gateway([url], try_s=60, most_bytes=MOST))
        try:
            with pytest.raises(TooLargeError, match="more than 1048576 bytes"):
                await store.read("/a/")
            with pytest.raises(TooLargeError, match="line of more than 1048576 bytes"):
                async for _ in store._gateway.stream("/v3/watch", {}):
                    pass
        finally:
            await store.close()


async def test_an_answer_that_is_compressed() -> None:
    """Nobody asked for that: 64 MB of it are 64 kB on the line."""
    async with saying(b"Content-Encoding: gzip\r\n", _bomb) as url:
        store = EtcdStore(Gateway([url], try_s=60, most_bytes=MOST))
        try:
            with pytest.raises(StoreAwayError, match="allowed is etcd's JSON gateway"):
                await store.read("/a/")
        finally:
            await store.close()


async def test_more_keys_than_are_taken() -> None:
    """Each is some work, and heartbeats wait."""
    async with saying(b"", _many) as url:
        store = EtcdStore(Gateway([url], try_s=60), 100)
        try:
            with pytest.raises(TooLargeError, match="found 101 keys at once; allowed are 100"):
                await store.read("/a/")
        finally:
            await store.close()


async def test_a_reason_is_short_and_drives_no_terminal() -> None:
    """It goes into logs, status, and our own etcd."""
    async with saying(b"", _error, b"503 No") as url:
        store = EtcdStore(Gateway([url], try_s=60))
        try:
            with pytest.raises(StoreAwayError) as found:
                await store.read("/a/")
        finally:
            await store.close()
    assert len(str(found.value)) < MOST_REASON + 100
    assert str(found.value).isprintable()


async def test_who_reads_a_stream_is_not_cancelled_when_its_time_is_over() -> None:
    """A stream ends after a while; what is done with a line may take longer."""

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"a":1}\n'
        await done.wait()

    done = asyncio.Event()
    found = []
    async with saying(b"", lines) as url:
        gateway = Gateway([url], try_s=60, stream_s=0.2)
        try:
            async for line in gateway.stream("/v3/watch", {}):
                await asyncio.sleep(0.4)
                found.append(line)
        finally:
            done.set()
            await gateway.close()
    assert found == [{"a": 1}]


async def test_nobody_is_asked_whom_only_an_answer_names(tmp_path: Path) -> None:
    """Neither questions, nor streams, nor a name with its password are sent on to where a redirect points."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.close()

    other = await asyncio.start_server(hear, "127.0.0.1", 0)
    at = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/internal"
    file = tmp_path / "password"
    file.write_text("a-secret\n")
    file.chmod(0o600)
    user = etcd_user(HaSettings(store="etcd", user="proxy", password_file=str(file)))
    head = f"Location: {at}\r\nContent-Length: 0\r\n".encode()
    async with other, saying(head, _nothing, b"307 Temporary Redirect") as url:
        for token in (None, Token(user)):
            gateway = Gateway((url,), token=token)
            with pytest.raises(StoreAwayError, match=r"found a redirect \(HTTP 307\)"):
                await gateway.ask("/v3/kv/range", {})
            with pytest.raises(StoreAwayError, match=r"found a redirect \(HTTP 307\)"):
                await anext(gateway.stream("/v3/watch", {}))
            await gateway.close()
    assert heard == []
