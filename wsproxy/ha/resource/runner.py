"""
The member's side of a resource: has a keeper begin and end it, and a keeper that dies, or does not answer, replaced before anything else happens.

Driven by ``groups`` (and by ``group.membership``, as the duty of a seat). ``stop`` returns when the keeper has said that nothing of the resource is left, and never before: the seat's key is
deleted behind it. Must not decide whether the resource is to run here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import NoReturn

import msgspec

from wsproxy.config.settings_groups import KILL_S, ResourceSettings
from wsproxy.dataplane.tasks import spawn
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.resource.birth import be_keeper
from wsproxy.ha.resource.messages import MOST_BYTES, Identity, Said, Told
from wsproxy.ha.resource.order import ENDING, FREE, Phase
from wsproxy.ha.resource.processes import descendants, kill

log = logging.getLogger("wsproxy.ha")

# A keeper that died is replaced at once; one that dies again and again, not more often than this.
AGAIN_S = 0.5


class Runner:
    """One a resource; within one event loop."""

    def __init__(
        self, resource: ResourceSettings, identity: Identity, on_change: Callable[[], None]
    ) -> None:
        """``on_change``: called when ``said`` is another one."""
        self.resource = resource
        self.said: Said | None = None  # None: a keeper looks for what is left; nothing is known
        self.doubt = ""  # why nothing is known yet
        self._identity = identity
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._number = 0
        self._runs = False
        self._token = 0
        self._until = 0.0
        self._every_s = resource.is_alive_s
        self._pid = 0
        self._channel: socket.socket | None = None
        self._pidfd = -1
        self._watchdog: asyncio.TimerHandle | None = None
        self._is_closing = False
        self._ended = asyncio.Event()
        self._ended.set()

    # --- what it is told ----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """A keeper runs. # I/O: forks."""
        self._fork()

    async def begin(self, token: int) -> None:
        """It is to run here."""
        self._number += 1
        self._runs, self._token = True, token
        self._tell()

    async def stop(self) -> None:
        """Nothing of it is left here, when this returns."""
        self._number += 1
        self._runs = False
        self._tell()
        await self.until_ready()

    def clear(self) -> None:
        """What has failed is forgotten."""
        self._send(Told(self._number, clears=True))

    def watch_every(self, every_s: float) -> None:
        """Seconds between two looks; 0: none."""
        if every_s != self._every_s:
            self._every_s = every_s
            self._tell()

    def right(self, until: float) -> None:
        """Until when this member may run anything, by the boot clock. The keeper keeps to that, and is itself watched."""
        self._until = until
        self._tell()  # all of it: a keeper that was stopped may have missed words
        if self._watchdog is not None:
            self._watchdog.cancel()
        left_s = max(until - KILL_S / 2 - boot_clock(), 0.0 if until else KILL_S / 2)
        self._watchdog = asyncio.get_running_loop().call_later(left_s, self._end_late)

    @property
    def is_free(self) -> bool:
        """Whether the keeper has heard the last word, and nothing of the resource is here."""
        return self.said is not None and self.said.number == self._number and self.said.phase in FREE  # fmt: skip

    async def until_ready(self) -> None:
        """What was left of it has ended: before that nobody may learn that the process which had it is gone."""
        while not self.is_free:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """The keeper is told nothing more; it ends when it has nothing to keep, and is awaited where that is so."""
        self._is_closing = True
        was_free = self.said is not None and self.said.phase in FREE
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if was_free:
            await self._ended.wait()

    # --- the keeper ---------------------------------------------------------------------------------------------------

    def _fork(self) -> None:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            _be_child(self.resource, self._identity, there)
        there.close()
        here.setblocking(False)
        self.said, self.doubt = None, ""
        self._pid, self._channel = pid, here
        self._pidfd = os.pidfd_open(pid)
        self._ended.clear()
        loop = asyncio.get_running_loop()
        loop.add_reader(here, self._hear)
        loop.add_reader(self._pidfd, self._on_end)
        self._tell()

    def _tell(self) -> None:
        self._send(Told(self._number, self._runs, self._token, self._until, self._every_s))

    def _send(self, told: Told) -> None:
        if self._channel is not None:
            with contextlib.suppress(OSError):  # a keeper that is gone, or does not read: both end
                self._channel.send(msgspec.json.encode(told))

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            data = self._channel.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # its end is seen at the descriptor of its process
            asyncio.get_running_loop().remove_reader(self._channel)
            return
        said = msgspec.json.decode(data, type=Said)
        is_known = said.phase is not Phase.SWEEPING
        self.said = said if is_known else None
        self.doubt = "" if is_known else said.why
        self._changed.set()
        self._on_change()

    def _on_end(self) -> None:
        """The keeper has ended: of itself when this process closes, else it was killed, and what it kept runs on."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._ended.set()
        if self._channel is not None:
            loop.remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._is_closing:
            return
        log.error("ha: the keeper of resource %s (pid %d) has ended; another one stops what it has left", self.resource.name, self._pid)  # fmt: skip
        self.said = None
        self._on_change()
        spawn(self._replace(), f"ha keeper {self.resource.name}")

    async def _replace(self) -> None:
        """At once; where that fails, again and again: nothing is free before one has looked."""
        while not self._is_closing:
            try:
                self._fork()
            except OSError as error:
                log.error("ha: no keeper of resource %s can be started: %s; tried again in %g s", self.resource.name, error, AGAIN_S)  # fmt: skip
                await asyncio.sleep(AGAIN_S)
            else:
                return

    def _end_late(self) -> None:
        """The lease is about to end: a keeper that has not ended the resource by now does not act. It is killed with all that it has."""
        self._watchdog = None
        if boot_clock() < self._until - KILL_S / 2:
            self.right(self._until)
            return
        if self.said is None or self.is_free or self._ended.is_set():
            return
        if self.said.phase in ENDING and self.said.number == self._number:
            return
        log.error("ha: the keeper of resource %s (pid %d) does not act; it is killed with all that it keeps", self.resource.name, self._pid)  # fmt: skip
        kill([*descendants(self._pid), self._pid])


def _be_child(resource: ResourceSettings, identity: Identity, channel: socket.socket) -> NoReturn:
    """Never returns: nothing of the parent's event loop is touched."""
    code = 1
    try:
        be_keeper(resource, identity, channel)
        code = 0
    except BaseException:
        log.exception("ha: the keeper of resource %s failed", resource.name)
    finally:
        os._exit(code)
