"""Whose name says that it is a secret: the words, wherever they stand in it, in any case, with `-` or `_`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.tell import mask

pytestmark = pytest.mark.asan

WORDS = (
    "token", "secret", "passw", "passphrase", "pwd", "authoriz", "credential", "apikey", "api-key", "access-key",
    "subscription-key",
)  # fmt: skip
AROUND = st.text("abcpstuwxyz019-_.", max_size=6)


@given(AROUND, st.sampled_from(WORDS), AROUND, st.booleans())
def test_a_word_hides_the_value_wherever_it_stands(
    before: str, word: str, behind: str, is_upper: bool
) -> None:
    name = before + (word.upper().replace("-", "_") if is_upper else word) + behind
    assert mask.mask(f"?a=b&{name}=value&c=d".encode(), "query") == f"?a=b&{name}=***&c=d".encode()


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_is_not_whole_hides_nothing(word: str) -> None:
    for at in range(len(word)):
        query = f"?{word[:at]}{'x' if word[at] != 'x' else 'y'}{word[at + 1 :]}=value".encode()
        assert mask.mask(query, "query") == query
    assert mask.mask(f"?{word[:-1]}=value".encode(), "query") == f"?{word[:-1]}=value".encode()


@pytest.mark.parametrize(
    ("name", "is_hidden"),
    [("auth", True), ("x-auth", True), ("auth_x", True), ("author", False), ("xauth", False)],
)
def test_auth_is_a_word_by_itself(name: str, is_hidden: bool) -> None:
    told = "***" if is_hidden else "value"
    assert mask.mask(f"?{name}=value".encode(), "query") == f"?{name}={told}".encode()
