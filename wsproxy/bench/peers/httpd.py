"""
A site for Apache httpd: a balancer for each cluster and cookie, ``ProxyPass`` in order of rank in a VirtualHost for each host.

Pure. httpd takes the first line that fits, so it reads all of them for a path that fits none.
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
)
from wsproxy.bench.site import ANY, Cluster, Rule, Site

MOST_WEIGHT = 100


def say(site: Site, place: Place) -> Said:
    """Values for ``httpd.conf``."""
    identifiers = {
        (rule.cluster, rule.cookie): rule.identifier
        for rules in site.rules.values()
        for rule in rules
    }
    balancers = [
        _balancer(site.clusters[at], cookie, identifiers[at, cookie])
        for at, cookie in site.affinities
    ]
    hosts = [
        _host(site, place, ANY),
        *(_host(site, place, host) for host in site.rules if host != ANY),
    ]
    values = {"balancer_blocks": "\n".join(balancers), "host_blocks": "\n".join(hosts)}
    return Said(values, cannot=tuple(_cannot(site)))


def _cannot(site: Site) -> Iterator[str]:
    for sentence in cannot_of_all(site):
        if "several clone ids" in sentence:
            yield "several clone ids in a cookie: such a session has no owner"
        elif "in a URL" not in sentence:
            yield sentence
    if any(cluster.is_random for cluster in site.clusters):
        yield "Random: round robin"
    members = [member for cluster in site.clusters for member in cluster.members]
    if any(member.most > 0 for member in members):
        yield "MaxConnections"
    if any(member.weight == 0 for member in members):
        yield "LoadBalanceWeight 0: such a server gets the least share of new sessions"


def _balancer(cluster: Cluster, cookie: str, identifier: str) -> str:
    weights = scaled(cluster, MOST_WEIGHT)
    lines = [f'<Proxy "balancer://{_name(key_of(cluster, cookie))}">']
    for member in cluster.members:
        weight = "" if are_equal(cluster) else f" loadfactor={weights[member.key] or 1}"
        route = f' "route={member.clone_id}"' if member.clone_id else ""
        standby = " status=+H" if member.is_backup else ""
        lines.append(
            f'    BalancerMember "http://127.0.0.1:{member.port}"{route}{weight} retry={cluster.retry_interval_s} upgrade=websocket{standby}'
        )
    sticky = (
        f' "stickysession={cookie}|{identifier}" stickysessionsep={cluster.separator}'
        if cluster.owners
        else ""
    )
    return "\n".join([*lines, f"    ProxySet lbmethod=byrequests{sticky}", "</Proxy>"])


def _name(key: str) -> str:
    """Of a balancer: a host in a URL, where httpd warns of anything but letters, digits and hyphens."""
    return key.lower().replace("_", "-")


def _host(site: Site, place: Place, host: str) -> str:
    name = "localhost" if host == ANY else host
    lines = [f"<VirtualHost 127.0.0.1:{place.port}>", f'    ServerName "{name}"']
    lines += [
        f"    {line}"
        for rule in site.rules.get(host, ())
        for line in _pass(rule, _name(affinity_of(site, rule)))
    ]
    return "\n".join([*lines, "</VirtualHost>"])


def _pass(rule: Rule, balancer: str) -> Iterator[str]:
    if rule.is_exact:
        yield f'ProxyPassMatch "^({re.escape(rule.prefix)})$" "balancer://{balancer}$1"'
    elif rule.suffix:
        pattern = f"^({re.escape(rule.prefix)}.*{re.escape(rule.suffix)})$"
        yield f'ProxyPassMatch "{pattern}" "balancer://{balancer}$1"'
    else:
        if rule.is_folder:
            yield f'ProxyPassMatch "^({re.escape(rule.prefix[:-1])})$" "balancer://{balancer}$1"'
        yield f'ProxyPass "{rule.prefix}" "balancer://{balancer}{rule.prefix}"'
