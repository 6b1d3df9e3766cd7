"""
What a resource may be: a program that holds a port and a lock, and writes down when it began and ended. Run as a script, by its path.

    start FOLDER PORT [daemon]   begins: the lock of FOLDER, then the port; whoever has one of them already is a CLASH
    stop FOLDER                  tells it to end, and returns at once, as stopManager.sh does
    status FOLDER PORT           0: it answers
    take FOLDER | release FOLDER a folder that only one may have: who finds it taken is a CLASH; or is REFUSED, where nothing of the other one runs, and only its release is late

A file FOLDER/MEMBER.mode has words for the member: fail (start), fail-release, slow-release (1 s), deaf (to SIGTERM), hang (status), slow (stop takes 1 s), silent (it stops to listen).
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path


def main() -> int:
    action, folder = sys.argv[1], Path(sys.argv[2])
    member = os.environ["WSPROXY_HA_MEMBER"]
    mode_file = folder / f"{member}.mode"
    mode = mode_file.read_text().split() if mode_file.exists() else []
    actions = {"take": take, "release": release, "start": start, "stop": stop, "status": status}
    return actions[action](folder, member, mode)


def take(folder: Path, member: str, _mode: list[str]) -> int:
    mine = folder / f"{member}.{os.getpid()}"
    (mine / member).mkdir(parents=True)
    try:
        mine.rename(folder / "taken")  # at once, with its owner: this may be killed at any moment
    except OSError:
        owners = [each.name for each in (folder / "taken").glob("*")]
        note(folder, "CLASH" if any(runs(folder, each) for each in owners) else "REFUSED", member)
        return 1
    return 0


def runs(folder: Path, member: str) -> bool:
    """A `take`, a `start` or the program of that member."""
    for each in Path("/proc").iterdir():
        try:
            words = (each / "environ").read_bytes().split(b"\0")
            line = (each / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if (
            str(folder).encode() in line
            and f"WSPROXY_HA_MEMBER={member}".encode() in words
            and {b"WSPROXY_HA_ACTION=take", b"WSPROXY_HA_ACTION=start"} & {*words}
        ):
            return True
    return False


def release(folder: Path, member: str, mode: list[str]) -> int:
    """What is another member's, or nobody's, is not touched: it runs where nothing was taken, too."""
    if "fail-release" in mode:
        print("target is busy")
        return 32
    if "slow-release" in mode:
        time.sleep(1)
    if (folder / "taken" / member).exists():
        (folder / "taken").rename(folder / f"given-back-by-{member}-{time.monotonic_ns()}")
    return 0


def start(folder: Path, member: str, mode: list[str]) -> int:
    if "fail" in mode:
        (folder / f"failed-start-of-{member}-{time.monotonic_ns()}").touch()
        print("no such database")
        return 4
    pid_file = folder / f"{member}.pid"
    if "daemon" in sys.argv:
        return daemon(folder, member, pid_file)
    return serve(folder, member, pid_file, None)


def stop(folder: Path, member: str, _mode: list[str]) -> int:
    try:
        os.kill(int((folder / f"{member}.pid").read_text()), signal.SIGTERM)
    except (OSError, ValueError):
        return 1
    return 0


def status(_folder: Path, member: str, mode: list[str]) -> int:
    if "hang" in mode:
        signal.pause()
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[3])), timeout=1) as sock:
            return 0 if sock.recv(100).decode() == member else 3
    except OSError:
        return 3


def daemon(folder: Path, member: str, pid_file: Path) -> int:
    """Twice forked, in a session of its own, as a daemon is; returns when it serves."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(reading)
            os._exit(serve(folder, member, pid_file, writing))
        os._exit(0)
    os.close(writing)
    os.wait()
    return 0 if os.read(reading, 1) else 5


def serve(folder: Path, member: str, pid_file: Path, ready: int | None) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
    except OSError as error:
        note(folder, "CLASH", member)
        print(error)
        return 6
    ended = threading.Event()

    def on_term(_number: int, _frame: object) -> None:
        mode_file = folder / f"{member}.mode"
        mode = mode_file.read_text().split() if mode_file.exists() else []
        if "deaf" in mode:
            return
        if "slow" in mode:
            time.sleep(1)
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)

    signal.signal(signal.SIGTERM, on_term)
    pid_file.write_text(str(os.getpid()))
    note(folder, "begin", member)
    if ready is not None:
        os.write(ready, b"+")
        os.close(ready)
    while not ended.is_set():
        try:
            with listener.accept()[0] as sock:
                sock.sendall(member.encode())
        except OSError:
            pass
        mode_file = folder / f"{member}.mode"
        if mode_file.exists() and "silent" in mode_file.read_text():
            listener.close()
            signal.pause()
    note(folder, "end", member)
    return 0


def note(folder: Path, what: str, member: str) -> None:
    fd = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(
        fd,
        f"{time.clock_gettime(time.CLOCK_BOOTTIME):.6f} {what} {member} {os.environ['WSPROXY_HA_TOKEN']}\n".encode(),
    )
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
