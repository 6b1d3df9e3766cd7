"""Clone lists are completed and taken away like the oracles do it; every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.oracles import rewrite, session_cookie
from tests.support.oracles.clone_ids import find_clone_ids
from tests.support.session_heads import (
    CLONE_IDS,
    COOKIE_LINES,
    NAME,
    OTHERS,
    PATHS,
    REQUEST_OTHERS,
    SEPARATORS,
    SESSIONS,
    SET_COOKIES,
    STATUS,
    URL_ID,
    VALUES,
    completing,
    head_of,
    is_request,
    is_response,
    service_of,
)
from wsproxy._fast.decide.edits import rewrite_request, rewrite_response

pytestmark = pytest.mark.asan

PEER = b"192.0.2.1"
KNOWN = frozenset({b"c1", b"c2"})


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
    service = completing(clone_id, separator)
    written = rewrite_response(data, service=service, session=session, secure=secure)
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
    assert rewrite_response(written, service=service, session=session, secure=secure) == written


@given(value=VALUES, clone_id=st.sampled_from([b"c1", b"c7"]), separator=SEPARATORS)
def test_completed_cookie_leads_to_its_server(
    value: bytes, clone_id: bytes, separator: bytes
) -> None:
    """What the client will send back has the clone id in its list, once, behind all that it had."""
    data = head_of(b"HTTP/1.1 200 OK", [b"Set-Cookie: JSESSIONID=" + value + b"; Path=/"])
    written = rewrite_response(data, service=completing(clone_id, separator))
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


@given(
    path=PATHS,
    scheme=st.sampled_from([b"", b"", b"http://h:1"]),
    lines=st.lists(st.one_of(COOKIE_LINES, COOKIE_LINES, REQUEST_OTHERS), max_size=5),
    separator=SEPARATORS,
    taking=st.sampled_from(["all", "lists", "ours"]),
)
@example(
    b"/a;jsessionid=0000x:c1:c2/b?q:1",
    b"",
    [b"Cookie: a=b:c; JSESSIONID=0000x:c1; d=e"],
    b":",
    "all",
)
@example(b"/", b"", [b'Cookie: JSESSIONID="0000x+c1" ;JSESSIONID=:c'], b"+", "all")
@example(b"/", b"", [b"Cookie: JSESSIONID=0000aaaaaaaaaaaaaaaaaaaaaaa:c1"], b":", "lists")
@example(b"/", b"", [b"Cookie: JSESSIONID=user:x:c1:c2"], b":", "ours")
def test_stripped_request_is_the_oracles(
    path: bytes, scheme: bytes, lines: list[bytes], separator: bytes, taking: str
) -> None:
    data = head_of(b"GET " + scheme + path + b" HTTP/1.1", [b"Host: h", *lines])
    forms, known = taking != "all", KNOWN if taking == "ours" else None
    written = rewrite_request(
        data,
        service=service_of(separator),
        strip=(NAME, URL_ID),
        forms=forms,
        ours=known is not None,
        peer=PEER,
    )
    if not is_request(data):
        assert isinstance(written, int)
        return
    stripped = session_cookie.strip(
        data, name=NAME, url_id=URL_ID, separator=separator, forms=forms, known=known
    )
    assert written == rewrite_request(stripped, peer=PEER)
    assert isinstance(written, bytes)
    cookies = [line.partition(b":")[2].strip(b" \t") for line in written.split(b"\r\n") if line.lower().startswith(b"cookie:")]  # fmt: skip
    target = written.split(b" ")[1].partition(b"?")[0]
    if taking == "all":
        assert find_clone_ids(cookies, target, separator=separator) == []
