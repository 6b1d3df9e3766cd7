"""
What a log's decisions are taken with: the routes of a configuration, and the servers' state of each process of the log.

Driven by ``replay``. Everything that decides is live code (``dataplane.plan``, ``_fast``); must not decide anything itself.
"""

from __future__ import annotations

import msgspec

from wsproxy._fast.logged import Place, Process
from wsproxy._fast.match import RouteTable
from wsproxy._fast.state import SharedState
from wsproxy.config.model import Config, Transport
from wsproxy.config.problems import nearest
from wsproxy.config.settings import Settings, UpstreamTlsSettings
from wsproxy.dataplane.connections import make_engine
from wsproxy.dataplane.plan import Plan, build_plan, plan_again
from wsproxy.dataplane.upstream_tls import TransportSecurity
from wsproxy.errors import StartError
from wsproxy.routing.table import ANY_PORT, NONE


class _TrustingSecurity(TransportSecurity):
    """Every keyring is taken for a good one: those of the log's machine are not here, and its requests went to https."""

    def of(self, transport: Transport) -> None:
        """No context: nothing is sent."""


class World:
    """A configuration ready to decide; makes a ``Process`` where the log shows a new one."""

    def __init__(self, config: Config, settings: Settings | None = None) -> None:
        """Without ``settings``: the plug-in's ways, so no memory of sessions that moved."""
        if settings is None:
            settings = Settings()
            affinity = msgspec.structs.replace(settings.affinity, takeover_s=0.0)
            settings = msgspec.structs.replace(settings, affinity=affinity)
        self.config = config
        self.settings = settings
        self._plan: Plan = build_plan(
            config,
            settings,
            self._new_state(config),
            _TrustingSecurity(UpstreamTlsSettings(), None),  # type: ignore[arg-type]
        )
        self.routes = self._plan.routes
        self.vhosts, self._vhost_at = _single_vhosts(config)
        self.uris, self._uri_at = _single_uris(config)
        self.ports = sorted(
            {80, 443}
            | {
                host.port
                for group in config.virtual_host_groups
                for host in group.virtual_hosts
                if host.port is not None
            }
        )

    def new_process(self) -> Process:
        """Everything up, nothing in flight."""
        plan = plan_again(self._plan, self._new_state(self.config))
        engine = make_engine(plan, 0, None)
        places: dict[bytes, list[Place]] = {}
        for cluster, built, service in zip(
            self.config.server_clusters, plan.clusters, engine.services, strict=True
        ):
            if built is None or service is None:
                continue
            rows = [
                *cluster.servers,
                *([cluster.cluster_address] if cluster.cluster_address else []),
            ]
            for index, server in enumerate(rows):
                most = max(server.max_connections, 0) or -1
                place = Place(built, service, index, server.name, most)
                places.setdefault(server.name.encode(), []).append(place)
        return Process(engine, plan.clusters, places)

    def match_vhost(
        self, group: str, pattern: str, host: bytes, port: int
    ) -> tuple[int, int] | str:
        """(score, exact match) of this VirtualHost for this host; or why there is none."""
        at = self._vhost_at.get((group, pattern.lower()))
        if at is None:
            return _missing("VirtualHost", group, pattern, self._vhost_at)
        found = self.vhosts.match_route(at, host, port, b"/")
        return "no match" if found is None else (found.score, found.exact)

    def match_uri(self, group: str, pattern: str, path: bytes) -> tuple[int, int] | str:
        """(score, exact match) of this Uri for this path; or why there is none."""
        at = self.find_uri(group, pattern)
        if at < 0:
            return _missing("Uri", group, pattern, self._uri_at)
        found = self.uris.match_route(at, b"", ANY_PORT, path)
        return "no match" if found is None else (found.score, found.exact)

    def find_uri(self, group: str, pattern: str) -> int:
        """Which route of ``uris`` stands for this Uri; -1: there is none."""
        return self._uri_at.get((group, pattern), -1)

    @staticmethod
    def _new_state(config: Config) -> SharedState:
        # one more of each: a cluster may have an address besides its servers
        servers = sum(len(cluster.servers) + 1 for cluster in config.server_clusters)
        return SharedState(servers + 1, len(config.server_clusters) + 1)


def find_server(config: Config, text: str) -> tuple[int, int]:
    """
    Index of the cluster and, in it, of the server that SERVER or CLUSTER/SERVER names.

    Raises:
        StartError: it names none, or several.
    """
    by_name: dict[str, tuple[int, int]] = {}
    bare: dict[str, list[str]] = {}
    for at, cluster in enumerate(config.server_clusters):
        address = [cluster.cluster_address] if cluster.cluster_address else []
        for index, server in enumerate([*cluster.servers, *address]):
            full = f"{cluster.name}/{server.name}"
            if full not in by_name:
                by_name[full] = (at, index)
                bare.setdefault(server.name, []).append(full)
    by_name.update((name, by_name[full[0]]) for name, full in bare.items() if len(full) == 1)
    if text in by_name:
        return by_name[text]
    likely = nearest(text, list(by_name))
    hint = (
        f"allowed is one of {', '.join(bare[text])}"
        if text in bare
        else f"did you mean {likely}?"
        if likely
        else f"allowed: {', '.join(sorted(by_name))}"
    )
    raise StartError(f"found server {text}; {hint}")


def _missing(noun: str, group: str, pattern: str, known: dict[tuple[str, str], int]) -> str:
    if any(name == group for name, _ in known):
        return f"no {noun} {pattern} in this group"
    return f"no {noun}Group of this name"


def _single_vhosts(config: Config) -> tuple[RouteTable, dict[tuple[str, str], int]]:
    """A route for each VirtualHost alone, and (group, name) -> route: the live matcher says what each scores by itself."""
    at: dict[tuple[str, str], int] = {}
    rows: list[list[tuple[bytes, int]]] = []
    for group in config.virtual_host_groups:
        for host in group.virtual_hosts:
            at.setdefault((group.name, host.name.lower()), len(rows))
            rows.append(
                [(host.host.lower().encode(), ANY_PORT if host.port is None else host.port)]
            )
    return RouteTable(rows, [], [(index, NONE, 0) for index in range(len(rows))]), at


def _single_uris(config: Config) -> tuple[RouteTable, dict[tuple[str, str], int]]:
    at: dict[tuple[str, str], int] = {}
    rows: list[list[tuple[bytes, bytes, bytes]]] = []
    for group in config.uri_groups:
        for uri in group.uris:
            at.setdefault((group.name, uri.name), len(rows))
            rows.append([(uri.name.encode(), b"JSESSIONID", b"jsessionid")])
    return RouteTable([], rows, [(NONE, index, 0) for index in range(len(rows))]), at
