"""What only many requests together tell: whose sessions a clone id that no server has were."""

from __future__ import annotations

import pytest

from tests.support.plugin_log import make_world
from wsproxy.logs.access_reader import read_record
from wsproxy.logs.plugin_reader import Reading
from wsproxy.replay.replay import Replay
from wsproxy.replay.verdict import Conclusion, conclude


def concluded(*requests: tuple[str, str, int]) -> Conclusion:
    """After so many requests each of (clone id, server, how many)."""
    world = make_world()
    replay = Replay(world, Reading(), lambda _: None)
    for clone, server, count in requests:
        line = (
            'h - - [13/Jun/2015:10:32:04 -0400] "GET /shop/a HTTP/1.1" 200 5'
            f' JSESSIONID="0000a:{clone}" WAS={server}:9443'
        )
        record = read_record(1, line.encode(), "common")
        assert record is not None
        for _ in range(count):
            replay.take_access(record, b"www.example.com", 443)
    replay.end()
    return conclude(replay, world.config, is_access=True)


OTHERS = (("k1", "h1", 30), ("k2", "h2", 30))


def test_requests_that_kept_to_one_server_had_their_sessions_there() -> None:
    end = concluded(*OTHERS, ("k7", "h1", 18), ("k7", "h2", 2))
    assert end.lost == 20
    assert "18 of them went to n_s1: sessions of that clone id are lost" in end.notes[0]


@pytest.mark.parametrize(
    "strangers",
    [
        pytest.param([("k7", "h1", 17), ("k7", "h2", 3)], id="spread"),
        pytest.param([("k7", "h1", 9)], id="few"),
    ],
)
def test_what_may_be_chance_is_said_and_lost_is_nothing(
    strangers: list[tuple[str, str, int]],
) -> None:
    end = concluded(*OTHERS, *strangers)
    assert (end.lost, end.nothing) == (0, "")
    assert end.notes[0].startswith("no Server of shop has the clone id k7, which ")


def test_a_server_that_has_nearly_all_requests_has_these_by_its_turn() -> None:
    assert concluded(("k1", "h1", 70), ("k2", "h2", 30), ("k7", "h1", 20)).lost == 0
    assert concluded(("k1", "h1", 60), ("k2", "h2", 40), ("k7", "h1", 20)).lost == 20


def test_more_clone_ids_than_anybody_reads_are_a_number() -> None:
    end = concluded(*OTHERS, *((f"k{at}", "h1", 1) for at in range(10, 18)))
    assert len(end.strangers) == 8
    assert len(end.notes) == 6
    assert end.notes[-1] == "3 more clone ids are no Server's (--json has them)"
