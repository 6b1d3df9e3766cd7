"""What is left when a server fails: for each finding a file that has it, and one that nearly has it."""

from __future__ import annotations

import pytest

from wsproxy.config.xml import parse_config
from wsproxy.errors import Problem

CODES = {
    "cluster-single",
    "post-buffer-none",
    "connect-timeout-none",
    "weight-starves",
    "server-out-of-service",
    "clone-id-other-cookie",
    "clone-id-other-server",
}


def server(name: str, attributes: str = 'ConnectTimeout="5"', host: str = "") -> str:
    transport = f'<Transport Hostname="{host or name}" Port="1"/>'
    return f'<Server Name="{name}" {attributes}>{transport}</Server>'


def cluster(inside: str, attributes: str = "", name: str = "c") -> str:
    return f'<ServerCluster Name="{name}" {attributes}>{inside}</ServerCluster>'


def found(text: str, *, routes: str = '<Route ServerCluster="c"/>') -> list[Problem]:
    loaded = parse_config(f"<Config>\n{text}{routes}</Config>".encode(), "f")
    return [problem for problem in loaded.problems + loaded.notes if problem.code in CODES]


def codes(text: str, *, routes: str = '<Route ServerCluster="c"/>') -> list[str]:
    return [problem.code for problem in found(text, routes=routes)]


TWO = server("a") + server("b")


def test_two_good_servers_are_nothing_to_tell() -> None:
    assert codes(cluster(TWO)) == []


@pytest.mark.parametrize(
    "inside",
    [
        server("a"),
        server("a") + server("b") + '<PrimaryServers><Server Name="a"/></PrimaryServers>',
        server("a") + '<BackupServers><Server Name="a"/></BackupServers>',
    ],
)
def test_a_cluster_of_one_cannot_fail_over(inside: str) -> None:
    (problem,) = (each for each in found(cluster(inside)) if each.code == "cluster-single")
    assert problem.severity == "note"
    assert 'ServerCluster "c"' in problem.found


@pytest.mark.parametrize(
    "inside",
    [
        TWO,
        TWO
        + '<PrimaryServers><Server Name="a"/></PrimaryServers><BackupServers><Server Name="b"/></BackupServers>',
    ],
)
def test_a_cluster_with_a_backup_can(inside: str) -> None:
    assert "cluster-single" not in codes(cluster(inside))


def test_a_cluster_of_one_without_route_is_nobody_s_problem() -> None:
    extra = cluster(server("x"), name="unrouted")
    assert codes(cluster(TWO) + extra) == []


def test_all_clusters_of_one_are_told_in_one_note() -> None:
    many = "".join(cluster(server("a"), name=f"c{at}") for at in range(5))
    routes = "".join(f'<Route ServerCluster="c{at}"/>' for at in range(5))
    notes = [each for each in found(many, routes=routes) if each.code == "cluster-single"]
    assert len(notes) == 1
    assert '"c0", "c1", "c2" and 2 more' in notes[0].found


@pytest.mark.parametrize(
    ("size", "inside", "is_told"),
    [("0", TWO, True), ("1", TWO, False), ("-1", TWO, False), ("0", server("a"), False)],
)
def test_bodies_that_are_not_kept(size: str, inside: str, *, is_told: bool) -> None:
    assert ("post-buffer-none" in codes(cluster(inside, f'PostBufferSize="{size}"'))) == is_told


@pytest.mark.parametrize(
    ("inside", "names"),
    [
        (server("a") + server("b", ""), '"b"'),
        (server("a", 'ConnectTimeout="0"') + server("b", ""), '"a", "b"'),
        (server("a", ""), None),
        (
            TWO
            + server("out", "")
            + '<PrimaryServers><Server Name="a"/><Server Name="b"/></PrimaryServers>',
            None,
        ),
    ],
)
def test_a_wait_for_a_connection_without_a_limit(inside: str, names: str | None) -> None:
    told = [each for each in found(cluster(inside)) if each.code == "connect-timeout-none"]
    assert [f"Server {names} of" in each.found for each in told] == [True] * (names is not None)


@pytest.mark.parametrize(
    ("weights", "attributes", "severity"),
    [
        ((1, 50), "", "warning"),
        ((1, 49), "", None),
        ((None, 100), "", "warning"),  # 2 where none is stated
        ((None, 99), "", None),
        ((0, 2), "", "note"),
        ((0, 0), "", None),  # weights-zero
        ((1, 1000), 'LoadBalance="Random"', None),
        ((20, 19), "", None),
    ],
)
def test_weights_that_starve(
    weights: tuple[int | None, int | None], attributes: str, severity: str | None
) -> None:
    inside = "".join(
        server(
            name,
            'ConnectTimeout="5"' + (f' LoadBalanceWeight="{weight}"' if weight is not None else ""),
        )
        for name, weight in zip("ab", weights, strict=True)
    )
    told = [
        each.severity
        for each in found(cluster(inside, attributes))
        if each.code == "weight-starves"
    ]
    assert told == [severity] * (severity is not None)


def test_the_weight_of_a_backup_starves_nobody() -> None:
    inside = server("a", 'ConnectTimeout="5" LoadBalanceWeight="100"') + server("b")
    lists = '<PrimaryServers><Server Name="a"/></PrimaryServers><BackupServers><Server Name="b"/></BackupServers>'
    assert codes(cluster(inside + lists)) == []


@pytest.mark.parametrize(
    ("lists", "is_told"),
    [
        ('<PrimaryServers><Server Name="a"/></PrimaryServers>', True),
        ('<BackupServers><Server Name="a"/></BackupServers>', True),
        (
            '<PrimaryServers><Server Name="a"/></PrimaryServers><BackupServers><Server Name="b"/></BackupServers>',
            False,
        ),
        ("", False),
    ],
)
def test_a_server_in_no_list(lists: str, *, is_told: bool) -> None:
    assert ("server-out-of-service" in codes(cluster(TWO + lists))) == is_told


def shared_ids(
    second_host: str, cookie: str, *, clone_id: str = "one", uri: str = "/b/*"
) -> list[str]:
    """Two clusters with a server each, on the host "h" and on another one."""
    text = "".join(
        cluster(server(name, f'ConnectTimeout="5" CloneID="{each}"', host), name=name)
        for name, each, host in (("a", "one", "h"), ("b", clone_id, second_host))
    )
    groups = f'<UriGroup Name="a"><Uri Name="/a/*"/></UriGroup><UriGroup Name="b"><Uri Name="{uri}" AffinityCookie="{cookie}"/></UriGroup>'
    routes = '<Route ServerCluster="a" UriGroup="a"/><Route ServerCluster="b" UriGroup="b"/>'
    return [code for code in codes(text + groups, routes=routes) if code != "cluster-single"]


def test_one_server_with_two_cookies() -> None:
    assert shared_ids("h", "OTHER") == ["clone-id-other-cookie"]
    assert shared_ids("h", "JSESSIONID") == []
    assert shared_ids("h", "OTHER", clone_id="two") == []


def test_two_servers_with_one_id_and_one_cookie() -> None:
    assert shared_ids("other", "JSESSIONID") == ["clone-id-other-server"]
    assert shared_ids("other", "OTHER") == []
    assert shared_ids("other", "JSESSIONID", clone_id="two") == []


def test_ids_of_many_servers_are_told_once_for_two_clusters() -> None:
    text = "".join(
        cluster(
            "".join(
                server(f"s{at}", f'ConnectTimeout="5" CloneID="id{at}"', f"{name}{at}")
                for at in range(4)
            ),
            name=name,
        )
        for name in "ab"
    )
    routes = '<Route ServerCluster="a"/><Route ServerCluster="b"/>'
    (problem,) = (
        each for each in found(text, routes=routes) if each.code == "clone-id-other-server"
    )
    assert '"id0", "id1", "id2" and 1 more in ServerCluster "a" and in "b"' in problem.found
