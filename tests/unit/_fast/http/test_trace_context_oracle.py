"""Trace contexts against a plain Python reading of the same rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracles import trace_context as oracle
from wsproxy._fast.http.trace_context import is_good_state, read_context

pytestmark = pytest.mark.asan

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
parents = st.one_of(
    st.binary(max_size=70),
    st.from_regex(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]*)?", fullmatch=True),
    st.builds(
        lambda at, count, put: GOOD[:at] + put + GOOD[at + count :],
        st.integers(0, 55),
        st.integers(0, 4),
        st.binary(max_size=4),
    ),
)
members = st.one_of(
    st.from_regex(rb"[ \t]{0,2}[a-z0-9@_*/-]{0,4}=?[ -~]{0,6}[ \t]{0,2}", fullmatch=True),
    st.binary(max_size=6),
)
fields = st.builds(b",".join, st.lists(members, max_size=20))


@given(parents)
def test_parents(value: bytes) -> None:
    """The same context, or none."""
    assert read_context(value) == oracle.context(value)


@given(st.lists(fields, max_size=3))
def test_state(values: list[bytes]) -> None:
    """The same word about all fields together."""
    stripped = [each.strip(b" \t") for each in values]  # as fields come
    assert is_good_state(*stripped) == oracle.is_good_state(*stripped)
