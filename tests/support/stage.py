"""
One engine on fake transports, without a loop: the test delivers, reads and lets time pass, step by step.

Driven by tests/unit/_fast and tests/unit/dataplane. Must not connect or listen: ``server`` hands a connection to the exchange that waits for one.
"""

from __future__ import annotations

from tests.support.bed import config_of, server
from tests.support.fake_transport import FakeTransport
from tests.support.metered import check_meters
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.http1 import Http1Protocol
from wsproxy._fast.proxy.upstream import UpstreamProtocol
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.model import Config
from wsproxy.config.settings import (
    LimitSettings,
    Settings,
    TimeoutSettings,
)
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.slowpath import SlowPath
from wsproxy.dataplane.worker import build_engine, take_plan

SHORT_S = 0.05
LONG_S = 10.0


class Connecting(SlowPath):
    """The slow path, except that the test does the connecting."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.waiting: list[Downstream] = []
        engine.slow = self

    def connect(self, downstream: Downstream) -> None:
        self.waiting.append(downstream)


class Stage:
    """One engine, fake transports, no loop."""

    def __init__(
        self,
        *,
        backup: bool = False,
        body_s: float = SHORT_S,
        server_head_s: float = LONG_S,
        head_bytes: int = 65536,
        settings: Settings | None = None,
        attributes: dict[str, object] | None = None,
    ) -> None:
        """
        ``body_s``: long for a test of another deadline, whose steps a busy machine may stretch.

        ``settings`` instead of those with deadlines that strike within a test; ``attributes``: of the first server.
        """
        self.state = SharedState(16, 4)
        self.state.open_meters(1)
        # Deadlines that strike within a test, except the one that the test is not about.
        timeouts = TimeoutSettings(
            head_s=SHORT_S,
            keepalive_s=SHORT_S,
            body_s=body_s,
            linger_s=SHORT_S,
            server_head_s=server_head_s,
        )
        servers = [server("s", 1, server_io_timeout_s=1, **(attributes or {})), server("b", 2)]
        config = config_of(*servers[: 1 + backup])
        usual = Settings(timeouts=timeouts, limits=LimitSettings(head_bytes=head_bytes))
        self.plan = build_plan(config, settings or usual, self.state)
        self.plan.apply()
        self.engine, _ = build_engine(self.plan, 0)
        self.slow = Connecting(self.engine)
        self.transports: list[FakeTransport] = []

    def take(self, config: Config, settings: Settings | None = None) -> None:
        """Another configuration from now on, for requests that begin; the stage keeps nothing of the one before."""
        self.plan = build_plan(config, settings or self.plan.settings, self.state)
        self.plan.apply()
        take_plan(self.engine, self.plan)

    def client(self, **more: int) -> FakeTransport:
        made = FakeTransport(Http1Protocol(self.engine), **more)
        self.transports.append(made)
        return made

    def server(self, **more: int) -> FakeTransport:
        """A fresh connection, given to the exchange that waits."""
        downstream = self.slow.waiting.pop()
        pool = downstream.pool
        assert pool is not None
        upstream = UpstreamProtocol(self.engine, pool)
        made = FakeTransport(upstream, **more)
        self.transports.append(made)
        downstream.attach(upstream)
        return made

    @property
    def inflight(self) -> int:
        cluster = self.plan.clusters[0]
        assert cluster is not None
        return cluster.server_state(0)["inflight"]

    def wait(self, seconds: float = SHORT_S) -> None:
        """So much time passes, and the deadlines in it strike."""
        end = now_ms() + seconds * 1000 + 8  # two steps of the coarse clock
        while now_ms() <= end:
            pass
        self.engine.sweep()

    def end(self) -> None:
        for transport in self.transports:
            if not transport.is_lost:
                transport.lose()
        assert self.inflight == 0
        assert self.engine.open_streams == 0
        check_meters(self.state)
