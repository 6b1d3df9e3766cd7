"""Tables fit the terminal, and nothing in them is cut."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console

from wsproxy.cli.tables import print_table, print_text

LONG = "NodeOfProductionDataCentreNumberOne_ApplicationServerMember42"
HEAD = ("server", "", "requests", "share", "by affinity", "failed tries", "marked down", "peak")
ROWS = [
    ("s1", "before", "123456", "100.0%", "99999", "12", "3", "1000"),
    (LONG, "after", "7", "0.0%", "0", "0", "0", "0"),
]


def printed(width: int, rows: Sequence[tuple[str, ...]] = ROWS) -> str:
    out = StringIO()
    print_table(Console(file=out, width=width, soft_wrap=True), "Servers", HEAD, rows, names=2)
    return out.getvalue()


@pytest.mark.parametrize("width", [160, 120, 100, 80, 60, 20])
def test_no_word_and_no_number_is_cut(width: int) -> None:
    words = printed(width).split()
    wanted = [word for row in [HEAD, *ROWS] for cell in row for word in cell.split()]
    assert set(wanted) <= set(words)


@pytest.mark.parametrize("width", [160, 120, 100, 80])
def test_a_table_is_no_wider_than_the_terminal(width: int) -> None:
    assert max(len(line) for line in printed(width).splitlines()) <= width


def test_titles_are_broken_before_names_lose_room() -> None:
    lines = printed(80).splitlines()
    assert lines[1].split() == ["by", "failed", "marked"]
    assert LONG in lines  # on a line of its own
    assert lines[lines.index(LONG) + 1].split() == list(ROWS[1][1:])
    assert printed(160).splitlines()[1].split() == [word for name in HEAD for word in name.split()]


def test_a_table_without_rows_has_its_titles() -> None:
    assert printed(80, []).splitlines()[1].split()[0] == "server"


def test_sentences_are_broken_between_words() -> None:
    out = StringIO()
    console = Console(file=out, width=20, soft_wrap=True, force_terminal=True, color_system=None)
    print_text(console, "a log says /a/very/long/path/that/stays/whole and more", indent="  ")
    assert out.getvalue().splitlines() == [
        "a log says", "  /a/very/long/path/that/stays/whole", "  and more",
    ]  # fmt: skip


def test_a_sentence_that_goes_to_a_file_is_one_line() -> None:
    out = StringIO()
    print_text(Console(file=out, width=20, soft_wrap=True), "one two three four five six seven")
    assert out.getvalue() == "one two three four five six seven\n"


def test_what_stands_first_is_as_wide_as_the_indent() -> None:
    """On a terminal the lines behind the first one are indented; in a file it is one line."""
    text = "one two three four five six seven"
    for is_terminal, expected in (
        (True, ["rule    one two", "        three four", "        five six", "        seven"]),
        (False, [f"rule    {text}"]),
    ):
        console = Console(
            file=StringIO(), width=19, force_terminal=is_terminal, color_system=None, soft_wrap=True
        )
        print_text(console, text, "bold", indent=" " * 8, first="rule")
        assert isinstance(console.file, StringIO)
        assert console.file.getvalue().splitlines() == expected
