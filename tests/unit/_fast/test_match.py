"""Each routing rule of PLUGIN.md 2 by name, on hand-made tables."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from wsproxy._fast.match import Match, RouteTable

pytestmark = pytest.mark.asan

HOST = b"shop.example"


def named(*uris: bytes) -> list[tuple[bytes, bytes, bytes]]:
    return [(uri, b"JSESSIONID", b"jsessionid") for uri in uris]


def uri_scores(uri: bytes, path: bytes) -> tuple[int, int] | None:
    """(score, exact) of one Uri alone, for any host."""
    found = RouteTable([], [named(uri)], [(-1, 0, 0)]).match_path(HOST, 80, path)
    return None if found is None else (found.score, found.exact)


def vhost_scores(vhost: tuple[bytes, int], host: bytes, port: int) -> tuple[int, int] | None:
    """(score, exact) of one VirtualHost alone, for any path."""
    found = RouteTable([[vhost]], [], [(0, -1, 0)]).match_path(host, port, b"/")
    return None if found is None else (found.score, found.exact)


def chosen(uris: list[bytes], path: bytes) -> int:
    """Which of these one-Uri Routes takes the path."""
    table = RouteTable([], [named(uri) for uri in uris], [(-1, n, n) for n in range(len(uris))])
    found = table.match_path(HOST, 80, path)
    assert found is not None
    return found.route


def test_debug_log_of_2012_comes_out() -> None:
    """The one real sample: `*:443` 1/0, `/Saba/*` 6/6, highScore 7, highExactMatch 6."""
    table = RouteTable([[(b"*", 443)]], [named(b"/Saba/*")], [(0, 0, 3)])
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
    assert vhost_scores((b"*", 443), b"dlp.deloitteresources.com", 443) == (1, 0)
    assert uri_scores(b"/Saba/*", b"/Saba/loginAsGuest.jsp") == (6, 6)


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
def test_uri_scores(uri: bytes, path: bytes, scores: tuple[int, int] | None) -> None:
    assert uri_scores(uri, path) == scores


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
    vhost: tuple[bytes, int], host: bytes, port: int, scores: tuple[int, int] | None
) -> None:
    assert vhost_scores(vhost, host, port) == scores


def test_route_without_groups_scores_nothing_and_takes_everything() -> None:
    found = RouteTable([], [], [(-1, -1, 2)]).match_path(HOST, 80, b"/any")
    assert found == Match(0, 2, 0, 0, -1, -1, -1, -1, b"JSESSIONID", b"jsessionid")


def test_no_route_matches() -> None:
    assert RouteTable([], [], []).match_path(HOST, 80, b"/") is None
    assert RouteTable([[]], [], [(0, -1, 0)]).match_path(HOST, 80, b"/") is None
    assert RouteTable([], [[]], [(-1, 0, 0)]).match_path(HOST, 80, b"/") is None


@pytest.mark.parametrize(
    "path", [b"/a/b;jsessionid=0000x:clone", b"/a/b?q=/c", b"/a/b;p?q", b"/a/b?q;p"]
)
def test_path_ends_at_semicolon_and_question_mark(path: bytes) -> None:
    assert uri_scores(b"/a/b", path) == (4, 4)


def test_path_is_neither_decoded_nor_folded_nor_merged() -> None:
    assert uri_scores(b"/a/*", b"/%61/x") is None
    assert uri_scores(b"/a/*", b"/A/x") is None
    assert uri_scores(b"/a/*", b"//a/x") is None
    assert uri_scores(b"*.jsp", b"/x.JSP") is None


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
    uris: list[bytes], path: bytes, winner: int
) -> None:
    assert chosen(uris, path) == winner


def test_exact_host_decides_between_equal_scores() -> None:
    vhosts = [[(b"*", 80)], [(HOST, 80)]]
    table = RouteTable(vhosts, [named(b"/a/*")], [(0, 0, 0), (1, 0, 1)])
    found = table.match_path(HOST, 80, b"/a/x")
    assert found is not None
    assert (found.route, found.score, found.exact) == (1, 4, 4)


def test_longer_uri_beats_exact_host() -> None:
    vhosts = [[(b"*", 80)], [(HOST, 80)]]
    table = RouteTable(vhosts, [named(b"/a/b/*"), named(b"/a/*")], [(0, 0, 0), (1, 1, 1)])
    found = table.match_path(HOST, 80, b"/a/b/x")
    assert found is not None
    assert (found.route, found.score, found.exact) == (0, 6, 5)


def test_vhost_point_beats_a_uri_of_the_same_length() -> None:
    """The longest Uri is not always the best Route: a matched VirtualHost counts one character."""
    table = RouteTable([[(b"*", 80)]], [named(b"/a/*"), named(b"/a/b")], [(0, 0, 0), (-1, 1, 1)])
    found = table.match_path(HOST, 80, b"/a/b")
    assert found is not None
    assert (found.route, found.score, found.exact) == (1, 4, 4)


def test_search_goes_on_in_the_next_group_with_the_same_host() -> None:
    """One VirtualHost in several groups: the group whose Route has a matching Uri counts."""
    groups = [[(b"*", 80)], [(b"*", 80)]]
    table = RouteTable(groups, [named(b"/a/*"), named(b"/b/*")], [(0, 0, 0), (1, 1, 1)])
    found = table.match_path(HOST, 80, b"/b/x")
    assert found is not None
    assert (found.route, found.vhost_group) == (1, 1)


def test_affinity_names_are_those_of_the_uri_that_decided() -> None:
    uris = [
        (b"/*", b"ROOTCOOKIE", b"rootid"),
        (b"/shop/*", b"SHOPCOOKIE", b"shopid"),
        (b"/other/*", b"OTHER", b"other"),
    ]
    table = RouteTable([], [uris], [(-1, 0, 0)])
    for path, uri in [(b"/x", 0), (b"/shop/x", 1), (b"/shop", 1), (b"/other/x", 2)]:
        found = table.match_path(HOST, 80, path)
        assert found is not None
        assert (found.uri, found.cookie, found.url_id) == (uri, *uris[uri][1:])


def test_first_of_equal_uris_in_a_group_gives_the_names() -> None:
    uris = [(b"/a/*", b"FIRST", b"first"), (b"/a/*", b"SECOND", b"second")]
    found = RouteTable([], [uris], [(-1, 0, 0)]).match_path(HOST, 80, b"/a/x")
    assert found is not None
    assert (found.uri, found.cookie) == (0, b"FIRST")


def test_named_vhost_is_the_most_exact_then_the_first() -> None:
    group = [(b"*", -1), (b"*", 80), (HOST, -1), (HOST, 80)]
    table = RouteTable([group], [], [(0, -1, 0)])
    asked = [(HOST, 80, 3), (HOST, 81, 0), (b"other", 80, 0)]
    for host, port, vhost in asked:
        found = table.match_path(host, port, b"/")
        assert found is not None
        assert found.vhost == vhost


def test_route_alone_is_scored_even_where_another_wins() -> None:
    table = RouteTable([], [named(b"/*"), named(b"/a/*")], [(-1, 0, 0), (-1, 1, 1), (-1, 1, 2)])
    own = [table.match_route(number, HOST, 80, b"/a/x") for number in range(3)]
    assert [each and (each.route, each.score) for each in own] == [(0, 1), (1, 3), (2, 3)]
    assert table.match_route(1, HOST, 80, b"/b") is None


@pytest.mark.parametrize("number", [-1, 1])
def test_route_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="allowed is 0 to 0"):
        RouteTable([], [], [(-1, -1, 0)]).match_route(number, HOST, 80, b"/")


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


def test_affinity_names_outlive_the_rows() -> None:
    def build() -> RouteTable:
        names = [(b"/%d/*" % n, b"COOKIE%d" % n, b"id%d" % n) for n in range(1000)]
        return RouteTable([[(b"host%d" % n, 80) for n in range(1000)]], [names], [(0, 0, 0)])

    table = build()
    gc.collect()
    for number in range(0, 1000, 37):
        found = table.match_path(b"HOST%d" % number, 80, b"/%d/x" % number)
        assert found is not None
        assert (found.cookie, found.url_id) == (b"COOKIE%d" % number, b"id%d" % number)
        assert (found.uri, found.vhost) == (number, number)


def test_long_paths_and_many_slashes_are_walked_only_as_far_as_patterns_reach() -> None:
    table = RouteTable([], [named(b"/a/*", b"*.jsp", b"/")], [(-1, 0, 0)])
    assert table.match_path(HOST, 80, b"/" * 100_000) is None
    found = table.match_path(HOST, 80, b"/a/" + b"/" * 100_000 + b".jsp")
    assert found is not None
    assert (found.score, found.exact) == (4, 0)


def test_matching_allocates_no_python_memory() -> None:
    table = RouteTable(
        [[(b"*", 80)]], [named(b"/a/*", b"*.jsp", b"/a/*.do", b"/x")], [(0, 0, 0), (-1, -1, 1)]
    )
    asked = [(HOST, 80, b"/a/b.jsp"), (HOST, 81, b"/x"), (b"", -1, b"")]
    tracemalloc.start()
    try:
        table.count_matches(asked, 1)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert table.count_matches(asked, 10_000) == 30_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (
        peak - before < 1000
    )  # the list of queries laid out in C, the number answered; not 10,000 of anything


def test_many_hosts_and_uris_find_their_own_route() -> None:
    """Every table size is met: hash tables grow past their smallest size and keep every entry."""
    for size in (1, 3, 4, 5, 9, 300):
        groups = [[(b"h%d" % n, 80), (b"h%d" % n, 443)] for n in range(size)]
        uris = [named(b"/app%d/*" % n, b"/one/%d" % n, b"*.x%d" % n) for n in range(size)]
        table = RouteTable(groups, uris, [(n, n, n) for n in range(size)])
        for n in range(size):
            for path in (b"/app%d/i" % n, b"/app%d" % n, b"/one/%d" % n, b"/a.x%d" % n):
                found = table.match_path(b"h%d" % n, 443, path)
                assert found is not None
                assert (found.route, found.cluster, found.vhost) == (n, n, 1)
        assert table.match_path(b"h0", 80, b"/app%d/i" % size) is None


@pytest.mark.parametrize("star", [b"", b"*"])
def test_texts_with_the_same_hash_are_told_apart(star: bytes) -> None:
    """Two known strings of equal 64-bit FNV-1a, the hash in use: a client cannot pass one for the other."""
    one, other = b"8yn0iYCKYHlIj4-BwPqk", b"GReLUrM4wMqfg9yzV3KQ"
    assert uri_scores(one + star, one) == (20, 20)
    assert uri_scores(one + star, other) is None
    assert chosen([one + star, other + star], one) == 0
    assert chosen([one + star, other + star], other) == 1
