"""Rows of a RouteTable are read, or refused before anything is built."""

from __future__ import annotations

import gc

import pytest

from tests.unit._fast.decide.conftest import Make
from wsproxy._fast.decide.match import RouteTable

pytestmark = pytest.mark.asan


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([], [], [(0, -1, 0)]), "VirtualHostGroup 0; allowed is -1 to -1"),
        (([[]], [], [(-2, -1, 0)]), "VirtualHostGroup -2; allowed is -1 to 0"),
        (([], [[]], [(-1, 1, 0)]), "UriGroup 1; allowed is -1 to 0"),
        (([], [[]], [(-1, -2, 0)]), "UriGroup -2"),
        (([], [], [(-1, -1, -1)]), "cluster -1"),
        (([[(b"h", -2)]], [], [(0, -1, 0)]), "port -2"),
    ],
)
def test_rows_with_wrong_numbers_are_refused(
    rows: tuple[
        list[list[tuple[bytes, int]]],
        list[list[tuple[bytes, bytes, bytes]]],
        list[tuple[int, int, int]],
    ],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        RouteTable(*rows)


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(TypeError):
        RouteTable([[("text", 80)]], [], [(0, -1, 0)])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        RouteTable([], [[(b"/a", "text", b"x")]], [(-1, 0, 0)])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        RouteTable(None, [], [])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RouteTable([], [], [(-1, -1, 0)]).match_path(None, 80, b"/")  # type: ignore[arg-type]


def test_number_beyond_32_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        RouteTable([], [], [(-1, -1, 1 << 40)])


def test_affinity_names_outlive_the_rows(make: Make) -> None:
    def build() -> RouteTable:
        names = [(b"/%d/*" % n, b"COOKIE%d" % n, b"id%d" % n) for n in range(1000)]
        return make([[(b"host%d" % n, 80) for n in range(1000)]], [names], [(0, 0, 0)])

    table = build()
    gc.collect()
    for number in range(0, 1000, 37):
        found = table.match_path(b"HOST%d" % number, 80, b"/%d/x" % number)
        assert found is not None
        assert (found.cookie, found.url_id) == (b"COOKIE%d" % number, b"id%d" % number)
        assert (found.uri, found.vhost) == (number, number)
