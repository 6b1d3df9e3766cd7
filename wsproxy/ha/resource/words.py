"""
What is kept in etcd of groups: policies, what members offer, who has a place, what operators said. Keys are ``names``'.

Read and written by ``groups`` and by `wsproxy ha` commands. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from wsproxy.config.settings_groups import OWN, OWN_ATTRIBUTE, PolicySettings, ResourceSettings
from wsproxy.ha.names import Names
from wsproxy.ha.policy import Policy
from wsproxy.ha.store.base import Entry

_T = TypeVar("_T")

# Governs where no other policy matches: what nobody has thought about runs once.
DEFAULT_POLICY = PolicySettings("DefaultPolicy", "One of N")


class Offer(msgspec.Struct, frozen=True):
    """
    A member's word that it has a resource, on its lease. ``attributes``: the HA group's name.

    ``phase`` "": it is not ready for one. ``given_up``: it has failed here, and is not to be chosen.
    """

    attributes: dict[str, str]
    phase: str = ""
    code: int = 0
    why: str = ""
    given_up: bool = False
    since_ms: int = 0
    is_alive_s: float = 0.0


def attributes_of(resource: ResourceSettings) -> dict[str, str]:
    """The name of its HA group."""
    own = {"type": "wsproxy"} if resource.name.startswith(OWN) else {}
    return {**own, **(resource.group or {}), OWN_ATTRIBUTE: resource.name}


def policy_of(settings: PolicySettings) -> Policy:
    """As the rule wants it."""
    return Policy(
        settings.name, settings.type, settings.match or {}, settings.count, tuple(settings.preferred),
        settings.preferred_only, settings.failback, settings.quorum,
    )  # fmt: skip


def encode_policies(policies: Sequence[PolicySettings]) -> bytes:
    """All of them, as one key has them: so that a claim can say that none has changed."""
    return msgspec.json.encode(sorted(policies, key=lambda each: each.name))


def decode_policies(value: bytes) -> tuple[PolicySettings, ...] | None:
    """None: another version's, by which nothing can be decided."""
    try:
        return msgspec.json.decode(value, type=tuple[PolicySettings, ...])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


@dataclass(slots=True)
class GroupState:
    """One resource's group, as the store has it. By member: offers, holders, activated."""

    offers: dict[str, Offer] = field(default_factory=dict)
    places: dict[str, Entry] = field(default_factory=dict)
    activated: set[str] = field(default_factory=set)
    moved: str = ""  # whom an operator wants first
    cleared: int = 0  # revision of an operator's word
    epoch: int = 0  # of the last claim: revision

    @property
    def attributes(self) -> dict[str, str]:
        """The group's name, as the first member says it; all should say the same."""
        for _, offer in sorted(self.offers.items()):
            return offer.attributes
        return {}


@dataclass(slots=True)
class GroupsState:
    """All of them. ``policies`` None: nothing can be decided by what is stored."""

    names: Names
    policies: tuple[PolicySettings, ...] | None = ()
    policies_at: int = 0  # revision
    groups: dict[str, GroupState] = field(default_factory=dict)

    def read(self, entries: Mapping[str, Entry]) -> None:
        """Everything anew."""
        self.policies, self.policies_at = (), 0
        self.groups.clear()
        for key, entry in entries.items():
            self.take(key, entry)

    def take(self, key: str, entry: Entry | None) -> bool:
        """One key as it is now; whether it is any of these."""
        names = self.names
        if key == names.policies:
            self.policies = () if entry is None else decode_policies(entry.value)
            self.policies_at = 0 if entry is None else entry.modified
            return True
        if key.startswith(names.seats):
            parts = key.removeprefix(names.seats).split("/")
            if len(parts) != 2:
                return False
            _put(self._group(parts[0]).places, parts[1], entry)
            return True
        if not key.startswith(names.groups):
            return False
        resource, _, rest = key.removeprefix(names.groups).partition("/")
        self._take_word(self._group(resource), rest, entry)
        return True

    def _group(self, resource: str) -> GroupState:
        return self.groups.setdefault(resource, GroupState())

    def _take_word(self, group: GroupState, rest: str, entry: Entry | None) -> None:
        what, _, member = rest.partition("/")
        if what == "epoch":
            group.epoch = 0 if entry is None else entry.modified
        elif what == "moved":
            group.moved = "" if entry is None else entry.value.decode("ascii", "replace")
        elif what == "cleared":
            group.cleared = 0 if entry is None else entry.modified
        elif what == "activated" and entry is None:
            group.activated.discard(member)
        elif what == "activated":
            group.activated.add(member)
        elif what == "offers":
            offer = None
            if entry is not None:
                try:
                    offer = msgspec.json.decode(entry.value, type=Offer)
                except (msgspec.DecodeError, msgspec.ValidationError):
                    offer = None  # another version's: that member is not chosen here
            _put(group.offers, member, offer)


def _put(mapping: dict[str, _T], name: str, value: _T | None) -> None:
    if value is None:
        mapping.pop(name, None)
    else:
        mapping[name] = value
