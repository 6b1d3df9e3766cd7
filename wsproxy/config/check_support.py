"""
Tells what a Config asks for and wsproxy does not do, as ``config.support`` lists it.

Driven by ``config.check``. Pure. One message a cluster and attribute: such attributes stand on every Server or on none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from wsproxy.config.attributes import specs_of
from wsproxy.config.model import Config, Server
from wsproxy.config.problems import ProblemList, listed, quoted
from wsproxy.config.support import NOT_CARRIED_OUT

_CODE = "not-carried-out"


def check_support(config: Config, problems: ProblemList) -> None:
    """Adds a warning for each thing that is set, matters, and has no effect."""
    _check_items((config,), "Config", problems)
    for cluster in config.server_clusters:
        name = f"ServerCluster {quoted(cluster.name)}"
        _check_items((cluster,), name, problems)
        _check_items(cluster.servers, name, problems)
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
