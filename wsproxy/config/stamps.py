"""Whether files are others than before, as far as can be seen from outside: certificates of listeners, configurations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# Inode, size and time of change of each file; None: there is none.
Stamp = tuple[tuple[int, int, int] | None, ...]


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Which files stand there now. # I/O."""
    return tuple(_stamp(file) for file in files)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
