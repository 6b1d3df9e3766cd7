"""Sessions that moved at one proxy and what others then know: newest evidence, bounds, the store away, secrets, other configurations."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.etcd import EtcdProcess
from tests.support.model_store import ModelStore
from tests.unit.ha.board.test_board import plan_of
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy._fast.state.takeover import KEPT_OURS, Telling
from wsproxy.config.group_secret import GroupSecret
from wsproxy.config.settings import AffinitySettings, Settings
from wsproxy.dataplane.plan import Plan
from wsproxy.ha.board.takeovers import Bounds, Takeovers
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Put, Store
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

SECRET = GroupSecret(bytes(range(16)), bytes(range(32)))
OTHER = GroupSecret(bytes(16), bytes(32))
CLUSTER = 7  # of its sessions' hashes; a name's in a real proxy
TAKEOVER_MS = 60_000  # affinity.takeover_s


class Proxy:
    """A table and who tells of it; ``servers`` in an order of its own, so that slots differ."""

    def __init__(
        self, folder: Path, name: str, store: Store, names: Names, *servers: str,
        secret: GroupSecret = SECRET, bounds: Bounds | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.plan = plan_of(folder, *servers)
        self.table = self.plan.state.takeovers
        self.table.share(secret.sessions)
        self.store = store
        self.names = names
        self.takeovers = Takeovers(
            self.plan.state, self.plan, store, names, name, secret, bounds or Bounds()
        )
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        each = self.takeovers
        works = (each.look_always(), each.post_always(), each.follow_always())
        self._tasks = [asyncio.ensure_future(work) for work in works]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _slots(self) -> dict[str, int]:
        (_, config, cluster) = next(iter(self.plan.operated()))
        return dict(
            zip((each.name for each in config.all_servers), cluster.slots()[1], strict=True)
        )

    def moves(self, session: str, server: str, ago_ms: int = 0) -> None:
        """The session has this server from now on."""
        now = now_ms() - ago_ms
        self.table.remember_session(
            CLUSTER, session.encode(), self._slots()[server], now, now + TAKEOVER_MS
        )

    def has(self, session: str) -> str:
        """The server that the session went to; empty: it is not known."""
        slot = self.table.find_session(CLUSTER, session.encode(), now_ms())
        return {at: name for name, at in self._slots().items()}.get(slot, "")

    def count(self, what: Telling) -> int:
        return self.table.news_counts()[what]


class Group:
    """Proxies that differ in the order of their servers."""

    def __init__(self, folder: Path, names: Names, stores: dict[str, Store]) -> None:
        self.folder, self.names, self.stores = folder, names, stores
        self.a = self.add("a", "s1", "s2", "s3")
        self.b = self.add("b", "s3", "s2", "s1")

    def add(self, name: str, *servers: str, secret: GroupSecret = SECRET) -> Proxy:
        store = self.stores.get(name) or next(iter(self.stores.values()))
        return Proxy(self.folder, name, store, self.names, *servers, secret=secret)

    async def values(self) -> list[bytes]:
        entries = (await self.a.store.read(self.names.takeovers)).entries
        return [each.value for each in entries.values()]


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not what():  # noqa: ASYNC110  # tables tell nobody
            await asyncio.sleep(0.005)


@pytest.fixture(params=["model", "etcd"])
async def group(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> AsyncIterator[Group]:
    model = ModelStore()
    stores: dict[str, Store] = {"a": model, "b": model}
    if request.param == "etcd":
        etcd: EtcdProcess = request.getfixturevalue("etcd")
        stores = {name: EtcdStore(Gateway([etcd.url], try_s=10.0)) for name in "ab"}
    made = Group(tmp_path, Names(prefix.strip("/"), "g"), stores)
    for each in (made.a, made.b):
        each.begin()
    yield made
    for each in (made.a, made.b):
        await each.end()
    for store in stores.values():
        await store.close()


async def test_a_session_that_moved_at_one_has_moved_at_all(group: Group) -> None:
    """To the server of that name, whatever its slot; by who heard it, nobody is told again."""
    a, b = group.a, group.b
    a.moves("one", "s2")
    a.moves("two", "s3")
    await until(lambda: b.has("two") == "s3" and b.has("one") == "s2")
    assert b.has("three") == ""
    b.moves("three", "s1")
    await until(lambda: a.has("three") == "s1")
    # Counted once etcd has said that it has it: others may know sooner.
    await until(lambda: (a.count(Telling.TOLD_OTHERS), b.count(Telling.TOLD_OTHERS)) == (2, 1))
    assert (a.count(Telling.LEARNT), b.count(Telling.LEARNT)) == (1, 2)


async def test_etcd_has_no_session(group: Group) -> None:
    """Neither an id nor a hash that anybody without the secret could make of one."""
    session = "0000aaaaaaaaaaaaaaaaaaaaaaa"
    group.a.moves(session, "s2")
    await until(lambda: group.b.has(session) == "s2")
    (value,) = await group.values()
    assert b"aaaa" not in value
    key = group.a.table.session_key(CLUSTER, session.encode()).to_bytes(8, "little")
    assert key in value
    other = SharedState(1, 1).takeovers
    assert other.session_key(CLUSTER, session.encode()).to_bytes(8, "little") not in value


async def test_the_newest_evidence_counts(group: Group) -> None:
    """Also where what is older comes later; and of the same ms the name that comes first, so that all decide alike."""
    a, b = group.a, group.b
    a.moves("one", "s2")
    await until(lambda: b.has("one") == "s2")
    b.moves("one", "s3", ago_ms=-500)
    await until(lambda: a.has("one") == "s3")
    b.moves("two", "s3")
    await until(lambda: a.has("two") == "s3")
    for session, first, second in (("x", "s1", "s2"), ("y", "s2", "s1")):
        a.moves(session, first, ago_ms=5_000)
        b.moves(session, second, ago_ms=6_000)
        await until(lambda s=session, f=first: a.has(s) == b.has(s) == f)  # type: ignore[misc]


async def test_at_the_same_ms_all_decide_alike(group: Group) -> None:
    a, b = group.a, group.b
    for take in range(20):
        a.moves(f"{take}", "s3")
        b.moves(f"{take}", "s2")
    await until(lambda: a.count(Telling.TOLD_OTHERS) + b.count(Telling.TOLD_OTHERS) == 40)
    heard = (Telling.LEARNT, Telling.KNEW_BETTER)
    await until(lambda: all(sum(map(each.count, heard)) == 20 for each in (a, b)))
    assert [a.has(f"{take}") for take in range(20)] == [b.has(f"{take}") for take in range(20)]


async def test_a_session_that_stays_longer_stays_everywhere(group: Group) -> None:
    a, b = group.a, group.b
    a.moves("one", "s2", ago_ms=TAKEOVER_MS - 10_000)
    await until(lambda: b.has("one") == "s2")
    a.moves("one", "s2")
    key = b.table.session_key(CLUSTER, b"one")
    await until(lambda: b.count(Telling.LEARNT) == 2)
    # It ends later there than the first word would have it.
    assert (
        b.table.learn(key, b._slots()["s1"], now_ms(), now_ms() + TAKEOVER_MS - 20_000) == KEPT_OURS
    )


async def test_who_comes_later_knows_what_lives(group: Group) -> None:
    """Also what it told itself before it began anew; what it does not have, it does not know, and says nothing of it."""
    a, b = group.a, group.b
    a.moves("one", "s2")
    b.moves("two", "s3")
    await until(lambda: b.has("one") == "s2" and a.has("two") == "s3")
    late = group.add("b", "s2", "s9")
    late.begin()
    await until(lambda: late.has("one") == "s2")
    await until(lambda: late.count(Telling.UNKNOWN_HERE) == 1)
    again = group.add("a", "s1", "s2", "s3")
    again.begin()
    await until(lambda: again.has("one") == "s2" and again.has("two") == "s3")
    for each in (late, again):
        assert each.count(Telling.TOLD_OTHERS) == 0
        await each.end()


async def test_another_configuration(group: Group, tmp_path: Path) -> None:
    """A server that is new is heard of from then on; one that is gone is none."""
    a, b = group.a, group.b
    b.plan = plan_of(tmp_path, "s1", "s4", state=b.plan.state)
    b.takeovers.take_plan(b.plan)
    a.moves("one", "s2")
    await until(lambda: b.count(Telling.UNKNOWN_HERE) == 1)
    a.plan = plan_of(tmp_path, "s4", "s1", state=a.plan.state)
    a.takeovers.take_plan(a.plan)
    a.moves("two", "s4")
    await until(lambda: b.has("two") == "s4")


async def test_another_secret_is_not_believed(group: Group, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    """The log says so once, with the setting's name; nothing of it holds."""
    odd = group.add("odd", "s1", "s2", "s3", secret=OTHER)
    odd.begin()
    with caplog.at_level(logging.WARNING, "wsproxy.ha"):
        for number in range(3):
            odd.moves(f"{number}", "s2")
            await until(lambda n=number: group.b.count(Telling.NOT_BELIEVED) == n + 1)  # type: ignore[misc]
    await odd.end()
    mine = [line for line in caplog.messages if "member odd" in line]
    assert len(mine) == 2  # a's and b's
    assert "ha.session_key" in mine[0]
    assert group.b.count(Telling.LEARNT) == 0


async def test_what_was_never_ours_ends_nothing(group: Group) -> None:
    """Keys and values of anybody who can write to etcd."""
    key = f"{group.names.takeovers}x\n/1"
    await group.a.store.put(Put(key, b"\xff" * 50))
    await group.a.store.put(Put(f"{group.names.takeovers}", b""))
    await until(lambda: group.b.count(Telling.NOT_BELIEVED) == 2)
    group.a.moves("one", "s2")
    await until(lambda: group.b.has("one") == "s2")


async def test_what_is_forgotten_is_gone_from_etcd(group: Group) -> None:
    """By its lease, which nobody keeps."""
    group.a.moves("one", "s2")
    await until(lambda: group.b.has("one") == "s2")
    entries = (await group.a.store.read(group.names.takeovers)).entries.values()
    (lease,) = {each.lease for each in entries}
    assert lease
    await group.a.store.revoke(lease)
    assert await group.values() == []
    assert group.b.has("one") == "s2"  # its own memory
    group.a.moves("two", "s2")  # under another lease
    await until(lambda: group.b.has("two") == "s2")


@contextlib.asynccontextmanager
async def alone(tmp_path: Path, prefix: str, bounds: Bounds) -> AsyncIterator[tuple[Proxy, Proxy]]:
    names, store = Names(prefix.strip("/"), "g"), ModelStore()
    a = Proxy(tmp_path, "a", store, names, "s1", "s2", bounds=bounds)
    b = Proxy(tmp_path, "b", store, names, "s2", "s1")
    for each in (a, b):
        each.begin()
    yield a, b
    for each in (a, b):
        await each.end()


async def test_the_store_is_away(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    """Said once; what still lives is told when it is back, the newest first, and what was over the bound is counted."""
    caplog.set_level(logging.INFO, "wsproxy.ha")
    async with alone(tmp_path, prefix, Bounds(waiting=5)) as (a, b):
        assert isinstance(a.store, ModelStore)
        a.store.cut_off()
        a.moves("old", "s1", ago_ms=TAKEOVER_MS + 1)
        for number in range(7):
            a.moves(f"{number}", "s2")
        await until(lambda: any("does not take takeovers" in line for line in caplog.messages))
        assert a.has("0") == "s2"
        await until(lambda: a.count(Telling.NOT_POSTED) >= 3)
        assert b.has("6") == ""
        a.store.away = ""
        await until(lambda: b.has("2") == "s2")
        assert [bool(b.has(f"{number}")) for number in range(7)] == [False, False, *[True] * 5]
        assert (a.count(Telling.NOT_POSTED), a.count(Telling.TOLD_OTHERS)) == (3, 5)
        await until(lambda: any("takeovers of sessions again" in line for line in caplog.messages))
        await until(lambda: any("3 takeovers of sessions were not told" in line for line in caplog.messages))  # fmt: skip
    assert len([line for line in caplog.messages if "does not take takeovers" in line]) == 1


async def test_changes_that_were_missed_are_read(tmp_path: Path, prefix: str) -> None:
    """Etcd has forgotten what it said meanwhile, and not what holds."""
    async with alone(tmp_path, prefix, Bounds()) as (a, b):
        assert isinstance(a.store, ModelStore)
        a.moves("one", "s2")
        await until(lambda: b.has("one") == "s2")
        await b.end()
        a.moves("two", "s2")
        await until(lambda: a.count(Telling.TOLD_OTHERS) == 2)
        a.store.compact()
        b.begin()
        await until(lambda: b.has("two") == "s2")


async def test_a_flood_is_bounded(tmp_path: Path, prefix: str) -> None:
    """A server with many sessions dies: so many are told as there is room for, and each of the others is counted."""
    bounds = Bounds(a_second=100_000, alive=1000, waiting=600)
    many = 100_000
    async with alone(tmp_path, prefix, bounds) as (a, b):
        assert isinstance(a.store, ModelStore)
        for number in range(many):
            a.moves(f"{number}", "s2")
            if number % 5000 == 0:
                await asyncio.sleep(0)
        untold = (Telling.NOT_READ, Telling.NOT_POSTED)
        await until(lambda: a.takeovers.waiting == bounds.waiting)
        await until(
            lambda: (
                sum(map(a.count, untold)) + a.count(Telling.TOLD_OTHERS) + a.takeovers.waiting
                == many
            )
        )
        assert a.count(Telling.TOLD_OTHERS) == bounds.alive
        await until(
            lambda: b.count(Telling.LEARNT) >= bounds.alive - 10
        )  # full buckets keep who ends later
        assert len(a.store.entries) <= bounds.alive  # batches
        assert a.has(f"{many - 1}") == "s2"  # its own memory has all that it has room for


async def test_the_newest_are_told_first(tmp_path: Path, prefix: str) -> None:
    """Where there is not room for all of them."""
    async with alone(tmp_path, prefix, Bounds(alive=100)) as (a, b):
        assert isinstance(a.store, ModelStore)
        a.store.cut_off()
        for number in range(300):
            a.moves(f"{number}", "s2")
        await until(lambda: a.takeovers.waiting >= 200)  # some are on their way, in vain
        a.store.away = ""
        await until(lambda: b.count(Telling.LEARNT) == 100)
        assert all(b.has(f"{number}") for number in range(200, 300))
        assert not any(b.has(f"{number}") for number in range(200))


async def test_rate_is_bounded(tmp_path: Path, prefix: str) -> None:
    """200 a second: a thousand take the time that they must."""
    async with alone(tmp_path, prefix, Bounds(a_second=200)) as (a, _):
        began = asyncio.get_running_loop().time()
        for number in range(300):
            a.moves(f"{number}", "s2")
        await until(lambda: a.count(Telling.TOLD_OTHERS) == 300)
        # The last batch is not waited for.
        assert asyncio.get_running_loop().time() - began >= (300 - 256) / 200
        a.moves("next", "s2")
        await until(lambda: a.count(Telling.TOLD_OTHERS) == 301)
        assert asyncio.get_running_loop().time() - began >= 300 / 200


async def test_clocks_that_differ_are_told(tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    """Once; what comes from an hour ahead holds two seconds longer, and no more."""
    async with alone(tmp_path, prefix, Bounds()) as (a, b):
        a.takeovers._clock.distance_ms += 3_600_000
        a.takeovers._clock.TOLERANCE_MS = 10**9
        a.moves("one", "s2")
        await until(lambda: b.has("one") == "s2")
        a.moves("two", "s2")
        await until(lambda: b.has("two") == "s2")
        assert b.table.find_session(CLUSTER, b"one", now_ms() + TAKEOVER_MS + 2500) == -1
    (line,) = [line for line in caplog.messages if "its clock is" in line]
    assert "3600 s ahead of this machine's" in line


async def test_no_memory_no_word(tmp_path: Path, prefix: str) -> None:
    """affinity.takeover_s = 0 there: it takes no other's word either."""
    names, store = Names(prefix.strip("/"), "g"), ModelStore()
    a = Proxy(tmp_path, "a", store, names, "s1", "s2")
    b = Proxy(tmp_path, "b", store, names, "s1", "s2")
    b.takeovers.take_plan(_forgetting(b.plan))
    for each in (a, b):
        each.begin()
    a.moves("one", "s2")
    await until(lambda: b.count(Telling.UNKNOWN_HERE) == 1)
    assert b.has("one") == ""
    for each in (a, b):
        await each.end()


def _forgetting(plan: Plan) -> Plan:
    return dataclasses.replace(plan, settings=Settings(affinity=AffinitySettings(takeover_s=0.0)))
