"""
The proxy on this machine: whether it is there, and whether it serves.

Driven by ``agent``. Its end comes from the kernel (a pidfd), within a millisecond and however it ended; a program that took its place
(``wsproxy upgrade``) is no end. That it was stopped, or listens no longer, is seen by looking. Asks no app server and changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp

from wsproxy.admin.client import AskError, ask, find_proxy
from wsproxy.admin.messages import STATUS_PATH, Status
from wsproxy.ha.first_of import first_of
from wsproxy.ha.pair.conf import Pair
from wsproxy.ha.pair.rules import Health

log = logging.getLogger("wsproxy.ha.pair")

# How often it is looked at.
LOOK_S = 0.25
# Without a good answer for so long it is silent. Two limits fit in what is promised of a stopped proxy, 2 s.
SILENT_S = 1.0
# Refused so often in a row: nobody listens. A worker that died alone is replaced between two looks.
REFUSED = 3
# How often the admin socket is asked which configuration is served; at once where the proxy ends.
ASK_S = 2.0
ASK_ANSWER_S = 5.0
# The proxy has ended, and perhaps another program that was not seen yet has its place.
HEIR_S = 0.05
# An agent that has just begun looks so long before it says that there is no proxy.
FIRST_S = 2.0
_NAME = "wsproxy"  # of the program; its children are called wsproxy-something
_WORKER = "wsproxy-"


class ProxyWatch:
    """One a node. ``on_change``: ``health``, or what is known of the proxy, is another."""

    def __init__(self, pair: Pair, on_change: Callable[[], None]) -> None:
        """Nothing is known yet; within the running loop."""
        self._socket = Path(pair.socket) if pair.socket else None
        self._check = pair.check
        self._on_change = on_change
        self._pidfds: dict[
            int, int
        ] = {}  # of the proxy, and of its children: one of them may take its place
        self._heir: asyncio.Task[None] | None = None  # asks for one, where the proxy has just ended
        self._asks = asyncio.Event()
        self._began = asyncio.get_running_loop().time()
        self._answered = 0.0
        self._refused = 0
        self._why = ""
        self.pid: int | None = None
        self.status: Status | None = None
        self.health = Health.UNKNOWN

    @property
    def why(self) -> str:
        """What is wrong, for people."""
        return self._why

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            checks = (self._check_always(),) if self._check else ()
            await first_of(self._ask_always(), self._look_always(), *checks)
        finally:
            if self._heir is not None:
                self._heir.cancel()
            for pid in list(self._pidfds):
                self._forget(pid)

    # --- which process it is ----------------------------------------------------------------------------------------------

    async def _ask_always(self) -> None:
        while True:
            await self.look_now()
            self._asks.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_S if self.pid else LOOK_S):
                    await self._asks.wait()

    async def look_now(self) -> None:
        """What the admin socket says is known."""
        try:
            status = await asyncio.to_thread(self._ask)
        except AskError as error:
            if self.pid is None and self._heir is None:
                self._why = str(error).splitlines()[0]
                if asyncio.get_running_loop().time() > self._began + FIRST_S:
                    self._judge(Health.GONE, self._why)
            return
        is_other = self.status is None or (status.pid, status.config_digest) != (
            self.status.pid,
            self.status.config_digest,
        )
        self.status = status
        if status.pid != self.pid:
            self._follow(status.pid)
        if is_other:
            self._on_change()

    def _ask(self) -> Status:
        path = self._socket or find_proxy()
        return ask(path, "GET", STATUS_PATH, Status, answer_s=ASK_ANSWER_S)

    def _follow(self, pid: int) -> None:
        if not self._watch(pid):
            return
        self.pid = pid
        for other in [each for each in self._pidfds if each != pid]:
            self._forget(other)
        self._answered = asyncio.get_running_loop().time()
        self._refused = 0
        self._judge(Health.WELL, "")

    def _watch(self, pid: int) -> bool:
        if pid in self._pidfds:
            return True
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return False
        self._pidfds[pid] = fd
        asyncio.get_running_loop().add_reader(fd, self._ended, pid)
        return True

    def _forget(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)

    def _ended(self, pid: int) -> None:
        self._forget(pid)
        if pid != self.pid:
            return
        # A child is called as whoever started it until it has a name of its own; by now it has.
        self.pid = next((each for each in self._pidfds if _name(each) == _NAME), None)
        if self.pid is not None:
            log.info("the proxy (pid %d) has ended; pid %d takes its place", pid, self.pid)
            self._asks.set()
            return
        # One that began since the last look: it answers on the admin socket, and nobody does where the proxy was killed.
        self._heir = asyncio.create_task(self._ask_for_an_heir(pid))  # noqa: TID251  # cancelled in ``run``

    async def _ask_for_an_heir(self, pid: int) -> None:
        with contextlib.suppress(TimeoutError, AskError):
            async with asyncio.timeout(HEIR_S):
                found = (await asyncio.to_thread(self._ask)).pid
            if found != pid:
                self._follow(found)
        self._heir = None
        self._asks.set()
        if self.pid is None:
            self._judge(Health.GONE, f"the proxy (pid {pid}) has ended")

    # --- how it is ----------------------------------------------------------------------------------------------------------

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self.pid is not None:
                self._look(self.pid)

    def _look(self, pid: int) -> None:
        children = _children(pid)
        for child, name in children.items():
            if not name.startswith(_WORKER):  # of a program that has just begun: "python3"
                self._watch(child)
        if self._check:
            return
        # Without a question that it answers, all that can be seen is whether somebody has stopped it.
        workers = [child for child, name in children.items() if name[len(_WORKER) :].isdecimal()]
        if workers and all(_letter(child) in "Tt" for child in workers):
            if self.health is Health.WELL:
                self._judge(Health.SILENT, "all its workers were stopped (SIGSTOP)")
        elif self.health is Health.SILENT:
            self._judge(Health.WELL, "")

    async def _check_always(self) -> None:
        """One question each LOOK_S, whether or not the one before was answered."""
        timeout = aiohttp.ClientTimeout(total=SILENT_S)
        connector = aiohttp.TCPConnector(ssl=False, force_close=True, limit=16)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=connector, trust_env=False
        ) as session:
            asked: set[asyncio.Task[None]] = set()
            try:
                while True:
                    if self.pid is not None:
                        asked.add(asyncio.ensure_future(self._check_once(session)))
                        self._judge_silence()
                    await asyncio.sleep(LOOK_S)
                    for each in [each for each in asked if each.done()]:
                        asked.remove(each)
                        each.result()  # what nobody has thought of ends the watch
            finally:
                for each in asked:
                    each.cancel()
                await asyncio.gather(*asked, return_exceptions=True)

    async def _check_once(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            async with session.get(self._check, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    self._refused = 0
                    self._answered = max(self._answered, asked_at)
                    if self.pid is not None:
                        self._judge(Health.WELL, "")
                else:
                    self._why = f"{self._check} answers {answer.status}"
        except aiohttp.ClientConnectorError as error:
            self._refused += 1
            self._why = f"{self._check}: {error.os_error.strerror or error.os_error}"
            if self._refused >= REFUSED and self.pid is not None:
                self._judge(Health.GONE, self._why)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._why = f"{self._check}: {str(error) or 'no answer'}"

    def _judge_silence(self) -> None:
        silent_s = asyncio.get_running_loop().time() - self._answered
        if self.health is Health.WELL and silent_s > SILENT_S:
            self._judge(Health.SILENT, f"{self._check}: no good answer for {silent_s:.1f} s")

    def _judge(self, health: Health, why: str) -> None:
        self._why = why
        if health is self.health:
            return
        self.health = health
        if health is Health.WELL:
            log.info("the proxy here (pid %s) serves", self.pid)
        else:
            log.error("the proxy here is %s: %s", health.value, why)
        self._on_change()


def _children(pid: int) -> dict[int, str]:
    """Pid and name; empty where it has just ended. # I/O."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return {}
    found = {}
    for each in text.split():
        if name := _name(int(each)):
            found[int(each)] = name
    return found


def _name(pid: int) -> str:
    """What it is called; empty: it is gone. # I/O."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _letter(pid: int) -> str:
    """Its state as the kernel tells it; empty: it is gone. # I/O."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""
