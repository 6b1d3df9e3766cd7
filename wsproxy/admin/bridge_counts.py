"""
What the ends of bridges to other sites count here, in memory that the ha process writes and the page of metrics reads.

Made by ``process.start`` before it forks, so counts go on where the ha process is started again. One row for each ``[[ha.bridge]]`` of the
start: names are the operator's, and no more than ``MOST_BRIDGES``. Each word is one store of 64 bits. Must not know of etcd.
"""

from __future__ import annotations

import mmap
from enum import IntEnum

from wsproxy.config.settings_bridge import MOST_BRIDGES, BridgeSettings
from wsproxy.config.settings_ha import HaSettings

# Of an end, in ``Word.STATE``: "elsewhere": another member has it, or none.
STATES = ("elsewhere", "begun", "up", "waiting", "cut")
_WORD_BYTES = 8
_MOST = 2**63 - 1


class Word(IntEnum):
    """What a row has."""

    STATE = 0
    HEARD_MS = 1  # since 1970, when the other site answered last; 0: it has not
    BEHIND = 2  # words that are known and not written yet
    COPIED_IN = 3
    COPIED_OUT = 4  # as the other end says
    # Refused, by whose bound it was.
    OVER_WORD = 5  # of one word: its size, its names, its numbers
    OVER_THERE = 6  # of what is looked at there
    OVER_HERE = 7  # of what may be in our own etcd
    OVER_ANSWER = 8  # of an answer of the other site's etcd, which is cut off for that


class BridgeRow:
    """Of one bridge; written by one process at a time."""

    def __init__(self, words: memoryview) -> None:
        """``words``: 64 bits each, as many as there are of ``Word``."""
        self._words = words

    def __getitem__(self, word: Word) -> int:
        """As it is now."""
        return int(self._words[word])

    def put(self, word: Word, value: int) -> None:
        """It is that from now on."""
        self._words[word] = value

    def add(self, word: Word, count: int = 1) -> None:
        """So many more; no more than the word holds: the other site may say any number of its own."""
        self._words[word] = min(self._words[word] + count, _MOST)


class BridgeCounts:
    """Of one proxy. ``rows``: by site, ``CELL/CORE GROUP``, in the order of the settings."""

    def __init__(self, ha: HaSettings) -> None:
        """Nothing is counted yet. # I/O: maps a page, where there are bridges."""
        size = len(Word)
        bridges = ha.bridges[:MOST_BRIDGES] if ha.is_on else ()
        words = memoryview(bytearray())
        if bridges:
            words = memoryview(mmap.mmap(-1, MOST_BRIDGES * size * _WORD_BYTES)).cast("q")
        self.rows = {
            site_of(each, ha.cell): BridgeRow(words[at * size : (at + 1) * size])
            for at, each in enumerate(bridges)
        }


def site_of(bridge: BridgeSettings, cell: str) -> str:
    """The other site's name; ``cell`` is ours."""
    return f"{bridge.cell_or(cell)}/{bridge.core_group}"
