"""limits.client_connections: exact over all workers, before a TLS handshake, by the client that a load balancer names."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, IncompleteError, get
from tests.support.origin import keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context
from wsproxy.dataplane.proxy_protocol import write_v1, write_v2

MOST = 12
LIMIT = f"[limits]\nclient_connections = {MOST}\n"
SOURCE, OTHER = "127.0.0.2", "127.0.0.3"
TARGET = ("127.0.0.1", 80)


@asynccontextmanager
async def limited(
    workers: int = 2,
    settings: str = "",
    folder: Path | None = None,
    config: str = "",
    routes: str = "",
) -> AsyncIterator[Proxy]:
    """A proxy with the limit, before a server that answers everything."""
    one = lane("one")
    async with (
        running_proxy(
            [one],
            workers=workers,
            settings=LIMIT + settings,
            listen=None if settings else "127.0.0.1:0",
            folder=folder,
            config=config,
            routes=routes,
        ) as proxy,
        one.origin.serving(keep_answering),
    ):
        yield proxy


async def is_served(client: Client, before: bytes = b"") -> bool:
    """Whether the client is let in and answered; one that is not is reset without a word."""
    try:
        await client.send(before + get("/one/x"))
        return (await client.answer()).status == 200
    except (ConnectionResetError, BrokenPipeError):
        return False
    except IncompleteError as error:
        return error.incomplete != b""  # nothing but a reset is a refusal


async def fill(stack: AsyncExitStack, proxy: Proxy, count: int, source: str = SOURCE) -> None:
    """So many connections that were served and stay open."""
    for _ in range(count):
        client = await stack.enter_async_context(await Client.connect(proxy.port, source=source))
        assert await is_served(client)


async def is_another_served(proxy: Proxy, source: str = SOURCE) -> bool:
    try:
        client = await Client.connect(proxy.port, source=source)
    except ConnectionResetError:  # sooner than we could look
        return False
    async with client:
        return await is_served(client)


async def until_another_is_served(proxy: Proxy) -> None:
    """The proxy sees the end of a connection when it gets to it."""
    async with asyncio.timeout(WAIT_S):
        while not await is_another_served(proxy):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.02)


async def test_limit_counts_over_all_workers() -> None:
    """The kernel spreads the connections; one more than allowed is refused wherever it comes in, other clients are served."""
    async with limited() as proxy, AsyncExitStack() as stack:
        await fill(stack, proxy, MOST)
        assert all(held > 0 for held in proxy.clients_of_workers().values())
        for _ in range(8):  # both workers will have had one
            assert not await is_another_served(proxy)
        await fill(stack, proxy, MOST, OTHER)
        await proxy.line(f"{SOURCE} has as many connections as limits.client_connections allows")
        lines = [line for line in proxy.lines if "client_connections" in line]
        assert len(lines) <= 2  # one a worker: no line for each


async def test_connection_that_ended_counts_no_longer() -> None:
    """By its own end, by a reset, by one of ours."""
    async with limited() as proxy, AsyncExitStack() as stack:
        await fill(stack, proxy, MOST - 1)
        for _ in range(2 * MOST):
            await until_another_is_served(proxy)
        while True:  # until the proxy has seen the end of the one before
            async with await Client.connect(proxy.port, source=SOURCE) as client:
                with suppress(IncompleteError, OSError):
                    assert (await client.ask(get("/one/x", "Connection: close"))).closes
                    assert await client.rest() == b""
                    break
        async with await Client.connect(proxy.port, source=SOURCE) as client:
            assert await is_served(client)
            client.reset()
        await until_another_is_served(proxy)


async def test_connections_of_a_killed_worker_count_no_longer() -> None:
    async with limited() as proxy, AsyncExitStack() as stack:
        proxy.expected.append("was killed by")
        await fill(stack, proxy, MOST)
        os.kill(proxy.workers()[0], signal.SIGKILL)
        await until_another_is_served(proxy)


async def test_trusted_proxy_may_have_any_number() -> None:
    """It speaks for many clients."""
    group = f'<TrustedProxyGroup><TrustedProxy Name="{SOURCE}"/></TrustedProxyGroup>'
    async with (
        limited(config='TrustedProxyEnable="true"', routes=group) as proxy,
        AsyncExitStack() as stack,
    ):
        await fill(stack, proxy, MOST + 3)
        await fill(stack, proxy, MOST, OTHER)
        assert not await is_another_served(proxy, OTHER)


async def test_client_is_who_the_proxy_header_names() -> None:
    """Not the load balancer; and where that speaks for itself, nobody."""
    listener = f'[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["{SOURCE}"]\n'
    async with limited(settings=listener) as proxy, AsyncExitStack() as stack:

        async def is_introduced_served(header: bytes) -> bool:
            client = await stack.enter_async_context(
                await Client.connect(proxy.port, source=SOURCE)
            )
            return await is_served(client, header)

        header = write_v1(("192.0.2.1", 1), TARGET)
        assert all([await is_introduced_served(header) for _ in range(MOST)])
        assert not await is_introduced_served(header)
        assert not await is_introduced_served(write_v2(("192.0.2.1", 9), TARGET))
        assert await is_introduced_served(write_v1(("192.0.2.2", 1), TARGET))
        unknown = b"PROXY UNKNOWN\r\n"
        assert all([await is_introduced_served(unknown) for _ in range(MOST + 1)])
        await fill(stack, proxy, MOST, OTHER)  # not listed: a client like any
        assert not await is_another_served(proxy, OTHER)


async def test_client_is_refused_before_its_handshake(tmp_path: Path) -> None:
    """Connections that never speak count too, and what they held is free again."""
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("shop.example").write_pem(tmp_path, "shop")
    listener = (
        '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "shop.pem", key = "shop.key" }]\n'
        "[timeouts]\nhead_s = 3\n"
    )
    context = client_context(tmp_path / "ca.pem")
    async with limited(settings=listener, folder=tmp_path) as proxy:
        async with AsyncExitStack() as stack:
            async with await TlsClient.open(proxy.port, context) as client:
                assert await is_served(client)
                for _ in range(MOST - 1):
                    await stack.enter_async_context(await Client.connect(proxy.port))
                try:
                    async with await Client.connect(proxy.port) as one_more:
                        assert await one_more.is_cut()
                except ConnectionResetError:
                    pass  # sooner than we could look
            silent = await stack.enter_async_context(await Client.connect(proxy.port))
            assert await silent.is_cut()  # its handshake takes too long, as those of the others
        async with AsyncExitStack() as stack, asyncio.timeout(WAIT_S):
            opened = 0
            while opened < MOST:
                try:
                    client = await TlsClient.open(proxy.port, context)
                except (ConnectionResetError, BrokenPipeError):
                    await asyncio.sleep(0.02)
                else:
                    await stack.enter_async_context(client)
                    opened += 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_without_the_setting_nobody_is_refused(workers: int) -> None:
    one = lane("one")
    async with (
        running_proxy([one], workers=workers) as proxy,
        one.origin.serving(keep_answering),
        AsyncExitStack() as stack,
    ):
        await fill(stack, proxy, 3 * MOST)
