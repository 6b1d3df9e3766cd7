"""http_plugin.log as the real process writes it: levels, files, signals, and a replay of what it wrote itself."""

from __future__ import annotations

import asyncio
import os
import random
import re
import resource
import signal
import stat
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from tests.support.client import Client, IncompleteError, ask, get, request
from tests.support.logfiles import described, lines_with, replay_own
from tests.support.origin import Origin, keep_answering, listening_socket
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from wsproxy._fast.logs.tries import RACED
from wsproxy.replay.outcome import DIFFERS, What

VHOSTS = '<VirtualHostGroup Name="v"><VirtualHost Name="*:9080"/><VirtualHost Name="shop.example:9080"/></VirtualHostGroup>'
COOKIE = "Cookie: JSESSIONID=0000QWERTZUIOPASDFGHJKLYXCV:c1"

# What existing public scripts look for (PLUGIN 9.5).
LINE = re.compile(r"\[(.*?)\] (\w+) (\w+)")
STATS = re.compile(
    r"STATS: ws_server: serverSetFailoverStatus: Server (\S+) : pendingRequests (\d+) failedRequests (\d+)"
    r" affinityRequests (\d+) totalRequests (\d+)\."
)
REQUEST = re.compile(r"websphere(?:Begin|Handle)Request: Request is:.*uri='([^']*)'")
END = re.compile(r"websphereEndRequest: Ending the request")
MARKING = re.compile(r"serverSetFailoverStatus: Marking (.+) down")
NEW_DATE = re.compile(
    r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{5}\] [0-9a-f]{8} [0-9a-f]{8} - [A-Z]+: "
)
OLD_DATE = re.compile(
    r"\[(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \d{4}\] [0-9a-f]{8} [0-9a-f]{8} - [A-Z]+: "
)


def log_element(level: str, name: str = "http_plugin.log") -> str:
    return f'<Log Name="{name}" LogLevel="{level}"/>'


@asynccontextmanager
async def logging_proxy(
    folder: Path, level: str, *, settings: str = "", workers: int = 1, dead: bool = False
) -> AsyncIterator[Proxy]:
    """A proxy before a cluster of two servers, of which one may be dead; its log is ``folder/http_plugin.log``."""
    cluster = lane("a", 2, 'RetryInterval="600"')
    async with AsyncExitStack() as stack:
        for at, member in enumerate(cluster.members):
            if dead and at == 1:
                member.origin.refuse()
            else:
                await stack.enter_async_context(member.origin.serving(keep_answering))
        yield await stack.enter_async_context(
            running_proxy(
                [cluster],
                routes=VHOSTS + log_element(level),
                folder=folder,
                settings=settings,
                workers=workers,
            )
        )


EXPECTED_WORDS = {
    "Error": {"PLUGIN", "ERROR"},
    "Warn": {"PLUGIN", "ERROR"},
    "Stats": {"PLUGIN", "ERROR", "STATS"},
    "Detail": {"PLUGIN", "ERROR", "STATS", "DETAIL"},
    "Debug": {"PLUGIN", "ERROR", "STATS", "DETAIL", "DEBUG"},
    "Trace": {"PLUGIN", "ERROR", "STATS", "DETAIL", "DEBUG", "TRACE"},
}


@pytest.mark.parametrize("level", list(EXPECTED_WORDS))
async def test_each_level_shows_its_own_words_and_those_above(level: str, tmp_path: Path) -> None:
    """A failed try and an answer at each LogLevel; session ids only at Trace, passwords never."""
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, level, dead=True) as proxy:
        answer = await ask(
            proxy.port, get("/a/x?secret=1", COOKIE, "Authorization: Basic dTpw", "X-Other: 1")
        )
        assert answer.status == 200
    text = log.read_text()
    lines = text.splitlines()
    assert all(NEW_DATE.match(line) for line in lines), text
    assert {line.split(" - ")[1].partition(":")[0] for line in lines} == EXPECTED_WORDS[level]
    assert sum("Marking s1 down" in line for line in lines) == 1
    assert ("QWERTZUIOP" in text) is (level == "Trace")
    assert ("secret" in text) is (level == "Trace")
    assert "dTpw" not in text
    assert stat.S_IMODE(log.stat().st_mode) & 0o137 == 0


async def test_scripts_for_the_plug_in_understand_the_log(tmp_path: Path) -> None:
    """The patterns of scanplugin, plgstats and waspluginstats find what they look for."""
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, "Trace", dead=True) as proxy:
        for _ in range(3):
            await ask(proxy.port, get("/a/x", COOKIE))
    text = log.read_text()
    assert REQUEST.findall(text) == ["/a/x"] * 3
    assert len(END.findall(text)) == 3
    assert MARKING.findall(text) == ["s1"]
    assert STATS.findall(text) == [
        ("s1", "0", "1", "1", "0"),
        ("s0", "0", "0", "0", "1"),
        ("s0", "0", "0", "1", "2"),  # the session has moved here: affinity
        ("s0", "0", "0", "2", "3"),
    ]
    found = [LINE.match(line) for line in text.splitlines()]
    assert all(found)
    # a request is told from others by (pid, tid)
    requests = {(each[2], each[3]) for each in found if each and each[3] != "00000000"}
    assert {tid for _, tid in requests} == {"00000001", "00000002", "00000003"}
    header = re.compile(
        r"DETAIL:    Cookie: JSESSIONID=0000QWERTZUIOPASDFGHJKLYXCV:c1$", re.MULTILINE
    )
    assert len(header.findall(text)) == 3


async def test_old_dates_where_they_are_wanted(tmp_path: Path) -> None:
    async with logging_proxy(tmp_path, "Stats", settings='[log]\nplugin_dates = "old"\n') as proxy:
        await ask(proxy.port, get("/a/x"))
    lines = (tmp_path / "http_plugin.log").read_text().splitlines()
    assert all(OLD_DATE.match(line) for line in lines), lines
    assert any(STATS.search(line) for line in lines)


async def test_a_file_that_was_moved_or_removed_is_made_anew(tmp_path: Path) -> None:
    """Rotation needs no signal: each write looks whether the file still stands under its name."""
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, "Stats") as proxy:
        await ask(proxy.port, get("/a/x"))
        await lines_with(log, "totalRequests 1")
        log.rename(tmp_path / "http_plugin.log.1")
        await ask(proxy.port, get("/a/x"))
        await ask(proxy.port, get("/a/x"))
        await lines_with(log, "totalRequests 2")
        log.unlink()
        await ask(proxy.port, get("/a/x"))
        await lines_with(log, "totalRequests")
    assert "PLUGIN: Plugins loaded." in (tmp_path / "http_plugin.log.1").read_text()


async def test_sigusr1_opens_the_file_anew(tmp_path: Path) -> None:
    """Also where the name is another file already, as after ``mv`` and ``touch``."""
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, "Stats", workers=2) as proxy:
        await ask(proxy.port, get("/a/x"))
        await lines_with(log, "totalRequests 1")
        log.rename(tmp_path / "old")
        log.touch()
        for worker in proxy.workers():
            os.kill(
                worker, signal.SIGUSR1
            )  # sent to all processes of the name: only the supervisor acts
        os.kill(proxy.pid, signal.SIGUSR1)
        await proxy.line("SIGUSR1: .*http_plugin.log is opened anew")
        await ask(proxy.port, get("/a/x"))
        await lines_with(log, "totalRequests")


async def test_sigusr2_switches_trace_on_and_off(tmp_path: Path) -> None:
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, "Error") as proxy:
        await ask(proxy.port, get("/a/quiet"))
        os.kill(proxy.pid, signal.SIGUSR2)
        await proxy.line("SIGUSR2: LogLevel of .* is Trace now")
        while "/a/loud" not in log.read_text():
            await ask(proxy.port, get("/a/loud"))
        os.kill(proxy.pid, signal.SIGUSR2)
        await proxy.line("SIGUSR2: LogLevel of .* is Error now")
        size = -1
        while size != log.stat().st_size:  # until a request in a while leaves no trace
            size = log.stat().st_size
            await asyncio.sleep(0.5)
            await ask(proxy.port, get("/a/quiet"))
            await asyncio.sleep(0.3)
    text = log.read_text()
    assert text.index("/a/loud") > 0
    assert "/a/quiet" not in text[: text.index("/a/loud")]


async def test_workers_share_the_file_line_by_line(tmp_path: Path) -> None:
    """Four workers write at once: each line is whole, and each request has an id of its own."""
    log = tmp_path / "http_plugin.log"
    async with logging_proxy(tmp_path, "Trace", workers=4) as proxy:

        async def ask_many() -> None:
            for _ in range(10):
                async with await Client.connect(proxy.port) as client:
                    for _ in range(5):
                        await client.ask(get("/a/x", COOKIE))

        await asyncio.gather(*(ask_many() for _ in range(16)))
    lines = log.read_text().splitlines()
    assert all(NEW_DATE.match(line) for line in lines)
    ids = Counter(
        " ".join(line.split(" ")[1:3]) for line in lines if "Beginning a client request" in line
    )
    assert len(ids) == 800
    assert sum(bool(END.search(line)) for line in lines) == 800


async def test_a_log_of_another_machine_is_left_out(tmp_path: Path) -> None:
    """plugin-cfg.xml names a folder that is not here: a warning says so, and requests are served."""
    cluster = lane("a")
    routes = log_element("Trace", "/nowhere/IBM/http_plugin.log")
    async with (
        cluster.origin.serving(keep_answering),
        running_proxy([cluster], routes=routes) as proxy,
    ):
        await proxy.line(
            r'plugin-cfg.xml:1: found Log Name="/nowhere/IBM/http_plugin.log": No such file'
        )
        assert (await ask(proxy.port, get("/a/x"))).status == 200


async def test_the_settings_name_another_file_or_none(tmp_path: Path) -> None:
    settings = f'[log]\nplugin = "{tmp_path}/other.log"\n'
    async with logging_proxy(tmp_path, "Stats", settings=settings) as proxy:
        await ask(proxy.port, get("/a/x"))
    assert "totalRequests 1." in (tmp_path / "other.log").read_text()
    async with logging_proxy(tmp_path, "Stats", settings='[log]\nplugin = "off"\n') as proxy:
        await ask(proxy.port, get("/a/x"))
    assert not (tmp_path / "http_plugin.log").exists()


async def test_a_full_disk_drops_lines_and_no_request(tmp_path: Path) -> None:
    """/dev/full takes nothing: requests go on, standard error says it once."""
    async with logging_proxy(tmp_path, "Trace", settings='[log]\nplugin = "full.log"\n') as proxy:
        (tmp_path / "full.log").unlink()
        (tmp_path / "full.log").symlink_to("/dev/full")
        for _ in range(50):
            assert (await ask(proxy.port, get("/a/x"))).status == 200
        await proxy.line("full.log: No space left on device; lines are dropped")
        (tmp_path / "full.log").unlink()
        await ask(proxy.port, get("/a/x"))
        await proxy.line("full.log: is written again")
        await lines_with(tmp_path / "full.log", r"WARNING: .* \d+ lines are missing")


async def test_lines_of_two_workers_do_not_mix_on_a_full_disk(tmp_path: Path) -> None:
    """What is written of a line stays alone on its line, also where another worker writes next."""
    log = tmp_path / "http_plugin.log"
    limits = (111, 222, 333, 444, 555)
    async with logging_proxy(tmp_path, "Trace", workers=2) as proxy:

        async def ask_both() -> None:
            for _ in range(12):
                assert (await ask(proxy.port, get("/a/x"))).status == 200

        for above in limits:
            size = log.stat().st_size + above
            for worker in proxy.workers():
                resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            await ask_both()
            while log.stat().st_size < size:
                await ask_both()
            for worker in proxy.workers():
                resource.prlimit(worker, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            await ask_both()
    lines = log.read_text().splitlines()
    assert not [line for line in lines if len(re.findall(r"\[\d\d/[A-Z]", line)) > 1]
    assert sum(not NEW_DATE.match(line) for line in lines) <= len(limits)


# --- what it wrote is what it decided -------------------------------------------------------------------------------------


class Unsteady:
    """A server that stops and starts on its port, and does to each request what the request's X-Do says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._kept = listening_socket()
        self.port: int = self._kept.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._sessions = 0

    @property
    def is_up(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        self._kept.close()
        self._kept = listening_socket(self.port)
        self._server = await asyncio.start_server(self._serve, sock=self._kept)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for writer in self._writers:
            writer.transport.abort()
        origin = Origin.__new__(Origin)  # its way to keep a port that refuses
        origin._sock, origin.host, origin.port = self._kept, "127.0.0.1", self.port
        origin.refuse()
        self._kept = origin._sock

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._kept.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if found := re.search(rb"content-length: (\d+)", head, re.IGNORECASE):
                    await reader.readexactly(int(found[1]))
                wanted = re.search(rb"X-Do: (\w+)(?: (\w+))?", head)
                what = wanted[1] if wanted and wanted[2] in (None, self.name.encode()) else b"ok"
                if what == b"close":
                    break
                answer = _ANSWERS[what]
                if what == b"ok" and b"JSESSIONID=" not in head and b"jsessionid=" not in head:
                    self._sessions += 1
                    cookie = b"Set-Cookie: JSESSIONID=0000NEW%s%08d; Path=/" % (
                        self.name.encode(),
                        self._sessions,
                    )
                    answer = answer.replace(b"\r\n\r\n", b"\r\n" + cookie + b"\r\n\r\n")
                writer.write(answer)
                if what == b"cut":
                    await writer.drain()
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


_ANSWERS = {
    b"ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"busy": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    b"error": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    b"garbage": b"no HTTP at all\r\n\r\n",
    b"cut": b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
}
_DEEDS = [
    "",
    *(
        f"X-Do: {what}{who}"
        for what in ("close", "busy", "error", "garbage", "cut")
        for who in ("", " s0", " s1")
    ),
]

REPLAYED_REQUESTS = 3000
CLIENTS = 6


def _lanes(rng: random.Random) -> list[Lane]:
    """Clusters of each kind: weights, a backup, MaxConnections, Random, a single server."""

    def members(count: int, backups: int = 0, attributes: str = "") -> list[Member]:
        return [
            Member(
                cast("Origin", Unsteady(f"s{at}")),
                f"s{at}",
                f'CloneID="c{at}" LoadBalanceWeight="{rng.randint(1, 4)}" {attributes}',
                is_backup=at >= count - backups,
            )
            for at in range(count)
        ]

    common = 'RetryInterval="1" PostBufferSize="1"'
    return [
        Lane("shop", members(4, 1), common),
        Lane("small", members(2, attributes='MaxConnections="2"'), common),
        Lane("any", members(3), f'{common} LoadBalance="Random"'),
        Lane("one", members(1), common),
    ]


def _random_request(rng: random.Random, jar: dict[str, str]) -> tuple[str, bytes]:
    """The first part of its path, and the request; some go on with the session that the jar has for that part."""
    where = rng.choice(["shop", "shop", "small", "small", "any", "one", "none"])
    path = f"/{where}/{rng.choice(['', 'a', 'b/c.jsp', 'it%27s', 'd'])}"
    session = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=23))
    clones = "".join(
        f":{rng.choice(['c0', 'c1', 'c2', 'c3', 'x9'])}" for _ in range(rng.randint(0, 3))
    )
    fields = []
    if where in jar and rng.random() < 0.5:
        fields.append(f"Cookie: JSESSIONID={jar[where]}")
    elif rng.random() < 0.5:
        fields.append(f"Cookie: other=1; JSESSIONID=0000{session}{clones}; more=2")
    elif rng.random() < 0.3:
        path += f";jsessionid=0000{session}{clones}"
    if rng.random() < 0.3:
        path += "?q=1;jsessionid=nothing"
    if rng.random() < 0.25:
        fields.append(rng.choice(_DEEDS))
    sent = list(filter(None, fields))
    if rng.random() < 0.2:
        return where, request("POST", path, *sent, body=b"x" * rng.choice([1, 900, 3000]))
    return where, get(path, *sent)


async def _be_client(port: int, rng: random.Random, count: int) -> Counter[int]:
    """Sends so many requests, most of them on one connection after the other; keeps its sessions as a browser does."""
    statuses: Counter[int] = Counter()
    jar: dict[str, str] = {}
    client = await Client.connect(port)
    try:
        for _ in range(count):
            where, asked = _random_request(rng, jar)
            try:
                answer = await client.ask(asked)
                statuses[answer.status] += 1
                is_over = answer.closes or rng.random() < 0.05
                for cookie in answer.all(b"set-cookie"):
                    jar[where] = cookie.partition(b";")[0].partition(b"=")[2].decode()
            except IncompleteError:
                statuses[0] += 1
                is_over = True
            if is_over:
                client.sock.close()
                client = await Client.connect(port)
    finally:
        client.sock.close()
    return statuses


async def _trouble(servers: list[Unsteady], rng: random.Random) -> None:
    """Stops and starts servers until it is cancelled."""
    while True:
        server = rng.choice(servers)
        await (server.stop() if server.is_up else server.start())
        await asyncio.sleep(rng.random() * 0.2)


@pytest.mark.parametrize(("seed", "workers"), [(1, 1), (2, 1), (3, 2), (4, 2)])
async def test_the_replay_of_its_own_trace_differs_nowhere(
    seed: int, workers: int, tmp_path: Path
) -> None:
    """
    Thousands of random requests while servers fail and return; each decision in the log is the one that replay takes.

    Workers write in blocks, and a state that one changes while another reads it cannot be told from their lines.
    """
    rng = random.Random(seed)
    lanes = _lanes(rng)
    servers = [cast("Unsteady", member.origin) for each in lanes for member in each.members]
    for server in servers:
        await server.start()
    routes = VHOSTS + log_element("Trace")
    async with running_proxy(lanes, routes=routes, folder=tmp_path, workers=workers) as proxy:
        trouble = asyncio.ensure_future(_trouble(servers, rng))
        try:
            statuses = sum(
                await asyncio.gather(
                    *(
                        _be_client(
                            proxy.port, random.Random(f"{seed} {at}"), REPLAYED_REQUESTS // CLIENTS
                        )
                        for at in range(CLIENTS)
                    )
                ),
                Counter(),
            )
        finally:
            trouble.cancel()
            await asyncio.gather(trouble, return_exceptions=True)
    assert {200, 404, 500, 502, 503} <= set(statuses), statuses
    replay, outcomes = replay_own(tmp_path)
    assert replay.summary.requests == REPLAYED_REQUESTS
    assert replay.summary.differences == 0, described(outcomes)[:4000]
    raced = [check for each in outcomes for check in each.checks if check.note == RACED]
    # More where the machine is busy; but not most.
    assert len(raced) <= (REPLAYED_REQUESTS // 10 if workers > 1 else 0), raced
    for what in (
        *(What.SERVER, What.MARK_DOWN, What.COUNTERS, What.STATUS, What.TRANSPORT),
        *(What.AFFINITY, What.RETRY, What.POST_SIZE, What.RETRY_INTERVAL),
    )[: 9 if workers == 1 else 8]:  # when several were told of a mark is not known to two seconds
        # how many servers are marked depends on chance and time: once it was 28, on a busy machine
        assert replay.summary.same[what] > REPLAYED_REQUESTS // 300, what
    # with one CloneID another, its sessions are balanced, and many of them come to the same server by their turn
    renamed, _ = replay_own(tmp_path, renamed=(b'CloneID="c1"', b'CloneID="z9"'))
    assert renamed.summary.checks[What.AFFINITY][DIFFERS] > REPLAYED_REQUESTS // 30
