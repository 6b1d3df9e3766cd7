"""
Judges plugin-cfg.xml and wsproxy.toml together: settings that this configuration makes idle.

Driven by ``process.check_start``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsproxy.config.check_settings import KeyPath
from wsproxy.config.model import Config
from wsproxy.config.settings import PLUGIN_AUTO, LimitSettings, Settings, UpstreamTlsSettings

# setting, why it has no effect, and where it would have one
Idle = tuple[KeyPath, Any, str, str]


def find_idle(
    config: Config, settings: Settings, *, is_listening_elsewhere: bool
) -> Iterator[Idle]:
    """
    Settings that are no defaults and have no effect with this configuration.

    ``is_listening_elsewhere``: --listen names the addresses.
    """
    if is_listening_elsewhere and settings.listeners:
        addresses = ", ".join(listener.address for listener in settings.listeners)
        yield (
            ("listener", 0),
            addresses,
            "with --listen, which replaces each of them",
            "without --listen",
        )
    most = config.http_max_headers
    fields = settings.limits.header_fields
    if most < fields != LimitSettings().header_fields:
        why = f'above HTTPMaxHeaders="{most}" of {config.path}'
        yield ("limits", "header_fields"), fields, why, f"up to {most}"
    has_log = config.log is not None and config.log.name
    if not has_log and settings.log.plugin == PLUGIN_AUTO and settings.log.plugin_dates != "new":
        why = f'with log.plugin = "auto" and no Log Name in {config.path}'
        yield ("log", "plugin_dates"), settings.log.plugin_dates, why, "with http_plugin.log"
    if not _has_https(config):
        for name in ("trust", "password_file", "verify"):
            value = getattr(settings.upstream.tls, name)
            if value != getattr(UpstreamTlsSettings(), name):
                why = f"without an https Transport in {config.path}"
                yield ("upstream", "tls", name), value, why, "with one"


def _has_https(config: Config) -> bool:
    return any(
        transport.protocol == "https"
        for server in config.all_servers
        for transport in server.transports
    )
