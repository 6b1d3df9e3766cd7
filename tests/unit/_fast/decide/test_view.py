"""One configuration, frozen: making it touches nothing that serves."""

from __future__ import annotations

import pytest

from tests.support.applied import applied
from tests.support.bed import config_of, server
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.match import RouteTable
from wsproxy._fast.decide.view import Service, View
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.model import (
    Config,
    Route,
    ServerCluster,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.settings import QueueSettings, Settings
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.view import make_view

pytestmark = pytest.mark.asan


def new_config(**more: object) -> Config:
    """Another cookie, another cluster, another server."""
    return Config(
        virtual_host_groups=(VirtualHostGroup("any", (VirtualHost("*:*", "*", None),)),),
        uri_groups=(UriGroup("app", (Uri("/app/*", affinity_cookie="NEWSESSION"),)),),
        server_clusters=(ServerCluster("new", servers=(server("t", 3, clone_id="t1"),)),),
        routes=(Route("new", "app", "any"),),
        **more,  # type: ignore[arg-type]
    )


def test_making_a_view_changes_nothing_that_a_request_could_see() -> None:
    """Other weights, limits and servers are in the slots only when they are applied; so is a cluster that is new."""
    state = SharedState(16, 4)
    plan = build_plan(config_of(server("s", 1), server("b", 2)), Settings(), state)
    plan.apply()
    (cluster,) = plan.clusters
    assert cluster is not None
    cluster.pick_server(0, 1000)
    before = state.copy_segment()
    later = config_of(
        server("s", 1, load_balance_weight=7, max_connections=3), server("b", 2, max_connections=1)
    )
    other = build_plan(later, Settings(queue=QueueSettings(size=5)), state)
    make_view(other, with_pools=True)
    assert state.copy_segment() == before
    assert cluster.server_state(0)["max_connections"] == -1
    new = build_plan(new_config(), Settings(), state)
    make_view(new, with_pools=True)
    assert state.copy_segment()[: len(before)] != b""  # it has grown by slots that are still empty
    other.apply()
    assert cluster.server_state(0)["max_connections"] == 3
    assert cluster.server_state(0)["inflight"] == 1
    new.apply()
    assert cluster.server_state(0)["max_connections"] == 3
    cluster.release_server(0, 0)


def test_service_has_a_pool_for_each_server_or_none() -> None:
    cluster = applied(Cluster(SharedState(2, 1), "c", [("s", "c1", 1, -1)], [0], []))
    assert Service(cluster).pools == []
    with pytest.raises(
        ValueError, match=r"cluster c: found pools .* allowed is one Pool a server, or none"
    ):
        Service(cluster, [object(), object()])


def test_services_are_services_or_nothing() -> None:
    with pytest.raises(TypeError, match="allowed is Service or None"):
        View(routes=RouteTable([], [], []), services=["c"])  # type: ignore[list-item]


def test_nothing_of_a_view_can_be_changed() -> None:
    view = make_view(
        build_plan(config_of(server("s", 1)), Settings(), SharedState(2, 2)), with_pools=False
    )
    for name in ("services", "fallback"):
        with pytest.raises(AttributeError):
            setattr(view, name, None)
