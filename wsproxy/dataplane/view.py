"""
A Plan -> the View that requests go by: every setting that exchanges read passes through here.

Driven by ``dataplane.worker``, after the fork, and by whoever decides without serving: ``replay.world``, ``admin.live``.
Pure: writes into no slot (``Plan.apply`` does) and opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.view import Service, View
from wsproxy._fast.http.origin import Trust, TrustedProxies
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.tell.trace import Strangers, sample_limit
from wsproxy.config.address import parse_address, trusted_network
from wsproxy.config.check_values import MOST_KEPT_KB
from wsproxy.config.model import Server, ServerCluster, Transport
from wsproxy.config.settings import AffinitySettings, Settings
from wsproxy.dataplane.edges import build_edges
from wsproxy.dataplane.plan import ALL_CLUSTERS, Plan
from wsproxy.dataplane.served import ServedPlan
from wsproxy.dataplane.steps import Steps, at_once
from wsproxy.dataplane.upstream_tls import TransportSecurity, choose_transport
from wsproxy.routing.sessions import session_names_of

# What plugin-cfg.xml counts PostBufferSize and PostSizeLimit in (PLUGIN.md Q2).
KB = 1024
# forwarded.trust
_STRANGERS = {
    "restart": Strangers.RESTART,
    "continue": Strangers.CONTINUE,
    "obey": Strangers.OBEY,
}
_TRUST = {
    "x-forwarded": Trust.TRUST_X_FORWARDED,
    "forwarded": Trust.TRUST_FORWARDED,
    "none": Trust.TRUST_NOTHING,
}


# Of one cluster: what its pools were made of, and these.
_PoolsByParameters = dict[tuple[object, ...], Pool]


def make_view(plan: Plan, *, with_pools: bool, before: View | None = None) -> View:
    """See ``view_steps``."""
    return at_once(view_steps(plan, with_pools=with_pools, before=before))


def view_steps(plan: Plan, *, with_pools: bool, before: View | None = None) -> Steps[View]:
    """
    ``with_pools``: each worker makes its own after the fork. Who only decides needs none.

    ``before``: a View of the same worker. Where nothing about a server of a cluster, its Transport and its keys has changed,
    its pool lives on in this View, with the warm connections that it has.
    """
    config = plan.config
    kept = {} if before is None else (yield from _kept_pools(before))
    services: list[Service | None] = []
    for cluster, built in zip(config.server_clusters, plan.clusters, strict=True):
        made = None
        if built is not None:
            pools = kept.get(cluster.name, {})
            made = _build_service(cluster, built, plan, pools, with_pools=with_pools)
        services.append(made)
        yield
    limits = plan.settings.limits
    timeouts = plan.settings.timeouts
    http = plan.settings.http
    trusted = [trusted_network(proxy.name) for proxy in config.trusted_proxies]
    return View(
        routes=plan.routes.table,
        services=services,
        fallback=_build_fallback(
            plan,
            {} if before is None else _by_parameters(before.fallback),
            with_pools=with_pools,
        ),
        edges=build_edges(plan.settings, [cluster.name for cluster in config.server_clusters]),
        plan=ServedPlan(plan) if with_pools else None,
        session_names=session_names_of(plan.routes) if with_pools else None,
        head_bytes=limits.head_bytes,
        target_bytes=limits.target_bytes,
        header_fields=min(limits.header_fields, config.http_max_headers),
        trace=http.trace,
        refuse_ambiguous=plan.settings.routing.ambiguous_paths == "refuse",
        trailers=http.trailers,
        encodes_targets=http.non_ascii == "encode",
        explains=bool(plan.settings.explain.trusted),
        live_path=plan.settings.health.live_path.encode(),
        ready_path=plan.settings.health.ready_path.encode(),
        health_ports=frozenset(plan.settings.health.ports),
        via=http.via.encode(),
        vhost_matching_compat=config.vhost_matching_compat,
        port_of_listener=config.app_server_port_preference == "WebserverPort",
        trusted_proxies=TrustedProxies(
            tuple(each for each in trusted if each is not None)
            if config.trusted_proxy_enable
            else ()
        ),
        trust=_TRUST[plan.settings.forwarded.trust],
        trace_limit=sample_limit(plan.settings.trace.sample),
        trace_strangers=_STRANGERS[plan.settings.trace.strangers],
        upgrades=frozenset(map(str.lower, plan.settings.upgrade.protocols)),
        on_503=plan.settings.retry.on_503,
        errors_mark_down=plan.settings.retry.server_errors == "mark_down",
        head_s=timeouts.head_s,
        keepalive_s=timeouts.keepalive_s,
        body_s=timeouts.body_s,
        linger_s=timeouts.linger_s,
        server_head_s=timeouts.server_head_s,
        half_closed_s=timeouts.half_closed_s,
        takeover_s=plan.settings.affinity.takeover_s,
    )


def _kept_pools(before: View) -> Steps[dict[str, _PoolsByParameters]]:
    """By the name of their cluster, each of which has pools of its own."""
    found: dict[str, _PoolsByParameters] = {}
    for service in before.services:
        if service is not None:
            found[service.cluster.name] = _by_parameters(service)
            yield
    return found


def _by_parameters(service: Service | None) -> _PoolsByParameters:
    pools: list[Pool] = [] if service is None else [*service.pools, *service.secure_pools]
    return {pool.parameters: pool for pool in pools}


def _build_fallback(plan: Plan, kept: _PoolsByParameters, *, with_pools: bool) -> Service | None:
    if plan.fallback is None:
        return None
    pools = []
    if with_pools:
        pool = _fallback_pool(plan)
        pools = [kept.get(pool.parameters, pool)]
    forwarded = plan.settings.forwarded
    return Service(
        plan.fallback, pools, x_forwarded=forwarded.x_forwarded, forwarded=forwarded.forwarded
    )


def _fallback_pool(plan: Plan) -> Pool:
    address = parse_address(plan.settings.fallback.upstream, is_listener=False)
    upstream = plan.settings.upstream
    return Pool(
        plan.settings.fallback.upstream,
        address.host,
        address.port,
        connect_timeout_s=upstream.connect_s,
        ws_idle_s=plan.settings.timeouts.tunnel_s,
        idle_s=upstream.pool_idle_s,
        most_idle=upstream.pool_size,
        proxy_protocol=upstream.proxy_protocol,
    )


def _build_service(
    cluster: ServerCluster,
    built: Cluster,
    plan: Plan,
    kept: _PoolsByParameters,
    *,
    with_pools: bool,
) -> Service:
    settings = plan.settings
    pools: list[tuple[Pool, Pool]] = []
    if with_pools:
        makers = _Pools(settings, plan.security, kept)
        pools = [makers.of(server) for server in cluster.all_servers]
    return Service(
        built,
        [plain for plain, _ in pools],
        secure_pools=[secure for _, secure in pools],
        addresses=[_addresses(server, plan.security) for server in cluster.all_servers],
        remove_special_headers=cluster.remove_special_headers,
        post_size_limit=cluster.post_size_limit_kb * KB if cluster.post_size_limit_kb >= 0 else -1,
        post_buffer_size=KB
        * (cluster.post_buffer_size_kb if cluster.post_buffer_size_kb >= 0 else MOST_KEPT_KB),
        io_timeout_retry=cluster.server_io_timeout_retry,
        **_clone_id_switches(cluster, settings.affinity),
        x_forwarded=settings.forwarded.x_forwarded,
        forwarded=settings.forwarded.forwarded,
        waits_for_continue=any(server.wait_for_continue for server in cluster.all_servers),
    )


def _addresses(server: Server, security: TransportSecurity | None) -> tuple[str, str]:
    """host:port for https requests, and for http requests."""
    secure, plain = (choose_transport(server, scheme, security) for scheme in ("https", "http"))
    return _address(secure), _address(plain)


def _address(transport: Transport | None) -> str:
    return ":0" if transport is None else f"{_host(transport)}:{transport.port}"


def _host(transport: Transport) -> str:
    return transport.hostname.strip("[]")


def _clone_id_switches(cluster: ServerCluster, affinity: AffinitySettings) -> dict[str, bool]:
    """What is done about clone ids (docs/decisions/0006); the older settings are about more than they name."""
    strips = not {cluster.name, ALL_CLUSTERS}.isdisjoint(affinity.strip_clone_ids)
    is_auto = affinity.clone_ids == "auto" and affinity.complete_clone_ids == "auto"
    completes = strips or is_auto
    if affinity.complete_clone_ids != "auto":
        completes = affinity.complete_clone_ids
    return {
        "complete_clone_ids": completes,
        "strip_clone_ids": strips,
        "take_back_clone_ids": is_auto,
    }


@dataclass(slots=True)
class _Pools:
    """The pools of one cluster's servers; one that serves both schemes is made once."""

    settings: Settings
    security: TransportSecurity | None
    kept: _PoolsByParameters

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
        pool = Pool(
            server.name,
            "" if transport is None else _host(transport),
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
            tls=None if transport is None or self.security is None else self.security.of(transport),
        )
        # Once: a cluster may name a server twice, and two pools of one View stay two.
        return self.kept.pop(pool.parameters, pool)
