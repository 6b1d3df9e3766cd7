"""The access log as the real process writes it: a line for each request, whole, joined with http_plugin.log, replayable."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Client, ask, get, request
from tests.support.command import run_command
from tests.support.logfiles import lines_of, lines_with
from tests.support.origin import OriginConnection, keep_answering
from tests.support.process import COMMAND_S, WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy
from tests.support.syslog import daemon, parse
from wsproxy.config.access_format import DEFAULT, JSON_FIELDS

VHOSTS = '<VirtualHostGroup Name="v"><VirtualHost Name="*:9080"/><VirtualHost Name="shop.example:9080"/></VirtualHostGroup>'
SESSION = "QWERTZUIOPASDFGHJKLYX"
COOKIE = f"Cookie: JSESSIONID=0000{SESSION}:c1"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
# Short lines for what counts here.
SHORT = '"%r" %>s %B %O %X WAS=%{WAS}e %L'
DEFAULT_LINE = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] \"GET /a/x HTTP/1\.1\" 200 \d+ "
    r"\"http://h/\" \"curl/8\" D=\d+ WAS=127\.0\.0\.1:\d+ JSESSIONID=0000\*\*\*:c1 id=[0-9a-f]{8}-00000001"
)


def settings_of(log_format: str = SHORT, *more: str) -> str:
    return "\n".join(
        ["[log]", 'access = "access.log"', f"access_format = '{log_format}'", *more, ""]
    )


@asynccontextmanager
async def logging_proxy(
    folder: Path,
    cluster: Lane | None = None,
    *,
    settings: str | None = None,
    level: str = "",
    workers: int = 1,
) -> AsyncIterator[Proxy]:
    """A proxy before healthy servers, or before this lane as it is; its log is ``folder/access.log``."""
    async with AsyncExitStack() as stack:
        if cluster is None:
            cluster = lane("a", 2)
            for member in cluster.members:
                await stack.enter_async_context(member.origin.serving(keep_answering))
        log = f'<Log Name="http_plugin.log" LogLevel="{level}"/>' if level else ""
        yield await stack.enter_async_context(
            running_proxy(
                [cluster],
                routes=VHOSTS + log,
                folder=folder,
                settings=settings_of() if settings is None else settings,
                workers=workers,
            )
        )


async def test_the_default_line(tmp_path: Path) -> None:
    """Combined, and behind it time, server, session without its secret, and id; written while the proxy runs."""
    settings = '[log]\naccess = "access.log"\n'
    async with logging_proxy(tmp_path, settings=settings) as proxy:
        await ask(proxy.port, get("/a/x", COOKIE, "Referer: http://h/", "User-Agent: curl/8"))
        (line,) = await lines_with(tmp_path / "access.log", count=1)
    assert DEFAULT_LINE.fullmatch(line), line
    assert len(lines_of(tmp_path / "access.log")) == 1


async def test_no_log_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with logging_proxy(tmp_path, settings="") as proxy:
        await ask(proxy.port, get("/a/x"))
    assert sorted(os.listdir(tmp_path)) == ["plugin-cfg.xml", "wsproxy.toml"]


async def test_each_request_leaves_one_line(tmp_path: Path) -> None:
    """Answered, without body, uploaded, pipelined, local, malformed: a line each, with what was sent."""
    async with logging_proxy(tmp_path) as proxy:
        async with await Client.connect(proxy.port) as client:
            whole = await client.ask(get("/a/x?q=1"))
            await client.ask(request("HEAD", "/a/x"), head_only=True)
            await client.ask(request("POST", "/a/x", body=b"12345"))
            await client.ask(get("/nowhere"))
            await client.send(get("/a/1") + get("/a/2") + get("/a/3", "Connection: close"))
            for _ in range(3):
                await client.answer()
        for bad in (b"GET /\x01 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
            assert (await ask(proxy.port, bad)).status == 400
        assert (await ask(proxy.port, get("/a/x", "Expect: more"))).status == 417
    lines = lines_of(tmp_path / "access.log")
    size = len(whole.head) + 4 + len(whole.body)
    assert [re.sub(r" WAS=\S+ \S+$", "", line) for line in lines[:4]] == [
        f'"GET /a/x?q=1 HTTP/1.1" 200 {len(whole.body)} {size} +',
        f'"HEAD /a/x HTTP/1.1" 200 0 {size - len(whole.body)} +',
        f'"POST /a/x HTTP/1.1" 200 {len(whole.body)} {size} +',
        lines[3].partition(" WAS=")[0],
    ]
    assert re.match(r'"GET /nowhere HTTP/1.1" 404 [1-9]\d+ [1-9]\d+ \+ WAS=- ', lines[3])
    assert [line.split('"')[1] for line in lines[4:7]] == [
        f"GET /a/{n} HTTP/1.1" for n in (1, 2, 3)
    ]
    assert [line.split()[6] for line in lines[4:7]] == ["+", "+", "-"]
    assert lines[7].startswith('"GET /\\x01 HTTP/1.1" 400 ')
    assert lines[8].startswith('"\\x16\\x03\\x01" 400 ')
    assert lines[9].startswith('"GET /a/x HTTP/1.1" 417 ')
    assert len(lines) == 10
    assert len({line.split()[-1] for line in lines}) == 10


async def test_requests_that_are_cut_at_the_end_of_the_proxy_have_their_line(
    tmp_path: Path,
) -> None:
    cluster = lane("a")
    settings = settings_of() + "[timeouts]\nshutdown_s = 0.1\n"
    async with (
        logging_proxy(tmp_path, cluster, settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/a/x"))
        server = await cluster.origin.accept()
        await server.request()
        proxy.stop()
        assert await client.is_cut()
        await asyncio.wait_for(proxy.watch.exited.wait(), WAIT_S)
    (line,) = lines_of(tmp_path / "access.log")
    assert line.startswith(f'"GET /a/x HTTP/1.1" 499 0 0 X WAS=127.0.0.1:{cluster.origin.port} ')


async def test_a_request_that_comes_too_slowly_is_a_408(tmp_path: Path) -> None:
    """As far as its first line is there; a client that only connects leaves nothing."""
    settings = settings_of() + "[timeouts]\nhead_s = 0.1\nbody_s = 0.1\n"
    cluster = lane("a")  # its server takes connections and says nothing
    async with logging_proxy(tmp_path, cluster, settings=settings) as proxy:
        for part in (b"GET /a/x HTTP/1.1\r\nHo", b"G", request("POST", "/a/b", body=b"12")[:-1]):
            async with await Client.connect(proxy.port) as client:
                await client.send(part)
                assert (await client.answer()).status == 408
        async with await Client.connect(proxy.port) as client:
            assert await client.is_cut()
    assert [line.split(" 408 ")[0] for line in lines_of(tmp_path / "access.log")] == [
        '"GET /a/x HTTP/1.1"',
        '"G"',
        '"POST /a/b HTTP/1.1"',
    ]


async def test_servers_that_fail_are_not_the_ones_that_answered(tmp_path: Path) -> None:
    """The line names the server whose answer it is, of two tries too; none where none had the request."""
    cluster = lane("a", 2, server='ServerIOTimeout="60"')
    cluster.members[0].origin.refuse()
    good = cluster.members[1].origin
    async with logging_proxy(tmp_path, cluster) as proxy:
        async with good.serving(keep_answering):
            for _ in range(2):
                assert (await ask(proxy.port, get("/a/x"))).status == 200
        good.refuse()
        proxy.expected.append("Exception")
        assert (await ask(proxy.port, get("/a/x"))).status == 503
    lines = lines_of(tmp_path / "access.log")
    assert [re.sub(r" \S+$", "", line.partition("WAS=")[2]) for line in lines] == [
        f"127.0.0.1:{good.port}",
        f"127.0.0.1:{good.port}",
        "-",
    ]


async def test_answers_that_are_not_whole(tmp_path: Path) -> None:
    """A server that stops within its answer, one that sends none, a client that leaves before and within it."""
    cluster = lane("a")
    async with logging_proxy(tmp_path, cluster) as proxy:
        proxy.expected.append(".")
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/a/cut"))
            server = await cluster.origin.accept()
            await server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            server.reset()
            await client.head()
            await client.exactly(5)
            assert await client.is_cut()
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/a/bad"))
            await (await cluster.origin.accept()).answer(
                b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"
            )
            assert (await client.answer()).status == 502
        async with await Client.connect(proxy.port) as client:
            await client.send(get("/a/chunks"))
            await (await cluster.origin.accept()).answer(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"
            )
            page = await client.answer()
            assert page.status == 502
        client = await Client.connect(proxy.port)
        await client.send(get("/a/gone"))
        server = await cluster.origin.accept()
        await server.request()
        client.reset()
        await server.end()
        client = await Client.connect(proxy.port)
        await client.send(get("/a/within"))
        server = await cluster.origin.accept()
        await server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await client.head()
        await client.exactly(5)
        client.reset()
        await server.end()
    address = f"WAS=127.0.0.1:{cluster.origin.port}"
    found = [
        re.sub(r'^"GET (\S+) HTTP/1.1" (\d+) (\d+) \d+ (.) (\S+) \S+$', r"\1 \2 \3 \4 \5", line)
        for line in lines_of(tmp_path / "access.log")
    ]
    size = len(page.body)
    assert found == [
        f"/a/cut 200 5 X {address}",
        f"/a/bad 502 {size} + {address}",
        f"/a/chunks 502 {size} + {address}",
        f"/a/gone 499 0 X {address}",
        f"/a/within 200 5 X {address}",
    ]


async def test_a_tunnel_is_told_of_at_its_end(tmp_path: Path) -> None:
    cluster = lane("a")
    async with (
        logging_proxy(tmp_path, cluster) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/a/x", *UPGRADE))
        server = await cluster.origin.accept()
        await server.answer(SWITCH)
        assert (await client.head()).status == 101
        await server.send(b"seven b")
        await client.exactly(7)
        assert lines_of(tmp_path / "access.log") == []
        server.close()
        assert await client.is_cut()
    (line,) = lines_of(tmp_path / "access.log")
    assert re.match(r'"GET /a/x HTTP/1.1" 101 7 \d+ - WAS=127', line), line


@pytest.mark.parametrize("level", ["", "Stats", "Trace"])
async def test_ids_are_those_of_http_plugin_log(level: str, tmp_path: Path) -> None:
    """Pid and tid of its columns; without that log requests are counted all the same."""
    async with logging_proxy(tmp_path, level=level) as proxy:
        (worker,) = proxy.workers()
        for _ in range(5):
            await ask(proxy.port, get("/a/x", COOKIE))
    ids = [line.split()[-1] for line in lines_of(tmp_path / "access.log")]
    assert ids == [f"{worker:08x}-{number:08x}" for number in range(1, 6)]
    if level:
        told = re.findall(
            r"\] (\w{8}) (\w{8}) - STATS: ws_server: serverSetFailover",
            (tmp_path / "http_plugin.log").read_text(),
        )
        assert [f"{pid}-{tid}" for pid, tid in told] == ids


@pytest.mark.parametrize("shows", ["false", "true"])
async def test_clients_put_nothing_into_the_log(shows: str, tmp_path: Path) -> None:
    """Quotes, backslashes and bytes outside ASCII are escaped; sessions are masked, passwords never shown."""
    log_format = '"%r" "%{Referer}i" "%{User-Agent}i" %{Cookie}i|%{JSESSIONID}C|%{theme}C|%{Authorization}i|%U|%q|%v'
    settings = settings_of(log_format, f"access_sessions = {shows}")
    target = f'/a/x;jsessionid=0000{SESSION}:c1?q="\\x'
    async with (
        logging_proxy(tmp_path, settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(
            f"GET {target} HTTP/1.1\r\nHost: shop.example:9080\r\nReferer: http://h{target}\r\n"
            f'User-Agent: a" 200 1 \\\t\xfc\r\n{COOKIE}; theme=dark\r\nAuthorization: Basic eHl6\r\n\r\n'.encode(
                "latin-1"
            )
        )
        assert (await client.answer()).status == 200
    (line,) = lines_of(tmp_path / "access.log")
    session = f"0000{SESSION}" if shows == "true" else "0000***"
    path = f"/a/x;jsessionid={session}:c1"
    query = '?q=\\"\\\\x'
    theme = "dark" if shows == "true" else "***"
    assert line == (
        f'"GET {path}{query} HTTP/1.1" "http://h{path}{query}" "a\\" 200 1 \\\\\\t\\xfc" '
        f"JSESSIONID={session}:c1; theme={theme}|{session}:c1|{theme}|***|{path}|{query}|shop.example"
    )
    assert "eHl6" not in line


async def test_a_file_that_was_moved_or_removed_is_made_anew(tmp_path: Path) -> None:
    """Without a signal; SIGUSR1 opens it where the name is another file already."""
    log = tmp_path / "access.log"
    async with logging_proxy(tmp_path, workers=2) as proxy:
        await ask(proxy.port, get("/a/1"))
        await lines_with(log, count=1)
        log.rename(tmp_path / "old")
        await ask(proxy.port, get("/a/2"))
        await lines_with(log, count=1)
        log.rename(tmp_path / "older")
        log.touch()
        os.kill(proxy.pid, signal.SIGUSR1)
        await proxy.line("SIGUSR1: .*access.log is opened anew")
        await ask(proxy.port, get("/a/3"))
        await lines_with(log, count=1)
    assert [
        line.split()[1] for name in ("old", "older", "access.log") for line in (tmp_path / name).read_text().splitlines()
    ] == ["/a/1", "/a/2", "/a/3"]  # fmt: skip


async def test_workers_share_the_file_line_by_line(tmp_path: Path) -> None:
    """Four workers write at once: each line is whole, and each request has an id of its own."""
    agent = "User-Agent: " + "x" * 3000
    settings = settings_of('"%r" %>s "%{User-Agent}i" %L')
    async with logging_proxy(tmp_path, settings=settings, workers=4) as proxy:

        async def ask_many() -> None:
            for _ in range(5):
                async with await Client.connect(proxy.port) as client:
                    for _ in range(20):
                        await client.ask(get("/a/x", agent))

        await asyncio.gather(*(ask_many() for _ in range(16)))
    whole = re.compile(r'"GET /a/x HTTP/1.1" 200 "x{3000}" ([0-9a-f]{8})-[0-9a-f]{8}')
    lines = lines_of(tmp_path / "access.log")
    found = [whole.fullmatch(line) for line in lines]
    assert all(found)
    assert len(set(lines)) == 1600
    assert len(Counter(each[1] for each in found if each)) > 1


async def test_a_full_disk_drops_lines_and_no_request(tmp_path: Path) -> None:
    """/dev/full takes nothing: requests go on, standard error says so and counts what is missing."""
    async with logging_proxy(tmp_path) as proxy:
        log = tmp_path / "access.log"
        log.unlink()
        log.symlink_to("/dev/full")
        for _ in range(20):
            assert (await ask(proxy.port, get("/a/x"))).status == 200
        await proxy.line("access.log: No space left on device; lines are dropped")
        await proxy.line(r"access.log: \d+ lines are missing")
        log.unlink()
        await ask(proxy.port, get("/a/y"))
        await proxy.line("access.log: is written again")
        assert "/a/y" in (await lines_with(log, count=1))[-1]


@pytest.mark.parametrize("vhost", ["", "%v:%p "])
async def test_what_it_wrote_replays(vhost: str, tmp_path: Path) -> None:
    """`wsproxy replay` understands every line of the default format, masked as it is, and finds no difference."""
    settings = settings_of(vhost + DEFAULT)
    host = () if vhost else ("--host", "shop.example:9080")
    async with (
        logging_proxy(tmp_path, settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        for number in range(20):
            await client.ask(
                get(
                    f'/a/x{number}?q="',
                    f"Cookie: JSESSIONID=0000{SESSION}:c{number % 2}",
                    'User-Agent: WAS=evil:1 "JSESSIONID=evil:c1',
                )
            )
        await client.ask(get("/nowhere"))
    replayed = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-P", "-m", "wsproxy", "replay", str(tmp_path / "access.log")),
            *("--format", "combined", *host),
            *("--config", str(tmp_path / "plugin-cfg.xml"), "--json"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert (
        replayed.stdout.count('"result": "same"') + replayed.stdout.count('"result":"same"') >= 20
    )
    assert "evil" not in replayed.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (settings_of("%Z"), r'log.access_format: found "%Z"; allowed is common, combined'),
        ('[log]\naccess = "/nowhere/a.log"\n', r'log.access: found "/nowhere/a.log": No such file'),
        ('[log]\naccess = "|rotatelogs x"\n', r"wsproxy pipes to no program"),
    ],
)
async def test_what_cannot_be_written_is_said_at_start(
    settings: str, message: str, tmp_path: Path
) -> None:
    cluster = lane("a")
    (tmp_path / "plugin-cfg.xml").write_text(f"<Config>{cluster.xml()}</Config>")
    (tmp_path / "wsproxy.toml").write_text(settings)
    cluster.origin.close()
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-P", "-m", "wsproxy", "run", str(tmp_path / "plugin-cfg.xml")),
            *("--settings", str(tmp_path / "wsproxy.toml"), "--listen", "127.0.0.1:0"),
        ],
        capture_output=True, text=True, check=False, timeout=COMMAND_S,
    )  # fmt: skip
    assert ended.returncode != 0
    assert re.search(message, ended.stderr), ended.stderr


async def test_json_lines(tmp_path: Path) -> None:
    """One object a line that a JSON reader takes, with the session masked; replay reads them."""
    cluster = lane("a", 2)
    good = cluster.members[1].origin
    cluster.members[0].origin.refuse()
    async with logging_proxy(tmp_path, cluster, settings=settings_of("json")) as proxy:
        async with good.serving(keep_answering), await Client.connect(proxy.port) as client:
            target = f"/a/x;jsessionid=0000{SESSION}:c1?q=%22"
            await client.ask(get(target, COOKIE, 'User-Agent: a "b" \\c\xe9'))
        async with await Client.connect(proxy.port) as client:
            await client.ask(b"no request\r\n\r\n")
    found = [json.loads(line) for line in lines_of(tmp_path / "access.log")]
    names = [name for name, _, _ in JSON_FIELDS]
    assert [list(each) for each in found] == [names, names]
    one, other = found
    assert (one["request"], one["method"]) == (
        "GET /a/x;jsessionid=0000***:c1?q=%22 HTTP/1.1",
        "GET",
    )
    assert (one["path"], one["query"]) == ("/a/x;jsessionid=0000***:c1", "?q=%22")
    assert (one["host"], one["port"], one["client"]) == ("shop.example", 9080, "127.0.0.1")
    assert (one["status"], one["server"]) == (200, f"127.0.0.1:{good.port}")
    assert (one["connection"], one["jsessionid"]) == ("kept", "0000***:c1")
    assert (one["referer"], one["user_agent"]) == (None, 'a "b" \\c\u00c3\u00a9')
    assert 0 < one["duration_us"] < 60_000_000
    assert (other["request"], other["method"], other["status"]) == ("no request", None, 400)
    assert (other["server"], other["connection"]) == (None, "closed")
    done = await asyncio.to_thread(
        run_command, "replay", tmp_path / "access.log", "--format", "json",
        "--config", tmp_path / "plugin-cfg.xml", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1])["statuses"] == {"200": 1}, done.stdout


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        ('"failed"', {"/a/502", "/a/cut", "/a/500"}),
        ('"slow"', {"/a/slow"}),
        ('"retried"', {"/a/again"}),
        ('"failed", "retried"', {"/a/502", "/a/cut", "/a/500", "/a/again"}),
    ],
)
async def test_only_some_lines_are_written(only: str, wanted: set[str], tmp_path: Path) -> None:
    """Failed: 5xx of anybody, or broken off; a 404 of the server is none, nor is one of ours."""
    cluster = lane("a", 2)
    cluster.members[0].origin.refuse()
    good = cluster.members[1].origin
    settings = settings_of("%U", f"access_only = [{only}]", "access_slow_s = 0.5")

    async def play(connection: OriginConnection) -> None:
        while head := await connection.head():
            path = head.split()[1].rpartition(b"/")[2]
            if path == b"slow":
                await asyncio.sleep(0.6)
            if path == b"502":
                await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
                return
            if path == b"cut":
                await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
                connection.close()
                return
            status = path if path.isdigit() else b"200"
            await connection.send(b"HTTP/1.1 " + status + b" X\r\nContent-Length: 0\r\n\r\n")

    async with logging_proxy(tmp_path, cluster, settings=settings) as proxy:
        proxy.expected.append(".")
        async with good.serving(play):
            # the session's server refuses, once
            for path in ("/a/again", "/a/200", "/a/404", "/nowhere", "/a/500", "/a/slow", "/a/502"):
                await ask(proxy.port, get(path, "Connection: close", COOKIE.replace(":c1", ":c0")))
            async with await Client.connect(proxy.port) as client:
                await client.send(get("/a/cut"))
                await client.head()
                await client.exactly(1)
                assert await client.is_cut()
    assert set(lines_of(tmp_path / "access.log")) == wanted


async def test_times_rule_and_tries(tmp_path: Path) -> None:
    """Of a first try, a warm connection, a retry elsewhere, a session; where it has not come to that there is a dash."""
    names = "cluster server_name rule route tries cause receive_us queue_us connect_us send_us first_byte_us answer_us"
    settings = settings_of("|".join(f"%{{{name}}}x" for name in names.split()))
    cluster = lane("a", 2)
    async with logging_proxy(tmp_path, cluster, settings=settings) as proxy:
        async with (
            cluster.members[0].origin.serving(keep_answering),
            cluster.members[1].origin.serving(keep_answering),
            await Client.connect(proxy.port) as client,
        ):
            for _ in range(4):
                await client.ask(get("/a/x"))
            await client.ask(get("/a/x", COOKIE))
            await client.ask(get("/nowhere"))
        cluster.members[1].origin.refuse()
        await client_of_refused(proxy, cluster)
    rows = [dict(zip(names.split(), line.split("|"), strict=True)) for line in lines_of(tmp_path / "access.log")]  # fmt: skip
    first, session, lost, moved = rows[0], rows[4], rows[5], rows[6]
    assert {(row["cluster"], row["rule"], row["tries"], row["cause"]) for row in rows[:4]} == {
        ("a", "weight", "1", "--")
    }
    assert {row["server_name"] for row in rows[:4]} == {"s0", "s1"}
    assert len({row["route"] for row in rows[:5]}) == 1
    assert first["queue_us"] == "-"
    assert int(first["connect_us"]) > 0
    assert rows[3]["connect_us"] == "0"
    assert int(first["first_byte_us"]) > 0
    assert int(first["answer_us"]) >= 0
    assert (first["receive_us"], first["send_us"]) == ("0", "0")
    assert (session["rule"], session["server_name"]) == ("affinity", "s1")
    assert list(lost.values()) == ["-", "-", "-", "-", "0", "LR", "0", "-", "-", "-", "-", "-"]
    assert (moved["rule"], moved["server_name"], moved["tries"]) == ("failover/weight", "s0", "2")


async def client_of_refused(proxy: Proxy, cluster: Lane) -> None:
    """A request whose session's server refuses: the other one answers."""
    proxy.expected.append(".")
    cluster.members[0].origin.reopen()
    async with cluster.members[0].origin.serving(keep_answering):
        assert (await ask(proxy.port, get("/a/x", COOKIE, "Connection: close"))).status == 200


async def test_syslog_gets_a_message_for_each_request(tmp_path: Path) -> None:
    """Over the local socket; a daemon that is not there costs lines, which are counted, and no request."""
    path = tmp_path / "log"
    settings = settings_of("%U", 'access_facility = "local3"\n').replace(
        '"access.log"', f'"syslog:unix:{path}"'
    )
    async with logging_proxy(tmp_path, settings=settings) as proxy:
        assert (await ask(proxy.port, get("/a/lost"))).status == 200
        await proxy.line("syslog:unix:.*/log: No such file or directory; lines are dropped")
        await proxy.line("syslog:unix:.*: 1 lines are missing")
        with daemon(path) as sock:
            sock.setblocking(False)
            await ask(proxy.port, get("/a/x"))
            loop = asyncio.get_running_loop()
            message = parse(await asyncio.wait_for(loop.sock_recv(sock, 9999), WAIT_S))
        assert (message.facility, message.text) == (19, "/a/x")
        assert message.pid == str(proxy.workers()[0])
        await proxy.line("syslog:unix:.*: is written again")


async def test_standard_output_gets_whole_lines_of_all_workers(tmp_path: Path) -> None:
    """Into a pipe, as a container's runtime reads it."""
    cluster = lane("a")
    (tmp_path / "plugin-cfg.xml").write_text(f"<Config>{cluster.xml()}{VHOSTS}</Config>")
    (tmp_path / "wsproxy.toml").write_text(settings_of("%U").replace("access.log", "stdout"))
    async with cluster.origin.serving(keep_answering):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "wsproxy", "run", str(tmp_path / "plugin-cfg.xml")),
            *("--settings", str(tmp_path / "wsproxy.toml"), "--listen", "127.0.0.1:0", "--workers", "2"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        port = 0
        while not port:
            line = (await asyncio.wait_for(process.stderr.readline(), WAIT_S)).decode()
            assert line, "it ended"
            found = re.search(r"ready on http://\S+:(\d+)", line)
            port = int(found[1]) if found else 0
        for number in range(20):
            await ask(port, get(f"/a/{number}"))
        lines = {await asyncio.wait_for(process.stdout.readline(), WAIT_S) for _ in range(20)}
        process.terminate()
        rest, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    cluster.origin.close()
    assert (lines, rest) == ({b"/a/%d\n" % number for number in range(20)}, b"")
    assert process.returncode == 0
