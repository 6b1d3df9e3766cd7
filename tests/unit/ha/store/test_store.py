"""What ``base.Store`` promises, asked of etcd and of the model that is its oracle: both answer the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.model_store import ModelStore
from wsproxy.ha.store.base import (
    CompactedError,
    CreatedAt,
    Delete,
    LeaseGoneError,
    Put,
    Store,
    Told,
    Unchanged,
)
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway


@pytest.fixture(params=["model", "etcd"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "model":
        yield ModelStore()
        return
    etcd = request.getfixturevalue("etcd")
    found = EtcdStore(Gateway([etcd.url], try_s=10.0))
    yield found
    await found.close()


async def collect(store: Store, prefix: str, after: int, count: int) -> list[Told]:
    found: list[Told] = []
    async for told in store.watch(prefix, after):
        if told is not None:
            found.append(told)
        if len(found) == count:
            break
    return found


async def test_swap_is_all_or_nothing(store: Store, prefix: str) -> None:
    """One condition that does not hold, and nothing is written; what is there is told."""
    first = await store.swap([Unchanged(f"{prefix}a")], [Put(f"{prefix}a", b"1")])
    again = await store.swap(
        [Unchanged(f"{prefix}b"), Unchanged(f"{prefix}a")],
        [Put(f"{prefix}a", b"2"), Put(f"{prefix}b", b"2")],
    )
    assert first.done
    assert not again.done
    assert [(entry.key, entry.value) for entry in again.found.values()] == [(f"{prefix}a", b"1")]
    assert list((await store.read(prefix)).entries) == [f"{prefix}a"]


async def test_one_of_many_claims_wins(store: Store, prefix: str) -> None:
    """Twenty at once create the key where it does not exist: one does."""
    claims = [
        store.swap([Unchanged(f"{prefix}seat")], [Put(f"{prefix}seat", b"%d" % number)])
        for number in range(20)
    ]
    done = [each.done for each in await asyncio.gather(*claims)]
    kept = (await store.read(prefix)).entries[f"{prefix}seat"]
    assert done.count(True) == 1
    assert kept.value == b"%d" % done.index(True)


async def test_a_token_outlives_writes_and_no_deletion(store: Store, prefix: str) -> None:
    """``CreatedAt`` holds whatever is written, until the key was gone once."""
    key = f"{prefix}seat"
    token = (await store.swap([Unchanged(key)], [Put(key, b"a")])).revision
    assert (await store.swap([CreatedAt(key, token)], [Put(key, b"b")])).done
    assert (await store.swap([CreatedAt(key, token)], [Delete(key)])).done
    await store.put(Put(key, b"c"))
    assert not (await store.swap([CreatedAt(key, token)], [Delete(key)])).done


async def test_a_lease_takes_its_keys_along(store: Store, prefix: str) -> None:
    """In one revision, told as such; another lease's key stays."""
    one, two = await store.grant(60), await store.grant(60)
    await store.put(Put(f"{prefix}a", b"", one))
    await store.put(Put(f"{prefix}b", b"", one))
    last = await store.put(Put(f"{prefix}c", b"", two))
    await store.keep(one)
    await store.revoke(one)
    await store.revoke(one)
    (told,) = await collect(store, prefix, last, 1)
    assert told.changes == ((f"{prefix}a", None), (f"{prefix}b", None))
    assert list((await store.read(prefix)).entries) == [f"{prefix}c"]
    with pytest.raises(LeaseGoneError):
        await store.keep(one)
    with pytest.raises(LeaseGoneError):
        await store.put(Put(f"{prefix}d", b"", one))
    with pytest.raises(LeaseGoneError):
        await store.swap([Unchanged(f"{prefix}d")], [Put(f"{prefix}d", b"", one)])
    await store.revoke(two)


async def test_watch_tells_each_revision_once_and_whole(store: Store, prefix: str) -> None:
    """From the revision after the one that was read: nothing is missed between reading and watching."""
    before = await store.put(Put(f"{prefix}a", b"0"))
    await store.swap([], [Put(f"{prefix}a", b"1"), Put(f"{prefix}b", b"\xff\x00")])
    await store.swap([], [Delete(f"{prefix}a")])
    told = await collect(store, prefix, before, 2)
    assert [[(key, entry and entry.value) for key, entry in each.changes] for each in told] == [
        [(f"{prefix}a", b"1"), (f"{prefix}b", b"\xff\x00")],
        [(f"{prefix}a", None)],
    ]
    assert before < told[0].revision < told[1].revision


async def test_a_watch_that_waits_is_told(store: Store, prefix: str) -> None:
    """And of nobody else's prefix."""
    start = (await store.read(prefix)).revision
    watching = asyncio.ensure_future(collect(store, prefix, start, 1))
    await store.put(Put("/test-other", b""))
    revision = await store.put(Put(f"{prefix}a", b""))
    assert [each.revision for each in await watching] == [revision]


async def test_what_was_can_be_read(store: Store, prefix: str) -> None:
    """As it was at a revision: what was written and deleted since is not seen."""
    first = await store.put(Put(f"{prefix}a", b"1"))
    await store.swap([], [Put(f"{prefix}a", b"2"), Put(f"{prefix}b", b"")])
    await store.swap([], [Delete(f"{prefix}a")])
    then = await store.read(prefix, first)
    assert (then.revision, {key: each.value for key, each in then.entries.items()}) == (first, {f"{prefix}a": b"1"})  # fmt: skip
    assert list((await store.read(prefix)).entries) == [f"{prefix}b"]


async def test_an_entry_says_since_when(store: Store, prefix: str) -> None:
    """``created`` stays, ``modified`` moves, the lease is the last one."""
    lease = await store.grant(60)
    created = await store.put(Put(f"{prefix}a", b""))
    modified = await store.put(Put(f"{prefix}a", b"x", lease))
    entry = (await store.read(prefix)).entries[f"{prefix}a"]
    assert (entry.created, entry.modified, entry.lease) == (created, modified, lease)
    await store.revoke(lease)


async def test_the_model_forgets_as_etcd_does(prefix: str) -> None:
    """What was compacted cannot be watched any more."""
    store = ModelStore()
    await store.put(Put(f"{prefix}a", b""))
    store.compact()
    with pytest.raises(CompactedError):
        await collect(store, prefix, 0, 1)
