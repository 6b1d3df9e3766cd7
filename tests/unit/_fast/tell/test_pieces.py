"""Short pieces of a line: numbers, ids, texts between items. They are read in lines of the access log, which are made of them."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy._fast.tell.access_line import AccessLog
from wsproxy.config.access_format import parse_format

pytestmark = pytest.mark.asan


@given(st.integers(-(2**63), 2**63 - 1))
@example(0)
@example(2**63 - 1)
def test_numbers_are_decimal(number: int) -> None:
    log = AccessLog(parse_format("<%O>"), lambda lines, count: None)
    assert log.line_of(b"", given=number) == b"<%d>\n" % max(number, 0)


@pytest.mark.parametrize("digits", range(1, 20))
def test_numbers_of_all_lengths_are_decimal(digits: int) -> None:
    log = AccessLog(parse_format("%O"), lambda lines, count: None)
    for number in (
        10 ** (digits - 1),
        10**digits - 1 if digits < 19 else 2**63 - 1,
        10 ** (digits - 1) + 9,
    ):
        assert log.line_of(b"", given=number) == b"%d\n" % number


def test_ids_are_counted_in_hexadecimal() -> None:
    log = AccessLog(parse_format("%L"), lambda lines, count: None)
    for number in range(300):
        assert log.line_of(b"") == b"%08x-%08x\n" % (os.getpid(), number)


def test_texts_of_all_lengths_stand_between() -> None:
    """Up to 16 bytes go another way than longer ones."""
    for length in range(40):
        text = b"t" * length
        log = AccessLog(
            parse_format(f"{'t' * length}%m{'t' * length}%s{'t' * length}"),
            lambda lines, count: None,
        )
        for _ in range(2):
            assert (
                log.line_of(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                == text + b"GET" + text + b"200" + text + b"\n"
            )
