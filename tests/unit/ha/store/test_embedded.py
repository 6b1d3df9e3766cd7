"""The etcd that wsproxy starts itself: it asks for certificates, ends with its parent, and says why it did not come up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.etcd import needs_etcd
from wsproxy.config.settings_ha import HaSettings
from wsproxy.errors import StartError
from wsproxy.ha.store.base import Put, StoreAwayError
from wsproxy.ha.store.embedded import EmbeddedEtcd
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_it_serves_its_own_and_nobody_else(tmp_path: Path) -> None:
    """By TLS with its certificate; it ends, is started again in the same folder, and has what it had."""
    etcd = EmbeddedEtcd(HaSettings(store="embedded", data_dir=str(tmp_path / "data")))
    await etcd.start()
    store = EtcdStore(Gateway([etcd.url], etcd.tls(), try_s=10.0))
    await store.put(Put("/a", b"x"))
    await store.close()
    for stranger in (etcd.url, etcd.url.replace("https", "http")):
        store = EtcdStore(Gateway([stranger], try_s=10.0))
        with pytest.raises(StoreAwayError):
            await store.read("/a")
        await store.close()
    pid = etcd.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert (await etcd.ended()).startswith("SIGKILL")
    await etcd.start()
    store = EtcdStore(Gateway([etcd.url], etcd.tls(), try_s=10.0))
    assert (await store.read("/a")).entries["/a"].value == b"x"
    await store.close()
    await etcd.stop()
    assert not runs(pid)


async def test_a_folder_of_its_own_ends_with_it() -> None:
    """Where nobody names one."""
    etcd = EmbeddedEtcd(HaSettings(store="embedded"))
    await etcd.start()
    folder = etcd.files.ca.parent
    assert folder.is_dir()
    await etcd.stop()
    assert not folder.exists()


async def test_a_port_that_is_taken_is_told() -> None:
    """Where it was given; etcd's own words say which."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        etcd = EmbeddedEtcd(HaSettings(store="embedded", endpoints=(f"https://127.0.0.1:{port}",)))
        with pytest.raises(StartError, match="address already in use"):
            await etcd.start()
        await etcd.stop()


async def test_a_program_that_ends_at_once_is_told_as_that() -> None:
    """And not as one that was waited for."""
    etcd = EmbeddedEtcd(HaSettings(store="embedded", etcd="true"))
    with pytest.raises(
        StartError, match=r"etcd \(.*true\) ended before it served; it said: nothing"
    ):
        await etcd.start()
    await etcd.stop()


async def test_a_folder_that_is_none_is_told_each_time(tmp_path: Path) -> None:
    """By the name of its setting."""
    (tmp_path / "file").touch()
    etcd = EmbeddedEtcd(HaSettings(store="embedded", data_dir=str(tmp_path / "file")))
    for _ in range(2):
        with pytest.raises(StartError, match=r"ha\.data_dir: .*file: File exists; allowed is"):
            await etcd.start()
    await etcd.stop()


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """However that ended: SIGKILL."""
    code = (
        "import asyncio, sys\n"
        "from wsproxy.config.settings_ha import HaSettings\n"
        "from wsproxy.ha.store.embedded import EmbeddedEtcd\n"
        "async def main():\n"
        f"    etcd = EmbeddedEtcd(HaSettings(store='embedded', data_dir={str(tmp_path / 'data')!r}))\n"
        "    await etcd.start()\n"
        "    print(etcd.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    watch = os.pidfd_open(pid)
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(watch, gone.set)
    parent.kill()
    async with asyncio.timeout(20):
        await gone.wait()
    asyncio.get_running_loop().remove_reader(watch)
    os.close(watch)
    await parent.wait()
