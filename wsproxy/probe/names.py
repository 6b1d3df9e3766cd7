"""
Host names of servers that are probed: each is looked up once at a time, however many probes wait for it.

Driven by ``probe.ask``. A resolver that does not answer holds a thread for ten seconds and longer: names that nobody answers for
must not take all of them, or probes of good servers would fail with them.
"""

from __future__ import annotations

import asyncio

from wsproxy.dataplane.resolve import Last, Resolver

# Threads of the prober: so many names may have a resolver that does not answer.
MOST_LOOKUPS = 64


class Names:
    """As ``Resolver``, whose answers are kept for ``keep_s``."""

    def __init__(self, keep_s: float, last: Last | None = None) -> None:
        """Nothing is known yet but ``last``, see there."""
        self._resolver = Resolver(keep_s, last)
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def resolve(self, host: str) -> list[str]:
        """
        Addresses of ``host``, at least one.

        Raises:
            OSError: the name cannot be resolved (``socket.gaierror``).
        """
        running = self._running.get(host)
        if running is None:
            running = asyncio.ensure_future(self._resolver.resolve(host))
            self._running[host] = running
            running.add_done_callback(lambda done: self._end(host, done))
        return await asyncio.shield(running)  # whoever gives up does not end it for the others

    def _end(self, host: str, done: asyncio.Future[list[str]]) -> None:
        del self._running[host]
        if not done.cancelled():
            done.exception()  # nobody may wait for it any more
