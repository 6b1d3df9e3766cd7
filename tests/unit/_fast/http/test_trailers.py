"""Trailers go on as the oracle passes them, whatever the pieces; and what goes on is the same body."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles.chunked import ChunkedBody, parse_chunked
from tests.support.oracles.errors import HeadError, RefusedError
from tests.support.oracles.trailers import may_pass, passed
from wsproxy._fast.http.trailers import relay_chunks

pytestmark = pytest.mark.asan

HEAD_ONLY = [
    *(b"Host", b"Content-Length", b"transfer-encoding", b"Connection", b"TE", b"Trailer", b"Upgrade", b"Expect"),
    *(b"Cookie", b"Set-Cookie", b"set-cookie2", b"Authorization", b"Proxy-Authorization", b"WWW-Authenticate"),
    *(b"$WSRA", b"$wsru", b"_WS_HAPRT_WLMVERSION", b"Content-Type", b"Content-Encoding", b"content-range", b"Date"),
    *(b"If-Match", b"Range", b"Max-Forwards", b"Cache-Control", b"Location", b"Age", b"VARY", b"Via", b"Forwarded"),
    *(b"X-Forwarded-For", b"x-forwarded-proto", b"X-Real-IP", b"Keep-Alive", b"Proxy-Connection", b"Origin"),
    *(b"Sec-WebSocket-Key", b"Access-Control-Allow-Origin", b"Strict-Transport-Security", b"Retry-After"),
    *(b"X-Wsproxy-Explain", b"x-WSPROXY-server", b"Content_Length", b"x_forwarded-For", b"CONTENT_TYPE", b"-WS-X"),
]  # fmt: skip
ORDINARY = [
    *(b"X-Checksum", b"Server-Timing", b"grpc-status", b"Digest", b"Content-Digest", b"content-MD5", b"ETag", b"x"),
    *(b"If", b"If-", b"Sec", b"Content", b"Agee", b"Ag", b"Hosts", b"Viaa", b"X-Forwarded", b"Cookies", b"$W", b"_WS"),
    *(b"X-Wsproxy", b"X-Wsproxy-", b"X-Wsproxyish", b"content_md5", b"X_Checksum", b"_", b"-WS"),
]  # fmt: skip
names = st.sampled_from(HEAD_ONLY + ORDINARY)
values = st.sampled_from([b"", b" ", b" a b\t", b"\xff;=", b" 1, 2", b" " + b"x" * 80])
trailer = st.tuples(names, values).map(b":".join)
sections = st.lists(trailer, max_size=8).map(lambda lines: b"".join(x + b"\r\n" for x in lines))
bodies = st.builds(
    lambda chunks, last, lines: (
        b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + last + lines + b"\r\n"
    ),
    st.lists(st.binary(min_size=1, max_size=20), max_size=3),
    st.sampled_from([b"0\r\n", b"00;a=b\r\n"]),
    sections,
)


def relayed(pieces: list[bytes], *, passes: bool) -> tuple[bytes, int, bool] | HeadError:
    try:
        return relay_chunks(pieces, passes)
    except ValueError as error:
        return HeadError(error.args[0])


def by_oracle(data: bytes) -> ChunkedBody | HeadError:
    try:
        return parse_chunked(data)
    except RefusedError as error:
        return error.reason


def check(data: bytes, pieces: list[bytes], *, passes: bool) -> None:
    """The pieces are judged as the whole is, and what went on is what the oracle passes."""
    found = relayed(pieces, passes=passes)
    body = by_oracle(data)
    if isinstance(body, HeadError):
        assert found == body
        return
    assert isinstance(found, tuple), found
    sent, consumed, done = found
    assert (consumed, done) == (body.consumed, body.done)
    if done:
        assert sent == passed(data[:consumed], passes=passes)
        after = parse_chunked(sent)
        assert (after.payload, after.consumed, after.done) == (body.payload, len(sent), True)
    else:
        assert data.startswith(sent)
        assert parse_chunked(sent).payload == body.payload


@given(bodies, st.binary(max_size=10), st.booleans())
@example(b"0\r\nHost: a\r\n\r\n", b"", True)
@example(b"0\r\nX: a\r\nHost: a\r\nY: b\r\n\r\n", b"GET", True)
def test_whole_body_goes_on_as_the_oracle_passes_it(
    body: bytes, behind: bytes, passes: bool
) -> None:
    check(body + behind, [body + behind], passes=passes)


@given(bodies, st.booleans())
def test_body_goes_on_alike_byte_by_byte(body: bytes, passes: bool) -> None:
    check(body, [body[at : at + 1] for at in range(len(body))], passes=passes)


@given(bodies, st.lists(st.integers(0, 200), max_size=4), st.booleans())
def test_body_goes_on_alike_in_any_pieces(body: bytes, cuts: list[int], passes: bool) -> None:
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    pieces = [body[a:b] for a, b in pairwise(edges)]
    check(body, pieces, passes=passes)


@settings(max_examples=400)
@given(
    bodies,
    st.integers(0, 300),
    st.sampled_from([b"", b"\r", b"\n", b"\r\n", b":", b" ", b"\0", b"Host: a\r\n", b"\x7f"]),
    st.booleans(),
)
def test_wounded_body_is_judged_alike(body: bytes, at: int, wound: bytes, replace: bool) -> None:
    data = body[:at] + wound + body[at + (1 if replace else 0) :]
    for pieces in ([data], [data[:at], data[at:]]):
        check(data, pieces, passes=True)


@pytest.mark.parametrize("name", HEAD_ONLY)
def test_names_of_the_head_end_here(name: bytes) -> None:
    assert not may_pass(name)
    body = b"0\r\n%b: forged\r\nX-T: 1\r\n\r\n" % name
    assert relay_chunks([body]) == (b"0\r\nX-T: 1\r\n\r\n", len(body), True)


@pytest.mark.parametrize("name", ORDINARY)
def test_other_names_pass(name: bytes) -> None:
    body = b"0\r\n%b: 1\r\n\r\n" % name
    assert relay_chunks([body]) == (body, len(body), True)
    assert relay_chunks([body], False) == (b"0\r\n\r\n", len(body), True)
