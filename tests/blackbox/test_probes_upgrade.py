"""Active probes over ``wsproxy upgrade``: what they have said holds, nobody flaps, and no request notices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox.test_probes import BAD, PROBE, PROBER, Health, served_by
from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import OriginConnection
from tests.support.process import WAIT_S
from tests.support.proxy import lane
from tests.support.upgrading import Load, Upgrading, upgrading

SLOW_START_S = 600


class Silent:
    """A health page that never says anything until it is told to; requests would be served."""

    def __init__(self) -> None:
        self.health = Health()
        self.may_answer = asyncio.Event()
        self.probes = 0

    async def __call__(self, connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            if message.startswith(b"GET /health"):
                self.probes += 1
                await self.may_answer.wait()
                await connection.send(self.health.answer)
                return
            self.health.served += 1
            await connection.send(self.health.page)


async def changes(made: Upgrading, since: int = 0) -> list[dict[str, Any]]:
    _, answer = await made.ask("GET", f"/v1/changes?since={since}")
    return list(answer["changes"])


async def rows(made: Upgrading) -> dict[str, dict[str, Any]]:
    _, answer = await made.ask("GET", "/v1/servers")
    return {row["server"]: row for row in answer["servers"]}


async def becomes(made: Upgrading, server: str, state: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await rows(made))[server]["state"] != state:  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.02)


async def more_probes(health: Health, count: int = 6) -> None:
    until = health.probes + count
    async with asyncio.timeout(WAIT_S):
        while health.probes < until:  # noqa: ASYNC110  # a server counts them
            await asyncio.sleep(0.02)


async def test_marks_of_probes_hold_and_nobody_flaps(tmp_path: Path) -> None:
    """
    Two upgrades under load, one server ill: it stays down and the others up, in each look and in every change that is kept.

    RetryInterval is short, so that only what probes say keeps it down; and its mark is told once in http_plugin.log, not by each program.
    """
    farm = lane("farm", 3, attributes='RetryInterval="1"')
    ill, *well = Health(BAD), Health(), Health()
    log = tmp_path / "http_plugin.log"
    more = f'[[probe.cluster]]\nname = "farm"\nslow_start_s = {SLOW_START_S}\n'
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, ill, *well)
        made = await stack.enter_async_context(
            upgrading(
                tmp_path, [farm], settings=f'{PROBE}{more}[log]\nmost_a_second = 10_000\nplugin = "{log}"\n'
            )
        )  # fmt: skip
        made.proxy.expected += ["is out of service"]
        await becomes(made, "s0", "down")
        await lines_with(log, "Marking s0 down")
        last = (await changes(made))[-1]["number"]
        served = ill.served
        load = Load(partial(Client.connect, made.proxy.port), "/farm/x")
        async with load.running():
            for _ in range(2):
                old = await made.upgrade()
                await made.gone(old)
                await load.progress()
                for each in (ill, *well):  # by the new program's prober
                    await more_probes(each)
                states = {name: row["state"] for name, row in (await rows(made)).items()}
                assert states == {"s0": "down", "s1": "up", "s2": "up"}
        assert load.failed == []
        assert ill.served == served
        assert {each["kind"] for each in await changes(made, last)} <= {"still_down"}
        text = log.read_text()
        assert text.count("Marking s0 down") == 1
        # Slow start of one that comes back goes on where the program before was at.
        ill.answer = well[0].answer
        await becomes(made, "s0", "up")
        before = (await rows(made))["s0"]
        assert before["weight_now"] < before["weight"]
        left_s = before["full_weight_in_s"]
        await made.upgrade()
        after = (await rows(made))["s0"]
        assert 0 < after["full_weight_in_s"] <= left_s
        assert after["weight_now"] < after["weight"]
        [up] = [each for each in await changes(made, last) if each["kind"] == "up"]
        assert (up["server"], up["worker"]) == ("s0", PROBER)


@pytest.mark.parametrize("initial", ["down", "until_probed"])
async def test_only_new_servers_await_a_probe(tmp_path: Path, initial: str) -> None:
    """Of an upgrade that brings another server: those that were there serve on, in every moment; the new one gets nothing before its first probe."""
    farm = lane("farm", 2)
    new, health = Silent(), Health()
    patient = PROBE.replace("timeout_s = 0.5", "timeout_s = 60")
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, health, new)
        both = farm.members
        farm.members = both[:1]
        made = await stack.enter_async_context(
            upgrading(
                tmp_path, [farm], settings=f'{patient}initial = "{initial}"\n[reload]\nwatch = "off"\n'
            )
        )  # fmt: skip
        await becomes(made, "s0", "up")
        last = (await changes(made))[-1]["number"]
        farm.members = both
        (tmp_path / "plugin-cfg.xml").write_text(f"<Config>{farm.xml()}</Config>")
        load = Load(partial(Client.connect, made.proxy.port), "/farm/x")
        async with load.running():
            await made.upgrade()
            async with asyncio.timeout(WAIT_S):
                while not new.probes:  # noqa: ASYNC110  # a server counts them
                    await asyncio.sleep(0.02)
            await load.progress()
            assert (await rows(made))["s1"]["state"] == "down"
            # Once more, while it is awaited: that it is no new server to this program must not bring it in.
            await made.upgrade()
            await load.progress()
            assert (await rows(made))["s1"]["state"] == "down"
            assert new.health.served == 0
            new.may_answer.set()
            await becomes(made, "s1", "up")
            await load.progress()
        assert load.failed == []
        assert {
            each["kind"] for each in await changes(made, last) if each["server"] == "s0"
        } == set()
        for _ in range(4):
            assert (await ask(made.proxy.port, get("/farm/x"))).status == 200
        assert new.health.served
