"""
Whether processes make turns: each counts its own in memory that all share, and the supervisor looks.

A count and no time: nobody's clock has to agree with another's, or to be right. Must not cost a request anything: it is counted
where the event loop looks after deadlines anyway, some times a second.
"""

from __future__ import annotations

import mmap

_BYTES = 8


class Turns:
    """A counter for each of so many processes; made before the fork."""

    def __init__(self, rows: int) -> None:
        """All begin at 0."""
        self._memory = mmap.mmap(-1, rows * _BYTES)
        self._counts = memoryview(self._memory).cast("Q")

    def note(self, row: int) -> None:
        """One more; only the process of this row calls it."""
        self._counts[row] += 1

    def count(self, row: int) -> int:
        """How many its processes have made, one after the other."""
        return self._counts[row]
