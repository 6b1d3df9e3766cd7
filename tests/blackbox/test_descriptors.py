"""A worker that runs out of descriptors: it goes on with what it has, and accepts again when some are free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource

from tests.support.client import Client, ask, get
from tests.support.origin import keep_answering
from tests.support.proxy import lane, running_proxy
from wsproxy.dataplane.proxy_protocol import write_v1

CLIENTS = 40
SPARE = 20


async def test_clients_wait_while_no_descriptor_is_left() -> None:
    """Those that are connected are served; the others are not refused, and get their turn."""
    one = lane("one")
    async with (
        running_proxy([one]) as proxy,
        one.origin.serving(keep_answering),
        contextlib.AsyncExitStack() as stack,
    ):
        assert (await ask(proxy.port, get("/one/x"))).status == 200
        [worker] = proxy.workers()
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir(f"/proc/{worker}/fd")))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + SPARE, hard))
        clients = [
            await stack.enter_async_context(await Client.connect(proxy.port))
            for _ in range(CLIENTS)
        ]
        await proxy.line("cannot accept connections: Too many open files")
        for client in clients[:5]:
            assert (await client.ask(get("/one/x"))).status == 200
        waiting = asyncio.ensure_future(clients[-1].ask(get("/one/x")))
        for client in clients[:-1]:
            client.sock.close()
        assert (await waiting).status == 200


async def test_lack_is_told_once_where_load_balancers_connect() -> None:
    """Ten lines a second, for as long as clients wait, would hide everything else."""
    one = lane("one")
    settings = '[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["127.0.0.1"]\n'
    async with (
        running_proxy([one], settings=settings, listen=None) as proxy,
        one.origin.serving(keep_answering),
        contextlib.AsyncExitStack() as stack,
    ):
        [worker] = proxy.workers()
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir(f"/proc/{worker}/fd")))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 3, hard))
        clients = [
            await stack.enter_async_context(await Client.connect(proxy.port)) for _ in range(10)
        ]
        await proxy.line("cannot accept connections: Too many open files")
        for client in clients[:-1]:
            client.sock.close()
        # Its turn comes after the next try, or a later one.
        await clients[-1].send(write_v1(("192.0.2.1", 9), ("192.0.2.2", 80)) + get("/one/x"))
        assert (await clients[-1].answer()).status == 200
        assert sum("cannot accept" in line for line in proxy.lines) == 1


async def test_server_is_not_blamed_for_a_lack_of_descriptors() -> None:
    """A mark would count for all workers: for want of a descriptor in one, nobody would be served."""
    one = lane("one", 2)
    async with (
        running_proxy([one]) as proxy,
        one.members[0].origin.serving(keep_answering),
        one.members[1].origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        [worker] = proxy.workers()
        soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        await client.send(get("/one/x")[:-2])  # accepted before the limit sinks
        while not proxy.holds_clients():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (1, hard))
        await client.send(b"\r\n")
        assert (await client.answer()).status == 503
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        assert (await client.ask(get("/one/x"))).status == 200
        assert not any("Marking" in line for line in proxy.lines)
