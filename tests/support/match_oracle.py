"""
The Route of a request, found the way PLUGIN.md 2 tells it: every Route, every VirtualHost, every Uri, in turn.

Driven by ``tests/unit/_fast/decide``, which holds ``match`` against it. Must not share code or ideas with it.
"""

from __future__ import annotations

import re

from wsproxy._fast.decide.match import Match

VhostRows = list[list[tuple[bytes, int]]]
UriRows = list[list[tuple[bytes, bytes, bytes]]]
RouteRows = list[tuple[int, int, int]]
Score = tuple[int, int]  # score, exact match


def vhost_score(host: bytes, port: int, vhost: tuple[bytes, int]) -> Score | None:
    """Score of one VirtualHost; None: no match."""
    wanted_host, wanted_port = vhost
    if len(host) > 1:
        host = host.removesuffix(b".")  # RFC 3986 3.2.2: the same name
    if wanted_host != b"*" and wanted_host.lower() != host.lower():
        return None
    if wanted_port != -1 and wanted_port != port:
        return None
    return 1, int(wanted_host != b"*" and wanted_port != -1)


def uri_score(path: bytes, pattern: bytes) -> Score | None:
    """Score of one Uri; None: no match."""
    path = re.split(rb"[;?]", path, maxsplit=1)[0]
    parts = pattern.split(b"*")
    if len(parts) > 2:
        return None
    if len(parts) == 1:
        return (len(path), len(path)) if path == pattern else None
    before, after = parts
    expression = re.escape(before) + rb"[\x00-\xff]*" + re.escape(after)
    if re.fullmatch(expression, path, re.DOTALL):
        return len(before) + len(after), len(before)
    if before.endswith(b"/") and not after and path == before[:-1]:
        return len(path), len(path)
    return None


def order(score: int, exact: int, *, exact_first: bool) -> Score:
    return (exact, score) if exact_first else (score, exact)


def best(scores: list[Score | None], *, exact_first: bool) -> tuple[Score, int] | None:
    """The highest score, then the highest exact match, then the first; with its index."""
    found: tuple[Score, int] | None = None
    for index, score in enumerate(scores):
        if score is not None and (
            found is None
            or order(*score, exact_first=exact_first) > order(*found[0], exact_first=exact_first)
        ):
            found = score, index
    return found


def match_one(
    vhost_groups: VhostRows,
    uri_groups: UriRows,
    routes: RouteRows,
    number: int,
    request: tuple[bytes, int, bytes],
    *,
    exact_first: bool = False,
) -> Match | None:
    """What one Route scores for (host, port, path); None: no match."""
    host, port, path = request
    vhost_group, uri_group, cluster = routes[number]
    vhost_found: tuple[Score, int] | None = ((0, 0), -1)
    uri_found: tuple[Score, int] | None = ((0, 0), -1)
    cookie, url_id = b"JSESSIONID", b"jsessionid"
    if vhost_group >= 0:
        vhost_found = best(
            [vhost_score(host, port, each) for each in vhost_groups[vhost_group]],
            exact_first=exact_first,
        )
    if uri_group >= 0:
        uri_found = best(
            [uri_score(path, uri) for uri, _, _ in uri_groups[uri_group]], exact_first=exact_first
        )
    if vhost_found is None or uri_found is None:
        return None
    if uri_group >= 0:
        _, cookie, url_id = uri_groups[uri_group][uri_found[1]]
    return Match(
        route=number,
        cluster=cluster,
        score=vhost_found[0][0] + uri_found[0][0],
        exact=vhost_found[0][1] + uri_found[0][1],
        uri_group=uri_group,
        uri=uri_found[1],
        vhost_group=vhost_group,
        vhost=vhost_found[1],
        cookie=cookie,
        url_id=url_id,
    )


def match(
    vhost_groups: VhostRows,
    uri_groups: UriRows,
    routes: RouteRows,
    request: tuple[bytes, int, bytes],
    *,
    exact_first: bool = False,
) -> Match | None:
    """The best Route: highest score, then highest exact match, then first in file order."""
    found: Match | None = None
    for number in range(len(routes)):
        each = match_one(vhost_groups, uri_groups, routes, number, request, exact_first=exact_first)
        if each is not None and (
            found is None
            or order(each.score, each.exact, exact_first=exact_first)
            > order(found.score, found.exact, exact_first=exact_first)
        ):
            found = each
    return found
