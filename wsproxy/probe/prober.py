"""
The prober: the one process that asks all servers whether they are well, for all workers.

Started by ``process.supervisor`` where the configuration has probes, and again should it end: what it said holds for a while
(``settings_probe.hold_ms``) and then requests find out by themselves, as without probes. Results go into shared slots
(``_fast.decide.probes``), where they hold for every worker at once. Later configurations come into its box, as into a worker's.
Must not wait for anybody but servers.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import random
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from wsproxy._fast.decide.probes import ProbeNews, is_found_ill, note_probe
from wsproxy._fast.state.segment import now_ms
from wsproxy.dataplane.inbox import Inbox
from wsproxy.dataplane.parcel import unpack
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.resolve import Last
from wsproxy.dataplane.steps import at_once, in_turns
from wsproxy.dataplane.tasks import end_all, keep_turning, log_loop_error, run, spawn
from wsproxy.logs.plugin_writer import LogPlan
from wsproxy.logs.probe_writer import ProbeLog
from wsproxy.probe.ask import Finding, ask, where
from wsproxy.probe.names import MOST_LOOKUPS, Names
from wsproxy.probe.targets import Key, Target, targets_of

log = logging.getLogger("wsproxy.probe")

# Probes that run at a time: each takes a descriptor, and thousands of dead servers one timeout each.
MOST_AT_ONCE = 500
# A probe that took so much longer than it may is this process's fault: it was stopped, or the machine has no time for it.
OWN_FAULT_S = 1.0
# How often it is looked whether this prober is to ask for its whole group; what others have found holds for longer.
SWITCH_LOOK_S = 0.2
# How often it is told that probes come late.
LATE_TOLD_S = 60.0


class Prober:
    """One a proxy."""

    def __init__(
        self,
        plan: Plan,
        targets: dict[Key, Target],
        *,
        most_at_once: int = MOST_AT_ONCE,
        own_fault_s: float = OWN_FAULT_S,
        plugin_log: ProbeLog | None = None,
        is_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        All begin within one interval, spread at random; those that are down at once. ``plugin_log``: None: none is written.

        ``is_on``: whether this proxy's prober asks, or another one's does for it; looked at before each probe.
        """
        self._is_on = is_on
        self._plugin_log = plugin_log
        # By a prober before this one, of this program or the one that it has replaced.
        self._told_down = {
            key for key, target in targets.items() if is_found_ill(target.cluster, target.index)
        }
        self._state = plan.state
        self._targets = targets
        self._last: Last = {}
        self._names = Names(plan.settings.upstream.resolve_s, self._last)
        self._due: list[tuple[float, Key]] = []  # a heap
        self._running: set[Key] = set()
        self._room = asyncio.Semaphore(most_at_once)
        self._most_at_once = most_at_once
        self._own_fault_s = own_fault_s
        self._woken = asyncio.Event()
        self._late_told_at = -LATE_TOLD_S
        self.ended = asyncio.Event()
        self._plan_all({})

    def _plan_all(self, before: dict[Key, Target]) -> None:
        """Who is probed when. Whoever was before keeps its turn, however often configurations change."""
        now = asyncio.get_running_loop().time()
        known = {key: at for at, key in self._due}
        self._due = []
        for key, target in self._targets.items():
            if key in self._running:
                continue  # it takes its next turn itself
            at = known.get(key)
            if at is None or before[key].probe != target.probe:
                at = min(now + _first_s(target), math.inf if at is None else at)
            self._due.append((at, key))
        heapq.heapify(self._due)
        self._woken.set()

    @property
    def is_asking(self) -> bool:
        """Whether a probe runs now."""
        return bool(self._running)

    async def probe_all(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._is_on():
                await self._until_on()
            wait_s = self._due[0][0] - loop.time() if self._due else None
            if wait_s is None or wait_s > 0:
                self._woken.clear()
                try:
                    async with asyncio.timeout(wait_s):
                        await self._woken.wait()
                except TimeoutError:
                    pass
                continue
            await self._room.acquire()
            if not self._due or self._due[0][0] > loop.time():
                self._room.release()  # another configuration came meanwhile
                continue
            at, key = heapq.heappop(self._due)
            target = self._targets[key]
            self._tell_late(loop.time() - at, target)
            self._running.add(key)
            spawn(self._probe(key, target), "probe")

    async def _until_on(self) -> None:
        """Another proxy's prober asks for this one; when it is this one's turn, all servers are asked within one interval."""
        while not self._is_on():  # noqa: ASYNC110  # another process sets a byte that is shared
            await asyncio.sleep(SWITCH_LOOK_S)
        self._due.clear()
        self._plan_all({})

    async def _probe(self, key: Key, target: Target) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            finding = await ask(target, self._names)
            now = self._targets.get(key)
            if now is None or not now.asks_as(target):
                pass  # another configuration came meanwhile: what was asked is asked no more
            elif loop.time() - began > target.probe.timeout_s + self._own_fault_s:
                log.debug("a probe of %s is not counted: this process did not run meanwhile", key)
            elif not finding.is_counted:
                log.error("probe of server %s of cluster %s is not counted: %s", target.pool.name, target.cluster.name, finding.words)  # fmt: skip
            else:
                self._log(key, target, finding, note(target, finding))
        finally:
            self._room.release()
            self._running.discard(key)
            again = self._targets.get(key)
            if again is not None:
                spread = random.uniform(1 - again.probe.jitter, 1 + again.probe.jitter)  # noqa: S311  # no secret
                heapq.heappush(self._due, (began + again.probe.interval_s * spread, key))
                self._woken.set()

    def _log(self, key: Key, target: Target, finding: Finding, news: ProbeNews) -> None:
        """In http_plugin.log: a mark, one that probes take over from a request, and the end of both; each once."""
        if self._plugin_log is None:
            return
        server, group = target.pool.name, target.cluster.name
        if news is ProbeNews.WENT_DOWN or (
            news is ProbeNews.STAYS_DOWN and key not in self._told_down
        ):
            self._told_down.add(key)
            self._plugin_log.marked(server, group, words_of(target, finding))
        elif news is ProbeNews.CAME_BACK:
            self._plugin_log.brought_back(server, group)
        if news in (ProbeNews.CAME_BACK, ProbeNews.NO_NEWS):
            self._told_down.discard(key)

    def _tell_late(self, late_s: float, target: Target) -> None:
        now = asyncio.get_running_loop().time()
        if (
            late_s > target.probe.interval_s + OWN_FAULT_S
            and now > self._late_told_at + LATE_TOLD_S
        ):
            self._late_told_at = now
            log.warning(
                "probes come %.0f s late: %d servers, %d at once; a longer probe.interval_s or a shorter probe.timeout_s helps",
                late_s, len(self._targets), self._most_at_once,
            )  # fmt: skip

    # --- other configurations ---------------------------------------------------------------------------------------

    def listen(self, box: socket.socket) -> None:
        """From now on."""
        Inbox(box, self._take)

    async def _take(self, fd: int) -> None:
        plan = await in_turns(unpack(fd, self._state))
        self.take(plan, await asyncio.to_thread(read_targets, plan))

    def take(self, plan: Plan, targets: dict[Key, Target]) -> None:
        """From now on this one's servers are probed; where there is none to probe, ``ended`` is set."""
        if self._plugin_log is not None:
            self._plugin_log.take_path(plan.log_path)
        before, self._targets = self._targets, targets
        self._names = Names(plan.settings.upstream.resolve_s, self._last)
        self._plan_all(before)
        if not self._state.wants_prober:
            self.ended.set()


def read_targets(plan: Plan) -> dict[Key, Target]:
    """Whom the plan has probed. # I/O: keyrings."""
    return {target.key: target for target in targets_of(plan)}


def _first_s(target: Target) -> float:
    """Until the first probe of a server; at once where requests wait for it, and where something may be wrong."""
    if target.cluster.server_state(target.index)["down_until_ms"]:
        return 0.0
    return random.uniform(0, target.probe.interval_s)  # noqa: S311  # no secret


def words_of(target: Target, finding: Finding) -> str:
    """What was asked, and what came of it."""
    return f"{where(target)}: {finding.words}"


def note(target: Target, finding: Finding) -> ProbeNews:
    """Has all workers know, and tells the log what has changed."""
    probe, cluster, server = target.probe, target.cluster, target.pool.name
    words = words_of(target, finding)
    news = note_probe(
        cluster,
        target.index,
        finding.is_good,
        now_ms(),
        rise=probe.rise,
        fall=probe.fall,
        hold_ms=target.hold_ms,
        error=finding.error,
        detail=f"probe: {words}".encode(),
    )
    if news is ProbeNews.WENT_DOWN:
        log.error("server %s of cluster %s is out of service: %s", server, cluster.name, words)
    elif news is ProbeNews.CAME_BACK:
        log.warning("server %s of cluster %s is in service again: %s", server, cluster.name, words)
    elif news is ProbeNews.NOT_YET_DOWN:
        log.info("probe of server %s of cluster %s failed: %s", server, cluster.name, words)
    return news


def run_prober(
    plan: Plan,
    box: socket.socket,
    parcel: int,
    on_turn: Callable[[], None],
    log_plan: LogPlan | None = None,
    is_on: Callable[[], bool] = lambda: True,
) -> int:
    """
    Probes until SIGTERM, or until no server is to be probed any more; the exit code.

    Later configurations come at ``box``; ``parcel`` is the one that holds already (-1: ``plan`` does). ``on_turn`` is called once a
    second. ``log_plan``: http_plugin.log, where one is written. ``is_on``: whether this proxy's prober asks.
    """
    if parcel >= 0:
        plan = at_once(unpack(parcel, plan.state))
    plugin_log = None if log_plan is None else ProbeLog(log_plan, plan.state)
    if plugin_log is not None:
        plugin_log.take_path(plan.log_path)
    run(serve(plan, box, on_turn, plugin_log, is_on))
    return 0


async def serve(
    plan: Plan,
    box: socket.socket,
    on_turn: Callable[[], None],
    plugin_log: ProbeLog | None = None,
    is_on: Callable[[], bool] = lambda: True,
) -> None:
    """See ``run_prober``."""

    def turn() -> None:
        on_turn()
        if plugin_log is not None:
            plugin_log.sweep()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    loop.set_default_executor(ThreadPoolExecutor(MOST_LOOKUPS))
    prober = Prober(plan, read_targets(plan), plugin_log=plugin_log, is_on=is_on)
    loop.add_signal_handler(signal.SIGTERM, prober.ended.set)
    prober.listen(box)
    keep_turning(turn)
    spawn(prober.probe_all(), "probes")
    del plan
    await prober.ended.wait()
    await end_all()
    if plugin_log is not None:
        plugin_log.close()
