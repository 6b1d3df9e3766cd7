"""
The two little languages inside plugin-cfg.xml: names of VirtualHosts and names of Uris.

Driven by ``config.xml``. Must not decide what matches a request: that is ``routing``'s.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

DEFAULT_PORT = 80  # PLUGIN.md 1.5
MAX_PORT = 65535  # 16 bits in the TCP header

_VIRTUAL_HOST_FORMS = "host:port, *:port, host:* or *:*"
_NOT_IN_A_HOST = re.compile(r"[\s/?#@\[\]\\]")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_LOWER_HEX = re.compile(r"%(?=[0-9a-fA-F]{2})(?:[0-9A-F]?[a-f][0-9A-Fa-f]?)")
_IN_A_PATH = "%/*!$&'()+,:=@~"


@dataclass(frozen=True, slots=True)
class HostAndPort:
    """A VirtualHost's name, split; ``port`` None is any port."""

    host: str
    port: int | None


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
    # A last dot says that the name is whole (RFC 3986 3.2.2): the same host, in Host and here.
    return HostAndPort(host.lower().removesuffix(".") or host, port)


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
    if _NOT_IN_A_HOST.search(host):
        raise ValueError(f"{_VIRTUAL_HOST_FORMS} without scheme, path or spaces")
    if ":" in host:
        raise ValueError("an IPv6 address in brackets, as in [::1]:80")
    return host, port_text


def virtual_host_doubt(parts: HostAndPort) -> tuple[str, str] | None:
    """Why the VirtualHost never matches, and what is allowed instead; None where it can match."""
    if "*" in parts.host and parts.host != "*":
        return (
            "a * inside a host name never matches",
            "a host name in full, or * alone for any host",
        )
    if not parts.host.isascii():
        return (
            "clients send a name with such letters in its ASCII form (xn--...), so this never matches",
            f'"{_ascii_name(parts.host)}", the name as clients send it',
        )
    return None


def _ascii_name(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return "xn--..."


def uri_doubt(name: str) -> tuple[str, str] | None:
    """Why the Uri may not match what its author meant, and what is allowed instead; None where it is plain."""
    if (count := name.count("*")) > 1:
        return f"{count} of *; only the first one stands for any text", "one * in a Uri"
    if not name.startswith(("/", "*")):
        return "every path begins with /, so this never matches", "a Uri that begins with / or *"
    if "?" in name:
        return "the query string is not compared, so this never matches", "a path without ?"
    if "#" in name or any(character.isspace() for character in name):
        return (
            "# and spaces never occur in a path, so this never matches",
            "a path as it is requested",
        )
    if ";" in name:
        return "parameters (;...) are not compared, so this never matches", "a path without ;"
    if not name.isascii():
        return (
            "clients send such letters encoded, so this never matches",
            f'"{quote(name, safe=_IN_A_PATH)}", the path as clients send it',
        )
    if _LOWER_HEX.search(name):
        return (
            "clients write %XX with capital letters, and it is compared as it is written",
            f'"{_LOWER_HEX.sub(lambda found: found[0].upper(), name)}"',
        )
    return None
