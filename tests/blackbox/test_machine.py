"""
What the machine does to a proxy: its clock jumps, its shared memory is full, its control group is too small.

Each needs something that not every machine gives; then the test is skipped and says what was missing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.client import Client, get, request
from tests.support.clock import Clock
from tests.support.origin import OK, OriginConnection, keep_answering, listening_socket
from tests.support.proxy import Lane, Proxy, lane, running_proxy

MB = 1 << 20
DAY_S = 86_400
HANG_S = 1.0
# Supervisor, log process and worker take 50 MB together, without what the kernel can throw away.
GROUP_BYTES = 110 * MB
BODY_BYTES = 16 * MB


@asynccontextmanager
async def proxy_with_clock(lanes: list[Lane], folder: Path) -> AsyncIterator[tuple[Proxy, Clock]]:
    clock = Clock(folder / "clock")
    clock.jump(0)
    settings = f"[process]\nhang_s = {HANG_S}\n[timeouts]\nkeepalive_s = 30\nbody_s = 30\n"
    async with running_proxy(lanes, workers=2, settings=settings, env=clock.env) as proxy:
        yield proxy, clock


@pytest.mark.parametrize("seconds", [DAY_S, -DAY_S])
async def test_clock_that_jumps_changes_nothing_but_the_date(seconds: int, tmp_path: Path) -> None:
    """Idle connections and running requests go on, down marks hold, no worker is taken for one that hangs."""
    farm = lane("farm")
    pair = lane("pair", 2, 'RetryInterval="3600"')
    dead, alive = (member.origin for member in pair.members)
    dead.refuse()
    async with AsyncExitStack() as stack:
        proxy, clock = await stack.enter_async_context(proxy_with_clock([farm, pair], tmp_path))
        workers = proxy.workers()
        await stack.enter_async_context(alive.serving(keep_answering))
        idle = await stack.enter_async_context(await Client.connect(proxy.port))
        for _ in range(2):  # one of two meets the server that refuses
            assert (await idle.ask(get("/pair/x"))).status == 200
        await proxy.line("Marking s0 down")
        running = await stack.enter_async_context(await Client.connect(proxy.port))
        await running.send(get("/farm/x"))
        held = await farm.origin.accept()
        await held.head()

        clock.jump(seconds)
        revived = stack.enter_context(listening_socket(dead.port))
        async with await Client.connect(proxy.port) as client:
            shown = (await client.ask(get("/none"))).get(b"date")
            assert shown is not None
            told = parsedate_to_datetime(shown.decode()) - datetime.now(UTC)
            assert abs(told.total_seconds() - seconds) < DAY_S / 24
        await asyncio.sleep(HANG_S + 1)  # as long as it takes to take somebody for one that hangs
        for _ in range(4):
            assert (await idle.ask(get("/pair/x"))).status == 200
        with pytest.raises(BlockingIOError):
            revived.accept()
        await held.send(OK)
        assert (await running.answer()).status == 200
        assert proxy.workers() == workers
        assert not [line for line in proxy.lines if "makes no turn" in line]


@pytest.fixture
def full_shared_memory() -> tuple[str, ...]:
    """A command that becomes the one behind it, with a /dev/shm of its own that has no room."""
    fill = "mount -t tmpfs -o size=4k none /dev/shm || exit 9; head -c 8192 /dev/zero >/dev/shm/x 2>/dev/null"
    user = () if os.geteuid() == 0 else ("--map-root-user",)
    prefix = ("unshare", "--mount", *user, "sh", "-c", f'{fill}; exec "$@"', "sh")
    tried = subprocess.run([*prefix, "df", "/dev/shm"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no mounts for this user: {tried.stderr.decode().strip()}")
    assert b"100% /dev/shm" in tried.stdout
    return prefix


async def test_shared_memory_that_is_full_is_not_needed(
    full_shared_memory: tuple[str, ...],
) -> None:
    """What workers share has no file, so a full /dev/shm keeps nobody from starting."""
    farm = lane("farm")
    async with (
        farm.origin.serving(keep_answering),
        running_proxy([farm], workers=2, prefix=full_shared_memory) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        assert (await client.ask(get("/farm/x"))).status == 200


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A memory control group below our own, with GROUP_BYTES; skipped where none can be made."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.lstrip("/")
    is_v1 = "memory" in own
    root = Path("/sys/fs/cgroup", *(["memory", own["memory"]] if is_v1 else [own.get("", "")]))
    folder = root / f"wsproxy-test-{os.getpid()}"
    limits = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] if is_v1 else ["memory.max"]
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        (folder / limits[0]).write_text(str(GROUP_BYTES))
        for name in (*limits[1:], "memory.swap.max"):
            if (folder / name).exists():
                (folder / name).write_text("0" if name == "memory.swap.max" else str(GROUP_BYTES))
        yield folder
    except OSError as error:
        pytest.skip(f"no control group for memory can be made: {error}")
    finally:
        folder.rmdir()


async def test_worker_that_outgrows_its_control_group_is_replaced(small_group: Path) -> None:
    """The kernel ends the largest process, which is a worker; the supervisor starts another, which serves."""
    farm = lane("farm", attributes='PostBufferSize="65536"')
    join = f'echo $$ > "{small_group}/cgroup.procs" && exec "$@"'
    async with running_proxy([farm], prefix=("sh", "-c", join, "sh")) as proxy:
        proxy.expected = ["worker 0 .*was killed by SIGKILL"]
        (worker,) = proxy.workers()
        async with farm.origin.serving(_swallow), AsyncExitStack() as stack:
            while worker in proxy.workers():
                client = await stack.enter_async_context(await Client.connect(proxy.port))
                with suppress(ConnectionError):
                    await client.send(request("POST", "/farm/x", body=bytes(BODY_BYTES)))
            await proxy.line(rf"worker 0 \(pid {worker}\) was killed by SIGKILL")
        async with farm.origin.serving(keep_answering), await Client.connect(proxy.port) as client:
            assert (await client.ask(get("/farm/x"))).status == 200


async def _swallow(connection: OriginConnection) -> None:
    """A server that takes everything and never answers, until the test is over."""
    with suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(connection.sock, MB):
            pass
