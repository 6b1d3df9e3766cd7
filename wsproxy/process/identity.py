"""
Which user the proxy is: started as root it may bind any port, and need not be root for anything behind that.

Driven by ``process.start`` (which lets root go for good once its sockets listen), ``process.check_start`` (which looks with that
user's rights) and ``process.log_pipe``. Must not know what for. Under systemd nothing of it is needed: DynamicUser or User with
AmbientCapabilities=CAP_NET_BIND_SERVICE, or a socket unit.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsproxy.config.problems import printable
from wsproxy.errors import StartError

# linux/prctl.h
_PR_SET_DUMPABLE = 4
_libc = ctypes.CDLL(None, use_errno=True)

_ROOT = 0
# Where systemd says that sockets of this service go; `admin.sockets` asks for it.
_FOLDER_VARIABLE = "RUNTIME_DIRECTORY"
_FOLDER = Path("/run/wsproxy")


@dataclass(frozen=True, slots=True)
class Identity:
    """A user of this machine, and its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def identity_of(name: str) -> Identity | None:
    """
    Whom to become; None: nobody else, because no ``name`` is given or we are that user already. # I/O.

    Raises:
        StartError: there is no such user, it is root, or only root could become it.
    """
    if not name:
        return None
    found = f'process.user: found "{printable(name)}"'
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError) as error:  # ValueError: a NUL
        raise StartError(
            f"{found}; allowed is a user that this machine has (getent passwd)"
        ) from error
    if entry.pw_uid == _ROOT:
        raise StartError(
            f"{found}, which is root; allowed is a user that is not, or no process.user"
        )
    if os.geteuid() == entry.pw_uid:
        return None
    if os.geteuid() != _ROOT:
        raise StartError(
            f"{found}, and this process is user {os.geteuid()}; allowed is a start as root, or as that user"
        )
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


@contextmanager
def acting_as(identity: Identity | None) -> Iterator[None]:
    """Files are opened with that user's rights inside of it, and with ours again behind it; None: no difference."""
    if identity is None:
        yield
        return
    groups = os.getgroups()
    os.setgroups(identity.groups)
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
    try:
        yield
    finally:
        os.seteuid(_ROOT)
        os.setegid(_ROOT)
        os.setgroups(groups)


def become(identity: Identity | None) -> None:
    """
    Is that user from now on, for good, with no capability left; None: nothing changes.

    Raises:
        OSError: the kernel does not let us.
    """
    if identity is None:
        return
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    # The kernel has made /proc/self root's at that, where logs and certificates are opened again by their descriptor.
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def give_runtime_folder(identity: Identity | None) -> None:
    """
    Makes the folder of the admin socket that user's, before ``become``, as systemd's RuntimeDirectory would; None: nothing. # I/O.

    One that other proxies use stays as it is: then there is no admin socket, and the log says so.
    """
    if identity is None or os.environ.get(_FOLDER_VARIABLE):
        return
    try:
        _FOLDER.mkdir(mode=0o755, exist_ok=True)
        found = _FOLDER.lstat()
        is_free = found.st_uid == _ROOT and not any(_FOLDER.iterdir())
        if stat.S_ISDIR(found.st_mode) and is_free:
            os.chown(_FOLDER, identity.uid, identity.gid, follow_symlinks=False)
    except OSError:  # a read-only /run; what needs the folder says what it lacks
        return
    os.environ[_FOLDER_VARIABLE] = str(_FOLDER)
