"""
What a program that is replaced hands on to its successor, and what the two say to each other meanwhile.

Read by the new program at its start (``Inheritance``), written by ``process.upgrade`` of the old one. Descriptors are inherited; a
file without a name, whose descriptor stands in the environment, says which is which. Whatever it says is a matter of two versions
of wsproxy: fields are added and never renamed, and a new version reads what the old one wrote. The state of servers has a
version of its own, see ``SharedState``.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.sockets import AdminSocket
from wsproxy.admin.tcp import TcpSocket
from wsproxy.config.address import Address
from wsproxy.config.settings import MAX_WORKERS, SOCKET_AUTO
from wsproxy.errors import StartError
from wsproxy.process.given import GivenSocket, GivenSockets, from_systemd

logger = logging.getLogger(__name__)

# Which descriptor says what was handed on.
VARIABLE = "WSPROXY_HANDOVER"
GO = b"go"
MESSAGE_BYTES = 1 << 16
LAST_STANDARD_FD = 2


class PassedSocket(msgspec.Struct):
    """A listening socket; see ``GivenSocket``."""

    fd: int
    place: int
    host: str
    port: int
    wanted_port: int
    can_grow: bool


class PassedAdmin(msgspec.Struct):
    """The admin socket and its file."""

    fd: int
    path: str
    inode: int


class PassedTcp(msgspec.Struct):
    """The admin process's socket by TCP."""

    fd: int
    host: str
    port: int
    wanted: str


class PassedKin(msgspec.Struct):
    """
    Another program of ours whose workers still run, and the rows of the shared state that are theirs.

    ``alive``: ends when the last of its processes has ended. ``control``: as long as somebody holds that end, it may take its time;
    -1: nobody has to.
    """

    first: int
    count: int
    pid: int
    alive: int
    control: int = -1


class Estate(msgspec.Struct):
    """Everything; ``who`` asked for it, ``kin``: the program that is replaced first, and those that it has replaced."""

    pid: int
    who: str
    control: int
    state: int
    bells: list[tuple[int, int]]
    sockets: list[PassedSocket]
    kin: list[PassedKin]
    admin: PassedAdmin | None = None
    history: int = -1
    admin_tcp: PassedTcp | None = None
    meters: int = -1  # descriptor of what metrics are counted in, for so many workers
    meter_rows: int = 0
    heat: int = -1  # descriptor of how servers were over the last hours


class Said(msgspec.Struct, omit_defaults=True):
    """
    What the new program says to the old one.

    ``rows``: of the shared state, with the descriptor that ends when its processes have ended. ``ready``: it accepts connections; by
    its settings the old one has ``requests_s`` and ``tunnels_s``, and nobody listens on the sockets at ``unused`` any more.
    ``refused``: it does not come up.
    """

    what: Literal["rows", "ready", "refused"]
    first: int = 0
    count: int = 0
    requests_s: float = 0.0
    tunnels_s: float = 0.0
    unused: list[int] = []
    text: str = ""


@dataclass(slots=True)
class Kin:
    """Another program of ours, as this one watches it: ``alive`` is readable when it has ended."""

    rows: range
    pid: int
    alive: int
    control: socket.socket | None = None

    def passed(self) -> PassedKin:
        """As it is handed on."""
        control = -1 if self.control is None else self.control.fileno()
        return PassedKin(self.rows.start, len(self.rows), self.pid, self.alive, control)

    def close(self) -> None:
        """Nobody of it is left, or this process has nothing to do with it."""
        os.close(self.alive)
        if self.control is not None:
            self.control.close()


@dataclass(slots=True)
class Inheritance:
    """What this program was given; nothing, where it was started by hand."""

    sockets: GivenSockets = field(default_factory=GivenSockets)
    estate: Estate | None = None
    control: socket.socket | None = None  # to the program that it replaces
    kin: list[Kin] = field(default_factory=list)
    admin: AdminSocket | None = None
    tcp: TcpSocket | None = None
    history: int = -1  # descriptor of what became of all reloads
    heat: int = -1  # of how servers were

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Inheritance:
        """
        What systemd or a predecessor left for it. # I/O.

        Raises:
            StartError: that cannot be used.
        """
        given = environ.pop(VARIABLE, "")
        if not given:
            return cls(GivenSockets(from_systemd(environ, pid)))
        try:
            estate = _read_estate(int(given))
            for fd in _descriptors(estate):
                os.set_inheritable(fd, False)
            return cls._of(estate)
        except (ValueError, OverflowError, OSError, msgspec.DecodeError) as error:
            raise StartError(
                f"{VARIABLE}: found {given[:20]}, which is no inheritance ({error}); allowed is none at all: "
                "only `wsproxy upgrade` sets it, for the program that it starts"
            ) from error

    @classmethod
    def _of(cls, estate: Estate) -> Inheritance:
        control = socket.socket(fileno=estate.control)
        control.setblocking(False)
        kin = [
            Kin(
                range(each.first, each.first + each.count),
                each.pid,
                each.alive,
                None if each.control < 0 else socket.socket(fileno=each.control),
            )
            for each in estate.kin
        ]
        sockets = [
            GivenSocket(
                socket.socket(fileno=each.fd),
                each.host,
                each.port,
                each.wanted_port,
                each.can_grow,
                each.place,
            )
            for each in estate.sockets
        ]
        # As long as this end is open the program that is replaced takes its time.
        kin[0].control = control
        admin = None
        if (passed := estate.admin) is not None:
            admin = AdminSocket(socket.socket(fileno=passed.fd), Path(passed.path), passed.inode)
            admin.sock.setblocking(False)
        tcp = None
        if (given_tcp := estate.admin_tcp) is not None:
            sock = socket.socket(fileno=given_tcp.fd)
            sock.setblocking(False)
            tcp = TcpSocket(sock, Address(given_tcp.host, given_tcp.port), given_tcp.wanted)
        return cls(
            GivenSockets(sockets), estate, control, kin, admin, tcp, estate.history, estate.heat
        )

    def take_state(self) -> SharedState | None:
        """The state of servers as it is; None: none was handed on, or of another version, which was logged."""
        if self.estate is None or self.estate.state < 0:
            return None
        try:
            state = SharedState(grows=True, fd=self.estate.state)
        except ValueError:
            logger.warning(
                "upgrade: the state of servers is that of another version of wsproxy: it begins anew (marks, operators' words, counts)"
            )
            os.close(self.estate.state)
            for _, fd in self.estate.bells:
                os.close(fd)
            for each in self.kin:
                each.rows = range(0)  # of a state that is not ours
            return None
        for worker, fd in self.estate.bells:
            state.take_bell(worker, fd)
        return state

    def take_meters(self, state: SharedState, rows: int, *, is_inherited: bool) -> int:
        """
        Opens what metrics are counted in, for workers below ``rows`` at least; its descriptor, which is the caller's.

        That of the program that is replaced, where ``state`` is inherited, too: its blocks are those of slots there.
        """
        if is_inherited and self.estate is not None and self.estate.meters >= 0:
            if rows <= self.estate.meter_rows <= MAX_WORKERS:
                with suppress(ValueError):  # of another version
                    state.open_meters(self.estate.meter_rows, self.estate.meters)
                    return self.estate.meters
            os.close(self.estate.meters)
            logger.warning(
                "upgrade: metrics begin anew: those of before have no room for these workers, or are of another version"
            )
        fd = os.memfd_create("wsproxy-meters")
        state.open_meters(rows, fd)
        return fd

    def take_heat(self) -> int:
        """The descriptor of a file with what the other program has seen of servers: a copy, as it goes on writing until it ends."""
        heat = os.memfd_create("wsproxy-heat")
        if self.heat >= 0:
            size = os.fstat(self.heat).st_size
            with suppress(OSError):  # no memory: it begins anew
                os.sendfile(heat, self.heat, 0, size)
            os.close(self.heat)
            self.heat = -1
        return heat

    def first_row(self, count: int) -> int:
        """
        From where on so many rows of the shared state are nobody's.

        Raises:
            StartError: there are not so many.
        """
        return free_rows(count, (each.rows for each in self.kin))

    def admin_for(self, wanted: str) -> AdminSocket | None:
        """The admin socket of the program that is replaced, if it is what ``admin.socket`` asks for; None: it is not."""
        found = self.admin
        is_it = found is not None and (
            found.is_own if wanted == SOCKET_AUTO else wanted == str(found.path)
        )
        return found if is_it else None

    def tcp_for(self, wanted: str) -> TcpSocket | None:
        """The same for ``admin.listen``; one that nobody asks for is closed."""
        found, self.tcp = self.tcp, None
        if found is not None and found.wanted != wanted:
            found.close()
            return None
        return found

    def say(self, said: Said, *fds: int) -> None:
        """To the program that is replaced; nothing, where there is none."""
        if self.control is not None:
            with suppress(OSError):  # it has gone, and this program takes over all the same
                data = msgspec.json.encode(said)
                if fds:
                    socket.send_fds(self.control, [data], fds)
                else:
                    self.control.send(data)

    def refuse(self, text: str) -> None:
        """We do not come up."""
        self.say(Said("refused", text=text[: MESSAGE_BYTES // 8]))


def _read_estate(fd: int) -> Estate:
    """
    What stands in this descriptor, which is closed. # I/O.

    The variable may be somebody else's: kept by a shell, or copied with the environment of another process. So nothing is read,
    let alone closed, that is not what a predecessor makes: a file without a name. Raises: ValueError, OSError, OverflowError.
    """
    found = os.fstat(fd)
    if fd <= LAST_STANDARD_FD or not stat.S_ISREG(found.st_mode) or found.st_nlink:
        msg = "no file without a name is open there"
        raise ValueError(msg)
    with open(fd, "rb") as file:
        estate = msgspec.json.decode(file.read(), type=Estate)
    fds = list(_descriptors(estate))
    if len(set(fds)) < len(fds) or min(fds) <= LAST_STANDARD_FD:
        msg = "it has a descriptor twice, or one of the standard streams"
        raise ValueError(msg)
    if not estate.kin:
        msg = "it does not say who is replaced"
        raise ValueError(msg)
    for each in estate.kin:
        if not 0 <= each.first <= each.first + each.count <= MAX_WORKERS:
            msg = f"found {each.count} rows from {each.first} on; allowed are 0..{MAX_WORKERS - 1}"
            raise ValueError(msg)
    for row, _ in estate.bells:
        if not 0 <= row < MAX_WORKERS:
            msg = f"found the bell of row {row}; allowed are 0..{MAX_WORKERS - 1}"
            raise ValueError(msg)
    return estate


def _descriptors(estate: Estate) -> Iterator[int]:
    yield estate.control
    if estate.state >= 0:
        yield estate.state
    yield from (fd for _, fd in estate.bells)
    yield from (each.fd for each in estate.sockets)
    for each in estate.kin:
        yield each.alive
        if each.control >= 0:
            yield each.control
    if estate.admin is not None:
        yield estate.admin.fd
    if estate.admin_tcp is not None:
        yield estate.admin_tcp.fd
    for fd in (estate.history, estate.meters, estate.heat):
        if fd >= 0:
            yield fd


def free_rows(count: int, taken: Iterable[range]) -> int:
    """
    The first of so many rows of the shared state that nobody of ``taken`` has.

    Raises:
        StartError: there are not so many in a row.
    """
    used = {row for rows in taken for row in rows}
    for first in range(MAX_WORKERS - count + 1):
        if used.isdisjoint(range(first, first + count)):
            return first
    msg = (
        f"found {len(used)} workers of programs that are being replaced; allowed, with {count} new ones, are {MAX_WORKERS}: "
        "wait until some of them have ended"
    )
    raise StartError(msg)
