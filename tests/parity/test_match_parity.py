"""The compiled matcher answers like the oracle that reads Route by Route, for tables full of overlaps and ties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import match_oracle
from wsproxy._fast.match import RouteTable

pytestmark = pytest.mark.asan

# Small alphabets on purpose: prefixes of prefixes, equal texts in many groups, `/x` beside `/x/*`.
path_text = st.text(alphabet="/ab.", max_size=6).map(str.encode)
folder = st.lists(st.sampled_from([b"a", b"b", b"ab", b""]), max_size=3).map(
    lambda parts: b"/" + b"/".join(parts)
)
plain_path = st.one_of(path_text, folder)
pattern = st.one_of(
    plain_path,
    plain_path.map(lambda text: text + b"*"),
    plain_path.map(lambda text: text + b"/*"),
    st.sampled_from([b"/*", b"*", b"*.a", b"*.ab", b"*.b", b"*b", b"*.a.b", b"**", b"/a*b*", b""]),
    st.tuples(plain_path, path_text).map(b"*".join),
)
request_path = st.one_of(
    plain_path,
    st.tuples(plain_path, path_text).map(b"".join),
    st.tuples(plain_path, st.sampled_from([b";a=b", b"?a", b";", b"?x;y", b";x?y", b"*"])).map(
        b"".join
    ),
    st.binary(max_size=12),
)
host = st.sampled_from([b"a", b"::1", b"a.b"])
port = st.sampled_from([80, 443])
vhost = st.tuples(st.one_of(host, st.just(b"*")), st.one_of(port, st.just(-1)))
names = st.sampled_from([b"JSESSIONID", b"OTHER", b""])
request_host = st.one_of(
    host, host, host.map(bytes.upper), st.sampled_from([b"", b"*", b"c", b"[::1]", b"a" * 40])
)
request_port = st.one_of(port, port, st.sampled_from([-1, 0, 81, 65535]))
requests = st.lists(st.tuples(request_host, request_port, request_path), min_size=1, max_size=20)


@st.composite
def tables(
    draw: st.DrawFn,
) -> tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows]:
    vhost_groups = draw(st.lists(st.lists(vhost, max_size=4), min_size=1, max_size=5))
    uri = st.tuples(pattern, names, names)
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
@settings(max_examples=600, deadline=None)
@given(rows=tables(), asked=requests)
def test_best_route_is_the_oracles(
    exact_first: bool,
    max_pairs: int,
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    table = RouteTable(*rows, max_pairs=max_pairs, exact_first=exact_first)
    for request in asked:
        expected = match_oracle.match(*rows, request, exact_first=exact_first)
        assert table.match_path(*request) == expected, request


@settings(max_examples=200, deadline=None)
@given(rows=tables(), asked=requests)
def test_each_routes_own_score_is_the_oracles(
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    table = RouteTable(*rows)
    for number in range(len(rows[2])):
        for request in asked:
            expected = match_oracle.match_one(*rows, number, request)
            assert table.match_route(number, *request) == expected, (number, request)


@settings(max_examples=100, deadline=None)
@given(rows=tables(), asked=requests)
def test_match_in_a_c_loop_is_the_same_match(
    rows: tuple[match_oracle.VhostRows, match_oracle.UriRows, match_oracle.RouteRows],
    asked: list[tuple[bytes, int, bytes]],
) -> None:
    table = RouteTable(*rows)
    expected = sum(match_oracle.match(*rows, request) is not None for request in asked)
    assert table.count_matches(asked, 3) == 3 * expected
