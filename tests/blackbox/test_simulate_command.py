"""``wsproxy simulate`` as a process: on logs of others, on one that wsproxy wrote, and with arguments that are wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, get
from tests.support.command import run_command
from tests.support.origin import OriginConnection
from tests.support.plugin_log import CONFIG, PluginLog
from tests.support.proxy import lane, running_proxy
from tests.support.simulated import TWO, AccessLog
from wsproxy.logs.messages import Code

SHARED = Path(__file__).parents[2].parent / "shared"
SEED = sorted((SHARED / "seeds").glob("004*"))
CORPUS = SHARED / "corpus" / "logs" / "14.log"
VHOSTS = '<VirtualHostGroup Name="v"><VirtualHost Name="*:9080"/></VirtualHostGroup>'


def run(
    *arguments: str | Path, stdin: bytes = b"", command: str = "simulate"
) -> subprocess.CompletedProcess[str]:
    return run_command(command, *arguments, stdin=stdin)


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "new.xml").write_text(TWO)
    return tmp_path / "new.xml"


@pytest.fixture
def access(tmp_path: Path) -> Path:
    log = AccessLog()
    for second in range(60):
        log.add(second, f"0000ABCDEFGHIJKLMNOPQRST{second % 10:03d}:k1", took_s=0.5)
    (tmp_path / "access.log").write_text("\n".join(log.lines) + "\n")
    return tmp_path / "access.log"


COMMON = ("--format", "common", "--host", "www:80")


def test_people_see_both_sides(config: Path, access: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run(
        access, "--config", config, *COMMON, "--down", "s1@10:00:20+10s", "--html", page
    )  # fmt: skip
    assert done.returncode == 0
    # s1 fails at 10:00:20, and is marked down for a minute
    rows = [
        line.split()[:4] for line in done.stdout.splitlines() if re.match(r"(s\d |  ).*%", line)
    ]
    assert rows == [
        ["s1", "before", "60", "100.0%"], ["after", "20", "33.3%", "20"],
        ["s2", "before", "0", "0.0%"], ["after", "40", "66.7%", "30"],
    ]  # fmt: skip
    assert done.stdout.startswith(
        "before:   what access.log says happened\n"
        "after:    its requests through new.xml --down s1@10:00:20+10s, simulated\n"
    )
    assert done.stdout.splitlines()[-1] == "10 of 10 sessions move, none breaks."
    assert "note: 10 of 10 sessions began before the log" in done.stdout
    text = page.read_text()
    assert "--down s1@10:00:20+10s" in text
    assert "ABCDEFGHIJ" not in text + done.stdout
    colours = {(name, colour) for colour, name in re.findall(r"fill='(#\w+)'/></svg> (s\d) ", text)}
    assert {name for name, _ in colours} == {"s1", "s2"}
    # The same in each chart, and another for each server.
    assert len(colours) == len({colour for _, colour in colours}) == 2


def test_json_is_one_document_and_always_the_same(config: Path, access: Path) -> None:
    arguments = (access, "--config", config, *COMMON, "--json", "--rate", "x2", "--seed", "5")
    first = run(*arguments)
    found = result(first)
    assert (found["type"], found["requests"], found["options"]["rate"]) == ("simulation", 60, 2.0)
    assert found["before"]["source"] == "log"
    assert found["after"]["source"] == "simulation"
    assert found["modelled"] is None
    assert [each["requests"] for each in found["after"]["servers"]] == [60, 0]
    assert run(*arguments).stdout == first.stdout
    packed = gzip.compress(access.read_bytes())
    assert result(run("-", *arguments[1:], stdin=packed))["after"] == found["after"]


def test_the_exit_code_tells_whether_it_gets_worse(config: Path, access: Path) -> None:
    tight = ("--max-connections", "s1=1", "--max-connections", "s2=1", "--rate", "x10")
    done = run(access, "--config", config, *COMMON, "--json", *tight)
    assert done.returncode == 1
    assert result(done)["after"]["refused_full"] > 0
    for arguments, says in (
        (("--down", "s1@12:00+5m"), "allowed is a time of the log, 2026-11-21T10:00:00"),
        (("--down", "s3@10:00+5m"), "found server s3; allowed: c/s1"),
        (("--weight", "s1"), "--weight: found s1; allowed is SERVER=NUMBER"),
        (("--rate", "2"), "--rate: found 2; allowed is xN"),
    ):
        done = run(access, "--config", config, *COMMON, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
    assert run(access, "--config", access, *COMMON).returncode == 2
    done = run(access, "--config", config)
    assert (done.returncode, "this is an access log: say --format common" in done.stderr) == (
        3,
        True,
    )


def test_a_log_without_uris_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plugin-cfg.xml").write_text(CONFIG)
    log = PluginLog()
    log.counters("n_s1", 0, 1, 1)
    (tmp_path / "stats.log").write_text(log.text())
    done = run(tmp_path / "stats.log", "--config", tmp_path / "plugin-cfg.xml")
    assert done.returncode == 3
    assert "nothing can be simulated: LogLevel Stats tells no URIs: set LogLevel" in done.stderr


@pytest.mark.skipif(not CORPUS.exists(), reason="no corpus")
def test_a_log_of_the_corpus(tmp_path: Path) -> None:
    """Two requests of one session of 2015; the log tells neither server nor time."""
    text = TWO.replace("/a/*", "/DashBoard/*").replace('"k2"', '"19670enb4"')
    (tmp_path / "plugin-cfg.xml").write_text(text)
    arguments = (CORPUS, "--config", tmp_path / "plugin-cfg.xml", "--format", "common")
    found = result(run(*arguments, "--host", "www:80", "--json"))
    after = found["after"]
    assert (found["requests"], found["assumed_service_times"], after["served"]) == (2, 2, 2)
    assert [each["requests"] for each in after["servers"]] == [0, 2]
    assert (after["by_affinity"], after["sessions"], after["sessions_moved"]) == (2, 1, 0)


@pytest.mark.skipif(not SEED, reason="no seeds")
def test_the_excerpt_in_a_web_page_is_given_as_it_is(tmp_path: Path) -> None:
    """Its one request goes where it went, and where that server is away to the other."""
    rows = "".join(
        f'<Server Name="dlpProdAppSrv{at}node_dlpProdmember{at}" CloneID="16qjggb2{at + 7}">'
        '<Transport Hostname="h" Port="9080"/></Server>'
        for at in (1, 2)
    )
    text = re.sub(r"<Server .*?</ServerCluster>", f"{rows}</ServerCluster>", TWO)
    text = text.replace("/a/*", "/Saba/*").replace("*:80", "*:443")
    (tmp_path / "plugin-cfg.xml").write_text(text)
    arguments = (SEED[0], "--config", tmp_path / "plugin-cfg.xml", "--json")
    found = result(run(*arguments))
    for side in (found["before"], found["after"]):
        counts = {each["server"]: each["requests"] for each in side["servers"] if each["requests"]}
        assert counts == {"dlpProdAppSrv1node_dlpProdmember1": 1}
        assert (side["by_affinity"], side["sessions"]) == (1, 1)
    down = "dlpProdAppSrv1node_dlpProdmember1@2012-10-03T22:18+1h"
    after = result(run(*arguments, "--down", down))["after"]
    assert [each["requests"] for each in after["servers"]] == [0, 1]
    assert (after["sessions_moved"], after["moves"]["down"], after["failed_tries"]) == (1, 1, 1)


async def test_a_log_that_wsproxy_wrote(tmp_path: Path) -> None:
    """Clients with sessions over two servers: the same file gives the log's shares, without one of them the other has all."""
    cluster = lane("a", 2)

    def answering(name: str) -> Any:
        count = 0

        async def answer(connection: OriginConnection) -> None:
            nonlocal count
            while True:
                request = await connection.request()
                cookie = ""
                if b"jsessionid=" not in request.lower():
                    count += 1
                    cookie = f"Set-Cookie: JSESSIONID=0000{name}ABCDEFGHIJKLMNOPQ{count:04d}\r\n"
                await connection.send(
                    f"HTTP/1.1 200 OK\r\n{cookie}Content-Length: 2\r\n\r\nok".encode()
                )

        return answer

    async def be_client(port: int) -> None:
        async with await Client.connect(port) as client:
            answer = await client.ask(get("/a/x"))
            cookie = answer.all(b"set-cookie")[0].partition(b";")[0].decode()
            for _ in range(9):
                assert (await client.ask(get("/a/x", f"Cookie: {cookie}"))).status == 200

    routes = VHOSTS + '<Log Name="http_plugin.log" LogLevel="Trace"/>'
    async with (
        cluster.members[0].origin.serving(answering("s0")),
        cluster.members[1].origin.serving(answering("s1")),
        running_proxy([cluster], routes=routes, folder=tmp_path, workers=1) as proxy,
    ):
        await asyncio.gather(*(be_client(proxy.port) for _ in range(40)))
    arguments = (tmp_path / "http_plugin.log", "--config", tmp_path / "plugin-cfg.xml")
    found = result(run(*arguments, "--before", tmp_path / "plugin-cfg.xml", "--json"))
    assert (found["requests"], found["left_out"], found["assumed_service_times"]) == (400, 0, 0)
    for side in (found["before"], found["modelled"], found["after"]):
        assert [each["requests"] for each in side["servers"]] == [200, 200]
        assert (side["by_affinity"], side["refused"]) == (360, 0)
        assert (side["sessions"], side["sessions_born"], side["sessions_moved"]) == (40, 40, 0)
    assert found["notes"] == []
    found = result(run(*arguments, "--weight", "s0=0", "--json"))
    assert [each["requests"] for each in found["after"]["servers"]] == [0, 400]


def test_names_of_a_log_are_no_markup(tmp_path: Path) -> None:
    """The tables took ``[/x]`` for the end of a style, and let a log write to the terminal what it liked."""
    log = PluginLog()
    log.routed("/shop/a", cluster="[/b]\x1b[2J")
    log.write(Code.PICKED, server="[/x]:smile:\x1b[31m", weight=1)
    log.served("", "h1")
    (tmp_path / "http_plugin.log").write_text(log.text())
    (tmp_path / "plugin-cfg.xml").write_text(CONFIG)
    for command in ("simulate", "replay"):
        done = run(
            tmp_path / "http_plugin.log", "--config", tmp_path / "plugin-cfg.xml", command=command
        )
        assert "[/x]:smile:\\x1b[31m" in done.stdout
        assert "\x1b" not in done.stdout
