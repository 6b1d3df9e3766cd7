"""
The data plane in this process: an engine from a Config, listening on loopback, swept like a worker does it.

Driven by tests/unit/_fast and tests/unit/dataplane. Leaving the ``Bed`` checks what must hold after everything is closed: no request in flight
anywhere, no stream open, no task running, no connection object alive.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from tests.support.metered import check_meters
from tests.support.origin import listening_socket
from tests.support.process import WAIT_S
from tests.support.wire import Wire, close_all
from wsproxy._fast.net import doors, libssl
from wsproxy._fast.net.doors import Door
from wsproxy._fast.net.poller import Poller
from wsproxy._fast.net.stream import Stream
from wsproxy._fast.net.tls_terms import Terms
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.http1 import Http1, Http1Protocol
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.proxy.upstream import Upstream, UpstreamProtocol
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.model import (
    Config,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.settings import Settings
from wsproxy.dataplane import tasks
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.dataplane.witness import Witness
from wsproxy.dataplane.worker import build_engine, take_plan

ANY_HOST = VirtualHostGroup("any", (VirtualHost("*:*", "*", None),))
APP = UriGroup("app", (Uri("/app/*"),))
NO_BYTES_S = 0.005  # between two sweeps


def server(name: str, port: int, **more: object) -> Server:
    """A Server on loopback; ``ttl`` is its ConnectionTTL, ``protocol`` its Transport's."""
    ttl = more.pop("ttl", 28)
    protocol = more.pop("protocol", "http")
    assert isinstance(protocol, str)
    assert isinstance(ttl, int)
    transports = (Transport("127.0.0.1", port, protocol, connection_ttl_s=ttl),)
    return Server(name, transports=transports, **more)  # type: ignore[arg-type]


def config_of(*servers: Server, **cluster: object) -> Config:
    """One cluster that takes ``/app/*``, first server first: the others are backups in order."""
    made = ServerCluster(
        "cluster",
        servers=servers,
        primary_servers=(ServerRef(servers[0].name),),
        backup_servers=tuple(ServerRef(each.name) for each in servers[1:]),
        **cluster,  # type: ignore[arg-type]
    )
    return Config(
        virtual_host_groups=(ANY_HOST,),
        uri_groups=(APP,),
        server_clusters=(made,),
        routes=(Route("cluster", "app", "any"),),
    )


class Bed:
    """``async with Bed(config, settings) as bed``."""

    def __init__(
        self,
        config: Config,
        settings: Settings | None = None,
        tls: ssl.SSLContext | None = None,
        make_witness: Callable[[Plan], Witness] | None = None,
    ) -> None:
        """``tls``: what clients meet; None: plain HTTP. ``make_witness``: whom the engine tells what it decides."""
        self.tls = tls
        self.state = SharedState(64, 16)
        self.state.open_meters(1)
        if settings is not None and settings.limits.client_connections:
            self.state.open_client_counts(2)
        self.plan = build_plan(config, settings or Settings(), self.state)
        self.plan.apply()
        self._plans = [self.plan]
        self.engine, self.slow = build_engine(
            self.plan, 0, None if make_witness is None else make_witness(self.plan)
        )
        self.state.open_bells(1)
        self.port = 0
        self.connected = self.accepted = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.engine.poller = Poller(self.engine)
        gc.freeze()  # what was there before is not looked through in the end: a session of tests has a million objects
        self.server: asyncio.AbstractServer | Door
        sock = listening_socket()
        self.port = sock.getsockname()[1]
        if self.tls is None:
            self.server = doors.listen(self.engine.poller, sock, self._accept)
        elif libssl.owns():
            self.server = doors.listen(self.engine.poller, sock, self._accept, Terms(self.tls))
        else:
            self.server = await loop.create_server(self._accept, sock=sock, ssl=self.tls)
        self.sweeper = loop.create_task(self._sweep())
        self.slow.room.listen(self.state.bell(0))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.close()
        asyncio.get_running_loop().remove_reader(self.state.bell(0))
        close_all()
        self.engine.close_all()
        await tasks.end_all()
        try:
            await self.until(lambda: self.engine.open_streams == 0)
            while self.slow.room.look():  # as the next sweep would: forgets who has left
                pass
        finally:
            self.sweeper.cancel()
            await asyncio.gather(self.sweeper, return_exceptions=True)
        if isinstance(self.server, asyncio.AbstractServer):
            await self.server.wait_closed()
        self.engine.poller.close()
        try:
            if kind is None:
                self.check_nothing_left()
        finally:
            gc.unfreeze()

    def _accept(self) -> Http1Protocol:
        self.accepted += 1
        return Http1Protocol(self.engine)

    async def _sweep(self) -> None:
        while True:
            while self.engine.sweep(2):  # noqa: ASYNC110  # connections may end between two steps
                await asyncio.sleep(0)
            self.engine.poller.tend()
            while self.slow.room.sweep():  # noqa: ASYNC110
                await asyncio.sleep(0)
            await asyncio.sleep(NO_BYTES_S)

    def take(self, config: Config, settings: Settings | None = None) -> None:
        """Another configuration, as a worker takes it: for requests that begin from now on."""
        self.plan = build_plan(config, settings or self.plan.settings, self.state)
        self.plan.apply()
        self._plans.append(self.plan)
        take_plan(self.engine, self.plan)

    def check_nothing_left(self) -> None:
        check_meters(self.state)
        for plan in self._plans:
            for cluster in plan.clusters:
                if cluster is not None:
                    states = [cluster.server_state(at) for at in range(len(cluster.server_names))]
                    assert [(each["inflight"], each["granted"]) for each in states] == [
                        (0, 0)
                    ] * len(states)
                    assert cluster.queue_length == 0
        gc.collect()
        alive = [
            each for each in gc.get_objects() if isinstance(each, Downstream | Http1 | Upstream)
        ]
        assert alive == []

    async def client(self, *, receive_buffer: int = 0) -> Wire:
        """A connection that is accepted already."""
        wire = await Wire.connect(self.port, receive_buffer=receive_buffer)
        self.connected += 1
        await self.until(lambda: self.accepted == self.connected)
        for _ in range(3):  # connection_made comes from the loop
            await asyncio.sleep(0)
        return wire

    async def connect_upstream(self, pool: Pool) -> Upstream:
        """A connection to the pool's server, made like the slow path does it, in nobody's hands yet."""
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(
            partial(UpstreamProtocol, self.engine, pool), pool.host, pool.port
        )
        return upstream

    def inflight(self) -> list[int]:
        """Requests in flight at each server of the cluster."""
        return [self.server_state(at)["inflight"] for at in range(self.server_count)]

    @property
    def server_count(self) -> int:
        return len(self.plan.config.server_clusters[0].servers)

    def server_state(self, at: int) -> dict[str, int]:
        cluster = self.plan.clusters[0]
        assert cluster is not None
        return cluster.server_state(at)

    def streams(self, kind: type[Stream]) -> int:
        return sum(isinstance(each, kind) for each in self.engine.streams())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Lets the loop run until ``holds()``; fails where it never does."""
        async with asyncio.timeout(WAIT_S):
            while not holds():  # noqa: ASYNC110 - the engine knows no events
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        """Lets so much time pass on the clock of deadlines, with sweeps: for deadlines that must not strike."""
        end = now_ms() + seconds * 1000
        await self.until(lambda: now_ms() > end)
