"""A Config becomes rows: names to indices, missing names left out, first definitions kept."""

from __future__ import annotations

import pickle

import pytest

from wsproxy.config.model import (
    Config,
    Route,
    ServerCluster,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.routing.table import CompiledRoutes, build_route_table

ANY = VirtualHostGroup("any", (VirtualHost("*:80", "*", 80),))
ROOT = UriGroup("root", (Uri("/*"),))


def config(
    *routes: Route,
    clusters: tuple[str, ...] = ("one", "two"),
    vhost_groups: tuple[VirtualHostGroup, ...] = (ANY,),
    uri_groups: tuple[UriGroup, ...] = (ROOT,),
) -> Config:
    return Config(
        server_clusters=tuple(ServerCluster(name) for name in clusters),
        virtual_host_groups=vhost_groups,
        uri_groups=uri_groups,
        routes=routes,
    )


def test_route_leads_to_its_cluster() -> None:
    compiled = build_route_table(config(Route("two", "root", "any")))
    found = compiled.table.match_path(b"h", 80, b"/x")
    assert found is not None
    assert compiled.clusters[found.cluster].name == "two"
    assert compiled.routes[found.route] == Route("two", "root", "any")
    assert compiled.uri_group_names[found.uri_group] == "root"
    assert compiled.uri_name(found.uri_group, found.uri) == "/*"
    assert compiled.virtual_host_groups[found.vhost_group].virtual_hosts[found.vhost].name == "*:80"


def test_route_without_groups_takes_any_host_and_any_uri() -> None:
    compiled = build_route_table(config(Route("one")))
    found = compiled.table.match_path(b"h", 9999, b"/x")
    assert found is not None
    assert (found.score, found.uri_group, found.vhost_group) == (0, -1, -1)


def test_route_that_names_something_missing_is_left_out() -> None:
    kept = Route("two", "root", "any")
    compiled = build_route_table(
        config(
            Route("absent", "root", "any"),
            Route("one", "absent", "any"),
            Route("one", "root", "absent"),
            kept,
        )
    )
    assert compiled.routes == (kept,)
    found = compiled.table.match_path(b"h", 80, b"/")
    assert found is not None
    assert (found.route, found.cluster) == (0, 1)


def test_first_definition_of_a_name_counts() -> None:
    compiled = build_route_table(
        config(
            Route("one", "uris", "hosts"),
            clusters=("one", "one"),
            vhost_groups=(
                VirtualHostGroup("hosts", (VirtualHost("a:80", "a", 80),)),
                VirtualHostGroup("hosts", (VirtualHost("b:80", "b", 80),)),
            ),
            uri_groups=(UriGroup("uris", (Uri("/a"),)), UriGroup("uris", (Uri("/b"),))),
        )
    )
    found = compiled.table.match_path(b"a", 80, b"/a")
    assert found is not None
    assert (found.cluster, found.uri_group, found.vhost_group) == (0, 0, 0)
    assert compiled.table.match_path(b"b", 80, b"/a") is None
    assert compiled.table.match_path(b"a", 80, b"/b") is None


def test_virtual_host_without_port_number_takes_any_port() -> None:
    group = VirtualHostGroup("any", (VirtualHost("H:*", "H", None),))
    compiled = build_route_table(config(Route("one", None, "any"), vhost_groups=(group,)))
    assert compiled.table.match_path(b"h", 1234, b"/") is not None
    assert compiled.table.match_path(b"g", 1234, b"/") is None


def test_affinity_names_come_from_the_uri() -> None:
    group = UriGroup("root", (Uri("/*", "APPSESSION", "appsession"),))
    compiled = build_route_table(config(Route("one", "root"), uri_groups=(group,)))
    found = compiled.table.match_path(b"h", 80, b"/x")
    assert found is not None
    assert (found.cookie, found.url_id) == (b"APPSESSION", b"appsession")


def test_empty_config_matches_nothing() -> None:
    compiled = build_route_table(Config())
    assert compiled.routes == ()
    assert compiled.table.match_path(b"h", 80, b"/") is None


def test_mapped_routes_are_those_that_were_compiled() -> None:
    """Their names travel without any Uri; those are read from the table's bytes."""
    uris = tuple(Uri(f"/app{number}/*") for number in range(1000))
    built = build_route_table(
        config(
            Route("two", "root", "any"),
            Route("gone", "root", "any"),
            Route("one", "apps"),
            uri_groups=(ROOT, UriGroup("apps", uris)),
        )
    )
    names = pickle.dumps(built.names)
    assert len(names) < 1000
    mapped = CompiledRoutes.mapped(bytes(built.table.flat()), pickle.loads(names))
    assert mapped.names == built.names
    for path in (b"/x", b"/app999/x", b"/"):
        assert mapped.table.match_path(b"h", 80, path) == built.table.match_path(b"h", 80, path)
    assert [mapped.uri_name(1, at) for at in (0, 999)] == ["/app0/*", "/app999/*"]
    with pytest.raises(ValueError, match="allowed is what flat"):
        CompiledRoutes.mapped(b"", built.names)


def test_uris_of_any_script_come_back_as_they_were() -> None:
    group = UriGroup("root", (Uri("/stra\u00dfe/*"),))
    compiled = build_route_table(config(Route("one", "root"), uri_groups=(group,)))
    assert compiled.uri_name(0, 0) == "/stra\u00dfe/*"
