"""
Hypothesis strategies for heads with session cookies, clone ids and X-Forwarded fields, good and bad alike.

Driven by ``tests/unit/_fast``.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from tests.support.oracles import http_head
from tests.support.oracles.errors import RefusedError
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.view import Service
from wsproxy._fast.state.segment import SharedState

NAME, URL_ID = b"JSESSIONID", b"jsessionid"
SEPARATORS = st.sampled_from([b":", b"+"])

# What values, attributes and lists are made of; good and bad alike.
WORDS = st.sampled_from(
    [b"0000abc", b"0000aaaaaaaaaaaaaaaaaaaaaaa", b".c1", b".",  b"c1", b"c2", b"c10", b":", b":", b"+", b"%3A", b"%3a", b"%2B", b"%", b"%3", b'"', b" ", b"=", b",", b"\\",
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


PATHS = st.lists(
    st.sampled_from([b"/", b"a", b";", b";jsessionid=", b";jsessionid=0000x:c1", b";JSESSIONID=x:c", b"0000x", b":c1", b"+c2",
                     b"%3Ac1", b"%2bc2", b"p=q", b"?", b"?;jsessionid=x:c1"]), max_size=6
).map(lambda parts: b"/" + b"".join(parts))  # fmt: skip
COOKIE_LINES = st.builds(
    lambda name, blank, pairs, glue: name + b":" + blank + glue.join(pairs),
    st.sampled_from([b"Cookie", b"cookie"]),
    st.sampled_from([b"", b" ", b"\t "]),
    st.lists(COOKIES, max_size=4),
    st.sampled_from([b"; ", b";", b" ; ", b", ", b","]),
)
REQUEST_OTHERS = st.sampled_from([b"X-A: b", b"Content-Length: 0", b"Connection: cookie", b"Cookie2: JSESSIONID=x:c",
                                  b"Transfer-Encoding: chunked", b"Connection: close"])  # fmt: skip
FORWARDED_LINES = st.builds(
    lambda name, value: name + b":" + value,
    st.sampled_from([b"X-Forwarded-For", b"x-forwarded-for", b"X-Forwarded-Proto", b"X-FORWARDED-HOST", b"Forwarded", b"forwarded",
                     b"X_Forwarded_For", b"x-forwarded_HOST", b"X_Forwarded-Proto", b"X_Forwarded_Port", b"X-Forwarded-Port", b"Forwardes", b"X-Forwarded-Fox", b"Connection"]),
    st.sampled_from([b"", b" 10.0.0.1", b" 10.0.0.1, 10.0.0.2 ", b"for=x", b"https", b" \t ", b"X-Forwarded-For, Forwarded"]),
)  # fmt: skip


@cache
def completing(clone_id: bytes = b"c1", separator: bytes = b":") -> Service:
    """Its one server has this clone id, and the proxy completes the cookies that it sets."""
    cluster = Cluster(
        SharedState(1, 1),
        "c",
        [("s", clone_id.decode(), 1, -1)],
        [0],
        [],
        separator=separator.decode(),
    )
    return Service(cluster)


@cache
def service_of(
    separator: bytes = b":", *, x_forwarded: bool = False, forwarded: bool = False
) -> Service:
    """Its servers have the clone ids c1 and c2; what it wants changed in requests is what ``edit_request`` changes."""
    servers: list[tuple[str, str | None, int, int]] = [("s1", "c1", 1, -1), ("s2", "c2", 1, -1)]
    state = SharedState(len(servers), 1)
    cluster = Cluster(state, "c", servers, [0, 1], [], separator=separator.decode())
    return Service(cluster, x_forwarded=x_forwarded, forwarded=forwarded)
