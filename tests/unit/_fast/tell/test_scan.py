"""One look at a text says which bytes are in it that are not told as they stand."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy._fast.tell.mask import kinds_of

pytestmark = pytest.mark.asan

ESCAPED, EQUALS, CODED, SEMICOLON = 1, 2, 4, 8
ORDINARY = st.sampled_from(
    [bytes((c,)) for c in range(0x20, 0x7F) if bytes((c,)) not in b'"\\=%@;']
)
TEXTS = st.lists(st.one_of(ORDINARY, ORDINARY, st.binary(min_size=1, max_size=1)), max_size=110)


def kind_of(c: int) -> int:
    if not 0x20 <= c <= 0x7E or c in b'"\\':
        return ESCAPED
    return {ord("="): EQUALS, ord("%"): CODED, ord("@"): CODED, ord(";"): SEMICOLON}.get(c, 0)


def kinds(text: bytes) -> int:
    found = 0
    for c in text:
        found |= kind_of(c)
    return found


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("length", [*range(1, 36), 47, 48, 63, 64, 65, 100])
def test_each_byte_is_seen_wherever_it_stands(length: int, is_wide: bool) -> None:
    """Whatever the length, the copy is whole, and nothing is read or written behind its end."""
    plain = (b"abcdefghij/klmno" * 7)[:length]
    assert kinds_of(plain, is_wide) == (0, 0, plain)
    for c in range(256):
        for at in {0, length // 2, length - 1}:
            text = plain[:at] + bytes((c,)) + plain[at + 1 :]
            assert kinds_of(text, is_wide) == (kind_of(c), kind_of(c), text)


@given(TEXTS.map(b"".join))
@example(b"")
def test_both_ways_see_the_same(text: bytes) -> None:
    for is_wide in (False, True):
        assert kinds_of(text, is_wide) == (kinds(text), kinds(text), text)
