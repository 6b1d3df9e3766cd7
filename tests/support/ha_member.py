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
from wsproxy.ha.group.membership import Listener, Membership, Myself
from wsproxy.ha.names import Names
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
