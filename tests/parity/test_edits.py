"""Clone lists are completed and taken away, and X-Forwarded fields written, like the oracles do it; every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import forwarded as forwarded_oracle
from tests.support.oracles import http_head, rewrite, session_cookie
from tests.support.oracles.clone_ids import find_clone_ids
from tests.support.oracles.errors import RefusedError
from wsproxy._fast.rewrite import rewrite_request, rewrite_response

pytestmark = pytest.mark.asan

PEER = b"192.0.2.1"
PLENTY = 1 << 20
NAME, URL_ID = b"JSESSIONID", b"jsessionid"
SEPARATORS = st.sampled_from([b":", b"+"])

# What values, attributes and lists are made of; good and bad alike.
WORDS = st.sampled_from(
    [b"0000abc", b"c1", b"c2", b"c10", b":", b":", b"+", b"%3A", b"%3a", b"%2B", b"%", b"%3", b'"', b" ", b"=", b",", b"\\",
     b"\xff", b"-1", b"x" * 1000]
)  # fmt: skip
TEXTS = st.lists(WORDS, max_size=6).map(b"".join)
NAMES = st.sampled_from([NAME, NAME, NAME, b"jsessionid", b"JSESSIONIDX", b"a", b"", NAME + b" ", b" " + NAME])  # fmt: skip
VALUES = st.one_of(TEXTS, TEXTS.map(lambda text: b'"' + text + b'"'), st.sampled_from([b"0000abc", b"0000abc:c1", b""]))  # fmt: skip
COOKIES = st.builds(lambda name, value: name + b"=" + value, NAMES, VALUES)
ATTRIBUTES = st.sampled_from(
    [b"; Path=/", b";HttpOnly", b"; Max-Age=0", b"; max-age = -5", b";Max-Age=00", b";Max-Age=10", b"; Max-Age=-", b";Max-Age",
     b"; Max-Age=x", b";Max-Agee=0", b";", b"; Expires=Thu, 01 Jan 1970 00:00:00 GMT", b"; Comment=\"a;Max-Age=0\""]
)  # fmt: skip
SET_COOKIES = st.builds(
    lambda cookie, attributes: b"Set-Cookie: " + cookie + b"".join(attributes),
    COOKIES,
    st.lists(ATTRIBUTES, max_size=3),
)
OTHERS = st.sampled_from([b"X-A: b", b"Content-Length: 0", b"Transfer-Encoding: chunked", b"Connection: close",
                          b"Connection: set-cookie", b"$WSPT: x", b"SET-COOKIE:a=b", b"set-cookie:", b"Set-Cookie2: JSESSIONID=x"])  # fmt: skip
STATUS = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 302 Found", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 404 No",
                          b"HTTP/1.1 500 Oh", b"HTTP/1.1 503 Oh", b"HTTP/1.1 204"])  # fmt: skip
CLONE_IDS = st.sampled_from([b"c1", b"c2", b"c1", b"", b"c:1", b"c+1", b"c%3A1", b"c 1", b"c;1", b"4f0e2b2c-uuid"])  # fmt: skip
SESSIONS = st.one_of(st.just(b""), st.sampled_from([b"0000abc:c2", b"0000abc:c2:c1"]), TEXTS)


def head_of(first: bytes, lines: list[bytes]) -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


def is_response(data: bytes) -> bool:
    try:
        return http_head.parse_response(data) is not None
    except RefusedError:
        return False


def is_request(data: bytes) -> bool:
    try:
        return http_head.parse_request(data) is not None
    except RefusedError:
        return False


@settings(max_examples=300, deadline=None)
@given(
    data=st.builds(head_of, STATUS, st.lists(st.one_of(SET_COOKIES, SET_COOKIES, OTHERS), max_size=5)),
    clone_id=CLONE_IDS,
    separator=SEPARATORS,
    session=SESSIONS,
    secure=st.booleans(),
)  # fmt: skip
@example(
    head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=a; Path=/"]), b"c1", b":", b"", False
)
@example(head_of(b"HTTP/1.1 200 OK", [b"X-A: b"]), b"c1", b":", b"0000a:c2", True)
def test_answer_is_the_oracles(
    data: bytes, clone_id: bytes, separator: bytes, session: bytes, secure: bool
) -> None:
    complete = (NAME, clone_id, separator)
    written = rewrite_response(data, complete=complete, session=session, secure=secure)
    if not is_response(data):
        assert isinstance(written, int)
        return
    edited, more = session_cookie.complete(
        data, name=NAME, clone_id=clone_id, separator=separator, session=session, secure=secure
    )
    expected = rewrite.response(
        edited, close=False, say_keep_alive=False, drop_length=False, drop_chunked=False, more=more
    )
    assert written == expected
    # What a client sent never makes more than one line; and whoever completes again changes nothing.
    assert isinstance(written, bytes)
    assert is_response(written)
    assert written.count(b"\r\n") - data.count(b"\r\n") <= 2
    assert rewrite_response(written, complete=complete, session=session, secure=secure) == written


@settings(max_examples=300, deadline=None)
@given(value=VALUES, clone_id=st.sampled_from([b"c1", b"c7"]), separator=SEPARATORS)
def test_completed_cookie_leads_to_its_server(
    value: bytes, clone_id: bytes, separator: bytes
) -> None:
    """What the client will send back has the clone id in its list, once, behind all that it had."""
    data = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=" + value + b"; Path=/"])
    written = rewrite_response(data, complete=(NAME, clone_id, separator))
    if not is_response(data):
        return
    assert isinstance(written, bytes)
    [line] = [line for line in written.split(b"\r\n") if line.startswith(b"Set-Cookie: ")]
    before, after = (
        find_clone_ids([text.partition(b";")[0].partition(b": ")[2]], b"", separator=separator)
        for text in (data.split(b"\r\n")[1], line)
    )
    assert after in (before, [*before, clone_id])
    if line != data.split(b"\r\n")[1]:
        assert clone_id not in before


PATHS = st.lists(
    st.sampled_from([b"/", b"a", b";", b";jsessionid=", b";jsessionid=0000x:c1", b";JSESSIONID=x:c", b"0000x", b":c1", b"+c2",
                     b"%3Ac1", b"%2bc2", b"p=q", b"?", b"?;jsessionid=x:c1"]), max_size=6
).map(lambda parts: b"/" + b"".join(parts))  # fmt: skip
COOKIE_LINES = st.builds(
    lambda name, blank, pairs, glue: name + b":" + blank + glue.join(pairs),
    st.sampled_from([b"Cookie", b"cookie"]),
    st.sampled_from([b"", b" ", b"\t "]),
    st.lists(COOKIES, max_size=4),
    st.sampled_from([b"; ", b";", b" ; "]),
)
REQUEST_OTHERS = st.sampled_from([b"X-A: b", b"Content-Length: 0", b"Connection: cookie", b"Cookie2: JSESSIONID=x:c",
                                  b"Transfer-Encoding: chunked", b"Connection: close"])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    path=PATHS,
    scheme=st.sampled_from([b"", b"", b"http://h:1"]),
    lines=st.lists(st.one_of(COOKIE_LINES, COOKIE_LINES, REQUEST_OTHERS), max_size=5),
    separator=SEPARATORS,
)
@example(
    b"/a;jsessionid=0000x:c1:c2/b?q:1", b"", [b"Cookie: a=b:c; JSESSIONID=0000x:c1; d=e"], b":"
)
@example(b"/", b"", [b'Cookie: JSESSIONID="0000x+c1" ;JSESSIONID=:c'], b"+")
def test_stripped_request_is_the_oracles(
    path: bytes, scheme: bytes, lines: list[bytes], separator: bytes
) -> None:
    data = head_of(b"GET " + scheme + path + b" HTTP/1.1", [b"Host: h", *lines])
    written = rewrite_request(data, strip=(NAME, URL_ID, separator), peer=PEER)
    if not is_request(data):
        assert isinstance(written, int)
        return
    stripped = session_cookie.strip(data, name=NAME, url_id=URL_ID, separator=separator)
    assert written == rewrite_request(stripped, peer=PEER)
    assert isinstance(written, bytes)
    cookies = [line.partition(b":")[2].strip(b" \t") for line in written.split(b"\r\n") if line.lower().startswith(b"cookie:")]  # fmt: skip
    target = written.split(b" ")[1].partition(b"?")[0]
    assert find_clone_ids(cookies, target, separator=separator) == []


FORWARDED_LINES = st.builds(
    lambda name, value: name + b":" + value,
    st.sampled_from([b"X-Forwarded-For", b"x-forwarded-for", b"X-Forwarded-Proto", b"X-FORWARDED-HOST", b"Forwarded", b"forwarded",
                     b"X-Forwarded-Port", b"Forwardes", b"X-Forwarded-Fox", b"Connection"]),
    st.sampled_from([b"", b" 10.0.0.1", b" 10.0.0.1, 10.0.0.2 ", b"for=x", b"https", b" \t ", b"X-Forwarded-For, Forwarded"]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    first=st.sampled_from([b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"GET http://o:81/ HTTP/1.1"]),
    host=st.sampled_from([[b"Host: h:8080"], [b"Host: [::1]:1"], []]),
    lines=st.lists(st.one_of(FORWARDED_LINES, FORWARDED_LINES, REQUEST_OTHERS), max_size=6),
    peer=st.sampled_from([PEER, b"2001:db8::7", b"unknown"]),
    local_host=st.sampled_from([b"127.0.0.1", b"::1"]),
    trusted=st.booleans(),
    x_forwarded=st.booleans(),
    forwarded=st.booleans(),
    secure=st.booleans(),
)
def test_forwarded_fields_are_the_oracles(
    first: bytes,
    host: list[bytes],
    lines: list[bytes],
    peer: bytes,
    local_host: bytes,
    trusted: bool,
    x_forwarded: bool,
    forwarded: bool,
    secure: bool,
) -> None:
    data = head_of(first, [*host, *lines])
    written = rewrite_request(
        data,
        peer=peer,
        local_host=local_host,
        trusted=trusted,
        x_forwarded=x_forwarded,
        forwarded=forwarded,
        secure=secure,
    )
    if not is_request(data):
        assert isinstance(written, int)
        return
    edited, more = forwarded_oracle.write(
        data,
        peer=peer,
        local_host=local_host,
        trusted=trusted,
        x_forwarded=x_forwarded,
        forwarded=forwarded,
        secure=secure,
    )
    expected = rewrite.request(
        edited, peer=peer, local_host=local_host, port=80, keep_private=False, failover=False, more=more
    )  # fmt: skip
    assert written == expected


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(st.one_of(SET_COOKIES, OTHERS), max_size=4),
    session=SESSIONS,
    missing=st.integers(0, 3000),
)
def test_answer_never_leaves_its_room(lines: list[bytes], session: bytes, missing: int) -> None:
    """Neither room is larger than said: one byte more is AddressSanitizer's to find."""
    data = head_of(b"HTTP/1.1 200 OK", lines)
    written = rewrite_response(data, complete=(NAME, b"c1", b":"), session=session)
    if isinstance(written, int):
        return
    small = max(0, len(written) + 1500 - missing)
    for room_size, capacity in ((small, PLENTY), (PLENTY, small)):
        again = rewrite_response(
            data, complete=(NAME, b"c1", b":"), session=session, room_size=room_size, capacity=capacity
        )  # fmt: skip
        assert again in (1, written)


@settings(max_examples=300, deadline=None)
@given(
    path=PATHS,
    lines=st.lists(st.one_of(COOKIE_LINES, FORWARDED_LINES), max_size=4),
    trusted=st.booleans(),
    missing=st.integers(0, 3000),
)
def test_request_never_leaves_its_room(
    path: bytes, lines: list[bytes], trusted: bool, missing: int
) -> None:
    data = head_of(b"GET " + path + b" HTTP/1.1", [b"Host: h", *lines])

    def write(*, room_size: int = PLENTY, capacity: int = PLENTY) -> bytes | int:
        return rewrite_request(
            data, strip=(NAME, URL_ID, b":"), trusted=trusted, x_forwarded=True, forwarded=True,
            room_size=room_size, capacity=capacity,
        )  # fmt: skip

    written = write()
    if isinstance(written, int):
        return
    small = max(0, len(written) + 1500 - missing)
    assert write(room_size=small) in (1, written)
    assert write(capacity=small) in (1, written)


def test_too_little_room_is_said() -> None:
    answer = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=a"])
    assert rewrite_response(answer, complete=(NAME, b"c1", b":"), room_size=10) == 1
    plain = head_of(b"HTTP/1.1 200 OK", [])
    assert rewrite_response(plain, complete=(NAME, b"c1", b":"), session=b"a:c2", room_size=9) == 1
    request = head_of(b"GET / HTTP/1.1", [b"Host: h", b"Cookie: JSESSIONID=a:c1"])
    assert rewrite_request(request, strip=(NAME, URL_ID, b":"), room_size=10) == 1
    assert rewrite_request(request, forwarded=True, room_size=10) == 1
