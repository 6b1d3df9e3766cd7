"""``wsproxy check --settings`` against ``wsproxy run`` with the same files: what the one complains of, the other has said."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.command import run_command
from tests.support.process import watched_process
from tests.support.proxy import proxy_process

CONFIG = """<Config HTTPMaxHeaders="100">
  <Log Name="{log}"/>
  <VirtualHostGroup Name="hosts"><VirtualHost Name="*:80"/></VirtualHostGroup>
  <ServerCluster Name="c"><Server Name="s"><Transport Hostname="h" Port="9443" Protocol="https">
    <Property Name="keyring" Value="nowhere.p12"/></Transport></Server></ServerCluster>
  <Route ServerCluster="c" VirtualHostGroup="hosts"/>
</Config>"""
# Whatever can be used, and is hardly meant.
DOUBTFUL = """workers = 1
[[listener]]
address = "127.0.0.1:0"
certificates = [{ chain = "old.pem", key = "old.key" }]
[timeouts]
keepalive_s = 7200
[limits]
header_fields = 200
[queue]
wait_s = 1
[log]
access_sessions = true
[admin]
socket = "off"
"""
# (line, code) of each warning about it, and a word of it
EXPECTED = {
    ("wsproxy.toml", 6, "setting-unit", "timeouts.keepalive_s: found 7200, which is 2 h"),
    ("wsproxy.toml", 10, "setting-no-effect", "queue.wait_s: found 1.0, which has no effect with queue.size = 0"),
    ("wsproxy.toml", 12, "setting-no-effect", "log.access_sessions: found true"),
    ("wsproxy.toml", 8, "setting-no-effect", 'limits.header_fields: found 200, which has no effect above HTTPMaxHeaders="100"'),
    ("wsproxy.toml", 4, "certificate-validity", "expired on"),
    ("wsproxy.toml", 2, "port-unmatched", "which no VirtualHost takes (VirtualHosts: *:80)"),
    ("plugin-cfg.xml", 2, "log-unwritable", "nowhere/p.log"),
    ("plugin-cfg.xml", 4, "transport-unusable", 'the https Transport of "s" cannot be used'),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plugin-cfg.xml, and a certificate that expired."""
    (tmp_path / "plugin-cfg.xml").write_text(CONFIG.format(log="nowhere/p.log"))
    Authority().issue("h", begins_days=-9, ends_days=-1).write_pem(tmp_path, "old")
    return tmp_path


def files(folder: Path, settings: str) -> tuple[str, ...]:
    (folder / "wsproxy.toml").write_text(settings)
    return str(folder / "plugin-cfg.xml"), "--settings", str(folder / "wsproxy.toml")


def texts_of(*arguments: str) -> list[str]:
    """Every problem that ``check`` tells."""
    report = json.loads(run_command("check", *arguments, "--json").stdout)
    return [problem["text"] for problem in report["problems"]]


async def test_what_is_doubtful_is_told_by_both(folder: Path) -> None:
    """Each with file and line; the proxy starts all the same, and says nothing that ``check`` has not."""
    arguments = files(folder, DOUBTFUL)
    report = json.loads(run_command("check", *arguments, "--json").stdout)
    assert (report["status"], report["errors"], report["left_out"]) == ("warnings", 0, 0)
    found = {
        (Path(each["file"]).name, each["line"], each["code"], each["text"])
        for each in report["problems"]
        # open-files is of this machine, not of the files; notes are no doubts
        if each["code"] != "open-files" and each["severity"] != "note"
    }
    for name, line, code, words in EXPECTED:
        assert [text for *place, text in found if place == [name, line, code] and words in text], (
            name, line, code, words, found,
        )  # fmt: skip
    assert len(found) == len(EXPECTED)
    async with proxy_process(*arguments) as proxy:
        complaints = [
            line
            for line in proxy.lines
            if re.search(" (WARNING|ERROR) ", line) and "open files" not in line
        ]
        assert f"{folder}/plugin-cfg.xml: 3 warnings; to list: wsproxy check " in proxy.lines[0]
        # Three about wsproxy.toml alone are counted in the first line.
        assert len(complaints) == 5
        for complaint in complaints:
            assert [text for *_, text in found if text in complaint], complaint


async def test_what_is_ignored_is_told_by_neither(folder: Path) -> None:
    codes = [code for _, _, code, _ in EXPECTED]
    ignoring = f"{DOUBTFUL}[check]\nignore = {json.dumps(codes)}\n"
    arguments = files(folder, ignoring)
    report = json.loads(run_command("check", *arguments, "--json").stdout)
    assert {each["code"] for each in report["problems"]} <= {"open-files", "cluster-single"}
    assert report["ignored"] == len(EXPECTED)
    async with proxy_process(*arguments) as proxy:
        told = [line for line in proxy.lines if re.search(" (WARNING|ERROR) |warning", line)]
        assert [line for line in told if "open files" not in line] == []


def test_server_that_is_the_proxy_itself_is_told(tmp_path: Path) -> None:
    """With the line of its Transport; one at another port is none."""
    config = (
        '<Config>\n<VirtualHostGroup Name="hosts"><VirtualHost Name="*:9080"/></VirtualHostGroup>\n'
        '<ServerCluster Name="c">\n<Server Name="a"><Transport Hostname="localhost" Port="9080"/></Server>\n'
        '<Server Name="b"><Transport Hostname="localhost" Port="9081"/></Server></ServerCluster>\n'
        '<Route ServerCluster="c" VirtualHostGroup="hosts"/>\n</Config>'
    )
    (tmp_path / "plugin-cfg.xml").write_text(config)
    report = json.loads(
        run_command("check", str(tmp_path / "plugin-cfg.xml"), "--listen", ":9080", "--json").stdout
    )
    [told] = [each for each in report["problems"] if each["code"] == "server-is-listener"]
    assert (told["line"], told["severity"]) == (4, "warning")
    assert 'found localhost:9080 for Server "a", which is our own listener' in told["text"]


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


async def refusal(*arguments: str) -> tuple[int, list[str]]:
    """Exit code of ``run`` and what it said."""
    async with watched_process("-m", "wsproxy", "run", *arguments) as wsproxy:
        return await wsproxy.end(), "".join(wsproxy.lines).splitlines()


@pytest.mark.parametrize(
    ("settings", "line", "words"),
    [
        ('[log]\naccess = "nowhere/a.log"\n', 2, 'log.access: found "{0}/nowhere/a.log": No such file or directory; allowed is a file that can be written, or "off"'),
        ('[log]\nplugin = "."\n', 2, 'log.plugin: found "{0}": Is a directory; allowed is a file that can be written'),
        ('[affinity]\n\nstrip_clone_ids = ["C"]\n', 3, 'affinity.strip_clone_ids: found "C", which is no ServerCluster of {0}/plugin-cfg.xml; did you mean c? (or "*" for all)'),
        ('[upstream.tls]\ntrust = "nowhere.pem"\n', 2, "upstream.tls.trust: found '{0}/nowhere.pem', which cannot be read (No such file or directory); allowed is a file that can"),
    ],
    ids=["access", "plugin", "cluster", "trust"],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused_by_both(
    folder: Path, settings: str, line: int, words: str
) -> None:
    """Exit code 2, with file and line: whatever the setting is about."""
    arguments = (*files(folder, settings), "--listen", "127.0.0.1:0")
    said = f"{folder}/wsproxy.toml:{line}: {words.format(folder)}"
    assert said in await asyncio.to_thread(texts_of, *arguments)
    assert run_command("check", *arguments).returncode == 2
    assert await refusal(*arguments) == (2, [said])


async def test_ports_are_told_by_both(folder: Path) -> None:
    """An address that cannot be had refuses; one in use does so only where something is to start."""
    for listen, severity, words in (
        ("203.0.113.1:80", "error", "203.0.113.1:80 (--listen) is no address of this machine"),
        ("no-such-host.invalid:80", "error", "names a host that cannot be resolved"),
    ):
        arguments = (str(folder / "plugin-cfg.xml"), "--listen", listen)
        [problem] = [
            each
            for each in json.loads(run_command("check", *arguments, "--json").stdout)["problems"]
            if each["code"] == "listen"
        ]
        assert (problem["severity"], words in problem["text"]) == (severity, True)
        code, said = await refusal(*arguments)
        assert code == 1
        assert any(problem["text"] in line for line in said)
    with taken_port() as port:
        arguments = (str(folder / "plugin-cfg.xml"), "--listen", f"127.0.0.1:{port}")
        texts = await asyncio.to_thread(texts_of, *arguments)
        [text] = [text for text in texts if "is in use by another process" in text]
        assert run_command("check", *arguments).returncode == 0
        code, said = await refusal(*arguments)
        assert code == 1
        assert any(text in line for line in said)


async def test_no_port_at_all_is_told_by_both(folder: Path) -> None:
    """Without --listen, --run asks for the check of a start; the file alone is good."""
    file = folder / "plugin-cfg.xml"
    file.write_text(CONFIG.format(log="p.log").replace("*:80", "*:9443"))
    assert run_command("check", file).returncode == 0
    done = run_command("check", file, "--run")
    code, said = await refusal(str(file))
    assert (done.returncode, code) == (2, 1)
    reason = (
        f"{file}:3: port 9443 (VirtualHost *:9443) is left out: it is that of an https Transport"
    )
    for text in (done.stdout, "\n".join(said)):
        assert "no VirtualHost of a Route names a port that wsproxy can listen on" in text
        assert reason in text


def test_checking_leaves_nothing_behind(folder: Path) -> None:
    """No log is made, no socket stays, and the port can be had again."""
    settings = (
        'workers = 1\n[log]\naccess = "a.log"\nplugin = "p.log"\n[admin]\nsocket = "x.sock"\n'
    )
    before = sorted(folder.iterdir())
    with taken_port() as port:
        pass
    arguments = (*files(folder, settings), "--listen", f"127.0.0.1:{port}")
    for _ in range(2):
        assert run_command("check", *arguments).returncode == 0
    assert sorted(folder.iterdir()) == sorted([*before, folder / "wsproxy.toml"])


async def test_a_proxy_that_runs_is_no_reason_to_refuse_its_next_configuration(
    folder: Path,
) -> None:
    """Its port and its admin socket are in use: two warnings."""
    settings = '[admin]\nsocket = "x.sock"\n'
    arguments = files(folder, settings)
    async with proxy_process(*arguments, "--listen", "127.0.0.1:0", "--workers", "1") as proxy:
        listen = ("--listen", f"127.0.0.1:{proxy.port}")
        done = await asyncio.to_thread(run_command, "check", *arguments, *listen)
        assert done.returncode == 0
        assert f"127.0.0.1:{proxy.port} (--listen) is in use by another process" in done.stdout
        assert f"a running process answers on {folder}/x.sock" in done.stdout
        assert (folder / "x.sock").is_socket()


def test_strict_does_not_count_what_generators_always_write(tmp_path: Path) -> None:
    """ESIEnable is told, and --strict is of use for Liberty's files; any other warning counts."""
    file = tmp_path / "plugin-cfg.xml"
    text = CONFIG.format(log="p.log").replace(
        "<Log ", '<Property Name="ESIEnable" Value="true"/><Log '
    )
    file.write_text(text)
    done = run_command("check", file, "--strict")
    assert (done.returncode, done.stdout.count("warning "), "[esi-default]" in done.stdout) == (
        *(0, 1),
        True,
    )
    file.write_text(text.replace("<Config ", '<Config Oops="1" '))
    assert run_command("check", file, "--strict").returncode == 1


def test_a_thousand_problems_are_told_and_the_rest_is_counted(tmp_path: Path) -> None:
    """An error among 5,000 warnings is not among those that are left out; people and machines hear how many are."""
    file, settings = tmp_path / "plugin-cfg.xml", tmp_path / "wsproxy.toml"
    file.write_text("<Config>" + "<Oops/>" * 5000 + "</Config>")
    settings.write_text("".join(f"key{number} = 1\n" for number in range(5000)))
    done = run_command("check", file, "--settings", settings)
    lines = done.stdout.splitlines()
    assert done.returncode == 2
    assert len(lines) == 1002
    assert lines[-2] == "and 9001 more problems"
    assert lines[-1].endswith("refused; 5001 errors, 5000 warnings")
    report = json.loads(run_command("check", file, "--json").stdout)
    assert (report["left_out"], len(report["problems"])) == (4001, 1000)
    assert "no-route" in {problem["code"] for problem in report["problems"]}
    done = run_command("run", file, "--settings", settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "and 4000 more errors"
