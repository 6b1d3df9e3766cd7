"""
What became of each attempt to take over a configuration: kept as long as the proxy runs, whatever becomes of the loader.

Driven by ``reload.loader``. In a file without a name that the supervisor holds, so that a loader that is started again goes on
where its predecessor was ended. The first line says which files were dealt with last, and which a loader was at when it ended;
then there is one an entry; a line that is half is nobody's.
"""

from __future__ import annotations

import contextlib
import os

import msgspec

from wsproxy.admin.reloads import Entry
from wsproxy.config.stamps import Stamp

MOST_ENTRIES = 200


class Begun(msgspec.Struct):
    """Files that loaders began to deal with, and how many did: one that is killed by what stands in them would begin for ever."""

    files: Stamp
    who: str  # wanted it
    times: int


class _First(msgspec.Struct):
    """The first line."""

    seen: Stamp
    begun: Begun | None = None


class Kept:
    """The entries in ``fd``."""

    def __init__(self, fd: int, seen: Stamp) -> None:
        """Reads what is there. # I/O. ``seen``: at the start."""
        self._fd = fd
        self.seen = seen
        self.begun: Begun | None = None  # None: no loader was ended amid its work
        self.entries: list[Entry] = []
        size = os.fstat(fd).st_size
        self.is_successor = size > 0  # of a loader that was ended
        first, *lines = os.pread(fd, size, 0).splitlines() or [b""]
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(first, type=_First)
            self.seen, self.begun = found.seen, found.begun
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                self.entries.append(msgspec.json.decode(line, type=Entry))
        self._write()

    @property
    def next_number(self) -> int:
        """Of the next entry."""
        return self.entries[-1].number + 1 if self.entries else 1

    def begin(self, files: Stamp, who: str) -> None:
        """These files are about to be dealt with: whoever comes after a loader that is ended meanwhile begins anew. # I/O."""
        before = self.begun.times if self.begun is not None and self.begun.files == files else 0
        self.begun = Begun(files, who, before + 1)
        self._write()

    def note_seen(self, seen: Stamp) -> None:
        """These files are dealt with, whatever came of it. # I/O."""
        self.seen, self.begun = seen, None
        self._write()

    def add(self, entry: Entry) -> None:
        """The oldest is forgotten where there are many. # I/O."""
        self.entries.append(entry)
        del self.entries[:-MOST_ENTRIES]
        self._write()

    def _write(self) -> None:
        lines = [
            msgspec.json.encode(_First(self.seen, self.begun)),
            *map(msgspec.json.encode, self.entries),
        ]
        text = b"\n".join(lines)
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))
