"""What became of attempts, over the lives of several loaders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from wsproxy.admin.reloads import Entry
from wsproxy.reload.history import MOST_ENTRIES, Begun, Kept

SEEN = ((1, 2, 3), None)


@pytest.fixture
def fd() -> Iterator[int]:
    made = os.memfd_create("history")
    yield made
    os.close(made)


def entry(number: int, problem: str = "") -> Entry:
    return Entry(number, "t", "w", "refused", 1, "d", "f", problems=[problem])


def test_next_loader_knows_what_was(fd: int) -> None:
    kept = Kept(fd, SEEN)
    assert (kept.seen, kept.next_number) == (SEEN, 1)
    kept.add(entry(1, "a\nb"))
    kept.note_seen((None, (4, 5, 6)))
    again = Kept(fd, SEEN)
    assert again.entries == [entry(1, "a\nb")]
    assert (again.seen, again.next_number) == ((None, (4, 5, 6)), 2)


def test_oldest_is_forgotten(fd: int) -> None:
    kept = Kept(fd, SEEN)
    for number in range(1, MOST_ENTRIES + 6):
        kept.add(entry(number))
    assert [each.number for each in Kept(fd, SEEN).entries] == list(range(6, MOST_ENTRIES + 6))


def test_longer_text_leaves_nothing_behind(fd: int) -> None:
    kept = Kept(fd, SEEN)
    kept.add(entry(1, "x" * 5000))
    kept.entries.clear()
    kept.add(entry(2))
    assert Kept(fd, SEEN).entries == [entry(2)]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_half_a_line_is_nobodys(fd: int, cut: int) -> None:
    """A loader was killed while it wrote."""
    kept = Kept(fd, SEEN)
    kept.add(entry(1))
    whole = os.fstat(fd).st_size
    kept.add(entry(2))
    os.ftruncate(fd, whole + cut)
    assert Kept(fd, SEEN).entries == [entry(1)]


def test_what_was_begun_is_known_to_the_next_loader(fd: int) -> None:
    """And how many have begun with the same files; what is dealt with is not."""
    first = Kept(fd, SEEN)
    assert (first.is_successor, first.begun) == (False, None)
    first.begin(((7, 8, 9),), "SIGHUP")
    second = Kept(fd, SEEN)
    assert (second.is_successor, second.seen, second.begun) == (True, SEEN, Begun(((7, 8, 9),), "SIGHUP", 1))  # fmt: skip
    second.begin(((7, 8, 9),), "changed file")
    assert Kept(fd, SEEN).begun == Begun(((7, 8, 9),), "changed file", 2)
    second.begin(((7, 8, 10),), "changed file")
    assert Kept(fd, SEEN).begun == Begun(((7, 8, 10),), "changed file", 1)
    second.note_seen(((7, 8, 10),))
    third = Kept(fd, SEEN)
    assert (third.seen, third.begun) == (((7, 8, 10),), None)
