"""Published configurations where etcd itself is the trouble: put back to a backup, or written to by somebody who is no wsproxy."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.blackbox.test_publish import homes, until_both_follow, until_good
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.proxy import process_of
from wsproxy.ha.master.library import Library
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Put
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd

NAMES = Names("wsproxy", "DefaultCoreGroup")


@pytest.fixture
def etcd() -> Any:
    with running_etcd() as servers:
        yield servers[0]


async def put_back(etcd: EtcdProcess, data: Path, backup: Path) -> None:
    await asyncio.to_thread(etcd.end)
    await asyncio.to_thread(shutil.rmtree, data)
    await asyncio.to_thread(shutil.copytree, backup, data)
    etcd.launch()
    await asyncio.to_thread(etcd.wait)


async def test_etcd_is_restored_from_an_older_backup(etcd: EtcdProcess, tmp_path: Path) -> None:
    """Its revisions are those of then, and so is what it says of members: they hear of what it says now, and say anew what they go by."""
    data = etcd.data
    async with homes(etcd, "a") as (a,), a.running():
        await until_both_follow(a, 1)
        await a.publish("one")
        await asyncio.to_thread(etcd.end)
        await asyncio.to_thread(shutil.copytree, data, tmp_path / "backup")
        etcd.launch()
        await asyncio.to_thread(etcd.wait)
        await until_both_follow(a, 1)
        await a.publish("two")
        store = EtcdStore(Gateway([etcd.url], try_s=10))
        for number in range(50):  # the backup's revisions will not come so far
            await store.put(Put(f"/other/{number}", b""))
        await store.close()
        await put_back(etcd, data, tmp_path / "backup")
        await a.until_serves("one")
        await until_good(a)
        await a.publish("three")
        assert await a.serves("three")


async def test_what_somebody_else_puts_there_ends_nobody(etcd: EtcdProcess) -> None:
    """Keys that are no text, numbers that no machine has: the member stays, says what it found, and takes the next version."""
    async with homes(etcd, "a") as (a,), a.running("published configuration: "):
        await until_both_follow(a, 1)
        await a.publish("one")
        gateway = Gateway([etcd.url], try_s=10)
        store = EtcdStore(gateway)
        await gateway.ask("/v3/kv/put", {"key": "L3dzcHJveHkvd3Nwcm94eS9EZWZhdWx0Q29yZUdyb3VwL//+", "value": "eA=="})  # fmt: skip
        good = (await Library(store, NAMES).head()).head
        for field, value in (("at_ms", b"1" + b"0" * 400), ("number", b"1" + b"0" * 30)):
            version = msgspec.json.encode(good.version)  # type: ignore[union-attr]
            before = f'"{field}":{getattr(good.version, field)}'.encode()  # type: ignore[union-attr]
            assert before in version
            bad = version.replace(before, f'"{field}":'.encode() + value)
            at = len(a.proxy.lines)
            await store.put(Put(NAMES.published, b'{"version":' + bad + b"}"))
            await a.proxy.line(f"published: found what this wsproxy cannot read: .*{field}", at)
        await store.put(Put(NAMES.published, msgspec.json.encode(good)))
        await store.close()
        await a.publish("two")
        assert not [line for line in a.proxy.lines if "ha failed" in line]


async def test_who_waits_is_told_of_what_came_meanwhile(etcd: EtcdProcess) -> None:
    """A proxy that hangs is out while its publisher waits, and is named; so is the version that somebody else has published."""
    async with homes(etcd, "a", "b") as (a, b), a.running(), b.running("hangs"):
        await until_both_follow(a)
        loader = process_of(b.proxy.pid, "wsproxy-loader")
        os.kill(loader, signal.SIGSTOP)
        first = asyncio.ensure_future(a.publish("one", "--wait", "60", code=1))
        await a.until_serves("one")
        await a.publish("two", "--wait", "0")
        assert "version 1 was published, and is over: version 2 " in await first
        os.kill(loader, signal.SIGCONT)
        await until_good(a)
        pid = process_of(b.proxy.pid, "wsproxy-ha")
        os.kill(pid, signal.SIGSTOP)
        said = await a.publish("three", "--wait", "60", code=1)
        assert "b: was there, and is no member any more" in said
        assert "a: version 3 in use" in said
        os.kill(pid, signal.SIGCONT)
        await b.until_serves("three")
