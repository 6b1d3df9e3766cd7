"""
A core group, its HA groups and their resources for people and for `--json`: from everything that etcd has of it at one moment. Pure.

Driven by ``cli.ha_published`` and ``cli.ha_groups``. Who is wanted is decided by ``choice``, as the members do it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from wsproxy.ha.group.view import View
from wsproxy.ha.names import COORDINATOR, Names
from wsproxy.ha.resource.choice import choose
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.words import GroupsState, GroupState
from wsproxy.ha.store.base import Entry

_TOLD_WHY = frozenset({"not ready", Phase.TAKING, Phase.STARTING, Phase.STOPPING, Phase.KILLING, Phase.DELAYING, Phase.RELEASING})  # fmt: skip


def state_of(names: Names, entries: Mapping[str, Entry]) -> tuple[View, GroupsState]:
    """The members, and the groups."""
    members = [
        (key.removeprefix(names.members), entry)
        for key, entry in entries.items()
        if key.startswith(names.members)
    ]
    newest = max((entry.modified for _, entry in members), default=0)
    state = GroupsState(names)
    state.read(entries)
    return View().after(newest, members), state


def tell(names: Names, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """``core_group`` in `wsproxy ha status --json`, and its ``warnings``; docs/high-availability.md has each field."""
    view, state = state_of(names, entries)
    seat = entries.get(names.seat(COORDINATOR))
    resources = {
        name: _resource(state, name, group, view)
        for name, group in sorted(state.groups.items())
        if group.offers or group.places
    }
    warnings = [f"resource {name}: {text}" for name, each in resources.items() for text in each.pop("warnings")]  # fmt: skip
    return {
        "cell": names.cell,
        "core_group": names.core_group,
        "coordinator": None if seat is None else seat.value.decode("utf-8", "replace"),
        "members": {
            each.name: {"id": each.id, "host": each.word.host, "pid": each.word.pid, "version": each.word.version}
            for each in view.members
        },
        "policies": None if state.policies is None else [msgspec.to_builtins(each) for each in state.policies],
        "resources": resources,
        "warnings": warnings,
    }  # fmt: skip


def _resource(state: GroupsState, name: str, group: GroupState, view: View) -> dict[str, Any]:
    choice = choose(state, name, view.names)
    found: dict[str, Any] = {
        "group": group.attributes,
        "policy": None if choice.policy is None else choice.policy.name,
        "type": None if choice.policy is None else choice.policy.type,
        "wanted": list(choice.wanted),
        "active": sorted(group.places),
        "moved": group.moved or None,
        "activated": sorted(group.activated),
        "members": {
            member: {
                "phase": offer.phase or "not ready",
                "code": offer.code,
                "why": offer.why,
                "given_up": offer.given_up,
                "since_ms": offer.since_ms,
            }
            for member, offer in sorted(group.offers.items())
        },
    }
    found["warnings"] = list(_warnings(choice.doubt, group))
    return found


def _warnings(doubt: str, group: GroupState) -> Iterator[str]:
    if doubt:
        yield f"active nowhere: {doubt}"
    names = {tuple(sorted(offer.attributes.items())) for offer in group.offers.values()}
    if len(names) > 1:
        yield "its members have different group attributes; those of the first one hold"
    for member, offer in sorted(group.offers.items()):
        if offer.phase == Phase.STUCK:
            yield f"code {offer.code}: it cannot be ended or released at {member}, so nobody else gets it: {offer.why}"
        elif not offer.phase and offer.why:
            yield f"not ready at {member}: {offer.why}"
        elif offer.given_up:
            yield f"given up by {member}: {offer.why}"
        elif offer.code:
            yield f"code {offer.code} at {member}: {offer.why}"


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield f"core group  {found['core_group']} of cell {found['cell']}, coordinator {found['coordinator'] or 'none'}"
    for name, each in found["members"].items():
        yield f"            {name} (id {each['id']}, on {each['host']}, pid {each['pid']}, version {each['version']})"
    for name, each in found["resources"].items():
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(each["group"].items()))
        yield f"resource    {name} (group {pairs}): policy {each['policy'] or 'none'}{' (' + each['type'] + ')' if each['type'] else ''}, active {', '.join(each['active']) or 'nowhere'}"
        for member, offer in each["members"].items():
            code = f", code {offer['code']}" if offer["code"] else ""
            is_wanted = member in each["wanted"] and offer["phase"] == Phase.IDLE
            wanted = ", to be active" if is_wanted else ", given up" if offer["given_up"] else ""
            why = f": {offer['why']}" if offer["why"] and (code or offer["given_up"] or offer["phase"] in _TOLD_WHY) else ""  # fmt: skip
            yield f"            {member}: {offer['phase']}{wanted}{code}{why}"
        if each["moved"]:
            yield f"            moved to {each['moved']} by an operator, until `wsproxy ha move {name} --back`"
