"""Programs that do what they should not, and keepers that hang with nobody to see it: nothing of a resource is left all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.resources import Shared, lives, shared
from tests.unit.ha.resource.test_runner import FAR_S, HEARD_S, LONG_S, Bench, bench, until_dead
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.resource.command import KEPT_BYTES, Command
from wsproxy.ha.resource.order import Phase

# Of a `status`: far longer than a busy machine needs for all that a test does.
HANGS_S = 40.0


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return shared(tmp_path)


def script(place: Shared, name: str, text: str) -> tuple[str, ...]:
    file = place.folder / name
    file.write_text(text)
    return "/bin/bash", str(file)


async def runs(it: Bench) -> None:
    await it.runner.begin(1)
    await it.until_phase(Phase.RUNNING)


async def heard(it: Bench) -> None:
    """The keeper has heard all that it was told, and has promised by it: it says nothing to the end of a right, but to a word with another number."""
    it.runner._number += 1
    it.runner._tell()
    number = it.runner._number
    await it.until(lambda: it.runner.said is not None and it.runner.said.number == number)


async def test_a_keeper_that_hangs_unseen(place: Shared) -> None:
    """SIGSTOP of it, and its member is gone or hangs, too: the guard ends both before the lease can."""
    async with bench(place, place.settings("daemon")) as it:
        await runs(it)
        pid = place.pid("a")
        until = boot_clock() + 2.0
        it.runner.right(until)
        await heard(it)
        assert it.runner._watchdog is not None
        it.runner._watchdog.cancel()
        os.kill(it.keeper, signal.SIGSTOP)
        await asyncio.to_thread(until_dead, pid)
        assert boot_clock() < until + HEARD_S
        it.runner.right(boot_clock() + FAR_S)


async def test_a_keeper_that_hangs_does_not_hold_up_a_stop(place: Shared) -> None:
    """Heartbeats are answered, so no lease ends; it is killed when its own last one would have."""
    async with bench(place, place.settings("daemon", "take")) as it:
        await runs(it)
        pid = place.pid("a")
        it.runner.right(boot_clock() + 2.0)
        await heard(it)
        os.kill(it.keeper, signal.SIGSTOP)
        it.runner.right(boot_clock() + FAR_S)
        async with asyncio.timeout(LONG_S):
            await it.runner.stop()
        assert not lives(pid)
        assert not (place.folder / "taken").exists()


async def test_a_keeper_that_hangs_with_nothing_to_keep(place: Shared) -> None:
    """It would not hear that it is to begin, and no other one could: the guard ends it. One that only has no right any more lives."""
    async with bench(place, place.settings("daemon")) as it:
        keeper = it.keeper
        it.runner.right(boot_clock() + 1.0)
        await asyncio.sleep(1.2)
        assert it.keeper == keeper
        assert lives(keeper)
        it.runner.right(boot_clock() + 2.0)
        await heard(it)
        os.kill(keeper, signal.SIGSTOP)
        it.runner.right(boot_clock() + FAR_S)
        await runs(it)
        assert it.keeper != keeper


def given_back_at(place: Shared) -> float:
    """By the boot clock."""
    (found,) = place.folder.glob("given-back-by-a-*")
    since_s = time.monotonic() - int(found.name.rpartition("-")[2]) / 1e9
    return boot_clock() - since_s


async def test_a_guard_releases_before_the_right_ends(place: Shared) -> None:
    """A keeper is killed and heartbeats are not answered: its guard waits for no `status` that hangs longer than there is time."""
    async with bench(place, place.settings("daemon", "take", "status", status_s=HANGS_S)) as it:
        await runs(it)
        place.mode("a", "hang")
        until = boot_clock() + 3.0
        it.runner.right(until)
        await heard(it)
        os.kill(it.keeper, signal.SIGKILL)
        await it.until(lambda: it.runner.said is None)
        await it.until(lambda: it.runner.said is not None)
        assert given_back_at(place) < until + HANGS_S / 2


async def test_a_kill_that_waits_for_status_releases_before_the_right_ends(place: Shared) -> None:
    """All is killed, and `status` hangs: the last moment is for `release`."""
    async with bench(place, place.settings("daemon", "take", "status", status_s=HANGS_S)) as it:
        await runs(it)
        place.mode("a", "deaf", "hang")
        until = boot_clock() + 3.0
        it.runner.right(until)
        await it.until_phase(Phase.IDLE)
        assert given_back_at(place) < until + HANGS_S / 2


async def test_that_it_kills_is_said_before_it_is_done(place: Shared) -> None:
    """Else who watches the keeper takes it for one that hangs where that takes long, and kills it in the midst of it."""
    async with bench(place, place.settings("daemon", stop_s=0.5)) as it:
        await runs(it)
        place.mode("a", "deaf")
        await it.runner.stop()
        assert Phase.KILLING in [phase for phase, *_ in it.said]


async def test_a_program_without_the_mark_and_a_keeper_that_was_killed(place: Shared) -> None:
    """As one that writes its title over its environment: the guard knows it by its number."""
    pid_file = place.folder / "it"
    text = f"env -i setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >{pid_file}.new\nmv {pid_file}.new {pid_file}\n"
    settings = place.settings(start=script(place, "start", text), stop=())
    async with bench(place, settings) as it:
        await runs(it)
        pid = int(pid_file.read_text())
        try:
            assert lives(pid)
            os.kill(it.keeper, signal.SIGKILL)
            await it.until(lambda: it.runner.said is None)
            await it.until(lambda: it.runner.said is not None)
            assert not lives(pid)
        finally:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)


async def test_what_a_look_has_left_is_the_resources(place: Shared) -> None:
    """A `status` that starts something in a process group of its own: it ends with the rest."""
    left, up = place.folder / "left", place.folder / "up"
    text = f"[ -e {up} ] || exit 3\nset -m\nsleep 1000 >/dev/null 2>&1 &\necho $! >>{left}\n"
    stop = script(place, "stop", f"rm {up}\nkill $(cat {place.folder}/a.pid)\n")
    start = script(place, "start", f"touch {up}\necho $$ >{place.folder}/a.pid\nexec sleep 1000\n")
    settings = place.settings(
        start=start, stop=stop, status=script(place, "status", text), stop_s=1.0
    )
    async with bench(place, settings) as it:
        await runs(it)
        await it.runner.stop()
        alive = [pid for pid in map(int, left.read_text().split()) if lives(pid)]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        assert not alive


@pytest.mark.parametrize("words", ["echo $PPID >{}", "echo 2 >{}", "mkfifo {}", "echo 1 >{}"])
async def test_a_pid_file_that_names_no_program(place: Shared, words: str) -> None:
    """Its keeper, a thread of the kernel, init, nothing at all, and somebody who must open it: nobody else is killed, and the end is in order."""
    pid_file = place.folder / "it"
    text = f"rm -f {pid_file}\n{words.format(pid_file)}\nsetsid sleep 1000 </dev/null >/dev/null 2>&1 &\n"
    settings = place.settings(start=script(place, "start", text), stop=(), pid_file=str(pid_file))
    async with bench(place, settings) as it:
        await runs(it)
        keeper = it.keeper
        try:
            async with asyncio.timeout(5):
                await it.runner.stop()
        except TimeoutError:
            pid_file.unlink()
            os.kill(keeper, signal.SIGKILL)
            raise
        assert (it.keeper, it.code) == (keeper, 0)


def test_a_program_that_prints_without_end() -> None:
    """One look at what it says ends, though there is always more: /dev/zero is such a one."""
    with subprocess.Popen(["/bin/true"]) as process:
        endless = Command("start", process.pid, os.open("/dev/zero", os.O_RDONLY), process)
        assert endless.read()
        os.close(endless.output)
        assert len(endless.said) == KEPT_BYTES
