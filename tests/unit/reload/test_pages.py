"""Pages of ``[[edge]]`` that change: each change is told of once, when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsproxy.config.check_edge import read_page
from wsproxy.reload.pages import PageWatch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "sorry.html"
    made.write_text("one")
    return made


def test_change_is_told_of_once_and_a_look_later(file: Path) -> None:
    """At the first look somebody may be in the middle of it."""
    pages = (read_page(str(file)),)
    watch = PageWatch()
    assert [watch.are_others(pages) for _ in range(3)] == [False] * 3
    file.write_text("two, half of")
    assert not watch.are_others(pages)
    file.write_text("two, all of it")
    assert not watch.are_others(pages)
    assert watch.are_others(pages)
    assert not watch.are_others(pages)  # refused, or returned to: it was told of
    assert [watch.are_others((read_page(str(file)),)) for _ in range(3)] == [False] * 3


def test_page_that_changed_before_the_first_look_is_told_of(file: Path) -> None:
    pages = (read_page(str(file)),)
    file.write_text("two")
    watch = PageWatch()
    assert [watch.are_others(pages) for _ in range(3)] == [False, True, False]


def test_page_that_is_gone_is_told_of(file: Path) -> None:
    pages = (read_page(str(file)),)
    file.unlink()
    watch = PageWatch()
    assert [watch.are_others(pages) for _ in range(3)] == [False, True, False]


def test_page_that_was_only_touched_is_the_same(file: Path) -> None:
    pages = (read_page(str(file)),)
    watch = PageWatch.from_now(pages)
    file.write_text("one")
    assert [watch.are_others(pages) for _ in range(3)] == [False] * 3


def test_what_an_earlier_loader_saw_is_left_alone(file: Path) -> None:
    """It was refused, or another one was returned to."""
    pages = (read_page(str(file)),)
    file.write_text("two")
    watch = PageWatch.from_now(pages)
    assert [watch.are_others(pages) for _ in range(3)] == [False] * 3
