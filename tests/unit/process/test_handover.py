"""What a program is handed on, and which rows of the shared state are nobody's."""

from __future__ import annotations

import os

import pytest

from wsproxy.errors import StartError
from wsproxy.process.handover import VARIABLE, Inheritance, free_rows


@pytest.mark.parametrize(
    ("count", "taken", "first"),
    [
        (2, [], 0),
        (2, [range(2)], 2),
        (2, [range(2, 4)], 0),
        (3, [range(2, 4)], 4),
        (2, [range(2), range(2, 4)], 4),
        (1, [range(2), range(3, 5)], 2),
        (128, [range(0)], 0),
        (64, [range(64)], 64),
    ],
)
def test_first_rows_that_nobody_has(count: int, taken: list[range], first: int) -> None:
    assert free_rows(count, taken) == first


def test_too_many_programs_are_refused() -> None:
    with pytest.raises(
        StartError,
        match="found 100 workers of programs that are being replaced; allowed, with 30 new ones",
    ):
        free_rows(30, [range(100)])


@pytest.mark.parametrize("text", [b"", b"no JSON", b"{}"])
def test_what_is_no_inheritance_is_refused(text: bytes) -> None:
    fd = os.memfd_create("test")
    os.write(fd, text)
    os.lseek(fd, 0, os.SEEK_SET)
    environ = {VARIABLE: str(fd)}
    with pytest.raises(StartError, match=f"{VARIABLE}: found {fd}, which is no inheritance"):
        Inheritance.from_environment(environ, os.getpid())
    assert environ == {}


def test_who_is_started_by_hand_has_none() -> None:
    made = Inheritance.from_environment({}, os.getpid())
    assert (made.estate, made.control, list(made.sockets), made.take_state()) == (
        None,
        None,
        [],
        None,
    )
