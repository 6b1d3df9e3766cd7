"""What a simulation is told on its command line, and what it says to what it cannot be told."""

from __future__ import annotations

import re

import pytest

from tests.support.simulated import TWO, read_xml
from wsproxy.errors import StartError
from wsproxy.simulate.options import (
    MAX_CONNECTIONS,
    WEIGHT,
    change_servers,
    read_outage,
    read_rate,
)

ANOTHER = TWO.replace(
    "<UriGroup",
    '<ServerCluster Name="d"><Server Name="s1" CloneID="k9"><Transport Hostname="h9" Port="9080"/></Server></ServerCluster><UriGroup',
)
BEGAN = 1_795_255_200_000_000  # 2026-11-21T10:00
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("option", "begins_s", "lasts_s"),
    [
        ("s1@10:32+5m", 32 * 60, 300),
        ("s1@10:32:07+30s", 32 * 60 + 7, 30),
        ("c/s1@09:50+1h", -600, 3600),
        ("s1@2026-11-21T10:01+2s", 60, 2),
        ("s1@2026-11-21 10:01:02+2s", 62, 2),
    ],
)
def test_an_outage_begins_by_the_clock_of_the_log(option: str, begins_s: int, lasts_s: int) -> None:
    outage = read_outage(option, read_xml(TWO))
    assert (outage.cluster, outage.server, outage.duration_s) == (0, 0, lasts_s)
    assert outage.begin_us(BEGAN, BEGAN + HOUR) == BEGAN + begins_s * 1_000_000


def test_a_clock_of_the_next_day_is_meant_where_the_log_goes_on_after_midnight() -> None:
    outage = read_outage("s1@00:10+5m", read_xml(TWO))
    assert outage.begin_us(BEGAN, BEGAN + 15 * HOUR) == BEGAN + 14 * HOUR + 600_000_000


@pytest.mark.parametrize("option", ["s1@11:01+5m", "s1@09:00+5m", "s1@2026-11-22T10:30+5m"])
def test_an_outage_outside_the_log_is_refused(option: str) -> None:
    with pytest.raises(StartError, match=re.escape(f"--down {option}: found 2026-11-2")) as caught:
        read_outage(option, read_xml(TWO)).begin_us(BEGAN, BEGAN + HOUR)
    assert "2026-11-21T10:00:00.000000 to 2026-11-21T11:00:00.000000" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("s1", "allowed is SERVER@TIME+DURATION, as s1@10:32+5m"),
        ("s1@10:32", "allowed is SERVER@TIME+DURATION"),
        ("s1@25:00+5m", "hour must be in 0..23"),
        ("s1@2026-02-30T10:00+5m", "day is out of range for month"),
        ("s1@10:32+5", "DURATION a number with s, m or h"),
        ("s1@10:32+0s", "which lasts no time"),
        ("@10:32+5m", "allowed is SERVER@TIME"),
        ("S1@10:32+5m", "--down: found server S1; did you mean s1?"),
        ("other@10:32+5m", "--down: found server other; allowed: c/s1, c/s2, s1, s2"),
    ],
)
def test_an_outage_that_is_none_is_explained(option: str, says: str) -> None:
    with pytest.raises(StartError, match=re.escape(says)):
        read_outage(option, read_xml(TWO))


def test_a_name_of_several_clusters_needs_its_cluster() -> None:
    with pytest.raises(
        StartError, match=re.escape("found server s1; allowed is one of c/s1, d/s1")
    ):
        read_outage("s1@10:32+5m", read_xml(ANOTHER))
    assert read_outage("d/s1@10:32+5m", read_xml(ANOTHER)).cluster == 1
    changed = change_servers(read_xml(ANOTHER), "--weight", WEIGHT, ("d/s1=7",))
    assert [each.servers[0].load_balance_weight for each in changed.server_clusters] == [2, 7]


def test_weights_and_max_connections_replace_those_of_the_file() -> None:
    config = change_servers(read_xml(TWO), "--weight", WEIGHT, ("s1=0", "s2=9"))
    config = change_servers(config, "--max-connections", MAX_CONNECTIONS, ("s2=50",))
    servers = config.server_clusters[0].servers
    assert [(each.load_balance_weight, each.max_connections) for each in servers] == [
        (0, -1),
        (9, 50),
    ]
    one = TWO.replace("<UriGroup", "<UriGroup").replace(
        "</ServerCluster>",
        '<ClusterAddress Name="a"><Transport Hostname="h" Port="1"/></ClusterAddress></ServerCluster>',
    )
    changed = change_servers(read_xml(one), "--max-connections", MAX_CONNECTIONS, ("a=3",))
    address = changed.server_clusters[0].cluster_address
    assert address is not None
    assert address.max_connections == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ("s2",),
            "--weight: found s2; allowed is SERVER=NUMBER with a LoadBalanceWeight from 0 on",
        ),
        (("s2=-1",), "--weight: found s2=-1; allowed is"),
        (("s2=two",), "--weight: found s2=two; allowed is"),
        (("=2",), "--weight: found =2; allowed is"),
        (("s3=2",), "--weight: found server s3; allowed: c/s1, c/s2, s1, s2"),
        (("s2=1", "c/s2=2"), "--weight: found c/s2 twice"),
    ],
)
def test_a_weight_that_is_none_is_explained(options: tuple[str, ...], says: str) -> None:
    with pytest.raises(StartError, match=re.escape(says)):
        change_servers(read_xml(TWO), "--weight", WEIGHT, options)


@pytest.mark.parametrize(("option", "factor"), [("x2", 2.0), ("x0.5", 0.5), ("x1", 1.0)])
def test_a_rate_is_a_factor(option: str, factor: float) -> None:
    assert read_rate(option) == factor


@pytest.mark.parametrize("option", ["2", "x", "x0", "x-1", "x1e9", "2x"])
def test_a_rate_that_is_none_is_explained(option: str) -> None:
    with pytest.raises(StartError, match=f"--rate: found {option}; allowed is xN, as x2"):
        read_rate(option)
