"""
What one end of a bridge says of itself, in its own etcd, where the other end reads it; and how `wsproxy ha status` tells it. Pure.

Written by ``bridge``, read by the other site's, and by ``cli.ha_published``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from wsproxy.config.settings_bridge import MOST_CHOICES
from wsproxy.config.settings_groups import OWN
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Entry

# "begun": nothing was heard yet; "waiting": the other site is heard, and has no bridge to this one.
State = Literal["begun", "up", "waiting", "cut"]


Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
# Of a value: so many choices, by cluster.
MOST_END_BYTES = 32 << 10


class EndSaid(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    ``out``: what may be taken from here; ``words``: so many were copied to here by this member, the last at ``copied_ms``.

    ``behind``: words that are known and not yet copied; ``refused``: words that were over a bound of ``bounds``. ``out_*``: what the other end last said of words that it took from here.
    """

    member: str
    state: State
    since_ms: Count
    out: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_CHOICES)]
    why: str = ""
    words: Count = 0
    copied_ms: Count = 0
    behind: Count = 0
    out_state: str = ""
    out_words: Count = 0
    out_copied_ms: Count = 0
    refused: Count = 0


def resource_of(names: Names, there: Names) -> str:
    """Name of the resource that the member has that copies from there: one of a group, by policies."""
    cell = "" if there.cell == names.cell else f"{there.cell}:"
    return f"{OWN}bridge.{cell}{there.core_group}"


def decode_end(value: bytes) -> EndSaid | None:
    """None: another version's, or larger than any."""
    if len(value) > MOST_END_BYTES:
        return None
    try:
        return msgspec.json.decode(value, type=EndSaid)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def tell_bridges(names: Names, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """``bridges`` of ``core_group`` in `wsproxy ha status --json`, by site; docs/high-availability.md has each field."""
    found = {}
    for key, entry in sorted(entries.items()):
        if key.startswith(names.bridges) and (end := decode_end(entry.value)) is not None:
            found[names.site_of_bridge(key)] = {
                name: getattr(end, name) for name in EndSaid.__struct_fields__
            }
    return found


def warnings_of(bridges: Mapping[str, Any]) -> Iterator[str]:
    """Sentences: what an operator should look at."""
    for site, each in bridges.items():
        if each["state"] == "cut":
            yield f"the bridge to {site} is cut: {each['why']}"
        elif each["state"] == "waiting":
            yield f"the bridge to {site} waits: {each['why']}"
        if each["refused"]:
            yield f"the bridge to {site} has refused {each['refused']} words: the log of {each['member']} says why"


def lines_of_bridges(bridges: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """For people."""
    for site, each in bridges.items():
        behind = f", {each['behind']} behind" if each["behind"] else ""
        yield f"bridge      to {site}: {each['state']} for {_age(now_ms - each['since_ms'])}, at {each['member']}{behind}"
        last = f", the last {_age(now_ms - each['copied_ms'])} ago" if each["copied_ms"] else ""
        refused = f"; {each['refused']} refused: the log says why" if each["refused"] else ""
        yield f"            in: {each['words']} words{last}{refused}"
        last = f", the last {_age(now_ms - each['out_copied_ms'])} ago" if each["out_copied_ms"] else ""  # fmt: skip
        state = f"; that end is {each['out_state']}" if each["out_state"] else ""
        yield f"            out ({', '.join(each['out']) or 'nothing'}): {each['out_words']} words{last}{state}"


def _age(ms: int) -> str:
    seconds = max(ms, 0) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
