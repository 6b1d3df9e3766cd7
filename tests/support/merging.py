"""
What a merge must come to, found another way: each input is asked by the live matcher, and the answers are put together.

Driven by ``tests/unit/config/test_merge*.py``. Must not share code or ideas with ``config.merge``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st

from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.logs.replay import ReplayedRequest
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
from wsproxy.config.patterns import parse_virtual_host
from wsproxy.config.settings import Settings
from wsproxy.dataplane.plan import Plan, compile_plan
from wsproxy.dataplane.view import make_view

# An example is three files, three configurations with their shared memory, and some seventy requests to each.
FEWER = settings(max_examples=settings().max_examples // 5)

# what a server is, whatever it is called
Known = tuple[str | None, tuple[tuple[str, str, int], ...]]
Request = tuple[bytes, int, bytes]


def known(server: Server) -> Known:
    return server.clone_id, tuple(
        sorted((t.protocol, t.hostname.lower(), t.port) for t in server.transports)
    )


@dataclass(frozen=True)
class Answer:
    """What one configuration says of a request."""

    rank: tuple[int, int]
    host: str  # the VirtualHost that decided; empty: the Route names none
    uri: str
    cluster: ServerCluster
    cookie: bytes

    @property
    def servers(self) -> set[Known]:
        """Those that may get it."""
        return in_service(self.cluster)


def in_service(cluster: ServerCluster) -> set[Known]:
    lists = (cluster.primary_servers, cluster.backup_servers)
    if lists == (None, None):
        return {known(server) for server in cluster.servers}
    names = {ref.name for refs in lists for ref in refs or ()}
    return {known(server) for server in cluster.servers if server.name in names}


def plan_of(config: Config) -> Plan:
    servers = sum(len(cluster.all_servers) for cluster in config.server_clusters)
    state = SharedState(servers + 1, len(config.server_clusters) + 1)
    return compile_plan(config, Settings(), state)


class Live:
    """One configuration with the code that decides live traffic."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.plan = plan_of(config)
        self.plan.apply()
        self._view = make_view(self.plan, with_pools=False)
        self._decider = Decider(0)

    def ask(self, request: Request) -> Answer | None:
        host, port, path = request
        found = self.plan.routes.table.match_path(host, port, path)
        if found is None:
            return None
        routes = self.plan.routes
        host_text = uri_text = ""
        if found.vhost_group >= 0:
            virtual_host = self.config.virtual_host_groups[found.vhost_group].virtual_hosts[
                found.vhost
            ]
            host_text = f"{virtual_host.host.lower()}:{virtual_host.port}"
        if found.uri_group >= 0:
            uri_text = self.config.uri_groups[found.uri_group].uris[found.uri].name
        return Answer(
            (found.score, found.exact),
            host_text,
            uri_text,
            routes.clusters[found.cluster],
            found.cookie,
        )

    def claimed(self, host: str, uri: str) -> ServerCluster | None:
        """Whose requests this pair of VirtualHost and Uri is: that of the first Route that has both."""
        for route, (vhosts, uris, cluster) in zip(
            self.plan.routes.routes, self.plan.routes.rows, strict=True
        ):
            hosts = {""}
            if vhosts >= 0:
                group = self.config.virtual_host_groups[vhosts]
                hosts = {f"{each.host.lower()}:{each.port}" for each in group.virtual_hosts}
            names = {""}
            if uris >= 0:
                names = {each.name for each in self.config.uri_groups[uris].uris}
            if host in hosts and uri in names:
                assert route.server_cluster
                return self.plan.routes.clusters[cluster]
        return None

    def choose(self, request: Request, cookie: bytes = b"") -> Known | None:
        """The server that the live code sends it to."""
        host, port, path = request
        cookies = [cookie] if cookie else []
        replayed = ReplayedRequest(self._decider, self._view, host, port, path, cookies)
        match = replayed.match()
        if match is None:
            return None
        server, _ = replayed.choose(now_ms(), -1)
        replayed.finish()
        if server < 0:
            return None
        return known(self.plan.routes.clusters[match[1]].all_servers[server])


def union_servers(inputs: Sequence[Live], host: str, uri: str) -> set[Known]:
    """Every server that some input gives this pair to."""
    found = (each.claimed(host, uri) for each in inputs)
    return {server for cluster in found if cluster is not None for server in in_service(cluster)}


def check_union(inputs: Sequence[Live], merged: Live, request: Request) -> None:
    """
    The merged file takes the request as the best of its inputs, to the servers of all that have the same pair.

    Where several pairs are as good, it is one by which every input that has it would give the request to the same cluster.
    """
    answers = [(each, answer) for each in inputs if (answer := each.ask(request)) is not None]
    answer = merged.ask(request)
    if not answers:
        assert answer is None, (request, answer)
        return
    assert answer is not None, request
    best = max(each.rank for _, each in answers)
    assert answer.rank == best
    claimed = [(of, each, of.claimed(answer.host, answer.uri)) for of, each in answers]
    assert any(each.rank == best and cluster is not None for _, each, cluster in claimed)
    for _, each, cluster in claimed:
        assert cluster is None or cluster == each.cluster
    assert answer.servers == union_servers(inputs, answer.host, answer.uri)
    if answer.servers:
        assert merged.choose(request) in answer.servers


# --- small files that meet each other often ---------------------------------------------------------------------------

HOSTS = ("*:80", "*:*", "a.example:80", "a.example:*", "b.example:80", "*:81")
URIS = ("/*", "/a/*", "/a", "/a*", "/b/*", "/a/x/*", "*.jsp", "/a/*.jsp")
REQUESTS: list[Request] = [
    (host, port, path)
    for host in (b"a.example", b"b.example", b"c.example")
    for port in (80, 81, 9)
    for path in (b"/", b"/a", b"/a/", b"/a/1", b"/ab", b"/b/p.jsp", b"/a/p.jsp", b"/a/x/1")
]


def virtual_host(name: str) -> VirtualHost:
    parts = parse_virtual_host(name)
    return VirtualHost(name, parts.host, parts.port)


def server(number: int, name: str = "") -> Server:
    """Always the same for one number, but for its name."""
    return Server(
        name or f"s{number}",
        clone_id=f"k{number}",
        transports=(Transport(f"h{number}", 9080, "http"),),
    )


def cluster(name: str, numbers: Iterable[int], backups: Iterable[int] = ()) -> ServerCluster:
    primaries, others = list(numbers), list(backups)
    servers = tuple(server(number) for number in [*primaries, *others])
    found = ServerCluster(name, servers=servers)
    if others:
        found = replace(
            found,
            primary_servers=tuple(ServerRef(f"s{number}") for number in primaries),
            backup_servers=tuple(ServerRef(f"s{number}") for number in others),
        )
    return found


@st.composite
def small_configs(draw: st.DrawFn, path: str, servers: range = range(6)) -> Config:
    """A file with one to three Routes; group and cluster names repeat in other files."""
    clusters = []
    for name in draw(
        st.lists(st.sampled_from(("c1", "c2", "c3")), min_size=1, max_size=2, unique=True)
    ):
        numbers = draw(st.lists(st.sampled_from(servers), min_size=1, max_size=3, unique=True))
        cut = draw(st.integers(1, len(numbers)))
        clusters.append(cluster(name, numbers[:cut], numbers[cut:]))
    host_groups = [
        VirtualHostGroup(f"v{at}", tuple(map(virtual_host, names)))
        for at, names in enumerate(draw(_subsets(HOSTS)))
    ]
    uri_groups = [
        UriGroup(f"u{at}", tuple(map(Uri, names))) for at, names in enumerate(draw(_subsets(URIS)))
    ]
    routes = [
        Route(
            draw(st.sampled_from(clusters)).name,
            draw(st.sampled_from([None, *(group.name for group in uri_groups)])),
            draw(st.sampled_from([None, *(group.name for group in host_groups)])),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    return Config(
        virtual_host_groups=tuple(host_groups),
        server_clusters=tuple(clusters),
        uri_groups=tuple(uri_groups),
        routes=tuple(routes),
        path=path,
    )


def _subsets(items: Sequence[str]) -> st.SearchStrategy[list[list[str]]]:
    one = st.lists(st.sampled_from(items), min_size=1, max_size=3, unique=True)
    return st.lists(one, min_size=1, max_size=2)
