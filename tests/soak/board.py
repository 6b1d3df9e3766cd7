"""
What a backend of the soak counts, in memory that outlives the backend: a file that soak and backend map.

Written by ``backend``, read by the soak, which in turn says there how the backend answers its probes. A backend that was killed
has not lost its counts.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SLOT = struct.Struct("q")
_SLOTS = 8


class Board:
    """One a backend."""

    def __init__(self, file: Path) -> None:
        """Makes the file where there is none."""
        size = _SLOT.size * _SLOTS
        if not file.exists():
            file.write_bytes(bytes(size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), size)

    def _get(self, slot: int) -> int:
        return int(_SLOT.unpack_from(self._memory, slot * _SLOT.size)[0])

    def _set(self, slot: int, value: int) -> None:
        _SLOT.pack_into(self._memory, slot * _SLOT.size, value)

    @property
    def running(self) -> int:
        """Requests that it has now."""
        return self._get(0)

    @running.setter
    def running(self, value: int) -> None:
        self._set(0, value)
        self._set(1, max(self._get(1), value))

    @property
    def peak(self) -> int:
        """The most that ran at a time."""
        return self._get(1)

    @property
    def served(self) -> int:
        """Request heads that came, probes aside."""
        return self._get(2)

    @served.setter
    def served(self, value: int) -> None:
        self._set(2, value)

    @property
    def probes(self) -> int:
        return self._get(3)

    @probes.setter
    def probes(self, value: int) -> None:
        self._set(3, value)

    @property
    def is_ill(self) -> bool:
        """Whether probes are told so; requests are served all the same."""
        return bool(self._get(4))

    @is_ill.setter
    def is_ill(self, value: bool) -> None:
        self._set(4, value)

    @property
    def late_ends(self) -> int:
        """Requests that did not count as running, because wsproxy had shut their connection and the server could not see that yet."""
        return self._get(5)

    @late_ends.setter
    def late_ends(self, value: int) -> None:
        self._set(5, value)
