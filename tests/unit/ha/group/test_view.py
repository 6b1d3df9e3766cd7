"""Views: everybody has the same ids and the same order, whoever joined when; who coordinates."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.ha.group.view import View, Word, compare, coordinator_of, view_of
from wsproxy.ha.store.base import Entry


def entry(name: str, id_: int, joined: int, said: int = 0) -> Entry:
    word = Word(id_, "i", "host", 1, "0", 0)
    return Entry(name, msgspec.json.encode(word), joined, said or joined, id_)


def view(*members: tuple[str, int, int]) -> View:
    made = View()
    for name, id_, joined in members:
        made = made.after(joined, [(name, entry(name, id_, joined))])
    return made


def test_the_order_is_that_of_joining() -> None:
    """Not that of names or ids; the id is the revision of the last word."""
    found = view(("c", 3, 5), ("a", 1, 8), ("b", 2, 6))
    assert (found.id, found.names) == (6, ("c", "b", "a"))


def test_the_lowest_id_coordinates() -> None:
    """Unless somebody is preferred who lives."""
    found = view(("c", 3, 5), ("a", 7, 8), ("b", 2, 9))
    assert coordinator_of(found, ()) == "b"
    assert coordinator_of(found, ("x", "a", "c")) == "a"
    assert coordinator_of(View(), ("a",)) is None


def test_who_came_and_who_went() -> None:
    """One that was away between two views did both; a word said again is no change."""
    before = view(("a", 1, 5), ("b", 2, 6))
    again = before.after(9, [("a", entry("a", 1, 5, 9))])
    back = again.after(11, [("b", entry("b", 2, 11))])
    assert not compare(before, again).is_change
    assert again.id == 9
    change = compare(again, back)
    assert [each.joined for each in change.joined] == [11]
    assert [each.joined for each in change.left] == [6]
    gone = back.after(12, [("a", None), ("b", None)])
    assert [each.name for each in compare(back, gone).left] == ["a", "b"]


def test_another_versions_word_is_no_member() -> None:
    """It is left alone."""
    assert View().after(5, [("a", Entry("a", b"\x00", 5, 5))]).members == ()


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sampled_from(["join", "say", "leave"])), max_size=30
    ),
    st.integers(0, 30),
)
def test_whoever_joins_later_has_the_same_views(
    words: list[tuple[str, str]], from_here: int
) -> None:
    """A member that begins with a snapshot has, from there on, what one has that saw all: ids, order, content."""
    alive: dict[str, Entry] = {}
    whole, later = View(), None
    for revision, (name, what) in enumerate(words, 10):
        if what == "leave":
            alive.pop(name, None)
            changes: list[tuple[str, Entry | None]] = [(name, None)]
        else:
            old = alive.get(name)
            alive[name] = entry(name, ord(name), old.created if old else revision, revision)
            changes = [(name, alive[name])]
        whole = whole.after(revision, changes)
        if later is not None:
            later = later.after(revision, changes)
        elif revision >= from_here and what != "leave":  # its own word is the last one
            found = View().after(revision, list(alive.items()))
            later = view_of(revision, found.members)
        if later is not None:
            assert (later.id, later.members) == (whole.id, whole.members)
