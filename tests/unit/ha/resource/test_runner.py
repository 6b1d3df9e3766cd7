"""One resource on one member, with real programs: begun, ended in order, watched, killed where it is late; and what is left of a keeper that was killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.resources import PROGRAM, Shared, lives, shared
from wsproxy.config.settings_groups import ResourceSettings
from wsproxy.dataplane.tasks import end_all
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.resource.messages import Identity
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.runner import Runner

LONG_S = 60.0
FAR_S = 3600.0
# An end comes before the right's; how long after it a test hears of it is a busy machine's matter.
HEARD_S = 3.0


@dataclass
class Bench:
    """One runner, and everything that its keeper has said."""

    place: Shared
    runner: Runner
    said: list[tuple[Phase, int, str, bool]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self) -> None:
        said = self.runner.said
        if said is not None:
            self.said.append((said.phase, said.code, said.why, said.given_up))
        self.changed.set()

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG_S):
            while not what():
                self.changed.clear()
                await self.changed.wait()

    async def until_phase(self, phase: Phase) -> None:
        await self.until(lambda: self.runner.said is not None and self.runner.said.phase is phase)

    @property
    def keeper(self) -> int:
        return self.runner._pid

    @property
    def code(self) -> int:
        assert self.runner.said is not None
        return self.runner.said.code

    @property
    def why(self) -> str:
        assert self.runner.said is not None
        return self.runner.said.why


@contextlib.asynccontextmanager
async def bench(
    place: Shared, settings: ResourceSettings, member: str = "a", until_s: float = FAR_S
) -> AsyncIterator[Bench]:
    identity = Identity(f"test/{place.folder}/{member}/{settings.name}", member)
    made: Bench
    runner = Runner(settings, identity, lambda: made.note())
    made = Bench(place, runner)
    runner.open()
    try:
        async with asyncio.timeout(LONG_S):
            await runner.until_ready()
        runner.right(boot_clock() + until_s)
        yield made
    finally:
        place.mode(member)
        runner.right(boot_clock() + FAR_S)
        async with asyncio.timeout(LONG_S):
            await runner.stop()
        await runner.close()
        await end_all()
        assert not lives(made.keeper)


def until_dead(pid: int) -> None:
    """It was killed; the kernel takes a moment for that."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [], LONG_S)
        os.close(descriptor)
    assert not lives(pid)


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return shared(tmp_path)


ALL = ("take", "status", "ports")


@pytest.mark.parametrize("words", [("daemon",), ("daemon", *ALL), ("status",), ("ports",), ALL])
async def test_begins_and_ends(place: Shared, words: tuple[str, ...]) -> None:
    """As a daemon or as its own start command, by its status, its port, or its return alone; and nothing is left."""
    async with bench(place, place.settings(*words)) as it:
        await it.runner.begin(7)
        await it.until_phase(Phase.RUNNING)
        pid = place.pid("a")
        assert lives(pid)
        await it.runner.stop()
        assert not lives(pid)
        assert it.code == 0
        assert place.said() == ["begin a", "end a"]
        assert not (place.folder / "taken").exists()


async def test_without_a_stop_command(place: Shared) -> None:
    """All its processes get SIGTERM."""
    async with bench(place, place.settings("daemon", has_stop=False)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        await it.runner.stop()
        assert (it.code, place.said()) == (0, ["begin a", "end a"])


async def test_stop_is_awaited_though_its_command_returns(place: Shared) -> None:
    """The seed's rc207 without its sleep 60: the program takes a second, and nothing is free before."""
    async with bench(place, place.settings("daemon")) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "slow")
        began = time.monotonic()
        await it.runner.stop()
        assert time.monotonic() - began >= 1
        assert (it.code, place.said()[-1]) == (0, "end a")


async def test_who_is_late_is_killed_with_code_207(place: Shared) -> None:
    """It does not hear SIGTERM."""
    async with bench(place, place.settings("daemon", stop_s=0.5)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        pid = place.pid("a")
        place.mode("a", "deaf")
        await it.runner.stop()
        assert not lives(pid)
        assert it.code == 207
        assert "killed" in it.why


async def test_a_start_that_fails_is_counted(place: Shared) -> None:
    """After two the member gives it up, with the program's own words; cleared, it is tried again."""
    async with bench(place, place.settings("daemon", retry_s=600.0)) as it:
        place.mode("a", "fail")
        await it.runner.begin(1)
        await it.until(lambda: bool(it.said and it.said[-1][3]))
        assert "start ended with exit code 4 (no such database)" in it.why
        await it.until_phase(Phase.IDLE)
        # Not by phases: one that has passed by the keeper's next look is not said.
        assert len([*place.folder.glob("failed-start-of-a-*")]) == 2
        place.mode("a")
        it.runner.clear()
        await it.until_phase(Phase.RUNNING)


async def test_a_program_that_does_not_exist(place: Shared) -> None:
    """Is a start that failed."""
    settings = place.settings("daemon", start=("/no/such/program",), start_failures=1)
    async with bench(place, settings) as it:
        await it.runner.begin(1)
        await it.until(lambda: bool(it.said and it.said[-1][3]))
        assert "cannot be run" in it.why
        assert "/no/such/program" in it.why


async def test_a_start_that_never_returns_teaches(place: Shared) -> None:
    """Where nothing says that it runs."""
    async with bench(place, place.settings(start_s=0.5, start_failures=1)) as it:
        await it.runner.begin(1)
        await it.until(lambda: bool(it.said and it.said[-1][3]))
        assert "start has not returned, and neither ports nor status say that it runs" in it.why


async def test_a_program_that_dies_is_started_again(place: Shared) -> None:
    """Seen at its end, not at the next look."""
    async with bench(place, place.settings("daemon", is_alive_s=600.0)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        os.kill(place.pid("a"), signal.SIGKILL)
        await it.until(lambda: place.said() == ["begin a", "begin a"])
        await it.until_phase(Phase.RUNNING)


async def test_a_port_that_is_silent_is_ill(place: Shared) -> None:
    """The process lives; looks find nobody at its port."""
    async with bench(place, place.settings("daemon", "ports", stop_s=0.5)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "silent")
        await it.until(lambda: any("looks in a row" in each[2] for each in it.said))


async def test_a_status_that_hangs_is_killed(place: Shared) -> None:
    """Twice in a row it counts; and it does not hold up the end."""
    settings = place.settings("daemon", "status", status_s=0.2, stop_s=2.0)
    async with bench(place, settings) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "hang")
        await it.until(lambda: any("status took more than 0.2 s" in each[2] for each in it.said))
        await it.runner.stop()
        assert place.said()[0] == "begin a"


async def test_what_cannot_be_released_is_nobodys(place: Shared) -> None:
    """Code 207, and the place is kept, until it can."""
    async with bench(place, place.settings("daemon", *ALL)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "fail-release")
        stopping = asyncio.ensure_future(it.runner.stop())
        await it.until_phase(Phase.STUCK)
        assert it.code == 207
        assert "target is busy" in it.why
        assert not stopping.done()
        place.mode("a")
        await stopping
        assert not (place.folder / "taken").exists()


async def test_a_keeper_that_is_killed_leaves_nothing(place: Shared) -> None:
    """The next one finds what it has left, in another session and an orphan, ends it, and starts anew: nobody else could have begun."""
    async with bench(place, place.settings("daemon", *ALL)) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        pid = place.pid("a")
        os.kill(it.keeper, signal.SIGKILL)
        await it.until(lambda: it.runner.said is None)
        assert not it.runner.is_free
        await it.until_phase(Phase.RUNNING)
        assert not lives(pid)
        place.never_two()


async def test_without_the_member_it_ends_by_itself(place: Shared) -> None:
    """The channel is closed, as by kill -9: the program is told to stop, and the keeper ends behind it. Nobody with its mark begins before."""
    settings = place.settings("daemon", *ALL)
    async with bench(place, settings) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "slow")
        pid, keeper = place.pid("a"), it.keeper
        assert it.runner._channel is not None
        closing = asyncio.ensure_future(it.runner.close())
        await closing
        async with bench(place, settings) as again:
            assert not lives(pid)
            assert place.said() == ["begin a", "end a"]
            await again.until(lambda: again.runner.is_free)
            assert again.code == 0
        assert not lives(keeper)
        it.runner.said = again.runner.said  # nothing is to be stopped any more
        it.runner._number = 0


async def test_the_end_of_the_right_comes_before_its_moment(place: Shared) -> None:
    """A deaf program, and a stop that may take 20 s: it is dead before the lease can end."""
    async with bench(place, place.settings("daemon")) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        place.mode("a", "deaf")
        pid = place.pid("a")
        until = boot_clock() + 2.0
        it.runner.right(until)
        await it.until_phase(Phase.IDLE)
        assert boot_clock() < until + HEARD_S
        assert not lives(pid)
        place.mode("a")
        it.runner.right(boot_clock() + FAR_S)  # heartbeats are answered again: it is still wanted
        await it.until_phase(Phase.RUNNING)


async def test_a_keeper_that_hangs_is_killed_in_time(place: Shared) -> None:
    """It was stopped (SIGSTOP) and the lease ends: the member ends it, and all that it has."""
    async with bench(place, place.settings("daemon")) as it:
        await it.runner.begin(1)
        await it.until_phase(Phase.RUNNING)
        pid = place.pid("a")
        os.kill(it.keeper, signal.SIGSTOP)
        until = boot_clock() + 1.0
        it.runner.right(until)
        await it.until(lambda: it.runner.said is None)
        await asyncio.to_thread(until_dead, pid)
        assert boot_clock() < until + HEARD_S


async def test_a_start_is_ended_half_way(place: Shared) -> None:
    """Told to end while `start` runs, before it is up."""
    async with bench(place, place.settings("status", status_s=0.3)) as it:
        place.mode("a", "hang")
        await it.runner.begin(1)
        await it.until_phase(Phase.STARTING)
        await it.runner.stop()
        assert it.runner.is_free
        place.never_two()


async def test_a_port_that_is_a_foreign_programs(place: Shared) -> None:
    """The start is not even tried, it says which port, and what is not ours is not waited for."""
    settings = place.settings("daemon", "ports", start_failures=1)
    with socket.create_server(("127.0.0.1", place.port)):
        async with bench(place, settings) as it:
            await it.runner.begin(1)
            await it.until(lambda: bool(it.said and it.said[-1][3]))
            assert (
                f"before its start 127.0.0.1:{place.port} is taken: not by this resource" in it.why
            )
            await it.until_phase(Phase.IDLE)
            assert it.code == 0
            assert place.said() == []


async def test_a_program_that_is_nobodys_child(place: Shared) -> None:
    """Somebody else starts it when asked: it is known by its pid file, killed by it when it is deaf; an older pid file says nothing."""
    (place.folder / "a.pid").write_text(f"{os.getpid()}\n")  # of before a boot: an innocent's
    os.utime(place.folder / "a.pid", (1, 1))
    please, pid_file = place.folder / "please", place.folder / "a.pid"
    words = f"touch {please}; while [ $(stat -c %Y {pid_file}) -lt 2 ]; do sleep 0.01; done"
    settings = place.settings(
        start=("/bin/sh", "-c", words), pid_file=str(pid_file), stop_s=0.5, start_failures=1
    )
    env = {"WSPROXY_HA_MEMBER": "a", "WSPROXY_HA_TOKEN": "1"}
    async with bench(place, settings) as it:
        await it.runner.begin(1)
        while not please.exists():  # noqa: ASYNC110  # a program writes it
            await asyncio.sleep(0.01)
        command = [sys.executable, "-I", "-S", PROGRAM, "start", str(place.folder), str(place.port)]
        with subprocess.Popen(command, env=env) as program:  # noqa: ASYNC220  # it forks and is done
            try:
                await it.until_phase(Phase.RUNNING)
                assert place.pid("a") == program.pid
                place.mode("a", "deaf")
                await it.runner.stop()
                assert program.wait(LONG_S) == -signal.SIGKILL
                assert it.code == 207
            finally:
                program.kill()
