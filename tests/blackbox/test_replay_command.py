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
from wsproxy.logs.messages import Code

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
    assert "differs other.log:1-11 2026-11-21T00:00:00.000000 00000b60 00000b94\n" in done.stdout
    assert re.search(r"server line \d+: log n_s2, wsproxy n_s1 \(by clone id\)", done.stdout)
    assert "1 request of 1 process, 2026-11-21 00:00:00\n" in done.stdout
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
    # Not of WebSphere's form: the clone id that brought it here is taken away (affinity.clone_ids).
    assert field(served[0], b"Cookie") == b"JSESSIONID=0000a; a=b"
    assert [message.split(b" ")[0] for message in served] == [b"GET", b"GET", b"POST"]


async def test_proxy_that_is_not_there_differs(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "sent.log"
    path.write_text(logged([("GET", "/shop/a", 200)]).text())
    done = await asyncio.to_thread(
        run, path, "--config", config, "--json", "--against", "http://127.0.0.1:1", "--speed", "9"
    )
    assert done.returncode == 1
    assert objects(done)[-1]["sent"]["failed"] == 1


def nothing(*arguments: str | Path) -> tuple[int, str]:
    """Exit code, and what was said last."""
    done = run(*arguments)
    return done.returncode, (done.stdout or done.stderr).splitlines()[-1]


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        (("PLUGIN",), "there is no request in it: LogLevel Error and Warn tell of failures only"),
        (("PLUGIN", "ERROR"), "LogLevel Error tells no URIs"),
        (("PLUGIN", "ERROR", "STATS"), "LogLevel Stats tells no URIs"),
    ],
)
def test_a_log_of_a_low_level_compares_nothing(
    config: Path, tmp_path: Path, levels: tuple[str, ...], says: str
) -> None:
    """It would have been "no difference", every night."""
    log = PluginLog()
    log.write(Code.LOADED)
    log.routed("/shop/a")
    log.named("n_s1")
    log.failed("n_s1", "h1")
    log.counters("n_s2", 0, 1, 1)
    log.lines = [line for line in log.lines if any(f" - {level}: " in line for level in levels)]
    (tmp_path / "low.log").write_text(log.text())
    code, last = nothing(tmp_path / "low.log", "--config", config)
    assert (code, last[: last.index(says)]) == (3, "nothing was compared: ")
    assert 'set LogLevel="Trace"' in last
    (summary,) = (
        each
        for each in objects(run(tmp_path / "low.log", "--config", config, "--json"))
        if each["type"] == "summary"
    )
    assert summary["nothing_compared"] == last.removeprefix("nothing was compared: ")


def test_servers_that_are_not_in_the_file_are_said(
    config: Path, same: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.xml"
    other.write_text(config.read_text().replace('Name="n_s', 'Name="m_s'))
    done = run(same, "--config", other)
    assert done.returncode == 1
    said = "note: none of the log's 1 server is in other.xml (n_s1): was it in force when the log was written?\n"
    assert said in done.stdout
    assert "note" not in run(same, "--config", config).stdout


def test_a_log_of_the_other_kind_is_told(config: Path, same: Path, tmp_path: Path) -> None:
    access = tmp_path / "access.log"
    access.write_bytes(ACCESS)
    assert nothing(access, "--config", config) == (
        3, f"wsproxy: {access}: this is an access log: say --format common",
    )  # fmt: skip
    access.write_bytes(ACCESS.replace(b" 200 5 ", b' 200 5 "-" "curl" '))
    assert nothing(access, "--config", config) == (
        3, f"wsproxy: {access}: this is an access log: say --format combined",
    )  # fmt: skip
    assert nothing(same, "--config", config, "--format", "common") == (
        3, f"wsproxy: {same}: this is an http_plugin.log: leave --format out",
    )  # fmt: skip


def test_an_access_log_without_servers_compares_nothing(config: Path, tmp_path: Path) -> None:
    """Neither where no Route takes its requests, because nobody said which host they were for."""
    log = tmp_path / "access.log"
    log.write_bytes(ACCESS.replace(b" WAS=h1:9443", b""))
    for host in ((), ("--host", "www.example.com:443")):
        code, last = nothing(log, "--config", config, "--format", "common", *host)
        assert code == 3
        assert last.startswith("nothing was compared: no line has WAS=host:port: add WAS=%{WAS}e")


@pytest.mark.parametrize(
    ("line", "host", "says"),
    [
        (b' JSESSIONID="0000a:k1"', "www.example.com:443", "no line has JSESSIONID="),
        (b"", "", "no line tells its host: say --host HOST:PORT"),
    ],
    ids=["no session", "no host"],
)
def test_an_access_log_that_leaves_each_request_open_compares_nothing(
    config: Path, tmp_path: Path, line: bytes, host: str, says: str
) -> None:
    """Whoever is up may have a request of an unknown session: CloneIDs that are swapped would be the same."""
    log = tmp_path / "access.log"
    log.write_bytes(ACCESS.replace(line, b""))
    if not host:  # one that is not known may be of a default port
        config.write_text(config.read_text().replace("*:80", "*:9080").replace("*:443", "*:9443"))
    code, last = nothing(
        log, "--config", config, "--format", "common", *(("--host", host) * bool(host))
    )
    assert (code, last[: last.index(says)]) == (3, "nothing was compared: ")


def test_an_access_log_tells_sessions_in_paths_and_that_there_is_none(
    config: Path, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    options = ("--config", config, "--format", "common", "--host", "www.example.com:443")
    in_path = ACCESS.replace(b' JSESSIONID="0000a:k1"', b"").replace(
        b"/a ", b"/a;jsessionid=0000a:k1 "
    )
    for line in (in_path, ACCESS.replace(b"0000a:k1", b"-"), ACCESS.replace(b"0000a:k1", b"")):
        log.write_bytes(line)
        assert nothing(log, *options)[0] == 0
    log.write_bytes(ACCESS.replace(b"a:k1", b"a:k7"))
    assert nothing(log, *options) == (
        3,
        "nothing was compared: the log tells of no request all that decides (--undecided prints what is missing)",
    )


def test_clone_ids_that_only_one_server_had_are_lost_sessions(config: Path, tmp_path: Path) -> None:
    """No line of an access log tells of a clone match; all of them together do."""
    log = tmp_path / "access.log"
    log.write_bytes(b"".join(
        ACCESS.replace(b"a:k1", b"%x:k%d" % (at, 1 + at % 2)).replace(b"h1:", b"h%d:" % (1 + at % 2))
        for at in range(40)
    ))  # fmt: skip
    options = ("--format", "common", "--host", "www.example.com:443")
    assert run(log, "--config", config, *options).returncode == 0
    renamed = tmp_path / "renamed.xml"
    renamed.write_text(config.read_text().replace('CloneID="k1"', 'CloneID="k9"'))
    done = run(log, "--config", renamed, *options)
    assert done.returncode == 1
    said = "no Server of shop has the clone id k1, which 20 requests brought; all of them went to n_s1: "
    assert said + "sessions of that clone id are lost" in done.stdout
    assert "requests: 20 same, 0 differ, 20 not decidable from the log" in done.stdout
    (lost,) = objects(run(log, "--config", renamed, *options, "--json"))[-1]["unknown_clone_ids"]
    assert lost == {
        "cluster": "shop", "clone_id": "k1", "requests": 20, "server": "n_s1", "at_server": 20, "is_lost": True,
    }  # fmt: skip


def test_differences_are_counted_beyond_those_that_are_kept(config: Path, tmp_path: Path) -> None:
    """Nor do requests that are not decidable take the place of one that differs."""
    log = tmp_path / "access.log"
    log.write_bytes(
        ACCESS.replace(b"a:k1", b"a:k7") * 1100 + ACCESS.replace(b"h1:9443", b"h2:9443") * 1200
    )
    report = tmp_path / "report.html"
    done = run(
        log, "--config", config, "--format", "common", "--host", "www.example.com:443", "--undecided",
        "--show", "5000", "--html", report,
    )  # fmt: skip
    assert done.stdout.count("\ndiffers ") == 1000
    assert "... and 300 more (" in done.stdout
    assert "   1200 server: log n_s2, wsproxy n_s1" in done.stdout
    assert "<td class='n '>1200</td>" in report.read_text()
    assert "<p class='dim'>1800 more.</p>" in report.read_text()


def test_requests_without_a_time_have_none(config: Path, same: Path, tmp_path: Path) -> None:
    """An excerpt may have lost its stamps; it was not written in 1970."""
    log = tmp_path / "excerpt.log"
    log.write_text("".join(line.partition(" - ")[2] for line in same.read_text().splitlines(True)))
    done = run(log, "--config", config)
    assert "1 request of 1 process, the log has no times\n" in done.stdout
    assert objects(run(log, "--config", config, "--json"))[-2]["time"] == ""
    report = tmp_path / "report.html"
    run(log, "--config", config, "--html", report)
    assert "00:00:01" not in report.read_text()
    assert "1970" not in report.read_text()
