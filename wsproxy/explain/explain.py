"""
One request's decision, step by step, with the reason of each step: every Route, every clone id, every server.

Driven by ``cli.explain`` and ``admin.api``. Asks the functions that live traffic uses (``_fast.logs.replay``) and puts their answers side by side;
must not decide anything itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from wsproxy._fast.decide.balance import NoServer, Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.decide.maintain import is_in_maintenance
from wsproxy._fast.decide.match import Match
from wsproxy._fast.decide.view import View
from wsproxy._fast.http.head import HEAD_ERRORS, read_request
from wsproxy._fast.http.paths import encode_head
from wsproxy._fast.logs.replay import ReplayedRequest, Rule
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.model import Route, ServerCluster
from wsproxy.config.problems import printable
from wsproxy.config.settings import Settings
from wsproxy.errors import RequestRefusedError
from wsproxy.explain.edge import EdgeWords, checked_client, explain_edges
from wsproxy.explain.noticed import words_of
from wsproxy.explain.words import VERDICTS, Role, roles_of, words_of_none, words_of_rule
from wsproxy.routing.table import NONE, CompiledRoutes
from wsproxy.routing.unmatched import Unmatched

_Won = tuple[int, int, int, int, bytes, bytes]  # as ``ReplayedRequest.match`` has it

# One text is one line of a head: with these a question would say more than it is asked about.
_LINE_BREAK = re.compile(r"[\r\n]")

PORTS = {"http": 80, "https": 443}


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
    notes: list[str]  # what keeps its session from being read
    edges: list[str] = []  # the [[edge]] tables that fit, and what they do
    answers: str = ""  # what the edge answers; empty: the request goes on to its Route


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a client would send it."""

    method: str
    scheme: str
    host: bytes
    port: int
    target: bytes
    cookies: list[bytes]
    head: bytes = b""
    client: str = ""  # its address; empty: nobody was named


def split_url(url: str) -> tuple[str, str, str]:
    """
    (scheme, authority, target) of an http or https URL; its fragment is never sent.

    Raises:
        RequestRefusedError: it is none.
    """
    _refuse_line_breaks("url", url)  # urlsplit would leave them out
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


def read_asked(
    method: str,
    scheme: str,
    authority: str,
    target: str,
    lines: list[str],
    settings: Settings | None = None,
    client: str = "",
) -> Asked:
    """
    The request that a client would send for this URL; ``lines`` are more header fields, and may have a Host of their own.

    ``settings``: whose limits it must keep; None: the defaults.

    Raises:
        RequestRefusedError: live traffic would have refused it.
    """
    settings = settings or Settings()
    _refuse_line_breaks("method", method)
    for line in lines:
        _refuse_line_breaks("headers", line)
    if not any(line.lower().startswith("host:") for line in lines):
        lines = [f"Host: {authority}", *lines]
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
    data = head.encode("utf-8", "surrogateescape")
    if settings.http.non_ascii == "encode":
        data = encode_head(data)
    limits = settings.limits
    found: dict[str, Any] | int = read_request(
        data,
        head_bytes=limits.head_bytes,
        target_bytes=limits.target_bytes,
        header_fields=limits.header_fields,
        trace=settings.http.trace,
        refuse_ambiguous=settings.routing.ambiguous_paths == "refuse",
    )
    if isinstance(found, int):
        status, words = HEAD_ERRORS[-found] if found else (400, "the head is not whole")
        raise RequestRefusedError(f"this request is refused with {status}: {words}")
    if found["size"] != len(data):
        raise RequestRefusedError("this request is refused with 400: a header line is empty")
    port = PORTS[scheme] if found["port"] < 0 else found["port"]
    cookies = [row[1] for row in found["fields"] if row[0].lower() == b"cookie"]
    host, asked_target = found["host"], found["target"]
    return Asked(method, scheme, host, port, asked_target, cookies, data, checked_client(client))


def _refuse_line_breaks(what: str, text: str) -> None:
    if found := _LINE_BREAK.search(text):
        word = "CR" if found[0] == "\r" else "LF"
        shown = printable(text[:80])
        raise RequestRefusedError(f'{what}: found {word} in "{shown}"; allowed is one line')


class Explainer:
    """Explains requests to one configuration with the servers' state as it is."""

    def __init__(
        self,
        routes: CompiledRoutes,
        decider: Decider,
        view: View,
        *,
        is_live: bool = False,
        settings: Settings | None = None,
        state: SharedState | None = None,
    ) -> None:
        """
        ``view``: whose services and state decide; ``is_live``: a running proxy's, so that whose turn it is is known.

        ``settings``: those of the view, for words about ``[[edge]]``. ``state``: that of the view, for operators' words.
        """
        self._settings = settings or Settings()
        self._state = state
        self._is_live = is_live
        self._routes = routes
        self._decider = decider
        self._view = view
        self._unmatched = Unmatched(routes)

    def explain(self, asked: Asked) -> Explanation:
        """The decision that this request would meet now; it is not sent, and no server's place is kept."""
        request = ReplayedRequest(
            self._decider, self._view, asked.host, asked.port, asked.target, asked.cookies
        )
        won = request.match()
        path = request.path
        edge = self._edge(asked, -1 if won is None else won[1])
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
            rule="",
            status=404,
            notes=[],
            edges=edge.lines,
            answers=edge.rule,
        )
        if edge.status and won is not None:
            explanation.cluster = self._routes.clusters[won[1]].name
        if edge.status:
            explanation.status, explanation.rule = edge.status, edge.rule
            return explanation
        if won is None:
            why = self._unmatched.why(request.host, request.port, path, _text(path))
            explanation.rule = (
                f"no Route matches: {why}; the fallback answers ([fallback] in wsproxy.toml)"
            )
            return explanation
        cluster = self._routes.clusters[won[1]]
        explanation.cluster = cluster.name
        explanation.affinity_cookie = won[4].decode("latin-1")
        explanation.affinity_url_identifier = won[5].decode("latin-1")
        service = self._view.services[won[1]]
        if service is None:
            explanation.rule = "the ServerCluster has no Server"
            return explanation
        now = now_ms()
        addresses = [
            secure if asked.scheme == "https" else plain for secure, plain in service.addresses
        ]
        explanation.servers = [
            _server(
                *(service.cluster, cluster, index, role, address, now),
                is_live=self._is_live,
            )
            for index, (address, role) in enumerate(zip(addresses, roles_of(cluster), strict=True))
        ]
        explanation.clone_ids = [
            _clone(service.cluster, clone_id, explanation.servers, now)
            for clone_id in request.clone_ids()
        ]
        explanation.notes = [words_of(each) for each in request.misfits()]
        server, rule = request.choose(now, -1)
        by, is_unmet = request.chosen_by
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
            by, cluster.load_balance, verdict=picked.verdict, is_unmet=is_unmet
        )
        if not self._is_live and _is_by_turn(rule, cluster, picked):
            explanation.rule += "; where its turn begins is random"
        return explanation

    def _edge(self, asked: Asked, cluster: int) -> EdgeWords:
        service = self._view.services[cluster] if cluster >= 0 else self._view.fallback
        live = None if service is None else service.cluster
        is_maintained = self._state is not None and is_in_maintenance(self._state, live)
        if self._view.edges is None:
            rule = "maintenance, by an operator's word" if is_maintained else ""
            return EdgeWords([], 503 if is_maintained else 0, rule)
        return explain_edges(
            self._view.edges, self._settings, asked.head, client=asked.client, port=asked.port,
            secure=asked.scheme == "https", cluster=cluster, is_maintained=is_maintained,
        )  # fmt: skip

    def _route(
        self, at: int, route: Route, request: ReplayedRequest, path: bytes, won: _Won | None
    ) -> RouteStep:
        table = self._routes.table
        found = table.match_route(at, request.host, request.port, path)
        host_group, uri_group, _ = self._routes.rows[at]
        host = uri = None
        if host_group != NONE:
            host = table.match_vhost(host_group, request.host, request.port)
        if uri_group != NONE:
            uri = table.match_uri(uri_group, path)
        step = RouteStep(
            route.line,
            route.server_cluster,
            route.virtual_host_group,
            route.uri_group,
            *self._host_words(host_group, host),
            *self._uri_words(uri_group, uri),
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

    def _host_words(self, group: int, found: tuple[int, int, int] | None) -> tuple[str, str]:
        if found is None:
            return ("any" if group == NONE else "", "")
        at, score, exact = found
        name = self._routes.virtual_host_groups[group].virtual_hosts[at].name
        return name, f"{score}/{exact}"

    def _uri_words(self, group: int, found: tuple[int, int, int, int] | None) -> tuple[str, str]:
        if found is None:
            return ("any" if group == NONE else "", "")
        _, at, score, exact = found
        return self._routes.uri_name(group, at), f"{score}/{exact}"


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


def _clone(live: Cluster, clone_id: bytes, servers: list[ServerStep], now: int) -> CloneStep:
    index = live.find_clone_id(clone_id)
    if index < 0:
        return CloneStep(_text(clone_id), "", "no server has it")
    words = servers[index].verdict
    if live.judge_server(index, now) == Verdict.DRAINED:
        # Of whose sessions this is not said.
        words = VERDICTS[Verdict(live.judge_server(index, now, has_session=True))]
    return CloneStep(_text(clone_id), servers[index].name, words)
