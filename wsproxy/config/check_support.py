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
# What Liberty and WebSphere up to 8.5 write into every file, whether anybody uses it or not.
DEFAULT_ESI_CODE = "esi-default"


def check_support(config: Config, problems: ProblemList) -> None:
    """Adds a warning for each thing that is set, matters, and has no effect."""
    _check_items((config,), "Config", problems)
    for cluster in config.server_clusters:
        name = f"ServerCluster {quoted(cluster.name)}"
        _check_items((cluster,), name, problems)
        _check_items(cluster.servers, name, problems)
    _check_esi(config, problems)
    _check_dynamic_routing(config, problems)
    _check_request_metrics(config, problems)


def _check_esi(config: Config, problems: ProblemList) -> None:
    values = {item.name: item for item in config.properties}
    esi, monitor = values.get("ESIEnable"), values.get("ESIInvalidationMonitor")
    if esi is None or esi.value != "true":
        return
    # Invalidations have to be set up at the servers, too: somebody meant the cache.
    is_meant = monitor is not None and monitor.value == "true"
    problems.warning(
        _CODE if is_meant else DEFAULT_ESI_CODE,
        esi.line,
        'Property ESIEnable="true", which has no effect: wsproxy has no ESI cache and sends no Surrogate-Capability, so servers get '
        "every request and assemble their pages themselves",
        'ESIEnable="false"'
        if is_meant
        else 'ESIEnable="false", or this: generators write it always, '
        "and only an <esi:include> that stays in a page is a loss",
    )


def _check_dynamic_routing(config: Config, problems: ProblemList) -> None:
    element = config.intelligent_management
    if element is None:
        return
    clusters = [each for each in element.children if each.name == "ConnectorCluster"]
    if any(dict(each.attributes).get("enabled", "true") != "false" for each in clusters):
        problems.warning(
            _CODE,
            element.line,
            "IntelligentManagement switched on, which wsproxy does not carry out: it asks no collective controller, so servers, "
            "applications, routing rules and weights that only that knows get no requests",
            'ServerCluster, UriGroup and Route elements that say the same, and enabled="false" on each ConnectorCluster',
        )


def _check_request_metrics(config: Config, problems: ProblemList) -> None:
    metrics = config.request_metrics
    switches = {("rmEnabled", "true"), ("armEnabled", "true")}
    if metrics is not None and switches & set(metrics.attributes):
        problems.warning(
            _CODE,
            metrics.line,
            "RequestMetrics switched on, which wsproxy does not carry out: it measures nothing and sends neither rmcorrelator nor "
            "ARM_CORRELATOR, so correlated traces begin at the servers (times of requests: log.access in wsproxy.toml)",
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
