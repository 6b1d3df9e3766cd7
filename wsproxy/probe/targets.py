"""
A Plan -> what is probed, and how; and what the servers' slots hear of that when a configuration begins to hold.

``begin_probes`` is driven by whoever puts a configuration in use (``process.start``, ``reload.loader``), ``targets_of`` by
``probe.prober``. Must not ask a server anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.probes import watch_servers
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.state.segment import now_ms
from wsproxy.config.members import members_of
from wsproxy.config.model import Server, ServerCluster
from wsproxy.config.settings_probe import (
    ProbeSettings,
    expected_ranges,
    hold_ms,
    is_probing,
    probe_of,
)
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.upstream_tls import choose_transport

# Of a cluster and a server.
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """One server; ``pool`` is none of connections, but says where it is and how it is spoken to."""

    cluster: Cluster
    index: int
    pool: Pool
    probe: ProbeSettings
    expected: tuple[tuple[int, int], ...]

    @property
    def hold_ms(self) -> int:
        """How long a result holds where no other follows."""
        return hold_ms(self.probe)

    def asks_as(self, other: Target) -> bool:
        """Whether both ask the same of the same machine."""
        one, two = self.pool, other.pool
        return self.probe == other.probe and (one.host, one.port) == (two.host, two.port)

    @property
    def key(self) -> Key:
        """Whose it is, in whatever configuration."""
        return self.cluster.name, self.pool.name


def begin_probes(plan: Plan) -> list[Key]:
    """
    Tells the servers' slots how ``plan`` has them probed; call it when the plan was applied.

    Those that are new, and down until a probe says otherwise (``probe.initial``).
    """
    awaited = []
    now = now_ms()
    settings = plan.settings.probe
    for _, config, cluster in plan.served():
        probe = probe_of(settings, config.name)
        found = watch_servers(
            cluster,
            now,
            probed=probe.type != "off",
            initial=probe.initial,
            hold_ms=hold_ms(probe),
            slow_start_ms=int(probe.slow_start_s * 1000),
        )
        awaited += [(config.name, cluster.server_names[server]) for server in found]
    plan.state.wants_prober = is_probing(settings)
    return awaited


def targets_of(plan: Plan) -> Iterator[Target]:
    """Whom ``plan`` has probed. # I/O: keyrings that were not read yet."""
    for _, config, cluster in plan.served():
        probe = probe_of(plan.settings.probe, config.name)
        if probe.type != "off":
            yield from _targets_of_cluster(plan, config, cluster, probe)


def _targets_of_cluster(
    plan: Plan, config: ServerCluster, cluster: Cluster, probe: ProbeSettings
) -> Iterator[Target]:
    """Primaries and backups: to others, and to a ClusterAddress, requests go whatever is marked, or never."""
    expected = expected_ranges(probe.status)
    for members in members_of(config):
        for index in members:
            yield Target(cluster, index, _pool(config.servers[index], plan, probe), probe, expected)


def _pool(server: Server, plan: Plan, probe: ProbeSettings) -> Pool:
    """The one that live requests use, without what only they need; without a host where the server has no Transport."""
    scheme = "https" if probe.type == "https" else "http"
    transport = choose_transport(server, scheme, plan.security)
    proxy_protocol = plan.settings.upstream.proxy_protocol
    if transport is None:
        return Pool(server.name, "", 0, proxy_protocol=proxy_protocol)
    return Pool(
        server.name,
        transport.hostname.strip("[]"),
        transport.port,
        connect_timeout_s=probe.timeout_s,
        proxy_protocol=proxy_protocol,
        tls=None if plan.security is None else plan.security.of(transport),
    )
