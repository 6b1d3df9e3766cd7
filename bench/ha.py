"""
How long a word of one proxy takes to the others' slots, and what a thousand changes a second cost the ha process.

    python -m bench.ha [--proxies 4] [--servers 100] [--rate 1000] [--seconds 5]

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
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.ha.board.board import Board
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Told
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

SERVER = '<Server Name="s{}"><Transport Hostname="127.0.0.1" Port="9"/></Server>'
WORDS = 200


class Proxy:
    """A state and its board."""

    def __init__(self, plan: Plan, name: str, url: str) -> None:
        """Nothing runs yet."""
        self.plan = plan
        self.store = EtcdStore(Gateway([url], try_s=5.0))
        self._names = Names("bench", "DefaultCoreGroup")
        self.board = Board(plan.state, plan, self.store, self._names, name)
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
        works = (self._follow(found.revision), self.board.look_always(), self.board.post_always())
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
    print(
        f"a mark in all other proxies' slots, ms: median {statistics.median(found):.1f}, "
        f"p99 {found[int(len(found) * 0.99)]:.1f}, most {found[-1]:.1f} ({len(found)} words)"
    )
    await load(proxies, options.servers, options.rate, options.seconds)
    for each in proxies:
        await each.end()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxies", type=int, default=4)
    parser.add_argument("--servers", type=int, default=100)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with running_etcd() as (etcd,), tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, etcd.url, Path(folder)))


if __name__ == "__main__":
    main()
