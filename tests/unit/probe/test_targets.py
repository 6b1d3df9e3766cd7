"""Whom a configuration has probed, where, and what their slots hear of it."""

from __future__ import annotations

from typing import Any

import pytest

from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.model import Config, Server, ServerCluster, ServerRef, Transport
from wsproxy.config.settings import Settings
from wsproxy.config.settings_probe import ProbeClusterSettings, ProbeSettings
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.probe.ask import where
from wsproxy.probe.targets import begin_probes, targets_of

PLAIN, SECURE = Transport("p.example", 80, "http"), Transport("[2001:db8::7]", 443, "https")


def cluster(name: str, *transports: Transport, **more: Any) -> ServerCluster:
    """Primary s0, backup s1, and s2, which is neither."""
    servers = tuple(Server(f"s{n}", transports=transports) for n in range(3))
    return ServerCluster(
        name,
        servers=servers,
        primary_servers=(ServerRef("s0"),),
        backup_servers=(ServerRef("s1"),),
        **more,
    )


def plan_of(*clusters: ServerCluster, state: SharedState | None = None, **probe: Any) -> Plan:
    settings = Settings(probe=ProbeSettings(**probe))
    plan = build_plan(Config(server_clusters=clusters), settings, state or SharedState(32, 8))
    plan.apply()
    begin_probes(plan)
    return plan


@pytest.mark.parametrize(
    ("transports", "kind", "asked"),
    [
        ((PLAIN, SECURE), "http", "GET http://p.example:80/"),
        ((PLAIN, SECURE), "https", "GET https://[2001:db8::7]:443/"),
        ((PLAIN, SECURE), "tcp", "connection to p.example:80"),
        ((SECURE,), "http", "GET https://[2001:db8::7]:443/"),
        ((PLAIN,), "https", "GET http://p.example:80/"),
        ((), "http", "GET http://(no Transport):0/"),
    ],
)
def test_a_probe_goes_where_requests_go(
    transports: tuple[Transport, ...], kind: str, asked: str
) -> None:
    targets = list(targets_of(plan_of(cluster("c", *transports), type=kind)))
    assert [where(target) for target in targets] == [asked] * 2


def test_servers_that_get_no_request_are_not_probed() -> None:
    """Nor a ClusterAddress, which gets all of them."""
    address = Server("address", transports=(PLAIN,))
    plan = plan_of(cluster("c", PLAIN, cluster_address=address), type="http", initial="down")
    assert [target.key for target in targets_of(plan)] == [("c", "s0"), ("c", "s1")]
    assert [change.server for change in plan.state.changes()] == ["s0", "s1"]


def test_each_cluster_has_its_own_settings() -> None:
    own = (
        ProbeClusterSettings("off", type="off"),
        ProbeClusterSettings("other", interval_s=9.0, initial="until_probed", slow_start_s=3.0),
    )
    clusters = [cluster(name, PLAIN) for name in ("all", "off", "other")]
    plan = plan_of(*clusters, type="http", cluster=own)
    found = {target.key: target.probe.interval_s for target in targets_of(plan)}
    assert found == {("all", "s0"): 5, ("all", "s1"): 5, ("other", "s0"): 9, ("other", "s1"): 9}
    marks = [(each.kind, each.cluster, each.worker) for each in plan.state.changes()]
    assert marks == [(ChangeKind.MARKED_DOWN, "other", -2)] * 2
    assert plan.state.wants_prober
    other = plan.clusters[2]
    assert other is not None
    assert other.pick_server(0, now_ms()) == -1


def test_nothing_is_probed_without_a_type() -> None:
    state = SharedState(32, 8)
    plan_of(cluster("c", PLAIN), state=state, type="http")
    assert state.wants_prober
    assert list(targets_of(plan_of(cluster("c", PLAIN), state=state, slow_start_s=5.0))) == []
    assert not state.wants_prober
