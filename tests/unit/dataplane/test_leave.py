"""How many tunnels of a worker that is replaced still live."""

from __future__ import annotations

import pytest

from wsproxy.dataplane.leave import tunnels_left

ALL = 1 << 20


@pytest.mark.parametrize(
    ("passed_s", "left"),
    [
        (0, ALL),
        (4.9, ALL),
        (5, 10),
        (5.1, 10),
        (6, 8),
        (7.5, 5),
        (9.4, 2),
        (9.9, 1),
        (10, 0),
        (11, 0),
    ],
)
def test_tunnels_end_evenly_in_the_second_half(passed_s: float, left: int) -> None:
    assert min(tunnels_left(10, passed_s, 10.0), ALL) == left


def test_without_time_none_lives() -> None:
    assert tunnels_left(10, 0.0, 0.0) == 0
