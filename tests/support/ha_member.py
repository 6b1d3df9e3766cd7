"""A member of a core group with its HA groups, as the ha process is one, without a proxy: `python -m tests.support.ha_member FILE`, where FILE is ``Given`` as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from wsproxy.config.settings_groups import PolicySettings, ResourceSettings
from wsproxy.dataplane.tasks import end_all
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.group.membership import Listener, Membership, Myself
from wsproxy.ha.group.view import coordinator_of
from wsproxy.ha.names import COORDINATOR, Names
from wsproxy.ha.resource.groups import Groups
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway


class Given(msgspec.Struct):
    """What it is."""

    name: str
    cell: str
    urls: list[str]
    ttl_s: int
    period_s: float
    instance: str
    resources: list[ResourceSettings]
    policies: list[PolicySettings]
    acts: str = ""  # a file: what it does as the coordinator; empty: it is none


class Acts:
    """The coordinator's duty: acts every 20 ms, each with its time (CLOCK_BOOTTIME) and the seat's token, in a file that all members have."""

    def __init__(self, name: str, file: str) -> None:
        self._words = f"{name} {os.getpid()}"
        self._file = file
        self._task: asyncio.Task[None] | None = None

    async def begin(self, token: int) -> None:
        self._task = asyncio.ensure_future(self._act(token))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _act(self, token: int) -> None:
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            while True:
                os.write(fd, f"{boot_clock():.6f} {self._words} {token}\n".encode())
                await asyncio.sleep(0.02)
        finally:
            os.close(fd)


async def main(given: Given) -> None:
    names = Names(given.cell, "DefaultCoreGroup")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    store = EtcdStore(Gateway(given.urls))
    groups = Groups(names, given.name, given.resources, given.policies, store)
    await groups.open(given.ttl_s)
    myself = Myself(given.name, given.instance, "host", os.getpid(), "0")
    membership = Membership(
        store, names, myself, ttl_s=given.ttl_s, period_s=given.period_s,
        listener=Listener(lambda _at, entries: groups.read(entries), groups.told, on_right=groups.right),
    )  # fmt: skip
    groups.join(membership)
    if given.acts:
        membership.add_seat(
            COORDINATOR, lambda view: coordinator_of(view, ()), Acts(given.name, given.acts)
        )
    try:
        async with asyncio.TaskGroup() as tasks:
            works = [tasks.create_task(each) for each in (membership.run(), groups.post_always())]
            await ended.wait()
            membership.stand_down()
            await groups.drain()
            for each in works:
                each.cancel()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await membership.leave()
        await groups.close()
        await end_all()
        await store.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    asyncio.run(main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Given)))
