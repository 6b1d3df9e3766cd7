"""The names that a configuration has for sessions."""

from __future__ import annotations

from wsproxy._fast.tell.mask import mask
from wsproxy.config.xml import parse_config
from wsproxy.routing.sessions import session_names

CONFIG = b"""<Config><ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="1" Protocol="http"/></Server>
<PrimaryServers><Server Name="s"/></PrimaryServers></ServerCluster>
<UriGroup Name="u"><Uri Name="/a" AffinityCookie="SHOPID" AffinityURLIdentifier="shopurl"/><Uri Name="/b"/></UriGroup>
<Route ServerCluster="c" UriGroup="u"/></Config>"""


def test_cookies_and_path_parameters_of_every_uri_are_known() -> None:
    """Those of a Uri without names are the defaults; a session that is tracked by SSL id has a cookie as well."""
    names = session_names(parse_config(CONFIG, "f").config)
    assert names.cookies == {b"SHOPID", b"JSESSIONID", b"SSLJSESSION"}
    query = b"?shopid=1:c1&SHOPURL=2&jsessionid=3&ssljsession=4&page=5"
    assert mask(query, "query", names) == (
        b"?shopid=***:c1&SHOPURL=***&jsessionid=***&ssljsession=***&page=5"
    )
