"""What status tells of takeovers in etcd, without the secret that they are sealed with."""

from __future__ import annotations

from wsproxy.ha.board.batch import Move, pack
from wsproxy.ha.board.takeovers_told import lines_of_takeovers, tell_takeovers
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry

NAMES = Names("c", "g")


def test_how_many_of_each_member_and_when() -> None:
    """Values that are none are counted, and a member's name drives no terminal."""
    found = {}
    for key, moves, posted_ms in (("a/1-1", 3, 5000), ("a/1-2", 2, 9000)):
        name = NAMES.takeovers + key
        value = pack([Move(at, "farm", "s1", 1) for at in range(moves)], posted_ms, name, b"k" * 32)
        found[name] = Entry(name, value, 1, 1, 0)
    for value in (b"", b"x" * 5000, bytes(16) + b"\x94\x01\xff\x90\xc4\x00"):
        name = f"{NAMES.takeovers}\x1b[2Jevil/{len(value)}"
        found[name] = Entry(name, value, 1, 1, 0)
    told = tell_takeovers(NAMES, found)
    assert told["a"] == {"sessions": 5, "posted_ms": 9000, "unreadable": 0}
    lines = list(lines_of_takeovers(told, 12_000))
    assert "takeovers   of a: 5 sessions that moved are told, the last 3 s ago" in lines
    assert all(line.isprintable() for line in lines)
