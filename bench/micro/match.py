"""
Prints what one match costs, for one route and for 10,000 Uris x 1,000 hosts x 500 clusters in three shapes.

Run by hand: ``python -m bench.micro.match``. Must not judge: the figures depend on the machine, the ratios matter.
Each shape is asked once with a single request over and over (all in the first-level cache) and once with a new
host and Uri each time, so that the tables come from outer caches as they do under live traffic.
"""

from __future__ import annotations

import platform
import random
import time
from collections.abc import Callable

from wsproxy._fast.decide.match import RouteTable

HOSTS = 1000
CLUSTERS = 500
URIS = 10_000
QUERIES = 20_000
REPEATS = 5  # the fastest counts: anything slower was disturbed

Query = tuple[bytes, int, bytes]
Names = tuple[bytes, bytes, bytes]


def uri_names(uris: list[bytes]) -> list[Names]:
    """Uris with the usual affinity names."""
    return [(uri, b"JSESSIONID", b"jsessionid") for uri in uris]


def host_name(number: int) -> bytes:
    """A host name of ordinary length."""
    return b"www%d.customer-site.example" % number


def context(number: int) -> bytes:
    """A context root."""
    return b"/application%d" % number


def one_route() -> tuple[RouteTable, list[Query]]:
    """What a file with one route costs: the measure for the others."""
    table = RouteTable([[(b"*", 443)]], [uri_names([context(0) + b"/*"])], [(0, 0, 0)])
    return table, [(host_name(0), 443, context(0) + b"/shop/basket/view.jsp")]


def one_vhost_group() -> tuple[RouteTable, list[Query]]:
    """All hosts in one VirtualHostGroup, a UriGroup for each cluster: what Liberty and WAS generate."""
    hosts = [(host_name(n), 443) for n in range(HOSTS)]
    groups: list[list[bytes]] = [[] for _ in range(CLUSTERS)]
    for number in range(URIS):
        groups[number % CLUSTERS].append(context(number) + b"/*")
    table = RouteTable(
        [hosts], [uri_names(group) for group in groups], [(0, n, n) for n in range(CLUSTERS)]
    )
    return table, mixed(lambda rng: (rng.randrange(HOSTS), rng.randrange(URIS)))


def own_groups() -> tuple[RouteTable, list[Query]]:
    """Each cluster has two hosts and twenty Uris of its own, and all of them share `*.jsp`."""
    vhost_groups = [[(host_name(n), 443), (host_name(n + CLUSTERS), 443)] for n in range(CLUSTERS)]
    groups: list[list[bytes]] = [[b"*.jsp"] for _ in range(CLUSTERS)]
    for number in range(URIS):
        groups[number % CLUSTERS].append(context(number) + b"/*")
    table = RouteTable(
        vhost_groups,
        [uri_names(group) for group in groups],
        [(n, n, n) for n in range(CLUSTERS)],
    )

    def pick(rng: random.Random) -> tuple[int, int]:
        cluster = rng.randrange(CLUSTERS)
        return (
            cluster + CLUSTERS * rng.randrange(HOSTS // CLUSTERS),
            cluster + CLUSTERS * rng.randrange(URIS // CLUSTERS),
        )

    return table, mixed(pick)


def shared_uri_group() -> tuple[RouteTable, list[Query]]:
    """A VirtualHostGroup for each of 1,000 hosts, all with the same UriGroup of 10,000 Uris."""
    vhost_groups = [[(host_name(n), 443)] for n in range(HOSTS)]
    uris = uri_names([context(n) + b"/*" for n in range(URIS)])
    routes = [(n, 0, n % CLUSTERS) for n in range(HOSTS)]
    table = RouteTable(vhost_groups, [uris], routes)
    return table, mixed(lambda rng: (rng.randrange(HOSTS), rng.randrange(URIS)))


def everything_overlaps() -> tuple[RouteTable, list[Query]]:
    """Each cluster's group holds `*:443` besides its host, and `/*`, `*.jsp` and `/static/*` besides its Uris."""
    vhost_groups = [[(b"*", 443), (host_name(n), 443)] for n in range(HOSTS)]
    groups: list[list[bytes]] = [[b"/*", b"*.jsp", b"/static/*"] for _ in range(CLUSTERS)]
    for number in range(URIS):
        groups[number % CLUSTERS].append(context(number) + b"/*")
    routes = [(n, n % CLUSTERS, n % CLUSTERS) for n in range(HOSTS)]
    table = RouteTable(vhost_groups, [uri_names(group) for group in groups], routes)
    return table, mixed(lambda rng: (rng.randrange(HOSTS), rng.randrange(URIS)))


def mixed(pick: Callable[[random.Random], tuple[int, int]]) -> list[Query]:
    """Requests for hosts and Uris in no order, the same in every run."""
    rng = random.Random(1)
    queries = []
    for _ in range(QUERIES):
        host, uri = pick(rng)
        queries.append((host_name(host), 443, context(uri) + b"/shop/basket/view.jsp"))
    return queries


def nanoseconds(table: RouteTable, queries: list[Query], matches: int) -> float:
    """Time of one match; every query must match, so that nothing is skipped."""
    rounds = max(1, matches // len(queries))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        matched = table.count_matches(queries, rounds)
        best = min(best, (time.perf_counter_ns() - start) / (rounds * len(queries)))
        assert matched == rounds * len(queries)
    return best


def main() -> None:
    """Prints a line for each shape."""
    print(f"{platform.machine()}, Python {platform.python_version()}, best of {REPEATS}")
    print(f"{'shape':<22}{'build ms':>10}{'one request ns':>16}{'mixed ns':>10}")
    for shape in (one_route, one_vhost_group, own_groups, shared_uri_group, everything_overlaps):
        start = time.perf_counter()
        table, queries = shape()
        build_ms = (time.perf_counter() - start) * 1000
        same = nanoseconds(table, queries[:1], 1_000_000)
        every = nanoseconds(table, queries, 1_000_000)
        print(f"{shape.__name__:<22}{build_ms:>10.1f}{same:>16.0f}{every:>10.0f}")


if __name__ == "__main__":
    main()
