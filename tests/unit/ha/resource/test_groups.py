"""HA groups on a real etcd, with member processes and real programs: who runs what, whatever is killed, cut off or changed; never two at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.support.clan import Clan, One, clan
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.resources import Shared, lives, shared
from wsproxy.config.settings_groups import PolicySettings, ResourceSettings
from wsproxy.ha.resource.words import GroupState, Offer, attributes_of, encode_policies

pytestmark = needs_etcd


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return shared(tmp_path)


def offers(name: str) -> Callable[[GroupState], bool]:
    return lambda state: name in state.offers


async def running_at_a(group: Clan, resource: ResourceSettings) -> One:
    """And b would have it; a."""
    a = group.add("a", [resource])
    await group.until_running("a")
    group.add("b", [resource])
    await group.until(offers("b"))
    return a


def is_running(state: GroupState) -> bool:
    return any(each.phase == "running" for each in state.offers.values())


def one_of_n(**more: object) -> PolicySettings:
    return PolicySettings(name="one", type="One of N", **more)  # type: ignore[arg-type]


async def test_one_of_n_moves_at_a_stop(place: Shared, etcd: EtcdProcess) -> None:
    """Stop, release, take, start; nobody is told twice, and the disk is one member's."""
    resource = place.settings("daemon", "take", "status", "ports")
    async with clan(place, [etcd.url]) as group:
        a = group.add("a", [resource])
        await group.until_running("a")
        group.add("b", [resource])
        place.mode("a", "slow")
        await group.until(offers("b"))
        await a.stop()
        await group.until_running("b")
        assert place.said() == ["begin a", "end a", "begin b"]
        place.never_two()


async def test_a_word_of_its_own_that_comes_late_does_not_hold(
    place: Shared, etcd: EtcdProcess
) -> None:
    """A post that was done by the next server as well, behind a newer one: the member runs it, and the group would say for ever that it is not ready."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        group.add("a", [resource])
        await group.until_running("a")
        key = group.names.group("batch", "offers", "a")
        await group.put(key, msgspec.json.encode(Offer(attributes_of(resource))))
        await group.until_running("a")
        await group.delete(key)
        await group.until_running("a")
        assert place.said() == ["begin a"]


async def test_one_of_n_moves_at_a_kill_of_the_member(place: Shared, etcd: EtcdProcess) -> None:
    """Kill -9, and nobody starts another process: its keeper stops the program, then another member's begins."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        a = await running_at_a(group, resource)
        place.mode("a", "deaf")
        pid = place.pid("a")
        a.kill()
        await group.until_running("b")
        assert not lives(pid)
        place.never_two()


async def test_a_successor_waits_for_what_runs_on(place: Shared, etcd: EtcdProcess) -> None:
    """With a lease of a minute: the process that a supervisor starts ends the old lease only when nothing runs any more."""
    resource = place.settings("daemon", "take", "status")
    async with clan(place, [etcd.url], ttl_s=60, period_s=0.5) as group:
        a = await running_at_a(group, resource)
        place.mode("a", "slow")
        a.kill()
        a.start(is_again=True)
        await group.until(lambda _: place.said()[:2] == ["begin a", "end a"])
        await group.until(lambda state: len(state.places) == 1 and len(place.said()) == 3)
        place.never_two()


async def test_nobody_is_left_but_the_program(place: Shared, etcd: EtcdProcess) -> None:
    """
    Member, keeper and guard are killed at once: nobody stops the program any more.

    The next process of this member finds it, kills it and releases its disk, and only then lets the others know that the one before is gone.
    """
    resource = place.settings("daemon", "take", "ports")
    async with clan(place, [etcd.url], ttl_s=60, period_s=0.5) as group:
        a = await running_at_a(group, resource)
        place.mode("a", "deaf", "slow-release")
        pid = place.pid("a")
        a.kill_with_keepers(guards=True)
        assert lives(pid)
        a.start(is_again=True)
        await group.until(lambda _: len(place.said()) == 2)
        assert not lives(pid)
        place.never_two()
        assert "found running, and nobody kept it; killed" in a.log


async def test_a_guard_kills_where_nobody_comes(place: Shared, etcd: EtcdProcess) -> None:
    """Member and keeper are killed at once and no other process of the member is started: the program is killed all the same, before others begin."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        a = await running_at_a(group, resource)
        place.mode("a", "deaf")
        a.kill_with_keepers()
        await group.until_running("b")
        place.never_two()


async def test_one_of_n_moves_when_etcd_is_cut_off(place: Shared, etcd: EtcdProcess) -> None:
    """A silent cut: stopped before anybody else begins, though the program is deaf; healed, it is a candidate again."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        a = await running_at_a(group, resource)
        place.mode("a", "deaf")
        pid = place.pid("a")
        a.cut()
        await group.until_running("b")
        assert not lives(pid)
        place.never_two()
        place.mode("a")
        a.heal()
        await group.until(offers("a"))
        assert list((await group.until_running("b")).places) == ["b"]


async def test_a_member_that_hangs(place: Shared, etcd: EtcdProcess) -> None:
    """SIGSTOP of the member's process: the keeper stops the program by its own clock."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        a = await running_at_a(group, resource)
        a.signal(signal.SIGSTOP)
        await group.until_running("b")
        place.never_two()
        a.signal(signal.SIGCONT)
        await group.until(offers("a"))
        place.never_two()


async def test_preferred_and_failback(place: Shared, etcd: EtcdProcess) -> None:
    """The preferred one takes over when it comes, after the other one has stopped; without failback it waits."""
    resource = place.settings("daemon", "ports")
    keen = one_of_n(preferred=("b",), failback=True)
    async with clan(place, [etcd.url]) as group:
        group.add("a", [resource], [keen])
        await group.until_running("a")
        place.mode("a", "slow")
        b = group.add("b", [resource], [keen])
        await group.until_running("b")
        place.never_two()
        await b.stop()
        await group.until_running("a")
        lazy = msgspec.structs.replace(keen, failback=False)
        await group.put(group.names.policies, encode_policies([lazy]))
        b.start()
        await group.until(offers("b"))
        await group.until_running("a")
        place.never_two()


async def test_a_policy_is_changed_while_it_runs(place: Shared, etcd: EtcdProcess) -> None:
    """Preferred, No operation, activate, back: nobody is started again for it, and nobody runs twice."""
    resource = place.settings("daemon", "ports")
    async with clan(place, [etcd.url]) as group:
        for name in ("a", "b", "c"):
            group.add(name, [resource])
            await group.until(offers(name))
        await group.until_running("a")
        change = group.names.policies
        await group.put(change, encode_policies([one_of_n(preferred=("c",), failback=True)]))
        await group.until_running("c")
        await group.put(change, encode_policies([PolicySettings(name="p", type="No operation")]))
        await group.until_running()
        await group.put(group.names.group("batch", "activated", "b"), b"")
        await group.until_running("b")
        await group.put(change, encode_policies([PolicySettings(name="p", type="Static", preferred=("a",))]))  # fmt: skip
        await group.until_running("a")
        await group.put(group.names.group("batch", "moved"), b"b")
        await group.put(change, encode_policies([one_of_n()]))
        await group.until_running("b")
        place.never_two()


async def test_m_of_n(place: Shared, etcd: EtcdProcess, tmp_path: Path) -> None:
    """Two of three, each with a port and a lock of its own; down to one, the others have stopped before anybody else could begin."""
    folders = {name: tmp_path / name for name in "abc"}
    own = {}
    for name, folder in folders.items():
        folder.mkdir()
        own[name] = shared(folder)
    two = PolicySettings(name="two", type="M of N", count=2, preferred=("c",))
    async with clan(place, [etcd.url]) as group:
        for name in "abc":
            group.add(name, [own[name].settings("daemon", "ports")], [two])
            await group.until(offers(name))
        await group.until(lambda state: len(state.places) == 2)
        await group.until_running("a", "b")
        await group.members["a"].stop()
        await group.until_running("b", "c")
        one = PolicySettings(name="two", type="One of N", preferred=("b",), failback=True)
        await group.put(group.names.policies, encode_policies([one]))
        await group.until_running("b")
        everybody = PolicySettings(name="two", type="All active")
        await group.put(group.names.policies, encode_policies([everybody]))
        await group.until_running("b", "c")


async def test_a_policys_quorum(place: Shared, etcd: EtcdProcess) -> None:
    """Of three that could be there one is left: it stops, and begins when there are two."""
    resource = place.settings("daemon", "ports")
    careful = one_of_n(quorum=True, members=("a", "b", "c"))
    async with clan(place, [etcd.url]) as group:
        group.add("a", [resource], [careful])
        await group.until(offers("a"))
        b = group.add("b", [resource], [careful])
        await group.until(lambda state: len(state.places) == 1)
        await group.until_running("a")
        await b.stop()
        await group.until_running()
        b.start()
        await group.until_running("a")
        place.never_two()


async def test_without_etcds_majority_nobody_runs(place: Shared) -> None:
    """Two of three etcd are killed: what runs is stopped before its lease can end; it begins again with the majority."""
    resource = place.settings("daemon", "ports")
    with running_etcd(3, heartbeat_ms=50) as servers:
        async with clan(place, [each.url for each in servers], ttl_s=5, period_s=0.5) as group:
            group.add("a", [resource])
            group.add("b", [resource])
            await group.until(lambda state: len(state.offers) == 2 and len(state.places) == 1)
            (name,) = (await group.until(is_running)).places  # fmt: skip
            running = place.pid(name)
            for each in servers[1:]:
                each.end()
            # Not what its stop says: on a busy machine there may be no time for that before the lease ends, and it is killed.
            async with asyncio.timeout(60):
                while lives(running):  # noqa: ASYNC110  # another process reaps it
                    await asyncio.sleep(0.05)
            for each in servers[1:]:
                each.launch()
            for each in servers[1:]:
                await asyncio.to_thread(each.wait)
            await group.until(is_running)  # fmt: skip
            place.never_two()


async def test_a_start_that_fails_is_anothers(place: Shared, etcd: EtcdProcess) -> None:
    """After two failures the next member is chosen; when that one leaves nobody is, until an operator has cleared it."""
    resource = place.settings("daemon", "ports", retry_s=3600.0)
    async with clan(place, [etcd.url]) as group:
        place.mode("a", "fail")
        group.add("a", [resource])
        await group.until(lambda state: "a" in state.offers and state.offers["a"].given_up)
        b = group.add("b", [resource])
        state = await group.until_running("b")
        assert "no such database" in state.offers["a"].why
        await b.stop()
        await group.until_running()
        place.mode("a")
        await group.put(group.names.group("batch", "cleared"), b"")
        await group.until_running("a")
        place.never_two()


async def test_a_stop_that_is_late_is_207_for_everybody(place: Shared, etcd: EtcdProcess) -> None:
    """Killed; the next one begins behind it, and etcd says the code."""
    resource = place.settings("daemon", "ports", stop_s=0.5)
    async with clan(place, [etcd.url], ttl_s=30) as group:  # no lease ends here, however slow it is
        group.add("a", [resource])
        await group.until_running("a")
        group.add("b", [resource])
        await group.until(offers("b"))
        place.mode("a", "deaf")
        await group.put(group.names.group("batch", "moved"), b"b")
        await group.until_running("b")
        # Its own word comes by another way than the end of its place.
        await group.until(lambda state: "a" in state.offers and state.offers["a"].code == 207)
        assert "code 207" in group.members["a"].log
        place.never_two()


async def test_two_policies_that_match_equally(place: Shared, etcd: EtcdProcess) -> None:
    """Nobody runs, and the log says which two."""
    resource = place.settings("daemon", group={"type": "batch"})
    clash = [PolicySettings(name=name, match={"type": "batch"}) for name in ("one", "two")]
    async with clan(place, [etcd.url]) as group:
        a = group.add("a", [resource], clash)
        await group.until(lambda _: "found policies one and two" in a.log)
        assert not (await group.state()).places
        await group.put(group.names.policies, encode_policies(clash[:1]))
        await group.until_running("a")
