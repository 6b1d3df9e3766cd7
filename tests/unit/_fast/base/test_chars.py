"""What a blank is: of header fields fewer characters than of text."""

from __future__ import annotations

import pytest

from wsproxy._fast.decide.affinity import read_clone_ids

pytestmark = pytest.mark.asan


@pytest.mark.parametrize("character", range(256))
def test_blanks_of_a_cookie_are_space_and_tab(character: int) -> None:
    """Behind a semicolon they stand before the name; anything else belongs to it."""
    cookie = b"a=b;%cJSESSIONID=0000x:c1" % character
    found = read_clone_ids([cookie], b"/")
    assert (found == [b"c1"]) == (character in b" \t;,")
