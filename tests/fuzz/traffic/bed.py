"""
A real proxy before the servers of all lanes, on which cases are played; and what must hold of it besides the cases.

Driven by ``run``. No worker may end, the log may show no error of ours, and when all clients have left nothing may be in flight.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.clients import Player
from tests.fuzz.traffic.origins import Origin
from tests.fuzz.traffic.plans import LANES, Case, LanePlan
from tests.fuzz.traffic.reading import Body
from tests.fuzz.traffic.records import Arrival, Visit
from tests.fuzz.traffic.referee import Referee
from tests.fuzz.traffic.rewritten import Rules
from tests.support.admin import talk
from tests.support.certificates import Authority
from tests.support.proxy import Proxy, running_proxy
from tests.support.tls_pipe import client_context, server_context

# A case in which something waits for longer hangs. Time-outs of the proxy are well below, of a machine under load well above.
MOST_CASE_S = 60.0
# After the last client has left: time-outs of whoever is still served, and a busy machine.
QUIET_S = 30.0
MOST_LINES = 20_000
LAG_STEP_S = 0.02
LAG_LOOKS = 100
SERVER_NAME = "shop.example"

_SETTINGS = """
[timeouts]
head_s = 6
body_s = 8
keepalive_s = 8
half_closed_s = 20
tunnel_s = 8
shutdown_s = 5
[queue]
size = 20
wait_s = 10
[upstream.tls]
trust = "ca.pem"
[admin]
socket = "admin.sock"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "front.pem", key = "front.key" }]
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a proxy is set up: everything that watches is on in one, and everything that is quick in the other."""

    name: str
    workers: int
    rules: Rules
    settings: str = ""
    log: str = ""


VARIANTS = (
    Variant("quick", 2, Rules(), settings='[affinity]\nclone_ids = "servers"\n'),
    Variant(
        "watched",
        1,
        Rules(trailers=True, takes_lists=True),
        settings="""
[http]
trailers = true
[fallback]
mode = "directory"
directory = "static"
[explain]
trusted = ["127.0.0.0/8"]
[log]
level = "debug"
access = "access.log"
""",
        log='<Log LogLevel="Trace" Name="plugin.log"/>',
    ),
)


class Bed:
    """A proxy that runs; ``play`` may be called for many cases at the same time."""

    def __init__(self, variant: Variant, folder: Path) -> None:
        self.variant = variant
        self.folder = folder
        self.referee = Referee(variant.rules)
        authority, front = Authority(), Authority("Front")
        authority.write_pem(folder)
        front.write_pem(folder, "front-ca")
        front.issue(SERVER_NAME).write_pem(folder, "front")
        server = server_context(authority.issue("127.0.0.1").write_pem(folder, "server"))
        page = folder / "static" / messages.FILE_PATH.decode()[1:]
        page.parent.mkdir(parents=True)
        page.write_bytes(messages.FILE)
        self._client = client_context(folder / "front-ca.pem")
        self.origins = [
            Origin(lane, f"s{at}", self, server if lane.is_tls else None)
            for lane in LANES
            for at in range(lane.servers)
        ]
        self._addresses = 0
        self._lag_s = 0.0  # most that this process has lately been late, and servers with it
        self.proxy: Proxy
        self._workers: list[int] = []

    # --- as the desk of its servers -----------------------------------------------------------------------------------

    def arrive(self, origin: Origin, head: bytes, body: Body) -> Arrival:
        sent_s = asyncio.get_running_loop().time() - self._lag_s
        return self.referee.arrive(origin.lane, origin.name, head, body, sent_s)

    def complain(self, text: str) -> None:
        self.referee.complain(text)

    # --- cases -------------------------------------------------------------------------------------------------------

    async def play(self, case: Case) -> tuple[list[str], list[Visit]]:
        """What is wrong with the case, and how it went."""
        visits = [Visit.of(case, at, self._address()) for at in range(len(case.clients))]
        for visit in visits:
            self.referee.begin(visit)
        try:
            async with asyncio.timeout(MOST_CASE_S), asyncio.TaskGroup() as group:
                for visit in visits:
                    group.create_task(self._visit(visit))
            async with asyncio.timeout(MOST_CASE_S):
                # What is on its way to servers belongs to the case, and their ends.
                while any(not self._is_settled(visit) for visit in visits):  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        except TimeoutError:
            return [f"it hangs: more than {MOST_CASE_S:g} s"], visits
        finally:
            for visit in visits:
                self.referee.end(visit, asyncio.get_running_loop().time())
        problems = [
            f"client {visit.number}: {text}"
            for visit in visits
            for text in self.referee.judge(visit)
        ]
        return problems, visits

    async def _visit(self, visit: Visit) -> None:
        port = self.proxy.ports[visit.plan.is_tls]
        visit.began_s = time.time()  # noqa: TID251  # to be compared with Date
        await Player(visit, port, self._client).play()
        visit.ended_s = time.time()  # noqa: TID251

    def _is_settled(self, visit: Visit) -> bool:
        """Whether no server is busy with a request of this client."""
        return all(each.is_over and (each.is_whole or each.ended_s) for each in visit.arrivals)

    def _address(self) -> str:
        """An address of this machine that no client had before; it comes back after millions."""
        self._addresses += 1
        high, low = divmod(self._addresses, 254)
        higher, high = divmod(high, 256)
        return f"127.{2 + higher % 250}.{high}.{low + 1}"

    async def watch_lag(self) -> None:
        """Sees how late everything is here: what the proxy takes for a server's time-out may be ours."""
        loop = asyncio.get_running_loop()
        lately: deque[float] = deque(maxlen=LAG_LOOKS)
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_STEP_S)
            lately.append(loop.time() - before - LAG_STEP_S)
            self._lag_s = max(lately)

    # --- the proxy ---------------------------------------------------------------------------------------------------

    def check_alive(self) -> list[str]:
        """Whether the workers are those of the beginning, and the log is clean."""
        problems = self.referee.complaints
        self.referee.complaints = []
        if self.proxy.watch.exited.is_set():
            problems.append("the proxy ended")
        elif (now := self.worker_pids()) != self._workers:
            problems.append(f"workers {self._workers} are now {now}")
        try:
            self.proxy.check_log()
        except AssertionError as error:
            problems.append(str(error))
        return problems

    def log_of(self, visit: Visit) -> list[str]:
        """What the proxy said about a client, in its last lines."""
        about = f" {visit.address}: "
        return [line for line in self.proxy.lines[-MOST_LINES:] if about in line]

    def worker_pids(self) -> list[int]:
        names = {pid: Path(f"/proc/{pid}/comm") for pid in self.proxy.workers()}
        return [pid for pid, name in names.items() if name.read_text().strip() != "wsproxy-admin"]

    async def check_quiet(self, most_s: float = QUIET_S) -> list[str]:
        """Whether, with all clients gone, no connection of one is held and nothing is in flight, soon at least."""
        end_s = asyncio.get_running_loop().time() + most_s
        while True:
            busy = await self.find_busy()
            if not busy or asyncio.get_running_loop().time() > end_s:
                return busy
            await asyncio.sleep(0.05)

    async def find_busy(self) -> list[str]:
        """What workers have to do now."""
        busy = [
            f"worker {pid} holds {count} connections of clients"
            for pid, count in self.proxy.clients_of_workers().items()
            if count
        ]
        for lane in LANES:
            for server, count in (await self._in_flight(lane)).items():
                if count:
                    busy.append(f"{count} requests are in flight at {server} of {lane.name}")
        return busy

    async def _in_flight(self, lane: LanePlan) -> dict[str, int]:
        question = json.dumps({"method": "GET", "url": f"http://a/{lane.name}/x"}).encode()
        status, answer = await talk(
            self.folder / "admin.sock",
            b"POST /v1/explain HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(question), question),
        )
        assert status == 200, answer
        return {each["name"]: each["in_flight"] for each in answer["explanation"]["servers"]}

    async def begin(self, proxy: Proxy) -> None:
        """The proxy is ready."""
        self.proxy = proxy
        self._workers = self.worker_pids()


@asynccontextmanager
async def running_bed(variant: Variant) -> AsyncIterator[Bed]:
    """A bed with its proxy, ended in the end; fails as ``proxy_process`` does."""
    with TemporaryDirectory() as name:
        bed = Bed(variant, Path(name))
        async with asyncio.TaskGroup() as group:
            serving = [
                group.create_task(each.refuse() if each.is_down else each.serve())
                for each in bed.origins
            ]
            serving.append(group.create_task(bed.watch_lag()))
            try:
                async with running_proxy(
                    [],
                    routes=variant.log + "".join(_cluster(bed, lane) for lane in LANES),
                    settings=variant.settings + _SETTINGS,
                    listen=None,
                    workers=variant.workers,
                    folder=bed.folder,
                ) as proxy:
                    await bed.begin(proxy)
                    yield bed
            finally:
                for task in serving:
                    task.cancel()


def _cluster(bed: Bed, lane: LanePlan) -> str:
    protocol = "https" if lane.is_tls else "http"
    transports = [
        (origin.name, f'<Transport Hostname="127.0.0.1" Port="{origin.port}" Protocol="{protocol}"/>')
        for origin in bed.origins
        if origin.lane is lane
    ]  # fmt: skip
    servers = "".join(
        f'<Server Name="{name}" CloneID="c{at}" {lane.server}>{transport}</Server>'
        for at, (name, transport) in enumerate(transports)
    )
    return (
        f'<ServerCluster Name="{lane.name}" {lane.cluster}>{servers}</ServerCluster>'
        f'<UriGroup Name="{lane.name}"><Uri Name="/{lane.name}/*"/></UriGroup>'
        f'<Route ServerCluster="{lane.name}" UriGroup="{lane.name}"/>'
    )
