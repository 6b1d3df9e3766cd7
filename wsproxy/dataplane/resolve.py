"""
Host names of servers -> addresses, kept for a while.

Driven by ``dataplane.slowpath`` when a connection is needed. A name that fails is asked again next time: unlike the plug-in, a
failure at start does not stay for the life of the configuration (docs/compatibility.md).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import time


class Resolver:
    """Asks the system's resolver in a thread; answers are used for ``keep_s`` seconds."""

    def __init__(self, keep_s: float) -> None:
        """``keep_s`` 0 asks for every connection."""
        self._keep_s = keep_s
        self._known: dict[str, tuple[float, list[str]]] = {}

    async def resolve(self, host: str) -> list[str]:
        """
        Addresses of ``host`` in the system's order, at least one.

        Raises:
            OSError: the name cannot be resolved (``socket.gaierror``).
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return [host]
        now = time.monotonic()
        known = self._known.get(host)
        if known is not None and known[0] > now:
            return known[1]
        loop = asyncio.get_running_loop()
        try:
            rows = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (
            ValueError
        ) as error:  # not even a name: a label over 63 characters, an empty one, NUL
            raise OSError(errno.EINVAL, f"{host!r} is not a host name") from error
        addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
        if not addresses:
            raise OSError(f"{host} has no address")
        self._known[host] = (now + self._keep_s, addresses)
        return addresses
