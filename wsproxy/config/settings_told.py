"""
Settings of what can be asked and what is told: tables of ``config.settings`` in a file of their own.

Driven by ``config.settings``. Only structs.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


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
            description="file that keeps what operators said of servers (drained, taken down, other numbers) over a restart; empty: that ends with the process; relative to the folder of wsproxy.toml"
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
