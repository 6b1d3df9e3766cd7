"""Which word of another site holds here: each rule, and that sites come to one word and to rest, however words, cuts and heals cross."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wsproxy.ha.board.rule import Verdict, Word, decide, numbers_of, said_after
from wsproxy.ha.bridge.rule import chosen, ended, is_endable, taken

DRAIN = Word("p1", 1000, is_operator=True, who="op", hold=1)
DOWN = Word("p1", 1000, is_down=True)


def test_a_word_is_taken_where_nothing_was_said() -> None:
    """With its site, its number there, and the way that it came; a server that is as ever is no news."""
    got = taken(None, DRAIN, "a", "b")
    assert got == msgspec.structs.replace(DRAIN, origin="b", number=1000, via="b")
    assert taken(None, Word("p1", 1000, is_operator=True), "a", "b") is None


def test_no_echo() -> None:
    """What came from here is not taken back: not the same word, and not where ours is gone."""
    copy = taken(None, DRAIN, "b", "a")
    assert copy is not None
    assert taken(DRAIN, copy, "a", "b") is None
    assert taken(None, copy, "a", "b") is None


def test_who_knew_of_the_others_word_is_newer() -> None:
    """Whatever the clocks say: a resume at the other site, whose clock is an hour behind, ends our drain, and is not undone."""
    copy = taken(None, DRAIN, "b", "a")
    assert copy is not None
    resume = said_after(Word("q1", 100, is_operator=True), copy, "b")
    got = taken(DRAIN, resume, "a", "b")
    assert got is not None
    assert (got.hold, got.origin) == (0, "b")
    assert taken(resume, DRAIN, "b", "a") is None
    again = said_after(msgspec.structs.replace(DRAIN, at_ms=50), got, "a")
    assert taken(resume, again, "b", "a") is not None


def test_a_clock_that_was_put_back_makes_no_old_word() -> None:
    """A number goes on from that of the word whose place it takes."""
    later = said_after(msgspec.structs.replace(DRAIN, at_ms=10, hold=2), DRAIN, "a")
    copy = taken(None, DRAIN, "b", "a")
    assert later.number == 1001
    assert taken(copy, later, "b", "a") is not None


def test_a_store_that_was_put_back_gets_its_words_again() -> None:
    """Restored from a backup it has an older word of its own than the other site: which came from here, and is newer."""
    later = said_after(msgspec.structs.replace(DRAIN, at_ms=2000, hold=2), DRAIN, "a")
    copy = taken(None, later, "b", "a")
    assert copy is not None
    got = taken(DRAIN, copy, "a", "b")
    assert got is not None
    assert (got.hold, got.origin) == (2, "a")
    assert taken(copy, DRAIN, "b", "a") is None


def test_neither_knew_of_the_other() -> None:
    """An operator's word beats an observation, then the newest counts: at both sites."""
    up = Word("q1", 10, is_operator=True)
    assert taken(DOWN, up, "a", "b") is not None
    assert taken(up, DOWN, "b", "a") is None
    late = msgspec.structs.replace(DRAIN, at_ms=2000, hold=2)
    assert taken(DRAIN, late, "a", "b") is not None
    assert taken(late, DRAIN, "b", "a") is None


def test_the_same_at_the_same_time_at_both_sites() -> None:
    """By members of the same name, too: the site's name decides."""
    other = msgspec.structs.replace(DRAIN, hold=2)
    assert (taken(DRAIN, other, "a", "b") is None) != (taken(other, DRAIN, "b", "a") is None)


def test_what_means_the_same_is_not_copied() -> None:
    """Nothing is written for it."""
    assert taken(DRAIN, msgspec.structs.replace(DRAIN, at_ms=7000, by="q1"), "a", "b") is None


def test_a_mark_ends_when_its_site_is_not_heard_for_long() -> None:
    """It is the same word; its own site's holds again as soon as it is heard. A mark of our own, and an operator's hold, do not end."""
    got = taken(None, DOWN, "a", "b")
    assert got is not None
    assert is_endable("mark/c/s", got, "b")
    assert not is_endable("mark/c/s", DOWN, "b")
    assert not is_endable("hold/c/s", got, "b")
    assert not is_endable("mark/c/s", got, "c")
    over = ended(got)
    assert not over.is_down
    back = taken(over, DOWN, "a", "b")
    assert back is not None
    assert back.is_down
    # The other site does not hear of it as a word of ours.
    assert taken(DOWN, over, "b", "a") is None


def test_an_end_goes_where_the_mark_went() -> None:
    """A third site that had it from us; nothing goes round."""
    ours = taken(None, DOWN, "a", "b")
    assert ours is not None
    third = taken(None, ours, "c", "a")
    assert third is not None
    over = ended(ours)
    assert taken(third, over, "c", "a") is not None
    assert taken(over, third, "a", "c") is None


@pytest.mark.parametrize(
    ("choices", "subject", "is_chosen"),
    [
        (("holds",), "hold/farm/s1", True),
        (("holds",), "mark/farm/s1", False),
        (("marks:shop_*", "holds"), "mark/shop_1/s1", True),
        (("marks:shop_*", "holds"), "mark/farm/s1", False),
        (("numbers:a:b",), "numbers/a%3Ab/s1", True),
        ((), "hold/farm/s1", False),
    ],
)
def test_which_are_carried(choices: tuple[str, ...], subject: str, is_chosen: bool) -> None:
    """By board, and by the cluster's name as it is in the file."""
    assert chosen(choices, subject) is is_chosen


# --- any interleaving ----------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """One subject in one store, written by members, who know it, or were without it for a while, and by the bridge."""

    name: str
    word: Word | None = None
    revision: int = 0
    written: int = 0
    history: list[Word] = field(default_factory=list)

    def write(self, word: Word) -> None:
        self.word, self.revision = word, self.revision + 1
        self.history.append(word)

    def say(self, word: Word, *, knew: bool) -> None:
        """A member's board posts it, or takes the store's, by the board's own rule."""
        verdict = decide(word, self.revision if knew else 0, self.word, self.revision)
        if verdict is Verdict.POST:
            self.write(said_after(word, self.word, self.name))

    def pull(self, other: Site) -> bool:
        if other.word is None:
            return False
        got = taken(self.word, other.word, self.name, other.name)
        if got is not None:
            assert not (got.origin == self.name and self.word is None)
            self.write(got)
            self.written += 1
        return got is not None

    def meaning(self) -> object:
        return self.word.meaning if self.word and self.word.is_more_than_nothing else "nothing"


_words = st.builds(
    Word,
    by=st.sampled_from(["p1", "p2"]),
    at_ms=st.integers(1, 6),
    is_operator=st.booleans(),
    hold=st.integers(0, 2),
    is_down=st.booleans(),
)


def _steps(sites: int) -> st.SearchStrategy[list[tuple[object, ...]]]:
    pairs = [(one, two) for one in range(sites) for two in range(sites) if one != two]
    say = st.tuples(st.just("say"), st.integers(0, sites - 1), _words, st.booleans())
    pull = st.tuples(st.just("pull"), st.sampled_from(pairs), st.none(), st.none())
    end = st.tuples(st.just("end"), st.sampled_from(pairs), st.none(), st.none())
    return st.lists(st.one_of(say, pull, end), max_size=14)


def _run(sites: list[Site], steps: list[tuple[object, ...]]) -> None:
    """While links are cut nobody pulls; a pull that is a step is a link that is there for a moment, in one direction."""
    for kind, which, word, knew in steps:
        if kind == "say":
            assert isinstance(which, int)
            assert isinstance(word, Word)
            sites[which].say(word, knew=bool(knew))
            continue
        assert isinstance(which, tuple)
        one, two = (sites[each] for each in which)
        if kind == "pull":
            one.pull(two)
        elif one.word is not None and is_endable("mark/c/s", one.word, two.name):
            one.write(ended(one.word))


def _place(site: Site) -> object:
    word = site.word
    return word and (word.origin or site.name, word.number or word.at_ms)


def _heal(sites: list[Site]) -> int:
    """All links are there: rounds until nothing is written."""
    for rounds in range(12):
        pulled = [one.pull(two) for one in sites for two in sites if one is not two]
        if not any(pulled):
            return rounds
    raise AssertionError(
        [(each.word, numbers_of(each.word, each.name)) for each in sites if each.word]
    )


@given(_steps(2))
def test_two_sites_come_to_one_word_and_to_rest(steps: list[tuple[object, ...]]) -> None:
    """And with no more writes at the heal than one a site, which is one for each word that differs."""
    sites = [Site("a"), Site("b")]
    _run(sites, steps)
    differ = sites[0].meaning() != sites[1].meaning()
    before = [each.written for each in sites]
    _heal(sites)
    assert sites[0].meaning() == sites[1].meaning()
    written = sum(each.written for each in sites) - sum(before)
    assert written <= differ


@given(_steps(3))
def test_a_ring_of_three_comes_to_rest(steps: list[tuple[object, ...]]) -> None:
    """Each bridged with each: words do not go round."""
    sites = [Site("a"), Site("b"), Site("c")]
    _run(sites, steps)
    _heal(sites)
    assert len({each.meaning() for each in sites}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_rings_of_up_to_four_come_to_rest(seed: int) -> None:
    """Many more orders, with links that heal in any: one meaning at all sites, and then nothing is written."""
    chance = random.Random(seed)
    for _ in range(5000):
        sites = [Site(name) for name in "abcd"[: chance.randrange(2, 5)]]
        pairs = [(one, two) for one in sites for two in sites if one is not two]
        for _ in range(chance.randrange(1, 25)):
            one, two = chance.choice(pairs)
            what = chance.random()
            if what < 0.4:
                word = Word(
                    chance.choice(("p1", "p2")), chance.randrange(1, 7), is_operator=chance.random() < 0.5,
                    who=chance.choice("xy"), is_down=chance.random() < 0.4, hold=chance.randrange(3),
                )  # fmt: skip
                one.say(word, knew=chance.random() < 0.7)
            elif what < 0.9:
                one.pull(two)
            elif one.word is not None and is_endable("mark/c/s", one.word, two.name):
                one.write(ended(one.word))
        written = [True]
        for _ in range(15):
            chance.shuffle(pairs)
            written = [one.pull(two) for one, two in pairs]
            if not any(written):
                break
        assert not any(written)
        assert len({each.meaning() for each in sites}) == 1, [each.word for each in sites]


@given(_steps(2))
def test_a_word_that_knows_the_other_stays(steps: list[tuple[object, ...]]) -> None:
    """After a heal an operator at either site says something else: it holds at both, though that site's clock is far behind."""
    for which in range(2):
        sites = [Site("a"), Site("b")]
        _run(sites, steps)
        _heal(sites)
        # Said at both in the same words, neither of which was copied: then the clocks decide between one of them and a later word.
        assume(len({_place(each) for each in sites}) == 1)
        last = Word("p1", 0, is_operator=True, hold=2, who="last")
        sites[which].say(last, knew=True)
        _heal(sites)
        assert [each.word.who if each.word else "" for each in sites] == ["last", "last"]
