"""A proxy that was started as root and is root no more: who its processes are, and that nothing lacks for it."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.admin import ask_admin
from tests.support.certificates import Authority
from tests.support.client import ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import keep_answering
from tests.support.process import COMMAND_S
from tests.support.proxy import Lane, processes_of, proxy_process, running_proxy
from tests.support.proxy import lane as make_lane
from tests.support.upgrading import upgrading

USER = "www-data"
NO_CAPABILITY = "0" * 16
PRIVILEGED = 81


SITE = sysconfig.get_path("purelib")
REPOSITORY = Path(__file__).resolve().parents[2]
# Of a Python in root's home nobody else can run anything; the system's own, of the same version, can use what is installed here.
PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
ENV = {"PYTHONPATH": f"{REPOSITORY}:{SITE}"}


def _usable_python() -> str:
    """One that USER can run; empty: none, or this is not root, or there is no such user."""
    if os.geteuid() != 0:
        return ""
    try:
        who = pwd.getpwnam(USER)
    except KeyError:
        return ""
    for python in PYTHONS:
        with suppress(OSError):
            found = subprocess.run(
                (python, "-P", "-c", "import wsproxy._fast.state.segment, aiohttp"),
                user=who.pw_uid,
                group=who.pw_gid,
                extra_groups=[],
                env={**os.environ, **ENV},
                capture_output=True,
                check=False,
            )
            if found.returncode == 0:
                return python
    return ""


PYTHON = _usable_python()
# Becomes what stands behind its first argument, with another Python.
PREFIX = (PYTHON, "-c", "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason=f"needs root, and a Python that user {USER} can run"
)


def wsproxy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (PYTHON, "-P", "-m", "wsproxy", *arguments)
    return subprocess.run(command, env={**os.environ, **ENV}, capture_output=True, text=True, timeout=COMMAND_S, check=False)  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """That user's. Not pytest's own: every run of it on the machine closes the one above to others again."""
    who = pwd.getpwnam(USER)
    with tempfile.TemporaryDirectory(prefix="wsproxy-identity-") as name:
        os.chown(name, who.pw_uid, who.pw_gid)
        yield Path(name)


@pytest.fixture
def one() -> Iterator[Lane]:
    made = make_lane("one")
    yield made
    made.origin.close()


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_every_process_is_that_user_and_has_no_right_of_root(folder: Path, one: Lane) -> None:
    """A port below 1024 is served; supervisor, workers, loader, log and admin process have one user, its groups and no capability."""
    settings = (
        f'[process]\nuser = "{USER}"\n[admin]\nsocket = "admin.sock"\n'
        '[log]\naccess = "access.log"\nplugin = "plugin.log"\nmost_a_second = 10_000\n'
    )
    listen = f"127.0.0.1:{PRIVILEGED}"
    async with (
        running_proxy(
            [one], settings=settings, listen=listen, folder=folder, prefix=PREFIX, env=ENV
        ) as proxy,
        one.origin.serving(keep_answering),
    ):
        assert (await ask(PRIVILEGED, get("/one/x"))).status == 200
        status, _ = await ask_admin(folder / "admin.sock", "GET", "/v1/status")
        assert status == 200
        who = pwd.getpwnam(USER)
        groups = {str(each) for each in os.getgrouplist(USER, who.pw_gid)}
        pids = [proxy.pid, *processes_of(proxy.pid, r"wsproxy-.*")]
        names = {status_of(pid)["Name"] for pid in pids}
        assert {"wsproxy", "wsproxy-0", "wsproxy-log", "wsproxy-loader", "wsproxy-admin"} <= names
        for pid in pids:
            found = status_of(pid)
            assert found["Uid"].split() == [str(who.pw_uid)] * 4
            assert found["Gid"].split() == [str(who.pw_gid)] * 4
            assert set(found["Groups"].split()) <= groups
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert found[kind] == NO_CAPABILITY, (pid, kind)


async def test_logs_rotate_and_workers_return(folder: Path, one: Lane) -> None:
    """What needs the new user's rights works: a killed worker is replaced, logs are opened anew, SIGHUP reads keys and files."""
    Authority().issue("h").write_pem(folder, "it")
    who = pwd.getpwnam(USER)
    for name in ("it.pem", "it.key"):
        os.chown(folder / name, who.pw_uid, who.pw_gid)
    settings = (
        f'[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{{ chain = "it.pem", key = "it.key" }}]\n'
        '[[listener]]\naddress = "127.0.0.1:0"\n'
        f'[process]\nuser = "{USER}"\n[reload]\nwatch = "off"\n'
        '[log]\naccess = "access.log"\nmost_a_second = 10_000\n'
    )
    async with (
        running_proxy(
            [one], settings=settings, listen=None, folder=folder, prefix=PREFIX, env=ENV
        ) as proxy,
        one.origin.serving(keep_answering),
    ):
        proxy.expected.append("was killed by SIGKILL")
        [worker] = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        await proxy.line(r"worker 0 \(pid \d+\) was killed by SIGKILL")
        assert (await ask(proxy.ports[1], get("/one/x"))).status == 200
        await lines_with(folder / "access.log", "/one/x")
        (folder / "access.log").rename(folder / "access.log.1")
        os.kill(proxy.pid, signal.SIGUSR1)
        await proxy.line("SIGUSR1: .*access.log is opened anew")
        assert (await ask(proxy.ports[1], get("/one/y"))).status == 200
        await lines_with(folder / "access.log", "/one/y")
        assert (folder / "access.log").owner() == USER
        toml = folder / "wsproxy.toml"
        toml.write_text(toml.read_text() + "[retry]\nstrict_once = true\n")
        os.kill(proxy.pid, signal.SIGHUP)
        await proxy.line("generation 2 of the configuration is in use")


async def test_program_that_takes_over_is_that_user_and_keeps_the_port(
    folder: Path, one: Lane
) -> None:
    """It is started without root's rights, and needs none: the socket on a port below 1024 is handed on."""
    settings = f'[[listener]]\naddress = "127.0.0.1:{PRIVILEGED}"\n[process]\nuser = "{USER}"\n'
    async with (
        one.origin.serving(keep_answering),
        upgrading(folder, [one], settings=settings, listen=None, prefix=PREFIX, env=ENV) as made,
    ):
        old = await made.upgrade()
        await made.gone(old)
        assert made.pid != old
        assert status_of(made.pid)["Uid"].split() == [str(pwd.getpwnam(USER).pw_uid)] * 4
        assert (await ask(PRIVILEGED, get("/one/x"))).status == 200


async def test_own_folder_and_the_option(folder: Path, one: Lane) -> None:
    """``--user`` is the same; without a run-time folder of its own the admin socket is in one that systemd would have named."""
    (folder / "plugin-cfg.xml").write_text(f"<Config>{one.xml()}</Config>")
    async with (
        proxy_process(
            *(str(folder / "plugin-cfg.xml"), "--listen", "127.0.0.1:0", "--workers", "1"),
            *("--user", USER),
            prefix=PREFIX,
            env={**ENV, "RUNTIME_DIRECTORY": str(folder)},
        ) as proxy,
        one.origin.serving(keep_answering),
    ):
        assert (folder / f"{proxy.pid}.sock").owner() == USER
        assert (await ask(proxy.port, get("/one/x"))).status == 200


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("nobody-here", "allowed is a user that this machine has"),
        ("root", "which is root"),
    ],
)
def test_who_is_nobody_is_refused_by_check_and_run(folder: Path, one: Lane, user: str, words: str) -> None:  # fmt: skip
    (folder / "plugin-cfg.xml").write_text(f"<Config>{one.xml()}</Config>")
    (folder / "wsproxy.toml").write_text(f'[process]\nuser = "{user}"\n')
    arguments = (
        str(folder / "plugin-cfg.xml"),
        "--settings",
        str(folder / "wsproxy.toml"),
        "--listen",
        "127.0.0.1:0",
    )
    report = json.loads(wsproxy("check", *arguments, "--json").stdout)
    found = [each["text"] for each in report["problems"] if each["severity"] == "error"]
    assert len(found) == 1
    assert f'wsproxy.toml:2: process.user: found "{user}"' in found[0]
    assert words in found[0]
    ended = wsproxy("run", *arguments)
    assert ended.returncode == 2
    assert found[0] in ended.stderr


def test_what_that_user_cannot_read_is_refused(folder: Path, one: Lane) -> None:
    """Root could, and the first reload could not: keys, logs and the files themselves are looked at with the rights of later."""
    Authority().issue("h").write_pem(folder, "it")
    (folder / "plugin-cfg.xml").write_text(f"<Config>{one.xml()}</Config>")
    (folder / "plugin-cfg.xml").chmod(0o600)
    (folder / "it.key").chmod(0o600)
    (folder / "access.log").touch(mode=0o600)
    (folder / "wsproxy.toml").write_text(
        f'[process]\nuser = "{USER}"\n[log]\naccess = "access.log"\n'
        '[[listener]]\naddress = "127.0.0.1:0"\ncertificates = [{ chain = "it.pem", key = "it.key" }]\n'
    )
    arguments = (str(folder / "plugin-cfg.xml"), "--settings", str(folder / "wsproxy.toml"))
    report = json.loads(wsproxy("check", *arguments, "--json").stdout)
    text = "\n".join(each["text"] for each in report["problems"] if each["severity"] == "error")
    assert f"plugin-cfg.xml: found a file that user {USER} cannot read" in text
    assert "log.access: found" in text
    assert "it.key" in text
    assert wsproxy("run", *arguments).returncode == 2
