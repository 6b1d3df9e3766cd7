"""
What one end of a bridge counts: words that went over, each way, and words that were over a bound, of which the log has a line a minute.

Driven by ``bridge``. For `wsproxy ha status` it counts since this member has the bridge, for the metrics (``admin.bridge_counts``) since the
proxy was started.
"""

from __future__ import annotations

import asyncio
import logging
import math

from wsproxy.admin.bridge_counts import STATES, BridgeRow, Word
from wsproxy.admin.wall_clock import wall_ms
from wsproxy.ha.bridge.words import EndSaid

log = logging.getLogger("wsproxy.ha")

# Between two lines that say that words are not taken; the first one waits for what comes with it.
REFUSED_AGAIN_S = 60.0
REFUSED_FIRST_S = 0.5


class Tally:
    """Of one end, while this member has it; ``close`` it when it has not."""

    def __init__(self, site: str, row: BridgeRow) -> None:
        """Nothing is counted yet; the row's counts go on."""
        self._site = site
        self._row = row
        self.words = 0
        self.copied_ms = 0
        self.refused = 0
        self._last: EndSaid | None = None  # that the other end said
        self._why = ""
        self._told_at = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.be("")
        row.put(Word.BEHIND, 0)

    def close(self) -> None:
        """Another member has the bridge, or none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.be("")
        self._row.put(Word.BEHIND, 0)

    def be(self, state: str) -> None:
        """The end is in that state; empty: it is not here."""
        self._row.put(Word.STATE, STATES.index(state or "elsewhere"))

    def hear(self) -> None:
        """The other site has answered."""
        self._row.put(Word.HEARD_MS, wall_ms())

    def wait(self, count: int) -> None:
        """So many words are known and not written."""
        self._row.put(Word.BEHIND, count)

    def copy(self, count: int) -> None:
        """So many were written."""
        self.words += count
        self.copied_ms = wall_ms()
        self._row.add(Word.COPIED_IN, count)

    def hear_end(self, end: EndSaid | None) -> None:
        """The other end says how many it has copied from here: counted is what is more than it had said to us."""
        if end is None:
            return
        last, self._last = self._last, end
        if last is None:
            return  # what it copied before this member had the bridge, another one has counted
        is_same = last.member == end.member and last.words <= end.words
        self._row.add(Word.COPIED_OUT, end.words - last.words if is_same else end.words)

    def refuse(self, bound: Word, why: str) -> None:
        """A word is not taken; ``bound``: whose (``Word.OVER_...``). Within the running loop."""
        self._row.add(bound)
        self.refused += 1
        self._why = why
        if self._timer is None:
            loop = asyncio.get_running_loop()
            at = max(self._told_at + REFUSED_AGAIN_S, loop.time() + REFUSED_FIRST_S)
            self._timer = loop.call_at(at, self._tell)

    def refuse_answer(self) -> None:
        """An answer of its etcd was too large: the log has that as a cut."""
        self._row.add(Word.OVER_ANSWER)

    def _tell(self) -> None:
        self._timer = None
        self._told_at = asyncio.get_running_loop().time()
        log.warning("ha: bridge to %s: %d words from there are not taken; the last: %s", self._site, self.refused, self._why)  # fmt: skip
