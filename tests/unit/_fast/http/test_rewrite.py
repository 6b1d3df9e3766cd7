"""Heads are rewritten like the oracle does it, whatever stands in them; and never past the end of their room."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import http_head, rewrite
from tests.support.oracles.errors import RefusedError
from wsproxy._fast.decide.edits import rewrite_request, rewrite_response

pytestmark = pytest.mark.asan

PEER = b"192.0.2.1"
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
PRIVATE = [b"$WSIS", b"$WSSC", b"$WSPR", b"$WSRA", b"$WSRH", b"$WSSN", b"$WSSP", b"_WS_HAPRT_WLMVERSION",
           b"$WSRU", b"$WSAT", b"$WSFO", b"_WS_HAPRT_OTHER", b"$wsra", b"$ws", b"_ws_", b"_WS", b"$W"]  # fmt: skip
NAMES = [b"Connection", b"connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"Cookie",
         b"Content-Type", b"X-One", b"x-one", b"Accept", b"Close", b"Date", b"Via", b"Expect", b"X-Forwarded-For",
         b"X-Wsproxy-Explain", b"x-wsproxy-server", b"X-WSPROXY-", b"X-Wsproxy", b"X-Wsproxz-Server", b"Content_Length",
         b"TRANSFER_encoding", b"Keep_Alive", b"proxy_connection", b"x_wsproxy-a", b"X_Wsproxy_", b"-WS_x", b"_ws-X", b"-ws-",
         b"X_One", *PRIVATE]  # fmt: skip
VALUES = [b"", b"x", b" a b ", b"close", b"keep-alive", b"upgrade", b"X-One", b"x-one, $WSRA", b"cookie,accept",
          b"Content-Length, Host", b"$WSIS, _WS_HAPRT_WLMVERSION", b"expect", b"100-continue", b"\xff\t;"]  # fmt: skip
field = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)).map(b": ".join)
framing = st.sampled_from(
    [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"content-length:0"]
)
host_line = st.sampled_from(
    [b"Host: app", b"host: app.example:8080", b"HOST:[::1]:443", b"Host: app:"]
)
request_line = st.sampled_from([b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"POST http://other:81/a?b HTTP/1.1",
                                b"OPTIONS * HTTP/1.1", b"HEAD /x;y=z?q HTTP/1.0", b"GET http://[::2]/ HTTP/1.0"])  # fmt: skip
status_line = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 404 Not Found", b"HTTP/1.1 204", b"HTTP/1.1 304 ",
                               b"HTTP/1.1 100 Continue", b"HTTP/1.1 500 \xe9"])  # fmt: skip


@st.composite
def heads(draw: st.DrawFn, first: st.SearchStrategy[bytes]) -> bytes:
    lines = draw(st.lists(st.one_of(field, field, field, framing, host_line), max_size=10))
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), draw(host_line))
    return b"\r\n".join([draw(first), *lines, b"", b""])


def oracle_accepts_request(data: bytes) -> bool:
    try:
        return http_head.parse_request(data) is not None
    except RefusedError:
        return False


def oracle_accepts_response(data: bytes) -> bool:
    try:
        return http_head.parse_response(data) is not None
    except RefusedError:
        return False


FULL = (
    b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"%b: v\r\n" % name for name in PRIVATE) + b"\r\n"
)


@given(
    data=heads(request_line),
    local_host=st.sampled_from([b"127.0.0.1", b"::1", b"fe80::1"]),
    port=st.sampled_from([0, 80, 65535]),
    keep_private=st.booleans(),
    failover=st.booleans(),
    via=st.sampled_from([b"", b"wsproxy", b"v" * 255]),
    trailers=st.booleans(),
)
@example(FULL, b"::1", 80, True, True, b"", False)
@example(FULL, b"::1", 80, False, False, b"a:1", True)
@example(b"GET / HTTP/1.0\r\n\r\n", b"::1", 80, False, False, b"a", True)
@example(
    b"GET / HTTP/1.1\r\nHost: h\r\n$WSRA: 1\r\nConnection: $WSRA\r\n\r\n",
    b"h",
    80,
    True,
    False,
    b"",
    False,
)
def test_request_is_the_oracles(
    data: bytes,
    local_host: bytes,
    port: int,
    keep_private: bool,
    failover: bool,
    via: bytes,
    trailers: bool,
) -> None:
    written = rewrite_request(
        data,
        peer=PEER,
        local_host=local_host,
        port=port,
        keep_private=keep_private,
        failover=failover,
        via=via,
        trailers=trailers,
    )
    if not oracle_accepts_request(data):
        assert isinstance(written, int)
        return
    assert written == rewrite.request(
        data,
        peer=PEER,
        local_host=local_host,
        port=port,
        keep_private=keep_private,
        failover=failover,
        via=via,
        trailers=trailers,
    )


@given(
    data=heads(status_line),
    close=st.booleans(),
    say_keep_alive=st.booleans(),
    drop_length=st.booleans(),
    drop_chunked=st.booleans(),
    date=st.sampled_from([b"", DATE]),
    keep_trailer=st.booleans(),
)
@example(b"HTTP/1.1 200\r\n\r\n", False, False, False, False, DATE, True)
def test_response_is_the_oracles(
    data: bytes,
    close: bool,
    say_keep_alive: bool,
    drop_length: bool,
    drop_chunked: bool,
    date: bytes,
    keep_trailer: bool,
) -> None:
    written = rewrite_response(
        data, close=close, say_keep_alive=say_keep_alive, drop_length=drop_length, drop_chunked=drop_chunked, date=date, keep_trailer=keep_trailer
    )  # fmt: skip
    if not oracle_accepts_response(data):
        assert isinstance(written, int)
        return
    assert written == rewrite.response(
        data, close=close, say_keep_alive=say_keep_alive, drop_length=drop_length, drop_chunked=drop_chunked, date=date, keep_trailer=keep_trailer
    )  # fmt: skip


@given(data=heads(request_line), keep_private=st.booleans())
def test_what_is_written_is_a_request_that_means_the_same(data: bytes, keep_private: bool) -> None:
    """No field of the client's makes two requests of one, whoever reads it next."""
    written = rewrite_request(data, keep_private=keep_private)
    if isinstance(written, int):
        return
    before, after = http_head.parse_request(data), http_head.parse_request(written)
    assert before is not None
    assert after is not None
    assert after["size"] == len(written)
    for what in ("method", "target", "content_length", "chunked"):
        assert after[what] == before[what]
    assert not after["upgrade"]


@settings(max_examples=200, deadline=None)
@given(data=heads(request_line), missing=st.integers(0, 2000))
def test_request_never_leaves_its_room(data: bytes, missing: int) -> None:
    """The room is memory of exactly that size: one byte more is AddressSanitizer's to find."""
    written = rewrite_request(data, keep_private=True, failover=True)
    if isinstance(written, int):
        return
    with_via = rewrite_request(data, keep_private=True, failover=True, via=b"v" * 255)
    capacity = max(0, len(written) + 1100 - missing)
    for via, whole in ((b"", written), (b"v" * 255, with_via)):
        found = rewrite_request(data, keep_private=True, failover=True, via=via, capacity=capacity)
        assert found in (1, whole)


@settings(max_examples=200, deadline=None)
@given(data=heads(status_line), missing=st.integers(0, 2000))
def test_response_never_leaves_its_room(data: bytes, missing: int) -> None:
    written = rewrite_response(data, close=True)
    if isinstance(written, int):
        return
    capacity = max(0, len(written) + 1100 - missing)
    assert rewrite_response(data, close=True, capacity=capacity) in (1, written)
    with_date = rewrite_response(data, close=True, date=DATE)
    assert rewrite_response(data, close=True, date=DATE, capacity=capacity) in (1, with_date)


def test_too_little_room_is_said() -> None:
    assert rewrite_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", capacity=100) == 1
    assert rewrite_response(b"HTTP/1.1 200 OK\r\n\r\n", capacity=100) == 1


@pytest.mark.parametrize("name", PRIVATE[:12])
def test_private_fields_of_a_client_never_go_on(name: bytes) -> None:
    data = b"GET / HTTP/1.1\r\nHost: h\r\n%b: forged\r\n\r\n" % name
    written = rewrite_request(data)
    assert isinstance(written, bytes)
    assert b"forged" not in written
    answered = rewrite_response(b"HTTP/1.1 200 OK\r\n%b: forged\r\n\r\n" % name)
    assert isinstance(answered, bytes)
    assert b"forged" not in answered
