"""Members on a real etcd: views that everybody sees alike, a coordinator that is never two, whatever dies, is cut off or hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial

import pytest

from tests.support.etcd import EtcdProcess, Relay, leader_of, needs_etcd, running_etcd
from tests.support.members import Crew, crew
from tests.support.model_store import ModelStore
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Store
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd


@pytest.fixture
def names(prefix: str) -> Names:
    return Names(f"cell{prefix.strip('/')}", "DefaultCoreGroup")


@pytest.fixture
def store(etcd: EtcdProcess) -> Callable[[], EtcdStore]:
    """One for each member."""
    return lambda: EtcdStore(Gateway([etcd.url], try_s=5.0))


def sequence(crew: Crew, name: str) -> list[tuple[int, tuple[str, ...]]]:
    return [(view.id, view.names) for view in crew.members[name].views]


async def test_views_are_the_same_for_everybody(
    names: Names, store: Callable[[], EtcdStore]
) -> None:
    """Ids, order and content, from each one's first view on, while all come and go at once."""
    async with crew(names, ttl_s=60) as group:
        for name in ("a", "b", "c"):
            group.add(name, store())
        await group.until_view("a", "b", "c")
        group.add("d", store())
        await group.until_view("a", "b", "c", "d")
        await group.members["b"].leave()
        await group.until_view("a", "c", "d")
        whole = {}
        for name in ("a", "c", "d"):
            whole[name] = dict(sequence(group, name))
        for name in ("a", "c", "d"):
            for other in ("a", "c", "d"):
                first = max(min(whole[name]), min(whole[other]))
                mine = [each for each in sequence(group, name) if each[0] >= first]
                theirs = [each for each in sequence(group, other) if each[0] >= first]
                assert mine == theirs
        orders = {each.membership.view.names for each in group.members.values() if each.name != "b"}
        assert len(orders) == 1


async def test_a_number_is_for_good(names: Names, store: Callable[[], EtcdStore]) -> None:
    """Who comes back has its number; the lowest one coordinates."""
    async with crew(names, ttl_s=60) as group:
        a = group.add("a", store())
        await group.until_coordinator("a")
        b = group.add("b", store())
        await group.until_view("a", "b")
        assert (a.membership.id, b.membership.id) == (1, 2)
        await a.leave()
        await group.until_coordinator("b")
        back = group.add("a", store())
        await group.until_coordinator("a")
        assert back.membership.id == 1
        group.never_two()


async def test_the_preferred_one_coordinates(names: Names, store: Callable[[], EtcdStore]) -> None:
    """It takes over when it joins, after the other one has stopped."""
    async with crew(names, ttl_s=60, preferred=("c", "b")) as group:
        group.add("a", store())
        await group.until_coordinator("a")
        group.add("b", store())
        await group.until_coordinator("b")
        group.add("c", store())
        await group.until_coordinator("c")
        await group.members["c"].leave()
        await group.until_coordinator("b")
        group.never_two()


async def test_a_name_is_one_members(
    names: Names, store: Callable[[], EtcdStore], caplog: pytest.LogCaptureFixture
) -> None:
    """The second one is told who has it, and joins when that one has left."""
    async with crew(names, ttl_s=60) as group:
        first = group.add("a", store())
        await group.until_coordinator("a")
        second = Crew(names, ttl_s=60)
        twin = second.add("a", store())
        first_lease = first.membership.lease
        await poll(lambda: "has a member a already (host, pid 1)" in caplog.text)
        assert twin.membership.lease == 0
        assert first.membership.lease == first_lease
        await first.leave()
        await second.until_coordinator("a")
        await twin.leave()
        await twin.store.close()


async def test_a_process_started_again_does_not_wait(
    names: Names, store: Callable[[], EtcdStore]
) -> None:
    """Its supervisor says by the instance that the one before has ended: it leaves at once, with a lease of an hour."""
    async with crew(names, ttl_s=3600) as group:
        group.add("b", store())
        await group.until_coordinator("b")
        first = group.add("a", store(), instance="one")
        await group.until_view("a", "b")
        first.vanish()
        again = group.add("a", store(), instance="one")
        await group.until(lambda: bool(again.membership.lease))
        await group.until_view("a", "b")
        await group.until(lambda: again.membership.joined == group.members["b"].membership.view.by_name["a"].joined)  # fmt: skip


async def test_who_vanishes_is_out_after_its_lease(
    names: Names, store: Callable[[], EtcdStore]
) -> None:
    """And its seat is another one's."""
    async with crew(names, ttl_s=2) as group:
        a = group.add("a", store())
        await group.until_coordinator("a")
        group.add("b", store())
        await group.until_view("a", "b")
        a.vanish()
        await group.until_view("b")
        await group.until(lambda: bool(group.members["b"].work.token))


async def test_who_is_cut_off_stops_before_the_next_one_begins(
    names: Names, etcd: EtcdProcess, store: Callable[[], EtcdStore]
) -> None:
    """A silent cut, five times: the holder stops by its own clock, then the other one begins, and both go on when it is healed."""
    async with crew(names, ttl_s=1, period_s=0.2) as group:
        relay = Relay(int(etcd.url.rpartition(":")[2]))
        gateway = Gateway([f"http://127.0.0.1:{relay.port}"], try_s=0.3)
        group.add("a", EtcdStore(gateway))
        await group.until_coordinator("a")
        group.add("b", store())
        await group.until_view("a", "b")
        for _ in range(3):
            relay.cut()
            await group.until_coordinator("b")
            relay.heal()
            await group.until_coordinator("a")
            await group.until_view("a", "b")
        group.never_two()
        assert len(group.notes) >= 12
        await group.members["a"].leave()
        relay.close()


@pytest.mark.parametrize(
    ("is_leader", "end"),
    [(True, signal.SIGKILL), (True, signal.SIGTERM), (False, signal.SIGKILL)],
    ids=["leader killed", "leader stopped", "follower killed"],
)
async def test_an_etcd_that_dies_puts_nobody_out(
    names: Names, is_leader: bool, end: signal.Signals
) -> None:
    """With the settings that docs/high-availability.md names, and a ttl that leaves a busy machine its time."""
    with running_etcd(3, heartbeat_ms=50) as servers:
        urls = [each.url for each in servers]
        async with crew(names, ttl_s=10, period_s=0.5) as group:
            for at, name in enumerate(("a", "b", "c")):
                group.add(name, EtcdStore(Gateway(urls[at:] + urls[:at], try_s=1.0)))
            await group.until_view("a", "b", "c")
            views = {name: len(group.members[name].views) for name in "abc"}
            beats = {name: group.members[name].membership.last_heartbeat for name in "abc"}
            leader = await leader_of(servers)
            (leader if is_leader else next(each for each in servers if each is not leader)).signal(
                end
            )
            for name in "abc":
                member = group.members[name].membership
                await poll(partial(lambda member, before: member.last_heartbeat != before, member, beats[name]))  # fmt: skip
            assert {name: len(group.members[name].views) for name in "abc"} == views
            group.never_two()


async def test_without_a_majority_nobody_holds_anything(names: Names) -> None:
    """No lease ends meanwhile: each one's own clock is the only fence. With a majority again all is as before."""
    with running_etcd(3, heartbeat_ms=50) as servers:
        urls = [each.url for each in servers]
        async with crew(names, ttl_s=2, period_s=0.4) as group:
            group.add("a", EtcdStore(Gateway(urls, try_s=0.5)))
            await group.until_coordinator("a")
            group.add("b", EtcdStore(Gateway(urls, try_s=0.5)))
            await group.until_view("a", "b")
            for each in servers[:2]:
                each.signal(signal.SIGSTOP)
            await group.until(lambda: group.coordinators == [])
            await group.until(lambda: all(each.membership.is_away for each in group.members.values()))  # fmt: skip
            assert all(sorted(each.membership.view.names) == ["a", "b"] for each in group.members.values())  # fmt: skip
            for each in servers[:2]:
                each.signal(signal.SIGCONT)
            await group.until_coordinator("a")
            await group.until_view("a", "b")
            group.never_two()


async def test_changes_that_were_missed_are_read_again(names: Names) -> None:
    """The store forgot them while this member did not listen: it says its word, and all have the same view again."""
    store = ModelStore()
    async with crew(names, ttl_s=3600, period_s=0.05) as group:
        a, b = group.add("a", store), group.add("b", store)
        await group.until_view("a", "b")
        c = group.add("c", store)
        await group.until_view("a", "b", "c")
        store.cut_off()
        await group.until(lambda: a.membership.is_away and b.membership.is_away)
        store.away = ""
        store.expire(c.membership.lease)
        c.vanish()
        store.compact()
        await group.until_view("a", "b", seen_by=["a", "b"])
        await group.until(lambda: a.membership.view.id == b.membership.view.id)
        assert a.membership.view.members == b.membership.view.members


async def poll(what: Callable[[], bool]) -> None:
    """For what tells nobody: a line of the log, the answer to a heartbeat."""
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_answers_that_are_lost(names: Names, when: str) -> None:
    """Of whatever is being asked when the store is cut off: afterwards there is one member, one holder, and nothing left behind."""
    for cut in range(12):
        store: Store = CutStore(cut, when)
        async with crew(names, ttl_s=3600, period_s=0.02) as group:
            group.add("a", store)
            await group.until_coordinator("a")
            await group.until_view("a")
            group.never_two()


class CutStore(ModelStore):
    """The call with this number fails, once: before anything is done, or with its answer lost."""

    def __init__(self, cut: int, when: str) -> None:
        super().__init__()
        self._cut, self._when, self._calls = cut, when, 0

    def _meet(self, when: str) -> None:
        if when == "before":
            self._calls += 1
        self.away = self._when if self._calls - 1 == self._cut and when == self._when else ""  # type: ignore[assignment]
        super()._meet(when)  # type: ignore[arg-type]
        self.away = ""
