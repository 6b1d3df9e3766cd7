"""Questions to workers in shared memory: numbered, and an answer is to one of them."""

from __future__ import annotations

import pytest

from wsproxy._fast.state.board import Board

pytestmark = pytest.mark.asan


def test_every_worker_has_each_question() -> None:
    board = Board(2)
    assert not board.is_asked(0)
    number = board.ask()
    assert board.is_asked(0)
    assert board.is_asked(1)
    assert board.read_page(0, number) is None
    assert board.ask() == number + 1


@pytest.mark.parametrize("worker", [-1, 2])
def test_worker_without_a_page_is_refused(worker: int) -> None:
    board = Board(2)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
        board.is_asked(worker)
    with pytest.raises(ValueError, match=r"allowed is 0\.\.1"):
        board.read_page(worker, 1)


def test_board_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed is 1 or more"):
        Board(0)
