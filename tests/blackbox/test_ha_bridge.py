"""Two sites, each with an etcd and proxies of its own: a drain goes over, a cut link heals, the member that has the bridge dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from tests.blackbox.test_ha import AWAY, OK, POOL, One, one
from tests.support.etcd import needs_etcd
from tests.support.origin import answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, lane
from tests.support.sites import Site, site
from wsproxy.cli.main import main

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_etcd]

EXPECTED = (*AWAY, "ha: bridge to")


@dataclass(slots=True)
class End:
    """One site: its etcd and its proxies."""

    site: Site
    proxies: dict[str, One] = field(default_factory=dict)

    def one(self) -> One:
        return next(iter(self.proxies.values()))

    async def holder(self, *, other_than: str = "") -> str:
        """The member that has the bridge."""
        async with asyncio.timeout(WAIT_S):
            while True:
                found = (await self.status())["resources"]
                [resource] = found.values()
                active = [name for name in resource["active"] if name != other_than]
                if active and resource["members"].get(active[0], {}).get("phase") == "running":
                    return str(active[0])
                await asyncio.sleep(0.05)

    async def status(self) -> dict[str, Any]:
        done = await self.command("status", "--json")
        return dict(json.loads(done)["group"]["core_group"])

    async def command(self, *words: str) -> str:
        folder = self.one().folder
        more = ["--settings", str(folder / "wsproxy.toml")]
        if words[0] == "status":
            more += ["--folder", str(folder / "pair")]
        return str(
            (await asyncio.to_thread(CliRunner().invoke, main, ["ha", *words, *more])).output
        )

    async def until(self, state: str) -> dict[str, Any]:
        """What status says of the bridge."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    found = (await self.status())["bridges"]
                    if found and (end := next(iter(found.values())))["state"] == state:
                        return dict(end)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(found) from None


@dataclass(slots=True)
class Sites:
    east: End
    west: End
    lanes: list[Lane]

    def cut(self) -> None:
        for each in (self.east, self.west):
            each.site.relay.cut()

    def heal(self) -> None:
        for each in (self.east, self.west):
            each.site.relay.heal()


def settings_of(name: str, here: Site, there: Site) -> str:
    bridge = there.as_seen()
    keys = "\n".join(f'{each} = "{getattr(here.keys, each)}"' for each in ("ca", "certificate", "key"))  # fmt: skip
    theirs = "\n".join(f'{each} = "{getattr(bridge, each)}"' for each in ("ca", "certificate", "key"))  # fmt: skip
    return (
        f'[admin]\nsocket = "admin.sock"\n[ha]\nstore = "etcd"\nendpoints = ["{here.etcd.url}"]\nname = "{name}"\n'
        f'core_group = "{here.name}"\nperiod_s = 0.5\nmissed = 6\n{keys}\n'
        f'[[ha.bridge]]\ncore_group = "{there.name}"\nendpoints = ["{there.link}"]\ncut_s = 2.0\nmarks_s = 2.0\n{theirs}\n'
        f'in = ["holds", "numbers", "marks:weak"]\nout = ["holds", "numbers", "marks:weak"]\n{POOL}'
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites() -> AsyncIterator[Sites]:
    lanes = [lane(name, 2, 'RetryInterval="3600"') for name in ("farm", "weak")]
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        east, west = (stack.enter_context(site(folder, name)) for name in ("east", "west"))
        sick, *well = [member for each in lanes[::-1] for member in each.members]
        sick.origin.refuse()
        for member in well:
            await stack.enter_async_context(
                member.origin.serving(answering(OK + member.name.encode()))
            )
        made = Sites(End(east), End(west), lanes)
        for end, other, names in ((made.east, west, "ab"), (made.west, east, "w")):
            for name in names:
                text = settings_of(name, end.site, other)
                end.proxies[name] = await stack.enter_async_context(
                    one(name, lanes, text, expected=EXPECTED)
                )
        for end in (made.east, made.west):
            await end.until("up")
        yield made
        made.heal()


async def test_a_drain_goes_over_and_back(sites: Sites) -> None:
    """With its operator; the site's other proxies hear it from their own etcd; a resume over there resumes here."""
    east, west = sites.east.proxies, sites.west.proxies
    await east["a"].run("drain", "farm/s0", "--reason", "new kernel")
    found = await west["w"].until("farm/s0", state="drained", why="new kernel")
    assert found["by"].endswith(f"(uid {os.getuid()})")
    assert await west["w"].served_by() == {"s1"}
    await west["w"].proxy.line("farm: drained by .*, as [ab] of wsproxy/east says")
    await west["w"].run("resume", "farm/s0")
    for each in east.values():
        await each.until("farm/s0", state="up")
    await west["w"].run("set", "farm/s1", "weight=0")
    for each in east.values():
        await each.until("farm/s1", weight=0)
    await east["b"].run("set", "farm/s1", "weight=file")
    await west["w"].until("farm/s1", weight=2)


async def test_a_mark_goes_over_where_it_was_chosen_and_ends(sites: Sites) -> None:
    """Of cluster weak it is; when the link is cut for longer than marks_s the mark ends over there, and comes back with the link."""
    east, west = sites.east.proxies["a"], sites.west.proxies["w"]
    assert await east.served_by(cluster="weak") == {"s1"}
    await east.until("weak/s0", state="down")
    found = await west.until("weak/s0", state="down")
    assert found["why"].startswith("a of wsproxy/east: ")
    sites.cut()
    await west.proxy.line("marks from there end here")
    await west.until("weak/s0", state="up")
    assert (await east.server("weak/s0"))["state"] == "down"
    sites.heal()
    await west.until("weak/s0", state="down")
    await east.run("up", "weak/s0")
    await west.until("weak/s0", state="up")
    for end in (sites.east, sites.west):
        await end.until("up")


async def test_the_link_is_cut_and_heals(sites: Sites) -> None:
    """One line at each, status says so, requests go on, and what was said meanwhile holds at both."""
    holder = sites.east.proxies[await sites.east.holder()]
    west = sites.west.proxies["w"]
    ends = (holder, west)
    starts = [len(each.proxy.lines) for each in ends]
    sites.cut()
    for each, start in zip(ends, starts, strict=True):
        await each.proxy.line(
            r"ha: bridge to wsproxy/(east|west): cut \(https://.*no answer", start
        )
        assert await each.served_by() == {"s0", "s1"}
    await sites.east.until("cut")
    text = await sites.east.command("status")
    assert "warning     the bridge to wsproxy/west is cut: https://127.0.0.1" in text
    await holder.run("drain", "farm/s0", "--reason", "in the east")
    await west.run("drain", "farm/s1", "--reason", "in the west")
    for each in sites.east.proxies.values():
        await each.until("farm/s0", state="drained")
        assert (await each.server("farm/s1"))["state"] == "up"
    sites.heal()
    for each in (*sites.east.proxies.values(), west):
        await each.until("farm/s0", state="drained", why="in the east")
        await each.until("farm/s1", state="drained", why="in the west")
    for each, start in zip(ends, starts, strict=True):
        await each.proxy.line(r"ha: bridge to .*: up, again after \d+ s", start)
        said = [line for line in each.proxy.lines[start:] if "ha: bridge to" in line and "marks from there end" not in line]  # fmt: skip
        assert len(said) == 2, said
    assert (await sites.east.until("up"))["behind"] == 0
    for name in ("farm/s0", "farm/s1"):
        await west.run("resume", name)
        for each in sites.east.proxies.values():
            await each.until(name, state="up")


async def test_the_member_that_has_the_bridge_hangs(sites: Sites) -> None:
    """The other one takes it over when its lease ends; what the first does when it goes on harms nobody."""
    first = await sites.east.holder()
    hanging = sites.east.proxies[first]
    start = len(hanging.proxy.lines)
    pid = hanging.ha
    os.kill(pid, signal.SIGSTOP)
    second = await sites.east.holder(other_than=first)
    west = sites.west.proxies["w"]
    await west.run("drain", "farm/s0", "--reason", "one hangs")
    await sites.east.proxies[second].until("farm/s0", state="drained", why="one hangs")
    os.kill(pid, signal.SIGCONT)
    await hanging.proxy.line("ha: bridge to wsproxy/west has ended here", start)
    await hanging.until("farm/s0", state="drained")
    await west.run("resume", "farm/s0")
    await hanging.until("farm/s0", state="up")


async def test_the_member_that_has_the_bridge_is_killed(sites: Sites) -> None:
    """The whole proxy, kill -9: another one takes it over, and words of both sites go over."""
    text = settings_of("c", sites.east.site, sites.west.site)
    west = sites.west.proxies["w"]
    with pytest.raises(AssertionError, match="exit code -9"):  # noqa: PT012
        async with one("c", [lane("farm"), lane("weak")], text, expected=EXPECTED) as c:
            await c.proxy.line(r"view size is 3")
            async with asyncio.timeout(WAIT_S):
                # It is in the view a moment before it has said what it offers.
                while "does not have resource" in (
                    said := await sites.east.command("move", "wsproxy.bridge.west", "c")
                ):
                    pass
            assert "runs at c" in said, said
            await c.proxy.line("ha: bridge to wsproxy/west: up")
            os.kill(c.proxy.pid, signal.SIGKILL)
            survivor = await sites.east.holder(other_than="c")
            await west.run("drain", "farm/s0", "--reason", "one is dead")
            await sites.east.proxies[survivor].until("farm/s0", state="drained", why="one is dead")
            await sites.east.proxies[survivor].run("resume", "farm/s0")
            await west.until("farm/s0", state="up")
