"""Field lines by name: what frames the message, what ends here, what is kept from the server."""

from __future__ import annotations

import pytest

from tests.support.oracles.errors import HeadError
from tests.unit._fast.http.test_head import dropped, read
from wsproxy._fast.http.head import (
    PRIVATE_NAMES,
    read_request,
    read_response,
)

pytestmark = pytest.mark.asan

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


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


def test_more_fields_than_there_is_room_for_cannot_be_allowed() -> None:
    head = GET + b"X: y\r\n" * 300 + b"\r\n"
    assert read_request(head, header_fields=10_000) == -HeadError.TOO_MANY_FIELDS
