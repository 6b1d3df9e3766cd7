"""The shared state in another program: the same memory, or none of it."""

from __future__ import annotations

import os

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, state_layout

pytestmark = pytest.mark.asan

NOW = 1_000_000
OTHER = 2  # a worker of the other program


def cluster(state: SharedState, *servers: str) -> Cluster:
    rows: list[tuple[str, str | None, int, int]] = [(each, each, 1, 2) for each in servers]
    return Cluster(state, "c", rows, list(range(len(rows))), [], queue_size=5)


def heir(state: SharedState) -> SharedState:
    """The state as a program finds it that is given the descriptor only."""
    return SharedState(8, 4, grows=True, fd=os.dup(state.file))


def test_slots_and_what_runs_are_found_by_name() -> None:
    state = SharedState(8, 4, grows=True)
    mine = applied(cluster(state, "s1", "s2"))
    mine.take_server(1, 0, NOW)
    other = heir(state)
    its = cluster(other, "s2", "s3")
    assert its.server_state(0)["inflight"] == 1
    its.take_server(0, OTHER, NOW)
    assert mine.server_state(1)["inflight"] == 2
    assert other.worker_died(0) == 1
    assert mine.server_state(1)["inflight"] == 1


def test_sessions_that_moved_and_counts_of_clients_are_found() -> None:
    """Under the secret of the first program: without it nothing would be found again."""
    state = SharedState(8, 4, grows=True)
    state.open_client_counts(4)
    state.takeovers.remember_session(0, b"session", 3, NOW, NOW + 9)
    assert state.client_counts is not None
    state.client_counts.admit(0, b"192.0.2.1", 5)
    other = heir(state)
    other.open_client_counts(4)
    assert other.takeovers.find_session(0, b"session", NOW) == 3
    assert other.client_counts is not None
    assert other.client_counts.count(b"192.0.2.1") == 1
    other.client_counts.admit(OTHER, b"192.0.2.1", 5)
    assert state.client_counts.count(b"192.0.2.1") == 2


def test_sessions_of_a_group_are_found_and_news_go_on() -> None:
    """By the group's secret, which the new program has from its settings; what nobody has told yet it tells."""
    state = SharedState(8, 4, grows=True)
    state.takeovers.share(bytes(16))
    state.takeovers.remember_session(0, b"a", 3, NOW, NOW + 9)
    assert len(state.takeovers.take_news(9)) == 1
    state.takeovers.remember_session(0, b"b", 3, NOW, NOW + 9)
    other = heir(state)
    assert other.takeovers.find_session(0, b"a", NOW) == -1  # under its own
    other.takeovers.share(bytes(16))
    assert other.takeovers.find_session(0, b"a", NOW) == 3
    assert [key for key, _, _ in other.takeovers.take_news(9)] == [state.takeovers.session_key(0, b"b")]  # fmt: skip
    state.takeovers.remember_session(0, b"c", 3, NOW, NOW + 9)
    assert len(other.takeovers.take_news(9)) == 1
    assert state.takeovers.take_news(9) == []


def test_question_reaches_the_workers_of_both_programs() -> None:
    state = SharedState(8, 4, grows=True)
    state.open_board(4)
    other = heir(state)
    other.open_board(4)
    assert state.board is not None
    assert other.board is not None
    other.board.ask()
    assert state.board.is_asked(0)
    assert other.board.is_asked(OTHER)


def test_bell_of_the_other_program_is_rung() -> None:
    state = SharedState(8, 4, grows=True)
    state.open_bells(2)
    other = heir(state)
    other.take_bell(1, os.dup(state.bell(1)))
    other.open_bells(4)
    assert [other.bell(at) >= 0 for at in range(5)] == [True, True, True, True, False]
    assert os.fstat(other.bell(1)).st_ino == os.fstat(state.bell(1)).st_ino


def test_memory_of_another_layout_is_refused_and_stays_as_it_is() -> None:
    state = SharedState(8, 4, grows=True)
    before = os.pread(state.file, 4096, 0)
    fd = os.dup(state.file)
    try:
        with pytest.raises(ValueError, match="found a shared state of another version"):
            SharedState(8, 5, grows=True, fd=fd)
        assert os.pread(fd, 4096, 0) == before
    finally:
        os.close(fd)


def test_file_that_is_too_short_is_refused() -> None:
    fd = os.memfd_create("test")
    try:
        os.write(fd, state_layout(8, 4))
        with pytest.raises(ValueError, match="another version"):
            SharedState(8, 4, grows=True, fd=fd)
    finally:
        os.close(fd)


def test_generations_are_those_of_all_workers_that_run() -> None:
    """A worker that died, or has not begun, has none; the newest is asked of one program's workers only."""
    state = SharedState(8, 4, grows=True)
    state.generation = 7
    assert state.oldest_generation() == 7
    state.note_generations(0, 3, 2)
    state.note_generations(OTHER, 7, 6)
    assert state.oldest_generation() == 2
    assert state.newest_generation(1, OTHER) == 7
    assert state.newest_generation(2, OTHER) == 0, "one of them does not run yet"
    state.worker_died(0)
    assert state.oldest_generation() == 6
