"""
Where a node keeps all that it has: settings, state, logs, sockets, and what keepalived reads. One folder, root's alone.

Used by all of ``pair``. A state is of one boot of the machine: after another one the node is stand-alone, as nothing runs any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from wsproxy.errors import StartError
from wsproxy.ha.pair.conf import DOWN, GUARD, ROLE, Pair
from wsproxy.ha.pair.rules import Node, State

# Not below /var/lib/wsproxy, which is the proxy's user's (StateDirectory): who owns a folder can put another one, or links, in a folder's place,
# and what is written here root writes.
DEFAULT = Path("/var/lib/wsproxy-ha")
# What a name may be of that stands in keepalived's file and in a script of /bin/sh: no blank, quote or line end.
_SAYABLE = re.compile(r"[A-Za-z0-9/._+,=@:-]+")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A log is put aside at this size when an agent starts; one older is kept.
MOST_LOG_BYTES = 4 << 20
# Of a log, for the zip of both nodes: its end.
SENT_LOG_BYTES = 2 << 20
LOGS = ("ha.log", "ha.out", "ha.result", "keepalived.log", "keepalived.conf")

# Keepalived's script (``conf.nobody_watches``) has the lock for an instant, once a second.
LOCK_S = 0.5

_StructT = TypeVar("_StructT", bound=msgspec.Struct)


class LockedError(StartError):
    """Another agent has the folder: to be tried again by nobody."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The state as it is kept."""

    boot: str = ""
    state: str = State.STAND_ALONE.value
    was: str = State.STAND_ALONE.value
    since: float = 0.0  # seconds of the epoch
    why: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """Names of files; all methods do I/O."""

    path: Path

    @property
    def socket(self) -> Path:
        """Where the agent is asked."""
        return self.path / "agent.sock"

    def file(self, name: str) -> Path:
        """One of them."""
        return self.path / name

    def make(self) -> None:
        """
        The folder is there, and nobody else's; nor can somebody else put another one in its place.

        Raises:
            StartError: it is not.
        """
        if not self.path.is_absolute() or not _SAYABLE.fullmatch(str(self.path)):
            raise StartError(f'found folder "{self.path}"; allowed is a path from / of letters, digits and /._+,=@:-')  # fmt: skip
        try:
            for above in self.path.parents:
                self._trust(above)
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:  # fmt: skip
                self.path.chmod(0o700)
                return
        except OSError as error:
            raise StartError(f"{self.path}: {error.strerror}; allowed is a folder that root can make") from error  # fmt: skip
        raise StartError(
            f"{self.path}: found a folder that others can write to; allowed is one of this user's alone"
        )

    @staticmethod
    def _trust(above: Path) -> None:
        """Whoever owns it, or writes to it where it is not sticky, can take away what is in it; one that is not there is made by us."""
        with contextlib.suppress(FileNotFoundError):
            found = above.stat()
            is_open = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid not in (0, os.geteuid()) or is_open:
                raise StartError(f"{above}: found a folder that another user owns or can write to; allowed is one of root's: who owns it can put another one in the place of those in it")  # fmt: skip

    def lock(self) -> int:
        """
        A descriptor that holds the node's lock as long as this process lives.

        Raises:
            LockedError: another agent has it.
        """
        fd = os.open(self.file("agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_S
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            if time.monotonic() > deadline:
                break
            time.sleep(LOCK_S / 20)
        os.close(fd)
        raise LockedError(f"{self.path}: found an agent that runs; allowed is one a folder")

    def write(self, name: str, text: str) -> None:
        """All of it or nothing."""
        new = self.file(f".{name}.new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(self.file(name))

    def write_number(self, name: str, number: int) -> None:
        """In place: keepalived watches the file, not its name. A few bytes are written at once."""
        fd = os.open(self.file(name), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            data = f"{number}\n".encode()
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)

    def clear_numbers(self) -> None:
        """What keepalived watches exists, and says nothing."""
        for name in (ROLE, DOWN, GUARD):
            self.write_number(name, 0)

    def _read(self, name: str, kind: type[_StructT]) -> _StructT | None:
        try:
            return msgspec.json.decode(self.file(name).read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            return None

    def read_pair(self) -> Pair | None:
        """The settings of the last start; None: there was none."""
        return self._read("pair.json", Pair)

    def write_pair(self, pair: Pair) -> None:
        """For the next start, and for an agent that has to take over."""
        self.write("pair.json", msgspec.json.encode(pair).decode())

    def read_record(self) -> Record:
        """The state; stand-alone if it is of another boot."""
        found = self._read("state.json", Record)
        return found if found is not None and found.boot == boot_id() else Record(boot=boot_id())

    def read_node(self) -> Node:
        """The same as the rules know it."""
        record = self.read_record()
        try:
            return Node(State(record.state), State(record.was))
        except ValueError:
            return Node()

    def write_node(self, node: Node, why: str) -> None:
        """It holds from now on."""
        record = Record(
            boot=boot_id(),
            state=node.state,
            was=node.was,
            since=datetime.now(UTC).timestamp(),
            why=why,
        )
        self.write("state.json", msgspec.json.encode(record).decode())

    def tails(self) -> dict[str, bytes]:
        """The logs, each one's end."""
        found = {}
        for name in LOGS:
            with contextlib.suppress(OSError), self.file(name).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - SENT_LOG_BYTES))
                found[name] = file.read(SENT_LOG_BYTES)
        return found

    def turn_log(self, name: str) -> None:
        """Puts a long one aside."""
        with contextlib.suppress(OSError):
            if self.file(name).stat().st_size > MOST_LOG_BYTES:
                self.file(name).replace(self.file(f"{name}.1"))


def boot_id() -> str:
    """Of this boot of the machine. # I/O."""
    return _BOOT_ID.read_text().strip()
