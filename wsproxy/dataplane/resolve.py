"""
Host names of servers -> addresses, kept for a while.

Driven by ``dataplane.slowpath`` when a connection is needed, and by the prober. A name that was never resolved is asked again next
time: unlike the plug-in, a failure at start does not stay for the life of the configuration (docs/compatibility.md). One that was
resolved before keeps its addresses while name servers fail, as it does for ever with the plug-in: an outage of theirs is no outage
of the servers.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import time

log = logging.getLogger("wsproxy.names")

# A name that was resolved before is not waited for longer: its last addresses are there. Asking goes on meanwhile.
PATIENCE_S = 1.0
# How long they are used then before the next request asks again.
AGAIN_S = 5.0
# Names whose last addresses are remembered; those of one configuration are fewer, those of all it ever had may not be.
MOST_NAMES = 10_000

# Addresses by name, as they were known last.
Last = dict[str, list[str]]


class Resolver:
    """Asks the system's resolver in a thread; answers are used for ``keep_s`` seconds."""

    def __init__(self, keep_s: float, last: Last | None = None) -> None:
        """``keep_s`` 0 asks for every connection. ``last``: is filled, and used, also by who asks for another configuration."""
        self._keep_s = keep_s
        self._last: Last = {} if last is None else last
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._asking: dict[str, asyncio.Future[list[str]]] = {}
        self._failing: set[str] = set()

    async def resolve(self, host: str) -> list[str]:
        """
        Addresses of ``host`` in the system's order, at least one; the last that were known where it cannot be resolved now.

        Raises:
            OSError: the name cannot be resolved (``socket.gaierror``), and never was.
        """
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return [host]
        known = self._known.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        last = self._last.get(host)
        if last is None:
            return await self._ask(host)
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = asyncio.ensure_future(self._ask(host))
            asking.add_done_callback(lambda done: self._end(host, done))
        await asyncio.wait({asking}, timeout=PATIENCE_S)
        error = None if not asking.done() or asking.cancelled() else asking.exception()
        if asking.done() and error is None:
            return asking.result()
        if host not in self._failing:
            self._failing.add(host)
            why = error or f"no answer within {PATIENCE_S:g} s"
            log.warning("%s cannot be resolved: %s; its last addresses are used: %s", host, why, ", ".join(last))  # fmt: skip
        self._known[host] = (time.monotonic() + AGAIN_S, last)
        return last

    def _end(self, host: str, done: asyncio.Future[list[str]]) -> None:
        del self._asking[host]
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more

    async def _ask(self, host: str) -> list[str]:
        """What the system's resolver says now."""
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
        self._known[host] = (time.monotonic() + self._keep_s, addresses)
        self._last.pop(host, None)
        self._last[host] = addresses
        if len(self._last) > MOST_NAMES:
            del self._last[next(iter(self._last))]
        if host in self._failing:
            self._failing.discard(host)
            log.warning("%s is resolved again: %s", host, ", ".join(addresses))
        return addresses
