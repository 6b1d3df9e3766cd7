"""What becomes of a version at each member, on a real etcd that is not always there."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.support.etcd import EtcdProcess, Relay, needs_etcd
from wsproxy.config.published import Version
from wsproxy.ha.master.library import Library
from wsproxy.ha.master.rollout import watch_all
from wsproxy.ha.master.words import Applied
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Put
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd

VERSION = Version(2, "a" * 32, "b" * 64, 1, "alice", 1)


@pytest.mark.parametrize("is_healed", [True, False])
async def test_an_etcd_that_does_not_answer_is_no_empty_group(
    etcd: EtcdProcess, prefix: str, *, is_healed: bool
) -> None:
    """All have tried it: only where they have said so."""
    names = Names("cell", prefix.strip("/"))
    direct = EtcdStore(Gateway([etcd.url], try_s=10))
    word = Applied(2, VERSION.id)
    await direct.put(Put(names.applied("a"), msgspec.json.encode(word)))
    relay = Relay(int(etcd.url.rpartition(":")[2]))
    store = EtcdStore(Gateway([f"http://127.0.0.1:{relay.port}"], try_s=0.3))
    relay.cut()
    watching = asyncio.ensure_future(watch_all(Library(store, names), VERSION, 30 if is_healed else 0.1))  # fmt: skip
    if is_healed:
        asyncio.get_running_loop().call_later(0.5, relay.heal)
    assert await watching == (({"a": word}, True) if is_healed else ({}, False))
    await store.close()
    await direct.close()
    relay.close()
