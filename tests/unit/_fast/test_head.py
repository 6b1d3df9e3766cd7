"""What the head scanner promises beyond reading: its errors' names, what is never forwarded, what is never lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.oracles.errors import HeadError
from wsproxy._fast.head import (
    HEAD_ERRORS,
    PRIVATE_NAMES,
    ExactCopy,
    has_head_end,
    read_request,
    read_response,
)

pytestmark = pytest.mark.asan

PXD = Path(__file__).parents[3] / "wsproxy" / "_fast" / "fields.pxd"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def read(fields: bytes, first: bytes = GET) -> dict[str, Any]:
    found = read_request(first + fields + b"\r\n")
    assert isinstance(found, dict), HeadError(-found)
    return found


def dropped(fields: bytes) -> list[bytes]:
    return [name for name, _, _, is_dropped in read(fields)["fields"] if is_dropped]


def test_errors_are_numbered_as_the_scanner_numbers_them() -> None:
    text = PXD.read_text(encoding="utf-8")
    found = re.search(r"cdef enum HeadError:\n(.*?)\n\n", text, re.DOTALL)
    assert found
    names = re.findall(r"^    (\w+)", found[1], re.MULTILINE)
    assert names == ["HEAD_OK", *(error.name for error in HeadError)]


def test_every_error_has_a_status_and_a_reason() -> None:
    assert set(HEAD_ERRORS) == set(HeadError)
    for status, reason in HEAD_ERRORS.values():
        assert status in {400, 405, 414, 417, 431, 502, 505}
        assert reason


def test_fields_named_in_connection_are_dropped_whatever_their_case() -> None:
    fields = (
        b"x-ONE: 1\r\nConnection: X-One,, x-two ,close\r\nX-Two: 2\r\nX-Three: 3\r\nX-TWO: 4\r\n"
    )
    assert dropped(fields) == [b"x-ONE", b"X-Two", b"X-TWO"]


def test_only_letters_are_equal_in_either_case() -> None:
    """^ and ~, or ` and @, differ in the same bit as a and A do."""
    assert dropped(b"Connection: x^\r\nX~: 1\r\nX^: 2\r\n") == [b"X^"]
    assert dropped(b"Connection: x`\r\nX`: 1\r\n") == [b"X`"]


def test_framing_and_host_are_not_lost_by_naming_them_in_connection() -> None:
    fields = b"Content-Length: 3\r\nConnection: host, Content-Length, cookie\r\nCookie: a=b\r\n"
    assert dropped(fields) == [b"Cookie"]
    chunked = b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n"
    assert dropped(chunked) == []
    assert read(chunked)["chunked"]


def test_private_fields_are_known_in_any_case() -> None:
    """A client's $WSRA or $WSRU tells the application who the user is (PEERS.md D 8)."""
    names = [*PRIVATE_NAMES, b"$WSRU", b"$wsCC", b"$WS", b"$WsAnything", b"_ws_", b"_WS_x"]
    for name in names:
        for spelled in (name, name.upper(), name.lower()):
            assert read(spelled + b": x\r\n")["fields"][1][2] == 8, spelled
    for name in (b"WSRA", b"$W", b"X$WSRA", b"_WS", b"_WSRA", b"$-WSRA"):
        assert read(name + b": x\r\n")["fields"][1][2] == 0, name


def test_http10_client_is_not_asked_to_wait_or_switch() -> None:
    """RFC 9110 7.8 and 10.1.1: what HTTP/1.0 says of 100 and 101 is not heard."""
    fields = b"Expect: 100-continue\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    head = read(fields, b"GET / HTTP/1.0\r\n")
    assert not head["expect_continue"]
    assert not head["upgrade"]
    assert read(fields)["expect_continue"]
    assert read(fields)["upgrade"]


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        (1, b"", True),
        (1, b"Connection: close\r\n", False),
        (1, b"Connection: keep-alive, CLOSE\r\n", False),
        (1, b"Connection: keep-alive\r\nConnection: x, close\r\n", False),
        (1, b"Connection: closed\r\n", True),
        (0, b"", False),
        (0, b"Connection: Keep-Alive\r\n", True),
        (0, b"Connection: keep-alive, close\r\n", False),
        (0, b"Proxy-Connection: keep-alive\r\n", False),
    ],
)
def test_connection_is_kept_as_rfc_9112_says(version: int, fields: bytes, kept: bool) -> None:
    assert read(fields, b"GET / HTTP/1.%d\r\nHost: a\r\n" % version)["keep_alive"] is kept
    response = read_response(b"HTTP/1.%d 200 OK\r\n%s\r\n" % (version, fields))
    assert isinstance(response, dict)
    assert response["keep_alive"] is kept


def test_target_has_the_last_word_on_the_authority() -> None:
    """RFC 9112 3.2.2: Host is ignored where the target names a host, but must be sound."""
    head = read(b"", b"GET http://B:1/x HTTP/1.1\r\nHost: a:2\r\n")
    assert (head["host"], head["port"], head["target"]) == (b"B", 1, b"/x")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"HTTP/1.1  200 OK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 20 OK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 2000 OK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 099 OK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 200\tOK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 O\0K", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 O\rK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/2.0 200 OK", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.2 200 OK", HeadError.BAD_STATUS_LINE),
        (b"http/1.1 200 OK", HeadError.BAD_STATUS_LINE),
        (b"ICY 200 OK", HeadError.BAD_STATUS_LINE),
        (b"", HeadError.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 OK\nX: y", HeadError.BARE_LF),
        (b"HTTP/1.1 200 OK\r\n X: y", HeadError.OBS_FOLD),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1",
            HeadError.SEVERAL_CONTENT_LENGTHS,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1", HeadError.BAD_CONTENT_LENGTH),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            HeadError.LENGTH_AND_ENCODING,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", HeadError.BAD_TRANSFER_ENCODING),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", HeadError.BAD_TRANSFER_ENCODING),
    ],
)
def test_bad_response_is_refused_for_its_reason(line: bytes, error: HeadError) -> None:
    assert read_response(line + b"\r\n\r\n") == -error


def test_line_without_end_is_not_waited_for_beyond_the_limits() -> None:
    longest = b"M" * 32 + b" /" + b"a" * 16383 + b" HTTP/1.1\r"
    assert read_request(longest) == 0
    assert read_request(longest + b"x") == -HeadError.TARGET_TOO_LONG
    assert read_request(b"x" * 101, head_bytes=100) == -HeadError.HEAD_TOO_LARGE
    assert read_request(b"x" * 100, head_bytes=100) == 0
    assert read_response(b"x" * 101, head_bytes=100) == -HeadError.HEAD_TOO_LARGE


def test_options_are_counted_before_they_cost_anything() -> None:
    """20 000 options against 290 fields would be six million comparisons for one 64 KiB head."""
    head = GET + b"a: x\r\n" * 290 + b"Connection: " + b"a," * 20_000 + b"\r\n\r\n"
    assert read_request(head) == -HeadError.BAD_CONNECTION


def test_more_fields_than_there_is_room_for_cannot_be_allowed() -> None:
    head = GET + b"X: y\r\n" * 300 + b"\r\n"
    assert read_request(head, header_fields=10_000) == -HeadError.TOO_MANY_FIELDS


def test_resume_beyond_the_data_is_refused() -> None:
    for resume in (-1, 3):
        with pytest.raises(ValueError, match=r"allowed is 0\.\.2"):
            has_head_end(b"ab", resume)


def test_nothing_at_all_is_waited_for() -> None:
    assert read_request(b"") == read_response(b"") == has_head_end(b"") == 0
    assert ExactCopy(b"") is not None
