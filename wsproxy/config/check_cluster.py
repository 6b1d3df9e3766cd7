"""
Judges one ServerCluster: servers that cannot be reached, sessions that cannot be found again, lists that contradict.

Driven by ``config.check``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsproxy.config.kdb import conversion_command, is_kdb
from wsproxy.config.model import Server, ServerCluster, ServerRef, Transport
from wsproxy.config.problems import ProblemList, listed, printable, quoted

# a negative ServerIOTimeout also marks the server down; below this one slow page or one garbage collection does
SMALL_NEGATIVE_TIMEOUT_S = 10
TRANSPORT_PROPERTIES = ("keyring", "stashfile", "certLabel", "password")
NOT_IN_A_CLONE_ID = frozenset('";,\\! \t')  # ends a cookie's value, or the session id within it


def check_cluster(cluster: ServerCluster, problems: ProblemList, *, is_routed: bool) -> None:
    """Adds what is doubtful about one cluster; what cannot be reached is an error only where a Route leads to it."""
    _check_reachable(cluster, problems, is_routed=is_routed)
    _check_server_names(cluster, problems)
    _check_clone_ids(cluster, problems)
    _check_lists(cluster, problems)
    _check_timeouts(cluster, problems)
    for server in cluster.servers:
        _check_transports(server, problems)
    _check_same_address(cluster, problems)
    _check_keyrings(cluster, problems)
    if cluster.servers and all(server.load_balance_weight == 0 for server in cluster.servers):
        problems.warning(
            "weights-zero",
            cluster.line,
            f'LoadBalanceWeight="0" on every Server of {_of(cluster)}: no new session can begin',
            "a weight above 0 on one Server or more",
        )


def _of(cluster: ServerCluster) -> str:
    return f"ServerCluster {quoted(cluster.name)}"


def _check_reachable(cluster: ServerCluster, problems: ProblemList, *, is_routed: bool) -> None:
    add = problems.error if is_routed else problems.warning
    if not cluster.servers:
        add("cluster-empty", cluster.line, f"{_of(cluster)} without Server", "one Server or more")
    for server in cluster.all_servers:
        if not server.transports:
            add(
                "server-no-transport",
                server.line,
                f"Server {quoted(server.name)} of {_of(cluster)} without Transport",
                "one Transport or more, with Hostname and Port",
            )


def _check_server_names(cluster: ServerCluster, problems: ProblemList) -> None:
    lines: dict[str, int] = {}
    for server in cluster.servers:
        if server.name in lines and server.name:
            problems.error(
                "server-duplicate",
                server.line,
                f"Server {quoted(server.name)} again in {_of(cluster)} (first on line {lines[server.name]})",
                "a name of its own for each Server of a ServerCluster",
            )
        lines.setdefault(server.name, server.line)


def _check_clone_ids(cluster: ServerCluster, problems: ProblemList) -> None:
    owners: dict[str, Server] = {}
    for server in cluster.servers:
        if not server.clone_id:
            continue
        owner = owners.setdefault(server.clone_id, server)
        if owner is not server:
            problems.warning(
                "clone-id-duplicate",
                server.line,
                f"CloneID {quoted(server.clone_id)} of Server {quoted(server.name)} also on Server "
                f"{quoted(owner.name)}: sessions of both go to the first one",
                "a CloneID of its own for each Server of a ServerCluster",
            )
        if set(server.clone_id) & (NOT_IN_A_CLONE_ID | {cluster.clone_separator}):
            problems.warning(
                "clone-id-characters",
                server.line,
                f"CloneID {quoted(server.clone_id)}, which cannot be found again in a session cookie",
                f"a CloneID without {cluster.clone_separator} (it separates clone ids), quotes, spaces, "
                "commas, semicolons, ! and backslashes",
            )
    without = [server.name for server in cluster.servers if not server.clone_id]
    if owners and without:
        line = next(server.line for server in cluster.servers if not server.clone_id)
        problems.warning(
            "clone-id-missing",
            line,
            f"no CloneID on {listed(without)}, while other Servers of {_of(cluster)} have one: "
            "sessions made there are not found again",
            "a CloneID on every Server, or on none",
        )


def _check_lists(cluster: ServerCluster, problems: ProblemList) -> None:
    known = {server.name for server in cluster.servers}
    primaries, backups = cluster.primary_servers, cluster.backup_servers
    listed_names: set[str] = set()
    for element, refs in (("PrimaryServers", primaries), ("BackupServers", backups)):
        _check_list(element, refs or (), known, cluster, problems)
        both = listed_names & {ref.name for ref in refs or ()} - {""}
        for ref in refs or ():
            if ref.name in both:
                problems.warning(
                    "server-in-both-lists",
                    ref.line,
                    f"Server {quoted(ref.name)} in PrimaryServers and BackupServers; it is a primary",
                    "each Server in one of them",
                )
        listed_names |= {ref.name for ref in refs or ()}
    if primaries is None and backups is None:
        return
    for server in cluster.servers:
        if server.name and server.name not in listed_names:
            problems.warning(
                "server-out-of-service",
                server.line,
                f"Server {quoted(server.name)} in neither PrimaryServers nor BackupServers of "
                f"{_of(cluster)}: it is out of service",
                "its name in one of the lists, where it is to serve",
            )


def _check_list(
    element: str,
    refs: Iterable[ServerRef],
    known: set[str],
    cluster: ServerCluster,
    problems: ProblemList,
) -> None:
    seen: set[str] = set()
    for ref in refs:
        if not ref.name:
            continue
        if ref.name not in known:
            likely = problems.suggest(ref.name, known)
            problems.warning(
                "server-unknown",
                ref.line,
                f"Server {quoted(ref.name)} in {element}, which {_of(cluster)} does not have",
                f"{quoted(likely)} (nearest name)" if likely else "the name of one of its Servers",
            )
        elif ref.name in seen:
            problems.warning(
                "server-listed-twice",
                ref.line,
                f"Server {quoted(ref.name)} twice in {element}",
                "each Server once",
            )
        seen.add(ref.name)


def _check_timeouts(cluster: ServerCluster, problems: ProblemList) -> None:
    others = len(cluster.servers) - 1
    for server in cluster.servers:
        timeout = server.server_io_timeout_s
        if -SMALL_NEGATIVE_TIMEOUT_S < timeout < 0:
            problems.warning(
                "timeout-marks-down",
                server.line,
                f'ServerIOTimeout="{timeout}" on Server {quoted(server.name)}: one answer slower than '
                f"{-timeout} s takes the Server out of service",
                f"-{SMALL_NEGATIVE_TIMEOUT_S} or less, or a positive number, which marks nothing down",
            )
    # PLUGIN.md 5.2; only where timeouts mark servers down can all be down before the first one is tried again
    slowest = max(
        (-s.server_io_timeout_s for s in cluster.servers if s.server_io_timeout_s < 0), default=0
    )
    limit = others * slowest - 1
    if slowest and others and cluster.retry_interval_s > limit:
        problems.warning(
            "retry-interval-long",
            cluster.line,
            f'RetryInterval="{cluster.retry_interval_s}" on {_of(cluster)}, with {others + 1} Servers and '
            f"ServerIOTimeout -{slowest}: all can be down before one is tried again",
            f"at most {limit}, which is (Servers - 1) x ServerIOTimeout - 1",
        )


def _check_transports(server: Server, problems: ProblemList) -> None:
    firsts: dict[str, Transport] = {}
    for transport in server.transports:
        first = firsts.setdefault(transport.protocol, transport)
        if first is not transport:
            problems.warning(
                "transport-unused",
                transport.line,
                f"one more {transport.protocol} Transport on Server {quoted(server.name)} "
                f"(port {transport.port}); only the first one (port {first.port}) is used",
                "one Transport of each Protocol",
            )
        for item in transport.properties:
            if item.name and item.name not in TRANSPORT_PROPERTIES:
                likely = problems.suggest(item.name, TRANSPORT_PROPERTIES)
                problems.warning(
                    "property-unknown",
                    item.line,
                    f"Property {quoted(item.name)} in a Transport, which is not known and is NOT used",
                    f"{likely} (nearest known name)"
                    if likely
                    else " or ".join(TRANSPORT_PROPERTIES),
                )


def _check_same_address(cluster: ServerCluster, problems: ProblemList) -> None:
    owners: dict[tuple[str, int], Server] = {}
    for server in cluster.servers:
        for transport in server.transports:
            if not (transport.hostname and transport.port):
                continue
            owner = owners.setdefault((transport.hostname.lower(), transport.port), server)
            if owner is not server:
                problems.warning(
                    "transport-duplicate",
                    transport.line,
                    f"{quoted(transport.hostname)} port {transport.port} for Server {quoted(server.name)} "
                    f"and for Server {quoted(owner.name)}",
                    "an address of its own for each Server",
                )


def _check_keyrings(cluster: ServerCluster, problems: ProblemList) -> None:
    bare = [
        (server, transport)
        for server in cluster.servers
        for transport in server.transports
        if transport.protocol == "https"
        and all(item.name != "keyring" for item in transport.properties)
    ]
    if bare:  # one message a cluster: where one has none, mostly all have none
        names = [server.name for server, _ in bare]
        problems.warning(
            "transport-no-keyring",
            bare[0][1].line,
            f"an https Transport without keyring on {listed(names)} of {_of(cluster)}",
            "a Property keyring in each https Transport; without it and without upstream.tls.trust in wsproxy.toml, "
            "what the system trusts",
        )


def check_key_databases(clusters: Iterable[ServerCluster], problems: ProblemList) -> None:
    """One message for each .kdb: large files name the same one for every Server."""
    found: dict[str, tuple[Transport, ServerCluster]] = {}
    for cluster in clusters:
        for server in cluster.servers:
            for transport in server.transports:
                for item in transport.properties:
                    if (
                        transport.protocol == "https"
                        and item.name == "keyring"
                        and is_kdb(item.value)
                    ):
                        found.setdefault(item.value, (transport, cluster))
    for path, (transport, cluster) in found.items():
        problems.warning(
            "keyring-kdb",
            transport.line,
            f"keyring {quoted(path)} in {_of(cluster)}, a CMS key database, which wsproxy cannot read",
            f"PKCS#12 ({printable(conversion_command(path))}), or upstream.tls.trust in wsproxy.toml",
        )
