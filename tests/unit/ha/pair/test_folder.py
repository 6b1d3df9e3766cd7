"""What a node keeps, and what of it holds after a boot."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from wsproxy.errors import StartError
from wsproxy.ha.pair import folder as module
from wsproxy.ha.pair.folder import LOCK_S, MOST_LOG_BYTES, SENT_LOG_BYTES, Folder, LockedError
from wsproxy.ha.pair.rules import Node, State


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path / "ha")
    found.make()
    return found


def test_state_is_kept_until_the_machine_boots(folder: Folder) -> None:
    """Then the node is stand-alone, as in the seed: nothing of it runs."""
    assert folder.read_node() == Node()
    folder.write_node(Node(State.PRIMARY, State.PRIMARY), "why")
    assert folder.read_node().state is State.PRIMARY
    assert folder.read_record().why == "why"
    file = folder.file("state.json")
    file.write_text(file.read_text().replace(module.boot_id(), "another boot"))
    assert folder.read_node() == Node()
    file.write_text("{")
    assert folder.read_node() == Node()


def test_folder_is_nobody_elses(tmp_path: Path) -> None:
    """One that others can write to is refused."""
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    with pytest.raises(StartError, match="found a folder that others can write to"):
        Folder(wide).make()
    Folder(tmp_path / "new").make()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_two_agents_cannot_have_one_folder(folder: Folder) -> None:
    """The lock ends with who has it."""
    held = folder.lock()
    with pytest.raises(LockedError, match="found an agent that runs"):
        folder.lock()
    os.close(held)
    os.close(folder.lock())


def test_numbers_are_written_in_place(folder: Folder) -> None:
    """Keepalived watches the file: its inode stays, and a shorter number leaves nothing of the longer one."""
    folder.write_number("role", 220)
    inode = folder.file("role").stat().st_ino
    folder.write_number("role", 0)
    assert folder.file("role").read_text() == "0\n"
    assert folder.file("role").stat().st_ino == inode


def test_logs_are_sent_by_their_ends(folder: Folder) -> None:
    """And one that is long is put aside."""
    folder.file("keepalived.log").write_bytes(b"x" * MOST_LOG_BYTES + b"the end")
    found = folder.tails()
    assert set(found) == {"keepalived.log"}
    assert len(found["keepalived.log"]) == SENT_LOG_BYTES
    assert found["keepalived.log"].endswith(b"the end")
    folder.turn_log("keepalived.log")
    assert not folder.file("keepalived.log").exists()
    assert folder.file("keepalived.log.1").exists()


def test_who_looks_whether_an_agent_runs_is_none(folder: Folder) -> None:
    """Keepalived's script has the lock for an instant."""
    fd = os.open(folder.file("agent.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    timer = threading.Timer(LOCK_S / 10, os.close, (fd,))
    timer.start()
    os.close(folder.lock())
    timer.join()


@pytest.mark.parametrize("name", ["a b", "a'b", 'a"b', "a\nb", "a$b", "a!b"])
def test_folder_can_be_named_in_other_files(tmp_path: Path, name: str) -> None:
    """Keepalived's file and a script of /bin/sh name it."""
    with pytest.raises(StartError, match="found folder"):
        Folder(tmp_path / name).make()
    assert not (tmp_path / name).exists()


def test_folder_is_named_from_the_root() -> None:
    """The agent is at home in /, and who asks it is not."""
    with pytest.raises(StartError, match="allowed is a path from /"):
        Folder(Path("ha")).make()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_nobody_else_can_put_another_folder_in_its_place(tmp_path: Path) -> None:
    """As who owns the folder above it could: root would write by the links that are in it."""
    above = tmp_path / "state"
    above.mkdir(mode=0o700)
    os.chown(above, 65534, 65534)
    with pytest.raises(StartError, match="found a folder that another user owns or can write to"):
        Folder(above / "ha").make()
    assert not (above / "ha").exists()
    os.chown(above, 0, 0)
    above.chmod(0o777)
    with pytest.raises(StartError, match="found a folder that another user owns or can write to"):
        Folder(above / "ha").make()
    above.chmod(0o1777)
    Folder(above / "ha").make()


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Also where it was there before."""
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    Folder(there).make()
    assert there.stat().st_mode & 0o777 == 0o700
