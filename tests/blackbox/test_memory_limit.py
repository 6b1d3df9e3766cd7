"""A worker whose memory has a limit (RLIMIT_AS): single connections are dropped, and the worker goes on."""

from __future__ import annotations

import asyncio
import re
import resource
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.client import Client, IncompleteError, ask, get, request
from tests.support.origin import keep_answering
from tests.support.proxy import lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context

MIB = 1024 * 1024
KEPT = 60_000  # of a body: as long as it may have to be sent again it is in memory
# What is said of it, or of having no memory to say it; never that a worker was killed.
SAID = r"internal error|task [\w ]+ failed|Traceback|Exception"


def limit_memory(worker: int, more: int) -> None:
    """The worker may have so much more than it has now."""
    status = Path(f"/proc/{worker}/status").read_text()
    found = re.search(r"VmSize:\s+(\d+) kB", status)
    assert found
    most = int(found[1]) * 1024 + more
    resource.prlimit(worker, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def free_memory(worker: int) -> None:
    resource.prlimit(worker, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


async def count_dropped(clients: list[Client]) -> int:
    """How many of them were cut off."""
    dropped = 0
    for client in clients:
        try:
            await asyncio.wait_for(client.exactly(1), 0.001)
        except TimeoutError:
            continue
        except IncompleteError:
            dropped += 1
    return dropped


async def test_connections_for_which_there_is_no_memory_are_dropped_alone() -> None:
    """Of 300 clients whose bodies wait, some find no memory; who was there before, and who comes later, is served."""
    one, slow = lane("one"), lane("slow")
    async with (
        running_proxy([one, slow]) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as bystander,
        AsyncExitStack() as stack,
    ):
        proxy.expected.append(SAID)
        assert (await bystander.ask(get("/one/x"))).status == 200
        workers = proxy.workers()
        limit_memory(workers[0], 8 * MIB)
        clients = []
        for _ in range(300):
            client = await stack.enter_async_context(await Client.connect(proxy.port))
            await client.send(
                request("POST", "/slow/x", f"Content-Length: {KEPT + 1}") + bytes(KEPT)
            )
            clients.append(client)
        await proxy.line("MemoryError")
        dropped = await count_dropped(clients)
        assert 10 < dropped < 290
        for client in clients:
            client.reset()
        free_memory(workers[0])
        assert (await bystander.ask(get("/one/x"))).status == 200
        assert (await ask(proxy.port, get("/one/x"))).status == 200
        assert proxy.workers() == workers
        assert not any("Marking" in line for line in proxy.lines)  # no server is to blame


async def test_tls_listener_without_memory_for_a_connection_accepts_the_next(
    tmp_path: Path,
) -> None:
    """Of so little a handful has its handshake, if any; the rest is the library's to notice, or ours."""
    ca = Authority()
    ca.write_pem(tmp_path)
    ca.issue("shop.example").write_pem(tmp_path, "server")
    settings = (
        '[[listener]]\naddress = "127.0.0.1:0"\n'
        'certificates = [{ chain = "server.pem", key = "server.key" }]\n'
    )
    one = lane("one")
    context = client_context(tmp_path / "ca.pem")
    async with (
        running_proxy([one], settings=settings, listen=None, folder=tmp_path) as proxy,
        one.origin.serving(keep_answering),
        AsyncExitStack() as stack,
    ):
        proxy.expected.append(SAID)
        workers = proxy.workers()
        bystander = await stack.enter_async_context(await TlsClient.open(proxy.port, context))
        assert (await bystander.ask(get("/one/x"))).status == 200
        limit_memory(workers[0], MIB)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, OSError)):  # noqa: PT012  # one of them
            for _ in range(200):
                await stack.enter_async_context(await TlsClient.open(proxy.port, context))
        free_memory(workers[0])  # there may have been none for the line either
        await proxy.line("MemoryError|TLS with a client failed|no memory for messages")
        assert (await bystander.ask(get("/one/x"))).status == 200
        async with await TlsClient.open(proxy.port, context) as client:
            assert (await client.ask(get("/one/x"))).status == 200
        assert proxy.workers() == workers
