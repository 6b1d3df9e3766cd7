"""
Settings of what can be asked and what is told: tables of ``config.settings`` in a file of their own.

Driven by ``config.settings``. Only structs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wsproxy.config.access_format import DEFAULT
from wsproxy.config.access_target import ACCESS_OFF, Facility

AccessOnly = Literal["failed", "slow", "retried"]
PluginDates = Literal["new", "old"]
LogLevel = Literal["debug", "info", "warning", "error"]
Strangers = Literal["continue", "restart", "obey"]


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``."""

    level: Annotated[
        LogLevel, Meta(description="least severe messages that are written to standard error")
    ] = "info"
    most_a_second: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="messages of one kind that a process writes to standard error in a second; the rest are summed",
        ),
    ] = 10
    plugin: Annotated[
        str,
        Meta(
            description='http_plugin.log: "auto" the file that the Log element names, "off" none, else the file; relative to the folder of wsproxy.toml'
        ),
    ] = "auto"
    plugin_dates: Annotated[
        PluginDates,
        Meta(
            description='dates in http_plugin.log: "new" as the plug-in writes them since 8.5, "old" as before'
        ),
    ] = "new"
    access: Annotated[
        str,
        Meta(
            description='access log: "off" none, "stdout", "syslog", "syslog:unix:/PATH", "syslog:udp:HOST:PORT", else the file; relative to the folder of wsproxy.toml'
        ),
    ] = ACCESS_OFF
    access_format: Annotated[
        str,
        Meta(
            description='what a line of the access log says: "common", "combined", "json", or text with directives of Apache\'s LogFormat'
        ),
    ] = DEFAULT
    access_only: Annotated[
        tuple[AccessOnly, ...],
        Meta(
            description='lines that are written: [] all, else those of which one is true: "failed", "slow", "retried"'
        ),
    ] = ()
    access_slow_s: Annotated[
        float,
        Meta(ge=0, le=86400, description="a request that takes so long is slow, for access_only"),
    ] = 1
    access_facility: Annotated[
        Facility, Meta(description="facility of the access log's messages, where syslog gets them")
    ] = "local0"
    access_sessions: Annotated[
        bool,
        Meta(
            description="true: session ids and cookies stand in the access log as they came; false: masked, clone ids stay"
        ),
    ] = False


class ExplainSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[explain]``: who may be told what was decided for a request, in fields of its answer."""

    trusted: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses and networks whose requests with X-Wsproxy-Explain: 1 get their decision in the answer's fields"
        ),
    ] = ()


class AdminSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[admin]``: what the running proxy can be asked."""

    socket: Annotated[
        str,
        Meta(
            description='Unix socket that the proxy answers on: "auto" a file of its own in the run-time folder, "off" none, else the file; relative to the folder of wsproxy.toml'
        ),
    ] = "auto"
    state_file: Annotated[
        str,
        Meta(
            description="file that keeps what operators said (drained, taken down, other numbers, maintenance) over a restart; empty: that ends with the process; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    listen: Annotated[
        str,
        Meta(
            description="HOST:PORT where it answers by TCP, too: /health, /ready and /metrics, with a token all else; empty: nowhere"
        ),
    ] = ""
    certificate: Annotated[
        str,
        Meta(
            description="PEM file with the certificate that admin.listen shows and its chain: TLS 1.2 or later, and nothing else; read again when it changes; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    key: Annotated[
        str,
        Meta(
            description="PEM file with its key, without a password; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    unencrypted: Annotated[
        bool,
        Meta(
            description="true: admin.listen may be an address that others reach, without a certificate; the token and all answers go there as they are, and who reads them on their way can do what an operator can"
        ),
    ] = False
    token_file: Annotated[
        str,
        Meta(
            description="file whose first line is the token for admin.listen, mode 0600 or stricter; relative to the folder of wsproxy.toml"
        ),
    ] = ""


class HealthSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[health]``: what a load balancer, or Kubernetes, asks on the ports of clients."""

    live_path: Annotated[
        str,
        Meta(
            description="path of a question whether the worker lives, which wsproxy itself answers with 200; empty: none"
        ),
    ] = ""
    ready_path: Annotated[
        str,
        Meta(
            description="path of a question whether clients may come: wsproxy itself answers with 200, or with 503 while it is drained or stops; empty: none"
        ),
    ] = ""
    ports: Annotated[
        tuple[int, ...],
        Meta(
            description="ports of listeners where they are asked; elsewhere these are paths like any other; [] on all"
        ),
    ] = ()


class MetricsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[metrics]``: what GET /metrics tells."""

    clusters: Annotated[
        tuple[str, ...],
        Meta(
            description='names of clusters that are told, "*" stands for any characters; "[[]fallback]" is that of [fallback]'
        ),
    ] = ("*",)
    servers: Annotated[
        bool,
        Meta(
            description="true: a series for each server; false: one for each cluster, with the sums of its servers"
        ),
    ] = True
    histograms: Annotated[
        bool,
        Meta(
            description="false: no times of servers, which are three quarters of all series; counters stay"
        ),
    ] = True


class TraceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[trace]``: spans of requests, for OpenTelemetry."""

    endpoint: Annotated[
        str,
        Meta(
            description='URL of a collector that takes OTLP over HTTP ("http://127.0.0.1:4318"; /v1/traces is added); empty: no traces'
        ),
    ] = ""
    sample: Annotated[
        float,
        Meta(
            ge=0.0,
            le=1.0,
            description="part of the requests that are recorded, where nobody who is believed has said whether this one is",
        ),
    ] = 0.01
    strangers: Annotated[
        Strangers,
        Meta(
            description='traceparent of a client that is no TrustedProxy: "continue" its trace goes on, trace.sample says whether it is recorded; "restart" a new trace; "obey" its word, as a TrustedProxy\'s'
        ),
    ] = "continue"
    service_name: Annotated[
        str, Meta(description="service.name of the spans: what this proxy is called there")
    ] = "wsproxy"
    last_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=600.0,
            description="how long a proxy that stops waits at most until the collector has the last spans",
        ),
    ] = 5.0
    headers_file: Annotated[
        str,
        Meta(
            description="file with lines NAME: VALUE that go with each export, as for a token; mode 0600 or stricter; relative to the folder of wsproxy.toml"
        ),
    ] = ""


class CheckSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[check]``: what `wsproxy check`, a start and a reload, say of plugin-cfg.xml and of this file."""

    ignore: Annotated[
        tuple[str, ...],
        Meta(
            description="codes of warnings and notes that are not told, only counted (docs/check.md); errors are always told"
        ),
    ] = ()
