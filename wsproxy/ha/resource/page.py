"""
What a keeper leaves to its guard in memory that both have: by when it will have acted, when the right ends, and which processes it keeps.

Written by ``keeper``, read by ``birth``'s guard, which must not ask one that may hang. One descriptor, by which the guard hears of a moment that is sooner than the one it waits for.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Sequence

from wsproxy.ha.resource.processes import Known

_DUE = struct.Struct("=d")
_COUNT = struct.Struct("=I")
_ONE = struct.Struct("=IQ")
_BYTES = 16384
_ENDS_AT = 16
_FIRST = 24
# More than that are found by their ancestor and their mark alone.
MOST_KNOWN = (_BYTES - _FIRST) // _ONE.size
_NEVER = float("inf")


class Page:
    """One a keeper, made before it forks its guard."""

    def __init__(self) -> None:
        """Nothing is due. # I/O."""
        self._memory = mmap.mmap(-1, _BYTES)
        self.sooner = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        _DUE.pack_into(self._memory, 0, _NEVER)

    def heard(self) -> None:
        """The guard looks at ``due`` anew."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.sooner)

    def promise(self, due: float, ends_at: float) -> None:
        """By ``due`` (boot clock) the keeper has changed this, or it hangs. ``ends_at``: until when it may keep anything."""
        is_sooner = due < self.due
        _DUE.pack_into(self._memory, _ENDS_AT, ends_at)
        _DUE.pack_into(self._memory, 0, due)
        if is_sooner:
            os.eventfd_write(self.sooner, 1)

    @property
    def due(self) -> float:
        """See ``promise``; infinite: nothing can be late."""
        return float(_DUE.unpack_from(self._memory, 0)[0])

    @property
    def ends_at(self) -> float:
        """See ``promise``; 0: there is no right, or none any more."""
        return float(_DUE.unpack_from(self._memory, _ENDS_AT)[0])

    def note(self, known: Sequence[Known]) -> None:
        """These are what it keeps. Whoever reads half of it finds fewer."""
        kept = known[:MOST_KNOWN]
        _COUNT.pack_into(self._memory, 8, 0)
        for index, each in enumerate(kept):
            _ONE.pack_into(self._memory, _FIRST + index * _ONE.size, each.pid, int(each.began))
        _COUNT.pack_into(self._memory, 8, len(kept))

    @property
    def known(self) -> list[Known]:
        """What was noted last."""
        count = _COUNT.unpack_from(self._memory, 8)[0]
        places = (_FIRST + index * _ONE.size for index in range(count))
        pairs = (_ONE.unpack_from(self._memory, place) for place in places)
        return [Known(pid, str(began)) for pid, began in pairs]
