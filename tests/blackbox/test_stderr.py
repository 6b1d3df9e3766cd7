"""
Standard error that takes nothing, or takes its time: nobody waits for it, and nothing is lost without being counted.

The proxy is started with it as it is to be, so that what is said at start counts too.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.process import WAIT_S, wait_for_end
from tests.support.proxy import processes_of
from wsproxy.demo.ports import free_ports
from wsproxy.process.log_pipe import CLOSE_S

CONFIG = """<Config><ServerCluster Name="c" Unknown="warned of"><Server Name="s">
<Transport Hostname="127.0.0.1" Port="9"/></Server></ServerCluster>
<UriGroup Name="u"><Uri Name="/a/*"/></UriGroup><Route ServerCluster="c" UriGroup="u"/></Config>"""
BAD = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
GOOD = b"GET /none HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "plugin-cfg.xml"
    file.write_text(CONFIG)
    return file


@dataclass(slots=True)
class Quiet:
    """A proxy of which nothing can be read."""

    process: subprocess.Popen[bytes]
    port: int

    async def ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.readline(), WAIT_S)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def until_it_answers(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while True:
                with suppress(ConnectionError):
                    if await self.ask(GOOD):
                        return
                assert self.process.poll() is None
                await asyncio.sleep(0.05)

    def processes(self, name: str) -> list[int]:
        return processes_of(self.process.pid, name)

    async def other_than(self, name: str, before: list[int]) -> list[int]:
        """As many processes of this name as ``before``, none of them among these."""
        async with asyncio.timeout(WAIT_S):
            while True:
                now = self.processes(name)
                if len(now) == len(before) and not set(now) & set(before):
                    return now
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, WAIT_S)


@asynccontextmanager
async def quiet_proxy(config: Path, stderr: int | None, *command: str) -> AsyncIterator[Quiet]:
    (port,) = free_ports(1)
    process = subprocess.Popen(  # noqa: ASYNC220  # nobody reads what it says
        [
            *command,
            *(sys.executable, "-P", "-m", "wsproxy", "run", str(config)),
            *("--listen", f"127.0.0.1:{port}", "--workers", "1"),
        ],
        stderr=stderr,
        start_new_session=True,
    )
    proxy = Quiet(process, port)
    try:
        await proxy.until_it_answers()
        yield proxy
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT_S)


def full_pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    fill(write_fd)
    return read_fd, write_fd


def full_socket() -> tuple[int, int]:
    """As the journal gives to services."""
    ours, its = socket.socketpair()
    fill(its.fileno())
    return ours.detach(), its.detach()


def stopped_terminal() -> tuple[int, int]:
    """Somebody pressed Ctrl-S, long ago."""
    ours, its = os.openpty()
    fill(its)
    return ours, its


def fill(fd: int) -> None:
    os.set_blocking(fd, False)
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(fd, b"\n" * size)
    os.set_blocking(fd, True)


@pytest.mark.parametrize("make", [full_pipe, full_socket, stopped_terminal])
async def test_standard_error_that_nobody_reads_stops_nobody(
    make: Callable[[], tuple[int, int]], config: Path
) -> None:
    """Start, requests, the restart of a worker and SIGTERM go on, and no process is left that waits."""
    read_fd, write_fd = make()
    try:
        async with quiet_proxy(config, write_fd) as proxy:
            for _ in range(50):
                assert (await proxy.ask(BAD)).startswith(b"HTTP/1.1 400 ")
            workers = proxy.processes(r"wsproxy-\d+")
            os.kill(workers[0], signal.SIGKILL)
            await proxy.other_than(r"wsproxy-\d+", workers)
            proxy.process.send_signal(signal.SIGUSR1)
            await proxy.until_it_answers()
            began = time.monotonic()
            (log,) = proxy.processes("wsproxy-log")
            pidfd = os.pidfd_open(log)
            try:
                assert await proxy.stop() == 0
                assert time.monotonic() - began < 10
                assert await asyncio.to_thread(wait_for_end, pidfd)
            finally:
                os.close(pidfd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


async def test_death_of_the_supervisor_leaves_no_log_process(config: Path) -> None:
    """It writes what the workers still say, and ends with them, whether somebody reads or not."""
    read_fd, write_fd = full_pipe()
    try:
        async with quiet_proxy(config, write_fd) as proxy:
            (log,) = proxy.processes("wsproxy-log")
            pidfd = os.pidfd_open(log)
            try:
                proxy.process.kill()
                assert await asyncio.to_thread(wait_for_end, pidfd)
            finally:
                os.close(pidfd)
    finally:
        os.close(read_fd)
        os.close(write_fd)


async def test_log_process_that_dies_is_started_again(config: Path, tmp_path: Path) -> None:
    """What is said meanwhile waits for the next one; it keeps no port."""
    with (tmp_path / "err").open("wb") as err:
        async with quiet_proxy(config, err.fileno()) as proxy:
            before = proxy.processes("wsproxy-log")
            pidfd = os.pidfd_open(before[0])
            os.kill(before[0], signal.SIGKILL)
            # One that is still about to die takes what comes with it.
            assert await asyncio.to_thread(wait_for_end, pidfd)
            os.close(pidfd)
            await proxy.ask(BAD)
            (log,) = await proxy.other_than("wsproxy-log", before)
            links = [os.readlink(f"/proc/{log}/fd/{fd}") for fd in os.listdir(f"/proc/{log}/fd")]
            assert not [link for link in links if "socket" in link]
            assert await proxy.stop() == 0
    text = (tmp_path / "err").read_text()
    assert f"log process (pid {before[0]}) was killed by SIGKILL" in text
    assert " 400: " in text
    assert text.splitlines()[-1].endswith("wsproxy: stopped")


async def test_what_clients_cause_is_summed(config: Path, tmp_path: Path) -> None:
    """Ten lines a second of each kind, and one that counts the rest: also at the end, so that the sum is right."""
    with (tmp_path / "err").open("wb") as err:
        async with quiet_proxy(config, err.fileno()) as proxy:
            began = time.monotonic()
            for _ in range(60):
                await proxy.ask(BAD)
            seconds = time.monotonic() - began
            assert await proxy.stop() == 0
    lines = [line for line in (tmp_path / "err").read_text().splitlines() if " 400: " in line]
    assert len(lines) <= 10 * (seconds + 1) + 1
    more = re.search(r" \.\.\. and (\d+) more like this in the last \d+ s$", lines[-1])
    assert more
    assert len(lines) + int(more[1]) == 60


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
async def test_standard_error_that_cannot_be_written_is_none(
    redirection: str, config: Path
) -> None:
    """Closed, or on a full disk: wsproxy serves, and stops as told."""
    async with quiet_proxy(config, None, "sh", "-c", f'exec "$@" {redirection}', "sh") as proxy:
        assert (await proxy.ask(BAD)).startswith(b"HTTP/1.1 400 ")
        assert await proxy.stop() == 0


async def test_closed_standard_output_becomes_nothing_else(config: Path, tmp_path: Path) -> None:
    """An access log that is to go there reaches no socket, and standard error says why it goes nowhere."""
    (tmp_path / "wsproxy.toml").write_text('[log]\naccess = "stdout"\n')
    heard = tmp_path / "stderr"
    shell = f'exec "$@" --settings {tmp_path}/wsproxy.toml <&- >&- 2>{heard}'
    async with quiet_proxy(config, None, "sh", "-c", shell, "sh") as proxy:
        for pid in (proxy.process.pid, *proxy.processes("wsproxy-0")):
            for fd in (0, 1):
                assert os.readlink(f"/proc/{pid}/fd/{fd}") == os.devnull
        assert (await proxy.ask(GOOD)).startswith(b"HTTP/1.1 404 ")
        assert await proxy.stop() == 0
    assert "stdout: Bad file descriptor; lines are dropped" in heard.read_text()


def said(stderr: int, *arguments: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.said", *map(str, arguments)], stderr=stderr
    )


def check_said(data: bytes, processes: int, lines: int, size: int) -> None:
    """Everything that was said is there once, in the order of each process, and no line is mixed with another."""
    first, *rest = data.decode().splitlines()
    assert first == "first"
    assert "ended after" in rest.pop()
    numbers: dict[str, list[int]] = {}
    found = 0
    for line in rest:
        at = re.fullmatch(r"\S+ INFO \[(\d+)\] wsproxy: (?:(\d+) |\.\.\. )(x*)(?: \.\.\.)?", line)
        assert at, line[:200]
        found += len(at[3])
        if at[2]:
            numbers.setdefault(at[1], []).append(int(at[2]))
    assert found == processes * lines * size
    assert list(numbers.values()) == processes * [list(range(lines))]


def test_nothing_is_lost_in_a_file(tmp_path: Path) -> None:
    """Lines longer than a pipe takes at once, from three processes."""
    with (tmp_path / "err").open("wb") as err:
        assert said(err.fileno(), 3, 30, 9000).wait(WAIT_S) == 7
    check_said((tmp_path / "err").read_bytes(), 3, 30, 9000)


def test_reader_that_takes_its_time_gets_everything() -> None:
    """Up to the last line, though the processes that spoke are long gone, and it needs longer than one that reads nothing is given."""
    read_fd, write_fd = os.pipe()
    process = said(write_fd, 3, 500, 100)
    os.close(write_fd)
    data = b""
    began = time.monotonic()
    with os.fdopen(read_fd, "rb", buffering=0) as pipe:
        while part := pipe.read(2048):
            data += part
            time.sleep(0.04)
    assert process.wait(WAIT_S) == 7
    assert time.monotonic() - began > CLOSE_S
    check_said(data, 3, 500, 100)


def test_flood_that_nobody_reads_is_dropped() -> None:
    """Far more than waits in the pipe: whoever writes never waits, and the end comes soon, with its exit code."""
    read_fd, write_fd = full_pipe()
    try:
        began = time.monotonic()
        assert said(write_fd, 2, 1000, 100, 4096).wait(WAIT_S) == 7
        assert time.monotonic() - began < 10
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_full_disk_is_told_when_it_has_room(tmp_path: Path) -> None:
    """What was lost is counted in a line of its own."""
    script = (
        "import logging, os, resource, signal, sys\n"
        "from wsproxy.process.log_pipe import Outlet\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "r, w = os.pipe()\n"
        "outlet = Outlet(2, r)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))\n"
        "outlet.write(b'one\\ntwo two two\\nthree\\n')\n"
        "outlet.write(b'four\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "outlet.write(b'five\\n')\n"
    )
    with (tmp_path / "err").open("wb") as err:
        subprocess.run([sys.executable, "-c", script], stderr=err, check=True)
    first, torn, note, last = (tmp_path / "err").read_text().splitlines()
    assert (first, torn, last) == ("one", "two tw", "five")
    assert re.search(r" WARNING \[\d+\] wsproxy: 3 lines are missing: File too large$", note)
