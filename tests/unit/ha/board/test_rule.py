"""Which of two words counts: each rule, and that all proxies come to the same word, however their words cross."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from wsproxy.ha.board.rule import Verdict, Word, decide

DOWN = Word("a", 1000, is_down=True)
UP = Word("b", 900)
CLEARED = Word("b", 900, is_operator=True)


def test_nothing_was_ever_said() -> None:
    """It counts less than any word; a server that is up as ever is no news."""
    assert decide(None, 0, None, 0) is Verdict.SAME
    assert decide(None, 0, DOWN, 5) is Verdict.TAKE
    assert decide(DOWN, 0, None, 0) is Verdict.POST
    assert decide(UP, 0, None, 0) is Verdict.SAME


def test_who_knew_of_it_is_newer() -> None:
    """Whatever the clocks say, and even against an operator: a server that fails again after `up` is down."""
    late = msgspec.structs.replace(CLEARED, at_ms=99_999)
    assert decide(DOWN, 7, late, 7) is Verdict.POST


def test_an_operators_word_beats_an_observation() -> None:
    """Where neither knew of the other, even an older one."""
    assert decide(DOWN, 6, CLEARED, 7) is Verdict.TAKE
    assert decide(CLEARED, 6, DOWN, 7) is Verdict.POST


def test_the_newest_evidence_counts() -> None:
    """Of two of the same rank."""
    assert decide(DOWN, 6, UP, 7) is Verdict.POST
    assert decide(UP, 6, DOWN, 7) is Verdict.TAKE


def test_both_say_the_same() -> None:
    """Then nothing is written."""
    other = Word("c", 2000, is_down=True, why="timeout")
    assert decide(DOWN, 0, other, 7) is Verdict.SAME
    assert decide(other, 7, DOWN, 7) is Verdict.SAME


def test_the_better_evidence_for_the_same_stays() -> None:
    """An operator's word, or a newer one, takes the place of a weaker one: a third is measured by the best."""
    other = Word("c", 5, is_down=True, why="timeout")
    assert decide(DOWN, 0, other, 7) is Verdict.POST


def test_at_the_same_time() -> None:
    """Down counts more than up; a hold that differs in its words only is decided by name: everywhere the same."""
    up = msgspec.structs.replace(UP, at_ms=1000)
    assert decide(DOWN, 0, up, 7) is Verdict.POST
    assert decide(up, 0, DOWN, 7) is Verdict.TAKE
    one = Word("a", 5, is_operator=True, hold=1, who="x")
    two = Word("b", 5, is_operator=True, hold=2, who="y")
    assert decide(one, 0, two, 7) is Verdict.TAKE
    assert decide(two, 0, one, 7) is Verdict.POST


@pytest.mark.parametrize("seed", range(200))
def test_after_an_outage_all_have_one_word(seed: int) -> None:
    """Three proxies that said different things without the store come back in any order: one word, the one that counts most."""
    chance = random.Random(seed)
    said = [
        Word(
            name,
            chance.randrange(1000, 1004),
            is_operator=chance.random() < 0.3,
            is_down=chance.random() < 0.5,
        )
        for name in "abc"
    ]
    results = set()
    for order in itertools.permutations(range(3)):
        store: tuple[Word | None, int] = (Word("z", 1, is_down=True), 5)
        ours: list[Word | None] = list(said)
        for at in order:
            if decide(ours[at], 0, *store) is Verdict.POST:
                store = ours[at], store[1] + 1
        for at in range(3):
            if decide(ours[at], 0, *store) is Verdict.TAKE:
                ours[at] = store[0]
            assert ours[at] is not None
        assert len({word.is_down for word in ours if word is not None}) == 1
        results.add(store[0])
    assert len(results) == 1
