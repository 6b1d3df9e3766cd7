"""What the head scanner promises beyond reading: its errors' names, what is never forwarded, what is never lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.oracles.errors import HeadError
from wsproxy._fast.base.memory import ExactCopy
from wsproxy._fast.http.head import (
    HEAD_ERRORS,
    has_head_end,
    read_request,
    read_response,
)

pytestmark = pytest.mark.asan

PXD = Path(__file__).parents[4] / "wsproxy" / "_fast" / "http" / "fields.pxd"
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


def test_resume_beyond_the_data_is_refused() -> None:
    for resume in (-1, 3):
        with pytest.raises(ValueError, match=r"allowed is 0\.\.2"):
            has_head_end(b"ab", resume)


def test_nothing_at_all_is_waited_for() -> None:
    assert read_request(b"") == read_response(b"") == has_head_end(b"") == 0
    assert ExactCopy(b"") is not None


@pytest.mark.parametrize(
    "hello", [b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03\x00\x0a\n\n\r\n\r\n"]
)
def test_a_tls_handshake_is_known_by_its_first_bytes(hello: bytes) -> None:
    """Whatever follows: it may have line feeds in it, and may have none for as long as a head may take."""
    assert read_request(hello) == -HeadError.TLS_HANDSHAKE
    assert read_request(b"\x16") == 0
    assert read_request(b"\x16GET / HTTP/1.1\r\nHost: h\r\n\r\n") == -HeadError.NUL_OR_CONTROL
