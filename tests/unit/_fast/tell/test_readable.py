"""Text of http_plugin.log is escaped and read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.oracles import mask as oracle
from wsproxy._fast.tell import readable

pytestmark = pytest.mark.asan

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["\\", "\\x", "\\x5", "\\x5c", "x41", "[", "[2", "1/", "12/", " ", "Wed Oct 03 ", "[21/Nov/2026", "\\n", "\x1b[31m", "\u202e", "\u2028", "\x9b", "\u061c", "\u2066", "\u2069", "\u200f", "\u202f", "\u2067", "é", "€", "\U0001f600"]).map(lambda text: text.encode()),
        st.sampled_from([b"\xff", b"\xc2", b"\xe2\x80", b"\xed\xa0\x80", b"\xf0\x90\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"]),
        st.binary(max_size=4),
    ),
    max_size=8,
).map(b"".join)  # fmt: skip


@settings(max_examples=500)
@given(TEXTS)
@example(bytes(range(256)))
@example("".join(map(chr, range(0x2000, 0x2100))).encode())
def test_lines_of_the_plugin_log_are_the_oracles_and_read_back(text: bytes) -> None:
    """Whatever the text, it comes back, and what stands in the file is UTF-8 without anything that drives a terminal."""
    written = readable.escape(text.decode("utf-8", "surrogateescape"))
    assert written.encode() == oracle.readable(text)
    assert readable.unescape(written.encode()) == text
    assert oracle.readable(written.encode().replace(b"\\", b"/")).decode() == written.replace(
        "\\", "/"
    )


@given(TEXTS)
def test_what_is_read_back_is_the_oracles(text: bytes) -> None:
    """Also of logs that others wrote."""
    assert readable.unescape(text) == oracle.read_back(text)


@pytest.mark.parametrize("text", ["/a\\m", "/a\\xzz", "/a\\n", "C:\\Windows\\x", "é € 😀", "it's"])
def test_what_needs_no_escape_stays(text: str) -> None:
    assert readable.escape(text) == text
