"""A Config becomes clusters and pools: who is primary, which Transport, which limits."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.view import Service, View
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.address import trusted_network
from wsproxy.config.model import Config, Property, Server, ServerCluster, ServerRef, Transport
from wsproxy.config.settings import (
    AffinitySettings,
    FallbackSettings,
    Settings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.dataplane.plan import (
    Plan,
    build_plan,
    doubt_transports,
)
from wsproxy.dataplane.upstream_tls import TransportSecurity, choose_transport
from wsproxy.dataplane.view import make_view
from wsproxy.errors import StartError

HTTP = Transport("app.example", 9080, "http")
HTTPS = Transport("app.example", 9443, "https")
KDB = Transport("app.example", 9444, "https", properties=(Property("keyring", "/x/key.kdb"),))


def names(*given: str) -> tuple[ServerRef, ...]:
    return tuple(map(ServerRef, given))


def servers(*given: str) -> tuple[Server, ...]:
    return tuple(Server(name, clone_id=name, transports=(HTTP,)) for name in given)


def plan_of(cluster: ServerCluster, settings: Settings | None = None) -> Plan:
    plan = build_plan(
        Config(server_clusters=(cluster,)), settings or Settings(), SharedState(32, 4)
    )
    plan.apply()
    return plan


def service_of(cluster: ServerCluster, settings: Settings | None = None) -> Service:
    (service,) = make_view(plan_of(cluster, settings), with_pools=True).services
    assert service is not None
    return service


def security_of(plan: Plan) -> TransportSecurity:
    assert plan.security is not None
    return plan.security


def order_of(cluster: ServerCluster) -> list[str]:
    """Who gets requests while all before are known to have failed: primaries, then backups."""
    built = plan_of(cluster).clusters[0]
    assert built is not None
    tried: list[int] = []
    while (server := built.pick_server(0, 1000, tried)) >= 0:
        tried.append(server)
    return [built.server_names[at] for at in tried]


def test_without_lists_every_server_is_a_primary() -> None:
    assert sorted(order_of(ServerCluster("c", servers=servers("a", "b", "c")))) == ["a", "b", "c"]


def test_backups_come_after_primaries_in_their_order() -> None:
    cluster = ServerCluster(
        "c",
        servers=servers("a", "b", "c", "d"),
        primary_servers=names("b"),
        backup_servers=names("d", "a"),
    )
    assert order_of(cluster) == ["b", "d", "a"]


def test_server_in_neither_list_is_out_of_service() -> None:
    cluster = ServerCluster("c", servers=servers("a", "b"), primary_servers=names("a"))
    assert order_of(cluster) == ["a"]


def test_backups_alone_serve() -> None:
    cluster = ServerCluster("c", servers=servers("a", "b"), backup_servers=names("b"))
    assert order_of(cluster) == ["b"]


def test_server_named_in_both_lists_is_a_primary_once() -> None:
    cluster = ServerCluster(
        "c",
        servers=servers("a", "b"),
        primary_servers=names("b", "b"),
        backup_servers=names("b", "a"),
    )
    assert order_of(cluster) == ["b", "a"]


def test_names_that_no_server_has_are_passed_over() -> None:
    cluster = ServerCluster("c", servers=servers("a"), primary_servers=names("gone", "a"))
    assert order_of(cluster) == ["a"]


def test_name_used_twice_means_the_first() -> None:
    twice = (Server("a", clone_id="1", transports=(HTTP,)), Server("a", clone_id="2"))
    built = plan_of(ServerCluster("c", servers=twice, primary_servers=names("a"))).clusters[0]
    assert built is not None
    assert built.find_clone_id(b"1") == 0
    assert built.find_clone_id(b"2") == -1


def test_cluster_address_takes_requests_without_affinity() -> None:
    address = Server("balancer", transports=(HTTP,))
    built = plan_of(ServerCluster("c", servers=servers("a"), cluster_address=address)).clusters[0]
    assert built is not None
    assert built.server_names == ("a", "balancer")
    assert [built.pick_server(0, 1000) for _ in range(3)] == [1, 1, 1]
    assert built.find_clone_id(b"a") == 0


def test_cluster_without_servers_has_no_service() -> None:
    plan = plan_of(ServerCluster("empty"))
    assert plan.clusters == (None,)
    view = make_view(plan, with_pools=True)
    assert (view.services, view.fallback) == ([None], None)


@pytest.mark.parametrize(
    ("transports", "scheme", "chosen"),
    [
        ((HTTP, HTTPS), "http", HTTP),
        ((HTTPS, HTTP), "http", HTTP),
        ((HTTP, HTTPS), "https", HTTPS),
        ((HTTPS,), "http", HTTPS),
        ((HTTP,), "https", HTTP),
        ((HTTP, KDB), "https", HTTP),
        ((KDB, HTTP), "http", HTTP),
        ((KDB,), "https", KDB),
        ((), "http", None),
        ((HTTP, Transport("other", 1, "http")), "http", HTTP),
    ],
)
def test_transport_is_the_first_usable_of_the_scheme_else_of_the_other(
    transports: tuple[Transport, ...], scheme: str, chosen: Transport | None
) -> None:
    """An https Transport whose keyring cannot be used gives way to http, never the other way round."""
    security = TransportSecurity(UpstreamTlsSettings(), Path())
    assert choose_transport(Server("s", transports=transports), scheme, security) is chosen


def only_pool(server: Server, settings: Settings | None = None) -> Pool:
    pool: Pool
    (pool,) = service_of(ServerCluster("c", servers=(server,)), settings).pools
    return pool


def test_pool_knows_where_the_server_is() -> None:
    pool = only_pool(Server("s", transports=(HTTPS, HTTP)))
    assert (pool.name, pool.host, pool.port) == ("s", "app.example", 9080)


def test_brackets_of_an_ipv6_address_are_taken_off() -> None:
    assert only_pool(Server("s", transports=(Transport("[::1]", 80, "http"),))).host == "::1"


def test_unusable_transport_is_named_once_for_all_servers() -> None:
    """With the line of the first server, the reason and what follows."""
    found = tuple(Server(name, transports=(KDB,), line=7) for name in ("s1", "s2", "s3", "s4"))
    plan = plan_of(ServerCluster("c", servers=(*found, *servers("plain"))))
    [problem] = doubt_transports(plan.config, LoadedSettings(), security_of(plan))
    text = str(problem)
    assert ':7: the https Transport of "s1", "s2", "s3" and 1 more cannot be used: ' in text
    assert '-db "/x/key.kdb"' in text
    assert text.endswith("until then no request reaches it")


@pytest.mark.parametrize(
    ("keyring", "words"),
    [
        (r"C:\IBM\plugin-key.kdb", r'-db "C:\IBM\plugin-key.kdb" -stashed -new_db "C:\IBM\plugin-key.p12"'),
        (r"\\host\share\key.kdb", r'-db "\\host\share\key.kdb"'),
        (r"D:/keys/key.p12", r"a file of Windows; allowed is a file of this system"),
    ],
)  # fmt: skip
def test_a_keyring_of_windows_is_not_looked_for_here(keyring: str, words: str) -> None:
    """Its command names the file as it is there, and what to do with the new one."""
    transport = Transport("h", 9443, "https", properties=(Property("keyring", keyring),))
    plan = plan_of(ServerCluster("c", servers=(Server("s", transports=(transport,)),)))
    [problem] = doubt_transports(plan.config, LoadedSettings(), security_of(plan))
    assert words in str(problem)
    assert "/C:" not in str(problem)
    if "kdb" in keyring:
        assert "key.p12 and " in str(problem)
        assert "are copied here" in str(problem)


def test_server_with_both_transports_has_a_pool_for_each_scheme() -> None:
    """And one pool for both schemes where it has one Transport."""
    service = service_of(
        ServerCluster(
            "c",
            servers=(
                Server("both", transports=(HTTPS, HTTP)),
                Server("secure", transports=(HTTPS,)),
            ),
        )
    )
    assert [(pool.port, pool.tls is None) for pool in service.pools] == [
        (9080, True),
        (9443, False),
    ]
    assert [pool.port for pool in service.secure_pools] == [9443, 9443]
    assert service.pools[1] is service.secure_pools[1]


@pytest.mark.parametrize(("given", "used"), [(0, 4.0), (7, 7.0)])
def test_connect_timeout_0_means_the_setting(given: int, used: float) -> None:
    settings = Settings(upstream=UpstreamSettings(connect_s=4.0))
    server = Server("s", transports=(HTTP,), connect_timeout_s=given)
    assert only_pool(server, settings).connect_timeout_s == used


@pytest.mark.parametrize(
    ("given", "milliseconds", "marks_down"),
    [(0, 0, False), (60, 60_000, False), (-60, 60_000, True)],
)
def test_negative_server_io_timeout_marks_down(
    given: int, milliseconds: int, marks_down: bool
) -> None:
    pool = only_pool(Server("s", transports=(HTTP,), server_io_timeout_s=given))
    assert (pool.io_timeout_ms, pool.io_timeout_marks_down) == (milliseconds, marks_down)


def test_fallback_upstream_is_a_cluster_of_one() -> None:
    settings = Settings(fallback=FallbackSettings(mode="upstream", upstream="[::1]:8080"))
    fallback = make_view(plan_of(ServerCluster("empty"), settings), with_pools=True).fallback
    assert fallback is not None
    assert [(pool.host, pool.port) for pool in fallback.pools] == [("::1", 8080)]


def test_view_refuses_what_is_no_service() -> None:
    plan = plan_of(ServerCluster("empty"))
    with pytest.raises(TypeError, match="among the services"):
        View(routes=plan.routes.table, services=["s"])  # type: ignore[list-item]


def test_setting_may_only_name_clusters_that_exist() -> None:
    """The nearest name is offered, else all of them."""
    clusters = (ServerCluster("shop"), ServerCluster("bank"))
    config = Config(server_clusters=clusters, path="plugin-cfg.xml")
    for name, hint in (("SHOP", "did you mean shop?"), ("zzz", "allowed: shop, bank")):
        settings = Settings(affinity=AffinitySettings(strip_clone_ids=("bank", "*", name)))
        with pytest.raises(StartError) as refused:
            build_plan(config, settings, SharedState(32, 4))
        assert str(refused.value) == (
            f'affinity.strip_clone_ids: found "{name}", which is no ServerCluster of plugin-cfg.xml; {hint} (or "*" for all)'
        )


@pytest.mark.parametrize(
    ("name", "address", "bits"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1", 128),
        ("[2001:DB8:0::1]", "2001:db8::1", 128),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1", 128),
        ("10.0.0.0/8", "::ffff:10.0.0.0", 104),
        ("[2001:db8::]/32", "2001:db8::", 32),
        ("10.0.0.1/8", "", 0),
        ("proxy.example", "", 0),
    ],
)
def test_trusted_proxy_is_an_address_or_a_network(name: str, address: str, bits: int) -> None:
    expected = (ipaddress.ip_address(address).packed, bits) if address else None
    assert trusted_network(name) == expected


def test_service_needs_one_pool_for_each_server() -> None:
    cluster = Cluster(SharedState(8, 2), "c", [("a", None, 1, -1), ("b", None, 1, -1)], [0, 1], [])
    with pytest.raises(ValueError, match="one Pool a server, or none"):
        Service(cluster, [Pool("a", "h", 1)])
