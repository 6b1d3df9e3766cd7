"""A worker that runs out of descriptors: it goes on with what it has, and accepts again when some are free."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource

from tests.support.client import Client, ask, get
from tests.support.origin import keep_answering
from tests.support.proxy import lane, running_proxy

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
