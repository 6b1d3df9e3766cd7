"""
What a plugin-cfg.xml asks of any proxy: clusters of servers, and which hosts and paths go to which of them, most particular first.

Made once a run, of the user's file or of our own (``configs/plugin-cfg.xml``); read by ``peers``, ``traffic`` and ``verify``. Pure. It
knows no host but 127.0.0.1: stub servers take the place of every server of the file. Which cluster a pattern ends at is asked of
wsproxy's own table, so that the rules of matching have one reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from wsproxy.config.members import members_of
from wsproxy.config.model import (
    Config,
    Log,
    Server,
    ServerCluster,
    Transport,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.routing.table import CompiledRoutes, build_route_table

LOOPBACK = "127.0.0.1"
ANY = "*"
# What clients call a host that may have any name.
HOST_NAME = "shop.example"
# What a sample has where a pattern leaves something open: no application has it.
OPEN = "wsproxy-bench"
# What stands in other proxies' files as it is, and means nothing else there: no quote, brace, blank, ``#``, ``;``, ``$`` or backslash. A
# plugin-cfg.xml must not be able to say anything to them but what is meant.
_PATH = re.compile(r"[A-Za-z0-9/._~!&()+,=:@%-]*")
_WORD = re.compile(r"[A-Za-z0-9_.-]+")
# Requests of so many kinds, evenly over the file: each is proved for each proxy before it is measured.
MOST_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Member:
    """A server that serves its cluster; ``key`` is made of numbers, as a proxy may not take the Name."""

    key: str
    name: str
    clone_id: str | None
    port: int
    weight: int
    most: int  # MaxConnections; below 1: no limit
    is_backup: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """A ServerCluster."""

    key: str
    name: str
    members: tuple[Member, ...]
    is_random: bool
    separator: str
    retry_interval_s: int
    kept_kb: int  # PostBufferSize

    @property
    def primaries(self) -> tuple[Member, ...]:
        """Who takes new sessions while one of them is up."""
        return tuple(member for member in self.members if not member.is_backup)

    @property
    def owners(self) -> tuple[Member, ...]:
        """Whose sessions can be told: primaries with a clone id."""
        return tuple(member for member in self.primaries if member.clone_id)


@dataclass(frozen=True, slots=True)
class Rule:
    """``<prefix>*<suffix>``, or exactly ``prefix``; ``cluster`` is an index."""

    prefix: str
    suffix: str
    is_exact: bool
    cluster: int
    cookie: str
    identifier: str

    @property
    def is_folder(self) -> bool:
        """Whether it also takes the path without the last slash (``/x/*`` and ``/x``)."""
        return (
            not self.is_exact
            and not self.suffix
            and len(self.prefix) > 1
            and self.prefix[-1] == "/"
        )

    @property
    def length(self) -> int:
        """Of its literal text: what its rank follows from."""
        return len(self.prefix) + len(self.suffix)

    @property
    def sample(self) -> str:
        """A path that it matches."""
        if self.is_exact:
            return self.prefix
        return (self.prefix or "/") + OPEN + self.suffix


@dataclass(frozen=True, slots=True)
class Sample:
    """A request of one kind, and whose it is."""

    host: str
    path: str
    cluster: int
    cookie: str


@dataclass(frozen=True, slots=True)
class Site:
    """Everything; ``rules`` of each host in order of rank, the host ``*`` last; ``notes`` say what was left out for all proxies."""

    config: Config  # for wsproxy, with servers on loopback
    clusters: tuple[Cluster, ...]
    rules: dict[str, tuple[Rule, ...]]
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        """Of all servers."""
        return tuple(member.port for cluster in self.clusters for member in cluster.members)

    @property
    def affinities(self) -> list[tuple[int, str]]:
        """Each (cluster, AffinityCookie) that a rule names, once."""
        return sorted(
            {(rule.cluster, rule.cookie) for rules in self.rules.values() for rule in rules}
        )


def count_servers(config: Config) -> int:
    """How many ports ``read_site`` needs."""
    return sum(len(serving(cluster)) for cluster in config.server_clusters)


def read_site(config: Config, ports: Sequence[int], log: Log, more_uris: int = 0) -> Site:
    """
    The site of ``config`` with its servers on these ports; ``log`` is what wsproxy shall write.

    ``more_uris``: so many Uris in front of the first UriGroup's own that nobody asks for, to see what their number costs.

    Raises:
        ValueError: no Route of the file leads to a server.
    """
    local = localized(config, ports, log, more_uris)
    routes = build_route_table(local)
    rules = {host: rules for host in _hosts(local) if (rules := _rules(routes, host))}
    # what is asked of a host as of any other needs no words of its own
    rules = {host: each for host, each in rules.items() if host == ANY or each != rules.get(ANY)}
    if not rules:
        msg = f"{config.path or 'plugin-cfg.xml'}: found no Route to a ServerCluster with servers; allowed is one at least"
        raise ValueError(msg)
    clusters = tuple(_clusters(local))
    return Site(local, clusters, rules, tuple(_samples(rules)), tuple(_left_out(config)))


def localized(config: Config, ports: Sequence[int], log: Log, more_uris: int = 0) -> Config:
    """The same file with every server on 127.0.0.1, by plain HTTP, and any port in its VirtualHosts."""
    free = iter(ports)
    groups = list(config.uri_groups)
    if more_uris and groups:
        like = groups[0].uris[0]
        new = tuple(replace(like, name=f"/{OPEN}-{at}/*") for at in range(more_uris))
        groups[0] = replace(groups[0], uris=(*new, *groups[0].uris))
    return replace(
        config,
        log=log,
        refresh_interval_s=-1,
        virtual_host_groups=tuple(map(_any_port, config.virtual_host_groups)),
        server_clusters=tuple(_on_loopback(each, free) for each in config.server_clusters),
        uri_groups=tuple(groups),
        trusted_proxies=(),
        trusted_proxy_enable=False,
        properties=(),
        request_metrics=None,
        intelligent_management=None,
        extra=None,
    )


def serving(cluster: ServerCluster) -> list[Server]:
    """Its primaries, then its backups."""
    primaries, backups = members_of(cluster)
    return [cluster.servers[at] for at in (*primaries, *backups)]


def _any_port(group: VirtualHostGroup) -> VirtualHostGroup:
    hosts = dict.fromkeys(each.host for each in group.virtual_hosts)
    return replace(
        group,
        virtual_hosts=tuple(
            VirtualHost(name=f"[{host}]:*" if ":" in host else f"{host}:*", host=host, port=None)
            for host in hosts
        ),
    )


def _on_loopback(cluster: ServerCluster, ports: Iterator[int]) -> ServerCluster:
    return replace(
        cluster,
        cluster_address=None,
        remove_special_headers=True,
        servers=tuple(
            replace(
                server,
                transports=(Transport(hostname=LOOPBACK, port=next(ports)),),
                extended_handshake=False,
            )
            for server in serving(cluster)
        ),
    )


def _clusters(local: Config) -> Iterator[Cluster]:
    for at, cluster in enumerate(local.server_clusters):
        primaries, _ = members_of(cluster)
        members = tuple(
            Member(
                f"c{at}s{position}", server.name,
                server.clone_id if server.clone_id and _WORD.fullmatch(server.clone_id) else None, server.transports[0].port,
                server.load_balance_weight, server.max_connections, position >= len(primaries),
            )
            for position, server in enumerate(cluster.servers)
        )  # fmt: skip
        yield Cluster(
            f"c{at}", cluster.name, members, cluster.load_balance == "Random", cluster.clone_separator,
            cluster.retry_interval_s, cluster.post_buffer_size_kb,
        )  # fmt: skip


def _hosts(local: Config) -> list[str]:
    """Hosts that are told apart, the one for all others last; one that is no plain name is none (``_left_out``)."""
    named = {route.virtual_host_group for route in local.routes}
    hosts = {
        host.host
        for group in local.virtual_host_groups
        if group.name in named
        for host in group.virtual_hosts
        if host.host == ANY or _WORD.fullmatch(host.host)
    }
    return [*sorted(hosts - {ANY}), ANY]


def _rules(routes: CompiledRoutes, host: str) -> tuple[Rule, ...]:
    """What is matched at this host, in order of rank; a pattern that another one hides is none."""
    asked = (HOST_NAME if host == ANY else host).encode()
    ranked: dict[tuple[str, str, bool], tuple[tuple[int, int], Rule]] = {}
    candidates: list[str] = [ANY]
    for _, group, _ in routes.rows:
        if group >= 0:
            candidates += [
                routes.uri_name(group, uri) for uri in range(routes.table.count_uris(group))
            ]
    for text in dict.fromkeys(candidates):
        prefix, star, suffix = text.partition("*")
        rule = Rule("/" if text == ANY else prefix, suffix, not star, -1, "", "")
        match = routes.table.match_path(asked, 80, rule.sample.encode())
        if match is None or not routes.clusters[match.cluster].servers:
            continue
        found = routes.uri_name(match.uri_group, match.uri) if match.uri >= 0 else ANY
        if found != text or not _can_be_said(text, match.cookie.decode(), match.url_id.decode()):
            continue
        rule = replace(
            rule,
            cluster=match.cluster,
            cookie=match.cookie.decode(),
            identifier=match.url_id.decode(),
        )
        ranked.setdefault((rule.prefix, suffix, rule.is_exact), ((match.score, match.exact), rule))
    ordered = sorted(ranked.values(), key=lambda pair: (pair[0], pair[1].is_exact), reverse=True)
    return tuple(rule for _, rule in ordered)


def _can_be_said(pattern: str, cookie: str, identifier: str) -> bool:
    return (
        pattern[:1] in ("/", ANY)  # -f and -m are options of HAProxy's; and nobody can ask for it
        and _PATH.fullmatch(pattern.replace("*", "", 1)) is not None
        and _WORD.fullmatch(cookie) is not None
        and _WORD.fullmatch(identifier) is not None
    )


def _samples(rules: dict[str, tuple[Rule, ...]]) -> Iterator[Sample]:
    everything = [(host, rule) for host, several in rules.items() for rule in several]
    # those of the file, evenly; Uris that were added are asked for by nobody
    asked = [pair for pair in everything if not pair[1].prefix.startswith(f"/{OPEN}-")]
    step = max(1, len(asked) / MOST_SAMPLES)
    for at in range(min(len(asked), MOST_SAMPLES)):
        host, rule = asked[int(at * step)]
        yield Sample(HOST_NAME if host == ANY else host, rule.sample, rule.cluster, rule.cookie)


def _left_out(config: Config) -> Iterator[str]:
    """What no proxy of a run does, wsproxy included."""
    yield "every server of the file is a stub on 127.0.0.1: nothing is sent to the servers that it names"
    transports = [
        transport
        for cluster in config.server_clusters
        for server in serving(cluster)
        for transport in server.transports
    ]
    ports = {host.port for group in config.virtual_host_groups for host in group.virtual_hosts}
    found = [
        (any(each.protocol == "https" for each in transports), "TLS to servers (Transport https): plain HTTP for all"),
        (any(host.host != ANY and not _WORD.fullmatch(host.host)
             for group in config.virtual_host_groups for host in group.virtual_hosts),
         "VirtualHosts that are IPv6 addresses: nobody asks for them"),
        (any(not _can_be_said(uri.name, uri.affinity_cookie, uri.affinity_url_identifier)
             for group in config.uri_groups for uri in group.uris),
         "Uris and cookies with characters that mean something in other proxies' files: nobody asks for them"),
        (any(server.clone_id and not _WORD.fullmatch(server.clone_id)
             for cluster in config.server_clusters for server in cluster.servers),
         "CloneIDs with such characters: their sessions have no owner"),
        (len(ports) > 1, "ports of VirtualHosts are not told apart: all proxies listen on one"),
        (any(each.cluster_address for each in config.server_clusters), "ClusterAddress"),
        (any(not each.remove_special_headers for each in config.server_clusters),
         'RemoveSpecialHeaders="false": all proxies remove them'),
        (config.trusted_proxy_enable, "TrustedProxy: nobody is trusted"),
        (config.intelligent_management is not None, "IntelligentManagement"),
    ]  # fmt: skip
    yield from (f"left out for all: {text}" for applies, text in found if applies)
