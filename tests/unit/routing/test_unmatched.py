"""Why no Route takes a request, in words that say what to change."""

from __future__ import annotations

import pytest

from wsproxy.config.xml import parse_config
from wsproxy.routing.table import CompiledRoutes, build_route_table
from wsproxy.routing.unmatched import MOST_COMPARED, Unmatched

CLUSTER = '<ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1"/></Server></ServerCluster>'
SHOP = """<Config>
<VirtualHostGroup Name="default_host"><VirtualHost Name="*:80"/><VirtualHost Name="*:443"/></VirtualHostGroup>
<VirtualHostGroup Name="admin_host"><VirtualHost Name="admin.example:9060"/></VirtualHostGroup>
<VirtualHostGroup Name="unused"><VirtualHost Name="*:*"/></VirtualHostGroup>
<UriGroup Name="shop"><Uri Name="/shop/*"/><Uri Name="/cart"/></UriGroup>
<UriGroup Name="admin"><Uri Name="/ibm/console/*"/></UriGroup>
<UriGroup Name="idle"><Uri Name="/*"/></UriGroup>
<Route ServerCluster="c" VirtualHostGroup="default_host" UriGroup="shop"/>
<Route ServerCluster="c" VirtualHostGroup="admin_host" UriGroup="admin"/>
<Route ServerCluster="nowhere" UriGroup="idle"/>
"""


def unmatched(text: str) -> Unmatched:
    """From a table as a worker has it, and without a Config."""
    routes = build_route_table(parse_config(f"{text}{CLUSTER}</Config>".encode(), "f").config)
    return Unmatched(CompiledRoutes.mapped(bytes(routes.table.flat()), routes.names))


def why(host: str, port: int, path: str, text: str = SHOP, *, looks_far: bool = True) -> str:
    return unmatched(text).why(host.encode(), port, path.encode(), path, looks_far=looks_far)


HOSTS = "VirtualHosts: *:80, *:443, admin.example:9060"


@pytest.mark.parametrize(
    ("host", "port", "path", "reason"),
    [
        ("h", 8080, "/nowhere", f"no VirtualHost takes h:8080 ({HOSTS}; nearest: *:80)"),
        ("h", 8080, "/shop/x", f"no VirtualHost takes h:8080 ({HOSTS}; nearest: *:80); Uri /shop/* is for VirtualHostGroup default_host"),
        ("Admin.Example.", 80, "/x", "VirtualHostGroup default_host takes Admin.Example.:80, no Uri takes /x"),
        ("admin.example", 9061, "/", f"no VirtualHost takes admin.example:9061 ({HOSTS}; nearest: admin.example:9060)"),
        ("h", 80, "/shp/x", "VirtualHostGroup default_host takes h:80, no Uri takes /shp/x (nearest: /shop/*)"),
        ("h", 80, "/Shop/x", "VirtualHostGroup default_host takes h:80, no Uri takes /Shop/x (nearest: /shop/*)"),
        ("h", 80, "/cart/x", "VirtualHostGroup default_host takes h:80, no Uri takes /cart/x (nearest: /cart)"),
        ("h", 80, "/ibm/console/a", "VirtualHostGroup default_host takes h:80, no Uri takes /ibm/console/a; Uri /ibm/console/* is for VirtualHostGroup admin_host"),
        ("h", 80, "/", "VirtualHostGroup default_host takes h:80, no Uri takes /"),
    ],
)  # fmt: skip
def test_host_or_path_and_the_nearest(host: str, port: int, path: str, reason: str) -> None:
    """Only what a Route leads to counts; a Uri that stands elsewhere is named with its VirtualHostGroup."""
    assert why(host, port, path) == reason


def test_without_looking_far() -> None:
    """Only what costs nothing: the host's other ports, and any host's."""
    assert "nearest: *:80" in why("h", 1, "/", looks_far=False)
    assert why("h", 80, "/shp/x", looks_far=False).endswith("no Uri takes /shp/x")


def test_a_host_that_is_alike_is_named() -> None:
    text = SHOP.replace("*:80", "shop.example:80").replace("*:443", "shop.example:443")
    assert "nearest: shop.example:80" in why("shops.example", 80, "/", text)
    assert "nearest" not in why("shops.example", 80, "/", text, looks_far=False)


def test_routes_of_any_host_and_none_at_all() -> None:
    text = '<Config><UriGroup Name="u"><Uri Name="/a/*"/></UriGroup><Route ServerCluster="c" UriGroup="u"/>'
    assert why("h", 1, "/b", text) == "no Uri takes /b"
    gone = '<Config><Route ServerCluster="gone"/>'
    assert why("h", 1, "/b", gone) == "there is no Route"


def test_ports_that_some_virtual_host_takes() -> None:
    found = unmatched(SHOP)
    assert [port for port in (0, 80, 443, 9060, 9080) if found.takes_port(port)] == [80, 443, 9060]
    assert unmatched(SHOP.replace("*:443", "h:*")).takes_port(0)
    assert unmatched(SHOP.replace("nowhere", "c")).takes_port(9080)


def test_thousands_of_groups_cost_little() -> None:
    """Neither all groups nor all names are walked; the best is known all the same."""
    groups = "".join(
        f'<VirtualHostGroup Name="g{number}"><VirtualHost Name="h{number}:80"/><VirtualHost Name="*:81"/></VirtualHostGroup>'
        f'<UriGroup Name="u{number}"><Uri Name="/u{number}/*"/></UriGroup>'
        f'<Route ServerCluster="c" VirtualHostGroup="g{number}" UriGroup="u{number}"/>'
        for number in range(10 * MOST_COMPARED)
    )
    found = unmatched(f"<Config>{groups}")
    assert found.why(b"x", 81, b"/", "/") == "VirtualHostGroup g0 takes x:81, no Uri takes /"
    assert found.why(b"x", 80, b"/", "/").startswith(
        f"no VirtualHost takes x:80 (VirtualHosts: h0:80, *:81, h1:80, h2:80 and {10 * MOST_COMPARED - 3} more"
    )
