"""Ambiguous paths are those of the oracle; nothing is missed at an edge."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import http_head, paths
from tests.support.verdicts import by_oracle, compiled
from wsproxy._fast.http.head import read_request
from wsproxy._fast.http.paths import encode_head, is_ambiguous_path

pytestmark = pytest.mark.asan

PIECES = [b"/", b".", b"..", b";", b"a", b"%", b"%2", b"%2f", b"%2F", b"%5c", b"%2e", b"%3B", b"%00", b"%0a", b"%7f",
          b"%25", b"%20", b"%41", b"%g0", b"\\", b";x=y", b"...", b"jsp"]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=8).map(lambda parts: b"/" + b"".join(parts))

FINE = [b"/", b"/a", b"/a/", b"/a.b/c..d", b"/a;x=../b", b"/...", b"/.a/..b/c.", b"/a%20b%25c", b"/;jsessionid=a:b",
        b"/a;b/c;d", b"/a/;x", b"/%C3%A9", b"/a;x=."]  # fmt: skip
REFUSED = [b"//", b"/a//b", b"/.", b"/..", b"/a/.", b"/a/..", b"/./a", b"/../a", b"/a/../b", b"/..;/a", b"/.;x/a", b"/;x/a",
           b"/a%2fb", b"/a%2Fb", b"/%2e", b"/a%2ejsp", b"/a%5Cb", b"/a\\b", b"/a%3bb", b"/a%00", b"/a%0d", b"/%7F", b"/%",
           b"/a%", b"/a%2", b"/%zz", b"/%u002e", b"/a;x=%2f", b"/a;x=\\", b"/a/..;x=y"]  # fmt: skip


@settings(max_examples=2000)
@given(texts)
@example(b"/")
@example(b"//")
def test_paths_are_judged_as_the_oracle_judges_them(path: bytes) -> None:
    assert is_ambiguous_path(path) == paths.is_ambiguous(path)


@pytest.mark.parametrize("path", FINE)
def test_path_that_has_one_meaning_passes(path: bytes) -> None:
    assert not is_ambiguous_path(path)
    assert not paths.is_ambiguous(path)


@pytest.mark.parametrize("path", REFUSED)
def test_path_that_may_have_two_is_found(path: bytes) -> None:
    assert is_ambiguous_path(path)
    assert paths.is_ambiguous(path)


@given(
    st.sampled_from([b"", b"http://a", b"HTTPS://[::1]:1"]),
    texts,
    st.sampled_from([b"", b"?/../%2f//"]),
)
def test_head_is_refused_for_its_path_only_where_that_is_set(
    authority: bytes, path: bytes, query: bytes
) -> None:
    """The path decides, not the query and not the form of the target."""
    data = b"GET %b%b%b HTTP/1.1\r\nHost: a\r\n\r\n" % (authority, path, query)
    as_it_is = read_request(data)
    assert isinstance(as_it_is, dict)
    found = read_request(data, refuse_ambiguous=True)
    assert compiled(found) == by_oracle(http_head.parse_request, data, refuse_ambiguous=True)
    assert isinstance(found, int) == paths.is_ambiguous(path)


def test_asterisk_is_no_path() -> None:
    data = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    assert isinstance(read_request(data, refuse_ambiguous=True), dict)


def encoded(head: bytes) -> bytes:
    """What ``encode_head`` is to give, the plain way."""
    line, end, rest = head.partition(b"\n")
    method, blank, more = line.partition(b" ")
    if not (end and blank):
        return head
    target, blank, version = more.partition(b" ")
    plain = b"".join(b"%%%02X" % byte if byte >= 0x80 else bytes((byte,)) for byte in target)
    return b"".join((method, b" ", plain, blank, version, end, rest))


@given(st.lists(st.sampled_from([b"GET", b" ", b"/", b"\xc3\xa9", b"\xff", b"%c3", b"?", b"HTTP/1.1", b"\r\n", b"X: \xe9"]), max_size=12).map(b"".join))  # fmt: skip
@example(b"GET /gr\xc3\xb6\xc3\x9fe?q=\xff HTTP/1.1\r\nX: \xe9\r\n\r\nbody\xe9")
@example(b"GET /\xe9 HTTP/1.1")
@example(b"")
def test_only_bytes_beyond_ascii_in_the_target_are_encoded(head: bytes) -> None:
    """With capitals, byte by byte; whatever else is there stays, and so does a line that is not whole."""
    assert encode_head(head) == encoded(head)
