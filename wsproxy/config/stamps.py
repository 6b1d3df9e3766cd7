"""Whether files are others than before, as far as can be seen from outside: certificates of listeners, configurations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Inode, size and time of change of each file; None: there is none.
Stamp = tuple[tuple[int, int, int] | None, ...]


class Settling:
    """
    Which change of files may be taken over: one that two looks in a row have seen.

    Certificate and key are two files, and whoever replaces them cannot do it at once.
    """

    def __init__(self, stamp: Stamp) -> None:
        """``stamp``: of what is in use."""
        self._tried = self._seen = stamp

    def has_settled(self, now: Stamp) -> bool:
        """Whether there is a change to be taken over, of which this is said once; to be asked after each look."""
        is_whole = now == self._seen and now != self._tried
        if is_whole:
            self._tried = now
        self._seen = now
        return is_whole


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Which files stand there now. # I/O."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
