"""The compiled matcher answers like the oracle that reads Route by Route, for tables full of overlaps and ties."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import match_oracle
from tests.unit._fast.decide.conftest import MAKERS

pytestmark = pytest.mark.asan

# Small alphabets on purpose: prefixes of prefixes, equal texts in many groups, `/x` beside `/x/*`. All of it is made beforehand:
# hypothesis picks whole words, which takes a quarter of the time that putting them together takes it.
CHANCE = random.Random(1)
TEXTS = [
    bytes(letters) for length in range(4) for letters in itertools.product(b"/ab.", repeat=length)
] + [bytes(CHANCE.choices(b"/ab.", k=CHANCE.randrange(4, 7))) for _ in range(200)]
FOLDERS = [
    b"/" + b"/".join(parts)
    for length in range(4)
    for parts in itertools.product([b"a", b"b", b"ab", b""], repeat=length)
]
PATHS = TEXTS + FOLDERS
PATTERNS = [
    *PATHS,
    *(path + star for path in PATHS for star in (b"*", b"/*")),
    *[b"/*", b"*", b"*.a", b"*.ab", b"*.b", b"*b", b"*.a.b", b"**", b"/a*b*", b""] * 20,
    *(CHANCE.choice(PATHS) + b"*" + CHANCE.choice(TEXTS) for _ in range(400)),
]
ASKED_PATHS = [
    *PATHS,
    *(CHANCE.choice(PATHS) + CHANCE.choice(TEXTS) for _ in range(400)),
    *(path + end for path in PATHS for end in (b";a=b", b"?a", b";", b"?x;y", b";x?y", b"*")),
    *(CHANCE.randbytes(CHANCE.randrange(13)) for _ in range(400)),
]
HOSTS = [b"a", b"::1", b"a.b"]
ASKED_HOSTS = [*HOSTS * 2, *map(bytes.upper, HOSTS), b"", b"*", b"c", b"[::1]", b"a" * 40]
vhost = st.sampled_from(list(itertools.product([*HOSTS, *[b"*"] * 3], [80, 443, -1, -1])))
uri = st.builds(
    lambda pattern, names: (pattern, *names),
    st.sampled_from(PATTERNS),
    st.sampled_from(list(itertools.product([b"JSESSIONID", b"OTHER", b""], repeat=2))),
)
requests = st.lists(
    st.builds(
        lambda host_port, path: (*host_port, path),
        st.sampled_from(list(itertools.product(ASKED_HOSTS, [80, 443, 80, 443, -1, 0, 81, 65535]))),
        st.sampled_from(ASKED_PATHS),
    ),
    min_size=1,
    max_size=20,
)


@st.composite
def tables(
    draw: st.DrawFn,
) -> tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows]:
    vhost_groups = draw(st.lists(st.lists(vhost, max_size=4), min_size=1, max_size=5))
    uri_groups = draw(st.lists(st.lists(uri, max_size=5), min_size=1, max_size=5))
    # An index of a group more often than -1, which wins nothing but takes everything.
    a_vhost_group = st.integers(0, len(vhost_groups) - 1)
    a_uri_group = st.integers(0, len(uri_groups) - 1)
    route = st.one_of(
        st.tuples(a_vhost_group, a_uri_group, st.integers(0, 3)),
        st.tuples(a_vhost_group, a_uri_group, st.integers(0, 3)),
        st.tuples(
            st.one_of(a_vhost_group, st.just(-1)), st.one_of(a_uri_group, st.just(-1)), st.just(0)
        ),
    )
    routes = draw(st.lists(route, max_size=10))
    return vhost_groups, uri_groups, routes


@pytest.mark.parametrize("max_pairs", [1_000_000, 0], ids=["pairs", "walk"])
@pytest.mark.parametrize("exact_first", [False, True], ids=["score", "exact"])
@given(rows=tables(), asked=requests)
def test_best_route_is_the_oracles(
    exact_first: bool,
    max_pairs: int,
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    tables = [make(*rows, max_pairs=max_pairs, exact_first=exact_first) for make in MAKERS]
    for request in asked:
        expected = match_oracle.match(*rows, request, exact_first=exact_first)
        assert [table.match_path(*request) for table in tables] == [expected] * 2, request


@given(rows=tables(), asked=requests)
def test_each_routes_own_score_is_the_oracles(
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    tables = [make(*rows) for make in MAKERS]
    for number in range(len(rows[2])):
        for request in asked:
            expected = match_oracle.match_one(*rows, number, request)
            found = [table.match_route(number, *request) for table in tables]
            assert found == [expected] * 2, (number, request)


@given(rows=tables(), asked=requests)
def test_each_groups_own_score_is_that_of_a_route_that_names_nothing_else(
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    """What explains a decision: the groups of Routes, each by itself."""
    vhosts, uris, routes = rows
    tables = [make(*rows) for make in MAKERS]
    vhost_groups = {row[0] for row in routes} - {-1}
    uri_groups = sorted({row[1] for row in routes} - {-1})
    for host, port, path in asked:
        takers: list[int] = []
        for group in range(len(vhosts)):
            match = match_oracle.match_one(vhosts, [], [(group, -1, 0)], 0, (host, port, path))
            vhost = None
            if match is not None and group in vhost_groups:
                takers.append(group)
                vhost = (match.vhost, match.score, match.exact)
            assert [table.match_vhost(group, host, port) for table in tables] == [vhost] * 2
        for table in tables:
            assert sorted(table.vhost_groups(host, port, 100)) == takers
        for group in range(len(uris)):
            match = match_oracle.match_one([], uris, [(-1, group, 0)], 0, (host, port, path))
            uri = None
            if match is not None and group in uri_groups:
                uri = (group, match.uri, match.score, match.exact)
            assert [table.match_uri(group, path) for table in tables] == [uri] * 2
        best = match_oracle.match(
            [], uris, [(-1, group, 0) for group in uri_groups], (host, port, path)
        )
        expected = best and (best.uri_group, best.uri, best.score, best.exact)
        assert [table.match_uri(-1, path) for table in tables] == [expected] * 2


@given(rows=tables(), asked=requests)
def test_match_in_a_c_loop_is_the_same_match(
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    expected = sum(match_oracle.match(*rows, request) is not None for request in asked)
    assert [make(*rows).count_matches(asked, 3) for make in MAKERS] == [3 * expected] * 2
