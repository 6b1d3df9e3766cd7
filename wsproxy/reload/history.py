"""
What became of each attempt to take over a configuration: kept as long as the proxy runs, whatever becomes of the loader.

Driven by ``reload.loader``. In a file without a name that the supervisor holds, so that a loader that is started again goes on
where its predecessor was ended. The first line says which files were seen last, then there is one an entry; a line that is
half is nobody's.
"""

from __future__ import annotations

import contextlib
import os

import msgspec

from wsproxy.admin.reloads import Entry
from wsproxy.config.stamps import Stamp

MOST_ENTRIES = 200


class Kept:
    """The entries in ``fd``."""

    def __init__(self, fd: int, seen: Stamp) -> None:
        """Reads what is there. # I/O. ``seen``: at the start."""
        self._fd = fd
        self.seen = seen
        self.entries: list[Entry] = []
        first, *lines = os.pread(fd, os.fstat(fd).st_size, 0).splitlines() or [b""]
        with contextlib.suppress(msgspec.DecodeError):
            self.seen = msgspec.json.decode(first, type=Stamp)
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                self.entries.append(msgspec.json.decode(line, type=Entry))

    @property
    def next_number(self) -> int:
        """Of the next entry."""
        return self.entries[-1].number + 1 if self.entries else 1

    def note_seen(self, seen: Stamp) -> None:
        """These files are dealt with, whatever came of it. # I/O."""
        self.seen = seen
        self._write()

    def add(self, entry: Entry) -> None:
        """The oldest is forgotten where there are many. # I/O."""
        self.entries.append(entry)
        del self.entries[:-MOST_ENTRIES]
        self._write()

    def _write(self) -> None:
        lines = [msgspec.json.encode(self.seen), *map(msgspec.json.encode, self.entries)]
        text = b"\n".join(lines)
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))
