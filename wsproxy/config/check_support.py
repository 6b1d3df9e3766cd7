"""
Tells what a Config asks for and wsproxy does not do, as ``config.support`` lists it.

Driven by ``config.check``. Pure. One message a cluster and attribute: such attributes stand on every Server or on none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from wsproxy.config.attributes import specs_of
from wsproxy.config.model import Config, Server, ServerCluster
from wsproxy.config.problems import ProblemList, listed, quoted
from wsproxy.config.support import HTTPS_IS_MISSING, NOT_CARRIED_OUT

_CODE = "not-carried-out"


def check_support(config: Config, problems: ProblemList) -> None:
    """Adds a warning for each thing that is set, matters, and has no effect."""
    _check_items((config,), "Config", problems)
    for cluster in config.server_clusters:
        name = f"ServerCluster {quoted(cluster.name)}"
        _check_items((cluster,), name, problems)
        _check_items(cluster.servers, name, problems)
        if HTTPS_IS_MISSING:
            _check_https(cluster, problems)
    if config.intelligent_management is not None:
        problems.warning(
            _CODE,
            config.intelligent_management.line,
            "IntelligentManagement, which wsproxy reads but does not carry out",
            "ServerCluster, UriGroup and Route elements that say the same",
        )
    metrics = config.request_metrics
    switches = {("rmEnabled", "true"), ("armEnabled", "true")}
    if metrics is not None and switches & set(metrics.attributes):
        problems.warning(
            _CODE,
            metrics.line,
            "RequestMetrics switched on, which wsproxy does not carry out",
            'rmEnabled="false" and armEnabled="false"',
        )


def _check_items(items: tuple[Any, ...], of: str, problems: ProblemList) -> None:
    """``items``: objects of one class."""
    if not items:
        return
    cls = type(items[0])
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    for field, left in NOT_CARRIED_OUT.get(cls, {}).items():
        if not left.is_warned:
            continue
        setters = [item for item in items if getattr(item, field) != defaults[field]]
        if setters:
            where = of if cls is not Server else f"{listed([s.name for s in setters])} of {of}"
            problems.warning(
                _CODE,
                setters[0].line,
                f"{specs_of(cls)[field].name} on {where}, which has no effect: {left.why}",
                "leaving it out",
            )


def _check_https(cluster: ServerCluster, problems: ProblemList) -> None:
    only_https = [
        server
        for server in cluster.servers
        if server.transports and all(item.protocol == "https" for item in server.transports)
    ]
    if only_https:
        problems.warning(
            "transport-only-https",
            only_https[0].line,
            f"only https Transports on {listed([server.name for server in only_https])} of "
            f"ServerCluster {quoted(cluster.name)}: wsproxy cannot reach them, as it does not speak TLS to servers yet",
            "an http Transport as well",
        )
