"""
No check of a replay is one that cannot fail: each attribute of plugin-cfg.xml that matters makes a difference when it is changed.

Driven by the model's own fields: a new one must be put into ``MATTERS`` (with a change that shows in ``WRITTEN``, a log that has
each decision) or into ``CANNOT_SHOW``, with the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.plugin_log import PluginLog, Replayed, replay_path
from wsproxy.config import model
from wsproxy.config.model import (
    Config,
    Element,
    Extra,
    Log,
    Property,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    TrustedProxy,
    Unknown,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.xml import parse_config
from wsproxy.logs.messages import Code
from wsproxy.replay.outcome import DECISIONS, What
from wsproxy.replay.world import World


def _server(name: str, clone: str, more: str = "") -> str:
    host = f"h{name}"
    return (
        f'<Server Name="{name}" CloneID="{clone}" {more}><Transport Hostname="{host}" Port="9080"/>'
        f'<Transport Hostname="{host}" Port="9443" Protocol="https"/></Server>'
    )


CONFIG = f"""<Config TrustedProxyEnable="true" SSLPKCSDriver="d" SSLPKCSPassword="p" ConfigHash="h">
  <Log Name="http_plugin.log" LogLevel="Trace"/>
  <Property Name="ESIEnable" Value="false"/>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:443"/><VirtualHost Name="shop.example:80"/></VirtualHostGroup>
  <TrustedProxyGroup><TrustedProxy Name="10.0.0.1"/></TrustedProxyGroup>
  <ServerCluster Name="shop" RetryInterval="60" PostSizeLimit="10" PostBufferSize="2" ServerIOTimeoutRetry="1">
    {_server("s1", "k1", 'ServerIOTimeout="-20" ServerName="x"')}{_server("s2", "k2")}{_server("s3", "k3")}
    {_server("s4", "k4", 'LoadBalanceWeight="0"')}
    <PrimaryServers><Server Name="s1"/><Server Name="s2"/><Server Name="s4"/></PrimaryServers>
    <BackupServers><Server Name="s3"/></BackupServers>
  </ServerCluster>
  <ServerCluster Name="small">{_server("m1", "c1", 'MaxConnections="2"')}{_server("m2", "c2", 'MaxConnections="2"')}</ServerCluster>
  <ServerCluster Name="far">
    <ClusterAddress Name="f0"><Transport Hostname="hf0" Port="9080"/><Transport Hostname="hf0" Port="9443" Protocol="https"/></ClusterAddress>
    {_server("f1", "d1")}
  </ServerCluster>
  <UriGroup Name="shop_uris"><Uri Name="/shop/*"/><Uri Name="*.jsp"/></UriGroup>
  <UriGroup Name="small_uris"><Uri Name="/small/*" AffinityCookie="SID" AffinityURLIdentifier="sid"/></UriGroup>
  <UriGroup Name="far_uris"><Uri Name="/far/*"/></UriGroup>
  <Route VirtualHostGroup="hosts" UriGroup="shop_uris" ServerCluster="shop"/>
  <Route VirtualHostGroup="hosts" UriGroup="small_uris" ServerCluster="small"/>
  <Route VirtualHostGroup="hosts" UriGroup="far_uris" ServerCluster="far"/>
</Config>"""  # fmt: skip
INTERVAL_S = 60


class Scene(PluginLog):
    """One process, one request after the other, in the words of LogLevel Trace."""

    def begin(self, cluster: str, uri: str = "", *, port: int = 443, method: str = "GET") -> None:
        """To the choice of the Route; ``method`` for ``sent``."""
        self.method, self.where = method, cluster
        uri = uri or f"/{cluster}/a"
        pattern = "*.jsp" if uri.endswith(".jsp") else f"/{cluster}/*"
        host = "shop.example" if port == 80 else "other.example"
        self.write(Code.BEGIN)
        self.write(Code.REQUEST_IS, host=f"{host}:{port}", uri=uri)
        vhost, vexact = ("shop.example:80", 1) if port == 80 else ("*:443", 0)
        uscore = len(pattern) - 1
        uexact = 0 if uri.endswith(".jsp") else uscore
        self.write(Code.VHOST_MATCH, pattern=vhost, subject=f"{host}:{port}", group="hosts", score=1, exact=vexact)  # fmt: skip
        self.write(Code.URI_MATCH, pattern=pattern, subject=uri, group=f"{cluster}_uris", score=uscore, exact=uexact)  # fmt: skip
        names = ("SID", "sid") if cluster == "small" else ("JSESSIONID", "jsessionid")
        self.write(Code.GROUP, group=cluster, score=uscore + 1, exact=uexact + vexact, cookie=names[0], url=names[1])  # fmt: skip
        self.secure = port == 443
        self.session = ""

    def brings(self, clones: str) -> None:
        self.session = f"0000sessionsessionsessio:{clones}"
        self.write(Code.PARSING, value=self.session)

    def check(self, server: str, *, ignore: int = 0, down: int = 0, retry: int = 0, left: str = "--", full: int = 0) -> None:  # fmt: skip
        self.write(Code.CHECKING, server=server, ignore=ignore, down=down, retry=retry, seconds=left, allows=1, full=full)  # fmt: skip

    def take(self, server: str, *, named: bool = False, down: int = 0, current: int = 0, length: int = -1) -> None:  # fmt: skip
        """It gets the request; ``down``: and is tried again."""
        most = 2 if server in ("m1", "m2") else -1
        self.named(server, current, most)
        self.check(server, ignore=int(named), down=down, retry=down, left="0" if down else "--")
        if named:
            self.write(Code.CLONE_MATCH, server=server)
        self.write(Code.PICKED, server=server, weight=1)
        self.write(Code.TRANSPORT, case=1, host=f"h{server}", port=9443 if self.secure else 9080)
        self.write(Code.NEW_STREAM, socket=1, port=1)
        self.write(Code.REQUEST_LINE, target="/x", minor=1)
        self.lines[-1] = self.lines[-1].replace("GET ", f"{self.method} ")
        if self.session:
            name = "SID" if self.where == "small" else "JSESSIONID"
            self.write(Code.COOKIE, value=f"{name}={self.session}")
        if length >= 0:
            self.write(Code.CONTENT_LENGTH, length=length)
            self.write(Code.CONTENT, length=length)

    def answer(self, server: str, status: int = 200) -> None:
        self.write(Code.STATUS_LINE, minor=1, status=status, reason="x")
        self.write(Code.END)
        self.second += 1

    def serve(self, cluster: str, server: str, clone: str = "", *, uri: str = "", port: int = 443) -> None:  # fmt: skip
        """All of a request that goes well."""
        self.begin(cluster, uri, port=port)
        if clone:
            self.brings(clone)
        self.take(server, named=bool(clone))
        self.answer(server)

    def refuse(self, server: str) -> None:
        """It cannot be connected to."""
        self.write(Code.CONNECT_FAILED, host=f"h{server}", errno=111, port=1)
        self.write(Code.MARKING, server=server)
        self.write(Code.FAILED_TRY, server=server, host=f"h{server}")


def written() -> Scene:
    """A log in which each decision stands, as the configuration above makes them."""
    log = Scene()
    for port in (443, 80):
        for server, clone in (("s1", "k1"), ("s2", "k2"), ("s3", "k3"), ("s4", "k4")):
            log.serve("shop", server, clone, port=port)
        for server, clone in (("m1", "c1"), ("m2", "c2")):
            log.serve("small", server, clone, port=port)
        log.serve("far", "f0", port=port)
        log.serve("far", "f1", "d1", port=port)
        for server in ("s1", "s2"):
            log.serve("shop", server, port=port, uri="/page.jsp")
        for server in ("m1", "m2"):
            log.serve("small", server, port=port)
    # s1 is silent: asked once, it is marked down, and s2 has the request, whose body was kept
    log.begin("shop", method="POST")
    log.brings("k1")
    log.take("s1", named=True, length=900)
    log.write(Code.IO_TIMEOUT, seconds=20, count=0, most=1, retry="YES", rc=10)
    log.write(Code.MARKING, server="s1")
    marked = log.second
    log.write(Code.FAILED_TRY, server="s1", host="hs1")
    log.take("s2")
    log.answer("s2")
    # its session is elsewhere until the interval is over
    log.second = marked + INTERVAL_S // 2
    log.begin("shop")
    log.brings("k1")
    log.check("s1", down=1, left=str(INTERVAL_S // 2))
    log.take("s2")
    log.answer("s2")
    log.second = marked + INTERVAL_S + 1
    log.begin("shop")
    log.brings("k1")
    log.take("s1", named=True, down=1)
    log.answer("s1")
    # a body that is too large to be kept: the request ends there
    log.begin("shop", method="POST")
    log.brings("k1")
    log.take("s1", named=True, length=5000)
    log.write(Code.IO_TIMEOUT, seconds=20, count=0, most=1, retry="NO", rc=10)
    log.write(Code.MARKING, server="s1")
    log.write(Code.FAILED, rc=10)
    # all primaries are away: the backup's turn
    log.second += INTERVAL_S + 2
    log.begin("shop")
    for server in ("s1", "s2"):
        log.take(server, down=int(server == "s1"))
        log.refuse(server)
    log.take("s3")
    log.answer("s3")
    # at MaxConnections
    log.begin("small")
    log.brings("c1")
    log.check("m1", full=1)
    log.named("m1", 2, 2)
    log.take("m2")
    log.answer("m2")
    # the application's own error
    log.begin("small")
    log.brings("c1")
    log.take("m1", named=True)
    log.answer("m1", 500)
    # nobody's
    log.write(Code.BEGIN)
    log.write(Code.REQUEST_IS, host="other.example:443", uri="/none")
    log.write(Code.NO_ROUTE)
    log.write(Code.END)
    return log


@dataclasses.dataclass(frozen=True)
class Change:
    """``value``: what becomes of the attribute; in each element for which ``where`` holds, one at a time."""

    value: Callable[[Any], Any]
    shows: str
    where: Callable[[Any], bool] = lambda _: True


def to(value: object) -> Callable[[Any], Any]:
    return lambda _: value


def is_(*names: str) -> Callable[[Any], bool]:
    return lambda element: element.name in names


def renamed(name: str) -> str:
    return f"{name}x"


def without_last(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values[:-1]


MATTERS: dict[tuple[type, str], list[Change]] = {
    (VirtualHost, "name"): [Change(renamed, What.VHOST)],
    (VirtualHost, "host"): [Change(to("nobody.example"), What.VHOST)],
    (VirtualHost, "port"): [Change(to(81), What.VHOST)],
    (VirtualHostGroup, "name"): [Change(renamed, What.VHOST)],
    (VirtualHostGroup, "virtual_hosts"): [Change(without_last, What.VHOST)],
    (Transport, "hostname"): [Change(renamed, What.TRANSPORT, lambda each: each.hostname != "hf1" or each.protocol == "https")],
    (Transport, "port"): [Change(lambda port: port + 1, What.TRANSPORT)],
    (Transport, "protocol"): [Change(lambda old: "http" if old == "https" else "https", What.TRANSPORT)],
    (Server, "name"): [Change(renamed, What.SERVER)],
    (Server, "clone_id"): [Change(to("k9"), What.SERVER, is_("s3", "s4", "f1")), Change(to("k9"), What.AFFINITY, is_("s1", "s2", "m1", "m2"))],
    (Server, "load_balance_weight"): [Change(to(0), What.SERVER, is_("s1", "s2", "m1", "m2"))],
    (Server, "server_io_timeout_s"): [
        Change(to(-30), What.IO_TIMEOUT, is_("s1")),
        Change(to(20), What.MARK_DOWN, is_("s1")),
    ],
    (Server, "max_connections"): [
        Change(to(5), What.MAX_CONNECTIONS), Change(to(-1), What.MAX_CONNECTIONS, is_("m1", "m2")),
    ],
    (Server, "transports"): [Change(without_last, What.TRANSPORT)],
    (ServerRef, "name"): [Change(renamed, What.SERVER)],
    (ServerCluster, "name"): [Change(renamed, What.GROUP)],
    (ServerCluster, "retry_interval_s"): [
        Change(to(600), What.RETRY_INTERVAL, is_("shop")), Change(to(5), What.RETRY_INTERVAL, is_("shop")),
    ],
    (ServerCluster, "clone_separator_change"): [
        Change(to(True), What.AFFINITY, is_("shop", "small")), Change(to(True), What.SERVER, is_("far")),
    ],
    (ServerCluster, "post_size_limit_kb"): [Change(to(1), What.POST_SIZE, is_("shop")), Change(to(0), What.POST_SIZE, is_("shop"))],
    (ServerCluster, "post_buffer_size_kb"): [Change(to(0), What.RETRY, is_("shop")), Change(to(-1), What.RETRY, is_("shop"))],
    (ServerCluster, "server_io_timeout_retry"): [
        Change(to(0), What.RETRY, is_("shop")), Change(to(2), What.IO_TIMEOUT, is_("shop")),
    ],
    (ServerCluster, "servers"): [Change(without_last, What.SERVER)],
    (ServerCluster, "cluster_address"): [Change(to(None), What.SERVER, is_("far"))],
    (ServerCluster, "primary_servers"): [
        Change(to(None), What.SERVER, is_("shop")), Change(without_last, What.SERVER, is_("shop")),
    ],
    (ServerCluster, "backup_servers"): [Change(to(None), What.SERVER, is_("shop"))],
    (Uri, "name"): [Change(renamed, What.URI)],
    (Uri, "affinity_cookie"): [Change(renamed, What.AFFINITY_NAMES)],
    (Uri, "affinity_url_identifier"): [Change(renamed, What.AFFINITY_NAMES)],
    (UriGroup, "name"): [Change(renamed, What.URI)],
    (UriGroup, "uris"): [Change(without_last, What.URI)],
    (Route, "server_cluster"): [Change(renamed, What.GROUP)],
    (Route, "uri_group"): [Change(renamed, What.GROUP), Change(to(None), What.SCORE)],
    (Route, "virtual_host_group"): [Change(renamed, What.GROUP), Change(to(None), What.SCORE)],
    (Config, "virtual_host_groups"): [Change(without_last, What.VHOST)],
    (Config, "server_clusters"): [Change(without_last, What.GROUP)],
    (Config, "uri_groups"): [Change(without_last, What.URI)],
    (Config, "routes"): [Change(without_last, What.GROUP)],
}  # fmt: skip

_WEIGHTS = "who is next of those that may be is random, in the log and here"
_TLS = "keys and certificates of the log's machine are not here: each is taken for a good one"
_OPENING = "how a connection is opened or reused changes no decision"
_CONTENT = "what is sent, not where it goes"
_READING = "how and when the file itself is read"
_UNUSED = "not carried out (config.support)"

CANNOT_SHOW: dict[tuple[type, str], str] = {
    **{(cls, name): "where and how it stands in the file" for name in ("line", "extra", "written") for cls in (
        Property, Log, VirtualHost, VirtualHostGroup, Transport, Server, ServerRef, ServerCluster, Uri, UriGroup, Route,
        TrustedProxy, Config,
    )},
    **{(cls, "line"): "where it stands in the file" for cls in (Element, Unknown)},
    **{(Extra, name): "not interpreted" for name in ("attributes", "elements", "lists")},
    **{(Unknown, name): "not interpreted" for name in ("element", "attribute", "value")},
    **{(Element, name): "not interpreted" for name in ("name", "attributes", "children", "text")},
    (Property, "name"): "of Config: not interpreted; of a Transport: " + _TLS,
    (Property, "value"): "the same",
    (Log, "name"): "where the log is written, not what",
    (Log, "log_level"): "how much of it is written",
    (TrustedProxy, "name"): _CONTENT,
    (Transport, "hostname_alias"): _TLS,
    (Transport, "properties"): _TLS,
    (Transport, "connection_ttl_s"): _OPENING,
    (Server, "connect_timeout_s"): "the plug-in logs that it fired, and not after how long",
    (Server, "ws_server_io_timeout_s"): "of upgraded connections a log has no more lines",
    (Server, "ws_server_idle_timeout_s"): "of upgraded connections a log has no more lines",
    (Server, "extended_handshake"): _OPENING,
    (Server, "wait_for_continue"): _OPENING,
    (ServerCluster, "load_balance"): _WEIGHTS,
    (ServerCluster, "ignore_affinity_requests"): _WEIGHTS,
    (ServerCluster, "remove_special_headers"): _CONTENT,
    (ServerCluster, "get_dwlm_table"): _UNUSED,
    (ServerCluster, "mark_busy_down"): _UNUSED,
    **{(Config, name): _UNUSED for name in (
        "as_disable_nagle", "iis_disable_nagle", "iis_plugin_priority", "response_chunk_size_kb", "accept_all_content",
        "chunked_response", "os400_convert_query_string_to_job_ccsid", "config_hash", "request_metrics",
        "intelligent_management",
    )},
    **{(Config, name): _READING for name in (
        "refresh_interval_s", "ignore_dns_failures", "kill_web_server_start_up_on_parse_err", "path", "unknown", "log",
    )},
    **{(Config, name): _TLS for name in (
        "fips_enable", "ssl_consolidate", "use_insecure", "strict_security", "secure_host_verification",
        "host_verification_startup_check", "sslpkcs_driver", "sslpkcs_password", "properties",
    )},
    (Config, "app_server_port_preference"): _CONTENT,
    (Config, "trusted_proxy_enable"): _CONTENT,
    (Config, "trusted_proxies"): _CONTENT,
    (Config, "vhost_matching_compat"): "a log has one port for a request: that which the VirtualHosts were compared with",
    (Config, "http_max_headers"): "a log has the fields that went to the server: those of the plug-in too, and without those that it took out",
}  # fmt: skip


def classes() -> list[type]:
    return [
        cls
        for cls in vars(model).values()
        if isinstance(cls, type)
        and dataclasses.is_dataclass(cls)
        and cls is not model.AttributeSpec
    ]


def changed(element: Any, cls: Any, name: str, change: Change) -> Iterator[tuple[str, Any]]:
    """(which, the whole with this attribute changed in it) for each place where it can be changed."""
    if isinstance(element, cls) and change.where(element):
        value = getattr(element, name)
        other = change.value(value)
        if other != value:
            yield (
                getattr(element, "name", "") or name,
                dataclasses.replace(element, **{name: other}),
            )
    for field in dataclasses.fields(element):
        value = getattr(element, field.name)
        if isinstance(value, tuple):
            for at, each in enumerate(value):
                if dataclasses.is_dataclass(each):
                    for which, other in changed(each, cls, name, change):
                        replaced = (*value[:at], other, *value[at + 1 :])
                        yield which, dataclasses.replace(element, **{field.name: replaced})
        elif dataclasses.is_dataclass(value):
            for which, other in changed(value, cls, name, change):
                yield which, dataclasses.replace(element, **{field.name: other})


@pytest.fixture(scope="module")
def written_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "http_plugin.log"
    path.write_text(written().text())
    return path


@pytest.fixture(scope="module")
def config() -> Config:
    return parse_config(CONFIG.encode(), "plugin-cfg.xml").config


def differing(found: Replayed) -> dict[str, int]:
    checks = found.replay.summary.checks
    return {what: counts["differs"] for what, counts in checks.items() if counts["differs"]}


def test_every_field_of_the_model_is_classified() -> None:
    fields = {(cls, field.name) for cls in classes() for field in dataclasses.fields(cls)}
    assert fields - set(MATTERS) - set(CANNOT_SHOW) == set()
    assert (set(MATTERS) | set(CANNOT_SHOW)) - fields == set()
    assert set(MATTERS) & set(CANNOT_SHOW) == set()


def test_the_log_has_every_decision_and_no_difference(written_log: Path, config: Config) -> None:
    found = replay_path(written_log, World(config))
    assert found.others() == []
    # counters are compared with each other, see test_replay
    without = [
        what for what in DECISIONS if what != What.COUNTERS and not found.replay.summary.same[what]
    ]
    assert without == []


@pytest.mark.parametrize("key", list(MATTERS), ids=lambda key: f"{key[0].__name__}.{key[1]}")
def test_an_attribute_that_matters_makes_a_difference(
    key: tuple[type, str], written_log: Path, config: Config
) -> None:
    for change in MATTERS[key]:
        others = list(changed(config, *key, change))
        assert others
        for which, other in others:
            found = differing(replay_path(written_log, World(other)))
            assert change.shows in found, (which, change.shows, found)


def other_value(value: Any) -> Any:
    """Something else of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value + 7
        case str():
            return {"Round Robin": "Random", "HostHeader": "WebserverPort"}.get(value, f"{value}x")
        case tuple():
            return ()
        case _:
            return None


@pytest.mark.parametrize("key", list(CANNOT_SHOW), ids=lambda key: f"{key[0].__name__}.{key[1]}")
def test_an_attribute_that_cannot_show_makes_none(
    key: tuple[type, str], written_log: Path, config: Config
) -> None:
    """Otherwise it belongs to the others."""
    for which, other in changed(config, *key, Change(other_value, "")):
        assert differing(replay_path(written_log, World(other))) == {}, which
