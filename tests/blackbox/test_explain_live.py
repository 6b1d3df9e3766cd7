"""``explain --live`` and the admin socket: what the running proxy says, who may ask, and that asking changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.admin import talk
from tests.support.client import ask, get
from tests.support.forks import start_child, wait_for
from tests.support.origin import OriginConnection, keep_answering
from tests.support.process import COMMAND_S, WAIT_S, wait_for_end, watched_process
from tests.support.proxy import Lane, Proxy, lane, processes_of, running_proxy
from wsproxy.admin.messages import MOST_BODY_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = 65534
SESSION = ("--cookie", "JSESSIONID=0000abc:c0")


@dataclass(slots=True)
class Bed:
    """Two workers before two servers, and where their socket is."""

    proxy: Proxy
    farm: Lane
    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "admin.sock"

    @property
    def config(self) -> Path:
        return self.folder / "plugin-cfg.xml"

    async def explain(self, *options: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await run(
                self.config, *options, "--live", "--socket", str(self.socket), "--json", code=code
            )
        )
        return found

    def admin_pid(self) -> int | None:
        """Its process, a child of the supervisor like the workers."""
        return next(iter(processes_of(self.proxy.pid, "wsproxy-admin")), None)


async def run(
    config: Path | str,
    *options: str,
    url: str = "http://h/farm/x",
    code: int = 0,
    env: dict[str, str] | None = None,
) -> str:
    """What ``wsproxy explain`` prints: its standard output, or why it refuses."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-P", "-m", "wsproxy", "explain", str(config), "GET", url, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code < 2 else done.stderr


def posted(body: bytes, *lines: str, path: str = "/v1/explain") -> bytes:
    head = "\r\n".join(
        [
            f"POST {path} HTTP/1.1",
            "Host: h",
            "Connection: close",
            f"Content-Length: {len(body)}",
            *lines,
        ]
    )
    return head.encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def made(farm: Lane, settings: str = "") -> AsyncIterator[Bed]:
    with tempfile.TemporaryDirectory() as folder:
        text = f'[admin]\nsocket = "admin.sock"\n{settings}'
        async with running_proxy([farm], workers=2, settings=text, folder=Path(folder)) as proxy:
            yield Bed(proxy, farm, Path(folder))
        assert "admin.sock" not in os.listdir(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed() -> AsyncIterator[Bed]:
    farm = lane("farm", 2, attributes='RetryInterval="3600"', server='MaxConnections="2"')
    async with made(farm) as found:
        yield found


async def test_it_costs_no_process_until_somebody_asks() -> None:
    farm = lane("farm", 2)
    async with made(farm) as bed:
        assert bed.admin_pid() is None
        assert len(bed.proxy.workers()) == 2
        await bed.explain()
        assert bed.admin_pid() is not None


async def test_it_tells_what_all_workers_know(bed: Bed) -> None:
    """Requests in flight at a server, whichever worker has them; then the mark that one worker made."""
    release = asyncio.Event()
    arrived = asyncio.Barrier(3)

    async def hold(connection: OriginConnection) -> None:
        await connection.request()
        await arrived.wait()
        await release.wait()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    first, second = (member.origin for member in bed.farm.members)
    async with first.serving(hold), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(ask(bed.proxy.port, get("/farm/x", "Cookie: JSESSIONID=0000abc:c0")))
        await arrived.wait()
        found = await bed.explain(*SESSION)
        release.set()
    assert [(each["name"], each["in_flight"]) for each in found["servers"]] == [
        ("s0", 2),
        ("s1", 0),
    ]
    assert found["clone_ids"][0]["outcome"] == "at MaxConnections"
    assert found["server"] == "s1"
    first.refuse()
    async with second.serving(keep_answering):
        await ask(bed.proxy.port, get("/farm/x", "Cookie: JSESSIONID=0000new:c0"))
    found = await bed.explain(*SESSION)
    first.reopen()
    assert found["servers"][0]["verdict"].startswith("marked down, for 3")
    assert found["servers"][1]["verdict"] == "usable"
    assert found["rule"].startswith(
        "none of its clone ids has a usable server, so regular balancing"
    )
    moved = await bed.explain("--cookie", "JSESSIONID=0000new:c0")
    assert moved["rule"] == "session affinity: the session moved there a moment ago"


async def test_asking_changes_nothing() -> None:
    """However often: no turn is used up, nothing is in flight, no session is remembered; the answer is the same each time."""
    farm = lane("farm", 3, attributes='LoadBalance="Round Robin"')
    async with made(farm) as bed:
        asked = [await bed.explain() for _ in range(4)]
        lost = [await bed.explain("--cookie", "JSESSIONID=0000abc:c9") for _ in range(2)]
        assert {each["server"] for each in [*asked, *lost]} == {asked[0]["server"]}
        assert "random" not in asked[0]["rule"]
        assert all(server["in_flight"] == 0 for server in (await bed.explain())["servers"])
        origins = {f"s{at}": member.origin for at, member in enumerate(farm.members)}
        # ... and it is true: the next request goes where it was said.
        async with origins[asked[0]["server"]].serving(keep_answering):
            assert (await ask(bed.proxy.port, get("/farm/x"))).status == 200


async def test_tree_says_that_it_is_live_and_whether_the_file_is_the_running_one(bed: Bed) -> None:
    options = ("--live", "--socket", str(bed.socket))
    text = await run(bed.config, *options)
    assert f"live: wsproxy 0.1.0, pid {bed.proxy.pid}, runs {bed.config} since 20" in text
    assert "says something else" not in text
    other = bed.folder / "other.xml"
    other.write_text(bed.config.read_text().replace('Name="s1"', 'Name="s7"'))
    assert "the FILE given here says something else" in await run(other, *options)
    same = bed.folder / "same.xml"
    same.write_text(bed.config.read_text())
    live = json.loads(await run(same, *options, "--json"))["live"]
    assert (live["pid"], live["is_same_config"]) == (bed.proxy.pid, True)
    nowhere = await run(bed.config, *options, "--json", url="http://h/nowhere", code=1)
    assert json.loads(nowhere)["status"] == 404


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--live", "--down", "s0"), "found --down; --live shows what is"),
        (("--live", "--settings", "x.toml"), "found --settings; --live shows what is"),
        (("--socket", "x.sock"), "found --socket; it needs --live"),
        (
            ("--live", "--socket", "/nowhere/x.sock"),
            "/nowhere/x.sock: no proxy answers there: No such file",
        ),
        (("--live", "--socket", "SOCKET", "--header", "Content-Length: x"), "refused with 400"),
    ],
)
async def test_what_cannot_be_asked_is_named(bed: Bed, options: tuple[str, ...], said: str) -> None:
    given = [str(bed.socket) if option == "SOCKET" else option for option in options]
    assert said in await run(bed.config, *given, code=2)


async def test_status(bed: Bed) -> None:
    status, found = await talk(
        bed.socket, b"GET /v1/status HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    )
    assert status == 200
    assert (found["pid"], found["config"], found["worker_count"]) == (
        bed.proxy.pid,
        str(bed.config),
        2,
    )
    running = [pid for pid in bed.proxy.workers() if pid != bed.admin_pid()]
    assert [each["pid"] for each in found["workers"]] == running


async def test_only_the_owner_may_connect(bed: Bed) -> None:
    assert stat.S_IMODE(bed.socket.stat().st_mode) == 0o600
    if os.getuid():
        pytest.skip("needs root to try as somebody else")
    bed.folder.chmod(0o755)

    def connect_as_nobody() -> str:
        os.setuid(NOBODY)
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(str(bed.socket))
            except OSError as error:
                return type(error).__name__
        return "connected"

    [what] = await asyncio.to_thread(wait_for, [start_child(connect_as_nobody)])
    assert what == "PermissionError"


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (posted(b"{"), 400, "question: "),
        (posted(b'{"method": "GET"}'), 400, "missing required field `url`"),
        (posted(b'{"method": "GET", "url": "http://h/", "down": []}'), 400, "unknown field `down`"),
        (posted(b'{"method": "GET", "url": "h"}'), 400, "URL: found h; allowed is http://HOST"),
        (posted(b'{"method": "GET", "url": "http://[h/"}'), 400, "URL: found http://[h/"),
        (posted(b'{"method": "G\\r\\nX: 1", "url": "http://h/"}'), 400, "method: found CR"),
        (posted(b'{"method": "GET", "url": "http://h/a\\r\\nX: 1"}'), 400, "url: found CR"),
        (posted(b'{"method": "GET", "url": "http://h\\n/a"}'), 400, "url: found LF"),
        (posted(b'{"method": "GET", "url": "http://h/a", "headers": ["A: b\\r\\n\\r\\nGET /"]}'), 400, "headers: found CR"),
        (posted(b'{"method": "GET", "url": "http://h/a", "headers": ["A: b\\nC: d"]}'), 400, "headers: found LF"),
        (posted(b"x" * (MOST_BODY_BYTES + 1)), 413, f"found more than {MOST_BODY_BYTES} bytes"),
        (posted(b"", path="/v1/else"), 404, "path: found /v1/else; allowed is POST /v1/explain"),
        (posted(b"", path="/v1/status"), 405, "method: found POST; allowed for /v1/status is GET"),
        (b"\x16\x03\x01\r\n\r\n", 400, ""),
    ],
)  # fmt: skip
async def test_questions_that_are_none_are_answered_with_what_is_allowed(
    bed: Bed, data: bytes, status: int, said: str
) -> None:
    if data.startswith(b"\x16"):
        reader, writer = await asyncio.open_unix_connection(str(bed.socket))
        writer.write(data)
        assert (await asyncio.wait_for(reader.read(), WAIT_S)).split()[1] == b"400"
        writer.close()
        return
    found, answer = await talk(bed.socket, data)
    assert found == status
    assert said in answer["error"]


async def test_slow_clients_do_not_keep_others_waiting(bed: Bed) -> None:
    """Half a head and half a body hang there; the next question is answered at once."""
    slow = [await asyncio.open_unix_connection(str(bed.socket)) for _ in range(8)]
    for number, (_, writer) in enumerate(slow):
        writer.write(b"POST /v1/expl" if number % 2 else posted(b"{" * 50)[:-10])
    assert (await bed.explain())["server"]
    for _, writer in slow:
        writer.close()
        await writer.wait_closed()


async def test_connections_beyond_the_limit_are_ended(bed: Bed) -> None:
    """Whoever may connect cannot make it hold everything open; when they are gone it answers again."""
    crowd = [await asyncio.open_unix_connection(str(bed.socket)) for _ in range(100)]
    ended = [reader.read() for reader, _ in crowd]
    pending = {asyncio.ensure_future(each) for each in ended}
    done: set[asyncio.Future[bytes]] = set()
    while len(done) < 16:
        finished, pending = await asyncio.wait(
            pending, return_when=asyncio.FIRST_COMPLETED, timeout=WAIT_S
        )
        assert finished
        done |= finished
    for _, writer in crowd:
        writer.close()
    await asyncio.gather(*done, *pending, return_exceptions=True)
    assert (await bed.explain())["server"]


async def test_its_death_harms_nobody(bed: Bed) -> None:
    """Killed: workers and their connections go on, and the next question has it started again."""
    await bed.explain()
    pid = bed.admin_pid()
    assert pid is not None
    workers = [each for each in bed.proxy.workers() if each != pid]
    os.kill(pid, signal.SIGKILL)
    await bed.proxy.line(rf"admin process \(pid {pid}\) was killed by SIGKILL; started again when")
    bed.proxy.expected.append("admin process .* was killed by SIGKILL")
    assert (await bed.explain())["server"]
    assert bed.admin_pid() not in (None, pid)
    assert [each for each in bed.proxy.workers() if each != bed.admin_pid()] == workers


async def test_living_proxy_keeps_its_socket(bed: Bed) -> None:
    """A second proxy that is told the same path does not start, and the first goes on answering."""
    (bed.folder / "second.toml").write_text('[admin]\nsocket = "admin.sock"\n')
    arguments = (str(bed.config), "--settings", str(bed.folder / "second.toml"))
    async with watched_process(
        "-m", "wsproxy", "run", *arguments, "--listen", "127.0.0.1:0"
    ) as second:
        await second.line(
            r"admin.socket: found .*a running process answers on .*admin.sock; allowed is"
        )
        assert await second.end() == 1
    assert (await bed.explain())["live"]["pid"] == bed.proxy.pid


async def test_socket_of_a_dead_proxy_is_replaced_and_other_files_are_not(tmp_path: Path) -> None:
    farm = lane("farm")
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    settings = '[admin]\nsocket = "admin.sock"\n'
    async with running_proxy([farm], settings=settings, folder=tmp_path) as proxy:
        found = json.loads(
            await run(tmp_path / "plugin-cfg.xml", "--live", "--socket", str(path), "--json")
        )
        assert found["live"]["pid"] == proxy.pid
    path.write_text("precious")
    arguments = (str(tmp_path / "plugin-cfg.xml"), "--settings", str(tmp_path / "wsproxy.toml"))
    async with watched_process(
        "-m", "wsproxy", "run", *arguments, "--listen", "127.0.0.1:0"
    ) as refused:
        await refused.line(r"admin.sock is there and no socket; allowed is")
        assert await refused.end() == 1
    assert path.read_text() == "precious"


async def test_without_settings_the_one_proxy_that_runs_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them: the one that runs this file; neither: both are named, with what to type. What died there is cleared away."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    stale = tmp_path / "run" / "999999999.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    farm, other = lane("farm"), lane("other")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running_proxy([farm], folder=tmp_path / "a") as proxy:
        assert not stale.exists()
        one = json.loads(await run(tmp_path / "a" / "plugin-cfg.xml", "--live", "--json"))
        assert one["live"]["pid"] == proxy.pid
        async with running_proxy([other], folder=tmp_path / "b") as second:
            own = await run(
                tmp_path / "b" / "plugin-cfg.xml", "--live", "--json", url="http://h/other/x"
            )
            assert json.loads(own)["live"]["pid"] == second.pid
            neither = tmp_path / "c.xml"
            neither.write_text(
                '<Config><ServerCluster Name="x"><Server Name="y"><Transport Hostname="h" Port="1"/>'
                '</Server></ServerCluster><Route ServerCluster="x"/></Config>'
            )
            said = await run(neither, "--live", code=2)
            assert "several proxies run here" in said
            assert f"--socket {tmp_path}/run/{proxy.pid}.sock  pid {proxy.pid}, " in said
            assert f"{second.pid}.sock" in said
    assert list((tmp_path / "run").iterdir()) == []
    assert "no proxy of this user runs here" in await run(
        tmp_path / "a" / "plugin-cfg.xml", "--live", code=2
    )


async def test_socket_that_cannot_be_made_by_default_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    async with running_proxy([lane("farm")]) as proxy:
        await proxy.line(
            r"WARNING .*run-time folder .*`wsproxy explain --live` cannot ask this proxy"
        )


async def test_off_means_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    async with running_proxy([lane("farm")], settings='[admin]\nsocket = "off"\n'):
        assert not (tmp_path / "run").exists()


async def test_it_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """The kernel sends it SIGTERM; who is connected hears the end."""
    config = tmp_path / "plugin-cfg.xml"
    farm = lane("farm")
    config.write_text(f"<Config>{farm.xml()}</Config>")
    farm.origin.close()
    (tmp_path / "wsproxy.toml").write_text('[admin]\nsocket = "admin.sock"\n')
    arguments = (str(config), "--settings", str(tmp_path / "wsproxy.toml"), "--workers", "1")
    async with watched_process(
        "-m", "wsproxy", "run", *arguments, "--listen", "127.0.0.1:0"
    ) as proxy:
        await proxy.line("ready on")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "admin.sock"))
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT_S)
        pidfds = [os.pidfd_open(child) for child in processes_of(proxy.pid, "wsproxy-.+")]
        try:
            assert len(pidfds) == 4  # a worker, this one, the log process and the loader
            os.kill(proxy.pid, signal.SIGKILL)
            for pidfd in pidfds:
                assert await asyncio.to_thread(wait_for_end, pidfd)
        finally:
            for pidfd in pidfds:
                os.close(pidfd)
        await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
