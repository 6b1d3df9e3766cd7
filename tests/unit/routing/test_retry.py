"""Every cell of the retry table (PLUGIN.md 5.1, 5.4)."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from wsproxy.routing.retry import Failure, Next, Ruling, Try, decide_retry, decide_status

SAME, OTHER, UP = Next.SAME_SERVER, Next.OTHER_SERVER, Next.GIVE_UP

# (failure, reused connection, replayable, ServerIOTimeout negative) -> (next, marked down, status where nothing is left)
TABLE: dict[tuple[Failure, bool, bool, bool], tuple[Next, bool, int]] = {
    (Failure.CONNECT, False, False, False): (OTHER, True, 503),
    (Failure.CONNECT, False, False, True): (OTHER, True, 503),
    (Failure.CONNECT, False, True, False): (OTHER, True, 503),
    (Failure.CONNECT, False, True, True): (OTHER, True, 503),
    (Failure.CONNECT, True, False, False): (OTHER, True, 503),
    (Failure.CONNECT, True, False, True): (OTHER, True, 503),
    (Failure.CONNECT, True, True, False): (OTHER, True, 503),
    (Failure.CONNECT, True, True, True): (OTHER, True, 503),
    (Failure.BAD_RESPONSE, False, False, False): (UP, False, 502),
    (Failure.BAD_RESPONSE, False, False, True): (UP, False, 502),
    (Failure.BAD_RESPONSE, False, True, False): (UP, False, 502),
    (Failure.BAD_RESPONSE, False, True, True): (UP, False, 502),
    (Failure.BAD_RESPONSE, True, False, False): (UP, False, 502),
    (Failure.BAD_RESPONSE, True, False, True): (UP, False, 502),
    (Failure.BAD_RESPONSE, True, True, False): (UP, False, 502),
    (Failure.BAD_RESPONSE, True, True, True): (UP, False, 502),
    (Failure.CLOSED_EARLY, False, False, False): (UP, False, 500),
    (Failure.CLOSED_EARLY, False, False, True): (UP, True, 500),
    (Failure.CLOSED_EARLY, False, True, False): (OTHER, False, 502),
    (Failure.CLOSED_EARLY, False, True, True): (OTHER, True, 502),
    (Failure.CLOSED_EARLY, True, False, False): (UP, False, 500),
    (Failure.CLOSED_EARLY, True, False, True): (UP, False, 500),
    (Failure.CLOSED_EARLY, True, True, False): (SAME, False, 502),
    (Failure.CLOSED_EARLY, True, True, True): (SAME, False, 502),
    (Failure.IO_TIMEOUT, False, False, False): (UP, False, 504),
    (Failure.IO_TIMEOUT, False, False, True): (UP, True, 504),
    (Failure.IO_TIMEOUT, False, True, False): (OTHER, False, 504),
    (Failure.IO_TIMEOUT, False, True, True): (OTHER, True, 504),
    (Failure.IO_TIMEOUT, True, False, False): (UP, False, 504),
    (Failure.IO_TIMEOUT, True, False, True): (UP, True, 504),
    (Failure.IO_TIMEOUT, True, True, False): (OTHER, False, 504),
    (Failure.IO_TIMEOUT, True, True, True): (OTHER, True, 504),
    (Failure.BUSY, False, False, False): (UP, False, 0),
    (Failure.BUSY, False, False, True): (UP, False, 0),
    (Failure.BUSY, False, True, False): (OTHER, False, 0),
    (Failure.BUSY, False, True, True): (OTHER, False, 0),
    (Failure.BUSY, True, False, False): (UP, False, 0),
    (Failure.BUSY, True, False, True): (UP, False, 0),
    (Failure.BUSY, True, True, False): (OTHER, False, 0),
    (Failure.BUSY, True, True, True): (OTHER, False, 0),
    (Failure.SERVER_ERROR, False, False, False): (UP, True, 0),
    (Failure.SERVER_ERROR, False, False, True): (UP, True, 0),
    (Failure.SERVER_ERROR, False, True, False): (OTHER, True, 0),
    (Failure.SERVER_ERROR, False, True, True): (OTHER, True, 0),
    (Failure.SERVER_ERROR, True, False, False): (UP, True, 0),
    (Failure.SERVER_ERROR, True, False, True): (UP, True, 0),
    (Failure.SERVER_ERROR, True, True, False): (OTHER, True, 0),
    (Failure.SERVER_ERROR, True, True, True): (OTHER, True, 0),
}


def a_try(
    failure: Failure,
    reused: bool,
    replayable: bool,
    marks_down: bool,
    *,
    retries: int = 0,
    most: int = -1,
) -> Try:
    return Try(failure, reused, replayable, marks_down, retries, most)


def test_the_table_is_whole() -> None:
    flags = [False, True]
    assert set(TABLE) == set(itertools.product(Failure, flags, flags, flags))


@pytest.mark.parametrize("cell", TABLE, ids=str)
def test_ruling_is_the_tables(cell: tuple[Failure, bool, bool, bool]) -> None:
    where, mark_down, status = TABLE[cell]
    assert decide_retry(a_try(*cell)) == Ruling(where, mark_down, status)


@pytest.mark.parametrize(
    ("retries", "most", "where"),
    [(0, -1, OTHER), (9, -1, OTHER), (0, 0, UP), (0, 1, OTHER), (1, 1, UP), (2, 1, UP), (1, 2, OTHER)],
)  # fmt: skip
@pytest.mark.parametrize("marks_down", [True, False])
def test_server_io_timeout_retry_limits_retries_after_timeouts(
    retries: int, most: int, where: Next, marks_down: bool
) -> None:
    failed = a_try(Failure.IO_TIMEOUT, False, True, marks_down, retries=retries, most=most)
    assert decide_retry(failed) == Ruling(where, marks_down, 504)


@pytest.mark.parametrize("failure", [each for each in Failure if each is not Failure.IO_TIMEOUT])
def test_server_io_timeout_retry_means_nothing_to_other_failures(failure: Failure) -> None:
    cell = (failure, False, True, False)
    assert decide_retry(a_try(*cell, retries=5, most=0)) == decide_retry(a_try(*cell))


@pytest.mark.parametrize("cell", TABLE, ids=str)
def test_strict_once_repeats_nothing_and_judges_the_server_all_the_same(
    cell: tuple[Failure, bool, bool, bool],
) -> None:
    """Only a failed connect goes on: there nothing was sent."""
    where, mark_down, status = TABLE[cell]
    strict = dataclasses.replace(a_try(*cell), may_not_repeat=True)
    if cell[0] is not Failure.CONNECT:
        where = UP
    assert decide_retry(strict) == Ruling(where, mark_down, status)


@pytest.mark.parametrize(
    ("status", "full", "precise", "plugin"),
    [(500, False, 500, 500), (502, False, 502, 500), (503, False, 503, 500), (504, False, 504, 500), (503, True, 503, 503)],
)  # fmt: skip
def test_status_of_a_failure(status: int, full: bool, precise: int, plugin: int) -> None:
    """The plug-in's only status of its own besides 500 is for MaxConnections."""
    assert decide_status(status, "precise", full=full) == precise
    assert decide_status(status, "plugin", full=full) == plugin
