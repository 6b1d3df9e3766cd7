"""The small languages and words: names of VirtualHosts, kinds of attributes, nearest names, texts that are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.config.attributes import parse_value
from wsproxy.config.model import AttributeSpec
from wsproxy.config.patterns import HostAndPort, parse_virtual_host
from wsproxy.config.problems import listed, nearest, printable, quoted, shown
from wsproxy.config.syntax import first_start_tag, start_tag_lines


@given(
    st.sampled_from(["*", "h", "WWW.example.com", "10.0.0.1", "[::1]", "[2001:DB8::1]"]),
    st.one_of(st.none(), st.just("*"), st.integers(1, 65535).map(str)),
)
def test_every_host_with_every_port_is_split(host: str, port: str | None) -> None:
    parts = parse_virtual_host(host if port is None else f"{host}:{port}")
    assert parts == HostAndPort(
        host.strip("[]").lower(), 80 if port is None else None if port == "*" else int(port)
    )


@given(st.text(max_size=12))
def test_any_text_is_split_or_refused_with_what_is_allowed(name: str) -> None:
    try:
        parts: HostAndPort | None = parse_virtual_host(name)
    except ValueError as error:
        reason, parts = str(error), None
    else:
        reason = ""
    assert ("host" in reason or "IPv6" in reason) == (parts is None)
    if parts is not None:
        assert parts.host
        assert parts.port is None or 1 <= parts.port <= 65535


@pytest.mark.parametrize("text", ["", "+1", "1.0", " 1", "1\n", "1_0", "٣", "0x1", "--1", "1" * 11])
def test_only_plain_digits_are_a_number(text: str) -> None:
    assert parse_value(AttributeSpec("N", "int", ""), text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("5", 5), ("0", None), ("6", None), ("-1", None)]
)
def test_a_range_includes_its_ends(text: str, value: int | None) -> None:
    assert parse_value(AttributeSpec("N", "int", "", low=1, high=5), text) == value


def test_a_false_boolean_is_a_value() -> None:
    assert parse_value(AttributeSpec("B", "bool", ""), "false") is False


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CloneId", "CloneID"),
        ("CLONEID", "CloneID"),
        ("ConectTimeout", "ConnectTimeout"),
        ("x", None),
    ],
)
def test_the_nearest_name_is_the_one_that_was_meant(name: str, expected: str | None) -> None:
    assert nearest(name, ["Name", "CloneID", "ConnectTimeout"]) == expected


def test_a_shown_text_cannot_drive_a_terminal() -> None:
    assert printable("a\x1b[31m\x9b\n\u202eb\udcff") == "a\\x1b[31m\\x9b\\n\\u202eb\\udcff"
    assert printable("ü€") == "ü€"


def test_a_long_text_is_cut() -> None:
    assert len(quoted("x" * 1000)) == 82


@pytest.mark.parametrize("name", ["password", "SSLPKCSPassword", "keySecret"])
def test_a_secret_is_not_shown(name: str) -> None:
    assert shown(name, "hunter2") == f'{name}="***"'


def test_a_list_names_some_and_counts_the_rest() -> None:
    assert listed(["a", "b"]) == '"a", "b"'
    assert listed(list("abcde")) == '"a", "b", "c" and 2 more'


def test_tags_are_found_where_they_begin() -> None:
    data = b"<?x <no>?>\n<!-- <no> -->\n<A\n b='>'>\n<![CDATA[<no>]]><B/></A>"
    assert start_tag_lines(data) == [3, 5]
    assert first_start_tag(data) == ("A", 3)
    assert first_start_tag(b"no tag") is None
