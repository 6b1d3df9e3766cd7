"""The columns of heat: what is reckoned for each half minute, and that no more is kept than there is room for."""

from __future__ import annotations

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
