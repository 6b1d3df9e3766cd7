"""Whether a watch goes on in the history that it has told of: an etcd that was restored from a backup, and has counted on, has another."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.unit.ha.store.test_gateway import begins
from wsproxy.ha.store.base import CompactedError, Delete, Put, Told, TooLargeError
from wsproxy.ha.store.etcd import EtcdStore, Seen
from wsproxy.ha.store.gateway import Gateway

TRY_S = 10.0
pytestmark = needs_etcd


@pytest.fixture
def etcd() -> Iterator[EtcdProcess]:
    with running_etcd() as (one,):
        yield one


@pytest.fixture
def prefix() -> str:
    return f"/test/{uuid.uuid4().hex}/"


def store_of(etcd: EtcdProcess, seen: dict[str, Seen] | None = None) -> EtcdStore:
    return EtcdStore(Gateway([etcd.url], try_s=TRY_S), seen=seen)


async def count_on(etcd: EtcdProcess, beyond: int) -> None:
    store = store_of(etcd)
    while await store.put(Put("/elsewhere", b"")) < beyond:
        pass
    await store.close()


async def a_backup_of_one_key(etcd: EtcdProcess, prefix: str) -> Path:
    store = store_of(etcd)
    await store.put(Put(f"{prefix}a", b"x"))
    await store.close()
    return await asyncio.to_thread(etcd.back_up)


async def is_refused(etcd: EtcdProcess, prefix: str, seen: dict[str, Seen], after: int) -> None:
    """A watch of who has seen this, once etcd has counted on."""
    await count_on(etcd, after + 5)
    store = store_of(etcd, seen)
    with pytest.raises(CompactedError):
        await begins(store, prefix, after)
    await store.close()


async def test_a_prefix_that_was_empty_when_it_was_read(etcd: EtcdProcess, prefix: str) -> None:
    """All was deleted since the backup: what the restored one has again is never told."""
    backup = await a_backup_of_one_key(etcd, prefix)
    seen: dict[str, Seen] = {}
    store = store_of(etcd, seen)
    await store.swap([], [Delete(f"{prefix}a")])
    found = await store.read(prefix)
    assert not found.entries
    assert await begins(store, prefix, found.revision)
    await store.close()
    await asyncio.to_thread(etcd.restore, backup)
    assert (await store_of_entries(etcd, prefix)) != found.entries
    await is_refused(etcd, prefix, seen, found.revision)


async def store_of_entries(etcd: EtcdProcess, prefix: str) -> object:
    store = store_of(etcd)
    try:
        return (await store.read(prefix)).entries
    finally:
        await store.close()


async def test_what_was_told_last_was_not_taken_before_the_watch_ended(
    etcd: EtcdProcess, prefix: str
) -> None:
    """Who reads slowly goes on behind what it took; the store has seen one more, and asks nothing."""
    backup = await a_backup_of_one_key(etcd, prefix)
    seen: dict[str, Seen] = {}
    store = store_of(etcd, seen)
    found = await store.read(prefix)
    await store.put(Put(f"{prefix}b", b"x"))
    taken = await store.put(Put(f"{prefix}b", b"y"))
    await store.put(Put(f"{prefix}c", b"z"))
    after = found.revision
    async with contextlib.aclosing(store.watch(prefix, after)) as words:
        async for told in words:
            if told is None:
                continue
            assert isinstance(told, Told)
            if told.revision > taken:
                break  # told, and cut in the middle
            after = told.revision
    assert after == taken
    await store.close()
    await asyncio.to_thread(etcd.restore, backup)
    other = store_of(etcd)
    await other.put(Put(f"{prefix}new", b"never told"))
    await other.close()
    await is_refused(etcd, prefix, seen, after)


async def test_what_was_told_last_is_that_a_key_is_gone(etcd: EtcdProcess, prefix: str) -> None:
    """A hold that was set and withdrawn since the backup: the restored etcd never had it, which looks the same."""
    backup = await a_backup_of_one_key(etcd, prefix)
    seen: dict[str, Seen] = {}
    store = store_of(etcd, seen)
    found = await store.read(prefix)
    for _ in range(3):
        await store.put(Put("/elsewhere", b""))
    await store.put(Put(f"{prefix}hold", b"x"))
    await store.swap([], [Delete(f"{prefix}hold")])
    after = found.revision
    async with contextlib.aclosing(store.watch(prefix, after)) as words:
        async for told in words:
            if told is not None:
                after = told.revision
                if told.changes[-1][1] is None:
                    break
    await store.close()
    await asyncio.to_thread(etcd.restore, backup)
    other = store_of(etcd)
    assert await other.put(Put(f"{prefix}new", b"never told")) < after
    await other.close()
    await is_refused(etcd, prefix, seen, after)


async def test_an_answer_of_very_many_keys_is_bounded(prefix: str) -> None:
    """As one to ``read``; decoding 16 MB of small keys held a member up for 1.2 s, all that a hostile site need say."""
    kv = {"key": "", "create_revision": "1", "mod_revision": "1"}

    class Hostile:
        endpoint = "there"

        async def ask(self, path: str, question: object) -> dict[str, object]:
            return {"responses": [{"response_range": {"kvs": [kv] * 100}}, {}], "kvs": []}

    store = EtcdStore(Hostile(), 10, {prefix: Seen()})  # type: ignore[arg-type]
    with pytest.raises(TooLargeError):
        await store._check_history(prefix, 9)


async def test_a_strangers_key_that_is_no_utf_8_is_the_last_one(
    etcd: EtcdProcess, prefix: str
) -> None:
    """Nothing is wrong with the history: who reads all again is refused again, for ever."""
    store = store_of(etcd)
    await store.put(Put(f"{prefix}a", b"x"))
    key = b64encode(prefix.encode() + b"\xff").decode()
    await store._gateway.ask("/v3/kv/put", {"key": key, "value": ""})
    for _ in range(2):
        found = await store.read(prefix)
        assert await begins(store, prefix, found.revision)
    await store.close()
