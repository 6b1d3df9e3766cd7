"""``wsproxy replay`` as a process: what it prints, writes and sends, and how it exits."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.command import run_command
from tests.support.origin import OriginConnection, field, keep_answering
from tests.support.plugin_log import CONFIG, PluginLog
from tests.support.proxy import lane, running_proxy
from wsproxy.pluginlog.messages import Code

SEED = sorted((Path(__file__).parents[2].parent / "shared" / "seeds").glob("004*"))
ACCESS = b'h - - [13/Jun/2015:10:32:04 -0400] "GET /shop/a HTTP/1.1" 200 5 JSESSIONID="0000a:k1" WAS=h1:9443\n'


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    return run_command("replay", *arguments, stdin=stdin)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "plugin-cfg.xml").write_text(CONFIG)
    return tmp_path / "plugin-cfg.xml"


@pytest.fixture
def same(tmp_path: Path) -> Path:
    log = PluginLog()
    log.simple(clone="k1")
    log.lines.append("prose of somebody")
    (tmp_path / "same.log").write_text(log.text())
    return tmp_path / "same.log"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    log = PluginLog()
    log.simple("n_s2", "h2", clone="k1", uri="/shop/<script>")
    (tmp_path / "other.log").write_text(log.text())
    return tmp_path / "other.log"


def test_exit_status_tells_whether_there_are_differences(
    config: Path, same: Path, other: Path, tmp_path: Path
) -> None:
    assert run(same, "--config", config).returncode == 0
    assert run(other, "--config", config).returncode == 1
    assert run(same, other, "--config", config).returncode == 1
    (tmp_path / "prose").write_text("no log\n")
    done = run(tmp_path / "prose", "--config", config)
    assert (done.returncode, done.stderr) == (
        2, f"wsproxy: {tmp_path}/prose: no line of http_plugin.log in it\n",
    )  # fmt: skip
    assert run(tmp_path / "missing", "--config", config).returncode == 2
    assert run(same, "--config", same).returncode == 2
    assert run(same).returncode == 2


def test_people_see_what_differs_and_where(config: Path, other: Path) -> None:
    done = run(other, "--config", config)
    assert f"{other}:1-" in done.stdout
    assert re.search(r"server line \d+: log n_s2, wsproxy n_s1  \(by clone id\)", done.stdout)
    assert "requests: 0 same, 1 differ, 0 not decidable from the log" in done.stdout


def test_json_has_a_line_for_each_request_foreign_line_and_the_summary(
    config: Path, same: Path, other: Path
) -> None:
    found = objects(run(same, other, "--config", config, "--json"))
    assert [each["type"] for each in found] == ["foreign", "request", "request", "summary"] or (
        [each["type"] for each in found] == ["request", "foreign", "request", "summary"]
    )
    requests = [each for each in found if each["type"] == "request"]
    assert [(each["result"], each["server"], each["file"]) for each in requests] == [
        ("same", "n_s1", str(same)), ("differs", "n_s2", str(other)),
    ]  # fmt: skip
    (check,) = (check for check in requests[1]["checks"] if check["result"] == "differs")
    line = other.read_text().splitlines()[check["line"] - 1]
    assert (check["what"], check["logged"], check["ours"]) == ("server", "n_s2", "n_s1")
    assert "Setting the transport" in line
    summary = found[-1]
    lines = summary["lines"]
    assert lines["all"] == lines["records"] + lines["continued"] + lines["foreign"] + lines["blank"]
    assert (summary["same"], summary["differs"], lines["foreign"]) == (1, 1, 1)


def test_standard_input_and_gzip_are_logs_too(config: Path, same: Path) -> None:
    packed = gzip.compress(same.read_bytes())
    done = run("-", "--config", config, "--json", stdin=packed)
    assert done.returncode == 0
    assert objects(done)[-1]["same"] == 1


@pytest.mark.skipif(not SEED, reason="no seeds")
def test_the_excerpt_in_a_web_page_is_given_as_it_is(tmp_path: Path) -> None:
    """Its own cluster is not known, so its server is; that alone must not stop anything."""
    (tmp_path / "c.xml").write_text(CONFIG)
    done = run(SEED[0], "--config", tmp_path / "c.xml", "--json")
    assert done.returncode == 1
    summary = objects(done)[-1]
    assert (summary["requests"], summary["lines"]["all"]) == (1, 345)


def test_report_is_one_file_that_loads_nothing(config: Path, other: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert run(other, "--config", config, "--html", report).returncode == 1
    text = report.read_text()
    assert "/shop/&lt;script&gt;" in text
    assert "<script" not in text
    assert not re.search(r"(src|href)\s*=|url\(|@import", text)
    figures = re.findall(r"<svg viewBox.*?</svg>", text, re.DOTALL)
    assert figures
    for figure in figures:
        assert ElementTree.fromstring(figure).findall("rect")
    assert "n_s2" in text


def test_access_log_is_replayed(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(ACCESS + ACCESS.replace(b"h1:9443", b"h2:9443") + b"nonsense\n\n")
    found = objects(
        run(
            log, "--config", config, "--format", "common", "--host", "www.example.com:443", "--json"
        )
    )
    assert [each["result"] for each in found[:-1]] == ["same", "differs"]
    lines = found[-1]["lines"]
    assert (lines["all"], lines["records"], lines["foreign"], lines["blank"]) == (4, 2, 1, 1)


def test_help_answers() -> None:
    done = run("--help")
    assert done.returncode == 0
    for word in (
        "--against",
        "--format",
        "docs/replay.md",
        "Exit code: 0 no difference, 1 differences",
    ):
        assert word in " ".join(done.stdout.split())


def logged(paths: list[tuple[str, str, int]]) -> PluginLog:
    """A log of requests of these (method, path, status)."""
    log = PluginLog()
    for method, path, status in paths:
        log.routed(path)
        log.named("n_s1")
        log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
        log.write(Code.REQUEST_LINE, target=path, minor=1)
        log.lines[-1] = log.lines[-1].replace("GET ", f"{method} ")
        log.write(Code.COOKIE, value="JSESSIONID=0000a:c1; a=b")
        log.write(Code.STATUS_LINE, minor=1, status=status, reason="x")
        log.write(Code.END)
    return log


async def test_requests_are_sent_to_a_running_proxy(config: Path, tmp_path: Path) -> None:
    """GETs as they were, also a POST when asked; the proxy's routing answers what the log had."""
    shop = lane("shop", 2)
    path = tmp_path / "sent.log"
    path.write_text(
        logged(
            [("GET", "/shop/a%2Fb;x=1", 200), ("POST", "/shop/p", 200), ("GET", "/none", 200)]
        ).text()
    )
    served: list[bytes] = []

    async def serve(connection: OriginConnection) -> None:
        await keep_answering(connection)

    async with running_proxy([shop]) as proxy:
        origins = [member.origin for member in shop.members]
        async with origins[0].serving(serve), origins[1].serving(serve):
            command = (
                path,
                "--config",
                config,
                "--json",
                "--against",
                f"http://127.0.0.1:{proxy.port}",
                "--speed",
                "100",
            )
            done = await asyncio.to_thread(run, *command)
            again = await asyncio.to_thread(run, *command[:-2], "--rate", "50", "--all-methods")
        served = origins[1].requests
        assert origins[0].requests == []  # all by the clone id of their cookie
    answers = [each for each in objects(done) if each["type"] == "answer"]
    assert [(each["uri"], each["what"], each["logged"], each["answered"]) for each in answers] == [
        ("/none", "status", "200", "404"),
    ]  # fmt: skip
    assert objects(done)[-1]["sent"] == {
        "sent": 2, "left_out": 1, "same": 1, "differs": 1, "failed": 0,
    }  # fmt: skip
    assert objects(again)[-1]["sent"]["sent"] == 3
    assert served[0].startswith(b"GET /shop/a%2Fb;x=1 HTTP/1.1\r\n")
    assert field(served[0], b"Host") == b"www.example.com:443"
    assert field(served[0], b"Cookie") == b"JSESSIONID=0000a:c1; a=b"
    assert [message.split(b" ")[0] for message in served] == [b"GET", b"GET", b"POST"]


async def test_proxy_that_is_not_there_differs(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "sent.log"
    path.write_text(logged([("GET", "/shop/a", 200)]).text())
    done = await asyncio.to_thread(
        run, path, "--config", config, "--json", "--against", "http://127.0.0.1:1", "--speed", "9"
    )
    assert done.returncode == 1
    assert objects(done)[-1]["sent"]["failed"] == 1
