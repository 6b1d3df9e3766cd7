"""What the judge of the drills calls two holders, and what it lets pass; and that a seed is a drill."""

from __future__ import annotations

import pytest

from tests.drills.chance import KINDS, draw
from tests.drills.judge import (
    HANDOVER_S,
    RECOVERY_S,
    Act,
    Event,
    Span,
    Window,
    beyond,
    blind,
    knows,
    late_acts,
    overlaps,
    two_holders,
    unexplained,
    unknowable,
)


@pytest.mark.parametrize("family", KINDS)
def test_a_seed_is_a_drill(family: str) -> None:
    """The same two faults each time, and in a thousand of them every kind at every place."""
    assert draw(family, 7) == draw(family, 7)
    drawn = {(each.kind, each.place) for seed in range(1000) for each in draw(family, seed)}
    assert drawn == {(kind, place) for kind, places in KINDS[family].items() for place in places}
    for seed in range(1000):
        first, second = draw(family, seed)
        assert (first.kind, first.place) != (second.kind, second.place)


def test_an_overlap_is_from_the_second_ones_first_moment_to_either_ones_last() -> None:
    """By order: who gives up and who takes at one time did so one after the other. One that is there twice is one."""
    events = [Event(1.0, "a", has=True), Event(2.0, "b", has=True), Event(2.5, "b", has=True), Event(3.0, "a", has=False)]  # fmt: skip
    assert overlaps(events, 9.0) == [Span(2.0, 3.0)]
    assert overlaps(events[:3], 9.0) == [Span(2.0, 9.0)]
    handed = [Event(1.0, "a", has=True), Event(2.0, "a", has=False), Event(2.0, "b", has=True)]
    assert overlaps(handed, 9.0) == []


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (set(), True),
        ({"vrrp"}, True),  # words pass: the guard
        ({"service"}, True),
        ({"sync"}, True),
        ({"keepalived:p1"}, True),
        ({"agent:p1"}, True),  # adverts pass
        ({"agent:p1", "agent:p2"}, True),
        ({"agent:p1", "sync"}, True),
        ({"service", "sync"}, False),
        ({"agent:p1", "vrrp"}, False),
        ({"agent:p2", "service"}, False),
        ({"agent:p1", "keepalived:p1"}, False),
    ],
)
def test_who_can_know(broken: set[str], found: bool) -> None:
    """Adverts between two keepalived, or words between two agents."""
    assert knows(broken) is found


def test_what_is_excused_is_only_the_time_of_both_and_a_little_more() -> None:
    """One fault alone excuses nothing."""
    windows = [
        Window("service", 10.0, 20.0),
        Window("sync", 12.0, 14.0),
        Window("clock", 0.0, 99.0),
    ]
    excused = unknowable(windows)
    assert excused == [Span(12.0, 14.0 + RECOVERY_S)]
    assert list(beyond([Span(12.5, 14.5)], excused)) == []
    assert list(beyond([Span(11.0, 30.0)], excused)) == [Span(11.0, 12.0), Span(14.0 + RECOVERY_S, 30.0)]  # fmt: skip
    assert list(beyond([Span(1.0, 2.0)], excused)) == [Span(1.0, 2.0)]


def test_a_hand_over_is_not_two_holders_and_what_lasts_longer_is() -> None:
    """Both kernels have it until one advert is heard; what nobody could know is not added to that."""
    short, long = Span(1.0, 1.0 + HANDOVER_S / 2), Span(5.0, 5.0 + 2 * HANDOVER_S)
    assert two_holders([short, long], []) == [long]
    assert two_holders([short], [], blind([Window("vrrp", 0.5, 1.5)])) == [short]
    assert two_holders([short], [], blind([Window("agent:p1", 0.5, 1.5)])) == []
    assert two_holders([long], [Span(4.0, 5.0 + 1.5 * HANDOVER_S)]) == []


def test_two_answers_are_explained_by_two_kernels_alone() -> None:
    """An address that is on no interface where it should be seen, and answers all the same."""
    assert unexplained([Span(5.0, 5.1)], [Span(4.9, 5.05)]) == []
    assert unexplained([Span(5.0, 5.1)], []) == [Span(5.0, 5.1)]
    assert unexplained([Span(5.0, 5.1)], [Span(1.0, 2.0)]) == [Span(5.0, 5.1)]


def test_an_act_with_an_old_token() -> None:
    """Of two that act in turns the older one's is told; one act of a process that was stopped is not, and a second one is."""
    acts = [Act(1.0, "a", 1, 5), Act(2.0, "b", 2, 9), Act(3.0, "a", 1, 5), Act(3.1, "a", 1, 5), Act(4.0, "b", 2, 9)]  # fmt: skip
    assert late_acts(acts, []) == acts[2:4]
    assert late_acts(acts, [(2.9, "a")]) == [acts[3]]
    assert late_acts(acts, [(3.05, "a")]) == [acts[2]]
    assert late_acts(acts, [(2.9, "b")]) == acts[2:4]
    assert late_acts(acts[:2], []) == []
