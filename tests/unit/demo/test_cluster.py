"""What the cluster writes and says; starting and killing is tests/blackbox/test_demo.py."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsproxy.demo.cluster import DemoCluster, ServerSpec, describe_end, tail


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DemoCluster]:
    """Not started: it has ports, but no processes."""
    specs = ServerSpec("a & b", "clone1", weight=3), ServerSpec("s2", "clone2")
    stopped = DemoCluster(tmp_path, specs)
    yield stopped
    stopped.stop()


def test_plugin_cfg_names_every_server_with_its_port(cluster: DemoCluster, tmp_path: Path) -> None:
    cluster.write_plugin_cfg(tmp_path / "plugin-cfg.xml", 8080)
    root = ElementTree.parse(tmp_path / "plugin-cfg.xml").getroot()
    found = [
        (
            server.get("Name"),
            server.get("CloneID"),
            server.get("LoadBalanceWeight"),
            port.get("Port"),
        )
        for server in root.iterfind("ServerCluster/Server")
        for port in server.iterfind("Transport")
    ]
    assert found == [
        ("a & b", "clone1", "3", str(cluster.servers[0].port)),
        ("s2", "clone2", "2", str(cluster.servers[1].port)),
    ]
    primaries = [s.get("Name") for s in root.iterfind("ServerCluster/PrimaryServers/Server")]
    assert primaries == ["a & b", "s2"]
    assert [v.get("Name") for v in root.iterfind("VirtualHostGroup/VirtualHost")] == ["*:8080"]


def test_plugin_cfg_is_read_without_a_problem(cluster: DemoCluster, tmp_path: Path) -> None:
    reader = pytest.importorskip("wsproxy.config.xml", reason="the reader is not built in yet")
    path = tmp_path / "plugin-cfg.xml"
    cluster.write_plugin_cfg(path, 8080)
    loaded = reader.load_config(path)
    assert not loaded.problems
    assert loaded.config.routes[0].server_cluster == "demo"


def test_a_server_is_found_by_its_clone_id(cluster: DemoCluster) -> None:
    assert cluster.server_with_clone_id("clone2").name == "s2"


@pytest.mark.parametrize(
    ("code", "words"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.abort()", "signal SIGABRT")],
)
def test_an_end_is_told_in_words(code: str, words: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    process.wait()
    assert describe_end(process) == words


def test_tail_gives_the_last_lines_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(100)))
    assert tail(log).splitlines()[-1] == "  line 99"
    assert "line 50" not in tail(log)


def test_tail_of_an_empty_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert "said nothing" in tail(tmp_path / "log")
