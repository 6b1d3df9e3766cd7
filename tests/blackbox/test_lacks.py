"""
What the machine lacks while a configuration is changed or a server is drained: room on a disk, descriptors; and clocks that jump.

The proxy goes on with what it has, says what it lacks, and does what it was told once that is there again.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import ask_admin
from tests.support.client import ask, get
from tests.support.clock import Clock
from tests.support.descriptors import no_descriptor_for, until_settled
from tests.support.origin import answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, processes_of, running_proxy

DAY_S = 86_400
# New sessions that would meet a server, all but surely, if they were let: 2^-24.
MANY = 24
NOT_WATCHED = '[reload]\nwatch = "off"\n'


@dataclass(slots=True)
class Bed:
    """A proxy with two workers before two servers that answer with their names."""

    proxy: Proxy
    folder: Path

    async def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        status, answer = await ask_admin(self.folder / "admin.sock", method, path, **body)
        assert status == 200, answer
        return answer

    async def say(self, verb: str, name: str, **more: Any) -> list[str]:
        """An operator's word; the warnings."""
        answer = await self.ask("POST", f"/v1/{verb}", target=f"farm/{name}", **more)
        return list(answer["warnings"])

    async def state(self, name: str) -> str:
        [row] = (await self.ask("GET", f"/v1/servers?target=farm/{name}"))["servers"]
        return str(row["state"])

    async def served_by(self) -> set[str]:
        answers = [await ask(self.proxy.port, get("/farm/x")) for _ in range(MANY)]
        assert {each.status for each in answers} == {200}
        return {each.body.decode() for each in answers}

    def child(self, name: str) -> int:
        return processes_of(self.proxy.pid, name)[0]

    async def kill_admin(self) -> None:
        victim = self.child("wsproxy-admin")
        self.proxy.expected.append(f"pid {victim}")
        os.kill(victim, signal.SIGKILL)
        await self.proxy.line(rf"admin process \(pid {victim}\) was killed by")

    def change(self) -> None:
        """The file gets another Uri, /new/*."""
        file = self.folder / "plugin-cfg.xml"
        more = '<Uri Name="/farm/*"/><Uri Name="/new/*"/>'
        new = file.with_suffix(".new")
        new.write_text(file.read_text().replace('<Uri Name="/farm/*" />', more))
        assert more in new.read_text()
        new.rename(file)

    async def is_changed(self) -> None:
        """Waits until every worker goes by it."""
        in_a_row = 0
        async with asyncio.timeout(WAIT_S):
            while in_a_row < MANY:
                status = (await ask(self.proxy.port, get("/new/x"))).status
                in_a_row = in_a_row + 1 if status == 200 else 0


@asynccontextmanager
async def running(
    folder: Path, *, settings: str = NOT_WATCHED, admin: str = "", **options: Any
) -> AsyncIterator[Bed]:
    farm: Lane = lane("farm", 2)
    text = f'[admin]\nsocket = "{folder}/admin.sock"\n{admin}\n{settings}'
    async with AsyncExitStack() as stack:
        for each in farm.members:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(each.name)}\r\n\r\n{each.name}"
            script = answering(head.encode())
            await stack.enter_async_context(each.origin.serving(script))
        yield Bed(
            await stack.enter_async_context(
                running_proxy([farm], workers=2, settings=text, folder=folder, **options)
            ),
            folder,
        )


# --- room on the disk of the state file -----------------------------------------------------------------------------


@dataclass(slots=True)
class Disk:
    """Where the state file is, as the proxy sees it and as we do; ``fill`` and ``free`` what it has room for."""

    prefix: tuple[str, ...]
    path: Path
    seen: Callable[[Bed], Path]
    fill: Callable[[Bed], None]
    free: Callable[[Bed], None]
    error: str


def small_file_system(folder: Path) -> Disk:
    """64 KiB, in a mount namespace of the proxy's own."""
    disk = folder / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=64k none "{disk}" && exec "$@"'
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    prefix = ("unshare", "--mount", *user, "sh", "-c", script, "sh")
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts for this user: {tried.stderr.decode().strip()}")

    def seen(bed: Bed) -> Path:
        return Path(f"/proc/{bed.proxy.pid}/root{disk}/state.json")

    def fill(bed: Bed) -> None:
        with pytest.raises(OSError, match="No space left"):
            (seen(bed).parent / "ballast").write_bytes(bytes(1 << 17))

    def free(bed: Bed) -> None:
        (seen(bed).parent / "ballast").unlink()

    return Disk(prefix, disk / "state.json", seen, fill, free, "No space left on device")


def small_files(folder: Path) -> Disk:
    """No process may write a file of a byte more; that needs no privilege."""
    path = folder / "state.json"

    def limit(bed: Bed, size: int) -> None:
        for pid in (bed.proxy.pid, *processes_of(bed.proxy.pid, "wsproxy-admin")):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return Disk(
        (), path, lambda _bed: path, lambda bed: limit(bed, 0), lambda bed: limit(bed, -1), "File too large"
    )  # fmt: skip


DISKS = pytest.mark.parametrize("make", [small_file_system, small_files])


def words(file: Path) -> dict[str, str]:
    """Holds by server; a file that is half of something is none."""
    saved = json.loads(file.read_text())
    return {each["server"]: each["hold"]["hold"] for each in saved["servers"]}


@DISKS
async def test_full_disk_leaves_the_state_file_whole_and_the_operator_is_told(
    tmp_path: Path, make: Callable[[Path], Disk]
) -> None:
    """The word holds; the file is the one before until there is room, and then the right one, without another word."""
    disk = make(tmp_path)
    admin = f'state_file = "{disk.path}"'
    async with running(tmp_path, admin=admin, prefix=disk.prefix) as bed:
        assert await bed.say("drain", "s0") == []
        file = disk.seen(bed)
        before = file.read_bytes()
        disk.fill(bed)
        await bed.say("resume", "s0")
        [warning] = await bed.say("drain", "s1", reason="x" * 100)
        assert f"{disk.path}: cannot be written: {disk.error}" in warning
        assert "a restart will forget this" in warning
        await bed.proxy.line(f"ERROR .*state.json: cannot be written: {disk.error}")
        assert await bed.served_by() == {"s0"}
        assert file.read_bytes() == before
        assert [each.name for each in file.parent.glob("state.json*")] == ["state.json"]
        # The next admin process knows what its predecessor could not write.
        await bed.kill_admin()
        assert await bed.state("s1") == "drained"
        assert file.read_bytes() == before
        start = len(bed.proxy.lines)
        disk.free(bed)
        await bed.proxy.line("state.json: is written again", start)
        assert words(file) == {"s1": "drain"}


@DISKS
async def test_word_that_was_taken_back_does_not_return_with_the_next_start(
    tmp_path: Path, make: Callable[[Path], Disk]
) -> None:
    """Its file could not be written, and the process that knew died: the next one looks."""
    disk = make(tmp_path)
    admin = f'state_file = "{disk.path}"'
    async with running(tmp_path, admin=admin, prefix=disk.prefix) as bed:
        await bed.say("drain", "s0")
        file = disk.seen(bed)
        disk.fill(bed)
        assert await bed.say("resume", "s0")
        assert words(file) == {"s0": "drain"}
        await bed.kill_admin()
        disk.free(bed)
        assert await bed.state("s0") == "up"
        assert words(file) == {}


# --- descriptors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["worker", "supervisor", "prober", "admin"])
async def test_reload_comes_late_where_descriptors_lack(tmp_path: Path, who: str) -> None:
    """A process that has none goes by the old configuration, says so, and goes by the new one when it has some again."""
    probe = '[probe]\ntype = "tcp"\ninterval_s = 0.2\n'
    async with running(tmp_path, settings=NOT_WATCHED + probe) as bed:
        await bed.ask("GET", "/v1/status")
        victim = {
            "worker": bed.proxy.workers()[0],
            "supervisor": bed.proxy.pid,
            "prober": bed.child("wsproxy-prober"),
            "admin": bed.child("wsproxy-admin"),
        }[who]
        with no_descriptor_for(victim):
            bed.change()
            os.kill(bed.proxy.pid, signal.SIGHUP)
            said = "no descriptor is left for generation 2|configuration 2 is not taken over yet"
            await bed.proxy.line(rf"ERROR \[{victim}\] .*({said})")
        await bed.is_changed()
        if who in ("worker", "supervisor"):
            await bed.proxy.line("SIGHUP: generation 2 of the configuration is in use")
        async with asyncio.timeout(WAIT_S):
            while (await bed.ask("GET", "/v1/servers"))["config"]["generation"] != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await bed.served_by() == {"s0", "s1"}


async def test_changed_file_that_could_not_be_opened_is_read_later(tmp_path: Path) -> None:
    """It is not the file's fault, so it is not refused; nobody has to save it again."""
    async with running(tmp_path, settings="") as bed:
        await bed.ask("GET", "/v1/history")  # it has begun
        await until_settled(bed.child("wsproxy-loader"))
        with no_descriptor_for(bed.child("wsproxy-loader")):
            bed.change()
            await bed.proxy.line("changed file: cannot be read: Too many open files; tried again")
        await bed.is_changed()
        assert not [line for line in bed.proxy.lines if "refused" in line]


async def test_worker_is_replaced_when_the_supervisor_has_descriptors_again(tmp_path: Path) -> None:
    """Meanwhile the other one serves, and a supervisor without descriptors does not die of it."""
    async with running(tmp_path) as bed:
        bed.proxy.expected.append("was killed by SIGKILL")
        victim, other = bed.proxy.workers()
        with no_descriptor_for(bed.proxy.pid):
            # What the dead one had open is taken, too: its two ends are closed when it is reaped.
            os.kill(victim, signal.SIGKILL)
            await bed.proxy.line(rf"pid {victim}\) was killed by SIGKILL")
            with no_descriptor_for(bed.proxy.pid):
                await bed.proxy.line("worker . cannot be started: Too many open files; tried again")
                assert bed.proxy.workers() == [other]
                assert await bed.served_by() == {"s0", "s1"}
        async with asyncio.timeout(WAIT_S):
            while len(bed.proxy.workers()) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await bed.served_by() == {"s0", "s1"}


async def test_words_need_no_descriptor(tmp_path: Path) -> None:
    """They hold for workers that have none; who is connected is served by them."""
    async with running(tmp_path) as bed:
        await bed.served_by()  # warm connections
        await bed.ask("GET", "/v1/status")
        with no_descriptor_for(bed.proxy.pid, bed.child("wsproxy-prober|wsproxy-loader")):
            await bed.say("drain", "s0")
            assert await bed.served_by() == {"s1"}
            await bed.say("resume", "s0")
        assert await bed.served_by() == {"s0", "s1"}


# --- clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S])
async def test_clock_that_jumps_ends_no_drain_and_hides_no_reload(
    tmp_path: Path, seconds: int
) -> None:
    """A drain ends after the time that was said, whatever a clock shows; files are taken over whenever they were saved."""
    clock = Clock(tmp_path / "clock")
    clock.jump(0)
    probe = '[probe]\ntype = "tcp"\ninterval_s = 0.2\n'
    async with running(tmp_path, settings=probe, env=clock.env) as bed:
        workers = bed.proxy.workers()
        await bed.say("drain", "s0", for_s=3600)
        clock.jump(seconds)
        assert await bed.served_by() == {"s1"}
        assert await bed.state("s0") == "drained"
        bed.change()
        await bed.is_changed()
        assert await bed.state("s0") == "drained"
        await bed.say("resume", "s0")
        await bed.say("drain", "s0", for_s=1)
        clock.jump(0)
        async with asyncio.timeout(WAIT_S):
            while await bed.state("s0") != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await bed.served_by() == {"s0", "s1"}
        assert bed.proxy.workers() == workers
        assert not [line for line in bed.proxy.lines if "makes no turn" in line or "ERROR" in line]
