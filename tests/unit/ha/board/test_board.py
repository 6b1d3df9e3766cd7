"""Several proxies' slots and one board: what one learns all know; the store away, words that cross, other configurations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from tests.support.etcd import EtcdProcess
from tests.support.model_store import ModelStore
from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import AS_FILE, clear_mark, hold_server, said_of, set_numbers
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.ha.board.board import Board
from wsproxy.ha.board.rule import Word
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Put, Store, Told
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

SERVER = '<Server Name="{}" LoadBalanceWeight="2"><Transport Hostname="h" Port="1"/></Server>'


def plan_of(folder: Path, *servers: str, state: SharedState | None = None) -> Plan:
    file = folder / "plugin-cfg.xml"
    text = "".join(SERVER.format(name) for name in servers or ("s1", "s2"))
    more = (
        '<UriGroup Name="u"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="u"/>'
    )
    file.write_text(
        f'<Config><ServerCluster Name="farm" RetryInterval="60">{text}</ServerCluster>{more}</Config>'
    )
    plan = build_plan(load_config(file).config, Settings(), state or SharedState(256, 4))
    plan.apply()
    return plan


class Proxy:
    """Slots and a board, whose watch the test can stop."""

    def __init__(self, folder: Path, name: str, store: Store, names: Names, *servers: str) -> None:
        self.plan = plan_of(folder, *servers)
        self.store = store
        self.names = names
        self.board = Board(self.plan.state, self.plan, store, names, name)
        self.changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def cluster(self) -> Cluster:
        (_, _, cluster) = next(iter(self.plan.operated()))
        return cluster

    async def begin(self) -> None:
        snapshot = await self.store.read(self.names.root)
        self.board.read(snapshot.revision, snapshot.entries)
        self._tasks = [
            asyncio.ensure_future(work)
            for work in (self._follow(snapshot.revision), self.board.look_always(), self.board.post_always())
        ]  # fmt: skip

    async def _follow(self, after: int) -> None:
        async with contextlib.aclosing(self.store.watch(self.names.root, after)) as words:
            async for told in words:
                if isinstance(told, Told):
                    self.board.told(told)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # what it is like

    def fails(self, server: int = 0) -> None:
        self.cluster.set_down(server, 0, now_ms(), 111, b"connection refused")

    def is_down(self, server: int = 0) -> bool:
        return Verdict(self.cluster.judge_server(server, now_ms())) is Verdict.DOWN

    def hold(self, server: int = 0) -> Hold:
        return said_of(self.cluster, server).hold


class Group:
    """Two, or more."""

    def __init__(self, proxies: dict[str, Proxy]) -> None:
        self.proxies = proxies
        self.a, self.b = proxies["a"], proxies["b"]

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not what():  # noqa: ASYNC110  # slots tell nobody
                await asyncio.sleep(0.005)

    async def settle(self) -> None:
        """No word waits, and everybody has heard the last one."""
        boards = [each.board for each in self.proxies.values()]
        await self.until(lambda: not any(each.waiting for each in boards))
        entries = (await self.a.store.read(self.a.names.board)).entries
        last = max((entry.modified for entry in entries.values()), default=0)
        await self.until(
            lambda: all(
                max(known.revision for known in each._known.values()) >= last for each in boards
            )
        )


@pytest.fixture(params=["model", "etcd"])
async def group(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> AsyncIterator[Group]:
    names = Names(prefix.strip("/"), "g")
    model = ModelStore()
    stores: list[Store] = [model, model]
    if request.param == "etcd":
        etcd: EtcdProcess = request.getfixturevalue("etcd")
        stores = [EtcdStore(Gateway([etcd.url], try_s=10.0)) for _ in range(2)]
    proxies = {
        name: Proxy(tmp_path, name, store, names) for name, store in zip("ab", stores, strict=True)
    }
    for each in proxies.values():
        await each.begin()
    yield Group(proxies)
    for each in proxies.values():
        await each.end()
        await each.store.close()


async def test_a_mark_of_one_is_everybodys(group: Group) -> None:
    """With the evidence and whose it is; and when it answers one of them, it is up for all."""
    a, b = group.a, group.b
    a.fails()
    await group.until(b.is_down)
    change = b.cluster.why_down(0)
    assert change is not None
    assert (change.detail, change.error, change.worker) == ("a: connection refused", 111, -3)
    assert not b.is_down(1)
    b.cluster.set_up(0, 0)
    await group.until(lambda: not a.is_down())
    await group.settle()
    assert a.board.posted == 1
    assert b.board.posted == 1


async def test_a_drain_on_one_drains_on_all(group: Group) -> None:
    """By whom and why, until when; and a resume resumes on all."""
    a, b = group.a, group.b
    hold_server(a.cluster, 0, Hold.DRAIN, who=b"root (uid 0)", why=b"new kernel")
    await group.until(lambda: b.hold() == Hold.DRAIN)
    assert said_of(b.cluster, 0)[:4] == said_of(a.cluster, 0)[:4]
    hold_server(b.cluster, 0, Hold.NO_HOLD, who=b"root (uid 0)")
    await group.until(lambda: a.hold() == Hold.NO_HOLD)
    await group.settle()
    assert (a.board.posted, b.board.posted) == (1, 1)


@pytest.mark.parametrize(
    ("subject", "value"),
    [
        ("hold/farm/s1", {"hold": 99}),
        ("hold/farm/s1", {"hold": 1, "until_ms": 2**64}),
        ("hold/farm/s1", {"hold": 1, "at_ms": 2**70}),
        ("mark/farm/s1", {"is_down": True, "error": 2**40}),
        ("numbers/farm/s1", {"weight": 2**40}),
        ("numbers/farm/s1", {"weight": -1}),
        ("numbers/farm/s1", {"weight": 1, "limit": 2**31}),
        ("hold/farm/s1", {"number": 2**70, "origin": "x/y"}),
        ("hold/farm/s1", {"knows": [["x/y", 2**63]]}),
    ],
)
async def test_a_word_that_no_slot_has_room_for_says_nothing(
    group: Group, subject: str, value: dict[str, object]
) -> None:
    """It would end the process of every member, again and again; what is said after it is heard."""
    a, b = group.a, group.b
    word = msgspec.json.encode({"by": "evil", "at_ms": 1, "is_operator": True, **value})
    await a.store.put(Put(a.names.board + subject, word))
    hold_server(a.cluster, 0, Hold.DRAIN, who=b"op")
    set_numbers(a.cluster, 0, weight=5, who=b"op")
    await group.until(lambda: b.hold() == Hold.DRAIN and said_of(b.cluster, 0).weight == 5)
    await group.settle()
    assert not any(task.done() for each in (a, b) for task in each._tasks)


async def test_numbers_are_everybodys(group: Group) -> None:
    """A weight, and the file's again."""
    a, b = group.a, group.b
    set_numbers(a.cluster, 0, weight=7, who=b"op", why=b"hot")
    await group.until(lambda: said_of(b.cluster, 0).weight == 7)
    assert said_of(b.cluster, 0).numbers_who == "op"
    set_numbers(b.cluster, 0, weight=AS_FILE, who=b"op")
    await group.until(lambda: said_of(a.cluster, 0).weight is None)
    await group.settle()
    assert (a.board.posted, b.board.posted) == (1, 1)


async def test_an_operators_up_is_everybodys(group: Group) -> None:
    """And a server that fails again after it is down again."""
    a, b = group.a, group.b
    a.fails()
    await group.until(b.is_down)
    clear_mark(b.cluster, 0, who=b"op")
    await group.until(lambda: not a.is_down())
    a.fails()
    await group.until(b.is_down)
    await group.settle()
    assert a.is_down()
    assert b.is_down()


async def test_who_comes_later_knows_all(group: Group, tmp_path: Path) -> None:
    """Its slots say nothing: it takes what the group knows, and says nothing itself."""
    a = group.a
    a.fails(1)
    hold_server(a.cluster, 0, Hold.TAKEN_DOWN, who=b"op")
    await group.until(lambda: group.b.hold() == Hold.TAKEN_DOWN and group.b.is_down(1))
    late = Proxy(tmp_path, "c", a.store, a.names)
    await late.begin()
    assert (late.hold(), late.is_down(1), late.board.posted) == (Hold.TAKEN_DOWN, True, 0)
    await late.end()


async def test_a_started_process_knows_what_ended(group: Group) -> None:
    """The ha process of b was away while its operator resumed: the group hears of it, and does not drain again."""
    a, b = group.a, group.b
    hold_server(a.cluster, 0, Hold.DRAIN, who=b"op")
    await group.until(lambda: b.hold() == Hold.DRAIN)
    await b.end()
    hold_server(b.cluster, 0, Hold.NO_HOLD, who=b"op")
    b.board = Board(b.plan.state, b.plan, b.store, b.names, "b")
    await b.begin()
    await group.until(lambda: a.hold() == Hold.NO_HOLD)
    assert b.hold() == Hold.NO_HOLD


async def test_another_configuration(group: Group, tmp_path: Path) -> None:
    """A server that comes gets what the group knows of it; one that goes is forgotten here, not there."""
    a, b = group.a, group.b
    b.plan = plan_of(tmp_path, "s2", state=b.plan.state)
    b.board.take_plan(b.plan)
    hold_server(a.cluster, 0, Hold.DRAIN, who=b"op")
    hold_server(a.cluster, 1, Hold.TAKEN_DOWN, who=b"op")
    await group.until(lambda: b.hold() == Hold.TAKEN_DOWN)
    b.plan = plan_of(tmp_path, "s1", "s2", state=b.plan.state)
    b.board.take_plan(b.plan)
    assert [b.hold(0), b.hold(1)] == [Hold.DRAIN, Hold.TAKEN_DOWN]


async def test_a_word_of_another_site(group: Group) -> None:
    """Holds here as any, says whose it is, and whoever says something else says that it knew of it; without one nothing is added."""
    a, b, names = group.a, group.b, group.a.names
    theirs = Word("w", 5, is_operator=True, who="op", hold=1, origin="cell/west", number=70, knows=(("cell/north", 3),), via="cell/west")  # fmt: skip
    await a.store.put(Put(names.subject("hold", "farm", "s1"), msgspec.json.encode(theirs)))
    await group.until(lambda: (a.hold(), b.hold()) == (Hold.DRAIN, Hold.DRAIN))
    hold_server(b.cluster, 0, Hold.NO_HOLD, who=b"op")
    hold_server(b.cluster, 1, Hold.DRAIN, who=b"op")
    await group.until(lambda: a.hold() == Hold.NO_HOLD and a.hold(1) == Hold.DRAIN)
    await group.settle()
    entries = (await a.store.read(names.board)).entries
    said, plain = (
        msgspec.json.decode(entries[names.subject("hold", "farm", name)].value, type=Word)
        for name in ("s1", "s2")
    )
    assert (said.origin, said.knows) == ("", (("cell/north", 3), ("cell/west", 70)))
    assert (plain.number, plain.knows, plain.origin) == (0, (), "")


async def test_the_store_is_away(tmp_path: Path, prefix: str) -> None:
    """Each goes on with its own; afterwards an operator's word counts more than what was seen, and the newest word of the same rank."""
    names, store = Names(prefix.strip("/"), "g"), ModelStore()
    a, b = Proxy(tmp_path, "a", store, names), Proxy(tmp_path, "b", store, names)
    group = Group({"a": a, "b": b})
    for each in (a, b):
        await each.begin()
    a.fails()
    await group.until(b.is_down)
    await group.settle()
    store.cut_off()
    for each in (a, b):
        await each.end()
        each.board.away()
    clear_mark(b.cluster, 0, who=b"op")  # b's operator knows better
    hold_server(a.cluster, 1, Hold.DRAIN, who=b"first")
    hold_server(
        b.cluster, 1, Hold.TAKEN_DOWN, who=b"second", said_ms=said_of(a.cluster, 1).since_ms + 1
    )
    a.fails()
    assert [a.is_down(), b.is_down()] == [True, False]
    store.away = ""
    for each in (a, b):
        await each.begin()
        each.board.back()
    await group.until(lambda: not a.is_down() and a.hold(1) == Hold.TAKEN_DOWN)
    await group.settle()
    assert [b.is_down(), b.hold(1)] == [False, Hold.TAKEN_DOWN]
    for each in (a, b):
        await each.end()


async def test_many_at_once_and_again(tmp_path: Path, prefix: str) -> None:
    """More servers than a transaction has room for, coming and going faster than words are posted: in the end all agree."""
    names, store = Names(prefix.strip("/"), "g"), ModelStore()
    servers = [f"s{number}" for number in range(150)]
    a, b = (Proxy(tmp_path, name, store, names, *servers) for name in "ab")
    group = Group({"a": a, "b": b})
    for each in (a, b):
        await each.begin()
    for turn in range(5):
        for number in range(150):
            proxy = (a, b)[(turn + number) % 2]
            proxy.fails(number) if turn % 2 == 0 else proxy.cluster.set_up(number, 0)
        await asyncio.sleep(0)
    await group.settle()
    await group.until(lambda: [a.is_down(at) for at in range(150)] == [b.is_down(at) for at in range(150)])  # fmt: skip
    await group.settle()
    assert [a.is_down(at) for at in range(150)] == [b.is_down(at) for at in range(150)]
    assert a.board.posted + b.board.posted >= 150
    for each in (a, b):
        await each.end()


async def test_a_mark_whose_time_is_over_is_none(tmp_path: Path, prefix: str) -> None:
    """A proxy that starts an hour later tries the server as anybody does."""
    names, store = Names(prefix.strip("/"), "g"), ModelStore()
    a = Proxy(tmp_path, "a", store, names)
    await a.begin()
    a.cluster.set_down(0, 0, now_ms(), 0, b"x")
    await Group({"a": a, "b": a}).until(lambda: a.board.posted == 1)
    ((key, entry),) = (await store.read(names.board)).entries.items()
    old = entry.value.replace(b'"at_ms":1', b'"at_ms":-1')
    assert old != entry.value
    await store.swap([], [Put(key, old)])
    late = Proxy(tmp_path, "b", store, names)
    await late.begin()
    assert not late.is_down()
    await late.end()
    await a.end()
