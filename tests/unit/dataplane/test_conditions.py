"""Conditional and partial requests by the book: RFC 9110 13 and 14; ranges also against aiohttp's reading of them."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import assume, given
from hypothesis import strategies as st

from wsproxy.dataplane.conditions import Verdict, Version, judge

STRONG = Version(b'"a-1"', 1_000_000_000, 100)
WEAK = Version(b'W/"a-1"', 1_000_000_000, 100)
AT = b"Sun, 09 Sep 2001 01:46:40 GMT"
BEFORE = b"Sun, 09 Sep 2001 01:46:39 GMT"
AFTER = b"Sun, 09 Sep 2001 01:46:41 GMT"
WHOLE = Verdict(200, 0, 100)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({b"if-none-match": b'"a-1"'}, 304),
        ({b"if-none-match": b'W/"a-1"'}, 304),
        ({b"if-none-match": b'"x", W/"y,z" , "a-1"'}, 304),
        ({b"if-none-match": b"*"}, 304),
        ({b"if-none-match": b'"x"'}, 200),
        ({b"if-none-match": b"a-1"}, 200),
        ({b"if-none-match": b""}, 200),
        ({b"if-modified-since": AT}, 304),
        ({b"if-modified-since": AFTER}, 304),
        ({b"if-modified-since": BEFORE}, 200),
        ({b"if-modified-since": b"Sunday, 09-Sep-01 01:46:40 GMT"}, 304),
        ({b"if-modified-since": b"Sun Sep  9 01:46:40 2001"}, 304),
        ({b"if-modified-since": b"soon"}, 200),
        ({b"if-modified-since": b"\xff"}, 200),
        ({b"if-modified-since": b"Sun, 09 Sep 99999999999 01:46:40 GMT"}, 200),
        ({b"if-none-match": b'"x"', b"if-modified-since": AT}, 200),
        ({b"if-match": b'"a-1"'}, 200),
        ({b"if-match": b"*"}, 200),
        ({b"if-match": b'"x"'}, 412),
        ({b"if-match": b'W/"a-1"'}, 412),
        ({b"if-unmodified-since": AT}, 200),
        ({b"if-unmodified-since": BEFORE}, 412),
        ({b"if-unmodified-since": b"?"}, 200),
        ({b"if-match": b'"a-1"', b"if-unmodified-since": BEFORE}, 200),
        ({b"if-match": b'"x"', b"if-none-match": b'"a-1"'}, 412),
    ],
)
def test_condition(fields: dict[bytes, bytes], status: int) -> None:
    for is_head in (False, True):
        assert judge(STRONG, fields, is_head=is_head).status == status


def test_weak_tag_does_for_not_modified_alone() -> None:
    assert judge(WEAK, {b"if-none-match": b'"a-1"'}, is_head=False).status == 304
    assert judge(WEAK, {b"if-match": b'W/"a-1"'}, is_head=False).status == 412


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (b"bytes=0-0", Verdict(206, 0, 1)),
        (b"bytes=0-", Verdict(206, 0, 100)),
        (b"bytes=10-19", Verdict(206, 10, 10)),
        (b"Bytes = 99-1000", Verdict(206, 99, 1)),
        (b"bytes=-1", Verdict(206, 99, 1)),
        (b"bytes=-1000", Verdict(206, 0, 100)),
        (b"bytes=100-", Verdict(416)),
        (b"bytes=100-200", Verdict(416)),
        (b"bytes=-0", Verdict(416)),
        (b"bytes=5-4", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=0-0,5-9", WHOLE),
        (b"lines=0-0", WHOLE),
        (b"bytes=0-9999999999999999999999", WHOLE),
        (b"bytes=0-0\n", WHOLE),
        (b"", WHOLE),
    ],
)
def test_range(value: bytes, verdict: Verdict) -> None:
    assert judge(STRONG, {b"range": value}, is_head=False) == verdict
    assert judge(STRONG, {b"range": value}, is_head=True) == WHOLE


def test_range_of_an_empty_file() -> None:
    empty = Version(b'"0-1"', 1, 0)
    assert judge(empty, {b"range": b"bytes=0-"}, is_head=False) == Verdict(416)
    assert judge(empty, {b"range": b"bytes=-5"}, is_head=False) == Verdict(200, 0, 0)


@pytest.mark.parametrize(
    ("version", "condition", "status"),
    [
        (STRONG, b'"a-1"', 206),
        (STRONG, b'"x"', 200),
        (STRONG, b'W/"a-1"', 200),
        (STRONG, AT, 206),
        (STRONG, BEFORE, 200),
        (STRONG, AFTER, 200),
        (STRONG, b"rubbish", 200),
        (WEAK, b'W/"a-1"', 200),
        (WEAK, b'"a-1"', 200),
        (WEAK, AT, 200),
    ],
)
def test_part_is_sent_for_the_very_version(version: Version, condition: bytes, status: int) -> None:
    fields = {b"range": b"bytes=0-0", b"if-range": condition}
    assert judge(version, fields, is_head=False).status == status


def test_not_modified_goes_before_the_range() -> None:
    fields = {b"range": b"bytes=0-0", b"if-none-match": b'"a-1"'}
    assert judge(STRONG, fields, is_head=False).status == 304


number = st.one_of(st.just(""), st.integers(0, 250).map(str))


@given(first=number, last=number, size=st.integers(1, 200))
def test_range_is_read_as_aiohttp_reads_it(first: str, last: str, size: int) -> None:
    """Its slice, as Python cuts it."""
    assume(first or last != "0")  # to aiohttp the last 0 bytes are all of them
    value = f"bytes={first}-{last}"
    found = judge(Version(b'"x"', 1, size), {b"range": value.encode()}, is_head=False)
    try:
        part = make_mocked_request("GET", "/", headers={"Range": value}).http_range
    except ValueError:
        assert found.status in (200, 416)
        return
    expected = bytes(size)[part.start : part.stop]
    assert found.status == (206 if expected else 416)
    if expected:
        assert found.length == len(expected)
        assert found.first == part.indices(size)[0]
