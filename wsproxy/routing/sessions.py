"""
The names that a configuration has for sessions: what logs mask, and of which cookies they show the clone ids.

Driven by whoever writes a log. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from wsproxy._fast.tell.mask import SessionNames
from wsproxy.config.model import Config, ServerCluster
from wsproxy.routing.table import RouteNames

# Of sessions that are tracked by SSL id, whatever the Uris say (PLUGIN 3.3).
SSL_COOKIE = b"SSLJSESSION"


def session_names(config: Config) -> SessionNames:
    """AffinityCookie and AffinityURLIdentifier of every Uri, and the separator of every cluster where that is one."""
    uris = [uri for group in config.uri_groups for uri in group.uris]
    return _names(
        {uri.affinity_cookie for uri in uris},
        {uri.affinity_url_identifier for uri in uris},
        config.server_clusters,
    )


def session_names_of(routes: RouteNames) -> SessionNames:
    """The same of compiled Routes, for who has no Config with all Uris."""
    return _names(routes.affinity_cookies, routes.affinity_url_identifiers, routes.clusters)


def _names(
    cookies: Iterable[str], identifiers: Iterable[str], clusters: Iterable[ServerCluster]
) -> SessionNames:
    separators = {cluster.clone_separator for cluster in clusters}
    return SessionNames(
        frozenset(each.encode() for each in cookies) | {SSL_COOKIE},
        frozenset(each.encode() for each in identifiers),
        separators.pop().encode() if len(separators) == 1 else b"",
    )
