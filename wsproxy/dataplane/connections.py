"""A Plan -> the Engine of the fast path: every setting that the fast path reads passes through here."""

from __future__ import annotations

from wsproxy._fast.engine import Engine
from wsproxy._fast.pipe import Pipe
from wsproxy.dataplane.plan import Plan, build_services, socket_address


def make_engine(plan: Plan, worker_id: int, slow: object, pipe: Pipe | None = None) -> Engine:
    """
    The engine of one worker; ``slow`` answers its rare questions (see ``dataplane.slowpath``).

    ``pipe``: for large bodies, as ``upstream.splice`` says; who serves nobody needs none.
    """
    config = plan.config
    limits = plan.settings.limits
    timeouts = plan.settings.timeouts
    http = plan.settings.http
    services, fallback = build_services(plan)
    trusted = [socket_address(proxy.name) for proxy in config.trusted_proxies]
    return Engine(
        worker_id=worker_id,
        routes=plan.routes.table,
        services=services,
        fallback=fallback,
        slow=slow,
        head_bytes=limits.head_bytes,
        target_bytes=limits.target_bytes,
        header_fields=min(limits.header_fields, config.http_max_headers),
        trace=http.trace,
        refuse_ambiguous=plan.settings.routing.ambiguous_paths == "refuse",
        trailers=http.trailers,
        explains=bool(plan.settings.explain.trusted),
        via=http.via.encode(),
        vhost_matching_compat=config.vhost_matching_compat,
        port_of_listener=config.app_server_port_preference == "WebserverPort",
        trusted_proxies=frozenset(filter(None, trusted if config.trusted_proxy_enable else ())),
        upgrades=frozenset(map(str.lower, plan.settings.upgrade.protocols)),
        on_503=plan.settings.retry.on_503,
        errors_mark_down=plan.settings.retry.server_errors == "mark_down",
        head_s=timeouts.head_s,
        keepalive_s=timeouts.keepalive_s,
        body_s=timeouts.body_s,
        half_closed_s=timeouts.half_closed_s,
        takeover_s=plan.settings.affinity.takeover_s,
        client_counts=plan.state.client_counts if limits.client_connections else None,
        most_of_client=limits.client_connections,
        pipe=pipe,
    )
