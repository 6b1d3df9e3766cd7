"""Indexes of a RouteTable find each host and each Uri."""

from __future__ import annotations

import pytest

from tests.unit._fast.decide.conftest import Make
from tests.unit._fast.decide.test_match import chosen, named, uri_scores

pytestmark = pytest.mark.asan

HOST = b"shop.example"


def test_first_of_equal_uris_in_a_group_gives_the_names(make: Make) -> None:
    uris = [(b"/a/*", b"FIRST", b"first"), (b"/a/*", b"SECOND", b"second")]
    found = make([], [uris], [(-1, 0, 0)]).match_path(HOST, 80, b"/a/x")
    assert found is not None
    assert (found.uri, found.cookie) == (0, b"FIRST")


def test_many_hosts_and_uris_find_their_own_route(make: Make) -> None:
    """Every table size is met: hash tables grow past their smallest size and keep every entry."""
    for size in (1, 3, 4, 5, 9, 300):
        groups = [[(b"h%d" % n, 80), (b"h%d" % n, 443)] for n in range(size)]
        uris = [named(b"/app%d/*" % n, b"/one/%d" % n, b"*.x%d" % n) for n in range(size)]
        table = make(groups, uris, [(n, n, n) for n in range(size)])
        for n in range(size):
            for path in (b"/app%d/i" % n, b"/app%d" % n, b"/one/%d" % n, b"/a.x%d" % n):
                found = table.match_path(b"h%d" % n, 443, path)
                assert found is not None
                assert (found.route, found.cluster, found.vhost) == (n, n, 1)
        assert table.match_path(b"h0", 80, b"/app%d/i" % size) is None


@pytest.mark.parametrize("star", [b"", b"*"])
def test_texts_with_the_same_hash_are_told_apart(make: Make, star: bytes) -> None:
    """Two known strings of equal 64-bit FNV-1a, the hash in use: a client cannot pass one for the other."""
    one, other = b"8yn0iYCKYHlIj4-BwPqk", b"GReLUrM4wMqfg9yzV3KQ"
    assert uri_scores(make, one + star, one) == (20, 20)
    assert uri_scores(make, one + star, other) is None
    assert chosen(make, [one + star, other + star], one) == 0
    assert chosen(make, [one + star, other + star], other) == 1
