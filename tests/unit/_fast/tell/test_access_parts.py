"""A format's parts are those that were asked for, in their order, as many as there is room for."""

from __future__ import annotations

import pytest

from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.access_parts import MOST_ITEMS, MOST_LATE, Item
from wsproxy.config.access_format import parse_format

pytestmark = pytest.mark.asan

HEAD = b"GET /a HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n"


def line_of(text: str, head: bytes = HEAD) -> bytes:
    return AccessLog(parse_format(text), lambda lines, count: None).line_of(head)


def test_fields_of_names_of_one_length_are_told_apart() -> None:
    """The same one may be asked for again; several of a name are one value."""
    assert line_of("%{X-B}i %{X-A}i %{X-C}i %{x-b}i") == b"2 1, 3 - 2\n"


def test_names_of_any_length() -> None:
    for length in (1, 7, 8, 9, 62, 63, 64, 65, 200):
        name, other = "n" * length, "n" * (length - 1) + "m"
        head = f"GET / HTTP/1.1\r\nHost: h\r\n{other}: no\r\n{name.upper()}: yes\r\n\r\n"
        assert line_of(f"%{{{name}}}i", head.encode()) == b"yes\n"


def test_a_second_field_counts_where_the_first_is_empty() -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX-A:\r\nX-A: 3\r\n\r\n"
    assert line_of("%{X-A}i|%{X-A}i", head) == b", 3|, 3\n"


def test_what_is_a_secret_is_hidden_even_where_it_is_empty() -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization:\r\n\r\n"
    assert line_of("%{Authorization}i %{Proxy-Authorization}i", head) == b"*** -\n"


def test_as_many_parts_as_there_is_room_for() -> None:
    assert line_of("%m" * MOST_ITEMS) == b"GET" * MOST_ITEMS + b"\n"
    assert line_of("%s" * MOST_LATE) == b"200" * MOST_LATE + b"\n"
    with pytest.raises(ValueError, match="allowed are"):
        AccessLog([(int(Item.METHOD), b"")] * 200, lambda lines, count: None)
    with pytest.raises(ValueError, match="allowed are"):
        AccessLog([(int(Item.STATUS), b"")] * (MOST_LATE + 1), lambda lines, count: None)
