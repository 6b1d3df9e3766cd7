"""What a client may choose is escaped and masked in C as in Python."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.oracles import access_text as oracle
from wsproxy._fast import access_text

pytestmark = pytest.mark.asan

PIECES = st.one_of(
    st.sampled_from(
        [
            b";jsessionid=", b";", b"=", b"/", b"?", b":", b"+", b"%3A", b"%3a", b"%2B", b"%2b", b"0000", b"00\n", b"0007q",
            b"k1", b" ", b"\t", b'"', b"\\", b"\r\n", b"\x00", b"\xff", b"GET /a", b" HTTP/1.1", b"JSESSIONID=", b"theme=dark",
            b"%3Bjsessionid%3D", b"%3b", b"%3d", b"%3", b"%",
        ]
    ),
    st.binary(max_size=3),
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=12).map(b"".join)
NAMES = frozenset((b"JSESSIONID", b"SID"))


@given(st.binary(max_size=300))
@example(bytes(range(256)))
def test_escapes_are_the_oracles(value: bytes) -> None:
    escaped = access_text.escape(value)
    assert escaped == oracle.escape(value)
    assert all(0x20 <= c <= 0x7E for c in escaped)


@given(VALUES)
@example(b"/a;jsessionid=0000QWERTZ:k1?q=;x=y")
@example(b";a;b=c/d;e")
@example(b"/a%3Bjsessionid=0000QWERTZ:k1%3Bx%3dSECRET?q%3Bx=y")
def test_addresses_are_the_oracles(value: bytes) -> None:
    assert access_text.mask_address(value) == oracle.mask_address(value)


@given(VALUES)
@example(b"GET /a;jsessionid=0000QWERTZ:k1 HTTP/1.1")
@example(b"GET /a;jsessionid=0000QWERTZ")
@example(b"GET  HTTP/1.1")
@example(b" ")
@example(b"  ")
def test_request_lines_are_the_oracles(value: bytes) -> None:
    assert access_text.mask_request_line(value) == oracle.mask_request_line(value)


@pytest.mark.parametrize(
    "line",
    [
        b"GET\t/a;jsessionid=QWERTZ HTTP/1.1",
        b"GET /my file;jsessionid=QWERTZ",
        b"GET /my file;jsessionid=QWERTZ HTTP/1.1",
        b"/a;jsessionid=QWERTZ GET HTTP/1.1",
        b"/a;jsessionid=QWERTZ",
    ],
)
def test_line_that_is_no_request_line_tells_no_session(line: bytes) -> None:
    masked = access_text.mask_request_line(line)
    assert b"QWERTZ" not in masked
    assert b";jsessionid=***" in masked


@given(VALUES)
def test_sessions_are_the_oracles(value: bytes) -> None:
    assert access_text.mask_session(value) == oracle.mask_session(value)


@given(VALUES)
@example(b"JSESSIONID=0000QWERTZ:k1; theme=dark;x; SID=a+k2")
def test_cookies_are_the_oracles(value: bytes) -> None:
    assert access_text.mask_cookies(value, NAMES) == oracle.mask_cookies(value, NAMES)
