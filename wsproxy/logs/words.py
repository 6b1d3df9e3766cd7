"""
Counts, paths and times in sentences for people. Pure; driven by whatever prints a replay or a simulation.

Must not decide what is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePath

# What the clock of a log says that has no stamp: see ``_fast.logs.tries``. No log is of that second.
NO_TIME_US = 1_000_000
# The last moment that has a date: a log may say 23:59:60 then, and a simulation goes on after its log.
LAST_US = int(datetime.max.replace(tzinfo=UTC).timestamp()) * 1_000_000 - 1


def count_of(count: int, what: str) -> str:
    """``1 request``, ``2 requests``, ``3 processes``, ``4 tries``."""
    if count == 1:
        return f"1 {what}"
    if what.endswith("try"):
        return f"{count} {what[:-1]}ies"
    return f"{count} {what}es" if what.endswith("s") else f"{count} {what}s"


def listed(names: Iterable[str], most: int = 5) -> str:
    """``a, b and 3 more``."""
    names = list(names)
    shown = names if len(names) <= most else names[: most - 1]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Each path with as many of its last parts as tell it from the others: what is said again and again is short."""
    whole = list(dict.fromkeys(paths))
    names = {}
    for path in whole:
        parts = PurePath(path).parts or (path,)
        name = path
        for count in range(1, len(parts) + 1):
            name = str(PurePath(*parts[-count:]))
            if not any(_ends(other, name) for other in whole if other != path):
                break
        names[path] = name
    return names


def _ends(path: str, name: str) -> bool:
    count = len(PurePath(name).parts)
    return PurePath(path).parts[-count:] == PurePath(name).parts


def time_text(time_us: int) -> str:
    """As the newer plug-in writes it, without its brackets; empty: the log has no time for it."""
    if time_us <= NO_TIME_US:
        return ""
    time_us = min(time_us, LAST_US)
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}"


def span_text(first_us: int, last_us: int) -> str:
    """From when to when, to the second; the day once where it is the same. Empty: the log has no times."""
    return span_of(time_text(first_us), time_text(last_us))


def span_of(first: str, last: str) -> str:
    """The same of two texts that ``time_text`` made."""
    first, last = first[:19], last[:19]
    if not first:
        return ""
    day, _, begins = first.partition("T")
    other, _, ends = last.partition("T")
    if day != other:
        return f"{day} {begins} to {other} {ends}"
    return f"{day} {begins}" + (f" to {ends}" if ends != begins else "")
