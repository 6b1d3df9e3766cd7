"""What of a server's answer a client of HTTP/1 gets otherwise than it came."""

from __future__ import annotations

import re

import pytest

from tests.support.stage import Stage

pytestmark = pytest.mark.asan

GET = b"GET /app/x HTTP/1.%d\r\nHost: h\r\n%s\r\n"
DATE = re.compile(rb"Date: [^\r]*\r\n")
CHUNKED = b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("minor", "fields", "answer", "got"),
    [
        (
            1,
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: \r\n\r\nok",
        ),
        (
            1,
            b"Connection: close\r\n",
            b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nDate: \r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        ),
        (
            0,
            b"Connection: keep-alive\r\n",
            b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nDate: \r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        ),
        (
            1,
            b"",
            CHUNKED + BODY,
            b"HTTP/1.1 200 OK\r\nDate: \r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
        ),
        (
            0,
            b"Connection: keep-alive\r\n",
            CHUNKED + BODY,
            b"HTTP/1.1 200 OK\r\nDate: \r\nConnection: close\r\n\r\nabcde",
        ),
        (
            0,
            b"",
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\nDate: now\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nDate: \r\nConnection: close\r\n\r\n",
        ),
    ],
    ids=["date", "close", "keep-alive", "chunks", "no chunks", "no interim"],
)
def test_answer_is_spelled_for_its_client(
    stage: Stage, minor: int, fields: bytes, answer: bytes, got: bytes
) -> None:
    client = stage.client()
    client.deliver(GET % (minor, fields))
    stage.server().deliver(answer)
    assert DATE.sub(b"Date: \r\n", client.drain()) == got


def test_head_of_an_answer_that_is_refused_stays_here(stage: Stage) -> None:
    """Spelled already, and its first chunk is wrong: what follows is an answer of our own, alone."""
    client = stage.client()
    client.deliver(GET % (1, b""))
    stage.server().deliver(CHUNKED + b"nonsense\r\n")
    answer = client.drain()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.count(b"HTTP/1.1 ") == 1
