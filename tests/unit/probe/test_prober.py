"""The prober at work: when it asks whom, and how it takes over another configuration."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bed import config_of, server
from tests.support.process import WAIT_S
from wsproxy._fast.decide.balance import Verdict
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.config.settings import Settings
from wsproxy.config.settings_probe import ProbeSettings, hold_ms
from wsproxy.dataplane.parcel import pack
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.dataplane.post import pair, send_parcel
from wsproxy.dataplane.tasks import end_all, spawn
from wsproxy.probe.ask import Finding
from wsproxy.probe.prober import Prober, note, read_targets
from wsproxy.probe.targets import begin_probes

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Farm:
    """A server that counts what it is asked, by path; while ``is_ill`` it answers 503."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.open = self.most_open = 0
        self.is_ill = False
        self.ill_path = ""
        self.holds = asyncio.Event()
        self.holds.set()
        self.changed = asyncio.Condition()
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            async with self.changed:
                path = head.split(b" ")[1].decode()
                self.asked[path] += 1
                self.changed.notify_all()
            await self.holds.wait()
            is_ill = self.is_ill or path == self.ill_path
            writer.write(OK.replace(b"200 OK", b"503 No") if is_ill else OK)
            self.open -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Farm]:
        listening = await asyncio.start_server(self, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        async with listening:
            yield self

    async def until(self, path: str, count: int) -> None:
        async with self.changed, asyncio.timeout(WAIT_S):
            await self.changed.wait_for(lambda: self.asked[path] >= count)


def plan_of(
    state: SharedState, port: int, *, servers: int = 1, generation: int = 1, **probe: Any
) -> Plan:
    config = config_of(*(server(f"s{n}", port) for n in range(servers)))
    settings = Settings(probe=ProbeSettings(**{"type": "http", "interval_s": 0.05, **probe}))
    plan = replace(build_plan(config, settings, state), generation=generation)
    plan.apply()
    begin_probes(plan)
    return plan


@asynccontextmanager
async def probing(plan: Plan, **options: Any) -> AsyncIterator[Prober]:
    prober = Prober(plan, read_targets(plan), **options)
    spawn(prober.probe_all(), "probes")
    try:
        yield prober
    finally:
        await end_all()


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  # shared memory tells nobody
            await asyncio.sleep(0.005)


async def test_each_server_is_asked_again_and_again() -> None:
    state = SharedState(64, 4)
    async with Farm().run() as farm:
        plan = plan_of(state, farm.port, fall=2, rise=2)
        cluster = plan.clusters[0]
        assert cluster is not None
        async with probing(plan):
            await farm.until("/", 3)
            farm.is_ill = True
            await until(lambda: cluster.judge_server(0, now_ms()) == Verdict.DOWN)
            farm.is_ill = False
            await until(lambda: cluster.judge_server(0, now_ms()) == Verdict.USABLE)
    kinds = [change.kind for change in state.changes()]
    assert [each for each in kinds if each in (ChangeKind.MARKED_DOWN, ChangeKind.UP)] == [
        ChangeKind.MARKED_DOWN,
        ChangeKind.UP,
    ]
    assert kinds[0] is ChangeKind.PROBE_FAILED


async def test_so_many_at_once_and_one_a_server() -> None:
    async with Farm().run() as farm:
        farm.holds.clear()
        async with probing(
            plan_of(SharedState(64, 4), farm.port, servers=9, timeout_s=30), most_at_once=4
        ):
            await farm.until("/", 4)
            await asyncio.sleep(0)
            assert farm.open == 4
            farm.holds.set()
            await farm.until("/", 30)
    assert farm.most_open == 4


async def test_another_configuration_comes_into_its_box() -> None:
    """Its settings hold from then on; who is gone is not asked any more; servers keep what was said of them."""
    state = SharedState(64, 4)
    ours, theirs = pair()
    async with Farm().run() as farm:
        async with probing(plan_of(state, farm.port, servers=2, path="/one")) as prober:
            prober.listen(theirs)
            await farm.until("/one", 4)
            for generation, servers, path in ((2, 1, "/two"), (3, 1, "/three")):
                fd = pack(
                    plan_of(state, farm.port, servers=servers, path=path, generation=generation)
                )
                send_parcel(ours, generation, fd)
                os.close(fd)
                await farm.until(path, 3)
            before = farm.asked["/one"] + farm.asked["/two"]
            await farm.until("/three", 6)
            assert farm.asked["/one"] + farm.asked["/two"] == before
            assert not prober.ended.is_set()
            fd = pack(plan_of(state, farm.port, type="off", generation=4))
            send_parcel(ours, 4, fd)
            os.close(fd)
            await asyncio.wait_for(prober.ended.wait(), WAIT_S)
        asyncio.get_running_loop().remove_reader(theirs)
    for end in (ours, theirs):
        end.close()
    assert not state.wants_prober


async def test_many_configurations_do_not_put_probes_off() -> None:
    """Each keeps its turn: with a new one all the time nobody would be asked ever."""
    state = SharedState(64, 4)
    async with Farm().run() as farm:
        plan = plan_of(state, farm.port, interval_s=0.5)
        async with probing(plan) as prober:
            while farm.asked["/"] < 2:
                await asyncio.sleep(0.01)
                prober.take(plan, read_targets(plan))


async def test_an_answer_to_what_is_asked_no_more_does_not_count() -> None:
    """It came for a page that the configuration had before, or of a server that is probed no more."""
    state = SharedState(64, 4)
    others: list[dict[str, Any]] = [{"path": "/other"}, {"type": "off"}]
    for probe in others:
        async with Farm().run() as farm:
            farm.ill_path = "/old"
            farm.holds.clear()
            old: dict[str, Any] = {"fall": 1, "timeout_s": 30, "path": "/old"}
            async with probing(plan_of(state, farm.port, **old)) as prober:
                await farm.until("/old", 1)
                plan = plan_of(state, farm.port, **{**old, **probe})
                prober.take(plan, read_targets(plan))
                farm.holds.set()
                if "path" in probe:
                    await farm.until("/other", 2)  # one at a time: the old one is over
                else:
                    await until(lambda: not prober.is_asking)
    assert state.changes() == []


async def test_new_servers_are_asked_at_once() -> None:
    """However long the interval is: requests wait for the answer."""
    state = SharedState(64, 4)
    async with Farm().run() as farm:
        plan = plan_of(state, farm.port, servers=3, interval_s=3600, initial="until_probed")
        cluster = plan.clusters[0]
        assert cluster is not None
        assert cluster.pick_server(0, now_ms()) == -1
        async with probing(plan):
            await until(lambda: [cluster.judge_server(n, now_ms()) for n in range(3)] == [0, 0, 0])
    assert farm.asked == {"/": 3}


async def test_what_happened_while_it_was_stopped_does_not_count() -> None:
    """A probe that took longer than any may: nobody watched the clock."""
    state = SharedState(64, 4)
    async with Farm().run() as farm:
        farm.is_ill = True
        async with probing(plan_of(state, farm.port, fall=1), own_fault_s=-10.0):
            await farm.until("/", 5)
    assert state.changes() == []


async def test_what_it_lacks_itself_is_no_failure_of_a_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without descriptors it would take all servers from everybody."""
    state = SharedState(64, 4)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Farm().run() as farm:
        plan = plan_of(state, farm.port, fall=1)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1])
        )
        filled = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    filled.append(os.dup(0))
            async with probing(plan):
                await until(lambda: "is not counted: Too many open files" in caplog.text)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in filled:
                os.close(fd)
    assert state.changes() == []


def test_the_log_tells_what_has_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    plan = plan_of(SharedState(64, 4), 9, path="/health?key=SECRET", fall=2, rise=1)
    [target] = read_targets(plan).values()
    for is_good in (False, False, False, True, True):
        note(target, Finding(is_good, "words"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "INFO",
            "probe of server s0 of cluster cluster failed: GET http://127.0.0.1:9/health: words",
        ),
        (
            "ERROR",
            "server s0 of cluster cluster is out of service: GET http://127.0.0.1:9/health: words",
        ),
        (
            "WARNING",
            "server s0 of cluster cluster is in service again: GET http://127.0.0.1:9/health: words",
        ),
    ]


def test_a_result_holds_for_two_probes_and_a_little() -> None:
    probe = ProbeSettings(type="http", interval_s=10, jitter=0.5, timeout_s=3)
    assert hold_ms(probe) == 1000 * (2 * (15 + 3) + 1)
