"""
What a log's decisions are taken with: the routes of a configuration, and the servers' state of each process of the log.

Driven by ``replay``. Everything that decides is live code (``dataplane.plan``, ``_fast``); must not decide anything itself.
"""

from __future__ import annotations

import msgspec

from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.decide.match import RouteTable
from wsproxy._fast.logs.request import Place, Process
from wsproxy._fast.logs.tries import text_of
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.mask import mask_address
from wsproxy.config.model import Config
from wsproxy.config.settings import Settings
from wsproxy.dataplane.plan import Plan, compile_plan, plan_again
from wsproxy.dataplane.view import make_view
from wsproxy.routing.sessions import session_names
from wsproxy.routing.table import ANY_PORT, NONE


class World:
    """A configuration ready to decide; makes a ``Process`` where the log shows a new one."""

    def __init__(self, config: Config, settings: Settings | None = None) -> None:
        """Without ``settings``: the plug-in's ways, so no memory of sessions that moved."""
        if settings is None:
            settings = Settings()
            affinity = msgspec.structs.replace(settings.affinity, takeover_s=0.0)
            settings = msgspec.structs.replace(settings, affinity=affinity)
        self.config = config
        self._session_names = session_names(config)
        self.settings = settings
        self.plan: Plan = compile_plan(config, settings, self._new_state(config))
        self.routes = self.plan.routes
        # Of all processes: what it has is scratch, and all replayed requests are counted as one worker's.
        self._decider = Decider(0)
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

    def told(self, address: bytes) -> str:
        """As a report may show it: a log at LogLevel Trace has session ids in it."""
        return text_of(mask_address(address, self._session_names))

    def new_process(self) -> Process:
        """Everything up, nothing in flight."""
        plan = plan_again(self.plan, self._new_state(self.config))
        plan.apply()
        view = make_view(plan, with_pools=False)
        places: dict[bytes, list[Place]] = {}
        for cluster, built, service in zip(
            self.config.server_clusters, plan.clusters, view.services, strict=True
        ):
            if built is None or service is None:
                continue
            for index, server in enumerate(cluster.all_servers):
                place = Place(
                    built,
                    service,
                    index,
                    server.name,
                    max(server.max_connections, 0) or -1,
                    service.addresses[index],
                    server.server_io_timeout_s,
                )
                places.setdefault(server.name.encode(), []).append(place)
        return Process(self._decider, view, plan.clusters, places)

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
        # one more of each: the fallback may be a server, too
        servers = sum(len(cluster.all_servers) for cluster in config.server_clusters)
        return SharedState(servers + 1, len(config.server_clusters) + 1)


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
