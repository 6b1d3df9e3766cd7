"""
``/v1/events``: how the proxy is, told again and again to whoever listens, as server-sent events; and ``/v1/heat``, how it was.

Driven by ``admin.server``. One look serves all listeners, and there is none where nobody listens; only the columns of ``admin.heat``
are taken all the time. Must not ask the workers anything: it reads the state that they share.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web

from wsproxy.admin.control_messages import ServersAnswer
from wsproxy.admin.heat import STEP_S, Heat, HeatAnswer
from wsproxy.admin.live import LiveProxy
from wsproxy.admin.messages import ServerChange

log = logging.getLogger("wsproxy.admin")

EVENTS_PATH = "/v1/events"
HEAT_PATH = "/v1/heat"

# Of the 64 connections; a browser has one for each tab.
MOST_LISTENERS = 16
# A look at 100 servers takes some 3 ms. With more of them there are fewer looks, so that a look is never more than a few per cent.
LOOK_S = 1.0
SERVERS_A_LOOK = 100
SLOWEST_LOOK_S = 10.0
# Nobody reads for ever; a browser asks again by itself.
LISTENING_S = 3600.0
# Who takes nothing for so long has left, or sleeps.
READING_S = 20.0


class _Columns(msgspec.Struct):
    """How many columns of heat the process ``pid`` has: the page asks for those that it does not have."""

    pid: int
    last: int


class Events:
    """One an admin process."""

    def __init__(self, proxy: LiveProxy, heat: int = -1) -> None:
        """``proxy`` is looked at. ``heat``: the descriptor that columns are kept in; -1: they end with this process."""
        self._proxy = proxy
        self._heat = Heat(heat)
        self._listeners = 0
        self._look = b""
        self._looked = asyncio.Event()  # each look has one of its own
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def keep(self, _app: web.Application) -> AsyncIterator[None]:
        """Takes columns for as long as the application runs."""
        self._take_column()
        yield
        for timer in self._timers.values():
            timer.cancel()

    def answer(self, since: int) -> HeatAnswer:
        """Columns of heat above this number."""
        return self._heat.answer(since, time.monotonic())

    @property
    def is_full(self) -> bool:
        """Whether there are as many listeners as there may be."""
        return self._listeners >= MOST_LISTENERS

    async def listen(self, request: web.Request, since: int) -> web.StreamResponse:
        """Tells until the listener leaves; changes of servers from number ``since`` on."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        response.force_close()
        self._listeners += 1
        try:
            if self._listeners == 1:
                self._take_look()
            await response.prepare(request)
            columns = -1
            while True:
                # What comes while this one is being written is not missed, nor is anything kept for who reads slowly.
                looked, told = self._looked, self._look
                found = self._proxy.changes(since)
                if found.changes:
                    since = found.last
                    told += _event("changes", found.changes)
                if self._heat.last != columns:
                    columns = self._heat.last
                    told += _event("columns", _Columns(os.getpid(), columns))
                async with asyncio.timeout(READING_S):
                    await response.write(told)
                await looked.wait()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it has left
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._timers["look"].cancel()
        return response

    def _take_look(self) -> None:
        servers = self._servers()
        if servers is not None:
            self._look = _event("state", servers)
        count = 0 if servers is None else len(servers.servers)
        self._later("look", min(max(LOOK_S, count / SERVERS_A_LOOK), SLOWEST_LOOK_S), self._take_look)  # fmt: skip
        self._looked.set()
        self._looked = asyncio.Event()

    def _take_column(self) -> None:
        servers = self._servers()
        if servers is not None:
            self._heat.take(servers.servers, time.monotonic())
        self._later("column", STEP_S, self._take_column)

    def _later(self, name: str, after_s: float, call: Callable[[], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(after_s, call)

    def _servers(self) -> ServersAnswer | None:
        """A look that failed must not be the last one."""
        try:
            return self._proxy.servers()
        except Exception:
            log.exception("a look at the servers failed")
            return None


def _event(name: str, data: msgspec.Struct | list[ServerChange]) -> bytes:
    """JSON has no line break that is not escaped."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
