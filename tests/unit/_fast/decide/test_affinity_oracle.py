"""The compiled reader finds the same clone ids, in the same order, as its oracle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.applied import applied
from tests.support.http_grammar import in_pieces
from tests.support.jsessionids import CORPUS, SessionValue, session_values
from tests.support.oracles.clone_ids import find_clone_ids
from wsproxy._fast.decide.affinity import is_websphere_form, read_clone_ids
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState

pytestmark = pytest.mark.asan

VALUES = session_values()
# The second can be no route: it has a point in it.
CLUSTER = applied(
    Cluster(SharedState(2, 1), "c", [("s1", "c1", 1, -1), ("s2", "gone.c2", 1, -1)], [0, 1], [])
)
WORDS = [
    b"JSESSIONID=",
    b"SSLJSESSION=",
    b"jsessionid=",
    b"JSESSIONIDX=",
    b"JSESSIONID",
    b";",
    b"; ",
    b",",
    b", ",
    b"$",
    b" ",
    b"\t",
    b'"',
    b":",
    b"+",
    b"%3A",
    b"%3a",
    b"%2B",
    b"%",
    b"%3",
    b"=",
    b"/",
    b"0000x",
    b".",
    b".c1",
    b"c1",
    b"c2",
    b"\xff",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=14).map(b"".join)


def check(
    cookies: list[bytes], path: bytes, name: bytes = b"JSESSIONID", separator: bytes = b":"
) -> list[bytes]:
    """The clone ids on which both agree, with routes and without."""
    known = frozenset({b"c1", b"gone.c2"})
    routed = read_clone_ids(cookies, path, name, b"jsessionid", separator, CLUSTER)
    assert routed == find_clone_ids(cookies, path, name, b"jsessionid", separator, known)
    found = read_clone_ids(cookies, path, name, b"jsessionid", separator)
    assert found == find_clone_ids(cookies, path, name, b"jsessionid", separator)
    return found


@given(st.lists(TEXTS, max_size=4), TEXTS, st.sampled_from([b":", b"+"]))
def test_any_cookies_and_path_are_read_alike(
    cookies: list[bytes], path: bytes, separator: bytes
) -> None:
    check(cookies, path, separator=separator)
    check(cookies, b"/a;jsessionid=" + path, name=b"J", separator=separator)


@given(in_pieces(TEXTS), st.sampled_from([b":", b"+"]))
def test_ids_of_several_cookies_are_the_ids_of_each_in_turn(
    fields: list[bytes], separator: bytes
) -> None:
    each = [check([field], b"", separator=separator) for field in fields if b"SSL" not in field]
    together = check([field for field in fields if b"SSL" not in field], b"", separator=separator)
    assert together == [clone_id for ids in each for clone_id in ids]


@pytest.mark.skipif(not VALUES, reason=f"no corpus at {CORPUS}")
def test_the_corpus_was_read() -> None:
    """A renamed column or an emptied file would turn the next test into nothing."""
    assert len(VALUES) > 50
    assert sum(value.clones for value in VALUES) > 40


@pytest.mark.parametrize("separator", [":", "+"])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.text)
def test_real_value_has_its_clone_ids_as_cookie_and_in_the_path(
    value: SessionValue, separator: str
) -> None:
    """As found, with either separator configured; only the value's own one finds what a person counted."""
    text, configured = value.text.encode(), separator.encode()
    as_cookie = check([b"a=b; JSESSIONID=" + text + b"; c=d"], b"/", separator=configured)
    quoted = check([b'JSESSIONID="' + text + b'"'], b"/", separator=configured)
    in_path = check([], b"/app/page;jsessionid=" + text, separator=configured)
    assert as_cookie == quoted == in_path
    if value.separator == separator:
        assert len(as_cookie) == value.clones
        # The value is rebuilt from what was found: nothing was cut, nothing added.
        decoded = value.text.replace("%3A", ":").replace("%2B", "+")
        assert decoded.split(separator)[1:] == [clone_id.decode() for clone_id in as_cookie]
    else:
        assert as_cookie == []


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.text)
def test_real_value_with_the_other_separator_has_the_same_clone_ids(value: SessionValue) -> None:
    """CloneSeparatorChange swaps one character and nothing else."""
    own = value.separator or ":"
    other = "+" if own == ":" else ":"
    decoded = value.text.replace("%3A", ":").replace("%2B", "+")
    before = check([b"JSESSIONID=" + decoded.encode()], b"", separator=own.encode())
    swapped = decoded.replace(own, other).encode()
    assert before == check([b"JSESSIONID=" + swapped], b"", separator=other.encode())
    assert before == check([], b"/x;jsessionid=" + swapped, separator=other.encode())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.text)
def test_form_of_a_real_value(value: SessionValue) -> None:
    """WebSphere's values are of its form, and nobody else's are: Tomcat's hexadecimal may begin with four digits, too."""
    session = re.split(r"[:+]|%3A", value.text, maxsplit=1)[0]
    assert is_websphere_form(session.encode()) is (value.session_id_len == 23)
