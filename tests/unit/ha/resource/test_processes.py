"""Which processes are a resource's, and what it still holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.resources import lives
from wsproxy.config.address import Address
from wsproxy.ha.resource import processes
from wsproxy.ha.resource.processes import MARK


def test_descendants_and_marked() -> None:
    """By ancestor, and by a word in the environment, whatever session they have made; a zombie is none."""
    env = {MARK: "test/one", "PATH": os.environ["PATH"]}
    child = subprocess.Popen(["sh", "-c", "setsid sleep 1000 & wait"], env=env)
    try:
        while not (found := processes.descendants(child.pid, {os.getsid(child.pid)})):
            assert child.poll() is None
        while set(processes.marked("test/one")) != {child.pid, *found}:  # it becomes `sleep`
            assert child.poll() is None
        assert processes.marked("test/on") == []
        assert processes.descendants(child.pid, {os.getsid(found[0])}) == []
    finally:
        processes.kill_all(child.pid, "test/one")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert child.pid not in processes.marked("test/one")
    assert child.pid not in processes.descendants(os.getpid())
    child.wait()


def test_marked_while_it_becomes_another_program(tmp_path: Path) -> None:
    """For a moment of execve there is no environment to be read, and the mark is in it all the same."""
    env = {MARK: "test/three", "PATH": os.environ["PATH"]}
    script = 'n=$1; [ $n = 0 ] && exec sleep 1000; exec sh "$0" $((n - 1))'
    file = tmp_path / "exec"
    file.write_text(script)
    child = subprocess.Popen(["sh", str(file), "400"], env=env)
    try:
        while Path(f"/proc/{child.pid}/comm").read_text() != "sleep\n":
            assert child.pid in processes.marked("test/three")
    finally:
        child.kill()
        child.wait()


def test_nobody_is_waited_for_who_never_has_an_environment() -> None:
    """The kernel's own, an init without memory of its own, and who ends in this moment: a kill must not be late for them."""
    never = [each for each in processes.all_processes() if each.is_becoming]
    assert never, "kthreadd at least"
    began = time.monotonic()
    for each in never:
        with contextlib.suppress(OSError):
            processes._environment(each.pid, began + 60)
    assert time.monotonic() < began + 60


def test_kill_all_but_one() -> None:
    """The guard of the resource is no part of it."""
    env = {MARK: "test/two", "PATH": os.environ["PATH"]}
    one, two = (
        subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True) for _ in range(2)
    )
    try:
        processes.kill_all(one.pid, "test/two", {os.getsid(two.pid)})
        assert one.wait() == -signal.SIGKILL
        assert lives(two.pid)
    finally:
        two.kill()
        two.wait()


def test_a_pid_file_is_believed_of_the_same_process(tmp_path: Path) -> None:
    """Neither rubbish, nor a number that is another's by now."""
    file = tmp_path / "pid"
    assert processes.named_by(str(file), 0.0) is None
    file.write_text("no pid")
    assert processes.named_by(str(file), 0.0) is None
    file.write_text(f"{os.getpid()}\n")
    assert processes.named_by(str(file), 0.0) is None, "it would kill itself"
    with subprocess.Popen(["sleep", "1000"]) as other:
        file.write_text(f"{other.pid}\n")
        known = processes.named_by(str(file), 0.0)
        assert known is not None
        assert processes.lives(known)
        assert processes.named_by(str(file), file.stat().st_mtime + 1) is None
        assert not processes.lives(processes.Known(known.pid, "0"))
        if os.geteuid() == 0:
            # A stranger may have root kill what is the stranger's own, and no more.
            os.chown(file, 12345, 12345)
            assert processes.named_by(str(file), 0.0) is None
        other.kill()


def test_ports() -> None:
    """Open where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert processes.is_open(Address("127.0.0.1", port), doubt=True)
    assert not processes.is_open(Address("127.0.0.1", port), doubt=True)


def test_a_port_that_is_its_own_other_end() -> None:
    """Nobody listens, and the kernel chooses that very port for the look: a network of its own, where it has no other."""
    code = (
        "import os; open('/proc/sys/net/ipv4/ip_local_port_range', 'w').write('40000 40000'); os.system('ip link set lo up')\n"
        "from wsproxy.config.address import Address; from wsproxy.ha.resource import processes\n"
        "print([processes.is_open(Address('127.0.0.1', 40000), doubt=False) for _ in range(3)])"
    )
    command = ["unshare", "--net", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("needs root, for a network of its own")
    assert done.stdout == "[False, False, False]\n", done.stderr


def test_a_port_that_does_not_answer_is_a_doubt() -> None:
    """Its queue is full: it is not well, and not closed."""
    with socket.socket() as listener, contextlib.ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = Address("127.0.0.1", listener.getsockname()[1])
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address.host, address.port))
        assert processes.is_open(address, doubt=True)
        assert not processes.is_open(address, doubt=False)


def test_locks(tmp_path: Path) -> None:
    """Of both kinds; a file that is not there is nobody's."""
    path = tmp_path / "lock"
    assert processes.no_proof_of_free(str(path)) == ""
    path.touch()
    assert processes.no_proof_of_free(str(path)) == ""
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert processes.no_proof_of_free(str(path)) == "is locked"
        fcntl.flock(file, fcntl.LOCK_UN)
    assert processes.no_proof_of_free(str(path)) == ""
    code = f"import fcntl, sys; f = open({str(path)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(["python3", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        assert processes.no_proof_of_free(str(path)) == "is locked"
        other.kill()
