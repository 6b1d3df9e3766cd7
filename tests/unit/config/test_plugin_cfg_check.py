"""The checks on files made to be slow or odd; what each check says is in tests/golden."""

from __future__ import annotations

import pytest

from wsproxy.config import check_overlap
from wsproxy.config.check import check
from wsproxy.config.model import Config, Route, Server, ServerCluster, Transport, Uri, UriGroup
from wsproxy.config.problems import MAX_PROBLEMS, ProblemList
from wsproxy.config.xml import parse_config
from wsproxy.errors import ConfigRefusedError

TRANSPORT = Transport(hostname="h", port=1)


def cluster(name: str) -> ServerCluster:
    return ServerCluster(name=name, servers=(Server(name="s", transports=(TRANSPORT,)),))


def codes(config: Config) -> list[str]:
    problems = ProblemList("f")
    check(config, problems)
    return [problem.code for problem in problems.in_file_order()]


def test_a_config_made_by_hand_needs_no_file() -> None:
    assert codes(Config(server_clusters=(cluster("c"),), routes=(Route("c"),))) == []


def test_two_clusters_of_one_name_are_an_error_even_on_one_line() -> None:
    config = Config(server_clusters=(cluster("c"), cluster("c")), routes=(Route("c"),))
    assert codes(config) == ["cluster-duplicate"]


def test_equal_claims_of_one_cluster_are_no_overlap() -> None:
    config = Config(server_clusters=(cluster("c"),), routes=(Route("c"), Route("c")))
    assert codes(config) == []


@pytest.mark.timeout(60)
def test_routes_that_all_overlap_are_checked_in_bounded_time() -> None:
    """2,000 Routes over the same 5,000 Uris would be ten million comparisons; with ``check`` they are one class, and unreachable."""
    names = [f"c{number}" for number in range(2000)]
    config = Config(
        server_clusters=tuple(cluster(name) for name in names),
        uri_groups=(UriGroup("u", tuple(Uri(f"/{number}/*") for number in range(5000))),),
        routes=tuple(Route(name, "u", line=number) for number, name in enumerate(names, 1)),
    )
    assert codes(config) == ["route-unreachable"] * MAX_PROBLEMS
    problems = ProblemList("f")
    check_overlap.check_overlaps(config, problems)
    found = [problem.code for problem in problems.items]
    assert set(found) == {"route-overlap"}
    assert 0 < len(found) <= check_overlap.MAX_COMPARISONS // 5000


@pytest.mark.timeout(60)
def test_many_wrong_names_are_all_told_though_not_all_get_a_suggestion() -> None:
    """Finding the nearest name costs too much to be done for each of 50,000, and nobody reads more than a thousand."""
    routes = "".join(f'<Route ServerCluster="cluster{number}x"/>' for number in range(50_000))
    clusters = "".join(
        f'<ServerCluster Name="cluster{number}"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster>'
        for number in range(100)
    )
    route = '<Route ServerCluster="cluster0"/>'
    loaded = parse_config(f"<Config>{clusters}{routes}{route}</Config>".encode(), "f")
    unknown = [problem for problem in loaded.problems if problem.code == "route-cluster-unknown"]
    assert len(unknown) == len(loaded.problems) == MAX_PROBLEMS
    assert loaded.counts.warnings >= 50_000
    assert "nearest" in unknown[0].allowed
    assert "nearest" not in unknown[-1].allowed


def test_a_file_that_is_one_of_several_need_not_lead_anywhere() -> None:
    """Liberty without an application writes one without Route: merged with others it is no error."""
    with pytest.raises(ConfigRefusedError, match="no request is forwarded"):
        parse_config(b"<Config/>", "f")
    loaded = parse_config(b"<Config/>", "f", is_part=True)
    assert [(problem.severity, problem.code) for problem in loaded.problems] == [
        ("warning", "no-route")
    ]
