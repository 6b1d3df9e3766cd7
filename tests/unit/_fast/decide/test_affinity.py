"""Clone ids by example: order, limits and what is not one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy._fast.decide.affinity import read_clone_ids

pytestmark = pytest.mark.asan


def test_ssl_cookie_comes_first_then_cookie_then_path() -> None:
    cookies = [b"JSESSIONID=0000a:c2; SSLJSESSION=0001SESSIONMANAGEMENTAFFINI:c1"]
    assert read_clone_ids(cookies, b"/x;jsessionid=0000a:c3") == [b"c1", b"c2", b"c3"]


def test_cookie_is_found_wherever_it_stands() -> None:
    """PQ85554: the plug-in once missed a cookie that was not the first."""
    assert read_clone_ids([b"a=b", b"c=d; JSESSIONID=0000a:c1", b"e=f"], b"/") == [b"c1"]


def test_cookie_name_is_compared_with_case() -> None:
    assert read_clone_ids([b"jsessionid=0000a:c1; JSessionID=0000a:c2"], b"/") == []


def test_cookie_whose_name_only_begins_or_ends_alike_is_another() -> None:
    cookies = [
        b"JSESSIONID2=x:c1; XJSESSIONID=x:c2; JSESSIONID x=x:c3; JSESSIONI=x:c4; $JSESSIONID=x:c5"
    ]
    assert read_clone_ids(cookies, b"/") == []


@pytest.mark.parametrize(
    "field",
    [
        b"a=1, JSESSIONID=0000a:c1",
        b"a=1,JSESSIONID=0000a:c1",
        b"JSESSIONID=0000a:c1, a=1:2",
        b"JSESSIONID=0000a:c1,",
        b"JSESSIONID = 0000a:c1",
        b"JSESSIONID\t=  0000a:c1 \t; a=b",
        b'$Version=1, JSESSIONID = "0000a:c1"; $Path="/"',
        b",;, ;JSESSIONID=0000a:c1",
    ],
)
def test_cookie_is_read_as_servers_read_it(field: bytes) -> None:
    """Joined by a gateway, in RFC 2109's form, with blanks around the equals sign."""
    assert read_clone_ids([field], b"/") == [b"c1"]


def test_name_within_a_value_is_none() -> None:
    for field in (
        b"a=JSESSIONID=x:c1",
        b'a="JSESSIONID=x:c1"',
        b"a=b JSESSIONID=x:c1",
        b"JSESSIONID",
        b"JSESSIONID ",
    ):
        assert read_clone_ids([field], b"/") == []


def test_value_longer_than_one_look_is_read_to_its_end() -> None:
    """Its end is searched in windows of 256 bytes."""
    for length in range(250, 262):
        session = b"x" * length
        assert read_clone_ids([b"JSESSIONID=" + session + b":c1,a=b:c; d=e"], b"/") == [b"c1"]
        assert read_clone_ids([b"JSESSIONID=" + session + b":c1; a=b,d"], b"/") == [b"c1"]
        assert read_clone_ids([b"JSESSIONID=" + session + b":c1"], b"/") == [b"c1"]


def test_all_cookies_of_one_name_are_read_in_order() -> None:
    """Q10: the first may be a stale one of another path."""
    assert read_clone_ids([b"JSESSIONID=x:c1; JSESSIONID=x:c2:c3"], b"/") == [b"c1", b"c2", b"c3"]


def test_cookie_with_any_name_can_carry_the_session() -> None:
    name = b"AMWEBJCT!%2FFIM!JSESSIONID"
    assert read_clone_ids([name + b"=0000x:a-b:c-d"], b"/", name) == [b"a-b", b"c-d"]


def test_encoded_separator_separates_in_either_case() -> None:
    assert read_clone_ids([b"JSESSIONID=x%3Ac1%3ac2"], b"/") == [b"c1", b"c2"]
    assert read_clone_ids([b"JSESSIONID=x%2Bc1%2bc2:c3"], b"/", separator=b"+") == [b"c1", b"c2:c3"]


def test_cut_encoding_at_the_end_is_not_read_beyond() -> None:
    for end in (b"%", b"%3", b"%3A"):
        assert read_clone_ids([b"JSESSIONID=x:c1" + end], b"/x;jsessionid=x:c2" + end) == [
            b"c1" + end.replace(b"%3A", b""),
            b"c2" + end.replace(b"%3A", b""),
        ]


def test_path_parameter_ends_with_its_segment() -> None:
    path = b"/a;jsessionid=x:c1/b;p=q;jsessionid=x:c2;r=s/c;xjsessionid=x:c3"
    assert read_clone_ids([], path) == [b"c1", b"c2"]


def test_empty_clone_ids_are_none() -> None:
    assert read_clone_ids([b"JSESSIONID=::c1:::c2:"], b"/;jsessionid=:") == [b"c1", b"c2"]


def test_no_more_than_64_clone_ids_are_looked_at() -> None:
    """A hostile cookie costs a bounded time."""
    many = b":".join(b"c%d" % index for index in range(1000))
    assert read_clone_ids([b"JSESSIONID=x:" + many], b"/") == [b"c%d" % n for n in range(64)]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed is 300"):
        read_clone_ids([b""] * 301, b"/")
    with pytest.raises(ValueError, match="allowed is one byte"):
        read_clone_ids([], b"/", separator=b"")
    with pytest.raises(TypeError):
        read_clone_ids(["JSESSIONID=x:c1"], b"/")  # type: ignore[list-item]


COOKIES = st.lists(
    st.sampled_from(
        [b"JSESSIONID", b"SSLJSESSION", b"JSESSIONIDX", b"=", b"; ", b",", b" ", b'"', b"0000x", b":c1", b":c2", b"a"]
    ),
    max_size=14,
).map(b"".join)  # fmt: skip


@given(st.lists(COOKIES, max_size=3), st.sampled_from([b"JSESSIONID", b"SSLJSESSION", b"a"]))
@example([b"a=b", b"JSESSIONID=x:c1; JSESSIONID=x:c2"], b"JSESSIONID")
@example([b'JSESSIONID="x:c1", JSESSIONID=x:c2'], b"JSESSIONID")
def test_a_cookie_that_was_found_before_is_the_same(fields: list[bytes], name: bytes) -> None:
    """The access log looks for a session's cookie first; what it found is not looked for again."""
    assert read_clone_ids(fields, b"/", name, is_known=True) == read_clone_ids(fields, b"/", name)
