"""
What another site may bring: its words are about servers that both have, but its etcd, and whoever has taken it over, may say anything. Pure.

Driven by ``bridge``. Each bound has a reason: none of the other site's words may end a process here, hold up its heartbeats, or fill our etcd.
"""

from __future__ import annotations

import msgspec

from wsproxy.ha.board.rule import Word
from wsproxy.ha.store.base import Entry

# Of one site, here: words that came from there and stand in our etcd, and words of it that are looked at. Three kinds of 2700 servers.
MOST_WORDS = 8192
# Of those, in bytes: a member that joins reads our board in one answer, within 0.4 s. 10 MB of it took 0.2 to 0.5 s.
MOST_BYTES = 3 << 20
# Keys below its board, also of what is not chosen here: half a second of reading.
MOST_KEYS = 65_536
# Of one answer, and of a line of its watch: a board of that many words, with room; decoded it stops the member for some 0.1 s.
MOST_ANSWER_BYTES = 16 << 20
# Names of a cluster and a server, each character written with up to twelve.
MOST_KEY_BYTES = 2048
# Who has 63 bytes and why 157; the rest is what it knows of other sites.
MOST_WORD_BYTES = 4096
MOST_SITES_KNOWN = 32
MOST_NAME = 256
# etcd keeps 10,000 revisions: of so many bytes each they have room in its 2 GB, whatever the words are.
MOST_BATCH_BYTES = 32 << 10
# Words that are looked at in a second, each some 20 us; the rest waits at the other site.
MOST_HEARD_A_SECOND = 5000
# Of those at once, before others have their turn.
MOST_HEARD_AT_ONCE = 200
# A clock may be wrong by less than a day: a number from later would be newer than all that anybody says here until then.
MOST_AHEAD_MS = 86_400_000


def flaw_of(entry: Entry, word: Word, now_ms: int) -> str:
    """Why this word of another site is not taken; "": it is. ``now_ms``: since 1970."""
    if len(entry.value) > MOST_WORD_BYTES or len(entry.key.encode()) > MOST_KEY_BYTES:
        return f"found {len(entry.value)} bytes at a key of {len(entry.key)}; allowed are {MOST_WORD_BYTES} and {MOST_KEY_BYTES}"
    if len(word.knows) > MOST_SITES_KNOWN:
        return f"found numbers of {len(word.knows)} sites; allowed are {MOST_SITES_KNOWN}"
    if (
        max(map(len, (word.by, word.origin, word.via, *(site for site, _ in word.knows))))
        > MOST_NAME
    ):
        return f"found a name of more than {MOST_NAME} characters"
    newest = max(word.at_ms, word.number, *(number for _, number in word.knows), 0)
    if newest > now_ms + MOST_AHEAD_MS:
        return f"found a number {(newest - now_ms) // 1000} s ahead of this machine's clock; allowed is a day"
    return ""


def size_of(subject: str, word: Word) -> int:
    """Of its key and value in etcd, in bytes, or some more."""
    return len(subject) + len(msgspec.json.encode(word))
