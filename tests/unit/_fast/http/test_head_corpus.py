"""Each raw request of the corpus comes to what its line in EXPECTED.tsv says, however it is cut into pieces."""

from __future__ import annotations

import re

import pytest

from tests.support.corpus import (
    CORPUS,
    Message,
    expected_rows,
    feedings,
    read_message,
    request_bytes,
)
from tests.support.oracles.chunked import parse_chunked
from tests.support.oracles.errors import HeadError, RefusedError
from tests.support.oracles.http_head import parse_request

pytestmark = pytest.mark.asan

VALID = {row["file"]: row for row in expected_rows("valid")}
INVALID = {row["file"]: row for row in expected_rows("invalid")}
NEXT = b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"  # what follows on the same connection


def by_oracle(data: bytes) -> HeadError | None:
    """Why the oracles refuse these bytes, None where they do not."""
    try:
        head = parse_request(data)
        if head is not None and head["chunked"]:
            size = head["size"]
            assert isinstance(size, int)
            parse_chunked(data[size:])
    except RefusedError as error:
        return error.reason
    return None


@pytest.mark.parametrize("kind", ["valid", "invalid"])
def test_every_file_has_its_line_and_every_line_its_file(kind: str) -> None:
    rows = [row["file"] for row in expected_rows(kind)]
    assert sorted(rows) == sorted(path.name for path in (CORPUS / kind).glob("*.http"))


@pytest.mark.parametrize("name", INVALID)
def test_bad_request_is_refused_for_its_reason(name: str) -> None:
    data = request_bytes("invalid", name)
    error = HeadError[INVALID[name]["error"]]
    assert by_oracle(data) == error
    for how, pieces in feedings(data, name):
        assert read_message(pieces) == error, how


@pytest.mark.parametrize("name", VALID)
def test_good_request_is_read_as_expected(name: str) -> None:
    row = VALID[name]
    data = request_bytes("valid", name)
    target = re.sub(r"^/a\*(\d+)$", lambda found: "/" + "a" * (int(found[1]) - 1), row["target"])
    assert by_oracle(data) is None
    for how, pieces in feedings(data + NEXT, name):
        message = read_message(pieces)
        assert isinstance(message, Message), how
        assert message.head["target"].decode() == target, how
        assert (message.head["authority"].decode() or "-") == row["authority"], how
        length = message.head["content_length"]
        framing = "chunked" if message.head["chunked"] else str(length) if length >= 0 else "none"
        assert framing == row["framing"], how
        assert len(message.payload) == int(row["payload_bytes"]), how
        assert message.size == len(data), how


@pytest.mark.parametrize("name", VALID)
def test_good_request_waits_for_its_last_byte(name: str) -> None:
    """No prefix is a request already, none is refused."""
    data = request_bytes("valid", name)
    step = 1 if len(data) < 2000 else 509
    for end in [*range(0, len(data), step), len(data) - 1]:
        assert read_message([data[:end]]) is None
