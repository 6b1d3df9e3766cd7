"""What `wsproxy ha status` says of a core group."""

from __future__ import annotations

import msgspec

from wsproxy.config.settings_groups import PolicySettings
from wsproxy.ha.group.view import Word
from wsproxy.ha.names import COORDINATOR, Names
from wsproxy.ha.resource.told import lines_of, tell
from wsproxy.ha.resource.words import Offer, encode_policies
from wsproxy.ha.store.base import Entry

NAMES = Names("cell", "group")
GROUP = {"type": "batch", "resource": "r"}


def entries(**offers: Offer) -> dict[str, Entry]:
    """Members a and b; ``offers`` of them, the first one has the place where it runs."""
    values: dict[str, bytes] = {NAMES.seat(COORDINATOR): b"a"}
    for number, name in enumerate("ab", 1):
        word = Word(number, "i", f"host{number}", 40 + number, "1.0", 0)
        values[NAMES.member(name)] = msgspec.json.encode(word)
    for name, offer in offers.items():
        values[NAMES.group("r", "offers", name)] = msgspec.json.encode(offer)
        if offer.phase == "running":
            values[NAMES.seat(NAMES.place("r", name))] = name.encode()
    return {key: Entry(key, value, at, at, 1) for at, (key, value) in enumerate(values.items(), 1)}


def test_all_is_well() -> None:
    """Members in their order, the group's name, policy and who is active; no warning."""
    found = tell(NAMES, entries(a=Offer(GROUP, "running"), b=Offer(GROUP, "idle")))
    assert found["warnings"] == []
    assert found["resources"]["r"]["active"] == ["a"]
    assert list(lines_of(found)) == [
        "core group  group of cell cell, coordinator a",
        "            a (id 1, on host1, pid 41, version 1.0)",
        "            b (id 2, on host2, pid 42, version 1.0)",
        "resource    r (group resource=r, type=batch): policy DefaultPolicy (One of N), active a",
        "            a: running",
        "            b: idle",
    ]


def test_what_an_operator_must_know() -> None:
    """207, what is stuck, who has given up, and that it is active nowhere."""
    stuck = Offer(GROUP, "stuck", 207, "release ended with exit code 32 (target is busy)")
    found = tell(NAMES, entries(a=stuck, b=Offer(GROUP, "idle", given_up=True, why="start failed")))
    assert found["warnings"] == [
        "resource r: code 207: it cannot be ended or released at a, so nobody else gets it: release ended with exit code 32 (target is busy)",
        "resource r: given up by b: start failed",
    ]
    nobody = tell(NAMES, entries(b=Offer(GROUP, "idle", given_up=True, why="start failed")))
    assert "resource r: active nowhere: given up by b" in nobody["warnings"]


def test_members_that_say_different_names() -> None:
    """Policies match by one of them."""
    other = {**GROUP, "type": "other"}
    found = tell(NAMES, entries(a=Offer(GROUP, "running"), b=Offer(other, "idle")))
    assert "different group attributes" in found["warnings"][0]


def test_the_policies_are_told() -> None:
    """As they are kept."""
    all_ = entries(a=Offer(GROUP, "running"))
    policies = encode_policies([PolicySettings(name="p", match={"type": "batch"})])
    all_[NAMES.policies] = Entry(NAMES.policies, policies, 90, 90)
    found = tell(NAMES, all_)
    assert found["resources"]["r"]["policy"] == "p"
    assert found["policies"][0]["match"] == {"type": "batch"}


def test_who_is_not_ready_says_why() -> None:
    """Where that is known: it may be so for ever."""
    why = "the lock of its keeper (@x) is held by pid 7 (sh), user 5: nothing of it begins here before that one has ended"
    found = tell(NAMES, entries(a=Offer(GROUP, "running"), b=Offer(GROUP, why=why)))
    assert found["warnings"] == [f"resource r: not ready at b: {why}"]
    assert list(lines_of(found))[-1] == f"            b: not ready: {why}"
    quiet = tell(NAMES, entries(a=Offer(GROUP, "running"), b=Offer(GROUP)))
    assert quiet["warnings"] == []
