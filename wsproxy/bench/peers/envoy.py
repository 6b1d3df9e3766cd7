"""
A site for Envoy: a virtual host for each host, and in it for each rule in order of rank a route for each owner, then one for the others.

Pure. Every owner has a cluster of its own, whose others have the next priority: a server that is down takes no session with it. A
server that fails is ejected by what requests meet, as the plug-in marks it, for RetryInterval. Lines are JSON, which YAML takes
as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from wsproxy.bench.peers.common import (
    Place,
    Said,
    cannot_of_all,
    path_pattern,
    scaled,
    takers,
)
from wsproxy.bench.site import Cluster, Member, Rule, Site

MOST_WEIGHT = 65535
# Its own bounds (1024 of each) would refuse requests of the scenarios with many connections.
UNBOUNDED = 1_000_000
# One more for each priority that may be left.
RETRIES = 2
_RETRY = {
    "retry_on": "connect-failure,refused-stream,reset-before-request",
    "num_retries": RETRIES,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 8,
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}


def say(site: Site, _place: Place) -> Said:
    """Values for ``envoy.yaml``."""
    hosts = [_line(" " * 12, _host(site, host, rules)) for host, rules in site.rules.items()]
    clusters = [
        _line("  ", block)
        for cluster in site.clusters
        if cluster.members
        for block in _clusters(cluster)
    ]
    values = {"virtual_hosts": "\n".join(hosts), "cluster_blocks": "\n".join(clusters)}
    return Said(values, cannot=tuple(_cannot(site)))


def _line(indent: str, item: dict[str, Any]) -> str:
    return f"{indent}- {json.dumps(item)}"


def _cannot(site: Site) -> Iterator[str]:
    yield from cannot_of_all(site)
    if any(member.most > 0 for cluster in site.clusters for member in cluster.members):
        yield "MaxConnections with a queue for each server: its bounds are a cluster's, and refuse"


def _host(site: Site, host: str, rules: tuple[Rule, ...]) -> dict[str, Any]:
    routes = [route for rule in rules for route in _routes(site, rule)]
    return {"name": host, "domains": [host], "routes": routes}


def _routes(site: Site, rule: Rule) -> Iterator[dict[str, Any]]:
    cluster = site.clusters[rule.cluster]
    for member in cluster.members:
        if member.clone_id:
            yield _route(
                {**_path(rule), "headers": [_session_of(cluster, rule, member)]}, member.key
            )
    yield _route(_path(rule), cluster.key)


def _route(match: dict[str, Any], cluster: str) -> dict[str, Any]:
    return {"match": match, "route": {"cluster": cluster, "timeout": "0s", "retry_policy": _RETRY}}


def _path(rule: Rule) -> dict[str, Any]:
    if rule.is_exact:
        return {"path": rule.prefix}
    if rule.is_folder:
        return {"path_separated_prefix": rule.prefix[:-1]}
    if rule.suffix:
        return {"safe_regex": {"regex": path_pattern(rule)}}
    return {"prefix": rule.prefix}


def _session_of(cluster: Cluster, rule: Rule, member: Member) -> dict[str, Any]:
    """That the first clone id of the cookie is this server's; of the whole header's text, so that it cannot be asked twice."""
    separator = re.escape(cluster.separator)
    session = (
        f"{re.escape(rule.cookie)}=[^{separator};]*{separator}{re.escape(member.clone_id or '')}"
    )
    pattern = f"(.*; ?)?{session}([{separator};].*)?"
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}


def _clusters(cluster: Cluster) -> Iterator[dict[str, Any]]:
    """One of all for new sessions, and one of each owner."""
    weights = scaled(cluster, MOST_WEIGHT)
    fresh = takers(cluster, weights)
    first = [member for member in fresh if not member.is_backup]
    last = [member for member in fresh if member.is_backup]
    yield _cluster(cluster, cluster.key, [each for each in (first, last) if each], weights)
    for owner in cluster.members:
        if owner.clone_id:
            others = [each for each in cluster.members if each is not owner]
            yield _cluster(cluster, owner.key, [[owner], *([others] if others else [])], weights)


def _cluster(
    cluster: Cluster, name: str, priorities: list[list[Member]], weights: dict[str, int]
) -> dict[str, Any]:
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    retry = f"{max(cluster.retry_interval_s, 1)}s"
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": "RANDOM" if cluster.is_random else "ROUND_ROBIN",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [dict.fromkeys(bounds, UNBOUNDED)]},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": retry,
            "max_ejection_time": retry,
            "max_ejection_percent": 100,
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"priority": at, "lb_endpoints": [_endpoint(each, weights) for each in members]}
                for at, members in enumerate(priorities)
            ],
        },
    }


def _endpoint(member: Member, weights: dict[str, int]) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": member.port}}
    return {
        "endpoint": {"address": address},
        "load_balancing_weight": weights[member.key] or 1,
    }
