"""Bytes with nothing behind them, for parsers that are tested."""

from __future__ import annotations

from typing import Any

import pytest

from wsproxy._fast.base.memory import ExactCopy
from wsproxy._fast.http.head import has_head_end, read_request

pytestmark = pytest.mark.asan


@pytest.mark.parametrize("wrong", [None, "text", bytearray(b"x"), 7])
def test_only_bytes_are_copied(wrong: Any) -> None:
    with pytest.raises(TypeError):
        ExactCopy(wrong)


@pytest.mark.parametrize("end", range(0, 27, 3))
def test_parser_reads_no_byte_behind_the_copy(end: int) -> None:
    """Also of no bytes at all; AddressSanitizer sees a read too far, and without it what stands there must not count."""
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[:end]
    assert read_request(data) == 0
    assert has_head_end(data) == 0
