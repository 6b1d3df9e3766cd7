"""Heads and targets as http_plugin.log is told them: as the oracle masks them, and no password at any level."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracles import mask as oracle
from tests.support.oracles.mask import Masker
from tests.unit._fast.tell.test_mask import (
    COOKIES,
    FIELD_NAMES,
    NAMES,
    SECRET,
    URL_IDS,
    VALUES,
)
from wsproxy._fast.tell import mask, told

pytestmark = pytest.mark.asan

LINES = st.lists(
    st.one_of(VALUES, st.tuples(FIELD_NAMES, VALUES).map(lambda row: row[0].encode() + b": " + row[1])), max_size=5
)  # fmt: skip


@given(
    st.lists(st.sampled_from([b"GET /a;x=y?q HTTP/1.1", b"HTTP/1.1 200 ;x=1", b""]), max_size=1),
    LINES,
    st.booleans(),
    st.sampled_from([b":", b"+"]),
)
def test_heads_are_the_oracles(
    first: list[bytes], lines: list[bytes], shows: bool, separator: bytes
) -> None:
    head = b"\r\n".join([*first, *lines, b"", b""])
    masker = Masker(COOKIES, URL_IDS, oracle.plain, separator, shows, not shows)
    assert told.mask_head(head, NAMES, separator, shows_sessions=shows) == masker.head(head)
    for target in lines:
        found = told.mask_target(target, NAMES, separator, shows_sessions=shows)
        assert found == masker.address(target)


def test_passwords_are_told_at_no_level() -> None:
    head = (
        b"GET http://u:QWERTZ@h/ HTTP/1.1\r\nAuthorization: QWERTZ\r\nProxy-Authorization: QWERTZ\r\n"
        b"Referer: http://u:QWERTZ@h/\r\n\r\n"
    )
    assert SECRET not in told.mask_head(head, NAMES, shows_sessions=True)
    for name in ("Referer", "Authorization", "X-Other"):
        value = b"http://u:QWERTZ@h/"
        assert SECRET not in mask.mask(value, name, NAMES, shows_sessions=True)
