"""The unified diff of ``wsproxy fmt --check``: what patch makes of the old text with it is the new one, at any size."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.cli.text_diff import unified

TEXTS = st.lists(st.sampled_from(("a", "b", "c", "", "same", "x y")), max_size=30).map("\n".join)


def patched(old: str, diff: list[str]) -> str:
    """The old text with the diff applied, as strictly as patch does it."""
    lines = old.splitlines(keepends=True)
    found: list[str] = []
    at = 0
    for number, line in enumerate(diff[2:], 2):
        bare = number + 1 < len(diff) and diff[number + 1].startswith("\\")
        text = line[1:] + ("" if bare else "\n")
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) - (count != "0")
            found += lines[at:begin]
            at = begin
        elif line[0] in " -":
            assert lines[at] == text
            at += 1
            found += [text] if line[0] == " " else []
        elif line[0] == "+":
            found.append(text)
    return "".join(found + lines[at:])


@given(TEXTS, TEXTS)
def test_the_diff_makes_the_new_text_of_the_old_one(old: str, new: str) -> None:
    diff = list(unified(old, new, "old", "new"))
    assert (diff == []) == (old == new)
    assert patched(old, diff) == new


@given(
    st.lists(st.integers(0, 40), max_size=30, unique=True),
    st.lists(st.integers(0, 40), max_size=30, unique=True),
)
def test_lines_that_moved_are_found(old: list[int], new: list[int]) -> None:
    a, b = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
    assert patched(a, list(unified(a, b, "old", "new"))) == b


def test_it_is_what_difflib_gives_where_there_is_one_way_to_see_it() -> None:
    old = [f"line {number}" for number in range(40)]
    new = [*old[:5], "new", *old[5:20], "other", *old[21:30], *old[31:]]
    expected = difflib.unified_diff(old, new, "old", "new", lineterm="")
    found = unified("\n".join([*old, ""]), "\n".join([*new, ""]), "old", "new")
    assert list(found) == list(expected)


@pytest.mark.timeout(60)
def test_a_change_on_every_other_line_of_a_large_text_takes_no_square() -> None:
    """Difflib would compare 100,000 lines with as many for each of 50,000 changes: hours, and this test ends it."""
    old = [f"line {number}" for number in range(100_000)]
    new = [f"{line} changed" if number % 2 else line for number, line in enumerate(old)]
    diff = list(unified("\n".join(old), "\n".join(new), "old", "new"))
    assert patched("\n".join(old), diff) == "\n".join(new)
    same = ["same"] * 50_000
    list(unified("\n".join([*same, "a"]), "\n".join(["b", *same]), "old", "new"))
