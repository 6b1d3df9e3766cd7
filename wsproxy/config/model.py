"""
What a plugin-cfg.xml says, in frozen dataclasses named with its own nouns.

Driven by ``config.xml`` (reads), ``config.check`` (judges) and ``routing.table`` (compiles). Must not read files,
sockets or clocks. The XML name, kind, unit and range of each attribute stand beside its field in ``attribute(...)``:
reader, writer, checks and documentation all take them from there. Source of names, defaults and ranges: PLUGIN.md section 1.

Every class has ``line``, where it stands; ``extra``, what stands there and is not known; and ``written``, the names of the
attributes that stand there, so that a default that was stated is written again. Equal objects mean the same, wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["str", "int", "bool", "enum"]
METADATA_KEY = "plugin-cfg"


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """How one XML attribute is written: its name, kind, unit, range or allowed words, and one sentence."""

    name: str
    kind: Kind
    meaning: str
    required: bool = False
    unit: str = ""
    low: int | None = None
    high: int | None = None
    allowed: tuple[str, ...] = ()


def attribute(
    name: str,
    kind: Kind,
    default: Any = None,
    *,
    meaning: str,
    required: bool = False,
    unit: str = "",
    low: int | None = None,
    high: int | None = None,
    allowed: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that carries its ``AttributeSpec``; absent in the file means ``default``."""
    spec = AttributeSpec(name, kind, meaning, required, unit, low, high, allowed)
    is_secret = "password" in name.lower()  # never in a log or a traceback
    return field(default=default, metadata={METADATA_KEY: spec}, repr=not is_secret)


def place(default: Any = 0) -> Any:
    """A dataclass field that tells where or how something stands in the file: two objects that differ only in it are equal."""
    return field(default=default, compare=False, repr=default == 0)


@dataclass(frozen=True, slots=True)
class Element:
    """A subtree that is read whole but not interpreted: RequestMetrics, IntelligentManagement, and what is not known."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: tuple[Element, ...] = ()
    line: int = place()
    text: str = (
        ""  # as it stands where there are no children; else the pieces between them, a line each
    )


@dataclass(frozen=True, slots=True)
class Extra:
    """What stands at an element and is not known, so that it can be written again; nothing else may use it."""

    attributes: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may be passwords
    elements: tuple[Element, ...] = field(default=(), repr=False)
    lists: tuple[
        tuple[str, Extra], ...
    ] = ()  # of elements that are no objects: PrimaryServers and the like


@dataclass(frozen=True, slots=True)
class Unknown:
    """An element or attribute that this reader does not know: reported; it is kept in the ``extra`` of where it stands."""

    element: str
    attribute: str | None
    value: str
    line: int = place()


@dataclass(frozen=True, slots=True)
class Property:
    """``<Property Name= Value=/>``, under Config or Transport (PLUGIN.md 1.4, 1.9)."""

    name: str = attribute("Name", "str", required=True, meaning="what is set")
    value: str = attribute("Value", "str", "", meaning="what it is set to")
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class Log:
    """``<Log Name= LogLevel=/>`` (PLUGIN.md 1.3)."""

    name: str = attribute(
        "Name", "str", "", meaning="file that the log is written to; `|command` pipes it"
    )
    log_level: str = attribute(
        "LogLevel",
        "enum",
        "Error",
        allowed=("Error", "Warn", "Stats", "Detail", "Debug", "Trace"),
        meaning="how much is written, in growing order",
    )
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """
    ``<VirtualHost Name="host:port"/>`` (PLUGIN.md 1.5), split.

    ``host`` is lower case, ``*`` for any, IPv6 without brackets; ``port`` None is any port.
    """

    name: str = attribute(
        "Name",
        "str",
        required=True,
        meaning="`host:port`, `*:port`, `host:*` or `*:*`; no port means 80",
    )
    host: str = "*"
    port: int | None = 80
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class VirtualHostGroup:
    """``<VirtualHostGroup Name=>`` with its VirtualHosts in file order."""

    name: str = attribute("Name", "str", required=True, meaning="the name that a Route refers to")
    virtual_hosts: tuple[VirtualHost, ...] = ()
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class Transport:
    """``<Transport Hostname= Port= Protocol=>`` with its key file properties (PLUGIN.md 1.9)."""

    hostname: str = attribute(
        "Hostname",
        "str",
        required=True,
        meaning="host name or address of the server; IPv6 may stand in brackets",
    )
    port: int = attribute(
        "Port", "int", required=True, low=1, high=65535, meaning="TCP port of the server"
    )
    protocol: str = attribute(
        "Protocol", "enum", "http", allowed=("http", "https"), meaning="how to talk to the server"
    )
    hostname_alias: str = attribute(
        "HostnameAlias", "str", "", meaning="name expected in the server's certificate (WAS 9)"
    )
    connection_ttl_s: int = attribute(
        "ConnectionTTL",
        "int",
        28,
        unit="s",
        low=-1,
        meaning="longest idle age of a pooled connection; -1 or 0: never reused",
    )
    properties: tuple[Property, ...] = ()
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class Server:
    """``<Server>`` of a cluster (PLUGIN.md 1.8)."""

    name: str = attribute(
        "Name",
        "str",
        required=True,
        meaning="shown in logs; PrimaryServers and BackupServers refer to it",
    )
    clone_id: str | None = attribute(
        "CloneID",
        "str",
        None,
        meaning="what the session cookie ends with when this server owns the session",
    )
    load_balance_weight: int = attribute(
        "LoadBalanceWeight",
        "int",
        2,
        low=0,
        meaning="share of new sessions; 0: only requests with affinity",
    )
    connect_timeout_s: int = attribute(
        "ConnectTimeout",
        "int",
        0,
        unit="s",
        low=0,
        meaning="longest wait for a connection; 0: the system's own limit",
    )
    server_io_timeout_s: int = attribute(
        "ServerIOTimeout",
        "int",
        0,
        unit="s",
        meaning="longest silence on one read or write; 0: no limit; negative: the limit, and the server is marked down",
    )
    ws_server_io_timeout_s: int | None = attribute(
        "wsServerIOTimeout",
        "int",
        None,
        unit="s",
        meaning="longest wait for the answer to an upgrade, and for the server to take what an upgraded connection sends; 0: no limit",
    )
    ws_server_idle_timeout_s: int | None = attribute(
        "wsServerIdleTimeout",
        "int",
        None,
        unit="s",
        meaning="closes an upgraded connection idle this long; 0: never (also read: wsIdleTimeout)",
    )
    max_connections: int = attribute(
        "MaxConnections",
        "int",
        -1,
        low=-1,
        meaning="most requests in flight to this server over all workers; -1 or 0: no limit",
    )
    extended_handshake: bool = attribute(
        "ExtendedHandshake",
        "bool",
        False,
        meaning="one more exchange before the request, to prove that the server itself answers",
    )
    wait_for_continue: bool = attribute(
        "WaitForContinue", "bool", False, meaning="wait for 100 (Continue) before the body is sent"
    )
    transports: tuple[Transport, ...] = ()
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class ServerRef:
    """``<Server Name=/>`` inside PrimaryServers or BackupServers."""

    name: str = attribute(
        "Name", "str", required=True, meaning="the name of a Server of the same ServerCluster"
    )
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class ServerCluster:
    """
    ``<ServerCluster>`` (V4: ServerGroup), PLUGIN.md 1.7.

    ``primary_servers`` and ``backup_servers`` are None where the element is absent; where both are, every Server is a primary.
    """

    name: str = attribute("Name", "str", required=True, meaning="the name that a Route refers to")
    load_balance: str = attribute(
        "LoadBalance",
        "enum",
        "Round Robin",
        allowed=("Round Robin", "Random"),
        meaning="how servers for new sessions are chosen",
    )
    retry_interval_s: int = attribute(
        "RetryInterval",
        "int",
        60,
        unit="s",
        low=0,
        meaning="a server marked down is tried again after this long",
    )
    remove_special_headers: bool = attribute(
        "RemoveSpecialHeaders", "bool", True, meaning="drop private headers that the client sent"
    )
    clone_separator_change: bool = attribute(
        "CloneSeparatorChange",
        "bool",
        False,
        meaning="true: `+` separates clone ids instead of `:`",
    )
    post_size_limit_kb: int = attribute(
        "PostSizeLimit", "int", -1, unit="KB", low=-1, meaning="largest request body; -1: no limit"
    )
    post_buffer_size_kb: int = attribute(
        "PostBufferSize",
        "int",
        64,
        unit="KB",
        low=-1,
        meaning="body kept for a retry; 0: none, -1: any size",
    )
    server_io_timeout_retry: int = attribute(
        "ServerIOTimeoutRetry",
        "int",
        -1,
        low=-1,
        high=65535,
        meaning="most retries after a ServerIOTimeout; -1: as many as there are servers",
    )
    get_dwlm_table: bool = attribute(
        "GetDWLMTable", "bool", False, meaning="fetch the partition table before it is needed"
    )
    ignore_affinity_requests: bool = attribute(
        "IgnoreAffinityRequests",
        "bool",
        True,
        meaning="true: requests with affinity do not lower the weight",
    )
    mark_busy_down: bool = attribute(
        "MarkBusyDown",
        "bool",
        False,
        meaning="not documented",
    )
    servers: tuple[Server, ...] = ()
    cluster_address: Server | None = None
    primary_servers: tuple[ServerRef, ...] | None = None
    backup_servers: tuple[ServerRef, ...] | None = None
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())

    @property
    def clone_separator(self) -> str:
        """The character before each clone id in the session cookie."""
        return "+" if self.clone_separator_change else ":"

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """Every server that a request may go to: those of the file, and last the ClusterAddress. Indices count in this order."""
        address = self.cluster_address
        return self.servers if address is None else (*self.servers, address)


@dataclass(frozen=True, slots=True)
class Uri:
    """``<Uri Name= AffinityCookie= AffinityURLIdentifier=/>`` (PLUGIN.md 1.12)."""

    name: str = attribute(
        "Name", "str", required=True, meaning="`/exact/path`, `/prefix/*`, `*.ext` or `/*`"
    )
    affinity_cookie: str = attribute(
        "AffinityCookie", "str", "JSESSIONID", meaning="cookie that carries the session id"
    )
    affinity_url_identifier: str = attribute(
        "AffinityURLIdentifier",
        "str",
        "jsessionid",
        meaning="path parameter that carries the session id",
    )
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class UriGroup:
    """``<UriGroup Name=>`` with its Uris in file order."""

    name: str = attribute("Name", "str", required=True, meaning="the name that a Route refers to")
    uris: tuple[Uri, ...] = ()
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class Route:
    """``<Route>`` (PLUGIN.md 1.13): names, as written; whether they exist is ``config.check``'s matter."""

    server_cluster: str = attribute(
        "ServerCluster", "str", required=True, meaning="where matching requests go"
    )
    uri_group: str | None = attribute("UriGroup", "str", None, meaning="which paths; absent: all")
    virtual_host_group: str | None = attribute(
        "VirtualHostGroup", "str", None, meaning="which hosts; absent: all"
    )
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class TrustedProxy:
    """``<TrustedProxy Name="address or network"/>``; a host name is read, and trusts nobody."""

    name: str = attribute(
        "Name",
        "str",
        required=True,
        meaning="address or network (IPv6 in brackets) of a proxy whose private headers are kept, and whose word on its client counts",
    )
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())


@dataclass(frozen=True, slots=True)
class Config:
    """``<Config>``: the whole file (PLUGIN.md 1.2)."""

    refresh_interval_s: int = attribute(
        "RefreshInterval",
        "int",
        60,
        unit="s",
        low=-1,
        meaning="how often the file's modification time is checked",
    )
    ignore_dns_failures: bool = attribute(
        "IgnoreDNSFailures",
        "bool",
        False,
        meaning="true: start although a server's host name cannot be resolved",
    )
    as_disable_nagle: bool = attribute(
        "ASDisableNagle",
        "bool",
        False,
        meaning="TCP_NODELAY towards the servers",
    )
    iis_disable_nagle: bool = attribute("IISDisableNagle", "bool", False, meaning="IIS only")
    iis_plugin_priority: str = attribute(
        "IISPluginPriority",
        "enum",
        "High",
        allowed=("High", "Medium", "Low"),
        meaning="IIS only",
    )
    app_server_port_preference: str = attribute(
        "AppServerPortPreference",
        "enum",
        "HostHeader",
        allowed=("HostHeader", "WebserverPort"),
        meaning="which port is told to the server in $WSSP: the Host header's or the one the request came in on",
    )
    response_chunk_size_kb: int = attribute(
        "ResponseChunkSize",
        "int",
        64,
        unit="KB",
        low=1,
        meaning="read size for answers",
    )
    accept_all_content: bool = attribute(
        "AcceptAllContent",
        "bool",
        False,
        meaning="true: bodies with any method, not only POST and PUT",
    )
    chunked_response: bool = attribute(
        "ChunkedResponse",
        "bool",
        False,
        meaning="answer in chunks where the server did (IIS, iPlanet, Domino only)",
    )
    vhost_matching_compat: bool = attribute(
        "VHostMatchingCompat",
        "bool",
        False,
        meaning="true: VirtualHost ports are compared with the port the connection came in on",
    )
    fips_enable: bool = attribute(
        "FIPSEnable", "bool", False, meaning="FIPS mode of the TLS library"
    )
    ssl_consolidate: bool = attribute(
        "SSLConsolidate",
        "bool",
        False,
        meaning="one TLS environment for Transports with the same keyring",
    )
    trusted_proxy_enable: bool = attribute(
        "TrustedProxyEnable", "bool", False, meaning="keep private headers set by a TrustedProxy"
    )
    http_max_headers: int = attribute(
        "HTTPMaxHeaders",
        "int",
        300,
        low=1,
        high=300,
        meaning="most header fields in a request or an answer",
    )
    kill_web_server_start_up_on_parse_err: bool = attribute(
        "KillWebServerStartUpOnParseErr",
        "bool",
        False,
        meaning="true: a parse error keeps the web server from starting",
    )
    use_insecure: bool = attribute(
        "UseInsecure",
        "bool",
        False,
        meaning="use the http Transport when the https one cannot be initialised",
    )
    strict_security: bool = attribute(
        "StrictSecurity", "bool", False, meaning="strict TLS after SP800-131"
    )
    secure_host_verification: bool = attribute(
        "SecureHostVerification", "bool", False, meaning="check host names in server certificates"
    )
    host_verification_startup_check: bool = attribute(
        "HostVerificationStartupCheck", "bool", False, meaning="the same check once at start"
    )
    os400_convert_query_string_to_job_ccsid: bool = attribute(
        "OS400ConvertQueryStringToJobCCSID", "bool", False, meaning="IBM i only"
    )
    sslpkcs_driver: str | None = attribute("SSLPKCSDriver", "str", None, meaning="PKCS#11 device")
    sslpkcs_password: str | None = attribute(
        "SSLPKCSPassword", "str", None, meaning="password of the PKCS#11 device; never printed"
    )
    config_hash: str | None = attribute("ConfigHash", "str", None, meaning="Liberty's bookkeeping")
    log: Log | None = None
    properties: tuple[Property, ...] = ()
    virtual_host_groups: tuple[VirtualHostGroup, ...] = ()
    trusted_proxies: tuple[TrustedProxy, ...] = ()
    server_clusters: tuple[ServerCluster, ...] = ()
    uri_groups: tuple[UriGroup, ...] = ()
    routes: tuple[Route, ...] = ()
    request_metrics: Element | None = None
    intelligent_management: Element | None = None
    unknown: tuple[Unknown, ...] = place(())
    path: str = place("")
    line: int = place()
    extra: Extra | None = None
    written: tuple[str, ...] = place(())

    @property
    def all_servers(self) -> tuple[Server, ...]:
        """Those of all clusters, in the order of the file."""
        return tuple(server for cluster in self.server_clusters for server in cluster.all_servers)
