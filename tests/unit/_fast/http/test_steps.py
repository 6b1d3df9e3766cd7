"""Heads in steps of sixteen bytes: whatever stands where in a step, and however much is behind it, is judged as the oracle judges it."""

from __future__ import annotations

import pytest

from tests.support.oracles.errors import HeadError
from tests.support.verdicts import check_request

pytestmark = pytest.mark.asan


@pytest.mark.parametrize("length", range(70))
def test_control_character_is_found_wherever_it_stands(length: int) -> None:
    """The scanner looks at eight or sixteen bytes at once: each offset, with bytes around that could hide the one."""
    for filler in (b"\x20", b"\x7e", b"\x80", b"\xff", b"\t"):
        for control in (b"\x00", b"\x1f", b"\x7f", b"\r"):
            value = filler * length + control + filler * 9
            outcome = check_request(b"GET / HTTP/1.1\r\nHost: a\r\nX: a" + value + b"\r\n\r\n")
            assert outcome in (HeadError.NUL_OR_CONTROL, HeadError.BARE_CR)
        good = b"GET / HTTP/1.1\r\nHost: a\r\nX: a" + filler * length + b"\r\n\r\n"
        assert isinstance(check_request(good), dict)


@pytest.mark.parametrize("length", range(1, 40))
def test_end_of_a_name_is_found_wherever_it_stands(length: int) -> None:
    """With each byte that may end it, and those next to what names are made of; behind it as much as a step has, or nothing."""
    for byte in b"\x00\t\n\r !#*,-./09:;@AZ[^_`az{|}~\x7f\x80\xff":
        for rest in (b": v", b": " + b"v" * 40, b""):
            lines = b"a" * length + bytes([byte]) + b"B" * 3 + rest + b"\r\n"
            check_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
            check_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines)


@pytest.mark.parametrize("blank", [b" ", b"\t", b" \t "])
@pytest.mark.parametrize("length", range(24))
def test_blanks_around_a_value_are_no_part_of_it(length: int, blank: bytes) -> None:
    """In lines as short and as long as a step."""
    for value in (b"", b"v" * length, b"v" + blank * length + b"v"):
        for padding in (b"", blank, blank * length):
            check_request(
                b"GET / HTTP/1.1\r\nHost: a\r\nX:" + padding + value + padding + b"\r\n\r\n"
            )
