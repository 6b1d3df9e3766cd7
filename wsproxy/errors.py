"""
Errors that more than one layer knows.

An error carries what a person needs to act: where (file and line), what was found, what is allowed.
"""

from __future__ import annotations


class WsproxyError(Exception):
    """Base of every error that wsproxy raises on purpose; its text is meant for the operator."""


class ConfigRefusedError(WsproxyError):
    """plugin-cfg.xml or wsproxy.toml cannot be used; the text lists every problem, one a line."""


class StartError(WsproxyError):
    """The process cannot start: a port is taken, a file is missing, a limit of the system is too low."""
