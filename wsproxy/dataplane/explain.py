"""
One request's decision, step by step, with the reason of each step: every Route, every clone id, every server.

Driven by ``cli.explain`` and ``admin.api``. Asks the functions that live traffic uses (``_fast.replay``) and puts their answers side by side;
must not decide anything itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from wsproxy._fast.balance import NoServer, Verdict
from wsproxy._fast.engine import Engine
from wsproxy._fast.head import HEAD_ERRORS, read_request
from wsproxy._fast.match import Match, RouteTable
from wsproxy._fast.replay import ReplayedRequest, Rule
from wsproxy._fast.select import Cluster
from wsproxy._fast.state import now_ms
from wsproxy.config.model import Config, Route, ServerCluster
from wsproxy.dataplane.plan import members_of
from wsproxy.errors import RequestRefusedError
from wsproxy.routing.table import CompiledRoutes, build_group_tables, first_by_name

Role = Literal["primary", "backup", "out of service", "ClusterAddress"]
_Won = tuple[int, int, int, int, bytes, bytes]  # as ``ReplayedRequest.match`` has it

PORTS = {"http": 80, "https": 443}

VERDICTS = {
    Verdict.USABLE: "usable",
    Verdict.PROBE: "down, but RetryInterval is over: the next request tries it",
    Verdict.DOWN: "marked down",
    Verdict.DRAINED: "drained",
    Verdict.FULL: "at MaxConnections",
    Verdict.TRIED: "failed this request",
}


class RouteStep(msgspec.Struct):
    """One Route; ``host_score``, ``uri_score``, ``score`` are "score/exact match" as the plug-in logs them, empty: no match."""

    line: int
    cluster: str
    virtual_host_group: str | None
    uri_group: str | None
    virtual_host: str
    host_score: str
    uri: str
    uri_score: str
    score: str
    outcome: Literal["wins", "loses", "no match"]
    why: str


class CloneStep(msgspec.Struct):
    """One clone id of the request, in the order in which they are tried."""

    clone_id: str
    server: str
    outcome: str


class ServerStep(msgspec.Struct):
    """One server of the cluster, before the request."""

    name: str
    role: Role
    clone_id: str
    weight: int
    max_connections: int
    in_flight: int
    verdict: str
    address: str


class Explanation(msgspec.Struct):
    """The whole decision; ``status`` is what the client gets where no server takes it, else null."""

    method: str
    host: str
    port: int
    path: str
    routes: list[RouteStep]
    cluster: str
    affinity_cookie: str
    affinity_url_identifier: str
    clone_ids: list[CloneStep]
    servers: list[ServerStep]
    server: str
    transport: str
    rule: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a client would send it."""

    method: str
    scheme: str
    host: bytes
    port: int
    target: bytes
    cookies: list[bytes]


def split_url(url: str) -> tuple[str, str, str]:
    """
    (scheme, authority, target) of an http or https URL; its fragment is never sent.

    Raises:
        RequestRefusedError: it is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise RequestRefusedError(
            f"URL: found {url} ({error}); allowed is http://HOST[:PORT]/PATH or https://..."
        ) from None
    if parts.scheme not in PORTS or not parts.netloc or "@" in parts.netloc:
        msg = f"URL: found {url}; allowed is http://HOST[:PORT]/PATH or https://..."
        raise RequestRefusedError(msg)
    target = url.partition("://")[2].partition("#")[0][len(parts.netloc) :]
    return parts.scheme, parts.netloc, target if target.startswith("/") else f"/{target}"


def read_asked(method: str, scheme: str, authority: str, target: str, lines: list[str]) -> Asked:
    """
    The request that a client would send for this URL; ``lines`` are more header fields, and may have a Host of their own.

    Raises:
        RequestRefusedError: live traffic would have answered it with 400.
    """
    if not any(line.lower().startswith("host:") for line in lines):
        lines = [f"Host: {authority}", *lines]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
    found: dict[str, Any] | int = read_request(head.encode("latin-1", "replace"))
    if isinstance(found, int):
        status, words = HEAD_ERRORS[-found] if found else (400, "the head is not whole")
        raise RequestRefusedError(f"this request is refused with {status}: {words}")
    if found["size"] != len(head):
        raise RequestRefusedError("this request is refused with 400: a header line is empty")
    port = PORTS[scheme] if found["port"] < 0 else found["port"]
    cookies = [row[1] for row in found["fields"] if row[0].lower() == b"cookie"]
    return Asked(method, scheme, found["host"], port, found["target"], cookies)


class Explainer:
    """Explains requests to one configuration with the servers' state as it is."""

    def __init__(
        self, config: Config, routes: CompiledRoutes, engine: Engine, *, is_live: bool = False
    ) -> None:
        """``engine``: whose services and state decide; ``is_live``: a running proxy's, so that whose turn it is is known."""
        self._is_live = is_live
        self._config = config
        self._routes = routes
        self._engine = engine
        self._hosts, self._uris = build_group_tables(config)
        self._host_at = first_by_name(config.virtual_host_groups)
        self._uri_at = first_by_name(config.uri_groups)

    def explain(self, asked: Asked) -> Explanation:
        """The decision that this request would meet now; it is not sent, and no server's place is kept."""
        request = ReplayedRequest(self._engine, asked.host, asked.port, asked.target, asked.cookies)
        won = request.match()
        path = request.path
        explanation = Explanation(
            asked.method,
            asked.host.decode("latin-1"),
            asked.port,
            _text(path),
            [
                self._route(at, route, request, path, won)
                for at, route in enumerate(self._routes.routes)
            ],
            *("", "", "", [], [], "", ""),
            rule="no Route matches: the fallback answers ([fallback] in wsproxy.toml)",
            status=404,
        )
        if won is None:
            return explanation
        cluster = self._routes.clusters[won[1]]
        explanation.cluster = cluster.name
        explanation.affinity_cookie = won[4].decode("latin-1")
        explanation.affinity_url_identifier = won[5].decode("latin-1")
        service = self._engine.services[won[1]]
        if service is None:
            explanation.rule = "the ServerCluster has no Server"
            return explanation
        now = now_ms()
        pools = service.secure_pools if asked.scheme == "https" else service.pools
        explanation.servers = [
            _server(
                *(service.cluster, cluster, index, role, f"{pool.host}:{pool.port}", now),
                is_live=self._is_live,
            )
            for index, (pool, role) in enumerate(zip(pools, roles_of(cluster), strict=False))
        ]
        explanation.clone_ids = [
            _clone(service.cluster, clone_id, explanation.servers)
            for clone_id in request.clone_ids()
        ]
        server, rule = request.choose(now, -1)
        request.finish()
        if server < 0:
            explanation.rule = words_of_none(is_full=server == NoServer.ALL_FULL)
            if server == NoServer.ALL_FULL and service.cluster.has_queue:
                explanation.rule += ": it may wait in the queue first ([queue] in wsproxy.toml)"
            explanation.status = 503
            return explanation
        picked = explanation.servers[server]
        explanation.server = picked.name
        explanation.transport = picked.address
        explanation.status = None
        explanation.rule = words_of_rule(
            rule, cluster, picked.role, picked.verdict, has_clone_ids=bool(explanation.clone_ids)
        )
        if not self._is_live and _is_by_turn(rule, cluster, picked):
            explanation.rule += "; where its turn begins is random"
        return explanation

    def _route(
        self, at: int, route: Route, request: ReplayedRequest, path: bytes, won: _Won | None
    ) -> RouteStep:
        found = self._routes.table.match_route(at, request.host, request.port, path)
        host = self._part(self._hosts, self._host_at, route.virtual_host_group, request, b"/")
        uri = self._part(self._uris, self._uri_at, route.uri_group, request, path)
        step = RouteStep(
            route.line,
            route.server_cluster,
            route.virtual_host_group,
            route.uri_group,
            *self._host_words(route, host),
            *self._uri_words(route, uri),
            score="" if found is None else f"{found.score}/{found.exact}",
            outcome="no match",
            why="",
        )
        if found is not None and won is not None:
            step.outcome = "wins" if at == won[0] else "loses"
            step.why = _compare(at, found, won)
        elif host is None and route.virtual_host_group is not None:
            step.why = f"no VirtualHost of {route.virtual_host_group} takes {_text(request.host)}:{request.port}"
        else:
            step.why = f"no Uri of {route.uri_group} takes {_text(path)}"
        return step

    @staticmethod
    def _part(
        table: RouteTable,
        at: dict[str, int],
        name: str | None,
        request: ReplayedRequest,
        path: bytes,
    ) -> Match | None:
        return (
            None if name is None else table.match_route(at[name], request.host, request.port, path)
        )

    def _host_words(self, route: Route, found: Match | None) -> tuple[str, str]:
        if found is None:
            return ("any" if route.virtual_host_group is None else "", "")
        group = self._config.virtual_host_groups[found.vhost_group]
        return group.virtual_hosts[found.vhost].name, f"{found.score}/{found.exact}"

    def _uri_words(self, route: Route, found: Match | None) -> tuple[str, str]:
        if found is None:
            return ("any" if route.uri_group is None else "", "")
        group = self._config.uri_groups[found.uri_group]
        return group.uris[found.uri].name, f"{found.score}/{found.exact}"


def _compare(at: int, found: Match, won: _Won) -> str:
    score, exact = won[2:4]
    if at == won[0]:
        return "the best match"
    if (score, exact) == (found.score, found.exact):
        return "as good as the best match, which stands before it in the file"
    return f"{found.score}/{found.exact} is less than {score}/{exact}"


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _server(
    live: Cluster,
    cluster: ServerCluster,
    index: int,
    role: Role,
    address: str,
    now: int,
    *,
    is_live: bool,
) -> ServerStep:
    state = live.server_state(index)
    verdict = Verdict(live.judge_server(index, now))
    words = VERDICTS[verdict]
    left_ms = state["down_until_ms"] - now
    if verdict == Verdict.DOWN and is_live:
        # Over, and still down: the one request that may try it is on its way.
        words += f", for {left_ms / 1000:.0f} s more" if left_ms > 0 else ", being tried again"
    clone_id = cluster.servers[index].clone_id if index < len(cluster.servers) else None
    return ServerStep(
        live.server_names[index],
        role,
        clone_id or "",
        state["start_weight"],
        state["max_connections"],
        state["inflight"],
        words,
        address,
    )


def _is_by_turn(rule: int, cluster: ServerCluster, picked: ServerStep) -> bool:
    """Whether another start of the round robin could have meant another server."""
    return (
        rule == Rule.BALANCED
        and cluster.load_balance != "Random"
        and picked.role == "primary"
        and picked.verdict == VERDICTS[Verdict.USABLE]
    )


def roles_of(cluster: ServerCluster) -> list[Role]:
    """Of each server, and last of the ClusterAddress, which not every cluster has."""
    roles: list[Role] = ["out of service"] * len(cluster.servers)
    primaries, backups = members_of(cluster)
    for at in primaries:
        roles[at] = "primary"
    for at in backups:
        roles[at] = "backup"
    return [*roles, "ClusterAddress"]


def _clone(live: Cluster, clone_id: bytes, servers: list[ServerStep]) -> CloneStep:
    index = live.find_clone_id(clone_id)
    if index < 0:
        return CloneStep(_text(clone_id), "", "no server has it")
    return CloneStep(_text(clone_id), servers[index].name, servers[index].verdict)


def words_of_none(*, is_full: bool) -> str:
    """Why no server was chosen; ``is_full``: because of MaxConnections."""
    return "every usable server is at MaxConnections" if is_full else "no server is usable"


def words_of_rule(
    rule: int, cluster: ServerCluster, role: Role, verdict: str, *, has_clone_ids: bool
) -> str:
    """The rule that chose a server, which had this ``role`` and ``verdict``; ``has_clone_ids``: the request."""
    if rule == Rule.AFFINITY:
        return "session affinity: the first clone id whose server is usable"
    if rule == Rule.REMEMBERED:
        return "session affinity: the session moved there a moment ago"
    unmet = "none of its clone ids has a usable server, so " if has_clone_ids else ""
    if role == "ClusterAddress":
        return f"{unmet}the ClusterAddress takes requests without affinity"
    if role == "backup":
        return f"{unmet}no primary is usable: a backup"
    if verdict != VERDICTS[Verdict.USABLE]:
        return f"{unmet}a server gets its chance: {verdict}"
    return f"{unmet}regular balancing ({cluster.load_balance}) among the usable servers"
