"""
A site for nginx (open source): a ``map`` of the cookie to an upstream for each cluster, ``location`` blocks for each host.

Pure. Locations are as nginx finds them quickest: exact ones and prefixes in its tree; a pattern with an end stands as a regular
expression inside each prefix that it outranks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wsproxy.bench.peers.common import (
    Place,
    Said,
    affinity_of,
    are_equal,
    cannot_of_all,
    key_of,
    scaled,
    takers,
)
from wsproxy.bench.site import ANY, Cluster, Member, Rule, Site

# Of a cookie's name: nginx makes a variable of it.
_VARIABLE = re.compile(r"[A-Za-z0-9_]+")


def say(site: Site, place: Place) -> Said:
    """Values for ``nginx.conf``."""
    upstreams = [
        block
        for cluster in site.clusters
        for block in _upstreams(cluster, place.pool_size)
        if cluster.members
    ]
    maps = [_map(site.clusters[at], cookie) for at, cookie in site.affinities]
    hosts = [host for host in site.rules if host != ANY]
    servers = [_server(site, place, ANY)]
    servers += [_server(site, place, host) for host in hosts]
    values = {"map_blocks": "\n".join(maps), "upstream_blocks": "\n".join(upstreams)}
    return Said(values | {"server_blocks": "\n".join(servers)}, cannot=tuple(_cannot(site)))


def _cannot(site: Site) -> Iterator[str]:
    yield from cannot_of_all(site)
    for _, cookie in site.affinities:
        if not _VARIABLE.fullmatch(cookie):
            yield f"affinity by the cookie {cookie}: $cookie_ takes letters, digits and _ only"
    if any(cluster.is_random and _backups(cluster) for cluster in site.clusters):
        yield "Random with BackupServers: round robin, as random takes no backup"
    if any(member.most > 0 for cluster in site.clusters for member in cluster.members):
        yield "MaxConnections with a queue: max_conns refuses"


def _backups(cluster: Cluster) -> list[Member]:
    return [member for member in cluster.members if member.is_backup]


def _map(cluster: Cluster, cookie: str) -> str:
    variable = key_of(cluster, cookie)
    separator = re.escape(cluster.separator)
    source = f"$cookie_{cookie}" if _VARIABLE.fullmatch(cookie) else '""'
    lines = [f"    map {source} ${variable} {{", f"        default {cluster.key};"]
    lines += [
        f'        "~^[^{cluster.separator}]*{separator}{re.escape(member.clone_id)}({separator}|$)" {member.key};'
        for member in cluster.members
        if member.clone_id
    ]
    return "\n".join([*lines, "    }"])


def _upstreams(cluster: Cluster, pool_size: int) -> Iterator[str]:
    """One of all for new sessions, and one of each owner, whose others are backups: a server that is down takes no session with it."""
    weights = scaled(cluster, 65535)
    fresh = takers(cluster, weights)
    lines = [
        _line(
            member,
            weight="" if are_equal(cluster) else f" weight={weights[member.key] or 1}",
            backup=member.is_backup,
            retry_s=cluster.retry_interval_s,
        )
        for member in fresh
    ]
    if cluster.is_random and not _backups(cluster):
        lines.insert(0, "        random;")
    yield _block(cluster.key, lines, pool_size)
    for owner in cluster.members:
        if owner.clone_id:
            lines = [
                _line(member, backup=member is not owner, retry_s=cluster.retry_interval_s)
                for member in (owner, *(each for each in cluster.members if each is not owner))
            ]
            yield _block(owner.key, lines, pool_size)


def _block(name: str, lines: list[str], pool_size: int) -> str:
    return "\n".join(
        [f"    upstream {name} {{", *lines, f"        keepalive {pool_size};", "    }"]
    )


def _line(member: Member, *, backup: bool, retry_s: int, weight: str = "") -> str:
    most = f" max_conns={member.most}" if member.most > 0 else ""
    last = " backup" if backup else ""
    return f"        server 127.0.0.1:{member.port}{weight}{most} max_fails=1 fail_timeout={max(retry_s, 1)}s{last};"


def _server(site: Site, place: Place, host: str) -> str:
    name = "_" if host == ANY else f'"{host}"'
    # what is true of an address is said once
    first = " backlog=4096 default_server" if host == ANY else ""
    listen = f"        listen 127.0.0.1:{place.port}{' ssl' if place.has_tls else ''}{first};"
    lines = ["    server {", listen, f"        server_name {name};"]
    lines += _locations(site, site.rules.get(host, ()))
    return "\n".join([*lines, "    }"])


def _locations(site: Site, rules: tuple[Rule, ...]) -> Iterator[str]:
    ended = [rule for rule in rules if rule.suffix and not rule.is_exact]
    exact = {rule.prefix for rule in rules if rule.is_exact}
    prefixes = [rule for rule in rules if not rule.suffix and not rule.is_exact]
    for rule in rules:
        if rule.is_exact:
            yield f'        location = "{rule.prefix}" {{ {_go(site, rule)} }}'
    for rule in prefixes:
        # the path without its last slash is the same folder's, and is no redirect here
        if rule.is_folder and rule.prefix[:-1] not in exact:
            yield f'        location = "{rule.prefix[:-1]}" {{ {_go(site, rule)} }}'
        yield from _prefix(
            site,
            rule.prefix,
            _go(site, rule),
            [each for each in ended if each.length > rule.length],
        )
    if ended and not any(rule.prefix == "/" for rule in prefixes):
        yield from _prefix(site, "/", "return 404;", ended)


def _prefix(site: Site, prefix: str, otherwise: str, ended: list[Rule]) -> Iterator[str]:
    inside = [
        each for each in ended if each.prefix.startswith(prefix) or prefix.startswith(each.prefix)
    ]
    if not inside:
        yield f'        location ^~ "{prefix}" {{ {otherwise} }}'
        return
    yield f'        location ^~ "{prefix}" {{'
    for each in inside:
        pattern = f"^{re.escape(each.prefix)}.*{re.escape(each.suffix)}$"
        yield f'            location ~ "{pattern}" {{ {_go(site, each)} }}'
    yield f"            {otherwise}"
    yield "        }"


def _go(site: Site, rule: Rule) -> str:
    return f"proxy_pass http://${affinity_of(site, rule)};"
