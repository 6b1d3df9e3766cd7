"""
Free ports for who listens on them a moment later.

Driven by ``demo.show``, by tests and by ``bench``. Must not hold what it finds: a proxy refuses a port that somebody else has.
"""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

LOWEST_PORT = 15000
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_ports(count: int, host: str = "") -> list[int]:
    """
    Ports that nobody has on ``host`` (a literal address or a name; empty: on any IPv4 one), all different. # I/O.

    Not of those that the system gives to connections (``ip_local_port_range``): whoever connects next could get one before it
    is listened on, and on a busy machine many do. Not ending in 443, which wsproxy takes for TLS. Fewer than ``count`` where
    there are none.
    """
    first_given = int(_GIVEN.read_text("ascii").split()[0])
    untaken = [port for port in range(LOWEST_PORT, first_given) if port % 1000 != 443]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[int] = []
    for port in random.sample(untaken, len(untaken)):
        if len(found) == count:
            break
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            try:
                sock.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    break  # so it is with each port: no such host, no such address here
            else:
                found.append(port)
    return found
