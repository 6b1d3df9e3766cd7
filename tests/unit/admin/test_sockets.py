"""Where the admin socket is, and whose word is not taken for a proxy's."""

from __future__ import annotations

import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wsproxy.admin import sockets
from wsproxy.admin.sockets import (
    SocketTakenError,
    find_sockets,
    open_own_socket,
    open_socket,
    runtime_folder,
    try_socket,
)
from wsproxy.errors import StartError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path / 'run'}:{tmp_path / 'other'}")
    return tmp_path / "run"


def test_folder_is_made_for_this_user_alone(folder: Path) -> None:
    opened = open_own_socket()
    try:
        assert opened.path == folder / f"{os.getpid()}.sock"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(opened.path.stat().st_mode) == 0o600
        assert opened.path in find_sockets()
        with pytest.raises(StartError, match="a running process answers on"):
            open_own_socket()
    finally:
        opened.close()
    assert not opened.path.exists()


def test_files_that_others_make_meanwhile_keep_their_rights(folder: Path) -> None:
    """The umask is the whole process's: with one for the socket, a folder of another thread lost its x in CI."""
    folder.parent.joinpath("made").mkdir()
    at_once, ends = threading.Barrier(2), threading.Event()

    def make_folders() -> set[int]:
        modes = set()
        at_once.wait()
        for number in range(100_000):
            made = folder.parent / "made" / str(number)
            made.mkdir(mode=0o700)
            modes.add(stat.S_IMODE(made.lstat().st_mode))
            made.rmdir()
            if ends.is_set():
                break
        return modes

    with ThreadPoolExecutor() as pool:
        modes = pool.submit(make_folders)
        at_once.wait()
        try:
            for _ in range(300):
                open_own_socket().close()
        finally:
            ends.set()
        assert modes.result() == {0o700}


def test_where_the_folder_is_given_no_other_is_looked_into(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another proxy that runs on the machine is not found; without the variable it is."""
    other = folder.parent / "system"
    other.mkdir(mode=0o700)
    monkeypatch.setattr(sockets, "_SYSTEM_FOLDER", other)
    with socket.socket(socket.AF_UNIX) as running:
        running.bind(str(other / "1.sock"))
        assert find_sockets() == []
        monkeypatch.delenv("RUNTIME_DIRECTORY")
        assert other / "1.sock" in find_sockets()


@pytest.mark.parametrize(
    ("environ", "uid", "found"),
    [
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, "/run/user/7/wsproxy"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/wsproxy"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "RUNTIME_DIRECTORY": "/run/a:/run/b"}, 7, "/run/a"),
        ({}, 7, "/tmp/wsproxy-7"),
    ],
)
def test_folder_follows_the_user(environ: dict[str, str], uid: int, found: str) -> None:
    assert runtime_folder(environ, uid) == Path(found)


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_folder_that_others_can_write_to_is_not_used(folder: Path, mode: int) -> None:
    """Somebody else could put a socket of its own in the place of ours."""
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StartError, match="allowed is a folder that nobody else can write to"):
        open_own_socket()
    with socket.socket(socket.AF_UNIX) as forged:
        forged.bind(str(folder / "1.sock"))
        assert folder / "1.sock" not in find_sockets()


def test_link_in_place_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="is not this user's alone"):
        open_own_socket()
    with socket.socket(socket.AF_UNIX) as forged:
        forged.bind(str(tmp_path / "elsewhere" / "1.sock"))
        assert folder / "1.sock" not in find_sockets()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a folder of somebody else's")
def test_folder_of_somebody_else_is_neither_used_nor_asked(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as forged:
        forged.bind(str(folder / "1.sock"))
        forged.listen()
        os.chown(folder, 65534, 65534)
        assert folder / "1.sock" not in find_sockets()
        with pytest.raises(StartError, match="is not this user's alone"):
            open_own_socket()


def test_path_that_is_too_long_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="is longer than 107 bytes; allowed is a shorter path"):
        open_socket(str(tmp_path / ("x" * 108)))
    with pytest.raises(StartError, match="cannot listen there: No such file"):
        open_socket(str(tmp_path / "none" / "a.sock"))


def test_file_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    """Whoever closes late removes its own file only."""
    first = open_socket(str(tmp_path / "a.sock"))
    first.path.unlink()
    second = open_socket(str(tmp_path / "a.sock"))
    first.close()
    assert second.path.exists()
    second.close()
    assert not second.path.exists()


def test_trials_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    """Nor a start that happens meanwhile; the folder is as it was."""
    path = str(tmp_path / "a.sock")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(try_socket, [path] * 400))
        assert list(tmp_path.iterdir()) == []
        opened = open_socket(path)
        for trial in [pool.submit(try_socket, path) for _ in range(100)]:
            with pytest.raises(SocketTakenError):
                trial.result()
        opened.close()
    assert list(tmp_path.iterdir()) == []


def test_trial_says_what_a_start_would_say(tmp_path: Path) -> None:
    """And leaves a dead proxy's socket where it is."""
    for name, words in (("x" * 108, "is longer than 107"), ("none/a.sock", "cannot listen there: No such file"), ("file", "is there and no socket")):  # fmt: skip
        (tmp_path / "file").touch()
        for way in (try_socket, open_socket):
            with pytest.raises(StartError, match=words):
                way(str(tmp_path / name))
    longest = tmp_path / ("x" * (107 - len(str(tmp_path)) - 1))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(longest))
    try_socket(str(longest))
    assert longest.is_socket()


def test_socket_of_a_proxy_that_is_about_to_listen_is_not_taken(tmp_path: Path) -> None:
    """Two start at once: it is bound, and a moment later it listens."""
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(path))
        asking = threading.Event()

        def open_it() -> None:
            asking.set()
            open_socket(str(path))

        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(open_it)
            asking.wait()
            first.listen()
            with pytest.raises(SocketTakenError):
                second.result()
    assert path.is_socket()
