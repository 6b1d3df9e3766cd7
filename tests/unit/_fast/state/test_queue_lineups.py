"""Two configurations on one queue: places of servers in the one are not those in the other, and who came first is first."""

from __future__ import annotations

import pytest

from tests.support.applied import applied
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState, now_ms

pytestmark = pytest.mark.asan

NONE_REACHABLE, ALL_FULL, WAITS = -1, -2, -3
USABLE = 0
MOST_LINEUPS = 16


@pytest.fixture
def state() -> SharedState:
    return SharedState(300, 2)


def make(state: SharedState, names: str, *, size: int = 100, last_chance: bool = True) -> Cluster:
    """A server a letter, each for one request."""
    rows: list[tuple[str, str | None, int, int]] = [(name, name, 1, 1) for name in names]
    return applied(
        Cluster(
            state, "c", rows, list(range(len(rows))), [], queue_size=size, last_chance=last_chance
        )
    )


def fill(cluster: Cluster) -> None:
    """Every place is taken, by worker 0."""
    for server in range(len(cluster.server_names)):
        assert cluster.take_server(server, 0, now_ms()) == USABLE


def join(cluster: Cluster, wanted: str = "", tried: str = "") -> int:
    at = cluster.server_names.index
    server, ticket = cluster.join_queue(1, now_ms(), at(wanted) if wanted else -1, map(at, tried))
    assert server == WAITS
    return ticket


def free(cluster: Cluster, name: str) -> None:
    cluster.release_server(cluster.server_names.index(name), 0)


def turn(cluster: Cluster, ticket: int) -> str:
    """The server that it is given; empty: it waits on."""
    server = cluster.take_queue_turn(ticket, 1)
    assert server >= 0 or server == WAITS
    return "" if server == WAITS else cluster.server_names[server]


def states(cluster: Cluster) -> dict[str, tuple[int, int]]:
    found = {}
    for at, name in enumerate(cluster.server_names):
        slot = cluster.server_state(at)
        found[name] = slot["inflight"], slot["granted"]
    return found


def test_each_is_given_its_own_number_of_the_server(state: SharedState) -> None:
    old = make(state, "ab")
    fill(old)
    first = join(old)
    new = make(state, "xyb")
    new.take_server(0, 0, now_ms())
    new.take_server(1, 0, now_ms())
    second = join(new)
    free(new, "b")
    assert turn(new, second) == ""
    assert states(new)["b"] == (0, 1)
    assert turn(old, first) == "b"
    assert states(old) == {"a": (1, 0), "b": (1, 0)}
    old.release_server(1, 1)  # by who waited
    assert turn(new, second) == "b"
    assert new.queue_length == 0


def test_server_that_only_the_other_one_has_is_given_to_nobody_else(state: SharedState) -> None:
    old = make(state, "ab")
    fill(old)
    first = join(old)
    new = make(state, "x")
    fill(new)
    second = join(new)
    free(new, "x")
    assert turn(old, first) == ""
    assert turn(new, second) == "x"
    free(old, "a")
    assert turn(old, first) == "a"


def test_where_it_failed_already_nobody_sends_it_again(state: SharedState) -> None:
    old = make(state, "ab")
    fill(old)
    first = join(old, tried="b")
    new = make(state, "ba")
    free(new, "b")
    assert turn(old, first) == ""
    assert states(new)["b"] == (0, 0)
    free(new, "a")
    assert turn(old, first) == "a"


def test_who_wants_one_server_is_given_that_one(state: SharedState) -> None:
    old = make(state, "abc")
    fill(old)
    first = join(old, wanted="c")
    gone = join(old, wanted="a")
    new = make(state, "cb")
    free(new, "b")
    assert turn(old, first) == ""
    free(new, "c")
    assert turn(old, first) == "c"
    assert turn(old, gone) == ""
    free(old, "a")
    assert turn(old, gone) == "a"


def test_nothing_left_to_wait_for_is_said_by_its_own_configuration(state: SharedState) -> None:
    """All servers of the new one are down, which says nothing about those of the old one; and the other way round."""
    old = make(state, "a", last_chance=False)
    fill(old)
    first = join(old)
    new = make(state, "b", last_chance=False)
    fill(new)
    second = join(new)
    new.set_down(0, 0, now_ms())
    free(new, "b")
    assert turn(old, first) == ""
    assert new.take_queue_turn(second, 1) == NONE_REACHABLE
    old.set_down(0, 0, now_ms())
    free(old, "a")
    assert old.take_queue_turn(first, 1) == NONE_REACHABLE


def test_one_without_a_queue_wakes_who_waits_in_that_of_another(state: SharedState) -> None:
    old = make(state, "a")
    fill(old)
    first = join(old)
    new = make(state, "a", size=0)
    assert not new.has_queue
    assert new.join_queue(1, now_ms()) == (ALL_FULL, 0)
    assert new.take_server(0, 0, now_ms()) != USABLE
    free(new, "a")
    assert new.take_server(0, 0, now_ms()) != USABLE  # it belongs to who waits
    assert turn(old, first) == "a"


def test_more_configurations_than_can_wait_are_like_a_queue_that_is_full(
    state: SharedState,
) -> None:
    """One more waits when nobody does any more by one of the others."""
    names = "abcdefghijklmnopqrst"
    clusters = [make(state, names[:count]) for count in range(1, MOST_LINEUPS + 2)]
    fill(clusters[-1])
    tickets = [join(cluster) for cluster in clusters[:-1]]
    assert clusters[-1].join_queue(1, now_ms()) == (ALL_FULL, 0)
    assert join(clusters[4]) > 0  # of one that is there
    clusters[7].leave_queue(tickets[7], 1, now_ms())
    last = join(clusters[-1])
    free(clusters[-1], names[MOST_LINEUPS])  # a server that only the last one has
    assert turn(clusters[-1], last) == names[MOST_LINEUPS]
    assert [turn(clusters[at], tickets[at]) for at in (0, 8)] == ["", ""]


def test_the_largest_cluster_has_a_lineup(state: SharedState) -> None:
    rows: list[tuple[str, str | None, int, int]] = [(f"s{at}", None, 1, 1) for at in range(256)]
    old = applied(Cluster(state, "c", rows, list(range(256)), [], queue_size=9))
    fill(old)
    first = join(old)
    new = applied(Cluster(state, "c", rows[::-1], list(range(256)), [], queue_size=9))
    new.release_server(0, 0)
    assert turn(old, first) == "s255"
