"""
The ha process: this proxy's part of its core group.

Started by ``process.supervisor`` where ``[ha]`` is configured, and again should it end; requests notice neither. It has the store, the
membership, the board and the coordinator's seat, and ends them in order: seats, then the lease, then the etcd of its own. When its
supervisor is gone the kernel tells it (SIGTERM), so that the others know at once. Must not be waited for by anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from wsproxy.admin.bridge_counts import BridgeCounts, site_of
from wsproxy.admin.messages import digest_of
from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.group_secret import GroupSecret
from wsproxy.config.published import Place, PublishedFolder
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.dataplane.inbox import Inbox
from wsproxy.dataplane.parcel import unpack
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.steps import at_once, in_turns
from wsproxy.dataplane.tasks import end_all, keep_turning, log_loop_error, run, spawn
from wsproxy.errors import StartError
from wsproxy.ha.board.board import Board
from wsproxy.ha.board.takeovers import TRY_S as TAKEOVERS_TRY_S
from wsproxy.ha.board.takeovers import Takeovers
from wsproxy.ha.bridge.bridge import Bridge
from wsproxy.ha.bridge.words import resource_of
from wsproxy.ha.first_of import first_of
from wsproxy.ha.group.coordinator import add_coordinator
from wsproxy.ha.group.membership import Listener, Membership, Myself
from wsproxy.ha.master.follower import Follower
from wsproxy.ha.master.library import TRY_S as LIBRARY_TRY_S
from wsproxy.ha.master.library import Library
from wsproxy.ha.names import Names
from wsproxy.ha.resource.groups import Groups, Work
from wsproxy.ha.store.base import Entry, LeaseGoneError, Put, StoreAwayError, Told
from wsproxy.ha.store.embedded import EmbeddedEtcd
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import TRY_S, Gateway
from wsproxy.ha.store.token import Token

log = logging.getLogger("wsproxy.ha")

# An etcd of our own that ended is started again after so much.
AGAIN_S = 1.0
# One that does not come up: twice as long each time, and no longer than this.
MOST_AGAIN_S = 60.0
# Seats and the lease are given back within this, or end by themselves; its supervisor waits for 2 s.
LEAVE_S = 1.5
# What is published, or copied to each, is in use at one member before it is at the other: of the largest file up to so much.
DIFFERS_S = 10.0
_SHOWN = 12  # of a digest


class Configurations:
    """By which configuration each member serves: posted, and told where they differ."""

    def __init__(self, names: Names, me: str) -> None:
        """Nobody's is known yet."""
        self._names = names
        self._me = me
        self._digests: dict[str, str] = {}
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._timer: asyncio.TimerHandle | None = None

    def read(self, entries: Mapping[str, Entry]) -> None:
        """All of them."""
        self._digests.clear()
        self.told(tuple(entries.items()))

    def told(self, changes: tuple[tuple[str, Entry | None], ...]) -> None:
        """Some of them."""
        for key, entry in changes:
            if not key.startswith(self._names.configs):
                continue
            name = key.removeprefix(self._names.configs)
            if entry is None:
                self._digests.pop(name, None)
            else:
                self._digests[name] = entry.value.decode("ascii", "replace")
        self._look()

    def _look(self) -> None:
        """Told once, where they differ for a while; once, where they do not any more."""
        if len(set(self._digests.values())) < 2:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._told:
                log.info("ha: all members serve by the same configuration again")
            self._told = frozenset()
        elif self._timer is None and frozenset(self._digests.items()) != self._told:
            self._timer = asyncio.get_running_loop().call_later(DIFFERS_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._told = frozenset(self._digests.items())
        by_digest = defaultdict(list)
        for name, digest in sorted(self._told):
            by_digest[digest].append(name)
        parts = (f"{', '.join(who)}: {digest[:_SHOWN]}" for digest, who in by_digest.items())
        log.warning("ha: members serve by different configurations: %s", "; ".join(parts))


@dataclass(frozen=True, slots=True)
class HaNeeds:
    """What the process is given: ``parcel``, the configuration that holds already (-1: ``plan`` does); later ones come at ``box``."""

    plan: Plan
    instance: str  # of this start of the proxy
    pid: int  # of its supervisor
    box: socket.socket
    parcel: int
    on_turn: Callable[[], None]
    probe: Callable[[bool], None]  # switches this proxy's prober
    secret: GroupSecret | None  # by which members tell each other of sessions; None: they do not
    bridges: BridgeCounts  # what its ends of them count


class Agent:
    """One a proxy; within one event loop."""

    def __init__(
        self, plan: Plan, settings: HaSettings, instance: str, pid: int,
        probe: Callable[[bool], None] = lambda _is_on: None,
        secret: GroupSecret | None = None,
        bridges: BridgeCounts | None = None,
    ) -> None:  # fmt: skip
        """Nothing is asked yet."""
        self._token = Token(etcd_user(settings))
        self._counts = bridges or BridgeCounts(settings)
        self._secret = secret
        self._takeovers: Takeovers | None = None
        self._probe = probe if settings.one_prober else None
        self._groups: Groups | None = None
        self._bridges: list[Bridge] = []
        self._plan = plan
        self._settings = settings
        self._embedded = EmbeddedEtcd(settings, instance) if settings.store == "embedded" else None
        host = os.uname().nodename
        self._myself = Myself(settings.name or host, instance, host, pid, version("wsproxy"))
        self._names = Names(settings.cell, settings.core_group)
        self._configurations = Configurations(self._names, self._myself.name)
        self._board: Board | None = None
        self._follower: Follower | None = None
        self._membership: Membership | None = None
        self._is_read = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        """Until ``ended`` is set."""
        if self._embedded is not None:
            if not await self._start_etcd(self._embedded):
                return
            spawn(self._keep_etcd(self._embedded), "ha etcd")
        store = self._store(TRY_S)
        board = self._board = Board(
            self._plan.state, self._plan, store, self._names, self._myself.name
        )
        groups = self._groups = Groups(
            self._names, self._myself.name, self._settings.resources, self._settings.policies, store, self._probe, self._settings.ttl_s,
            self._own_works(store),
        )  # fmt: skip
        await self._unless_ended(groups.open(self._settings.ttl_s))
        membership = self._membership = Membership(
            store, self._names, self._myself,
            ttl_s=self._settings.ttl_s, period_s=self._settings.period_s,
            listener=Listener(self._read, self._told, lambda _view: None, self._away, board.back, groups.right),
        )  # fmt: skip
        groups.join(membership)
        contents = self._store(LIBRARY_TRY_S)
        moves = self._store(TAKEOVERS_TRY_S)
        if self._secret is not None:
            self._takeovers = Takeovers(
                self._plan.state, self._plan, moves, self._names, self._myself.name, self._secret
            )
        elif self._settings.store == "etcd":
            log.info("ha: which server took a session over is not told to other proxies: ha.session_key is empty")  # fmt: skip
        if self._settings.config_folder:
            self._follower = self._make_follower(contents, store, membership)
        add_coordinator(
            membership, self._settings.core_group, self._settings.preferred_coordinators
        )
        try:
            # What fails here ends the process, and its supervisor starts another: half a member is worse than none.
            await first_of(
                self._until_drained(membership, groups),
                membership.run(),
                board.look_always(),
                board.post_always(),
                self._post_digests(store, membership),
                groups.post_always(),
                *self._followed(),
                *self._told_of_sessions(),
            )
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await membership.leave()
            await groups.close()
            await end_all()
            await store.close()
            await contents.close()
            await moves.close()
            if self._embedded is not None:
                await self._embedded.stop()

    def _own_works(self, store: EtcdStore) -> dict[str, Callable[[Callable[[], None]], Work]]:
        """Bridges to other sites, each at one member at a time."""

        def lease() -> int:
            return 0 if self._membership is None else self._membership.lease

        def maker(bridge: BridgeSettings) -> Callable[[Callable[[], None]], Work]:
            def make(note: Callable[[], None]) -> Work:
                made = Bridge(bridge, self._names, self._myself.name, store, lease, note, self._counts.rows[site_of(bridge, self._names.cell)])  # fmt: skip
                self._bridges.append(made)
                return made

            return make

        def name_of(bridge: BridgeSettings) -> str:
            cell = bridge.cell_or(self._names.cell)
            return resource_of(self._names, Names(cell, bridge.core_group))

        return {name_of(each): maker(each) for each in self._settings.bridges}

    async def _unless_ended(self, work: Coroutine[None, None, None]) -> None:
        """Does it, but not when this process was told to end."""
        doing = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self.ended.wait())
        await asyncio.wait({doing, ending}, return_when=asyncio.FIRST_COMPLETED)
        for each in (doing, ending):
            each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await doing

    def _store(self, try_s: float) -> EtcdStore:
        """With connections of its own."""
        return EtcdStore(Gateway(*self._place(), try_s=try_s, token=self._token))

    def _place(self) -> tuple[tuple[str, ...], ssl.SSLContext | None]:
        if self._embedded is not None:
            return (self._embedded.url,), self._embedded.tls()
        return self._settings.endpoints, group_context(self._settings)

    def _make_follower(
        self, contents: EtcdStore, store: EtcdStore, membership: Membership
    ) -> Follower:
        folder = PublishedFolder(self._settings.config_folder)
        if (etcd := self._embedded) is not None:
            files = etcd.files
            paths = (str(each) for each in (files.ca, files.certificate, files.key))
            try:
                folder.write_place(Place(etcd.url, *paths))
            except OSError as error:
                log.error("ha: %s: cannot be written: %s; `wsproxy publish` does not find the etcd of this proxy", folder.path, error.strerror)  # fmt: skip
        library = Library(contents, self._names)
        return Follower(folder, library, store, self._names, membership)

    async def _until_drained(self, membership: Membership, groups: Groups) -> None:
        """Told to end, and nothing that it ran runs any more."""
        await self.ended.wait()
        # Heartbeats go on while resources stop, however long that takes: whoever starts us says how long it waits.
        membership.stand_down()
        await groups.drain()

    def _followed(self) -> tuple[Coroutine[Any, Any, None], ...]:
        if self._follower is None:
            return ()
        return self._follower.follow_always(), self._follower.post_always()

    def _told_of_sessions(self) -> tuple[Coroutine[Any, Any, None], ...]:
        if (each := self._takeovers) is None:
            return ()
        return each.look_always(), each.post_always(), each.follow_always()

    async def _start_etcd(self, etcd: EmbeddedEtcd) -> bool:
        """Whether it serves; False: this process was told to end first."""
        again_s = AGAIN_S
        while not self.ended.is_set():
            try:
                await etcd.start()
            except StartError as error:
                log.error("ha: %s; requests are served as before; tried again in %g s", error, again_s)  # fmt: skip
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(again_s):
                        await self.ended.wait()
                again_s = min(2 * again_s, MOST_AGAIN_S)
            else:
                return True
        await etcd.stop()
        return False

    async def _keep_etcd(self, etcd: EmbeddedEtcd) -> None:
        while True:
            how = await etcd.ended()
            log.error("ha: etcd ended (%s); started again", how)
            await asyncio.sleep(AGAIN_S)
            if not await self._start_etcd(etcd):
                return

    # --- what the group says ------------------------------------------------------------------------------------------

    def _read(self, revision: int, entries: Mapping[str, Entry]) -> None:
        assert self._board is not None
        assert self._groups is not None
        self._board.read(revision, entries)
        self._groups.read(entries)
        for each in self._bridges:
            each.read(entries)
        self._configurations.read(entries)
        if self._follower is not None:
            self._follower.read(entries)
        self._is_read.set()

    def _told(self, told: Told) -> None:
        assert self._board is not None
        assert self._groups is not None
        self._board.told(told)
        self._groups.told(told)
        for each in self._bridges:
            each.told(told)
        self._configurations.told(told.changes)
        if self._follower is not None:
            self._follower.told(told)

    def _away(self) -> None:
        assert self._board is not None
        self._board.away()
        if self._follower is not None:
            self._follower.away()

    async def _post_digests(self, store: EtcdStore, membership: Membership) -> None:
        """By which configuration this member serves: at the beginning of each membership, and when it is another one."""
        while True:
            await self._is_read.wait()
            self._is_read.clear()
            digest = self._plan.digest or digest_of(self._plan.config)
            key = self._names.config(membership.name)
            try:
                await store.put(Put(key, digest.encode(), membership.lease))
            except LeaseGoneError:
                continue  # the next membership posts it
            except StoreAwayError:
                await asyncio.sleep(AGAIN_S)
                self._is_read.set()

    # --- other configurations ------------------------------------------------------------------------------------------

    def listen(self, box: socket.socket) -> None:
        """From now on."""
        Inbox(box, self._take)

    async def _take(self, fd: int) -> None:
        plan = await in_turns(unpack(fd, self._plan.state))
        self._plan = plan
        if self._takeovers is not None:
            self._takeovers.take_plan(plan)
        if self._board is not None:
            self._board.take_plan(plan)
            if self._membership is not None and self._membership.lease:
                self._is_read.set()


def run_ha(needs: HaNeeds) -> int:
    """Is a member until SIGTERM; the exit code."""
    plan = needs.plan
    settings = plan.settings.ha  # of the start: another one needs a new start
    if needs.parcel >= 0:
        plan = at_once(unpack(needs.parcel, plan.state))
    run(serve(plan, settings, needs))
    return 0


async def serve(plan: Plan, settings: HaSettings, needs: HaNeeds) -> None:
    """See ``run_ha``."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    agent = Agent(
        plan, settings, needs.instance, needs.pid, needs.probe, needs.secret, needs.bridges
    )
    loop.add_signal_handler(signal.SIGTERM, agent.ended.set)
    agent.listen(needs.box)
    keep_turning(needs.on_turn)
    await agent.run()
    await end_all()
