"""Each routing rule of PLUGIN.md 2 by name, on hand-made tables."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from tests.unit._fast.decide.conftest import Make
from wsproxy._fast.decide.match import Match

pytestmark = pytest.mark.asan

HOST = b"shop.example"


def named(*uris: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [(uri, b"JSESSIONID", b"jsessionid") for uri in uris]


def uri_scores(make: Make, uri: bytes, path: bytes) -> tuple[int, int] | None:
    """(score, exact) of one Uri alone, for any host."""
    found = make([], [named(uri)], [(-1, 0, 0)]).match_path(HOST, 80, path)
    return None if found is None else (found.score, found.exact)


def vhost_scores(
    make: Make, vhost: tuple[bytes, int], host: bytes, port: int
) -> tuple[int, int] | None:
    """(score, exact) of one VirtualHost alone, for any path."""
    found = make([[vhost]], [], [(0, -1, 0)]).match_path(host, port, b"/")
    return None if found is None else (found.score, found.exact)


def chosen(make: Make, uris: list[bytes], path: bytes) -> int:
    """Which of these one-Uri Routes takes the path."""
    table = make([], [named(uri) for uri in uris], [(-1, n, n) for n in range(len(uris))])
    found = table.match_path(HOST, 80, path)
    assert found is not None
    return found.route


def test_debug_log_of_2012_comes_out(make: Make) -> None:
    """The one real sample: `*:443` 1/0, `/Saba/*` 6/6, highScore 7, highExactMatch 6."""
    table = make([[(b"*", 443)]], [named(b"/Saba/*")], [(0, 0, 3)])
    assert table.match_path(b"dlp.deloitteresources.com", 443, b"/Saba/loginAsGuest.jsp") == Match(
        route=0,
        cluster=3,
        score=7,
        exact=6,
        uri_group=0,
        uri=0,
        vhost_group=0,
        vhost=0,
        cookie=b"JSESSIONID",
        url_id=b"jsessionid",
    )
    assert vhost_scores(make, (b"*", 443), b"dlp.deloitteresources.com", 443) == (1, 0)
    assert uri_scores(make, b"/Saba/*", b"/Saba/loginAsGuest.jsp") == (6, 6)


@pytest.mark.parametrize(
    ("uri", "path", "scores"),
    [
        (b"/a/b", b"/a/b", (4, 4)),
        (b"/a/b", b"/a/b/", None),
        (b"/a/b", b"/a", None),
        (b"/a/*", b"/a/b/c", (3, 3)),
        (b"/a/*", b"/a/", (3, 3)),
        (b"/a/*", b"/ab", None),
        (b"/a/b/*", b"/a/b", (4, 4)),
        (b"/x/*", b"/x", (2, 2)),
        (b"/*", b"/", (1, 1)),
        (b"/*", b"/deep/er", (1, 1)),
        (b"/*", b"*", None),
        (b"*", b"*", (0, 0)),
        (b"/a*", b"/abc", (2, 2)),
        (b"/a*", b"/a", (2, 2)),
        (b"/a*", b"/a/b", (2, 2)),
        (b"/a*", b"/b", None),
        (b"*.jsp", b"/shop/cart.jsp", (4, 0)),
        (b"*.jsp", b".jsp", (4, 0)),
        (b"*.jsp", b"/cart.jsp/more", None),
        (b"*.jsp", b"/cart.jspx", None),
        (b"*.tar.gz", b"/a.tar.gz", (7, 0)),
        (b"/app/*.jsp", b"/app/x/y.jsp", (9, 5)),
        (b"/app/*.jsp", b"/app/.jsp", (9, 5)),
        (b"/app/*.jsp", b"/app.jsp", None),
        (b"/ab*ba", b"/aba", None),  # prefix and suffix must not share characters
        (b"/ab*ba", b"/abba", (5, 3)),
        (b"/*/*", b"/a/b", None),
        (b"/**", b"/a", None),
    ],
)
def test_uri_scores(make: Make, uri: bytes, path: bytes, scores: tuple[int, int] | None) -> None:
    assert uri_scores(make, uri, path) == scores


@pytest.mark.parametrize(
    ("vhost", "host", "port", "scores"),
    [
        ((b"h", 80), b"h", 80, (1, 1)),
        ((b"h", 80), b"h", 81, None),
        ((b"h", 80), b"g", 80, None),
        ((b"h", -1), b"h", 81, (1, 0)),
        ((b"*", 443), b"h", 443, (1, 0)),
        ((b"*", 443), b"h", 80, None),
        ((b"*", -1), b"h", 80, (1, 0)),
        ((b"*", -1), b"", -1, (1, 0)),
        ((b"h", -1), b"h", -1, (1, 0)),
        ((b"h", 80), b"h", -1, None),
        ((b"::1", 80), b"::1", 80, (1, 1)),
        ((b"2001:db8::a", 80), b"2001:DB8::A", 80, (1, 1)),
        ((b"shop.example", 80), b"Shop.EXAMPLE", 80, (1, 1)),
        ((b"h", 80), b"*", 80, None),  # a client cannot send the wildcard
        ((b"h", 80), b"h" * 5000, 80, None),
    ],
)
def test_vhost_scores(
    make: Make, vhost: tuple[bytes, int], host: bytes, port: int, scores: tuple[int, int] | None
) -> None:
    assert vhost_scores(make, vhost, host, port) == scores


def test_route_without_groups_scores_nothing_and_takes_everything(make: Make) -> None:
    found = make([], [], [(-1, -1, 2)]).match_path(HOST, 80, b"/any")
    assert found == Match(0, 2, 0, 0, -1, -1, -1, -1, b"JSESSIONID", b"jsessionid")


def test_no_route_matches(make: Make) -> None:
    assert make([], [], []).match_path(HOST, 80, b"/") is None
    assert make([[]], [], [(0, -1, 0)]).match_path(HOST, 80, b"/") is None
    assert make([], [[]], [(-1, 0, 0)]).match_path(HOST, 80, b"/") is None


@pytest.mark.parametrize(
    "path", [b"/a/b;jsessionid=0000x:clone", b"/a/b?q=/c", b"/a/b;p?q", b"/a/b?q;p"]
)
def test_path_ends_at_semicolon_and_question_mark(make: Make, path: bytes) -> None:
    assert uri_scores(make, b"/a/b", path) == (4, 4)


def test_path_is_neither_decoded_nor_folded_nor_merged(make: Make) -> None:
    assert uri_scores(make, b"/a/*", b"/%61/x") is None
    assert uri_scores(make, b"/a/*", b"/A/x") is None
    assert uri_scores(make, b"/a/*", b"//a/x") is None
    assert uri_scores(make, b"*.jsp", b"/x.JSP") is None


@pytest.mark.parametrize(
    ("uris", "path", "winner"),
    [
        ([b"/*", b"/a/*", b"/a/b/*"], b"/a/b/c", 2),
        ([b"/a/b/*", b"/a/*", b"/*"], b"/a/b/c", 0),
        ([b"*.jsp", b"/a/*"], b"/a/x.jsp", 0),  # 4 beats 3
        ([b"*.jsp", b"/ab/*"], b"/ab/x.jsp", 1),  # 4 and 4: more of it exact
        ([b"/app/*", b"/app/*.jsp"], b"/app/x.jsp", 1),
        ([b"/a/*", b"/a/*"], b"/a/x", 0),  # a tie: the first Route
        ([b"/x/*", b"/x"], b"/x", 0),
        ([b"/x", b"/x/*"], b"/x", 0),
    ],
)
def test_highest_score_then_exact_then_first_route(
    make: Make, uris: list[bytes], path: bytes, winner: int
) -> None:
    assert chosen(make, uris, path) == winner


def test_exact_host_decides_between_equal_scores(make: Make) -> None:
    vhosts = [[(b"*", 80)], [(HOST, 80)]]
    table = make(vhosts, [named(b"/a/*")], [(0, 0, 0), (1, 0, 1)])
    found = table.match_path(HOST, 80, b"/a/x")
    assert found is not None
    assert (found.route, found.score, found.exact) == (1, 4, 4)


def test_longer_uri_beats_exact_host(make: Make) -> None:
    vhosts = [[(b"*", 80)], [(HOST, 80)]]
    table = make(vhosts, [named(b"/a/b/*"), named(b"/a/*")], [(0, 0, 0), (1, 1, 1)])
    found = table.match_path(HOST, 80, b"/a/b/x")
    assert found is not None
    assert (found.route, found.score, found.exact) == (0, 6, 5)


def test_vhost_point_beats_a_uri_of_the_same_length(make: Make) -> None:
    """The longest Uri is not always the best Route: a matched VirtualHost counts one character."""
    table = make([[(b"*", 80)]], [named(b"/a/*"), named(b"/a/b")], [(0, 0, 0), (-1, 1, 1)])
    found = table.match_path(HOST, 80, b"/a/b")
    assert found is not None
    assert (found.route, found.score, found.exact) == (1, 4, 4)


def test_search_goes_on_in_the_next_group_with_the_same_host(make: Make) -> None:
    """One VirtualHost in several groups: the group whose Route has a matching Uri counts."""
    groups = [[(b"*", 80)], [(b"*", 80)]]
    table = make(groups, [named(b"/a/*"), named(b"/b/*")], [(0, 0, 0), (1, 1, 1)])
    found = table.match_path(HOST, 80, b"/b/x")
    assert found is not None
    assert (found.route, found.vhost_group) == (1, 1)


def test_affinity_names_are_those_of_the_uri_that_decided(make: Make) -> None:
    uris = [
        (b"/*", b"ROOTCOOKIE", b"rootid"),
        (b"/shop/*", b"SHOPCOOKIE", b"shopid"),
        (b"/other/*", b"OTHER", b"other"),
    ]
    table = make([], [uris], [(-1, 0, 0)])
    for path, uri in [(b"/x", 0), (b"/shop/x", 1), (b"/shop", 1), (b"/other/x", 2)]:
        found = table.match_path(HOST, 80, path)
        assert found is not None
        assert (found.uri, found.cookie, found.url_id) == (uri, *uris[uri][1:])


def test_named_vhost_is_the_most_exact_then_the_first(make: Make) -> None:
    group = [(b"*", -1), (b"*", 80), (HOST, -1), (HOST, 80)]
    table = make([group], [], [(0, -1, 0)])
    asked = [(HOST, 80, 3), (HOST, 81, 0), (b"other", 80, 0)]
    for host, port, vhost in asked:
        found = table.match_path(host, port, b"/")
        assert found is not None
        assert found.vhost == vhost


def test_route_alone_is_scored_even_where_another_wins(make: Make) -> None:
    table = make([], [named(b"/*"), named(b"/a/*")], [(-1, 0, 0), (-1, 1, 1), (-1, 1, 2)])
    own = [table.match_route(number, HOST, 80, b"/a/x") for number in range(3)]
    assert [each and (each.route, each.score) for each in own] == [(0, 1), (1, 3), (2, 3)]
    assert table.match_route(1, HOST, 80, b"/b") is None


@pytest.mark.parametrize("number", [-1, 1])
def test_route_out_of_range_is_refused(make: Make, number: int) -> None:
    with pytest.raises(ValueError, match="allowed is 0 to 0"):
        make([], [], [(-1, -1, 0)]).match_route(number, HOST, 80, b"/")


def test_long_paths_and_many_slashes_are_walked_only_as_far_as_patterns_reach(make: Make) -> None:
    table = make([], [named(b"/a/*", b"*.jsp", b"/")], [(-1, 0, 0)])
    assert table.match_path(HOST, 80, b"/" * 100_000) is None
    found = table.match_path(HOST, 80, b"/a/" + b"/" * 100_000 + b".jsp")
    assert found is not None
    assert (found.score, found.exact) == (4, 0)


def test_matching_allocates_no_python_memory(make: Make) -> None:
    table = make(
        [[(b"*", 80)]], [named(b"/a/*", b"*.jsp", b"/a/*.do", b"/x")], [(0, 0, 0), (-1, -1, 1)]
    )
    asked = [(HOST, 80, b"/a/b.jsp"), (HOST, 81, b"/x"), (b"", -1, b"")]
    tracemalloc.start()
    try:
        grown = [_growth_of(lambda: table.count_matches(asked, 10_000)) for _ in range(3)]
    finally:
        tracemalloc.stop()
    # The list of queries laid out in C, the number answered; not 10,000 of anything. The least of three: the threads of
    # pytest-xdist allocate when they like, the matcher would each time.
    assert min(grown) < 1000


def _growth_of(work: Callable[[], int]) -> int:
    """Bytes of Python's memory that it took at most, beyond what was there."""
    assert work() == 30_000
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert work() == 30_000
    _, peak = tracemalloc.get_traced_memory()
    return peak - before


def test_a_last_dot_is_no_part_of_the_host(make: Make) -> None:
    """One only, and not of a host that is nothing else."""
    table = make([[(b"shop.example", 80)], [(b".", 80)]], [], [(0, -1, 0), (1, -1, 1)])
    found = {
        host: None if (match := table.match_path(host, 80, b"/")) is None else match.route
        for host in (
            b"shop.example",
            b"SHOP.example.",
            b"shop.example..",
            b"shop.exampl.",
            b".",
            b"",
        )
    }
    assert found == {
        b"shop.example": 0,
        b"SHOP.example.": 0,
        b"shop.example..": None,
        b"shop.exampl.": None,
        b".": 1,
        b"": None,
    }
