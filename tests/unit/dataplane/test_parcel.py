"""A plan that travels: what comes out decides as what went in, on the slots that it brought."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from wsproxy._fast.state.segment import SharedState
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config, parse_config
from wsproxy.dataplane.parcel import pack, unpack, unpack_source
from wsproxy.dataplane.plan import Plan, compile_plan
from wsproxy.dataplane.post import pair, receive_parcel, send_parcel
from wsproxy.dataplane.steps import at_once, in_turns
from wsproxy.errors import ConfigRefusedError

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus"
XML = """<Config><VirtualHostGroup Name="h">{hosts}</VirtualHostGroup>
<ServerCluster Name="c"><Server Name="s1" CloneID="c1"><Transport Hostname="a" Port="1"/></Server>
<Server Name="s2"><Transport Hostname="b" Port="2"/></Server></ServerCluster><ServerCluster Name="none"/>
<UriGroup Name="u">{uris}</UriGroup><Route ServerCluster="gone" UriGroup="u"/>
<Route ServerCluster="c" UriGroup="u" VirtualHostGroup="h"/></Config>"""


def plan_of(text: str, state: SharedState | None = None) -> Plan:
    config = parse_config(text.encode(), "f").config
    return compile_plan(config, Settings(), state or SharedState(64, 16))


def some(count: int) -> str:
    return XML.format(
        hosts="".join(f'<VirtualHost Name="h{at}:80"/>' for at in range(count)),
        uris="".join(f'<Uri Name="/u{at}/*" AffinityCookie="C{at % 3}"/>' for at in range(count)),
    )


@pytest.fixture
def parcel() -> Iterator[list[int]]:
    """Descriptors that are closed in the end."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 350])
def test_what_comes_out_decides_as_what_went_in(parcel: list[int], count: int) -> None:
    state = SharedState(64, 16)
    plan = replace(plan_of(some(count), state), generation=7, digest="d")
    parcel.append(pack(plan))
    out = at_once(unpack(parcel[0], state))
    assert (out.generation, out.digest) == (7, "d")
    assert out.config == replace(plan.config, uri_groups=())
    assert out.routes.names == plan.routes.names
    for at in range(count + 1):
        asked = f"h{at}".encode(), 80, f"/u{at}/x".encode()
        assert out.routes.table.match_path(*asked) == plan.routes.table.match_path(*asked)
    assert [each and each.server_names for each in out.clusters] == [("s1", "s2"), None]


def test_servers_are_found_in_the_slots_that_came_along(parcel: list[int]) -> None:
    """The process that takes it up has never heard of them."""
    state = SharedState(64, 16, grows=True)
    plan_of(some(1).replace('"s1"', '"other"'), state)
    plan = plan_of(some(1), state)
    plan.apply()
    cluster = plan.clusters[0]
    assert cluster is not None
    cluster.take_server(0, 3, 1)
    parcel.append(pack(plan))
    state.take_index(({}, {}))
    out = at_once(unpack(parcel[0], state)).clusters[0]
    assert out is not None
    assert out.server_state(0)["inflight"] == 1


def test_it_can_be_gone_back_to(parcel: list[int]) -> None:
    plan = replace(plan_of(some(3)), generation=4)
    parcel.append(pack(plan))
    assert unpack_source(parcel[0]) == (4, plan.config, plan.settings)


@pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus of real files (../shared/corpus) is not on this machine"
)
def test_real_files_travel() -> None:
    found = 0
    for file in sorted(CORPUS.glob("*/*.xml")):
        try:
            config = load_config(file).config
        except ConfigRefusedError:
            continue
        state = SharedState()
        fd = pack(compile_plan(config, Settings(), state))
        try:
            assert at_once(unpack(fd, state)).config == replace(config, uri_groups=()), file
        finally:
            os.close(fd)
        found += 1
    assert found > 5


async def test_others_have_their_turn_meanwhile(parcel: list[int]) -> None:
    plan = plan_of(some(5000))
    parcel.append(pack(plan))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while not is_done:
            turns += 1
            await asyncio.sleep(0)

    is_done = False
    async with asyncio.TaskGroup() as group:
        group.create_task(count())
        await in_turns(unpack(parcel[0], plan.state))
        is_done = True
    assert turns > 1


def test_only_the_newest_is_taken_out_of_a_box(parcel: list[int]) -> None:
    ours, theirs = pair()
    with ours, theirs:
        assert receive_parcel(theirs) is None
        parcel.append(pack(plan_of(some(1))))
        before = len(os.listdir("/proc/self/fd"))
        for generation in (2, 3, 4):
            send_parcel(ours, generation, parcel[0])
        found = receive_parcel(theirs)
        assert found is not None
        assert found[0] == 4
        os.close(found[1])
        assert len(os.listdir("/proc/self/fd")) == before
        ours.close()
        with pytest.raises(EOFError):
            receive_parcel(theirs)
