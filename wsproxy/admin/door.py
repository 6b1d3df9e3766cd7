"""
The doors of the admin process: how many connections a listener has at a time, for how long, and who goes where one more comes.

Made by ``admin.server`` for each connection of each listener. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from wsproxy.admin.tls import AdminTls, shake_hands

# At each listener. More come from no person and no monitoring; each costs a descriptor and some KiB.
MOST_CONNECTIONS = 64


class Times:
    """When connections are cut, and who of them has shown that he may ask."""

    def __init__(self) -> None:
        """Nobody has come."""
        self._at: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._known: set[web.RequestHandler] = set()
        # By which they come: below TLS, where they may not be through.
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def begin(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Its connection is there."""
        self._transports[handler] = transport

    def know(self, handler: web.RequestHandler) -> None:
        """It has asked what not everybody may."""
        self._known.add(handler)

    def make_room(self, opened: dict[web.RequestHandler, None]) -> bool:
        """Cuts the oldest of ``opened`` who is a stranger; False: there is none."""
        for handler in opened:
            if handler not in self._known:
                del opened[handler]
                self._cut(handler)
                return True
        return False

    def limit(self, handler: web.RequestHandler, after_s: float) -> None:
        """In so many seconds, and not when it was said before."""
        self.forget(handler)
        self._at[handler] = asyncio.get_running_loop().call_later(after_s, self._end, handler)

    def forget(self, handler: web.RequestHandler) -> None:
        """Nobody waits for its end any more."""
        if handler in self._at:
            self._at.pop(handler).cancel()

    def lose(self, handler: web.RequestHandler) -> None:
        """It has ended."""
        self._known.discard(handler)
        self._transports.pop(handler, None)
        self.forget(handler)

    def cut_all(self) -> None:
        """Nobody gets an answer any more."""
        for handler in self._transports:
            self._cut(handler)

    def _end(self, handler: web.RequestHandler) -> None:
        del self._at[handler]
        self._cut(handler)

    def _cut(self, handler: web.RequestHandler) -> None:
        if (transport := self._transports.get(handler)) is not None:
            transport.abort()


class _Refusal(asyncio.Protocol):
    """For one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ends it."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class _Door(asyncio.Protocol):
    """One of the connections of a listener, which is told to ``handler``; ``on_lost`` hears of its end."""

    def __init__(
        self, handler: web.RequestHandler, tls: AdminTls | None, times: Times, on_lost: Callable[[], None]
    ) -> None:  # fmt: skip
        self._handler, self._tls, self._times, self._on_lost = handler, tls, times, on_lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._times.begin(self._handler, transport)
        if self._tls is None:
            self._handler.connection_made(transport)
        else:
            shake_hands(transport, self, self._handler, self._tls)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._on_lost()
        if self._handler.transport is not None:  # its handshake was done
            self._handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> None:
        self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()


def accept(
    server: web.Server,
    times: Times,
    connection_s: float,
    opened: dict[web.RequestHandler, None],
    tls: AdminTls | None,
) -> asyncio.Protocol:
    """
    For a connection to a listener that has those of ``opened``, the oldest first.

    Where it has as many as it may, whoever has shown nothing yet for the longest time goes: connecting needs no token, and strangers who do
    no more must not shut operators and Prometheus out.
    """
    if len(opened) >= MOST_CONNECTIONS and not times.make_room(opened):
        return _Refusal()
    handler = server()
    times.limit(handler, connection_s)
    opened[handler] = None

    def lost() -> None:
        opened.pop(handler, None)
        times.lose(handler)

    return _Door(handler, tls, times, lost)
