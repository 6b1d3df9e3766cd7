"""HA groups' policies, by HAManager's rules; every choice is checked against what the rule says of any group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.config.settings_groups import PolicyType
from wsproxy.ha.policy import (
    Policy,
    PolicyClashError,
    choose_active,
    governing,
    has_quorum,
)

GROUP = {"type": "WSAF_SIB", "bus": "b1", "engine": "e1"}


def policy(type_: PolicyType, **more: object) -> Policy:
    return Policy("p", type_, {}, **more)  # type: ignore[arg-type]


def test_the_policy_with_most_criteria_governs() -> None:
    """IBM's text: of those that match, the one with the most matches."""
    broad = Policy("broad", "One of N", {"type": "WSAF_SIB"})
    narrow = Policy("narrow", "Static", {"type": "WSAF_SIB", "bus": "b1"})
    other = Policy("other", "Static", {"type": "WSAF_SIB", "bus": "b2", "engine": "e1"})
    assert governing([broad, narrow, other], GROUP) is narrow
    assert governing([other], GROUP) is None


def test_two_that_match_equally_govern_nobody() -> None:
    """The message names both and the group."""
    one = Policy("one", "One of N", {"type": "WSAF_SIB"})
    two = Policy("two", "Static", {"bus": "b1"})
    with pytest.raises(PolicyClashError, match="one and two for HA group bus=b1, engine=e1"):
        governing([one, two], GROUP)


def test_one_of_n_takes_the_preferred_one() -> None:
    """In the order of the list; without one, who joined first."""
    assert choose_active(policy("One of N", preferred=("c", "b")), ["a", "b", "c"], ()) == ("c",)
    assert choose_active(policy("One of N"), ["b", "a"], ()) == ("b",)


def test_without_failback_who_is_active_stays() -> None:
    """A preferred one that comes back waits."""
    assert choose_active(policy("One of N", preferred=("c",)), ["a", "c"], {"a"}) == ("a",)


def test_with_failback_the_preferred_one_takes_over() -> None:
    """And only the preferred one: among equals who is active stays."""
    keen = policy("One of N", preferred=("c",), failback=True)
    assert choose_active(keen, ["a", "c"], {"a"}) == ("c",)
    assert choose_active(keen, ["a", "b"], {"b"}) == ("b",)


def test_preferred_only() -> None:
    """Nobody rather than somebody else."""
    assert choose_active(policy("One of N", preferred=("c",), preferred_only=True), ["a"], ()) == ()


def test_m_of_n() -> None:
    """Two of three, the preferred one among them."""
    two = policy("M of N", count=2, preferred=("c",))
    assert choose_active(two, ["a", "b", "c"], ()) == ("c", "a")
    assert choose_active(two, ["a", "b", "c"], {"b", "a"}) == ("a", "b")


def test_static_and_no_operation() -> None:
    """Static: those that are named and live. No operation: those that an operator has activated."""
    assert choose_active(policy("Static", preferred=("x", "b")), ["a", "b"], {"a"}) == ("b",)
    assert choose_active(policy("No operation"), ["a", "b"], {"a"}) == ()
    assert choose_active(policy("No operation"), ["a", "b"], (), activated={"b"}) == ("b",)


def test_without_quorum_nobody() -> None:
    """Who is active stops; a start waits."""
    careful = policy("One of N", quorum=True)
    assert choose_active(careful, ["a", "b"], (), is_quorate=False) == ()
    assert choose_active(careful, ["a", "b"], {"b"}, is_quorate=False) == ()
    assert has_quorum({"a", "b"}, {"a", "b", "c"})
    assert not has_quorum({"a", "x"}, {"a", "b"})


NAMES = st.lists(st.sampled_from("abcdef"), unique=True)


@given(
    type_=st.sampled_from(["One of N", "M of N", "All active", "Static", "No operation"]),
    members=NAMES,
    active=st.sets(st.sampled_from("abcdef")),
    activated=st.sets(st.sampled_from("abcdef")),
    preferred=NAMES,
    count=st.integers(1, 4),
    only=st.booleans(),
    failback=st.booleans(),
    quorate=st.booleans(),
    quorum=st.booleans(),
)
def test_what_holds_of_every_choice(
    type_: PolicyType,
    members: list[str],
    active: set[str],
    activated: set[str],
    preferred: list[str],
    count: int,
    only: bool,
    failback: bool,
    quorate: bool,
    quorum: bool,
) -> None:
    """Members only, each once, not too many, nobody idle without a reason; and a choice that was carried out is the next one, too."""
    rule = Policy(
        "p",
        type_,
        {},
        count=count,
        preferred=tuple(preferred),
        preferred_only=only,
        failback=failback,
        quorum=quorum,
    )
    chosen = choose_active(rule, members, active, activated=activated, is_quorate=quorate)
    again = choose_active(rule, members, chosen, activated=activated, is_quorate=quorate)
    assert set(chosen) <= set(members)
    assert len(set(chosen)) == len(chosen)
    assert set(again) == set(chosen)
    may = [each for each in members if each in preferred] if only else members
    most = {"One of N": 1, "M of N": count, "All active": len(members)}.get(type_)
    if quorum and not quorate:
        assert not chosen
    elif type_ == "Static":
        assert set(chosen) == set(preferred) & set(members)
    elif type_ == "No operation":
        assert set(chosen) == activated & set(members)
    else:
        assert most is not None
        assert len(chosen) == min(most, len(may))
        assert set(chosen) <= set(may)
