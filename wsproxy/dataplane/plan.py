"""
Config -> what workers run on: compiled routes, clusters on shared slots, transports. Made once, before the fork.

Driven by ``cli.run`` and by tests; used by ``dataplane.worker`` and ``replay.world``, which make a View of it
(``dataplane.view``). Reads keyrings; must not open sockets or resolve names, nor write into a slot but in ``Plan.apply``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, cluster_key, server_key
from wsproxy.config.address import parse_address
from wsproxy.config.members import members_of
from wsproxy.config.model import Config, Server, ServerCluster, Transport
from wsproxy.config.problems import nearest
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.dataplane.steps import Steps, at_once
from wsproxy.dataplane.upstream_tls import (
    TransportSecurity,
    doubt_security,
    keyring_of,
)
from wsproxy.errors import Problem, StartError
from wsproxy.routing.table import CompiledRoutes, build_route_table

FALLBACK_CLUSTER = "[fallback]"
# In affinity.strip_clone_ids.
ALL_CLUSTERS = "*"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    Compiled from one Config; ``clusters`` by the index that routes use, None where a cluster has no server.

    A plan that came in a parcel has no UriGroups in its ``config``: all that is asked of them is in ``routes``.
    """

    config: Config
    settings: Settings
    routes: CompiledRoutes
    clusters: tuple[Cluster | None, ...]
    fallback: Cluster | None
    security: (
        TransportSecurity | None
    )  # None: every keyring is taken for a good one, and nothing is sent
    state: SharedState
    digest: str = ""  # of what the Config says; empty: nobody has asked yet
    generation: int = 1  # the one of the start; each that is taken over later has the next number
    log_path: str = ""  # where http_plugin.log is written; empty: nowhere

    def served(self) -> Iterator[tuple[int, ServerCluster, Cluster]]:
        """The ServerClusters that have a server: their index, what plugin-cfg.xml says of them, and their slots."""
        both = zip(self.config.server_clusters, self.clusters, strict=True)
        for at, (cluster, live) in enumerate(both):
            if live is not None:
                yield at, cluster, live

    def operated(self) -> Iterator[tuple[int, ServerCluster, Cluster]]:
        """The same, and behind them the fallback where that is a server: all that operators may say something of."""
        yield from self.served()
        cluster = fallback_cluster(self.settings)
        if cluster is not None and self.fallback is not None:
            yield len(self.clusters), cluster, self.fallback

    @property
    def operated_config(self) -> Config:
        """What names are looked for in: ``config`` with the fallback behind its clusters, where that is a server."""
        cluster = fallback_cluster(self.settings)
        if cluster is None:
            return self.config
        return replace(self.config, server_clusters=(*self.config.server_clusters, cluster))

    def keys(self) -> tuple[set[bytes], set[bytes]]:
        """By which its servers and its clusters have slots."""
        made = [cluster for cluster in (*self.clusters, self.fallback) if cluster is not None]
        servers = {server_key(each.name, name) for each in made for name in each.server_names}
        return servers, {cluster_key(each.name) for each in made}

    def keyring_steps(self) -> Steps[list[Transport]]:
        """One https Transport for each keyring that there is."""
        found: dict[tuple[str, ...], Transport] = {}
        for cluster in self.config.server_clusters:
            for server in cluster.all_servers:
                for transport in server.transports:
                    if transport.protocol == "https":
                        found.setdefault(keyring_of(transport), transport)
            yield
        return list(found.values())

    def read_keyrings(self, transports: Iterable[Transport]) -> None:
        """Reads those of these Transports. # I/O."""
        assert self.security is not None
        for transport in transports:
            self.security.of(transport)

    def apply(self) -> None:
        """
        Writes what the configuration says of servers into their slots, where it holds for all workers from now on.

        Until then the plan has changed nothing that a request could see.
        """
        for cluster in (*self.clusters, self.fallback):
            if cluster is not None:
                cluster.apply()


def build_plan(
    config: Config,
    settings: Settings,
    state: SharedState,
    security: TransportSecurity | None = None,
) -> Plan:
    """
    The plan, with the keyrings that ``config`` names. # I/O.

    It looks its servers' slots up in ``state``, so build it before the first fork; ``Plan.apply`` writes there.

    Raises:
        StartError: a setting names a ServerCluster that ``config`` does not have.
    """
    plan = compile_plan(config, settings, state)
    security = security or TransportSecurity.for_config(config, settings)
    plan = replace(plan, security=security)
    plan.read_keyrings(at_once(plan.keyring_steps()))  # here, before the fork
    return plan


def compile_plan(config: Config, settings: Settings, state: SharedState) -> Plan:
    """
    The same for whoever only decides: no keyring is read, and each is taken for a good one.

    Those of a log's machine are not here, and its requests went to https.

    Raises:
        StartError: a setting names a ServerCluster that ``config`` does not have.
    """
    _check_names(config, settings)
    routes = build_route_table(config, exact_first=settings.routing.prefer == "exact")
    return at_once(plan_steps(config, settings, state, routes))


def plan_steps(
    config: Config, settings: Settings, state: SharedState, routes: CompiledRoutes
) -> Steps[Plan]:
    """The plan of Routes that are compiled already; it knows no keyring."""
    clusters, fallback = yield from _cluster_steps(config, settings, state)
    return Plan(config, settings, routes, clusters, fallback, None, state)


def plan_again(plan: Plan, state: SharedState) -> Plan:
    """The same plan on another shared state: for replay, where each process of a log has its own."""
    clusters, fallback = at_once(_cluster_steps(plan.config, plan.settings, state))
    return replace(plan, state=state, clusters=clusters, fallback=fallback)


def _cluster_steps(
    config: Config, settings: Settings, state: SharedState
) -> Steps[tuple[tuple[Cluster | None, ...], Cluster | None]]:
    """Those of the file, and the fallback's."""
    clusters: list[Cluster | None] = []
    for cluster in config.server_clusters:
        clusters.append(_build_cluster(cluster, settings, state) if cluster.servers else None)
        yield
    cluster_of_fallback = fallback_cluster(settings)
    if cluster_of_fallback is None:
        return tuple(clusters), None
    [server] = cluster_of_fallback.servers
    row = (server.name, None, server.load_balance_weight, server.max_connections)
    return tuple(clusters), Cluster(state, FALLBACK_CLUSTER, [row], [0], [])


def fallback_cluster(settings: Settings) -> ServerCluster | None:
    """The server of ``[fallback] mode = "upstream"`` as plugin-cfg.xml would have it; None: there is none."""
    if settings.fallback.mode != "upstream":
        return None
    name = settings.fallback.upstream
    address = parse_address(name, is_listener=False)
    transport = Transport(hostname=address.host, port=address.port)
    server = Server(name=name, load_balance_weight=1, transports=(transport,))
    return ServerCluster(name=FALLBACK_CLUSTER, servers=(server,))


def _check_names(config: Config, settings: Settings) -> None:
    for _, sentence in unknown_names(config, settings):
        raise StartError(sentence)


def unknown_names(
    config: Config, settings: Settings
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Which setting names a ServerCluster that ``config`` does not have, and the sentence about it."""
    known = [cluster.name for cluster in config.server_clusters]
    named: list[tuple[tuple[str | int, ...], str, str]] = [
        (("affinity", "strip_clone_ids"), name, ' (or "*" for all)')
        for name in settings.affinity.strip_clone_ids
        if name != ALL_CLUSTERS
    ]
    named += [
        (("edge", index, "clusters"), name, "")
        for index, edge in enumerate(settings.edge)
        for name in edge.clusters
    ]
    named += [
        (("probe", "cluster", index, "name"), own.name, "")
        for index, own in enumerate(settings.probe.cluster)
    ]
    for at, name, more in named:
        if name not in known:
            likely = nearest(name, known)
            hint = f"did you mean {likely}?" if likely else f"allowed: {', '.join(known)}"
            setting = ".".join(str(part) for part in at if isinstance(part, str))
            yield (
                at,
                f'{setting}: found "{name}", which is no ServerCluster of {config.path}; {hint}{more}',
            )


def _build_cluster(cluster: ServerCluster, settings: Settings, state: SharedState) -> Cluster:
    primaries, backups = members_of(cluster)
    return Cluster(
        state,
        cluster.name,
        [
            (server.name, server.clone_id, server.load_balance_weight, server.max_connections)
            for server in cluster.all_servers
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


def doubt_transports(
    config: Config, loaded: LoadedSettings, security: TransportSecurity
) -> list[Problem]:
    """Which https Transports cannot be used, and what is not verified. # I/O."""
    return doubt_security(config, config.all_servers, security, loaded)
