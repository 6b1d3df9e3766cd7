"""Twenty faults in a row, by chance: the program's own lock and port say that it never ran twice, and after each fault somebody runs it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

from tests.support.clan import Clan, One, clan
from tests.support.etcd import EtcdProcess, needs_etcd
from tests.support.resources import shared
from wsproxy.config.settings_groups import PolicySettings
from wsproxy.ha.resource.words import encode_policies

pytestmark = needs_etcd

FAULTS = 20
KINDS = ("kill", "stop", "cut", "hang", "keeper", "program", "both", "move", "policy", "deaf")


async def until_somebody(group: Clan) -> str:
    state = await group.until(
        lambda state: (
            len(state.places) == 1
            and state.offers.get(*state.places) is not None
            and state.offers[next(iter(state.places))].phase == "running"
        )
    )
    return next(iter(state.places))


async def fault(kind: str, group: Clan, one: One, chance: random.Random) -> None:
    """And its end, where it is not one by itself."""
    place = group.place
    assert one.process is not None
    match kind:
        case "kill":
            one.kill()
            await asyncio.sleep(chance.uniform(0, 2 * group.ttl_s))
            one.start(is_again=chance.random() < 0.5)
        case "stop":
            await one.stop()
            one.start()
        case "cut":
            one.cut()
            await asyncio.sleep(chance.uniform(0, 2 * group.ttl_s))
            one.heal()
        case "hang":
            one.signal(signal.SIGSTOP)
            await asyncio.sleep(chance.uniform(0, 2 * group.ttl_s))
            one.signal(signal.SIGCONT)
        case "keeper":
            for each in one.keepers:
                os.kill(each, signal.SIGKILL)
        case "both":  # until a supervisor has started another process
            one.kill_with_keepers()
            one.start(is_again=True)
        case "program":
            with contextlib.suppress(OSError, ValueError):
                os.kill(place.pid(one.name), signal.SIGKILL)
        case "deaf":
            place.mode(one.name, "deaf")
            one.cut()
            await asyncio.sleep(1.5 * group.ttl_s)
            one.heal()
            place.mode(one.name)
        case "move":
            await group.put(group.names.group("batch", "moved"), chance.choice("abc").encode())
        case _:
            kinds = (
                PolicySettings(name="p", preferred=(chance.choice("abc"),), failback=True),
                PolicySettings(name="p", type="M of N", count=1),
                PolicySettings(name="p"),
            )
            await group.put(group.names.policies, encode_policies([chance.choice(kinds)]))


async def test_twenty_faults(tmp_path: Path, etcd: EtcdProcess) -> None:
    """Each at the member that runs it, or at another one; one after the other as fast as they are got over."""
    seed = int(os.environ.get("WSPROXY_FAULTS_SEED", time.time_ns() % 1_000_000))
    print(f"WSPROXY_FAULTS_SEED={seed}")
    chance = random.Random(seed)
    place = shared(tmp_path)
    resource = place.settings("daemon", "take", "status", "ports", status_s=5.0, retry_s=2.0)
    async with clan(place, [etcd.url], ttl_s=4) as group:
        for name in "abc":
            group.add(name, [resource])
        kinds = [*KINDS, *KINDS]
        chance.shuffle(kinds)
        for number, kind in enumerate(kinds[:FAULTS]):
            holder = await until_somebody(group)
            name = holder if chance.random() < 0.75 else chance.choice("abc")
            print(f"{time.monotonic():.3f} {number} {kind} at {name}; {holder} runs it")
            await fault(kind, group, group.members[name], chance)
            place.never_two()
        await until_somebody(group)
        place.never_two()
