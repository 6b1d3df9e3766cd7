"""
Judges values that are well-formed and stop traffic all the same: hosts that are none, units mistaken, names that never match.

Driven by ``config.check``. Pure. One message for each cluster and value: generated files say the same on every Server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wsproxy.config.address import trusted_network
from wsproxy.config.attributes import specs_of
from wsproxy.config.model import Config, Server, ServerCluster, Transport, UriGroup
from wsproxy.config.problems import ProblemList, listed, quoted, shown
from wsproxy.config.values import MOST_CONNECT_S, duration_doubt, host_flaw, is_windows_path

# The longest that anybody means, in seconds. WebSphere's own ServerIOTimeout is 900; a WebSocket may be silent for hours.
_LONGEST_MEANT_S: dict[type, dict[str, float]] = {
    ServerCluster: {"retry_interval_s": 3600},
    Server: {
        "connect_timeout_s": MOST_CONNECT_S,
        "server_io_timeout_s": 3600,
        "ws_server_io_timeout_s": 3600,
        "ws_server_idle_timeout_s": 86400,
    },
    Transport: {"connection_ttl_s": 3600},
}
# Above 8 GiB: the largest uploads through a browser are some GiB.
MOST_POST_SIZE_KB = 8 * 1024 * 1024
# PostBufferSize="-1": any size in the plug-in. A client could make each worker keep all that it sends; above this a request
# is not sent again, as with a PostBufferSize that it exceeds.
MOST_KEPT_KB = 16_384
# A browser sends about twenty fields.
FEW_HEADERS = 20
# Names as every servlet container writes them by default; both are compared with case.
_USUAL_NAMES = {"affinity_cookie": "JSESSIONID", "affinity_url_identifier": "jsessionid"}
# RFC 6265 4.1.1, RFC 3986 3.3: what ends a cookie's name, or a path parameter's.
_NOT_IN_A_NAME = frozenset(' \t"=;,/?#')


def check_values(config: Config, problems: ProblemList) -> None:
    """Adds what is well-formed and yet keeps requests from where they are meant to go."""
    routed = {route.server_cluster for route in config.routes}
    for cluster in config.server_clusters:
        _check_hosts(cluster, problems, is_routed=cluster.name in routed)
        _check_durations(cluster, problems)
        _check_sizes(cluster, problems)
    for group in config.uri_groups:
        _check_affinity_names(group, problems)
    _check_trusted_names(config, problems)
    _check_paths(config, problems)
    if config.http_max_headers < FEW_HEADERS:
        problems.warning(
            "headers-few",
            config.line,
            f'HTTPMaxHeaders="{config.http_max_headers}" on Config: browsers send about {FEW_HEADERS} fields, and are answered with 431',
            f"{FEW_HEADERS} or more",
        )


def _transports(cluster: ServerCluster) -> Iterator[tuple[Server, Transport]]:
    for server in cluster.all_servers:
        for transport in server.transports:
            yield server, transport


def _check_hosts(cluster: ServerCluster, problems: ProblemList, *, is_routed: bool) -> None:
    add = problems.error if is_routed else problems.warning
    for server, transport in _transports(cluster):
        for name, host in (
            ("Hostname", transport.hostname),
            ("HostnameAlias", transport.hostname_alias),
        ):
            if host and "${" not in host and (flaw := host_flaw(host)):  # ${...} was reported
                add(
                    "hostname",
                    transport.line,
                    f"{shown(name, host)} on a Transport of Server {quoted(server.name)}, which {flaw[0]}: "
                    "the Server is never reached",
                    flaw[1],
                )


def _check_durations(cluster: ServerCluster, problems: ProblemList) -> None:
    of = f"ServerCluster {quoted(cluster.name)}"
    _check_durations_of([(cluster, "")], of, problems)
    _check_durations_of([(server, server.name) for server in cluster.all_servers], of, problems)
    transports = [(transport, server.name) for server, transport in _transports(cluster)]
    _check_durations_of(transports, of, problems)


def _check_durations_of(items: list[tuple[Any, str]], of: str, problems: ProblemList) -> None:
    """``items``: objects of one class, each with the name of its Server."""
    if not items:
        return
    cls = type(items[0][0])
    for field, most_s in _LONGEST_MEANT_S[cls].items():
        found: dict[int, list[tuple[int, str]]] = {}
        for item, server in items:
            value = getattr(item, field)
            if value is not None and abs(value) > most_s:
                found.setdefault(value, []).append((item.line, server))
        for value, places in found.items():
            names = [server for _, server in places if server]
            where = f"{listed(list(dict.fromkeys(names)))} of {of}" if names else of
            what, _, allowed = duration_doubt(value, most_s).partition("; allowed is ")
            problems.warning(
                "unit-mistaken",
                places[0][0],
                f'{specs_of(cls)[field].name}="{value}" on {where}{what}',
                allowed,
            )


def _check_sizes(cluster: ServerCluster, problems: ProblemList) -> None:
    of = f"ServerCluster {quoted(cluster.name)}"
    limit_kb, kept_kb = cluster.post_size_limit_kb, cluster.post_buffer_size_kb
    if limit_kb == 0:
        problems.warning(
            "post-size-zero",
            cluster.line,
            f'PostSizeLimit="0" on {of}: every request with a body is answered with 413',
            "-1 for any size, or a number of KB",
        )
    elif limit_kb > MOST_POST_SIZE_KB:
        problems.warning(
            "unit-mistaken",
            cluster.line,
            f'PostSizeLimit="{limit_kb}" on {of}, which is {limit_kb // 1024**2} GiB',
            f"KB: {max(1, limit_kb // 1024)} where {limit_kb} bytes were meant",
        )
    if kept_kb > MOST_KEPT_KB:
        problems.warning(
            "unit-mistaken",
            cluster.line,
            f'PostBufferSize="{kept_kb}" on {of}, which is {kept_kb // 1024} MiB; wsproxy keeps {MOST_KEPT_KB // 1024} MiB at most',
            f"KB: {max(1, kept_kb // 1024)} where {kept_kb} bytes were meant; -1 for as much as wsproxy keeps",
        )


def _check_affinity_names(group: UriGroup, problems: ProblemList) -> None:
    for field, usual in _USUAL_NAMES.items():
        lines: dict[str, int] = {}
        for uri in group.uris:
            lines.setdefault(getattr(uri, field), uri.line)
        for name, line in lines.items():
            attribute = specs_of(type(group.uris[0]))[field].name
            of = f"{shown(attribute, name)} in UriGroup {quoted(group.name)}"
            if name != usual and name.lower() == usual.lower():
                problems.warning(
                    "affinity-name",
                    line,
                    f"{of}, which is compared with case; servers write {usual} unless they are told otherwise: "
                    "sessions are not found",
                    f'"{usual}"',
                )
            elif not _NOT_IN_A_NAME.isdisjoint(name) or not name.isascii():
                problems.warning(
                    "affinity-name",
                    line,
                    f"{of}, which no request can bring: sessions are not found",
                    f'a name as servers write it, like "{usual}"',
                )


def _check_trusted_names(config: Config, problems: ProblemList) -> None:
    for proxy in config.trusted_proxies if config.trusted_proxy_enable else ():
        if trusted_network(proxy.name) is None:
            problems.warning(
                "trusted-proxy-name",
                proxy.line,
                f"TrustedProxy {quoted(proxy.name)}: nobody is trusted by it",
                "an IP address or a network like 10.0.0.0/8: host names are not resolved",
            )


def _check_paths(config: Config, problems: ProblemList) -> None:
    """Files of another system: one message for each kind, as large files name the same keyring on every Server."""
    log = config.log
    if log is not None and is_windows_path(log.name):
        problems.warning(
            "windows-path",
            log.line,
            f"{shown('Name', log.name)} on Log, a file of Windows: http_plugin.log is not written",
            'a file of this system, or another one as log.plugin in wsproxy.toml ("off": none)',
        )
    for path, line in _windows_keyrings(config.server_clusters):
        problems.warning(
            "windows-path",
            line,
            f"keyring {quoted(path)}, a file of Windows: its https Transports cannot be used",
            "a file of this system, or upstream.tls.trust in wsproxy.toml",
        )


def _windows_keyrings(clusters: Iterable[ServerCluster]) -> Iterator[tuple[str, int]]:
    """Without those that ``check_key_databases`` tells of."""
    seen: set[str] = set()
    for cluster in clusters:
        for _, transport in _transports(cluster):
            for item in transport.properties:
                is_new = item.name == "keyring" and item.value not in seen
                if is_new and transport.protocol == "https" and is_windows_path(item.value):
                    seen.add(item.value)
                    if not item.value.lower().endswith(".kdb"):
                        yield item.value, item.line
