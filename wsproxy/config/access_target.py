"""
Where the access log goes: ``log.access`` -> a file, standard output, or a syslog daemon's address.

Used by ``config.settings_file``, ``config.check_settings`` and ``process.access_log``. Pure.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from wsproxy.config.address import parse_address

ACCESS_OFF = "off"
STDOUT = "stdout"
SYSLOG = "syslog"
# Where daemons of this machine listen: the C library's syslog(3) sends there, too.
LOCAL_SYSLOG = "/dev/log"
ALLOWED = (
    'allowed is "off", a file, "stdout", "syslog", "syslog:unix:/PATH" or "syslog:udp:HOST:PORT"'
)

# Of sockaddr_un, without the NUL behind it: a longer path no daemon can listen at.
MOST_SOCKET_PATH = 107
# Of a name and of what stands between its dots (RFC 1035 2.3.4): what is longer, or empty, no resolver is asked for.
MOST_HOST = 253
MOST_LABEL = 63

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
        path = text.removeprefix(f"{SYSLOG}:unix:")
        if len(os.fsencode(path)) > MOST_SOCKET_PATH:
            raise ValueError(
                f'found "{text}", whose path has {len(os.fsencode(path))} bytes; allowed are {MOST_SOCKET_PATH}, as sockets have it'
            )
        return Target("syslog", path)
    if text.startswith(f"{SYSLOG}:udp:"):
        return _udp_target(text)
    raise ValueError(f'found "{text}"; {ALLOWED}; wsproxy pipes to no program')


def _udp_target(text: str) -> Target:
    try:
        address = parse_address(text.removeprefix(f"{SYSLOG}:udp:"), is_listener=False)
    except ValueError as error:
        raise ValueError(f'found "{text}"; {ALLOWED}: {error}') from error
    labels = address.host.removesuffix(".").split(".")
    if len(address.host) > MOST_HOST or not all(0 < len(each) <= MOST_LABEL for each in labels):
        raise ValueError(
            f'found "{text}"; {ALLOWED}, with a HOST of at most {MOST_HOST} characters, 1 to {MOST_LABEL} between two dots'
        )
    return Target("syslog", host=address.host, port=address.port)
