"""
Two machines with two networks between them, and a client: network namespaces of this machine, each with its own proxy and agent.

Needs root, ``ip netns`` and keepalived; ``needs_pair_lab`` says which is missing. All names carry the pid: several labs never meet, and what
a killed one left is told by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import COMMAND_S, WAIT_S, Watch
from wsproxy.ha.certs import make_certificates

VIP = "10.78.0.100"
PORT = 8080
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
# keepalived runs scripts only from folders that nobody else can write to, so none below /tmp.
_FOLDERS = Path("/run")


def _lack() -> str:
    if os.geteuid() != 0:
        return "needs root, for network namespaces and keepalived"
    for program, package in (("ip", "iproute2"), ("keepalived", "keepalived"), ("nft", "nftables")):
        if shutil.which(program, path=_SBIN) is None:
            return f"no {program} on this machine: apt-get install {package}"
    name = f"wsp{os.getpid()}t"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"network namespaces cannot be made here: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


LACK = _lack()
needs_pair_lab = pytest.mark.skipif(bool(LACK), reason=f"pair lab: {LACK}")


async def until(is_so: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """For what no event of ours tells of: another machine's addresses and logs are looked at."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if is_so():
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


def names_of(pids: Iterable[int]) -> dict[int, str]:
    """What each is called; empty where it has just ended."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@dataclass(slots=True)
class Box:
    """One machine."""

    name: str  # of its namespace
    folder: Path
    address: str
    sync: str
    proxy: asyncio.SubprocessTransport | None = None
    watch: Watch | None = None
    started: list[tuple[asyncio.SubprocessTransport, Watch]] = field(default_factory=list)

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    @property
    def ha(self) -> Path:
        return self.folder / "ha"

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    def pids(self) -> list[int]:
        return [int(each) for each in ip("netns", "pids", self.name).split()]

    def holds(self) -> bool:
        """Whether the floating address is on it now."""
        return VIP in ip("-n", self.name, "-4", "-o", "addr", "show", "dev", "eth0")

    async def run(
        self, *words: str, within_s: float = COMMAND_S, env: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """``wsproxy ha WORDS`` there: exit code, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *self.prefix, sys.executable, "-P", "-m", "wsproxy", "ha", *words, "--folder", str(self.ha),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
        said, _ = await asyncio.wait_for(process.communicate(), within_s)
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def done(self, *words: str) -> str:
        """The same, where it must be done."""
        code, said = await self.run(*words)
        assert code == 0, (self.name, words, said, self.log())
        return said

    async def status(self) -> dict[str, Any]:
        _, said = await self.run("status", "--json")
        found: dict[str, Any] = json.loads(said)
        return found

    def log(self) -> str:
        with contextlib.suppress(OSError):
            return (self.ha / "ha.log").read_text()
        return ""

    async def start_proxy(self, env: Mapping[str, str] | None = None) -> None:
        """It runs, and is ready."""
        files = (
            str(self.folder / "plugin-cfg.xml"),
            "--settings",
            str(self.folder / "wsproxy.toml"),
        )
        self.proxy, self.watch = await self.spawn("run", *files, "--workers", "1", env=env)
        await self.watch.line("wsproxy: ready on ")

    async def spawn(
        self, *words: str, env: Mapping[str, str] | None = None
    ) -> tuple[asyncio.SubprocessTransport, Watch]:
        """``wsproxy WORDS`` there, which runs on."""
        transport, watch = await asyncio.get_running_loop().subprocess_exec(
            Watch, *self.prefix, sys.executable, "-P", "-m", "wsproxy", *words,
            stdin=None, stdout=None, start_new_session=True, env={**os.environ, **(env or {})},
        )  # fmt: skip
        self.started.append((transport, watch))
        return transport, watch

    def nft(self, text: str) -> None:
        """A command of nftables there."""
        subprocess.run([*self.prefix, "nft", text], check=True)

    def tables(self) -> str:
        """Of nftables there."""
        done = subprocess.run([*self.prefix, "nft", "list", "tables"], capture_output=True, text=True, check=True)  # fmt: skip
        return done.stdout

    def boot(self) -> None:
        """What a kernel that has just begun knows of the network of clients; the state on the disk is of another boot."""
        ip("-n", self.name, "addr", "flush", "dev", "eth0")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        file = self.ha / "state.json"
        file.write_text(re.sub('"boot":"[^"]*"', '"boot":"another"', file.read_text()))

    def kill_all(self) -> None:
        """The machine dies: nothing of it runs any more."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_words(self, other: Box, *more: str) -> list[str]:
        return [
            "start", "--peer", other.address, "--vip", f"{VIP}/24", "--sync-peer", other.sync,
            "--keys", str(self.folder.parent / "keys"), "--name", self.folder.name, "--socket", str(self.admin),
            "--check", f"http://127.0.0.1:{PORT}/readyz", *more,
        ]  # fmt: skip


@dataclass(slots=True)
class PairLab:
    """Both machines, the client's namespace and the switch."""

    folder: Path
    one: Box
    two: Box
    client: str
    switch: str

    @property
    def boxes(self) -> tuple[Box, Box]:
        return self.one, self.two

    async def start_pair(self, *more: str) -> None:
        """The first is primary, the second secondary."""
        await self.one.done(*self.one.start_words(self.two, "--primary", *more))
        await self.two.done(*self.two.start_words(self.one, "--secondary", *more))

    def cut(self, box: Box, interface: str, *, is_up: bool = False) -> None:
        """The cable, at the switch: the machine's own link stays up only in the case of a real switch that dies."""
        ip("-n", self.switch, "link", "set", f"{box.folder.name}{interface}", "up" if is_up else "down")  # fmt: skip

    def in_client(self) -> AbstractContextManager[None]:
        """Sockets that are made within are the client's."""
        return namespace(self.client)


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """Sockets that are made within are of that network namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _setns(other)
        yield
    finally:
        _setns(own)
        os.close(own)
        os.close(other)


def _setns(fd: int) -> None:
    import ctypes  # noqa: PLC0415  # os.setns is of Python 3.12

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(fd, 0x40000000) == 0, os.strerror(ctypes.get_errno())


# Nobody asks for /app: what is measured is the address, and each proxy answers by itself.
CONFIG = """\
<Config>
  <ServerCluster Name="app"><Server Name="s0"><Transport Hostname="127.0.0.1" Port="9" Protocol="http"/></Server></ServerCluster>
  <UriGroup Name="uris"><Uri Name="/app/*"/></UriGroup>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:*"/></VirtualHostGroup>
  <Route ServerCluster="app" UriGroup="uris" VirtualHostGroup="hosts"/>
</Config>
"""
SETTINGS = """
[[listener]]
address = ":8080"
[health]
ready_path = "/readyz"
[fallback]
mode = "directory"
directory = "{folder}/files"
[admin]
socket = "{folder}/admin.sock"
"""


def _network(tag: str) -> tuple[str, str, dict[str, str]]:
    switch, client = f"{tag}sw", f"{tag}c"
    boxes = {"p1": f"{tag}p1", "p2": f"{tag}p2"}
    for name in (switch, client, *boxes.values()):
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    for bridge in ("br0", "br1"):
        ip("-n", switch, "link", "add", bridge, "type", "bridge")
        ip("-n", switch, "link", "set", bridge, "up")
    ends = [(short, name, number) for number, (short, name) in enumerate(boxes.items(), 11)]
    for short, name, number in ends:
        for net in (0, 1):
            _plug(switch, f"{short}eth{net}", f"br{net}", name, f"eth{net}", f"10.{78 + net}.0.{number}/24")  # fmt: skip
    _plug(switch, "ceth0", "br0", client, "eth0", "10.78.0.50/24")
    return switch, client, boxes


def _plug(switch: str, port: str, bridge: str, name: str, interface: str, address: str) -> None:
    ip("link", "add", port, "netns", switch, "type", "veth", "peer", "name", interface, "netns", name)  # fmt: skip
    ip("-n", switch, "link", "set", port, "master", bridge, "up")
    ip("-n", name, "addr", "add", address, "dev", interface)
    ip("-n", name, "link", "set", interface, "up")


@asynccontextmanager
async def pair_lab() -> AsyncIterator[PairLab]:
    """Two machines whose proxies serve a file with their name at /who; all ends with it."""
    tag = f"wsp{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix=f"{tag}-", dir=_FOLDERS) as text:
        folder = Path(text)
        boxes: list[Box] = []
        try:
            switch, client, names = _network(tag)
            make_certificates(
                folder / "keys",
                [("p1", "10.78.0.11", "10.79.0.11"), ("p2", "10.78.0.12", "10.79.0.12"), ("client", "10.78.0.50")],
                datetime.datetime.now(datetime.UTC),
            )  # fmt: skip
            for number, (short, name) in enumerate(names.items(), 11):
                own = folder / short
                (own / "files").mkdir(parents=True)
                (own / "files" / "who").write_text(short)
                (own / "plugin-cfg.xml").write_text(CONFIG)
                (own / "wsproxy.toml").write_text(SETTINGS.format(folder=own))
                boxes.append(Box(name, own, f"10.78.0.{number}", f"10.79.0.{number}"))
            lab = PairLab(folder, boxes[0], boxes[1], client, switch)
            for box in boxes:
                await box.start_proxy()
            yield lab
        finally:
            await _end(tag)
            for transport, watch in [each for box in boxes for each in box.started]:
                await asyncio.wait_for(watch.exited.wait(), 30)
                transport.close()


def _is_empty(name: str) -> bool:
    return not ip("netns", "pids", name).split()


async def _end(tag: str) -> None:
    for name in (f"{tag}p1", f"{tag}p2", f"{tag}c", f"{tag}sw"):
        if not os.path.exists(f"/run/netns/{name}"):  # noqa: ASYNC240  # a name of the kernel's, no disk
            continue
        for pid in map(int, ip("netns", "pids", name).split()):
            if pid != os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await until(partial(_is_empty, name), f"processes are left in {name}")
        ip("netns", "del", name)
