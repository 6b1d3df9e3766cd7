"""
How long a word of one proxy, or a session that moved, takes to all others; what a thousand a second cost; what becomes of a flood of sessions.

    python -m bench.ha [--proxies 4] [--servers 100] [--rate 1000] [--seconds 5] [--flood 100000]

Real etcd, one process, on 127.0.0.1; each proxy has a shared state and a board of its own, in one event loop, so CPU times are those of all
of them together. The workers have no part in it: they read the slots that they read without [ha].
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.etcd import running_etcd
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy._fast.state.takeover import TakeoverTable, Telling
from wsproxy.config.group_secret import GroupSecret
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.ha.board.board import Board
from wsproxy.ha.board.takeovers import Takeovers
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Told
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

SERVER = '<Server Name="s{}"><Transport Hostname="127.0.0.1" Port="9"/></Server>'
WORDS = 200
SECRET = GroupSecret(bytes(16), bytes(32))
CLUSTER = 1
TAKEOVER_MS = 60_000


class Proxy:
    """A state and its board."""

    def __init__(self, plan: Plan, name: str, url: str) -> None:
        """Nothing runs yet."""
        self.plan = plan
        self.store = EtcdStore(Gateway([url], try_s=5.0))
        self._names = Names("bench", "DefaultCoreGroup")
        self.board = Board(plan.state, plan, self.store, self._names, name)
        self.table = plan.state.takeovers
        self.table.share(SECRET.sessions)
        self.moves = EtcdStore(Gateway([url], try_s=5.0))
        self.takeovers = Takeovers(plan.state, plan, self.moves, self._names, name, SECRET)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def cluster(self) -> Cluster:
        """The only one."""
        _, _, cluster = next(iter(self.plan.operated()))
        return cluster

    async def begin(self) -> None:
        """Looks, posts and hears."""
        found = await self.store.read(self._names.root)
        self.board.read(found.revision, found.entries)
        works = (
            self._follow(found.revision), self.board.look_always(), self.board.post_always(),
            self.takeovers.look_always(), self.takeovers.post_always(), self.takeovers.follow_always(),
        )  # fmt: skip
        self._tasks = [asyncio.ensure_future(work) for work in works]

    async def _follow(self, after: int) -> None:
        async with contextlib.aclosing(self.store.watch(self._names.root, after)) as words:
            async for told in words:
                if isinstance(told, Told):
                    self.board.told(told)

    async def end(self) -> None:
        """Nothing runs any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()
        await self.moves.close()

    def remembers(self, session: int, server: int) -> None:
        """The session has moved to this server, here."""
        now = now_ms()
        _, slots = self.cluster.slots()
        self.table.remember_session(CLUSTER, b"%d" % session, slots[server], now, now + TAKEOVER_MS)

    def knows(self, session: int) -> bool:
        """Whether it has moved, as far as is known here."""
        return self.table.find_session(CLUSTER, b"%d" % session, now_ms()) >= 0

    def is_down(self, server: int) -> bool:
        """By its own slots."""
        return self.cluster.server_state(server)["down_until_ms"] != 0


def plan_of(folder: Path, servers: int) -> Plan:
    """One cluster."""
    file = folder / "plugin-cfg.xml"
    text = "".join(SERVER.format(number) for number in range(servers))
    more = (
        '<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="u"/>'
    )
    file.write_text(f'<Config><ServerCluster Name="farm">{text}</ServerCluster>{more}</Config>')
    plan = build_plan(load_config(file).config, Settings(), SharedState(servers + 8, 4))
    plan.apply()
    return plan


async def latency(proxies: list[Proxy], servers: int) -> list[float]:
    """Milliseconds from a mark in one proxy's slots until it is in those of all others."""
    found = []
    for number in range(WORDS):
        server, first = number % servers, proxies[number % len(proxies)]
        wanted = not first.is_down(server)
        began = time.perf_counter()
        if wanted:
            first.cluster.set_down(server, 0, now_ms(), 111, b"bench")
        else:
            first.cluster.set_up(server, 0)
        while any(each.is_down(server) != wanted for each in proxies):  # noqa: ASYNC110  # slots tell nobody
            await asyncio.sleep(0.0005)
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


async def load(proxies: list[Proxy], servers: int, rate: int, seconds: float) -> None:
    """Changes at this rate, all proxies in turn; then what it cost, and whether all agree."""
    posted = sum(each.board.posted for each in proxies)
    cpu, began, number = time.process_time(), time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate:
            proxy, server = proxies[number % len(proxies)], (number * 7) % servers
            if proxy.is_down(server):
                proxy.cluster.set_up(server, 0)
            else:
                proxy.cluster.set_down(server, 0, now_ms(), 111, b"bench")
            number += 1
        await asyncio.sleep(0.005)
    spent = time.process_time() - cpu
    settled = time.perf_counter()
    states: set[tuple[bool, ...]] = set()
    while len(states) != 1 or any(each.board.waiting for each in proxies):
        await asyncio.sleep(0.005)
        states = {tuple(each.is_down(server) for server in range(servers)) for each in proxies}
        if time.perf_counter() - settled > 30:
            break
    print(
        f"{number} changes in {seconds:g} s ({rate}/s over {servers} servers, {len(proxies)} proxies)"
    )
    print(f"  words posted: {sum(each.board.posted for each in proxies) - posted}")
    print(f"  CPU of all {len(proxies)} ha processes: {100 * spent / seconds:.0f} % of one CPU")
    print(
        f"  all agree {'' if len(states) == 1 else 'NOT '}after {(time.perf_counter() - settled) * 1000:.0f} ms"
    )


async def moves_latency(proxies: list[Proxy], first: int) -> list[float]:
    """Milliseconds from a session's move at one proxy until all others would send it there."""
    found = []
    for number in range(first, first + WORDS):
        began = time.perf_counter()
        proxies[number % len(proxies)].remembers(number, 0)
        while not all(each.knows(number) for each in proxies):  # noqa: ASYNC110  # tables tell nobody
            await asyncio.sleep(0.0005)
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


async def moves_load(
    proxies: list[Proxy], servers: int, rate: int, seconds: float, first: int
) -> None:
    """Sessions move at this rate, at all proxies in turn."""
    before = [each.table.news_counts() for each in proxies]
    cpu, began, number = time.process_time(), time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while number < now * rate:
            proxies[number % len(proxies)].remembers(first + number, number % servers)
            number += 1
        await asyncio.sleep(0.005)
    spent = time.process_time() - cpu
    while any(each.takeovers.waiting for each in proxies):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    counts = [
        [after - was for after, was in zip(each.table.news_counts(), old, strict=True)]
        for each, old in zip(proxies, before, strict=True)
    ]
    told, learnt = (
        sum(each[what] for each in counts) for what in (Telling.TOLD_OTHERS, Telling.LEARNT)
    )
    print(f"{number} sessions moved in {seconds:g} s ({rate}/s)")
    print(
        f"  told {told}, not told {sum(each[1] + each[2] for each in counts)}, learnt by others {learnt}"
    )
    print(f"  CPU of all {len(proxies)} ha processes: {100 * spent / seconds:.0f} % of one CPU")


async def flood(proxies: list[Proxy], servers: int, many: int) -> None:
    """A server with so many sessions dies at one proxy, within two seconds; what others see of it, and how long marks take meanwhile."""
    first = proxies[0]
    before, began, cpu = first.table.news_counts(), time.perf_counter(), time.process_time()

    async def move() -> None:
        done = 0
        while done < many:
            for _ in range(min(many // 200, many - done)):
                first.remembers(10_000_000 + done, done % servers)
                done += 1
            await asyncio.sleep(0.01)

    moving = asyncio.ensure_future(move())
    found = await latency(proxies, servers)
    marks_s = time.perf_counter() - began
    await moving
    while first.takeovers.waiting and time.perf_counter() - began < 15:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    spent = time.process_time() - cpu
    took = time.perf_counter() - began
    told, unread, unposted = (
        first.table.news_counts()[at] - before[at]
        for at in (Telling.TOLD_OTHERS, Telling.NOT_READ, Telling.NOT_POSTED)
    )
    kept = await first.moves.read(first._names.takeovers)
    size = sum(len(each.value) for each in kept.entries.values())
    print(
        f"flood: {many} sessions moved at one proxy; after {took:.1f} s {told} are told, {unread + unposted} are not, {first.takeovers.waiting} wait"
    )
    print(
        f"  in etcd: {len(kept.entries)} keys, {size / 1000:.0f} kB; CPU of all {100 * spent / took:.0f} % of one CPU"
    )
    print(f"  a mark meanwhile ({marks_s:.1f} s), {told_of(found)}")


def told_of(found: list[float]) -> str:
    """In words."""
    return f"ms: median {statistics.median(found):.1f}, p99 {found[int(len(found) * 0.99)]:.1f}, most {found[-1]:.1f} ({len(found)} words)"


def worker_cost(rounds: int = 200_000) -> None:
    """What one move costs a worker, alone and with others that are told; the call from Python is in both."""
    alone, shared = TakeoverTable(), TakeoverTable()
    shared.share(SECRET.sessions)
    best: dict[str, float] = {}
    for _ in range(5):
        for name, table in (("alone", alone), ("told", shared)):
            began = time.process_time()
            for number in range(rounds):
                table.remember_session(CLUSTER, b"%d" % number, number & 7, number, number + 10)
            best[name] = min(best.get(name, 9e9), (time.process_time() - began) / rounds * 1e9)
    print(
        f"a session's move costs a worker {best['alone']:.0f} ns, and {best['told']:.0f} ns where others are told"
    )


async def idle(proxies: list[Proxy], seconds: float) -> None:
    """What looking costs where nothing happens."""
    cpu = time.process_time()
    await asyncio.sleep(seconds)
    spent = 100 * (time.process_time() - cpu) / seconds / len(proxies)
    print(f"idle: {spent:.2f} % of one CPU for each ha process")


async def measure(options: argparse.Namespace, url: str, folder: Path) -> None:
    """All of it."""
    proxies = [
        Proxy(plan_of(folder, options.servers), f"p{number}", url)
        for number in range(options.proxies)
    ]
    for each in proxies:
        await each.begin()
    await idle(proxies, options.seconds)
    found = await latency(proxies, options.servers)
    print(f"a mark in all other proxies' slots, {told_of(found)}")
    found = await moves_latency(proxies, 1_000_000)
    print(f"a session's move at all other proxies, {told_of(found)}")
    await load(proxies, options.servers, options.rate, options.seconds)
    await moves_load(proxies, options.servers, options.rate, options.seconds, 2_000_000)
    if options.flood:
        await flood(proxies, options.servers, options.flood)
    for each in proxies:
        await each.end()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxies", type=int, default=4)
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument(
        "--flood", type=int, default=100_000, help="sessions of a server that dies; 0: none"
    )
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    worker_cost()
    with running_etcd() as (etcd,), tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, etcd.url, Path(folder)))


if __name__ == "__main__":
    main()
