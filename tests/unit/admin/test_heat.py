"""The columns of heat: what is reckoned for each half minute, and that no more is kept than there is room for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from wsproxy.admin.control_messages import ServerStatus
from wsproxy.admin.heat import MOST_COLUMNS, MOST_SERVERS, STEP_S, Heat


def row(
    server: str, requests: int = 0, errors: int = 0, answers: int = 0, total_ms: float = 0.0
) -> ServerStatus:
    return ServerStatus(
        "farm", server, "127.0.0.1:1", "primary", "c1", "up", "", "", "", "", "", False, 0.0, 1, 1, -1, -1,
        "", "", "", 0, 0, -1.0, requests, 0, 0.0, errors, answers=answers, latency_total_ms=total_ms,
    )  # fmt: skip


def test_column_is_what_came_since_the_last_one() -> None:
    heat = Heat()
    heat.take([row("s1", 10, 1, 9, 90.0)], 0.0)
    assert heat.answer(0, 0.0).servers[0].requests == []
    heat.take([row("s1", 14, 2, 12, 120.0)], 30.0)
    heat.take([row("s1", 14, 2, 12, 120.0)], 60.0)
    found = heat.answer(0, 61.5)
    assert (found.last, found.age_s, found.step_s) == (2, 1.5, STEP_S)
    only = found.servers[0]
    assert (only.requests, only.errors, only.latency_ms) == ([4.0, 0.0], [1.0, 0.0], [10.0, -1.0])


def test_only_what_is_new_is_told() -> None:
    heat = Heat()
    for number in range(5):
        heat.take([row("s1", number * number)], 30.0 * number)
    assert heat.answer(2, 150.0).servers[0].requests == [5.0, 7.0]
    assert heat.answer(4, 150.0).servers[0].requests == []
    assert heat.answer(99, 150.0).servers[0].requests == []


def test_oldest_columns_give_way() -> None:
    heat = Heat()
    for number in range(MOST_COLUMNS + 11):
        heat.take([row("s1", number * (number + 1) // 2)], 30.0 * number)
    found = heat.answer(0, 0.0)
    assert found.last == MOST_COLUMNS + 10
    assert found.servers[0].requests == [float(each) for each in range(11, MOST_COLUMNS + 11)]


def test_new_server_begins_with_its_second_look_and_a_removed_one_ends() -> None:
    heat = Heat()
    heat.take([row("s1", 1)], 0.0)
    heat.take([row("s1", 3), row("s2", 100)], 30.0)
    heat.take([row("s2", 101)], 60.0)
    (left,) = heat.answer(0, 60.0).servers
    assert (left.server, left.requests) == ("s2", [-1.0, 1.0])
    heat.take([row("s1", 9), row("s2", 101)], 90.0)  # the same name, but what it did before is gone
    assert heat.answer(2, 90.0).servers[0].requests == [-1.0]


def test_counts_that_begin_anew_are_no_negative_numbers() -> None:
    heat = Heat()
    heat.take([row("s1", 50, 5, 50, 500.0)], 0.0)
    heat.take([row("s1", 2, 0, 2, 8.0)], 30.0)
    only = heat.answer(0, 30.0).servers[0]
    assert (only.requests, only.errors, only.latency_ms) == ([0.0], [0.0], [-1.0])


def test_servers_beyond_the_limit_are_counted_and_not_kept() -> None:
    heat = Heat()
    many = [row(f"s{number}") for number in range(MOST_SERVERS + 3)]
    heat.take(many, 0.0)
    heat.take([*many, many[0]], 30.0)
    found = heat.answer(0, 30.0)
    assert (len(found.servers), found.left_out) == (MOST_SERVERS, 3)


@pytest.fixture
def file() -> Iterator[int]:
    made = os.memfd_create("heat")
    yield made
    os.close(made)


def test_another_process_goes_on_with_what_is_kept(file: int) -> None:
    """Its first look ends a column, if the last one is old enough."""
    heat = Heat(file)
    for number in range(4):
        heat.take([row("s1", 10 * number)], 30.0 * number)
    after = Heat(file)
    assert after.answer(0, 90.0) == heat.answer(0, 90.0)
    after.take([row("s1", 32)], 91.0)
    assert after.last == 3
    after.take([row("s1", 45)], 121.0)
    found = after.answer(0, 121.0)
    assert (found.last, found.servers[0].requests) == (4, [10.0, 10.0, 10.0, 15.0])


def test_time_without_a_process_stays_empty(file: int) -> None:
    """And what was counted meanwhile is no column's: it would look like a storm."""
    heat = Heat(file)
    for number in range(3):
        heat.take([row("s1", number), row("s2")], 30.0 * number)
    after = Heat(file)
    after.take([row("s1", 5000), row("s2")], 60.0 + 5 * 30.0)
    after.take([row("s1", 5007), row("s2")], 60.0 + 6 * 30.0)
    found = after.answer(0, 240.0)
    assert found.servers[0].requests == [1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 7.0]
    assert found.last == 8
    late = Heat(file)
    late.take([row("s1", 1), row("s2")], 1e9)
    assert set(late.answer(0, 1e9).servers[0].requests) == {-1.0}
    assert late.last == 8 + MOST_COLUMNS + 1


@pytest.mark.parametrize("cut", [1, 9, 12, 200, -1])
def test_what_is_half_written_or_of_another_version_begins_anew(file: int, cut: int) -> None:
    heat = Heat(file)
    for number in range(3):
        heat.take([row("s1", number)], 30.0 * number)
    data = os.pread(file, 1 << 20, 0)
    os.ftruncate(file, 0)
    os.pwrite(file, data[:cut] if cut >= 0 else data.replace(b"heat 1", b"heat 2"), 0)
    anew = Heat(file)
    assert anew.last == 0
    anew.take([row("s1", 7)], 90.0)
    anew.take([row("s1", 9)], 120.0)
    assert anew.answer(0, 120.0).servers[0].requests == [2.0]


def test_most_servers_stay_within_what_is_read(file: int) -> None:
    heat = Heat(file)
    heat.take([row("s" * 100 + str(number)) for number in range(MOST_SERVERS + 1)], 0.0)
    assert os.fstat(file).st_size < 3_000_000
    assert len(Heat(file).answer(0, 0.0).servers) == MOST_SERVERS
