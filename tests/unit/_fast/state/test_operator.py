"""What is kept of an operator's word: texts that fit, and a hold that ends by itself."""

from __future__ import annotations

import pytest

from wsproxy._fast.state.operator import Hold, hold_left, said_as

pytestmark = pytest.mark.asan


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"", b""),
        (b"root (uid 0)", b"root (uid 0)"),
        (b"x" * 63, b"x" * 63),
        (b"x" * 64, b"x" * 63),
        ("ö".encode() * 40, "ö".encode() * 31),
        ("€".encode() * 40, "€".encode() * 21),
        ("x😀".encode() * 20, "x😀".encode() * 12 + b"x"),
        (b"\x80" * 80, b""),
    ],
)
def test_texts_are_cut_between_characters(given: bytes, kept: bytes) -> None:
    assert said_as(given, b"why") == (kept, b"why")


def test_reason_has_more_room() -> None:
    assert said_as(b"", b"x" * 500) == (b"", b"x" * 127)


@pytest.mark.parametrize(
    ("hold", "until_ms", "left"),
    [
        (Hold.NO_HOLD, 0, Hold.NO_HOLD),
        (Hold.DRAIN, 0, Hold.DRAIN),
        (Hold.TAKEN_DOWN, 101, Hold.TAKEN_DOWN),
        (Hold.TAKEN_DOWN, 100, Hold.NO_HOLD),
        (Hold.DRAIN, 99, Hold.NO_HOLD),
    ],
)
def test_hold_is_over_at_its_end(hold: Hold, until_ms: int, left: Hold) -> None:
    assert hold_left(hold, until_ms, 100) == left
