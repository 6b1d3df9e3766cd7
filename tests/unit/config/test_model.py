"""What the model says of itself, for all who ask."""

from __future__ import annotations

from wsproxy.config.model import Server, ServerCluster
from wsproxy.explain.words import roles_of


def test_servers_count_in_file_order_and_the_cluster_address_is_last() -> None:
    servers = (Server("b"), Server("a"))
    cluster = ServerCluster("c", servers=servers)
    assert cluster.all_servers == servers
    with_address = ServerCluster("c", servers=servers, cluster_address=Server("0"))
    assert [server.name for server in with_address.all_servers] == ["b", "a", "0"]


def test_each_server_has_a_role() -> None:
    servers = (Server("b"), Server("a"))
    assert roles_of(ServerCluster("c", servers=servers)) == ["primary", "primary"]
    with_address = ServerCluster("c", servers=servers, cluster_address=Server("0"))
    assert roles_of(with_address) == ["primary", "primary", "ClusterAddress"]
