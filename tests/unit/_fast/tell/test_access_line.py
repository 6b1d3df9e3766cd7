"""A line of the access log has what an oracle finds in the request's head."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.oracles.clone_ids import cookie_values
from tests.support.oracles.mask import Masker, escape
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.mask import SessionNames
from wsproxy.config.access_format import JSON_FIELDS, parse_format

pytestmark = pytest.mark.asan

FORMAT = '%a|%r|%m|%U|%q|%H|%v|%s|%b|%B|%O|%X|%{WAS}e|%{Referer}i|%{X-A}i|%{Cookie}i|%{Authorization}i|%{JSESSIONID}C|%{theme}C|"'
NAMES = frozenset((b"JSESSIONID",))
oracle = Masker(NAMES)
BYTES = st.sampled_from([bytes((c,)) for c in range(0x20, 0x7F)] + [b"\t", b"\x80", b"\xff"])
VALUES = st.lists(
    st.one_of(st.sampled_from([b"JSESSIONID=", b"theme=", b"; ", b";", b", ", b",", b"0000abc:k1", b"=", b";jsessionid="]), BYTES),
    max_size=8,
).map(b"".join)  # fmt: skip
FIELDS = st.lists(
    st.tuples(st.sampled_from([b"Referer", b"X-A", b"x-a", b"Cookie", b"cookie", b"Authorization", b"X-AB"]), VALUES),
    max_size=6,
)  # fmt: skip
TARGETS = st.lists(
    st.sampled_from([b"/", b"a", b";jsessionid=0001xyz:k1", b";p=q", b"?", b'"', b"%3B", b"="]),
    max_size=6,
).map(lambda pieces: b"/" + b"".join(pieces))


def found(fields: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for key, value in fields if key.lower() == name]


def session_of(fields: list[tuple[bytes, bytes]]) -> bytes:
    """As affinity reads it."""
    values = [
        each for value in found(fields, b"cookie") for each in cookie_values(value, b"JSESSIONID")
    ]
    return values[0] if values else b""


def cookie(fields: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    for value in found(fields, b"cookie"):
        for each in value.split(b";"):
            key, equals, rest = each.lstrip(b" \t").partition(b"=")
            if key == name and equals:
                return rest.rstrip(b" \t")
    return b""


def expected(target: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
    path, mark, query = target.partition(b"?")
    addresses = [oracle.address(value) for value in found(fields, b"referer")]
    cookies = [oracle.field(b"cookie", value) for value in found(fields, b"cookie")]
    session = session_of(fields)
    parts = [
        b"192.0.2.1",
        oracle.request_line(b"GET " + target + b" HTTP/1.1"),
        b"GET",
        oracle.address(path),
        oracle.text(mark + query, "query"),
        b"HTTP/1.1",
        b"h.example",
        *(b"200", b"-", b"0", b"0", b"+", b"-"),
        b", ".join(addresses) or b"-",
        b", ".join(oracle.text(value) for value in found(fields, b"x-a")) or b"-",
        b", ".join(cookies) or b"-",
        b", ".join(b"***" for _ in found(fields, b"authorization")) or b"-",
        oracle.session(session) if session else b"-",
        b"***" if cookie(fields, b"theme") else b"-",
        b'"\n',
    ]
    return b"|".join(parts)


@given(TARGETS, FIELDS)
@example(b"/", [(b"Cookie", b"a=b; JSESSIONID=0000abc:k1 ; theme=dark")])
@example(b"/", [(b"Cookie", b"a=b, JSESSIONID = 0000abc:k1, theme=dark")])
@example(b"/", [(b"Cookie", b"JSESSIONID"), (b"Cookie", b"JSESSIONID=")])
def test_lines_are_the_oracles(target: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    log = AccessLog(parse_format(FORMAT), lambda lines, count: None, SessionNames(NAMES))
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    head = b"GET " + target + b" HTTP/1.1\r\nHost: h.example\r\n" + lines + b"\r\n"
    for _ in range(2):  # the second one in the memory of the first
        assert log.line_of(head) == expected(target, fields)


LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 60]
ADDRESSES = st.sampled_from(LENGTHS).flatmap(
    lambda length: st.lists(st.one_of(st.just(b"7"), BYTES), min_size=length, max_size=length)
)  # fmt: skip


@given(ADDRESSES.map(b"".join), ADDRESSES.map(b"".join), st.booleans())
@example(b"192.0.2.1", b"192.0.2.7:9080", False)
@example(b"-", b"-", True)
@example(b'fe80::1%"', b"\xff" * 32, False)
def test_an_address_that_is_known_to_be_plain_is_written_the_same(
    peer: bytes, server: bytes, json: bool
) -> None:
    """The quick way, with what a connection knows of its addresses, and the one that looks at them."""
    form = '{"a":%a,"h":%h,"s":%{WAS}e,"m":%m,"w":%{WAS}e}' if json else "%h|%{WAS}e%a|%m %{WAS}e"
    log = AccessLog(parse_format(form), lambda lines, count: None, json=json)
    head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    quick = log.line_of(head, peer, server=server, knows_plain=True)
    assert quick == log.line_of(head, peer, server=server)
    assert json or quick.startswith((escape(peer) or b"-") + b"|")


OTHERS = ["%A", "%p", "%{cause}x", "%{rule}x", "%{route}x", "%{tries}x", "%{connect_us}x", "%{TPSB}e", "%{cluster}x"]  # fmt: skip
DIRECTIVES = [*FORMAT.split("|")[:-1], *OTHERS]


@given(
    st.lists(st.sampled_from(DIRECTIVES), min_size=1, max_size=30),
    st.sampled_from(["", "|", '"' * 40]),
    TARGETS,
    FIELDS,
    st.sampled_from([0, 60, 700, 5000]),
)
def test_parts_in_any_order_are_each_as_alone(
    directives: list[str],
    between: str,
    target: bytes,
    fields: list[tuple[bytes, bytes]],
    more: int,
) -> None:
    """Early and late ones, however they are mixed, and however long values are."""
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    referer = b"Referer: " + b"r" * more + b"\r\n" if more else b""
    head = b"GET " + target + b" HTTP/1.1\r\nHost: h.example\r\n" + lines + referer + b"\r\n"

    def told(text: str) -> bytes:
        log = AccessLog(parse_format(text), lambda lines, count: None, SessionNames(NAMES))
        return log.line_of(head, server=b"192.0.2.7:9080", knows_plain=True)[:-1]

    alone = {each: told(each) for each in set(directives)}
    assert told(between.join(directives)) == between.encode().join(
        alone[each] for each in directives
    )


@given(st.binary(max_size=60))
@example(b"")
@example(b"\r\n")
@example(b"\n")
def test_what_is_no_request_has_its_first_line(data: bytes) -> None:
    log = AccessLog(parse_format("%r|%U|%{X}i"), lambda lines, count: None)
    first, newline, _ = data.partition(b"\n")
    if newline and first.endswith(b"\r"):
        first = first[:-1]
    assert log.line_of(data) == (oracle.request_line(first) or b"-") + b"|-|-\n"


def test_long_values_are_cut_and_long_lines_leave_no_memory_behind() -> None:
    log = AccessLog(parse_format("%r"), lambda lines, count: None)
    assert len(log.line_of(b"\xff" * 100_000)) == 4 * 16384 + 1
    assert log.line_of(b"x\n") == b"x\n"
    for directive in ("%v", "%{Host}i", "%U", "%q"):
        log = AccessLog(parse_format(directive), lambda lines, count: None)
        path = b"/" + b"x" * 30_000
        head = b"GET %b?%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, path, b"h" * 30_000)
        assert len(log.line_of(head)) == 16384 + 1


@pytest.mark.parametrize("name", ["X", "Refer", "referer", "X-Forwarded-For", "X-0123456789_^~|`"])
def test_a_field_is_found_in_any_case_and_no_other_one(name: str) -> None:
    """Whatever its length, letters alone compare in any case."""
    log = AccessLog(parse_format(f"%{{{name}}}i"), lambda lines, count: None)
    for same in {name.upper(), name.lower(), name.swapcase(), name.title()}:
        assert log.line_of(b"GET / HTTP/1.1\r\nHost: h\r\n%b: v\r\n\r\n" % same.encode()) == b"v\n"
    for at in range(len(name)):
        for instead in set("a0-_^~|`!") - {name[at].lower()}:
            other = (name[:at] + instead + name[at + 1 :]).encode()
            assert log.line_of(b"GET / HTTP/1.1\r\nHost: h\r\n%b: v\r\n\r\n" % other) == b"-\n"


def as_json(value: bytes) -> str | None:
    """What a reader of JSON is to get for a value that is written ``value`` in other formats."""
    if value == b"-":
        return None
    plain = re.sub(
        rb"\\(?:x([0-9a-f]{2})|(.))",
        lambda found: bytes([int(found[1], 16)]) if found[1] else CONTROLS.get(found[2], found[2]),
        value,
    )
    return plain.decode("latin-1")


CONTROLS = {b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"r": b"\r"}
STRINGS = {
    "client": "%a",
    "host": "%v",
    "request": "%r",
    "method": "%m",
    "path": "%U",
    "query": "%q",
    "protocol": "%H",
    "jsessionid": "%{JSESSIONID}C",
    "referer": "%{Referer}i",
    "user_agent": "%{User-Agent}i",
}


def lines_in_both(data: bytes) -> tuple[dict[str, Any], dict[str, str | None]]:
    """The JSON of a request, and what its strings are by the other format's escapes."""
    kept: list[bytes] = []
    log = AccessLog(
        parse_format("json"),
        lambda lines, count: kept.append(lines),
        SessionNames(NAMES),
        json=True,
    )
    found: dict[str, Any] = json.loads(log.line_of(data))
    values = {}
    for name, directive in STRINGS.items():
        other = AccessLog(parse_format(directive), lambda lines, count: None, SessionNames(NAMES))
        values[name] = as_json(other.line_of(data)[:-1])
    return found, values


@given(TARGETS, FIELDS, st.binary(max_size=20))
@example(b"/", [(b"Referer", b'a\\\xe9"b\tc')], b"")
@example(b"/", [(b"Referer", b"-")], b"")
def test_json_has_the_same_values(
    target: bytes, fields: list[tuple[bytes, bytes]], noise: bytes
) -> None:
    """Each line is one object with its names in their order; a value is what other formats write, escaped as JSON, or null."""
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    for data in (
        b"GET " + target + b" HTTP/1.1\r\nHost: h.example:81\r\n" + lines + b"\r\n",
        noise,
    ):
        found, values = lines_in_both(data)
        assert list(found) == [name for name, _, _ in JSON_FIELDS]
        assert {name: found[name] for name in STRINGS} == values
        assert (found["port"], found["status"], found["body_bytes"]) == (80, 200, 0)
        assert (found["server"], found["connection"]) == (None, "kept")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["time"])
