"""A member on a machine with an etcd that is cut off from the two others: its etcd still answers it for a while, and must not be believed."""

from __future__ import annotations

import pytest

from tests.support.etcd import leader_of
from tests.support.etcd_lab import etcd_machines, needs_etcd_lab
from tests.support.members import crew
from wsproxy.ha.names import Names
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd_lab


@pytest.mark.parametrize("is_leader", [True, False], ids=["leader", "follower"])
async def test_who_is_cut_off_with_its_etcd_stops_before_the_next_one_begins(
    prefix: str, is_leader: bool
) -> None:
    """HA.md 2.3: a leader that is cut off answers heartbeats until it steps down, and the new one gives each lease a whole ttl more."""
    names = Names(f"cell{prefix.strip('/')}", "DefaultCoreGroup")
    with etcd_machines() as machines:
        leader = await leader_of(machines)
        alone = leader if is_leader else next(each for each in machines if each is not leader)
        urls = [each.url for each in machines if each is not alone]
        async with crew(names, ttl_s=3, period_s=0.6) as group:
            group.add("a", EtcdStore(Gateway([alone.url], try_s=0.3)))
            await group.until_coordinator("a")
            group.add("b", EtcdStore(Gateway(urls, try_s=0.3)))
            await group.until_view("a", "b")
            for _ in range(2):
                alone.cut()
                await group.until_coordinator("b")
                await group.until_view("b")
                assert sorted(group.members["a"].membership.view.names) == [
                    "a",
                    "b",
                ]  # the last that it knows
                alone.heal()
                await group.until_coordinator("a")
                await group.until_view("a", "b")
            group.never_two()
            assert len(group.notes) >= 8
