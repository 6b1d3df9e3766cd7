"""
Config -> what workers run on: compiled routes, clusters on shared slots, transports. Made once, before the fork.

Driven by ``cli.run`` and by tests; used by ``dataplane.worker``. Reads keyrings; must not open sockets or resolve names.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from wsproxy._fast.engine import Pool, Service
from wsproxy._fast.select import Cluster
from wsproxy._fast.state import SharedState
from wsproxy.config.address import parse_address, unmapped
from wsproxy.config.model import Config, Server, ServerCluster, Transport
from wsproxy.config.problems import nearest
from wsproxy.config.settings import Settings
from wsproxy.dataplane.upstream_tls import (
    TransportSecurity,
    choose_transport,
    tell_of_security,
)
from wsproxy.errors import StartError
from wsproxy.routing.table import CompiledRoutes, build_route_table

log = logging.getLogger("wsproxy.plan")

# What plugin-cfg.xml counts PostBufferSize and PostSizeLimit in (PLUGIN.md Q2).
KB = 1024
# PostBufferSize="-1": any size in the plug-in. A client could make each worker keep all that it sends; above this a request is
# not sent again, as with a PostBufferSize that it exceeds.
MOST_KEPT_KB = 16_384
FALLBACK_CLUSTER = "[fallback]"
# In affinity.strip_clone_ids.
ALL_CLUSTERS = "*"


@dataclass(frozen=True, slots=True)
class Plan:
    """Compiled from one Config; ``clusters`` by the index that routes use, None where a cluster has no server."""

    config: Config
    settings: Settings
    routes: CompiledRoutes
    clusters: tuple[Cluster | None, ...]
    fallback: Cluster | None
    security: TransportSecurity
    state: SharedState


def build_plan(
    config: Config,
    settings: Settings,
    state: SharedState,
    security: TransportSecurity | None = None,
) -> Plan:
    """
    The plan; its clusters take their slots in ``state``, so build it before the first fork.

    ``security``: instead of the keyrings that ``config`` names.

    Raises:
        StartError: a setting names a ServerCluster that ``config`` does not have.
    """
    _check_names(config, settings)
    clusters = _build_clusters(config, settings, state)
    fallback = None
    if settings.fallback.mode == "upstream":
        name = settings.fallback.upstream
        fallback = Cluster(state, FALLBACK_CLUSTER, [(name, None, 1, -1)], [0], [])
    routes = build_route_table(config, exact_first=settings.routing.prefer == "exact")
    security = security or TransportSecurity(settings.upstream.tls, Path(config.path).parent)
    for cluster in config.server_clusters:
        for server in _servers(cluster):
            for transport in server.transports:
                security.of(transport)  # the files are read here, before the fork
    return Plan(config, settings, routes, clusters, fallback, security, state)


def plan_again(plan: Plan, state: SharedState) -> Plan:
    """The same plan on another shared state: for replay, where each process of a log has its own."""
    return replace(plan, state=state, clusters=_build_clusters(plan.config, plan.settings, state))


def _build_clusters(
    config: Config, settings: Settings, state: SharedState
) -> tuple[Cluster | None, ...]:
    return tuple(
        _build_cluster(cluster, settings, state) if cluster.servers else None
        for cluster in config.server_clusters
    )


def _check_names(config: Config, settings: Settings) -> None:
    known = [cluster.name for cluster in config.server_clusters]
    for name in settings.affinity.strip_clone_ids:
        if name != ALL_CLUSTERS and name not in known:
            likely = nearest(name, known)
            hint = f"did you mean {likely}?" if likely else f"allowed: {', '.join(known)}"
            raise StartError(
                f'affinity.strip_clone_ids: found "{name}", which is no ServerCluster of {config.path}; {hint} (or "*" for all)'
            )


def members_of(cluster: ServerCluster) -> tuple[list[int], list[int]]:
    """Indices of primaries and backups, in their order; a server in neither list is out of service (PLUGIN.md 1.11)."""
    index = {server.name: at for at, server in reversed(list(enumerate(cluster.servers)))}
    if cluster.primary_servers is None and cluster.backup_servers is None:
        return list(range(len(cluster.servers))), []
    primaries = [index[ref.name] for ref in cluster.primary_servers or () if ref.name in index]
    backups = [index[ref.name] for ref in cluster.backup_servers or () if ref.name in index]
    taken = set(primaries)
    return list(dict.fromkeys(primaries)), [at for at in dict.fromkeys(backups) if at not in taken]


def _servers(cluster: ServerCluster) -> list[Server]:
    """Every server with a pool: those of the file, and last the ClusterAddress."""
    address = cluster.cluster_address
    return [*cluster.servers, *([] if address is None else [address])]


def _build_cluster(cluster: ServerCluster, settings: Settings, state: SharedState) -> Cluster:
    primaries, backups = members_of(cluster)
    return Cluster(
        state,
        cluster.name,
        [
            (server.name, server.clone_id, server.load_balance_weight, server.max_connections)
            for server in _servers(cluster)
        ],
        primaries,
        backups,
        cluster_address=-1 if cluster.cluster_address is None else len(cluster.servers),
        random=cluster.load_balance == "Random",
        ignore_affinity_requests=cluster.ignore_affinity_requests,
        balance_backups=settings.balancing.backups == "balanced",
        last_chance=settings.balancing.last_chance,
        queue_size=settings.queue.size,
        affinity_waits=settings.queue.affinity_waits,
        separator=cluster.clone_separator,
        retry_interval_s=cluster.retry_interval_s,
    )


def build_services(plan: Plan) -> tuple[list[Service | None], Service | None]:
    """A Service with fresh pools for each cluster, and the fallback's; each worker makes its own after the fork."""
    services = [
        None if built is None else _build_service(cluster, built, plan)
        for cluster, built in zip(plan.config.server_clusters, plan.clusters, strict=True)
    ]
    fallback = None
    if plan.fallback is not None:
        address = parse_address(plan.settings.fallback.upstream, is_listener=False)
        upstream = plan.settings.upstream
        pool = Pool(
            plan.settings.fallback.upstream,
            address.host,
            address.port,
            connect_timeout_s=upstream.connect_s,
            ws_idle_s=plan.settings.timeouts.tunnel_s,
            idle_s=upstream.pool_idle_s,
            most_idle=upstream.pool_size,
            proxy_protocol=upstream.proxy_protocol,
        )
        forwarded = plan.settings.forwarded
        fallback = Service(
            plan.fallback, [pool], x_forwarded=forwarded.x_forwarded, forwarded=forwarded.forwarded
        )
    return services, fallback


def _build_service(cluster: ServerCluster, built: Cluster, plan: Plan) -> Service:
    settings = plan.settings
    makers = _Pools(settings, plan.security)
    pools = [makers.of(server) for server in _servers(cluster)]
    return Service(
        built,
        [plain for plain, _ in pools],
        secure_pools=[secure for _, secure in pools],
        remove_special_headers=cluster.remove_special_headers,
        post_size_limit=cluster.post_size_limit_kb * KB if cluster.post_size_limit_kb >= 0 else -1,
        post_buffer_size=KB
        * (cluster.post_buffer_size_kb if cluster.post_buffer_size_kb >= 0 else MOST_KEPT_KB),
        io_timeout_retry=cluster.server_io_timeout_retry,
        complete_clone_ids=settings.affinity.complete_clone_ids,
        strip_clone_ids=not {cluster.name, ALL_CLUSTERS}.isdisjoint(
            settings.affinity.strip_clone_ids
        ),
        x_forwarded=settings.forwarded.x_forwarded,
        forwarded=settings.forwarded.forwarded,
    )


@dataclass(slots=True)
class _Pools:
    """The pools of one cluster's servers; one that serves both schemes is made once."""

    settings: Settings
    security: TransportSecurity

    def of(self, server: Server) -> tuple[Pool, Pool]:
        """For http requests, and for https requests."""
        plain = choose_transport(server, "http", self.security)
        secure = choose_transport(server, "https", self.security)
        pool = self._make(server, plain)
        return pool, pool if secure is plain else self._make(server, secure)

    def _make(self, server: Server, transport: Transport | None) -> Pool:
        idle_s = self.settings.upstream.pool_idle_s
        if transport is not None:
            idle_s = min(idle_s, max(transport.connection_ttl_s, 0))
        return Pool(
            server.name,
            "" if transport is None else transport.hostname.strip("[]"),
            0 if transport is None else transport.port,
            connect_timeout_s=server.connect_timeout_s or self.settings.upstream.connect_s,
            io_timeout_s=abs(server.server_io_timeout_s),
            io_timeout_marks_down=server.server_io_timeout_s < 0,
            ws_io_timeout_s=abs(server.ws_server_io_timeout_s or 0),
            ws_idle_s=self.settings.timeouts.tunnel_s
            if server.ws_server_idle_timeout_s is None
            else max(server.ws_server_idle_timeout_s, 0),
            idle_s=idle_s,
            extended_handshake=server.extended_handshake,
            wait_for_continue=server.wait_for_continue,
            most_idle=self.settings.upstream.pool_size,
            proxy_protocol=self.settings.upstream.proxy_protocol,
            tls=None if transport is None else self.security.of(transport),
        )


def socket_address(name: str) -> bytes:
    """The address of a TrustedProxy as the socket of a client shows it; empty where the name is no address."""
    try:
        return str(unmapped(ipaddress.ip_address(name.strip("[]")))).encode()
    except ValueError:
        return b""


def tell_of_transports(plan: Plan) -> None:
    """Logs, once at start, which https Transports cannot be used, and what is not verified."""
    servers = [server for cluster in plan.config.server_clusters for server in _servers(cluster)]
    tell_of_security(plan.config, servers, plan.security)


def warn_of_unusable(config: Config) -> None:
    """Logs each TrustedProxy that nobody can be."""
    for proxy in config.trusted_proxies if config.trusted_proxy_enable else ():
        if not socket_address(proxy.name):
            log.warning(
                '%s:%d: found TrustedProxy "%s"; allowed is an IP address: host names are not resolved, so nobody is trusted by this one',
                config.path,
                proxy.line,
                proxy.name,
            )
