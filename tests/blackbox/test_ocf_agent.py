"""The OCF agent for Pacemaker, action by action, as Pacemaker calls it: what it returns is what is so, and its stop leaves nothing."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.etcd import free_ports
from tests.support.proxy import processes_of
from tests.support.resources import lives

AGENT = Path(__file__).parents[2] / "contrib" / "ocf" / "wsproxy"
CURL = shutil.which("curl")
pytestmark = pytest.mark.skipif(CURL is None, reason="no curl on this machine: apt-get install curl")  # fmt: skip

SUCCESS, GENERIC, UNIMPLEMENTED, INSTALLED, NOT_RUNNING = 0, 1, 3, 5, 7
# What resource-agents has in ocf-shellfuncs, as far as the agent uses it.
FUNCTIONS = """
OCF_SUCCESS=0 OCF_ERR_GENERIC=1 OCF_ERR_UNIMPLEMENTED=3 OCF_ERR_INSTALLED=5 OCF_NOT_RUNNING=7
ocf_log() { echo "$@" >&2; }
ocf_exit_reason() { echo "ocf-exit-reason:$*" >&2; }
check_binary() { command -v "$1" >/dev/null || exit $OCF_ERR_INSTALLED; }
"""
CONFIG = """<Config><ServerCluster Name="c"><Server Name="s"><Transport Hostname="127.0.0.1" Port="9" Protocol="http"/></Server>
<PrimaryServers><Server Name="s"/></PrimaryServers></ServerCluster><UriGroup Name="u"><Uri Name="/x/*"/></UriGroup>
<VirtualHostGroup Name="h"><VirtualHost Name="*:*"/></VirtualHostGroup><Route ServerCluster="c" UriGroup="u" VirtualHostGroup="h"/></Config>"""


@dataclass
class Agent:
    folder: Path
    port: int
    said: str = ""

    def run(self, action: str, timeout_ms: int = 90_000, **parameters: str) -> int:
        given = {
            "binary": str(self.folder / "wsproxy"),
            "config": str(self.folder / "plugin-cfg.xml"),
            "settings": str(self.folder / "wsproxy.toml"),
            "pidfile": str(self.folder / "run" / "pid"),
            "log": str(self.folder / "log"),
            "check_url": f"http://127.0.0.1:{self.port}/livez",
            **parameters,
        }
        env = {f"OCF_RESKEY_{name}": value for name, value in given.items()}
        env |= {"OCF_FUNCTIONS_DIR": str(self.folder), "OCF_RESKEY_CRM_meta_timeout": str(timeout_ms)}  # fmt: skip
        done = subprocess.run(
            ["/bin/sh", str(AGENT), action], env={**os.environ, **env}, capture_output=True, text=True, timeout=100, check=False
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        return done.returncode

    @property
    def pid(self) -> int:
        return int((self.folder / "run" / "pid").read_text())


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path, free_ports(1)[0])
    (tmp_path / "ocf-shellfuncs").write_text(FUNCTIONS)
    (tmp_path / "plugin-cfg.xml").write_text(CONFIG)
    (tmp_path / "wsproxy.toml").write_text(
        f'workers = 1\n[[listener]]\naddress = "127.0.0.1:{made.port}"\n[health]\nlive_path = "/livez"\n[admin]\nsocket = "off"\n'
    )
    program = tmp_path / "wsproxy"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m wsproxy "$@"\n')
    program.chmod(0o755)
    yield made
    with contextlib.suppress(FileNotFoundError):
        pid = made.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert made.run("stop") == SUCCESS


def until_dead(pid: int) -> None:
    descriptor = os.pidfd_open(pid)
    select.select([descriptor], [], [], 30)
    os.close(descriptor)


def test_a_life(agent: Agent) -> None:
    """Start returns when it serves, twice is once, stop returns when nothing is left."""
    assert agent.run("monitor") == NOT_RUNNING
    assert agent.run("start") == SUCCESS, agent.said
    assert agent.run("monitor") == SUCCESS
    pid = agent.pid
    assert agent.run("start") == SUCCESS
    assert agent.pid == pid
    workers = processes_of(pid, r"wsproxy-\d+")
    assert workers
    assert agent.run("stop") == SUCCESS
    assert not [each for each in (pid, *workers) if lives(each)]
    assert agent.run("stop") == SUCCESS
    assert agent.run("monitor") == NOT_RUNNING


def test_killed(agent: Agent) -> None:
    """Monitor sees it, stop leaves nothing, and a start works again."""
    assert agent.run("start") == SUCCESS, agent.said
    pid = agent.pid
    os.kill(pid, signal.SIGKILL)
    until_dead(pid)
    assert agent.run("monitor") in (NOT_RUNNING, GENERIC)
    assert agent.run("stop") == SUCCESS
    assert not lives(pid)
    assert agent.run("start") == SUCCESS, agent.said


def test_one_that_hangs_is_killed(agent: Agent) -> None:
    """Within Pacemaker's own time: 5 s less."""
    assert agent.run("start") == SUCCESS, agent.said
    pid = agent.pid
    (worker,) = processes_of(pid, r"wsproxy-\d+")
    for each in (pid, worker):
        os.kill(each, signal.SIGSTOP)
    assert agent.run("monitor", check_s="1") == GENERIC
    assert "no good answer" in agent.said
    assert agent.run("stop", timeout_ms=6000) == SUCCESS
    assert "code 207" in agent.said
    assert not lives(pid)
    assert not lives(worker)


def test_what_cannot_start_says_why(agent: Agent) -> None:
    """In the log's own words; what is missing is another code."""
    assert agent.run("start", config="/no/such/file") == INSTALLED
    (agent.folder / "plugin-cfg.xml").write_text("<Config>")
    assert agent.run("start") == GENERIC
    assert "it did not start" in agent.said


def test_a_stale_pid_file_is_nobody(agent: Agent) -> None:
    """Its number is another program's, which leads a session: that one is not touched."""
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        (agent.folder / "run").mkdir()
        (agent.folder / "run" / "pid").write_text(f"{other.pid}\n")
        assert agent.run("monitor") == NOT_RUNNING
        assert agent.run("stop") == SUCCESS
        assert lives(other.pid)
    finally:
        other.kill()
        other.wait()


def test_a_changed_parameter_is_a_new_start(agent: Agent) -> None:
    """Pacemaker takes an agent's reload for a change of parameters, which a proxy that runs does not hear of: there is none."""
    assert agent.run("meta-data") == SUCCESS
    actions = {each.get("name") for each in ElementTree.fromstring(agent.said).iter("action")}
    assert actions == {"start", "stop", "monitor", "validate-all", "meta-data"}
    assert agent.run("reload") == UNIMPLEMENTED


def test_metadata(agent: Agent) -> None:
    """Is XML, and has each parameter that the agent reads."""
    assert agent.run("meta-data") == SUCCESS
    names = {each.get("name") for each in ElementTree.fromstring(agent.said).iter("parameter")}
    text = AGENT.read_text()
    assert names == {line.split("OCF_RESKEY_")[1].split("=")[0] for line in text.splitlines() if line.startswith(': "${OCF_RESKEY_')}  # fmt: skip
