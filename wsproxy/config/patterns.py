"""
The two little languages inside plugin-cfg.xml: names of VirtualHosts and names of Uris.

Driven by ``config.xml``. Must not decide what matches a request: that is ``routing``'s.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 80  # PLUGIN.md 1.5
MAX_PORT = 65535  # 16 bits in the TCP header

_VIRTUAL_HOST_FORMS = "host:port, *:port, host:* or *:*"
_NOT_IN_A_HOST = re.compile(r"[\s/?#@\[\]\\]")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class HostAndPort:
    """A VirtualHost's name, split; ``port`` None is any port."""

    host: str
    port: int | None
    never_matches: str = ""  # why, where it cannot match any request


def parse_virtual_host(name: str) -> HostAndPort:
    """
    Host (lower case, IPv6 without brackets) and port of a VirtualHost's name.

    Raises:
        ValueError: the name is none of the allowed forms; its message says which are.
    """
    host, port_text = _split(name)
    if not host:
        raise ValueError(f"{_VIRTUAL_HOST_FORMS} (the host is missing)")
    if port_text == "*":
        port = None
    elif port_text is None:
        port = DEFAULT_PORT
    elif _PORT.match(port_text) and 1 <= int(port_text) <= MAX_PORT:
        port = int(port_text)
    else:
        raise ValueError(f"{_VIRTUAL_HOST_FORMS} with a port from 1 to {MAX_PORT}")
    never = ""
    if "*" in host and host != "*":
        never = "a * inside a host name never matches; a host name in full, or * alone for any host"
    return HostAndPort(host.lower(), port, never)


def _split(name: str) -> tuple[str, str | None]:
    if name.startswith("["):
        host, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an IPv6 address in brackets and a port, as in [::1]:80")
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("an IPv6 address in brackets and a port, as in [::1]:80") from None
        return host, rest[1:] if rest else None
    host, colon, port = name.rpartition(":")
    if not colon:
        host, port_text = name, None
    else:
        port_text = port
    if ":" in host:
        raise ValueError("an IPv6 address in brackets, as in [::1]:80")
    if _NOT_IN_A_HOST.search(host):
        raise ValueError(f"{_VIRTUAL_HOST_FORMS} without scheme, path or spaces")
    return host, port_text


def uri_doubt(name: str) -> str | None:
    """Why the Uri's name may not match what its author meant, as what is allowed instead; None where it is plain."""
    if name.count("*") > 1:
        return "one * in a Uri: /exact/path, /prefix/*, *.ext or /*"
    if not name.startswith(("/", "*")):
        return "a Uri that begins with / or *, as every request's path begins with /"
    if "?" in name:
        return "a path: the query string is not compared, so this never matches"
    if "#" in name or any(character.isspace() for character in name):
        return "a path as it stands in a request, where # and spaces never occur"
    return None
