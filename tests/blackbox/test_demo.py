"""The cluster whose servers are killed, and ``wsproxy demo`` as a person runs it."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.demo_cluster import Client, ask, started_cluster
from tests.support.demo_command import GUIDE_END, read_line, started_demo
from tests.support.process import COMMAND_S, WAIT_S, wait_for_end
from wsproxy.demo.cluster import DemoCluster, ServerSpec
from wsproxy.errors import StartError

needs_run = pytest.mark.skipif(
    importlib.util.find_spec("wsproxy.cli.run") is None, reason="wsproxy run is not here yet"
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DemoCluster]:
    with started_cluster(tmp_path) as running:
        yield running


def test_a_session_survives_the_death_of_its_server(cluster: DemoCluster) -> None:
    """Count 1 at s1, kill -9, 2 at s2, s1 returns, 3 at s1: as captured from Liberty."""
    s1, s2, _ = cluster.servers
    client = Client()
    assert client.ask(s1.url)["count"] == 1
    os.kill(s1.pid, signal.SIGKILL)
    at_s2 = client.ask(s2.url)
    assert (at_s2["count"], at_s2["cloneIds"]) == (2, ["clone1", "clone2"])
    s1.kill()  # waits for the end
    s1.start()
    s1.wait_ready()
    back = client.ask(s1.url)
    assert (back["count"], back["cloneIds"], back["cacheId"]) == (3, ["clone1", "clone2"], "0003")


def test_a_dead_server_refuses_and_returns_on_its_port(cluster: DemoCluster) -> None:
    server = cluster.servers[0]
    url, pid = server.url, server.pid
    server.kill()
    assert not server.is_running
    with pytest.raises(ConnectionRefusedError):
        ask(url)
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", server.port))  # nobody else gets the port meanwhile
    server.start()
    server.wait_ready()
    assert server.url == url
    assert server.pid != pid
    assert ask(url).status == 200


def test_what_was_counted_is_on_file_when_the_answer_comes(cluster: DemoCluster) -> None:
    """Killed right after each answer, no server takes a count with it."""
    client = Client()
    for expected, server in enumerate(cluster.servers, 1):
        assert client.ask(server.url)["count"] == expected
        server.kill()
    cluster.servers[0].start()
    cluster.servers[0].wait_ready()
    assert client.ask(cluster.servers[0].url)["count"] == len(cluster.servers) + 1


def test_a_server_that_cannot_start_is_told_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").write_bytes(b"no database at all" * 100)
    specs = (ServerSpec("s1", "clone1"),)
    cluster = DemoCluster(tmp_path, specs)
    try:
        cluster.servers[0].start()
        with pytest.raises(StartError, match=r"(?s)s1 did not start.*file is not a database"):
            cluster.servers[0].wait_ready()
    finally:
        cluster.stop()


def test_no_server_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = """
import sys, signal
from pathlib import Path
from wsproxy.demo.cluster import DemoCluster
with DemoCluster(Path(sys.argv[1])) as cluster:
    print(*[server.pid for server in cluster.servers], flush=True)
    signal.pause()
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    with parent, ExitStack() as stack:
        try:
            assert parent.stdout is not None
            pidfds = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
            for pidfd in pidfds:
                stack.callback(os.close, pidfd)
        finally:
            parent.kill()
        assert len(pidfds) == 3
        assert all(wait_for_end(pidfd) for pidfd in pidfds)


# wsproxy demo


def pids_of_demo(process: subprocess.Popen[str]) -> list[int]:
    """Its children and theirs: app servers, proxy, workers."""
    pids, waiting = [], [process.pid]
    while waiting:
        pid = waiting.pop()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids += [int(child) for child in children]
        waiting += [int(child) for child in children]
    return pids


@needs_run
def test_the_demo_does_what_it_tells_people_to_try(tmp_path: Path) -> None:
    """The printed commands, filled in as printed: ask twice, kill the owner, ask again, see it return."""
    with started_demo(tmp_path, "--workers", "2", "--return-after", "1") as demo:
        seen: list[str] = []
        url = read_line(demo, r"^wsproxy is at (http://\S+)/ in front", seen)[1]
        jar = Path(read_line(demo, r"curl -s -b (\S+) ", seen)[1])
        pid = int(read_line(demo, r"kill -9 (\d+)", seen)[1])
        read_line(demo, GUIDE_END, seen)
        client = Client(cookie=jar.read_text().split("\t")[-1].strip())

        before = [client.ask(url), client.ask(url)]
        assert [answer["count"] for answer in before] == [2, 3]
        assert [answer["pid"] for answer in before] == [pid, pid]
        os.kill(pid, signal.SIGKILL)
        after = client.ask(url)
        assert after["count"] == 4
        assert after["pid"] != pid
        assert after["cloneIds"] == [before[0]["cloneId"], after["cloneId"]]

        name = before[0]["server"]
        assert read_line(demo, r"^(\S+) \(pid (\d+)\) is dead", seen).groups() == (name, str(pid))
        returned = read_line(demo, r"^(\S+) is back, pid (\d+)", seen)
        assert returned[1] == name
        assert int(returned[2]) != pid

        demo.send_signal(signal.SIGINT)
        read_line(demo, "^stopped$", seen)
        assert demo.wait(WAIT_S) == 0
    assert list(tmp_path.iterdir()) == []


@needs_run
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_demo_ends_all_its_children_and_removes_its_files(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started_demo(tmp_path, "--workers", "1") as demo, ExitStack() as stack:
        read_line(demo, GUIDE_END, [])
        pids = pids_of_demo(demo)
        pidfds = [os.pidfd_open(pid) for pid in pids]
        for pidfd in pidfds:
            stack.callback(os.close, pidfd)
        assert len(pids) >= 5  # three app servers, the supervisor, its worker
        demo.send_signal(number)
        assert demo.wait(WAIT_S) == 0
        assert all(wait_for_end(pidfd) for pidfd in pidfds)
    assert list(tmp_path.iterdir()) == []


@needs_run
def test_no_child_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with started_demo(tmp_path, "--workers", "1") as demo, ExitStack() as stack:
        read_line(demo, GUIDE_END, [])
        pidfds = [os.pidfd_open(pid) for pid in pids_of_demo(demo)]
        for pidfd in pidfds:
            stack.callback(os.close, pidfd)
        demo.kill()
        assert all(wait_for_end(pidfd) for pidfd in pidfds)


@needs_run
def test_the_demo_ends_when_its_proxy_dies(tmp_path: Path) -> None:
    with started_demo(tmp_path, "--workers", "1") as demo:
        seen: list[str] = []
        read_line(demo, GUIDE_END, seen)
        servers = {int(pid) for pid in re.findall(r"http://\S+  pid (\d+)", "".join(seen))}
        direct = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        (proxy,) = {int(pid) for pid in direct} - servers
        os.kill(proxy, signal.SIGKILL)
        read_line(demo, r"the proxy ended \(signal SIGKILL\)", seen)
        assert demo.wait(WAIT_S) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_demo_offers_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "wsproxy", "demo", "--listen", f"127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            check=False,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port} is in use" in done.stderr
    assert "--listen" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_a_port_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wsproxy", "demo", "--listen", "localhost"],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 2
    assert "the port is missing" in done.stderr
