"""
The proxy of a soak with its servers: real processes, and the files that say how they are to be.

Driven by ``events`` and ``run``. ``farm`` is the cluster in trouble: five servers, of which two at a time may be stopped, killed,
drained. Nothing happens to the servers of ``shop`` and ``tunnel``: they show what reloads and dying processes do by themselves.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.board import Board
from tests.soak.crowd import Crowd
from tests.support.admin import ask_admin
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy, processes_of, proxy_process, write
from tests.support.upgrading import end
from wsproxy.process.system import read_process

MOST = 4  # MaxConnections of each server of farm
WORKERS = 2
CLONES = {f"s{at}": f"c{at}" for at in range(5)}
SPARES = ("e0", "e1", "e2")  # come and go with reloads; nobody is behind them but s0's process
PROJECT = Path(__file__).resolve().parents[2]
# Of a program that another one replaces; what ends earlier is lost.
TUNNELS_S = 4.0
# What runs in workers whose supervisor was killed.
SHUTDOWN_S = 5.0
WORKER = r"wsproxy-\d+"
# pidfd_getfd(2), of all architectures.
PIDFD_GETFD = 438
_libc = ctypes.CDLL(None)
SETTINGS = """
[admin]
socket = "admin.sock"
state_file = "state.json"
[process]
hang_s = 60
[timeouts]
shutdown_s = {shutdown_s}
[upgrade]
tunnels_s = {tunnels_s}
requests_s = 60
[queue]
size = 200
wait_s = 50
[probe]
type = "http"
path = "/health"
interval_s = {interval_s}
timeout_s = 5
rise = 2
fall = 2
[[probe.cluster]]
name = "tunnel"
type = "off"
[log]
most_a_second = 10_000
plugin = "http_plugin.log"
access = "access.log"
"""


def held_port() -> socket.socket:
    """A port that stays ours while its server is down: bound, not listening."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


@dataclass(slots=True)
class Server:
    """One backend process."""

    name: str
    port: int
    folder: Path
    board: Board
    process: asyncio.subprocess.Process | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one thing at a time happens to it

    async def start(self) -> None:
        """Until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.backend", self.name, str(self.port)),
            str(self.folder / f"{self.name}.board"),
            stdout=asyncio.subprocess.PIPE,
            cwd=PROJECT,
        )
        assert self.process.stdout is not None
        assert await asyncio.wait_for(self.process.stdout.readline(), WAIT_S) == b"ready\n"

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        await self.process.wait()


@dataclass(slots=True)
class Bed:
    """Everything that runs."""

    folder: Path
    servers: dict[str, Server]
    rng: random.Random
    proxy: Proxy = field(init=False)
    crowd: Crowd = field(init=False)
    supervisor: int = 0  # of the program that is the proxy now
    first_worker: int = 0  # the number that its first worker has; another one has others
    marker: int = 0  # the file that was written last has a Uri of this number
    spares: tuple[str, ...] = ()
    weights: dict[str, int] = field(default_factory=dict)
    files: asyncio.Lock = field(default_factory=asyncio.Lock)  # who writes them
    upgrades: asyncio.Lock = field(
        default_factory=asyncio.Lock
    )  # who needs to know which program is the proxy
    killed: dict[str, int] = field(default_factory=dict)  # how many, by what they were
    workers_cut: int = 0  # with whatever they had
    orphans: list[tuple[int, str, int]] = field(
        default_factory=list
    )  # that ended: pid, name, exit code

    # --- files ------------------------------------------------------------------------------------------------------

    def _server(self, name: str, port: int, attributes: str) -> str:
        return (
            f'<Server Name="{name}" ConnectTimeout="5" ServerIOTimeout="3" {attributes}>'
            f'<Transport Hostname="127.0.0.1" Port="{port}" Protocol="http"/></Server>'
        )

    def _cluster(self, name: str, servers: list[str], names: list[str], uri: str) -> str:
        listed = "".join(f'<Server Name="{each}"/>' for each in names)
        return (
            f'<ServerCluster Name="{name}" RetryInterval="1">{"".join(servers)}'
            f"<PrimaryServers>{listed}</PrimaryServers></ServerCluster>"
            f'<UriGroup Name="{name}">{uri}</UriGroup><Route ServerCluster="{name}" UriGroup="{name}"/>'
        )

    def xml(self, marker: int) -> str:
        """plugin-cfg.xml as it is to be; ``marker``: a Uri of shop that tells it from the others."""
        farm = [
            self._server(
                name, self.servers[name].port,
                f'CloneID="{clone}" MaxConnections="{MOST}" LoadBalanceWeight="{self.weights.get(name, 2)}"',
            )
            for name, clone in CLONES.items()
        ]  # fmt: skip
        shop = [self._server(name, self.servers[name].port, "") for name in ("t0", "t1")]
        spare = [self._server(name, self.servers["t0"].port, "") for name in self.spares]
        tunnel = [self._server("u0", self.servers["u0"].port, "")]
        marked = f'<Uri Name="/shop/*"/><Uri Name="/marker-{marker}/*"/>'
        clusters = [
            self._cluster("farm", farm, list(CLONES), '<Uri Name="/farm/*"/>'),
            self._cluster("shop", [*shop, *spare], ["t0", "t1", *self.spares], marked),
            self._cluster("tunnel", tunnel, ["u0"], '<Uri Name="/tunnel/*"/>'),
        ]
        return f'<Config RefreshInterval="5">{"".join(clusters)}</Config>'

    def write(self, text: str) -> None:
        """Another file takes the name."""
        write(self.folder / "plugin-cfg.new", text).rename(self.folder / "plugin-cfg.xml")

    async def is_used(self) -> None:
        """Waits until every worker goes by the file that was written last."""
        found = 0
        async with asyncio.timeout(2 * WAIT_S):
            while found < 12:  # connections land on either worker by chance
                if (status := await self.crowd.look(f"/marker-{self.marker}/x?id=m")) is None:
                    continue
                found = found + 1 if status == 200 else 0
                if not found:
                    await asyncio.sleep(0.05)

    # --- asking -----------------------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Over the admin socket; again where the process that was asked, or the loader, was killed meanwhile."""
        async with asyncio.timeout(3 * WAIT_S):
            while True:
                try:
                    async with asyncio.timeout(WAIT_S / 3):
                        status, answer = await ask_admin(
                            self.folder / "admin.sock", method, path, **body
                        )
                except (OSError, AssertionError):  # it ended before it answered
                    await asyncio.sleep(0.1)
                    continue
                # The loader was killed before it answered, and goes on with what it had begun; or its whole program was replaced.
                if status == 503 or (status != 200 and "ask again" in str(answer)):
                    continue
                assert status == 200, (path, body, answer)
                return answer

    async def rows(self) -> list[dict[str, Any]]:
        """All servers, as ``wsproxy status`` has them."""
        return list((await self.ask("GET", "/v1/servers"))["servers"])

    async def is_well(self) -> None:
        """Waits until every server is up, with nobody's word on it."""
        ill: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(WAIT_S):
                while ill := [each for each in await self.rows() if each["state"] != "up"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not up again: {ill}") from None

    # --- processes --------------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, int]:
        """Pids of the program that is the proxy, by name; its workers are called 0 and 1 here, whatever their numbers are."""
        found = {"wsproxy": self.supervisor}
        for at in range(WORKERS):
            if (pid := self.pid_of(f"wsproxy-{at}")) is not None:
                found[f"wsproxy-{at}"] = pid
        for pid in children_of(self.supervisor, "wsproxy-[a-z]+"):
            found[name_of(pid)] = pid
        return found

    def pid_of(self, name: str) -> int | None:
        """None: it does not run now."""
        if name in WORKER_NAMES:
            name = f"wsproxy-{self.first_worker + WORKER_NAMES.index(name)}"
        found = children_of(self.supervisor, name)
        return found[0] if found else None

    def ports_of(self, worker: int) -> set[int]:
        """
        At the clients' end, of the connections that a worker holds; it is stopped, or has them for long.

        Each is looked at itself: /proc/net/tcp leaves some out while others on the machine open and close theirs.
        """
        found = set()
        with suppress(OSError):  # it has ended
            for sock in sockets_of(worker):
                with sock, suppress(OSError):  # it listens, or leads to nobody any more
                    if sock.getsockname()[1] == self.proxy.port:
                        found.add(int(sock.getpeername()[1]))
        return found

    def listens(self, pid: int) -> bool:
        """Whether this process holds a listening socket of the proxy: a supervisor that retires has closed them."""
        found = False
        with suppress(OSError):  # it has ended
            for sock in sockets_of(pid):
                with sock, suppress(OSError):
                    is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    found |= bool(is_listening) and sock.getsockname()[1] == self.proxy.port
        return found

    async def stop(self, pid: int) -> None:
        """It does not do a single thing more; SIGSTOP alone may take a moment."""
        with suppress(ProcessLookupError):  # it has ended
            os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(WAIT_S):
            while (state := read_process(pid)) is not None and state.letter not in "TZ":  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def kill(self, name: str) -> None:
        """Kill -9, of what is running under this name; a worker is held before, to see whose connections it has."""
        pid = self.pid_of(name)
        if pid is None:
            return
        if name in WORKER_NAMES:
            await self.stop(pid)
            self.crowd.cut(self.ports_of(pid))
            self.workers_cut += 1
        self._kill_now(pid, name)
        async with asyncio.timeout(WAIT_S):
            while self.pid_of(name) in (pid, None) and name != "wsproxy-admin":  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def _kill_now(self, pid: int, name: str) -> None:
        self.crowd.note(f"kill {name} (pid {pid})")
        with suppress(
            ProcessLookupError
        ):  # a program that is replaced ends when it has nothing left
            os.kill(pid, signal.SIGKILL)
        self.killed[name] = self.killed.get(name, 0) + 1

    async def kill_program(self, pid: int, name: str) -> None:
        """
        Kill -9, of a supervisor: its workers end as at SIGTERM, so whoever is connected to one of them is cut.

        So may whoever comes until they accept nothing more: nobody can say who took him.
        """
        with self.crowd.cutting():
            await self.stop(pid)
            workers = children_of(pid, WORKER)
            for worker in workers:
                await self.stop(worker)
                self.crowd.cut(self.ports_of(worker))
            self.workers_cut += len(workers)
            self._kill_now(pid, name)
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)
            async with asyncio.timeout(WAIT_S):
                while any(map(self.listens, workers)):  # noqa: ASYNC110  # other processes
                    await asyncio.sleep(0.02)

    async def took_over(self, pid: int, began: float) -> None:
        """The program with this pid is the proxy now; ``began``: when it was asked for."""
        async with asyncio.timeout(WAIT_S):
            while len(workers := children_of(pid, WORKER)) < WORKERS:  # noqa: ASYNC110  # one may have been killed
                await asyncio.sleep(0.02)
        self.first_worker = min(int(name_of(each).rpartition("-")[2]) for each in workers)
        self.supervisor = pid
        new = set().union(*map(self.ports_of, workers))
        self.crowd.retire(new, began + TUNNELS_S / 2)

    def session(self) -> dict[int, str]:
        """Every process of every program that has been the proxy: no other has its session. By pid: the name."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
                if int(fields[3]) == self.proxy.pid:
                    found[int(folder.name)] = f"{name_of(int(folder.name))} {fields[0]}"
        return found

    def strangers(self) -> dict[int, str]:
        """Those that are not of the program that is the proxy now; who has ended and was left to us is taken note of."""
        found = self.session()
        for pid in [self.supervisor, *children_of(self.supervisor, ".*")]:
            found.pop(pid, None)
        found = {pid: name for pid, name in found.items() if not self._is_reaped(pid, name)}
        return found

    def _is_reaped(self, pid: int, name: str) -> bool:
        """A program's end is seen by whoever started it; where that has ended before, by us."""
        if pid == self.proxy.pid or not name.endswith(" Z"):
            return False
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # its parent is still there
            return False
        if found:
            self.orphans.append((pid, name, os.waitstatus_to_exitcode(status)))
        return bool(found)

    async def older_are_gone(self) -> dict[int, str]:
        """Nobody is connected but through tunnels, so programs that were replaced end; those that do not."""
        until = time.monotonic() + TUNNELS_S + SHUTDOWN_S + WAIT_S
        while (found := self.strangers()) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return found

    async def end_proxy(self) -> None:
        """The program that is the proxy now, as ``proxy_process`` ends the first one."""
        if self.supervisor == self.proxy.pid:
            return
        await end(self.supervisor)
        async with asyncio.timeout(WAIT_S):
            while left := self.session():
                for pid, name in left.items():
                    self._is_reaped(pid, name)
                await asyncio.sleep(0.05)

    def kill_left(self) -> None:
        """What a run that failed left; the first program is the part of ``proxy_process``."""
        if not self.supervisor:
            return  # it did not even start
        for pid in self.session():
            if pid != self.proxy.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def sockets_of(pid: int) -> Iterator[socket.socket]:
    """
    Its TCP sockets, each as a copy that is to be closed.

    Raises: OSError: it has ended.
    """
    pidfd = os.pidfd_open(pid)
    try:
        for each in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):  # closed meanwhile
                if not os.readlink(each).startswith("socket:"):
                    continue
                fd = _libc.syscall(PIDFD_GETFD, pidfd, int(each.name), 0)
                if fd >= 0:
                    sock = socket.socket(fileno=fd)
                    if sock.family == socket.AF_INET:
                        yield sock
                    else:
                        sock.close()
    finally:
        os.close(pidfd)


def name_of(pid: int) -> str:
    """As ``ps`` shows it; empty: it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def children_of(supervisor: int, name: str) -> list[int]:
    """Empty where the supervisor has ended, too."""
    try:
        return processes_of(supervisor, name)
    except OSError:
        return []


WORKER_NAMES = tuple(f"wsproxy-{at}" for at in range(WORKERS))


@contextmanager
def _ports(names: list[str], folder: Path) -> Iterator[dict[str, Server]]:
    socks = {name: held_port() for name in names}
    try:
        yield {
            name: Server(name, sock.getsockname()[1], folder, Board(folder / f"{name}.board"))
            for name, sock in socks.items()
        }
    finally:
        for sock in socks.values():
            sock.close()


@asynccontextmanager
async def running_bed(folder: Path, rng: random.Random) -> AsyncIterator[Bed]:
    """Servers and proxy; the proxy ends with exit code 0, or this fails."""
    async with AsyncExitStack() as stack:
        names = [*CLONES, "t0", "t1", "u0"]
        bed = Bed(folder, stack.enter_context(_ports(names, folder)), rng)
        stack.push_async_callback(_end, bed)
        for server in bed.servers.values():
            await server.start()
        bed.write(bed.xml(0))
        settings = write(
            folder / "wsproxy.toml",
            SETTINGS.format(interval_s=0.5, shutdown_s=SHUTDOWN_S, tunnels_s=TUNNELS_S),
        )
        # Behind the first program's end: while it runs its processes are its own.
        stack.callback(bed.kill_left)
        bed.proxy = await stack.enter_async_context(
            proxy_process(
                *(str(folder / "plugin-cfg.xml"), "--settings", str(settings)),
                *("--listen", "127.0.0.1:0", "--workers", str(WORKERS)),
            )
        )
        bed.supervisor = bed.proxy.pid
        bed.crowd = Crowd(bed.proxy.port, random.Random(rng.random()), dict(CLONES))
        yield bed
        await bed.end_proxy()


async def _end(bed: Bed) -> None:
    for server in bed.servers.values():
        if server.process is not None and server.process.returncode is None:
            await server.kill()
