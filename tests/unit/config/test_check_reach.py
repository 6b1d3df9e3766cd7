"""Routes that no request takes: whatever is told of is true of every request, and what nearly is, is not told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.match_oracle import match
from wsproxy.config.check_reach import check_reach
from wsproxy.config.model import (
    Config,
    Route,
    Server,
    ServerCluster,
    Transport,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.patterns import parse_virtual_host
from wsproxy.config.problems import ProblemList
from wsproxy.routing.table import build_route_table, group_rows


def virtual_host(name: str) -> VirtualHost:
    parts = parse_virtual_host(name)
    return VirtualHost(name, parts.host, parts.port)


def config_of(*routes: tuple[str, str]) -> Config:
    """A Route to a cluster of its own for each pair of hosts and Uris, with blanks between them; empty: the Route names none."""
    hosts = dict.fromkeys(each for each, _ in routes if each)
    uris = dict.fromkeys(each for _, each in routes if each)
    server = Server("s", transports=(Transport("h", 1),))
    return Config(
        virtual_host_groups=tuple(
            VirtualHostGroup(names, tuple(map(virtual_host, names.split()))) for names in hosts
        ),
        uri_groups=tuple(UriGroup(names, tuple(map(Uri, names.split()))) for names in uris),
        server_clusters=tuple(
            ServerCluster(f"c{at}", servers=(server,)) for at in range(len(routes))
        ),
        routes=tuple(
            Route(f"c{at}", uris or None, hosts or None, line=at + 1)
            for at, (hosts, uris) in enumerate(routes)
        ),
    )


def unreachable(*routes: tuple[str, str]) -> list[int]:
    return sorted(check_reach(config_of(*routes), ProblemList("f")))


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        (("*:*", "/a/*"), ("*:80", "/a/*")),
        (("*:*", "/a/*"), ("www:*", "/a/*")),
        (("www:*", "/a/*"), ("www:*", "/a/*")),
        (("*:80", "/a*"), ("*:80", "/a")),
        (("*:80", "/a/*"), ("*:80", "/a")),
        (("*:80 *:443", "/a/* /b/*"), ("*:443", "/b/*")),
        (("*:80", ""), ("*:80", "")),
        (("*:*", ""), ("*:80", "")),
        (("", "/a/*"), ("", "/a/*")),
    ],
)
def test_a_wider_route_wins_where_it_comes_first(
    wider: tuple[str, str], narrower: tuple[str, str]
) -> None:
    assert unreachable(wider, narrower) == [1]
    if wider != narrower:
        assert unreachable(narrower, wider) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("*:*", "/a/*"), ("www:80", "/a/*")),  # host and port together count more
        (("*:*", "/*"), ("*:*", "/a/*")),  # more characters count more
        (("*:*", "*.jsp"), ("*:*", "/a/*.jsp")),
        (("*:80", "/a/*"), ("*:80 *:443", "/a/*")),  # one host is left
        (("*:80", "/a/*"), ("*:80", "/a/* /b/*")),  # one Uri is left
        (("*:80", "/a/*"), ("*:443", "/a/*")),
        (("*:80", "/a/*"), ("", "/a/*")),  # other ports are left
        (
            ("*:80", "*"),
            ("*:80", ""),
        ),  # of one score, and the second is no narrower: see the next test
    ],
)
def test_what_nearly_never_wins_is_not_told(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    expected = [1] if first[1] == "*" else []
    assert unreachable(first, second) == expected


@pytest.mark.parametrize(
    ("loser", "winner"),
    [
        (("", "/a/*"), ("*:*", "/a/*")),
        (("", ""), ("*:*", "/*")),
        (("*:80", ""), ("*:80", "/*")),
        (("*:80", "*"), ("*:80", "/*")),
    ],
)
def test_a_route_that_names_nothing_loses_to_one_that_names_all(
    loser: tuple[str, str], winner: tuple[str, str]
) -> None:
    """Naming every host or path scores, naming none does not: whatever the order."""
    assert unreachable(loser, winner) == [0]
    assert unreachable(winner, loser) == [1]


_HOSTS = st.lists(
    st.sampled_from(("*:*", "*:80", "a:80", "a:*", "*:81", "b:80")),
    min_size=1,
    max_size=3,
    unique=True,
).map(" ".join)
_URIS = st.lists(
    st.sampled_from(("/*", "*", "/a", "/a*", "/a/*", "/a/b", "*b", "/a/*b", "/", "*.j*", "/ab")),
    min_size=1,
    max_size=3,
    unique=True,
).map(" ".join)
_ROUTES = st.tuples(st.one_of(st.just(""), _HOSTS), st.one_of(st.just(""), _URIS))
_REQUESTS = [
    (host, port, path)
    for host in (b"a", b"b", b"c")
    for port in (80, 81, 82)
    for path in (b"/", b"/a", b"/ab", b"/a/", b"/a/b", b"/a/cb", b"/b", b"/x.j", b"/abc", b"/a/b/c")
]


@settings(max_examples=300)
@given(st.lists(_ROUTES, min_size=1, max_size=5), st.booleans())
def test_no_request_takes_a_route_that_is_told_of(
    routes: list[tuple[str, str]], exact_first: bool
) -> None:
    """Nor would it with ``routing.prefer = "exact"``."""
    config = config_of(*routes)
    told = check_reach(config, ProblemList("f"))
    compiled = build_route_table(config, exact_first=exact_first)
    hosts, uris = group_rows(config)
    for request in _REQUESTS:
        found = match(hosts, uris, list(compiled.rows), request, exact_first=exact_first)
        if found is not None:
            assert found.route not in told


def test_the_one_that_wins_is_named() -> None:
    problems = ProblemList("f")
    config = config_of(("*:*", "/a/*"), ("*:80", "/a/*"))
    check_reach(config, problems)
    (problem,) = problems.in_file_order()
    assert str(problem) == (
        'f:2: found a Route to ServerCluster "c1" that no request takes: the Route on line 1 takes all of its VirtualHosts and '
        'Uris, with the same score or a higher one, to "c0"; allowed is this Route before the other one, or no such Route'
    )


@pytest.mark.parametrize(
    ("hosts", "is_told"),
    [("*.example.com:80", True), ("*.example.com:80 www.example.com:80", False), ("", False)],
)
def test_uris_that_no_virtual_host_leads_to(hosts: str, *, is_told: bool) -> None:
    problems = ProblemList("f")
    check_reach(config_of((hosts, "/a/* /b/*")), problems)
    assert [problem.code for problem in problems.items] == ["uri-group-unreached"] * is_told


def test_uris_are_reached_where_one_of_their_routes_can_match() -> None:
    problems = ProblemList("f")
    check_reach(config_of(("*.example.com:80", "/a/*"), ("*:80", "/a/*")), problems)
    assert problems.items == []


@pytest.mark.timeout(60)
def test_files_made_to_be_slow_are_not() -> None:
    """Each of 3,000 Routes has the first Uri and the first host of all others: compared pair by pair that takes minutes."""
    many = [(f"*:1 h{at}:80", f"/a /u{at}") for at in range(3000)]
    check_reach(config_of(*many), ProblemList("f"))
    shared = " ".join(f"/u{at}" for at in range(3000))
    check_reach(config_of(*[(f"h{at}:80", shared) for at in range(3000)]), ProblemList("f"))
    nested = [(f"*:{at + 1}", " ".join(f"/u{n}" for n in range(at))) for at in range(1, 600)]
    check_reach(config_of(*nested), ProblemList("f"))
    apart = config_of(*[(f"h{at}:80", f"/u{at}/*") for at in range(30_000)])
    assert check_reach(apart, ProblemList("f")) == frozenset()
