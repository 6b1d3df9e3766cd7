"""What of a request target may be seen is the same in C as with a regular expression."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.state.changes import visible_path

pytestmark = pytest.mark.asan

# Where parameters begin, or where somebody who mistook the separator or encoded it made them begin.
PARAMETERS = re.compile(rb"[;?&=]|://|%(?:25)*(?:3[bfd]|26)", re.IGNORECASE)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"%3b",
                    b"%3F",
                    b"%3d",
                    b"%26",
                    b"%",
                    b"%3",
                    b"%2",
                    b"/a",
                    b";",
                    b"6",
                    b"25",
                    b"3B",
                    b"://",
                    b"/",
                    b":",
                ]
            ),
            st.binary(max_size=3),
        ),
        max_size=8,
    ).map(b"".join)
)
def test_visible_path_is_the_oracles(target: bytes) -> None:
    expected = PARAMETERS.split(target, maxsplit=1)[0].decode("ascii", "backslashreplace")
    assert visible_path(target) == expected
