"""Claims of places as etcd sees them: members that know what was said some time ago, policies that change, in any order; never more than the policy of the moment wants."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from wsproxy.config.settings_groups import PolicySettings
from wsproxy.ha.names import Names
from wsproxy.ha.resource.choice import choose, may_claim
from wsproxy.ha.resource.words import GroupsState, Offer, encode_policies
from wsproxy.ha.store.base import Entry

NAMES = Names("c", "g")
EPOCH = NAMES.group("r", "epoch")
MEMBERS = "abc"
POLICIES = [
    PolicySettings(name="p"),
    PolicySettings(name="p", preferred=("b",), failback=True),
    PolicySettings(name="p", type="M of N", count=2, preferred=("c",), failback=True),
    PolicySettings(name="p", type="All active"),
    PolicySettings(name="p", type="Static", preferred=("a", "c")),
    PolicySettings(name="p", type="Static", preferred=("b",)),
    PolicySettings(name="p", type="No operation"),
]
Change = tuple[str, Entry | None]


def seat(member: str) -> str:
    return NAMES.seat(NAMES.place("r", member))


@dataclass
class Etcd:
    """Keys, one order of all words, and compare-and-set."""

    revision: int = 0
    keys: dict[str, Entry] = field(default_factory=dict)
    told: list[list[Change]] = field(default_factory=list)

    def write(self, **values: bytes | None) -> None:
        self.revision += 1
        changes: list[Change] = []
        for key, value in values.items():
            old = self.keys.get(key)
            if value is None:
                self.keys.pop(key, None)
                changes.append((key, None))
            else:
                created = self.revision if old is None else old.created
                self.keys[key] = Entry(key, value, created, self.revision)
                changes.append((key, self.keys[key]))
        self.told.append(changes)

    def modified(self, key: str) -> int:
        entry = self.keys.get(key)
        return 0 if entry is None else entry.modified


@dataclass
class Member:
    """What it has heard so far, and whether its program runs."""

    name: str
    state: GroupsState = field(default_factory=lambda: GroupsState(NAMES))
    heard: int = 0
    runs: bool = False


class World:
    """All of it."""

    def __init__(self) -> None:
        self.etcd = Etcd()
        self.members = {name: Member(name) for name in MEMBERS}
        for name in MEMBERS:
            offer = msgspec.json.encode(Offer({"resource": "r"}, "idle"))
            self.etcd.write(**{NAMES.group("r", "offers", name): offer})
        self.etcd.write(**{NAMES.policies: encode_policies(POLICIES[:1])})

    def hear(self, name: str, most: int) -> None:
        member = self.members[name]
        for changes in self.etcd.told[member.heard : member.heard + most]:
            for key, entry in changes:
                member.state.take(key, entry)
            member.heard += 1

    def act(self, name: str) -> None:
        """What ``Groups`` and its seat do: begin to stop, give back, or claim."""
        member, etcd = self.members[name], self.etcd
        group = member.state.groups.get("r")
        if group is None:
            return
        choice = choose(member.state, "r", MEMBERS)
        if member.runs:
            if name not in choice.wanted:
                member.runs = False
        elif seat(name) in etcd.keys:
            etcd.write(**{seat(name): None})
        elif may_claim(choice, group, name):
            is_unchanged = (
                etcd.modified(EPOCH) == group.epoch
                and etcd.modified(NAMES.policies) == member.state.policies_at
            )
            if is_unchanged:
                etcd.write(**{seat(name): b"", EPOCH: name.encode()})
                member.runs = True
                self.check()

    def check(self) -> None:
        """At a claim: by what etcd has now."""
        state = GroupsState(NAMES)
        state.read(self.etcd.keys)
        choice = choose(state, "r", MEMBERS)
        running = [name for name, each in self.members.items() if each.runs]
        if choice.limit is not None:
            assert len(running) <= choice.limit, (running, choice)
        else:
            assert set(running) <= set(choice.wanted), (running, choice)


STEPS = st.one_of(
    st.tuples(st.just("hear"), st.sampled_from(MEMBERS), st.integers(1, 4)),
    st.tuples(st.just("act"), st.sampled_from(MEMBERS), st.just(0)),
    st.tuples(st.just("policy"), st.just(""), st.integers(0, len(POLICIES) - 1)),
    st.tuples(st.just("activate"), st.sampled_from(MEMBERS), st.just(0)),
    st.tuples(st.just("move"), st.sampled_from(MEMBERS), st.just(0)),
)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=120))
def test_never_more_than_wanted(steps: list[tuple[str, str, int]]) -> None:
    """Whatever is heard late, and whatever is changed meanwhile."""
    world = World()
    for what, name, number in steps:
        match what:
            case "hear":
                world.hear(name, number)
            case "act":
                world.act(name)
            case "policy":
                world.etcd.write(**{NAMES.policies: encode_policies([POLICIES[number]])})
            case "activate":
                world.etcd.write(**{NAMES.group("r", "activated", name): b""})
            case _:
                world.etcd.write(**{NAMES.group("r", "moved"): name.encode()})
