"""
``HOST:PORT`` texts of the settings and of the command line, split; IP addresses in the one form in which they are compared.

Driven by ``config.settings_file`` and ``process.listeners``, and by ``dataplane`` for addresses of clients and proxies.
Must not resolve names or open sockets.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

MAX_PORT = 65535  # 16 bits in the TCP header

# An IPv4 address as IPv6 has it (RFC 4291 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"
_MAPPED_BITS = 96
_IPV4 = 4

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """A host (IPv6 without brackets, empty: every address of this machine) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in the settings: ``HOST:PORT``, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, is_listener: bool) -> Address:
    """
    Host and port of ``HOST:PORT``, ``[IPv6]:PORT``; a listener may also be ``:PORT`` and have port 0.

    Raises:
        ValueError: the text is none of these; its message says what was found and what is allowed.
    """
    found = f"found {text!r}; allowed is "
    if text.isascii() and text.isdigit():
        raise ValueError(f"{found}HOST:PORT (for port {text}: 127.0.0.1:{text} or :{text})")
    host, colon, port_text = text.rpartition(":")
    if not colon:
        raise ValueError(f"{found}HOST:PORT (the port is missing)")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError(f"{found}HOST:PORT (only IPv6 addresses stand in brackets)")
    elif ":" in host:
        raise ValueError(f"{found}HOST:PORT with IPv6 in brackets, as in [::1]:9080")
    if any(character.isspace() or character in "/[]@" for character in host):
        raise ValueError(f"{found}HOST:PORT without scheme, path or spaces")
    if not host and not is_listener:
        raise ValueError(f"{found}HOST:PORT (the host is missing)")
    low = 0 if is_listener else 1
    if not (port_text.isascii() and port_text.isdigit() and low <= int(port_text) <= MAX_PORT):
        raise ValueError(f"{found}HOST:PORT with a port from {low} to {MAX_PORT}")
    return Address(host, int(port_text))


def is_loopback(address: Address) -> bool:
    """Whether only this machine reaches it; a name may mean anything but ``localhost``."""
    if address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def is_own(host: str, listener: Address) -> bool:
    """
    Whether who connects to this host, at the listener's port, surely comes to the listener.

    What is not sure is left out: a name but ``localhost``, an address of this machine's that is not the listener's own.
    """
    try:
        address, own = (
            unmapped(ipaddress.ip_address("127.0.0.1" if each.lower() == "localhost" else each))
            for each in (host.strip("[]"), listener.host or "::")
        )
    except ValueError:
        return False
    if address.is_unspecified:  # Linux takes it for the loopback address of its family
        address = ipaddress.ip_address("127.0.0.1" if address.version == _IPV4 else "::1")
    if own.is_unspecified:
        return address.is_loopback and own.version in (6, address.version)  # :: takes both
    return address == own


def unmapped(address: IPAddress) -> IPAddress:
    """The IPv4 address in an IPv4-mapped one, else the address: an IPv4 client on a dual-stack socket is an IPv4 client."""
    return getattr(address, "ipv4_mapped", None) or address


def trusted_network(name: str) -> tuple[bytes, int] | None:
    """
    Address and prefix of a TrustedProxy as ``TrustedProxies`` wants them; None where the name is neither address nor network.

    Networks are more than the plug-in takes: the addresses of a cloud's load balancer change.
    """
    try:
        network = ipaddress.ip_network(name.replace("[", "").replace("]", "").partition("%")[0])
    except ValueError:
        return None
    if network.version == _IPV4:
        return _MAPPED + network.network_address.packed, _MAPPED_BITS + network.prefixlen
    return network.network_address.packed, network.prefixlen
