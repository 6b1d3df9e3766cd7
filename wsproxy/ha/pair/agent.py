"""
The agent of a node: sees the proxy here, the other node and keepalived, and writes the numbers that keepalived goes by.

Started by ``keeper`` or a service manager, and root's; ``commands`` has what operators want of it. The address's fate never hangs on it:
keepalived outlives it and goes on by the last numbers, and the next agent takes both up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess  # the program that is told of changes
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec

from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import StartError
from wsproxy.ha.first_of import first_of
from wsproxy.ha.pair.adverts import Adverts
from wsproxy.ha.pair.conf import DOWN, GUARD, ROLE, Pair
from wsproxy.ha.pair.folder import Folder
from wsproxy.ha.pair.keepalived import Keepalived, addresses, remove_address
from wsproxy.ha.pair.linger import Linger, clean
from wsproxy.ha.pair.link import Answer, Link, Word
from wsproxy.ha.pair.rules import (
    RUNNING,
    Event,
    Health,
    Node,
    Peer,
    RefusedTransitionError,
    Sight,
    State,
    is_guarded,
    role,
    steps_aside,
)
from wsproxy.ha.pair.watch import ProxyWatch

log = logging.getLogger("wsproxy.ha.pair")

# keepalived that ended is started again at once; after so many ends within a while it is given up for a longer time.
FAILURES = 3
FAILURES_S = 10.0
AGAIN_S = 5.0
ALIVE_S = 2.0
# A word of the other node's health is believed so long: it gives no address to nobody, at worst it keeps one for a second.
HEALTH_S = 1.0
NOTIFY_S = 10.0
# keepalived repeats its gratuitous ARP a second after it took the address.
SHOWN_S = 2.0
Work = Callable[[], Coroutine[Any, Any, object]]
_LOOK_S = 0.5


class Parts:
    """What a node has while it is part of a pair."""

    def __init__(self, pair: Pair, agent: Agent, answer: Answer) -> None:
        """
        Listens for adverts; the rest begins with ``run``.

        Raises:
            StartError: a key or a certificate cannot be used, or this process may not listen.
        """
        self.pair = pair
        self._agent = agent
        self.link = Link(pair, agent.word, agent.on_word, answer)
        self.watch = ProxyWatch(pair, agent.on_health)
        try:
            self.adverts = Adverts(pair.address, pair.peer, pair.router_id)
        except OSError as error:
            raise StartError(
                f"cannot listen for VRRP: {error.strerror}; allowed is root"
            ) from error
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    def begin(self, *works: Work) -> None:
        """All of it runs."""
        self._task = asyncio.ensure_future(self._run(works))
        self._task.add_done_callback(self._failed)

    def _failed(self, task: asyncio.Task[None]) -> None:
        """Half an agent is worse than none: its keeper starts another, and keepalived goes on meanwhile."""
        if not self._is_ending:
            error = None if task.cancelled() else task.exception()
            log.critical("a part of the agent failed, or ended", exc_info=error)
            self._agent.has_failed = True
            self._agent.ended.set()

    async def _run(self, works: tuple[Work, ...]) -> None:
        await first_of(self.link.run(), self.watch.run(), *(each() for each in works))

    async def end(self) -> None:
        """None of it does."""
        self._is_ending = True
        self.adverts.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


class Agent:
    """One a folder; within one event loop."""

    def __init__(self, folder: Folder) -> None:
        """As the folder says; nothing runs yet."""
        self.folder = folder
        self.node: Node = folder.read_node()
        self.pair: Pair | None = folder.read_pair()
        self.parts: Parts | None = None
        self.keepalived = Keepalived(folder, self._on_vrrp, self._on_keepalived_end)
        self.linger = Linger()
        self.busy = asyncio.Lock()  # a command, or what follows from an event, is under way
        self.ended = asyncio.Event()
        self.has_failed = False
        self.answer: Answer  # set by ``commands``
        self.holds = False
        self.since = 0.0
        self.is_taking = False
        self.is_handing = False  # an operator wants the other node to take the address
        self._has_taken = False
        self._is_guarded = False
        self._is_aside = False
        self._written: dict[str, int] = {}
        self._heard: dict[str, tuple[float, Word]] = {}
        self._told: dict[
            str, bool
        ] = {}  # network -> whether the other node was last told of as there
        self._stirred = asyncio.Event()
        self._ends: list[float] = []
        self._version = version("wsproxy")
        self._differences: tuple[str, ...] = ()
        self._waits_since = 0.0  # when autostart made it a secondary to be

    # --- what is known ----------------------------------------------------------------------------------------------------

    @property
    def newest(self) -> tuple[float, Word] | None:
        """When the other node's last word came, and the word."""
        return max(self._heard.values(), default=None, key=lambda each: each[0])

    def heard_ages(self) -> dict[str, float]:
        """Network -> seconds since the other node's last word there."""
        now = asyncio.get_running_loop().time()
        return {name: now - at for name, (at, _) in self._heard.items()}

    def peer(self, within_s: float) -> Word | None:
        """The other node's word, if it is not older."""
        newest = self.newest
        if newest is None or asyncio.get_running_loop().time() - newest[0] > within_s:
            return None
        return newest[1]

    def digest(self) -> str:
        """Of the configuration that the proxy here serves by; empty: unknown."""
        status = self.parts.watch.status if self.parts else None
        return status.config_digest if status else ""

    def word(self) -> Word:
        """What the other node is told."""
        assert self.parts is not None
        health = self.parts.watch.health
        status = self.parts.watch.status
        return Word(
            state=self.node.state, holds=self.holds, since=self.since, well=health.is_well, health=health.value,
            version=status.version if status else self._version, digest=self.digest(),
            settings=settings_digest(self.parts.pair), autostart=self.parts.pair.autostart,
        )  # fmt: skip

    def differences(self) -> tuple[str, ...]:
        """In what the two differ, in words; nothing where the other one is not heard."""
        assert self.parts is not None
        word, own = self.peer(self.parts.pair.times.lost_s), self.word()
        if word is None:
            return ()
        found = []
        if word.version != own.version:
            found.append(f"version {own.version} here, {word.version} there")
        if word.digest and own.digest and word.digest != own.digest:
            found.append(f"configuration {own.digest[:12]} here, {word.digest[:12]} there")
        if word.settings != own.settings:
            found.append("settings of the pair: the same options must be given on both nodes")
        if word.holds and self.holds:
            found.append("both hold the address")
        return tuple(found)

    async def until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        """Whether it is so within that time."""
        try:
            async with asyncio.timeout(within_s):
                while not is_so():
                    self._stirred.clear()
                    await self._stirred.wait()
        except TimeoutError:
            return is_so()
        return True

    # --- what happens -----------------------------------------------------------------------------------------------------

    def on_word(self, network: str, word: Word) -> None:
        """The other node has said it."""
        before = self.newest
        self._heard[network] = (asyncio.get_running_loop().time(), word)
        if before is not None and before[1].holds and not word.holds:
            self._show_address()
        if not self._told.get(network):
            self._told[network] = True
            log.info("the other node is heard over the %s network: %s", network, word.state)
        self.judge()
        self._compare(word)
        self._stirred.set()

    def _show_address(self) -> None:
        """
        The other node held the address as well, and does not any more: clients may know its place only.

        A keepalived that reads its file again sends gratuitous ARP for what it holds, and moves nothing. One that has just taken the address
        has sent it already.
        """
        if self.holds and datetime.now(UTC).timestamp() - self.since > SHOWN_S:
            log.info(
                "the other node has given the address up, which this one has held longer: shown anew"
            )
            self.keepalived.reload()

    def on_health(self) -> None:
        """Of the proxy here something is new."""
        watch = self.parts.watch if self.parts else None
        if watch is not None and watch.pid:
            self._note_proxy(watch.pid)
        self.judge()
        if self.parts is not None:
            self.parts.link.say_now()
        self._stirred.set()

    def _note_proxy(self, pid: int) -> None:
        """For keepalived's script, should all of ours die."""
        try:
            self.folder.write("proxy.pid", f"{pid}\n")
        except OSError as error:
            log.error("%s: the proxy's pid cannot be kept: %s", self.folder.path, error.strerror)

    def _on_vrrp(self, what: str) -> None:
        was, self.holds = self.holds, what == "MASTER"
        if self.holds != was:
            self.since = datetime.now(UTC).timestamp() if self.holds else 0.0
        if self.holds and self.node.state in RUNNING and not was:
            self._has_taken = self.node.state is State.SECONDARY
            self.turn(Event.TOOK, self._why_here())
        if self.parts is not None:
            self.parts.link.say_now()
            if word := self.peer(self.parts.pair.times.fresh_s):
                self._compare(word)
        self._stirred.set()

    def _why_here(self) -> str:
        assert self.parts is not None
        if self.is_taking:
            return "as told"
        word = self.peer(HEALTH_S)
        if word is None:
            return f"{self.parts.pair.peer} is not heard"
        return f"the proxy at {self.parts.pair.peer} is {word.health}" if not word.well else f"{self.parts.pair.peer} does not hold it"  # fmt: skip

    def _compare(self, word: Word) -> None:
        """A primary whose address the other one holds is none any more."""
        if self.node.state is not State.PRIMARY or self.holds or not word.holds:
            return
        if self.is_handing:
            self.is_handing = False
            self.turn(Event.HANDED_OVER)
        else:
            health = self.parts.watch.health if self.parts else Health.WELL
            self.turn(Event.OVERTAKEN, "it is the other node's" if health.is_well else f"the proxy here is {health.value}")  # fmt: skip
        spawn(self._settle_later(), "ha pair settle")

    async def _settle_later(self) -> None:
        async with self.busy:
            await self.settle()

    def turn(self, event: Event, why: str = "") -> None:
        """
        The state is another one from now on.

        Raises:
            RefusedTransitionError: it may not be.
        """
        before, self.node = self.node, self.node.after(event)
        if self.node == before:
            return
        try:
            self.folder.write_node(self.node, f"{event}{': ' if why else ''}{why}")
        except OSError as error:  # a full disk: an agent that is killed now forgets it, and nothing else comes of it
            log.error("%s: the state cannot be kept: %s", self.folder.path, error.strerror)
        self.tell(f"{before.state} -> {self.node.state}: {event}{': ' if why else ''}{why}")
        self.judge()
        if self.parts is not None:
            self.parts.link.say_now()
        self._stirred.set()

    def tell(self, text: str, level: int = logging.WARNING) -> None:
        """In ha.log, and to the program that wants to know."""
        log.log(level, "%s", text)
        if self.pair is not None and self.pair.notify:
            spawn(_notify(self.pair.notify, self.node.state, text), "ha pair notify")

    async def settle(self) -> None:
        """Has keepalived run where the state wants it, and nowhere else; held by ``busy``."""
        if self.node.state in RUNNING and not self.keepalived.is_running:
            self.judge()
            self.keepalived.start()
        elif self.node.state not in RUNNING:
            await self.keepalived.stop()
            self.holds, self.since, self.is_taking = False, 0.0, False
            self._written.clear()
            self._remove_left_over()
            if self.parts is not None:
                self.parts.link.say_now()

    def _remove_left_over(self) -> None:
        """A keepalived that was killed leaves the address."""
        if self.pair is not None and (at := addresses().get(self.pair.vip_address)):
            log.warning("the address %s was left on %s; removed", self.pair.vip, at)
            remove_address(self.pair.vip, at)

    # --- what keepalived is told --------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Writes the numbers that follow from what is known now."""
        if self.parts is None or self.node.state not in RUNNING:
            return
        health = self.parts.watch.health
        word = self.peer(HEALTH_S)
        known = Peer.UNKNOWN if word is None else Peer.WELL if word.well else Peer.UNWELL
        self._note_aside(health, is_aside=steps_aside(health, known))
        self._note_guard(is_guarded(self._sight(), self.parts.pair.times))
        if word is not None and word.state == State.SECONDARY:
            self._has_taken = False
        self._write(ROLE, role(self.node.state, is_taking=self.is_taking, has_taken=self._has_taken))  # fmt: skip
        self._write(DOWN, int(self._is_aside))
        self._write(GUARD, int(self._is_guarded))

    def _sight(self) -> Sight:
        assert self.parts is not None
        now = asyncio.get_running_loop().time()
        newest = self.newest
        return Sight(
            holds=self.holds,
            since=self.since,
            peer_holds=newest is not None and newest[1].holds and not self.is_taking,
            peer_since=newest[1].since if newest else 0.0,
            word_age=now - newest[0] if newest else None,
            advert_age=self.parts.adverts.age(now),
        )

    def _write(self, name: str, number: int) -> None:
        if self._written.get(name) != number:
            self.folder.write_number(name, number)
            self._written[name] = number

    def _note_aside(self, health: Health, *, is_aside: bool) -> None:
        if is_aside != self._is_aside:
            self._is_aside = is_aside
            what = f"the proxy here is {health.value}: this node steps aside" if is_aside else "this node is there for the address again"  # fmt: skip
            log.warning("%s", what)

    def _note_guard(self, is_now: bool) -> None:
        if is_now != self._is_guarded:
            self._is_guarded = is_now
            text = (
                "VRRP's adverts are missing, but the other node says that it holds the address: it is not taken (are both networks and protocol 112 open?)"
                if is_now
                else "the guard is off: adverts come again, or the other node does not say that it holds the address"
            )
            self.tell(text)

    async def _tick_always(self) -> None:
        assert self.parts is not None
        every_s = self.parts.pair.times.word_s / 2
        while True:
            await asyncio.sleep(every_s)
            self.judge()

    # --- who is there -------------------------------------------------------------------------------------------------------

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look_for_peer()
            await self._look_for_start()

    def _look_for_peer(self) -> None:
        assert self.parts is not None
        lost_s = self.parts.pair.times.lost_s
        ages = self.heard_ages()
        gone = [name for name, age in ages.items() if age > lost_s and self._told.get(name)]
        for name in gone:
            self._told[name] = False
        if gone and not any(self._told.values()):
            text = f"the other node ({self.parts.pair.peer}) answers on no network any more"
            if self.node.state is State.PRIMARY:
                text = f"the secondary ({self.parts.pair.peer}) answers on no network any more: nobody would take the address over"
            self.tell(text, logging.ERROR)
        elif gone:
            self.tell(f"the {gone[0]} network to the other node is lost; it is heard over the other one, and nothing moves")  # fmt: skip
        found = self.differences()
        if found != self._differences:
            self._differences = found
            text = f"the two nodes differ: {'; '.join(found)}" if found else "the two nodes do not differ any more"  # fmt: skip
            self.tell(text)

    async def _look_for_start(self) -> None:
        """With ``autostart`` a node that has lost the address, or was started anew, is secondary as soon as it can be."""
        assert self.parts is not None
        if not self.parts.pair.autostart or self.busy.locked() or not self.parts.watch.health.is_well:  # fmt: skip
            return
        if self.node.state is State.STAND_ALONE:
            async with self.busy:
                self.turn(Event.START_SECONDARY, "autostart")
                self._waits_since = asyncio.get_running_loop().time()
        elif self.node.state is State.INCONSISTENT and self._may_begin():
            async with self.busy:
                self.turn(Event.SYNCED, "autostart")
                await self.settle()

    def _may_begin(self) -> bool:
        """The primary is there and serves by the same files; or it waits itself; or nobody is there, for a while."""
        word = self.peer(HEALTH_S)
        if word is None:
            return asyncio.get_running_loop().time() - self._waits_since > 2 * AGAIN_S
        if word.state == State.PRIMARY:
            return word.digest == self.digest()
        return word.autostart and word.state in (State.INCONSISTENT, State.SECONDARY)

    # --- its end ------------------------------------------------------------------------------------------------------------

    def _on_keepalived_end(self) -> None:
        self.holds, self.since = False, 0.0
        if self.node.state not in RUNNING:
            return
        now = asyncio.get_running_loop().time()
        self._ends = [each for each in self._ends if now - each < FAILURES_S] + [now]
        log.error("keepalived has ended, and nobody told it to; keepalived.log may say why")
        if self.parts is not None:
            self.parts.link.say_now()
        self._stirred.set()
        spawn(self._start_again(), "ha pair keepalived")

    async def _start_again(self) -> None:
        async with self.busy:
            if len(self._ends) < FAILURES:
                await self.settle()
                return
            with contextlib.suppress(RefusedTransitionError):
                self.turn(Event.FAILED, f"keepalived ended {FAILURES} times within {FAILURES_S:g} s")  # fmt: skip
            self._remove_left_over()
        while self.node.state is State.BAD:
            await asyncio.sleep(AGAIN_S)
            async with self.busy:
                await self._try_again()

    async def _try_again(self) -> None:
        if self.node.state is not State.BAD or self.pair is None:
            return
        with contextlib.suppress(StartError):
            self.keepalived.write(self.pair)
            self.keepalived.start()
            if await self.until(lambda: not self.keepalived.is_running, ALIVE_S):
                return
            self._ends.clear()
            self.turn(Event.RECOVERED)
            self._follow_address()

    def _follow_address(self) -> None:
        """It may have come while the state did not allow for it."""
        if self.holds and self.node.state is State.SECONDARY:
            self.turn(Event.TOOK, "while keepalived recovered")

    # --- parts --------------------------------------------------------------------------------------------------------------

    async def join(self, pair: Pair) -> None:
        """
        Is part of this pair from now on; what ran for another one has ended.

        Raises:
            StartError: it cannot.
        """
        if self.parts is not None and self.parts.pair == pair:
            return
        parts = Parts(pair, self, self.answer)
        await self.leave()
        self.pair, self.parts = pair, parts
        parts.begin(self._tick_always, self._look_always)

    async def leave(self) -> None:
        """Is part of none."""
        self.linger.end()
        if self.parts is not None:
            await self.parts.end()
            self.parts = None
        self._heard.clear()
        self._told.clear()
        self._written.clear()
        self._is_guarded = self._is_aside = False

    async def restore(self) -> None:
        """Goes on where an agent before us has ended, or with ``autostart`` after the machine's."""
        clean(self.pair)
        if self.pair is None:
            if self.node.state is not State.STAND_ALONE:
                self.turn(Event.STOP, "its settings are gone")
            return
        if self.node.state is State.STAND_ALONE and not self.pair.autostart:
            return
        await self.join(self.pair)
        if self.node.state not in RUNNING:
            return
        if not self.keepalived.adopt():
            await self.settle()
            return
        found = await self.keepalived.ask()
        log.info("keepalived (pid %s) runs on", self.keepalived.pid)
        if found.get("state") == 2 and not self.holds:
            self._on_vrrp("MASTER")


def settings_digest(pair: Pair) -> str:
    """The same on both nodes where they were told the same."""
    both = sorted((pair.address, pair.peer)), sorted((pair.sync_address, pair.sync_peer))
    said = (pair.vip, both, pair.port, pair.ping_interval_s, pair.router_id)
    return msgspec.json.encode(said).decode()


async def _notify(program: str, state: str, text: str) -> None:
    """It is told by its arguments; what becomes of it is its own business. # I/O."""
    try:
        process = await asyncio.create_subprocess_exec(
            program, state, text,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
        )  # fmt: skip
    except OSError as error:
        log.error("%s: %s", program, error.strerror)
        return
    try:
        async with asyncio.timeout(NOTIFY_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
