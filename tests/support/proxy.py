"""
The real ``wsproxy run`` in front of scripted origins: writes its configuration, starts it, watches it, ends it.

Driven by the black-box tests. Must not look into the process but through its log, its exit code and /proc.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import sanitized
from tests.support.origin import Origin
from tests.support.process import WAIT_S, Watch

# No line of a healthy proxy's log has one of these.
FORBIDDEN = re.compile(
    r"Traceback|internal error|task \w+ failed|Exception|was killed by|ended with exit code [1-9]"
)

# How the program is begun: as users do it; or with TLS of clients on the event loop, which else is where a Python is not known.
PROGRAM = ("-m", "wsproxy")
LOOPS_TLS = (
    "-c",
    "import runpy; from wsproxy._fast.net import libssl; libssl.own(False);"
    " runpy.run_module('wsproxy', run_name='__main__', alter_sys=True)",
)

LISTEN = "0A"  # a state in /proc/net/tcp


@dataclass(slots=True)
class Member:
    """One Server of a cluster; ``attributes`` as they stand in plugin-cfg.xml."""

    origin: Origin
    name: str = "one"
    attributes: str = ""
    host: str = "127.0.0.1"
    protocol: str = "http"
    is_backup: bool = False


@dataclass(slots=True)
class Lane:
    """A cluster with a Route for everything below ``/NAME/``: tests on different lanes share nothing but the process."""

    name: str
    members: Sequence[Member]
    attributes: str = ""
    uri_attributes: str = ""

    @property
    def origin(self) -> Origin:
        return self.members[0].origin

    def xml(self) -> str:
        servers = "".join(
            f'<Server Name="{each.name}" {each.attributes}>'
            f'<Transport Hostname="{each.host}" Port="{each.origin.port}" Protocol="{each.protocol}"/></Server>'
            for each in self.members
        )
        primary, backup = (
            "".join(
                f'<Server Name="{each.name}"/>'
                for each in self.members
                if each.is_backup is is_backup
            )
            for is_backup in (False, True)
        )
        lists = f"<PrimaryServers>{primary}</PrimaryServers>" + (
            f"<BackupServers>{backup}</BackupServers>" if backup else ""
        )
        return (
            f'<ServerCluster Name="{self.name}" {self.attributes}>{servers}{lists}</ServerCluster>'
            f'<UriGroup Name="{self.name}"><Uri Name="/{self.name}/*" {self.uri_attributes}/></UriGroup>'
            f'<Route ServerCluster="{self.name}" UriGroup="{self.name}"/>'
        )


def lane(name: str, members: int = 1, attributes: str = "", server: str = "") -> Lane:
    """A lane of fresh origins: servers s0, s1, ... with clone ids c0, c1, ..."""
    return Lane(
        name,
        [
            Member(Origin(), f"s{at}", f'CloneID="c{at}" {server}' if members > 1 else server)
            for at in range(members)
        ],
        attributes,
    )


MakeLane = Callable[..., Lane]


@dataclass(slots=True)
class Proxy:
    """A running proxy: where it listens and what it logged."""

    pid: int
    watch: Watch
    port: int = 0
    ports: tuple[int, ...] = ()  # of all listeners
    expected: list[str] = field(
        default_factory=list
    )  # patterns of FORBIDDEN lines that a test provokes

    @property
    def lines(self) -> list[str]:
        return self.watch.lines

    async def line(self, pattern: str, start: int = 0) -> re.Match[str]:
        """The first line from ``start`` on that matches; waits for it."""
        return await self.watch.line(pattern, start)

    def workers(self) -> list[int]:
        """Pids of the workers that run now."""
        return processes_of(self.pid, r"wsproxy-\d+")

    def resident_bytes(self) -> int:
        """Memory of all workers, shared pages counted each time."""
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers())
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    def holds_clients(self, port: int = 0) -> bool:
        """
        Whether a process has a client's connection open; what a kernel still sends for nobody has inode 0.

        ``port``: of a listener; 0: of the first.
        """
        return any(
            local.endswith(f":{port or self.port:04X}") and state != LISTEN and inode != "0"
            for local, _, state, _, inode in tcp_table()
        )

    def clients_of_workers(self) -> dict[int, int]:
        """How many connections of clients each worker holds now."""
        ours = {
            f"socket:[{inode}]"
            for local, _, state, _, inode in tcp_table()
            if local.endswith(f":{self.port:04X}") and state != LISTEN
        }
        held = {}
        for worker in self.workers():
            links = Path(f"/proc/{worker}/fd").iterdir()
            held[worker] = sum(os.readlink(link) in ours for link in links)
        return held

    def stop(self) -> None:
        with suppress(ProcessLookupError):  # it was killed, and its exit code says so
            os.kill(self.pid, signal.SIGTERM)

    def check_log(self) -> None:
        bad = [
            line
            for line in self.lines
            if FORBIDDEN.search(line) and not any(re.search(each, line) for each in self.expected)
        ]
        assert not bad, "the log has:\n" + "\n".join(bad)


# How long a process that was just forked may be without a name of its own.
NAMING_S = 1.0


def tcp_table() -> list[tuple[str, str, str, str, str]]:
    """
    Near end, far end, state, queues and inode of each socket in /proc/net/tcp.

    Of three readings: one leaves some out while others on the machine open and close theirs.
    """
    found = {}
    for _ in range(3):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, near, far, state, queues, _, _, _, _, inode, *_ = line.split()
            found[near, far, inode] = (near, far, state, queues, inode)
    return list(found.values())


def own_memory(pid: int) -> int:
    """Of a process, in bytes, without what is mapped."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10


def processes_of(supervisor: int, name: str) -> list[int]:
    """
    Its children with such a name.

    One that was just forked has still its parent's: it is waited for, a while, as a new program that begins is called so, too.
    """
    parent = name_of_process(supervisor)
    deadline = time.monotonic() + NAMING_S
    while True:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        names = {int(pid): name_of_process(int(pid)) for pid in children}
        if parent not in names.values() or time.monotonic() > deadline:
            return [pid for pid, own in names.items() if re.fullmatch(name, own)]
        time.sleep(0.002)


def process_of(supervisor: int, name: str) -> int:
    """Its one child with such a name, which it may be about to start."""
    deadline = time.monotonic() + WAIT_S
    while len(found := processes_of(supervisor, name)) != 1:
        assert time.monotonic() < deadline, (name, found)
        time.sleep(0.01)
    return found[0]


def name_of_process(pid: int) -> str:
    """Empty where it has just ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


@asynccontextmanager
async def proxy_process(
    *arguments: str,
    prefix: Sequence[str] = (),
    env: dict[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
) -> AsyncIterator[Proxy]:
    """
    ``wsproxy run ARGUMENTS``, ended with SIGTERM; fails where it does not end by itself with 0 and a clean log.

    ``prefix``: a command that becomes the one behind it; ``env``: more of its environment; ``program``: what of Python's begins it.
    In ``make test-asan`` it is the instrumented build, and a report of any of its processes is what fails.
    """
    with sanitized.environment() as more:
        command = (*prefix, sys.executable, "-P", *program, "run", *arguments)
        async with _running_process(command, {**os.environ, **(env or {}), **more}) as proxy:
            yield proxy


@asynccontextmanager
async def _running_process(
    command: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[Proxy]:
    loop = asyncio.get_running_loop()
    transport, watch = await loop.subprocess_exec(
        Watch,
        *command,
        env=environment,
        stdin=None,
        stdout=None,
        start_new_session=True,  # so that the workers can be killed with it, whatever went wrong
    )
    proxy = Proxy(transport.get_pid(), watch)
    try:
        ready = await proxy.line(r"wsproxy: ready on ((?:https?://\S+:\d+ )+)")
        proxy.ports = tuple(int(url.rpartition(":")[2]) for url in ready[1].split())
        proxy.port = proxy.ports[0]
        yield proxy
        if not watch.exited.is_set():
            proxy.stop()
        await asyncio.wait_for(watch.exited.wait(), WAIT_S)
        ended = f"exit code {transport.get_returncode()}\n"
        assert transport.get_returncode() == 0, ended + "\n".join(proxy.lines)
        proxy.check_log()
    finally:
        if not watch.exited.is_set():
            os.killpg(proxy.pid, signal.SIGKILL)
            await asyncio.wait_for(watch.exited.wait(), WAIT_S)
        transport.close()


@asynccontextmanager
async def running_proxy(
    lanes: Sequence[Lane],
    *,
    workers: int | None = 1,
    settings: str = "",
    config: str = "",
    routes: str = "",
    listen: str | None = "127.0.0.1:0",
    folder: Path | None = None,
    prefix: Sequence[str] = (),
    env: dict[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
) -> AsyncIterator[Proxy]:
    """
    A ``proxy_process`` on a free port before these lanes.

    ``workers`` None: as the settings say. ``config``: attributes of Config; ``routes``: more elements below it; ``listen`` None: [[listener]] of the settings.
    ``folder``: where its files go, and stay. ``prefix``, ``env``, ``program``: see ``proxy_process``.
    """
    with tempfile.TemporaryDirectory() as own:
        clusters = "".join(each.xml() for each in lanes)
        xml = write(
            Path(folder or own, "plugin-cfg.xml"), f"<Config {config}>{clusters}{routes}</Config>"
        )
        # Tests wait for lines of their own: one that is summed comes ten seconds later.
        if "[log]" not in settings:
            settings += "\n[log]\nmost_a_second = 10_000\n"
        toml = write(Path(folder or own, "wsproxy.toml"), settings)
        try:
            async with proxy_process(
                *(str(xml), "--settings", str(toml)),
                *(("--listen", listen) if listen else ()),
                *(() if workers is None else ("--workers", str(workers))),
                prefix=prefix,
                env=env,
                program=program,
            ) as proxy:
                yield proxy
        finally:
            for each in lanes:
                for member in each.members:
                    member.origin.close()
