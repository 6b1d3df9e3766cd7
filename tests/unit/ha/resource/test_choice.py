"""Who is to be active in a group, and who may take a place: by words as etcd has them."""

from __future__ import annotations

from wsproxy.config.settings_groups import PolicySettings
from wsproxy.ha.names import Names
from wsproxy.ha.resource.choice import choose, may_claim
from wsproxy.ha.resource.words import GroupsState, GroupState, Offer
from wsproxy.ha.store.base import Entry

GROUP = {"type": "batch", "resource": "r"}


def state(policies: list[PolicySettings], offers: str = "abc", places: str = "", **more: object) -> GroupsState:  # fmt: skip
    """``offers``: members; one in upper case has given it up, one with a dot behind it is not ready."""
    group = GroupState()
    for each in offers:
        name = each.lower()
        group.offers[name] = Offer(GROUP, "idle", given_up=each.isupper())
    group.places = {each: Entry(each, b"", 1, 1) for each in places}
    for name, value in more.items():
        setattr(group, name, value)
    return GroupsState(Names("c", "g"), tuple(policies), 1, {"r": group})


def test_without_a_policy_one_of_n() -> None:
    """In the order of joining."""
    choice = choose(state([]), "r", ["b", "a"])
    assert (choice.wanted, choice.limit) == (("b",), 1)


def test_who_has_given_it_up_is_not_chosen() -> None:
    """Nor who is not there; where nobody is left it is said."""
    assert choose(state([], offers="Abc"), "r", ["a", "b", "c"]).wanted == ("b",)
    assert choose(state([], offers="ab"), "r", ["b"]).wanted == ("b",)
    assert choose(state([], offers="AB"), "r", ["a", "b"]).doubt == "given up by a, b"


def test_a_place_of_another_counts_whether_it_is_wanted_or_not() -> None:
    """One of N: nobody begins before the last one has ended."""
    keen = PolicySettings(name="p", preferred=("b",), failback=True)
    found = state([keen], places="a")
    choice = choose(found, "r", ["a", "b"])
    assert choice.wanted == ("b",)
    assert not may_claim(choice, found.groups["r"], "b")
    assert may_claim(choice, state([keen]).groups["r"], "b")
    assert not may_claim(choice, state([keen]).groups["r"], "a")


def test_a_change_of_mind_ends_before_it_begins() -> None:
    """Static from b to a: b has ended before a begins; All active knows no such wait."""
    static = PolicySettings(name="p", type="Static", preferred=("a",))
    found = state([static], places="b")
    assert not may_claim(choose(found, "r", ["a", "b"]), found.groups["r"], "a")
    everybody = PolicySettings(name="p", type="All active")
    found = state([everybody], places="b")
    assert may_claim(choose(found, "r", ["a", "b"]), found.groups["r"], "a")


def test_m_of_n_counts() -> None:
    """The third one waits for a place."""
    two = PolicySettings(name="p", type="M of N", count=2, preferred=("c",), failback=True)
    found = state([two], places="ab")
    choice = choose(found, "r", ["a", "b", "c"])
    assert choice.wanted == ("c", "a")
    assert not may_claim(choice, found.groups["r"], "c")
    assert may_claim(choice, state([two], places="a").groups["r"], "c")


def test_moved_is_preferred_with_failback() -> None:
    """Until it is taken back."""
    found = state([], places="a", moved="c")
    assert choose(found, "r", ["a", "b", "c"]).wanted == ("c",)
    assert choose(found, "r", ["a", "b"]).wanted == ("a",)


def test_quorum_is_of_those_that_could_be_there() -> None:
    """Of the view, whether they have the resource or not."""
    careful = PolicySettings(name="p", quorum=True, members=("a", "b", "c"))
    alone = choose(state([careful], places="a"), "r", ["a"])
    assert alone.wanted == ()
    assert "half of its members" in alone.doubt
    assert choose(state([careful]), "r", ["a", "c"]).wanted == ("a",)


def test_nothing_is_decided_by_what_is_not_understood() -> None:
    """A policy of another version, two that match equally: nobody."""
    found = state([])
    found.policies = None
    assert not choose(found, "r", ["a"]).wanted
    two = [PolicySettings(name=name, match={"type": "batch"}) for name in ("p", "q")]
    assert "p and q" in choose(state(two), "r", ["a"]).doubt


def test_activated_are_an_operators() -> None:
    """No operation."""
    manual = PolicySettings(name="p", type="No operation")
    assert not choose(state([manual]), "r", ["a", "b"]).wanted
    assert choose(state([manual], activated={"b"}), "r", ["a", "b"]).wanted == ("b",)
