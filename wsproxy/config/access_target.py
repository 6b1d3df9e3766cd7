"""
Where the access log goes: ``log.access`` -> a file, standard output, or a syslog daemon's address.

Used by ``config.settings_file``, ``config.check_settings`` and ``process.access_log``. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ACCESS_OFF = "off"
STDOUT = "stdout"
SYSLOG = "syslog"
# Where daemons of this machine listen: the C library's syslog(3) sends there, too.
LOCAL_SYSLOG = "/dev/log"
ALLOWED = (
    'allowed is "off", a file, "stdout", "syslog", "syslog:unix:/PATH" or "syslog:udp:HOST:PORT"'
)

Facility = Literal[
    "user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]
# RFC 5424, table 1. The others are other programs'.
FACILITIES: dict[str, int] = {
    "user": 1,
    "daemon": 3,
    **{f"local{number}": 16 + number for number in range(8)},
}


@dataclass(frozen=True, slots=True)
class Target:
    """``path``: of a file, or of a daemon's socket; ``host`` and ``port``: of a daemon that is asked over UDP."""

    kind: Literal["file", "stdout", "syslog"]
    path: str = ""
    host: str = ""
    port: int = 0


def is_file(text: str) -> bool:
    """Whether ``log.access`` names a file."""
    return (
        text not in ("", ACCESS_OFF, STDOUT, SYSLOG)
        and not text.startswith(f"{SYSLOG}:")
        and not text.startswith("|")
    )


def parse_target(text: str) -> Target:
    """
    What ``log.access`` means; not for "off".

    Raises:
        ValueError: ``found X; allowed is Y``.
    """
    if text == STDOUT:
        return Target("stdout")
    if text == SYSLOG:
        return Target("syslog", LOCAL_SYSLOG)
    if is_file(text):
        return Target("file", text)
    if text.startswith(f"{SYSLOG}:unix:/"):
        return Target("syslog", text.removeprefix(f"{SYSLOG}:unix:"))
    if text.startswith(f"{SYSLOG}:udp:"):
        host, _, port = text.removeprefix(f"{SYSLOG}:udp:").rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if host and port.isascii() and port.isdigit() and 0 < int(port) <= 65535:
            return Target("syslog", host=host, port=int(port))
    raise ValueError(f'found "{text}"; {ALLOWED}; wsproxy pipes to no program')
