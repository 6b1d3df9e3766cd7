"""``[reload]`` of wsproxy.toml, and which settings only `wsproxy upgrade`, or a new start, takes over."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class ReloadSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[reload]``: when plugin-cfg.xml and wsproxy.toml are read again."""

    watch: Annotated[
        Literal["auto", "off"],
        Meta(
            description='"auto": changed files are taken over within a second, and looked at every RefreshInterval seconds besides, '
            'for file systems that tell of no change (RefreshInterval="-1": never); "off": only at SIGHUP and `wsproxy reload`'
        ),
    ] = "auto"
    guard_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=3600.0,
            description="a reload after which more requests fail than before is undone by itself within so long; 0: none is",
        ),
    ] = 0.0
    guard_limit: Annotated[
        float,
        Meta(
            gt=0.0,
            le=1.0,
            description="by how much of all requests one kind of failure may rise: 0.05 is from 1 % to 6 %",
        ),
    ] = 0.05


# Tables and settings that a running proxy cannot take over: sockets, processes and files that it opened at its start.
NEEDS_START = (
    "workers",
    "listener",
    "process",
    "log",
    "admin",
    "ha",
    "limits.client_connections",
    "timeouts.shutdown_s",
    "upstream.splice",
    "trace.endpoint",
    "trace.service_name",
    "trace.last_s",
    "trace.headers_file",
)
