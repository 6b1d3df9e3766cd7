"""
What `wsproxy ha status` tells of takeovers of sessions: how many of each member stand in etcd now. Pure.

Driven by ``cli.ha_published``, which has not the group's secret: whoever can write to etcd can have it say anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wsproxy.config.problems import printable
from wsproxy.ha.board.batch import look_at
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry


def tell_takeovers(names: Names, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """``takeovers`` of ``core_group`` in `wsproxy ha status --json`, by member; docs/high-availability.md has each field."""
    found: dict[str, Any] = {}
    for key, entry in sorted(entries.items()):
        if not key.startswith(names.takeovers):
            continue
        member = key.removeprefix(names.takeovers).partition("/")[0]
        each = found.setdefault(member, {"sessions": 0, "posted_ms": 0, "unreadable": 0})
        batch = look_at(entry.value)
        if batch is None:
            each["unreadable"] += 1
        else:
            each["posted_ms"] = max(each["posted_ms"], batch[0])
            each["sessions"] += batch[1]
    return found


def lines_of_takeovers(takeovers: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """For people."""
    for member, each in takeovers.items():
        last = f", the last {max(now_ms - each['posted_ms'], 0) // 1000} s ago" if each["posted_ms"] else ""  # fmt: skip
        odd = f"; {each['unreadable']} values that are none of this version" if each["unreadable"] else ""  # fmt: skip
        yield f"takeovers   of {printable(member)}: {each['sessions']} sessions that moved are told{last}{odd}"
