"""Bytes that grow at their end, as the escapes of a log line make them."""

from __future__ import annotations

import pytest

from wsproxy._fast.tell.readable import escape, unescape

pytestmark = pytest.mark.asan


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 1000, 100_000])
def test_what_was_there_stays_while_it_grows(count: int) -> None:
    text = "".join(f"{number}\x1b" for number in range(count))
    written = escape(text)
    assert written == text.replace("\x1b", "\\x1b")
    assert unescape(written.encode()) == text.encode()
