"""
What wsproxy.toml can say: one frozen struct a table, each setting with its default, range and meaning.

Read by ``config.settings_file``, used by every layer above. Must not read files or the environment. A setting's name never
changes once released: operators' files hold it. docs/settings.md gives the reason for each range; a test compares the two.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from wsproxy.config.settings_content import (
    CacheControl,
    Charset,
    FilesSettings,
    Index,
    Precompressed,
)
from wsproxy.config.settings_edge import EdgeSettings, Page
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_probe import ProbeSettings
from wsproxy.config.settings_process import LONGEST_S, ProcessSettings, UpgradeSettings
from wsproxy.config.settings_reload import ReloadSettings
from wsproxy.config.settings_told import (
    AdminSettings,
    CheckSettings,
    ExplainSettings,
    HealthSettings,
    LogSettings,
    MetricsSettings,
    TraceSettings,
)

# Shortest time-out: below 50 ms a healthy client on a lossy line (one retransmission: 200 ms) would be cut off for
# nothing; the tests need the short ones.
SHORTEST_S = 0.05

# Rows of the shared state; also where one process a core stops being the bottleneck.
MAX_WORKERS = 128

Prefer = Literal["score", "exact"]
AmbiguousPaths = Literal["forward", "refuse"]
NonAscii = Literal["refuse", "encode"]
# Places that a cluster's queue has in shared memory, without those whose turn has come.
MOST_WAITING = 4096

FallbackMode = Literal["404", "directory", "upstream"]
BackupUse = Literal["ordered", "balanced"]
CloneIds = Literal["auto", "servers"]
BelievedFields = Literal["x-forwarded", "forwarded", "none"]
# Of admin.socket; anything else is a file.
SOCKET_AUTO, SOCKET_OFF = SOCKET_WORDS = ("auto", "off")
# Of log.plugin; anything else is a file.
PLUGIN_AUTO, PLUGIN_OFF = PLUGIN_WORDS = ("auto", "off")
SentProxyProtocol = Literal["none", "v1", "v2"]
ServerErrors = Literal["pass", "mark_down"]
ErrorStatus = Literal["precise", "plugin"]
TlsVersion = Literal["1.2", "1.3"]
ClientCertificates = Literal["none", "optional", "required"]
Verify = Literal["full", "chain", "none"]

# Mozilla's "intermediate" list (5.7) without DHE: it needs parameters that nobody generates any more, and what speaks DHE
# speaks ECDHE. TLS 1.3 has suites of its own, all of them good.
INTERMEDIATE_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)


class CertificateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``{...}`` of a listener's ``certificates``."""

    chain: Annotated[
        str,
        Meta(
            description="PEM file: the server's certificate, then those of its issuers; relative to the folder of wsproxy.toml, as all files here"
        ),
    ] = ""
    key: Annotated[str, Meta(description="PEM file: the private key")] = ""
    p12: Annotated[
        str, Meta(description="PKCS#12 file with key and certificates, instead of chain and key")
    ] = ""
    password_file: Annotated[
        str, Meta(description="file whose first line is the password of the key or of the p12")
    ] = ""


class ListenerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[listener]]``."""

    address: Annotated[
        str,
        Meta(
            description="HOST:PORT to listen on; IPv6 in brackets, :PORT for all addresses, port 0 for any free port"
        ),
    ]
    certificates: tuple[CertificateSettings, ...] = ()
    min_version: Annotated[
        TlsVersion, Meta(description="oldest version of TLS that clients may speak")
    ] = "1.2"
    ciphers: Annotated[
        str,
        Meta(
            description="suites that TLS 1.2 clients may use, by the names that OpenSSL has for them"
        ),
    ] = INTERMEDIATE_CIPHERS
    client_certificates: Annotated[
        ClientCertificates, Meta(description="whether clients are asked for a certificate")
    ] = "none"
    client_ca: Annotated[
        str,
        Meta(
            description='PEM file: the issuers of client certificates, needed for "optional" and "required"'
        ),
    ] = ""
    proxy_protocol: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses and networks of load balancers whose connections begin with a PROXY header, version 1 or 2"
        ),
    ] = ()


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[limits]``: what a request may take before it is refused."""

    head_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            le=1048576,
            description="largest head of a request or an answer: first line and header fields",
        ),
    ] = 65536
    header_fields: Annotated[
        int, Meta(ge=10, le=300, description="most header fields in a head")
    ] = 300
    target_bytes: Annotated[
        int, Meta(ge=256, le=65536, description="longest request target: path and query")
    ] = 16384
    client_connections: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="most open connections of one client (IPv4 address, or IPv6 network of 64 bits), over all workers; 0: any number",
        ),
    ] = 0


class TimeoutSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[timeouts]``: how long a client may take, and the head of an answer."""

    head_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time from the first byte of a request head to its last, and of a TLS handshake",
        ),
    ] = 10.0
    keepalive_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time that a connection may be idle between requests",
        ),
    ] = 75.0
    body_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time without progress of a request body, or of a client that does not read its answer",
        ),
    ] = 60.0
    linger_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long what a client still sends is thrown away after the last answer has reached it; 0: not at all",
        ),
    ] = 2.0
    half_closed_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="longest time that a client which ended its sending waits for its answer to begin; 0: its request is cancelled at once",
        ),
    ] = LONGEST_S
    server_head_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="longest time from the first byte of an answer's head to its last; 0: none",
        ),
    ] = 60.0
    tunnel_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time without a byte in an upgraded connection, where the server has no wsServerIdleTimeout",
        ),
    ] = 3600.0
    shutdown_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="time that running requests get to finish after SIGTERM; 0: none",
        ),
    ] = 30.0


class UpstreamTlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[upstream.tls]``: https Transports."""

    trust: Annotated[
        str,
        Meta(
            description="PEM or PKCS#12 file of the issuers that servers are believed by, instead of each Transport's keyring; a key in it is shown to servers; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            description="file whose first line is the password of trust, or without trust of every keyring"
        ),
    ] = ""
    verify: Annotated[
        Verify,
        Meta(
            description='what a server must prove: "full" issuer and host name, "chain" its issuer only, "none" nothing'
        ),
    ] = "full"


class UpstreamSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[upstream]``: connections to the servers."""

    pool_idle_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="longest idle age of a kept connection; 0: never used again",
        ),
    ] = 25.0
    pool_size: Annotated[
        int,
        Meta(
            ge=0,
            le=65536,
            description="idle connections kept for each server by each worker; 0: none",
        ),
    ] = 2048
    connect_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest wait for a connection where the server's ConnectTimeout is 0",
        ),
    ] = 10.0
    resolve_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long a resolved host name is used; 0: resolved for each new connection",
        ),
    ] = 60.0
    splice: Annotated[
        bool,
        Meta(
            description="large bodies between plain connections pass inside the kernel, without being copied; false: they are read and sent"
        ),
    ] = True
    proxy_protocol: Annotated[
        SentProxyProtocol,
        Meta(
            description='"v1", "v2": each connection begins with a PROXY header that says who the client is, and serves one request; "none": no header'
        ),
    ] = "none"
    tls: UpstreamTlsSettings = UpstreamTlsSettings()


class BalancingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[balancing]``: which server takes a request without affinity."""

    backups: Annotated[
        BackupUse,
        Meta(
            description='when no primary is usable: "ordered" the first usable backup takes all, "balanced" all by weight'
        ),
    ] = "ordered"
    last_chance: Annotated[
        bool,
        Meta(
            description="true: where no server is usable, one that is marked down is tried all the same"
        ),
    ] = True


class AffinitySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[affinity]``."""

    takeover_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="how long a session's new server is remembered after a failover, until its cookie names it; 0: not at all",
        ),
    ] = 60.0
    clone_ids: Annotated[
        CloneIds,
        Meta(
            description='"auto": servers that write clone ids get their session cookies as they are; for others wsproxy adds the clone id and takes it away again; "servers": nothing is added or taken away'
        ),
    ] = "auto"
    complete_clone_ids: Annotated[
        bool | Literal["auto"],
        Meta(
            description='true: the CloneID is added where the cookie lacks it, and taken away again only for strip_clone_ids; false: never added; "auto": as clone_ids says'
        ),
    ] = "auto"
    strip_clone_ids: Annotated[
        tuple[str, ...],
        Meta(
            description='ServerClusters whose servers get no clone ids at all, not even of WebSphere\'s form; "*": all'
        ),
    ] = ()


class ForwardedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[forwarded]``: who the client is, for servers that do not read private headers."""

    x_forwarded: Annotated[
        bool,
        Meta(
            description="true: X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host are written; false: a client's own go on"
        ),
    ] = False
    forwarded: Annotated[
        bool,
        Meta(description="true: Forwarded (RFC 7239) is written; false: a client's own goes on"),
    ] = False
    trust: Annotated[
        BelievedFields,
        Meta(
            description='which fields of a TrustedProxy say who its client is, for $WSRA, $WSSC, $WSSP, VirtualHosts and logs: "x-forwarded" -For, -Proto, -Port, -Host; "forwarded" Forwarded; "none" neither'
        ),
    ] = "x-forwarded"


class RoutingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[routing]``."""

    prefer: Annotated[
        Prefer,
        Meta(
            description='what decides between matching Routes: "score" the higher score, then the higher exact match; "exact" the other way round'
        ),
    ] = "score"
    ambiguous_paths: Annotated[
        AmbiguousPaths,
        Meta(
            description='paths that servers may read in two ways, like /a/..;/b or /a%2fb: "forward" as they came, "refuse" with 400'
        ),
    ] = "forward"


class QueueSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[queue]``: requests that wait while all servers of their cluster are at MaxConnections."""

    size: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST_WAITING,
            description="most requests that wait for one cluster, over all workers; 0: none waits, the answer is 503 at once",
        ),
    ] = 0
    wait_s: Annotated[
        float,
        Meta(
            ge=SHORTEST_S,
            le=LONGEST_S,
            description="longest time that a request waits; then the answer is 503",
        ),
    ] = 5.0
    affinity_waits: Annotated[
        bool,
        Meta(
            description="true: a request whose own server is full waits for that one instead of going to another"
        ),
    ] = True


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[http]``: what HTTP leaves to the proxy."""

    trace: Annotated[
        bool,
        Meta(description="true: TRACE goes to the servers like any other method; false: 405"),
    ] = False
    via: Annotated[
        str,
        Meta(
            description="name of this proxy in the Via field that servers get; empty: none is written"
        ),
    ] = ""
    trailers: Annotated[
        bool,
        Meta(
            description="true: trailer fields of chunked bodies go on, but those of a head; to clients that ask for them; false: all are dropped"
        ),
    ] = False
    non_ascii: Annotated[
        NonAscii,
        Meta(
            description='bytes beyond ASCII in a request target, which no target may have: "refuse" with 400, "encode" as %XX before it is matched and forwarded'
        ),
    ] = "refuse"


class RetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[retry]``: what a failed try at a server leads to."""

    on_503: Annotated[
        bool,
        Meta(
            description="true: a request that a server answers with 503 goes to another server, which is not held against the first"
        ),
    ] = True
    server_errors: Annotated[
        ServerErrors,
        Meta(
            description='answers 500 to 599 but 503: "pass" to the client, "mark_down" the server and try another one'
        ),
    ] = "pass"
    strict_once: Annotated[
        bool,
        Meta(
            description="true: a request of which a server may have received anything is never sent again"
        ),
    ] = False
    error_status: Annotated[
        ErrorStatus,
        Meta(
            description='status where no server answered: "precise" 500, 502, 503 or 504, "plugin" 500 except for MaxConnections'
        ),
    ] = "precise"


class FallbackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[fallback]``: the answer where no Route matches."""

    mode: Annotated[
        FallbackMode,
        Meta(
            description='what answers: "404" wsproxy itself, "directory" static files, "upstream" another web server'
        ),
    ] = "404"
    directory: Annotated[
        str,
        Meta(
            description='folder of the static files, needed for mode "directory"; relative to the folder of wsproxy.toml'
        ),
    ] = ""
    index: Index = ("index.html",)
    precompressed: Precompressed = ()
    cache_control: CacheControl = ""
    charset: Charset = "utf-8"
    upstream: Annotated[
        str, Meta(description='HOST:PORT of the other web server, needed for mode "upstream"')
    ] = ""


def fallback_files(fallback: FallbackSettings) -> FilesSettings | None:
    """The files that answer where no Route matches; None: something else does."""
    if fallback.mode != "directory":
        return None
    return FilesSettings(
        root=fallback.directory,
        index=fallback.index,
        precompressed=fallback.precompressed,
        cache_control=fallback.cache_control,
        charset=fallback.charset,
    )


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """wsproxy.toml; ``Settings()`` is what holds without one."""

    workers: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_WORKERS,
            description="worker processes; 0: as many as there are CPUs that wsproxy may use",
        ),
    ] = 0
    listeners: tuple[ListenerSettings, ...] = field(default=(), name="listener")
    process: ProcessSettings = ProcessSettings()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    upgrade: UpgradeSettings = UpgradeSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    balancing: BalancingSettings = BalancingSettings()
    probe: ProbeSettings = ProbeSettings()
    routing: RoutingSettings = RoutingSettings()
    affinity: AffinitySettings = AffinitySettings()
    forwarded: ForwardedSettings = ForwardedSettings()
    edge: tuple[EdgeSettings, ...] = ()
    http: HttpSettings = HttpSettings()
    retry: RetrySettings = RetrySettings()
    queue: QueueSettings = QueueSettings()
    fallback: FallbackSettings = FallbackSettings()
    log: LogSettings = LogSettings()
    explain: ExplainSettings = ExplainSettings()
    admin: AdminSettings = AdminSettings()
    health: HealthSettings = HealthSettings()
    metrics: MetricsSettings = MetricsSettings()
    trace: TraceSettings = TraceSettings()
    reload: ReloadSettings = ReloadSettings()
    check: CheckSettings = CheckSettings()
    ha: HaSettings = HaSettings()
    # Read with the file: workers must not need what root alone may read, and a generation that is returned to has its own.
    edge_pages: tuple[Page, ...] = ()


# Of ``Settings``: what no file says.
NOT_IN_FILE = frozenset({"edge_pages"})
