"""
Where the admin socket is: made by the proxy that answers on it, found by who asks.

Driven by ``process.start`` and ``cli.explain``. Each proxy has a file of its own, named by its pid, so that two on one machine
never meet. Only its owner (and root) may connect: the file is 0600 from its first moment, its folder nobody else's.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsproxy.errors import StartError

# Who asks while the process that answers is being started waits here.
BACKLOG = 64
# A socket whose queue is full belongs to a proxy that lives.
CONNECT_S = 1.0
# sockaddr_un: 108 bytes with the NUL.
MOST_PATH_BYTES = 107

_SYSTEM_FOLDER = Path("/run/wsproxy")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_OWN_FILE = re.compile(r"(\d+)\.sock")


class SocketTakenError(StartError):
    """Another process answers there now."""


@dataclass(frozen=True, slots=True)
class AdminSocket:
    """A listening socket and its file."""

    sock: socket.socket
    path: Path
    inode: int

    def moved(self, path: Path) -> AdminSocket:
        """The same with its file at ``path``, or as it is where it cannot go there. # I/O."""
        try:
            self.path.rename(path)
        except OSError:
            return self
        return AdminSocket(self.sock, path, self.inode)

    @property
    def is_own(self) -> bool:
        """Whether it is where a proxy puts it if nobody says otherwise."""
        is_there = self.path.parent == runtime_folder(os.environ, os.getuid())
        return is_there and _OWN_FILE.fullmatch(self.path.name) is not None

    def close(self) -> None:
        """Closes it and removes the file, unless that is somebody else's by now."""
        self.sock.close()
        try:
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()
        except OSError:
            return


def runtime_folder(environ: Mapping[str, str], uid: int) -> Path:
    """Where the proxies of ``uid`` have their sockets: systemd's RuntimeDirectory, /run/wsproxy, or the user's own."""
    if given := environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    if uid == 0:
        return _SYSTEM_FOLDER
    if given := environ.get("XDG_RUNTIME_DIR", ""):
        return Path(given, "wsproxy")
    return _last_resort(uid)


def _last_resort(uid: int) -> Path:
    return Path(f"/tmp/wsproxy-{uid}")  # noqa: S108  # `_make_folder` and `_own_files` look whose it is


def open_socket(path: str) -> AdminSocket:
    """
    A listening socket at ``path``, in place of one that a dead proxy left. # I/O.

    Raises:
        StartError: a living proxy has it, something else is there, or it cannot be made.
    """
    return _open(Path(path), f'admin.socket: found "{path}"')


def try_socket(path: str) -> None:
    """
    Finds out whether ``open_socket`` would succeed, and leaves what is at ``path`` alone: others may try at the same moment, or start. # I/O.

    Raises:
        StartError: as that one raises it.
    """
    _try(Path(path), f'admin.socket: found "{path}"')


def open_own_socket() -> AdminSocket:
    """
    The socket of this process in the run-time folder; those that dead proxies left there are removed. # I/O.

    Raises:
        StartError: it cannot be made.
    """
    folder = runtime_folder(os.environ, os.getuid())
    what = f"the run-time folder {folder}"
    try:
        _make_folder(folder)
    except OSError as error:
        raise StartError(f"{what}: {error.strerror or error}") from error
    for path in _own_files(folder):
        pid = int(path.stem)
        if not Path(f"/proc/{pid}").exists() and not _is_answered(path):
            path.unlink(missing_ok=True)
    return _open(own_path(), what)


def own_path() -> Path:
    """Where this process puts its socket if nobody says otherwise."""
    return runtime_folder(os.environ, os.getuid()) / f"{os.getpid()}.sock"


def find_sockets() -> list[Path]:
    """
    The sockets in the folders where proxies of this user, or of the system, put theirs. # I/O.

    Who is told where they are (RUNTIME_DIRECTORY: a command in the unit of one of several services) means nobody else's.
    """
    uid = os.getuid()
    folders = [runtime_folder(os.environ, uid)]
    if not os.environ.get("RUNTIME_DIRECTORY"):
        folders += [_SYSTEM_FOLDER, _last_resort(uid)]
    return [path for folder in dict.fromkeys(folders) for path in _own_files(folder)]


def _own_files(folder: Path) -> Iterator[Path]:
    """Sockets of proxies; none where somebody else could have put them, to answer in a proxy's place."""
    try:
        names = sorted(os.listdir(folder))
        found = folder.lstat()
    except OSError:
        return
    is_ours = found.st_uid in (os.getuid(), 0) or folder == _SYSTEM_FOLDER
    if not (stat.S_ISDIR(found.st_mode) and is_ours) or found.st_mode & _WRITABLE_BY_OTHERS:
        return
    for name in names:
        path = folder / name
        if _OWN_FILE.fullmatch(name) and path.is_socket():
            yield path


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not is_ours or found.st_mode & _WRITABLE_BY_OTHERS:
        # In /tmp anybody may have been faster: whoever owns the folder could answer in our place.
        raise PermissionError(
            0, "is not this user's alone; allowed is a folder that nobody else can write to"
        )


def _open(path: Path, what: str) -> AdminSocket:
    _refuse_long(path, what)
    try:
        try:
            return _listen(path)
        except FileExistsError:
            _refuse_used(path, what)
        path.unlink(missing_ok=True)
        return _listen(path)
    except OSError as error:
        raise StartError(f"{what}: cannot listen there: {error.strerror or error}") from error


def _try(path: Path, what: str) -> None:
    _refuse_long(path, what)
    try:
        _refuse_used(path, what)
        # Under a name of its own, reached through the folder's descriptor: it may be longer than the one that is wanted.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _listen(Path(f"/proc/self/fd/{folder}/.wsproxy-try-{secrets.token_hex(8)}")).close()
        finally:
            os.close(folder)
    except OSError as error:
        raise StartError(f"{what}: cannot listen there: {error.strerror or error}") from error


def _refuse_long(path: Path, what: str) -> None:
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise StartError(
            f"{what}: {path} is longer than {MOST_PATH_BYTES} bytes; allowed is a shorter path"
        )


def _refuse_used(path: Path, what: str) -> None:
    """Where there is something else than nothing, or a socket that a dead proxy left."""
    if not os.path.lexists(path):
        return
    if not path.is_socket():
        raise StartError(
            f"{what}: {path} is there and no socket; allowed is a path that nothing else uses"
        )
    if _is_answered(path) or _is_answered_soon(path):
        raise SocketTakenError(
            f"{what}: a running process answers on {path}; allowed is a path of its own for each proxy"
        )


def _listen(path: Path) -> AdminSocket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        # The file gets the socket's own mode (unix(7), Linux), less the umask: 0600 from its first moment. A umask of ours would be
        # that of all threads: whatever file another one makes meanwhile would get it too.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(os.fspath(path))
        inode = path.lstat().st_ino
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise FileExistsError(*error.args) from error
        raise
    return AdminSocket(sock, path, inode)


def _is_answered_soon(path: Path) -> bool:
    """Whether a process that has only just made it, and would lose it to this one, listens within ``CONNECT_S`` of that."""
    try:
        while 0 <= time.time() - path.stat().st_ctime < CONNECT_S:  # noqa: TID251  # as the file system tells it
            time.sleep(0.02)
            if _is_answered(path):
                return True
    except FileNotFoundError:
        pass
    return False


def _is_answered(path: Path) -> bool:
    """Whether a process listens on the socket at ``path``."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(CONNECT_S)
        try:
            sock.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # its queue is full, or it is another user's
            return True
    return True
