"""
Judges what is left when a server fails: clusters of one, bodies that cannot be sent again, waits without end, weights that starve.

Driven by ``config.check``. Pure. One message for each kind: generated files say the same on every ServerCluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsproxy.config.members import members_of
from wsproxy.config.model import Config, Server, ServerCluster
from wsproxy.config.problems import ProblemList, listed, quoted

# WebSphere's console gives weights from 0 to 20: one session against 50 is beyond what it can say.
MOST_UNEVEN = 50


def check_failover(config: Config, problems: ProblemList) -> None:
    """Adds what an operator learns of otherwise when the first server is down; only of clusters that a Route leads to."""
    routed = {route.server_cluster for route in config.routes}
    clusters = [each for each in config.server_clusters if each.name in routed and each.servers]
    _check_single(clusters, problems)
    several = [each for each in clusters if len(_serving(each)) > 1]
    _check_post_buffers(several, problems)
    _check_connect_timeouts(several, problems)
    for cluster in several:
        _check_weights(cluster, problems)


def _serving(cluster: ServerCluster) -> list[Server]:
    """Those that may take a request without affinity or after another one failed."""
    primaries, backups = members_of(cluster)
    return [cluster.servers[at] for at in (*primaries, *backups)]


def _named(clusters: Iterable[ServerCluster]) -> str:
    return f"ServerCluster {listed([cluster.name for cluster in clusters])}"


def _check_single(clusters: Iterable[ServerCluster], problems: ProblemList) -> None:
    single = [each for each in clusters if len(_serving(each)) == 1]
    if single:
        problems.note(
            "cluster-single",
            single[0].line,
            f"one Server in service and no backup in {_named(single)}: while it is down, its requests end in an error",
            "a second Server, as primary or in BackupServers",
        )


def _check_post_buffers(clusters: Iterable[ServerCluster], problems: ProblemList) -> None:
    bare = [each for each in clusters if each.post_buffer_size_kb == 0]
    if bare:
        problems.note(
            "post-buffer-none",
            bare[0].line,
            f'PostBufferSize="0" on {_named(bare)}, which has several Servers: a request with a body that one of them does not '
            "answer is answered with an error, though another Server could take it",
            'PostBufferSize="64" or more (KB); 0 where no POST may ever run twice',
        )


def _check_connect_timeouts(clusters: Iterable[ServerCluster], problems: ProblemList) -> None:
    waiting = [
        (server, cluster)
        for cluster in clusters
        for server in _serving(cluster)
        if server.connect_timeout_s == 0
    ]
    if waiting:
        servers = listed([server.name for server, _ in waiting])
        of = _named({cluster.name: cluster for _, cluster in waiting}.values())
        problems.note(
            "connect-timeout-none",
            waiting[0][0].line,
            f"no ConnectTimeout on Server {servers} of {of}: the next Server is tried only after upstream.connect_s "
            "(IBM's plug-in: after what the system waits, about two minutes)",
            'ConnectTimeout="5", or as many seconds as a person waits',
        )


def _check_weights(cluster: ServerCluster, problems: ProblemList) -> None:
    primaries, _ = members_of(cluster)
    servers = [cluster.servers[at] for at in primaries]
    most = max((server.load_balance_weight for server in servers), default=0)
    if (
        most == 0 or cluster.load_balance != "Round Robin"
    ):  # all are 0: weights-zero; Random: not compared
        return
    starved = [server for server in servers if server.load_balance_weight * MOST_UNEVEN <= most]
    if not starved:
        return
    weights = sorted({server.load_balance_weight for server in starved})
    # 0 is how a Server is drained: to be known, not to be mended
    add = problems.note if weights == [0] else problems.warning
    add(
        "weight-starves",
        starved[0].line,
        f"LoadBalanceWeight {', '.join(map(str, weights[:3]))} beside {most} on {listed([each.name for each in starved])} of "
        f"ServerCluster {quoted(cluster.name)}: {'no' if weights == [0] else 'next to no'} new sessions begin there",
        f"weights within 1 to {MOST_UNEVEN} of each other (none stated: 2); 0 for a Server that is taken out of service",
    )
