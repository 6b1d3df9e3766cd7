"""What a command that is refused does to an agent that was begun by ``start`` long ago: nothing."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.acceptance.test_pair import pid_of, until_log, until_state
from tests.support.pair_lab import VIP, PairLab, ip, needs_pair_lab, pair_lab, until

pytestmark = needs_pair_lab


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[PairLab]:
    async with pair_lab() as found:
        yield found


async def test_a_refused_command_ends_no_agent_that_waits_for_its_proxy(lab: PairLab) -> None:
    """A node with autostart has lost the address; somebody mistypes a command; the proxy comes back: it is secondary."""
    await lab.start_pair("--autostart")
    assert lab.one.proxy is not None
    os.kill(lab.one.proxy.get_pid(), signal.SIGKILL)
    await until(lambda: lab.two.holds() and not lab.one.holds(), "the address did not move")
    await until_log(lab.one, "primary -> stand-alone: the other node has taken the address")
    agent = pid_of(lab.one, "wsproxy-pair")
    code, said = await lab.one.run("failover")
    assert code == 1, said
    assert (await lab.two.status())["peer"] is not None, said
    assert pid_of(lab.one, "wsproxy-pair") == agent
    await lab.one.start_proxy()
    await until_state(lab.one, "secondary")


async def test_a_refused_stop_is_told_again_until_it_is_done(lab: PairLab) -> None:
    """The address is on this machine in other places, too: who says stop again must not hear that all is well while it is still there."""
    one = lab.one
    await one.done(*one.start_words(lab.two, "--primary"))
    for interface in ("lo", "eth1"):
        ip("-n", one.name, "link", "set", interface, "up")
        ip("-n", one.name, "addr", "add", f"{VIP}/32", "dev", interface)
    code, said = await one.run("stop")
    assert code == 1, said
    assert "is still on this machine" in said
    for interface in ("lo", "eth1"):  # nothing is removed by hand
        with contextlib.suppress(AssertionError):
            ip("-n", one.name, "addr", "add", f"{VIP}/32", "dev", interface)
    code, said = await one.run("stop")
    assert VIP not in ip("-n", one.name, "addr") or code == 1, said
