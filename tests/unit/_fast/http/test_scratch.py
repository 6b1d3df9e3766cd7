"""Field lines that are written anew never leave their memory, and the lack of it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.session_heads import (
    COOKIE_LINES,
    FORWARDED_LINES,
    NAME,
    OTHERS,
    PATHS,
    SESSIONS,
    SET_COOKIES,
    URL_ID,
    completing,
    head_of,
    service_of,
)
from wsproxy._fast.decide.edits import rewrite_request, rewrite_response

pytestmark = pytest.mark.asan

PLENTY = 1 << 20


@given(
    lines=st.lists(st.one_of(SET_COOKIES, OTHERS), max_size=4),
    session=SESSIONS,
    missing=st.integers(0, 3000),
)
def test_answer_never_leaves_its_memory(lines: list[bytes], session: bytes, missing: int) -> None:
    """Neither memory is larger than said: one byte more is AddressSanitizer's to find."""
    data = head_of(b"HTTP/1.1 200 OK", lines)
    written = rewrite_response(data, service=completing(), session=session)
    if isinstance(written, int):
        return
    small = max(0, len(written) + 1500 - missing)
    for scratch_size, capacity in ((small, PLENTY), (PLENTY, small)):
        again = rewrite_response(
            data, service=completing(), session=session, scratch_size=scratch_size, capacity=capacity
        )  # fmt: skip
        assert again in (1, written)


@given(
    path=PATHS,
    lines=st.lists(st.one_of(COOKIE_LINES, FORWARDED_LINES), max_size=4),
    trusted=st.booleans(),
    missing=st.integers(0, 3000),
)
def test_request_never_leaves_its_memory(
    path: bytes, lines: list[bytes], trusted: bool, missing: int
) -> None:
    data = head_of(b"GET " + path + b" HTTP/1.1", [b"Host: h", *lines])

    def write(*, scratch_size: int = PLENTY, capacity: int = PLENTY) -> bytes | int:
        return rewrite_request(
            data, service=service_of(x_forwarded=True, forwarded=True), strip=(NAME, URL_ID), trusted=trusted,
            scratch_size=scratch_size, capacity=capacity,
        )  # fmt: skip

    written = write()
    if isinstance(written, int):
        return
    small = max(0, len(written) + 1500 - missing)
    assert write(scratch_size=small) in (1, written)
    assert write(capacity=small) in (1, written)


def test_too_little_memory_is_said() -> None:
    answer = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=a"])
    assert rewrite_response(answer, service=completing(), scratch_size=10) == 1
    plain = head_of(b"HTTP/1.1 200 OK", [])
    assert rewrite_response(plain, service=completing(), session=b"a:c2", scratch_size=9) == 1
    request = head_of(b"GET / HTTP/1.1", [b"Host: h", b"Cookie: JSESSIONID=a:c1"])
    assert (
        rewrite_request(request, service=service_of(), strip=(NAME, URL_ID), scratch_size=10) == 1
    )
    assert rewrite_request(request, service=service_of(forwarded=True), scratch_size=10) == 1
