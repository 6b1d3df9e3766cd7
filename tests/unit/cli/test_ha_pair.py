"""`wsproxy ha start`: which of both a node is, is said once. What a live pair does: tests/acceptance/test_pair.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsproxy.cli.ha import ha
from wsproxy.errors import StartError
from wsproxy.ha.pair.ask import begin_agent
from wsproxy.ha.pair.folder import Folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a node: root's alone, as all above it."""
    made = Path(tempfile.mkdtemp(prefix="wsproxy-ha-", dir="/run"))
    yield made
    shutil.rmtree(made)


def start(folder: Path, keys: Path) -> subprocess.Popen[str]:
    """Of a primary whose address no VRRP can have."""
    given = ("--peer", "127.0.0.2", "--vip", "127.0.0.3/8", "--folder", str(folder), "--keys", str(keys))  # fmt: skip
    command = [sys.executable, "-P", "-m", "wsproxy", "ha", "start", "--primary", *given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as `wsproxy ha start` does")
def test_what_is_refused_leaves_nobody_behind(folder: Path, tmp_path: Path) -> None:
    """No keys, so no pair: a proxy alone has no agent."""
    done = start(folder, tmp_path)
    said = done.communicate(timeout=60)[0]
    assert done.returncode == 1, said
    assert "agent begins" in (folder / "ha.log").read_text()
    assert processes_of(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as `wsproxy ha start` does")
def test_two_at_once_ask_one_agent(folder: Path, tmp_path: Path) -> None:
    """Each is told what is wrong with what it wants, and the last of them leaves nobody behind."""
    both = [start(folder, tmp_path) for _ in range(2)]
    said = [each.communicate(timeout=60)[0] for each in both]
    assert [each.returncode for each in both] == [1, 1], said
    assert all("cannot use a loopback interface" in each for each in said), said
    until_none(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as `wsproxy ha start` does")
def test_an_agent_that_does_not_come_up_is_not_left_behind(folder: Path) -> None:
    """Its keeper would try again for ever: here a folder is in the place of its socket."""
    node = Folder(folder)
    node.socket.mkdir()
    with pytest.raises(StartError, match="the agent does not come up"):
        begin_agent(node, start_s=2)
    assert processes_of(folder) == []


def processes_of(folder: Path) -> list[str]:
    """Whose command line names it."""
    found = Path("/proc").glob("[0-9]*/cmdline")
    return [file.parent.name for file in found if os.fsencode(folder) in read(file)]


def until_none(folder: Path) -> None:
    """A keeper that was not needed ends when it has found that out."""
    deadline = time.monotonic() + 30
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.05)


def read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has just ended
        return b""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--primary", "--secondary"), "found --primary and --secondary"),
        (("--secondary", "--primary"), "found --primary and --secondary"),
        ((), "found neither --primary nor --secondary"),
    ],
)
def test_a_node_is_one_of_both(words: tuple[str, ...], found: str, tmp_path: Path) -> None:
    """Neither the first nor the last of two words is taken for what was meant."""
    given = ("--peer", "127.0.0.2", "--vip", "127.0.0.3/8", "--folder", str(tmp_path / "ha"))
    done = CliRunner().invoke(ha, ["start", *words, *given])
    assert done.exit_code == 1
    assert f"{found}; allowed is one of them" in done.output
