"""
Listening sockets that this program is given instead of opening them: by systemd, or by the program that it replaces.

Driven by ``process.listeners``, which asks for those of an address, and by ``process.handover``. They are passed on as they are,
with whoever waits in their queues: a socket that is closed, or opened anew, would reset these.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass

from wsproxy.errors import StartError

# sd_listen_fds(3): the first descriptor, and what says how many there are, whose, and their names.
FIRST_FD = 3
PID, COUNT, NAMES = LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")

_ANY = {"": ("::", "0.0.0.0")}  # noqa: S104  # what a listener is for


@dataclass(slots=True)
class GivenSocket:
    """
    ``wanted_port`` as it was asked for when it was opened (0: any); ``can_grow``: more sockets may listen beside it.

    ``place``: its number with the program that is replaced; -1: it is systemd's.
    """

    sock: socket.socket
    host: str
    port: int
    wanted_port: int
    can_grow: bool
    place: int = -1
    name: str = ""

    @property
    def words(self) -> str:
        """For messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + (f" ({self.name})" if self.name else "")


class GivenSockets:
    """Those that nobody has asked for yet."""

    def __init__(self, sockets: Iterable[GivenSocket] = ()) -> None:
        """In the order in which they began to listen."""
        self._left = list(sockets)

    def __iter__(self) -> Iterator[GivenSocket]:
        """Those that are left."""
        return iter(self._left)

    def take(self, host: str, port: int) -> list[GivenSocket]:
        """
        Those that listen on this address, which are the caller's from now on.

        ``host`` a literal address, or empty for all; ``port`` 0 is for any that was opened as any.
        """
        hosts = _ANY.get(host, (host,))
        found = [
            each
            for each in self._left
            if each.host in hosts and (each.port == port or (port == 0 == each.wanted_port))
        ]
        first = found[:1]
        taken = [
            each
            for each in found
            for one in first
            if (each.host, each.port) == (one.host, one.port)
        ]
        self._left = [each for each in self._left if each not in taken]
        return taken

    def close(self) -> None:
        """Those that are left, in this process."""
        for each in self._left:
            each.sock.close()


def from_systemd(environ: MutableMapping[str, str], pid: int) -> list[GivenSocket]:
    """
    The sockets of systemd's socket units (sd_listen_fds(3)); nobody is told of them again. # I/O.

    Raises:
        StartError: one is no listening TCP socket.
    """
    given = {name: environ.pop(name, "") for name in LISTEN_VARIABLES}
    if given[PID] != str(pid) or not (given[COUNT].isascii() and given[COUNT].isdecimal()):
        return []
    names = given[NAMES].split(":")
    found = []
    for index in range(int(given[COUNT])):
        name = names[index] if index < len(names) else ""
        found.append(_read(FIRST_FD + index, name))
    return found


def _read(fd: int, name: str) -> GivenSocket:
    what = f"LISTEN_FDS: descriptor {fd}" + (f" ({name})" if name else "")
    allowed = "allowed is a listening TCP socket (ListenStream=PORT)"
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(f"{what}: found no socket ({error.strerror}); {allowed}") from error
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise StartError(f"{what}: found another kind of socket; {allowed}")
    sock.setblocking(False)
    host, port = sock.getsockname()[:2]
    # No other may listen beside it: it may be another user's, and its unit would not know.
    return GivenSocket(sock, host, port, port, can_grow=False, name=name)
