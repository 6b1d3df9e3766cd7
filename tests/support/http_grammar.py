"""
Hypothesis strategies for HTTP/1.1 messages: good ones from the grammar, and what attackers make of them.

Driven by ``tests/unit/_fast``. Good ones are good by construction, so a test can insist that they are accepted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import strategies as st

METHODS = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"get",
    b"M-SEARCH",
    b"!#$%&'*+-.^_`|~",
]
HOSTS = [b"a", b"www.example.com", b"10.0.0.1", b"host_name-1", b"[::1]", b"[2001:db8::8.8.8.8]"]
PORTS = [b"", b":", b":0", b":80", b":9443", b":65535", b":00080"]
TARGETS = [
    b"/",
    b"/snoop",
    b"/a/b;jsessionid=0000x:c1/d;p?q=1;2",
    b"//twice//",
    b"/%2e%2E/%00?a=b&c=d?",
    b'/?{|}^"<>\\`~',
    b"/app;JSESSIONID=x",
]
VALUES = [b"", b"x", b"a, b", b"na\xc3\xafve \xff", b"a\tb", b'"q:\\" ; ,"', b"x" * 60]
NAMES = [
    b"Accept",
    b"X-A",
    b"x-b",
    b"Cookie",
    b"$WSRA",
    b"$WSXX",
    b"$WS",
    b"_WS_HAPRT_WLMVERSION",
    b"_ws_",
    b"Keep-Alive",
    b"TE",
    b"Trailer",
    b"Upgrade",
    b"Proxy-Connection",
    b"Close",
    b"^_`|~",
    b"Hos",
    b"Content-Lengt",
    b"Content_Length",
    b"Transfer-Encodin",
]
CONNECTIONS = [
    b"close",
    b"Keep-Alive",
    b"keep-alive, Upgrade",
    b"x-a",
    b",, X-A ,,x-b\t,",
    b"Content-Length, Host, Transfer-Encoding",
    b"",
    b"CLOSE,TE",
    b"cookie, $wsra",
]
BLANKS = [b"", b" ", b"\t", b"  \t "]

# What mutations put in: bytes and words on which parsers have disagreed (PEERS.md D).
TRICKY_BYTES = [
    bytes([c]) for c in b"\r\n\0 \t:;,=\"'()<>@[]{}/?#\\\x0b\x0c\x1f\x7f\x80\xa0\xff+-0x"
]
TRICKY_WORDS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\r\n ",
    b"Host: b\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: +3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Connection: close\r\n",
    b"Connection: a b\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: 200-ok\r\n",
    b"Max-Forwards: 0\r\n",
    b"max-forwards:1 \r\n",
    b"Max-Forwards: -1\r\n",
    b"TRACE",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b" HTTP/2.0",
    b"http://",
    b"https://u@h:1/",
    b"*",
    b"0\r\n\r\n",
    b"chunked",
]


# Whole lines, made beforehand: to put each together from its parts takes hypothesis four times as long as to pick one.


def field_lines(names: list[bytes] = NAMES) -> st.SearchStrategy[bytes]:
    """One ordinary field line."""
    parts = itertools.product(names, VALUES, BLANKS, BLANKS)
    return st.sampled_from([b"%b:%b%b%b\r\n" % (name, a, value, b) for name, value, a, b in parts])


FIELDS = st.lists(field_lines(), max_size=5)
ANSWER_FIELDS = st.lists(field_lines([*NAMES, b"Set-Cookie", b"Host", b"Host"]), max_size=6)
TRAILER_FIELDS = st.lists(field_lines(), max_size=2)
CONNECTION_FIELDS = st.lists(
    st.sampled_from([b"Connection: %b\r\n" % value for value in CONNECTIONS]), max_size=2
)
AUTHORITIES = [host + port for host in HOSTS for port in PORTS]
HOST_FIELDS = st.sampled_from(
    [
        b"hOST:%b%b%b\r\n" % (a, authority, b)
        for authority, a, b in itertools.product(AUTHORITIES, BLANKS, BLANKS)
    ]
)
# How long the body is: as often nothing as a length or, from HTTP/1.1 on, chunked.
NO_FRAMING: list[list[bytes]] = [[]] * 4
LENGTHS = [
    [b"CONTENT-length:%b\r\n" % text] for text in (b"0", b"5", b"0005", b"999999999999999999")
]
CHUNKED = [[b"transfer-Encoding:%b\r\n" % text] for text in (b"chunked", b"\tChunKED ") * 2]
FRAMINGS = [
    st.sampled_from(NO_FRAMING + LENGTHS),
    st.sampled_from(NO_FRAMING + LENGTHS + CHUNKED),
]
REQUEST_LINES = st.sampled_from(
    [
        (method, target)
        for method in METHODS
        for target in [
            *TARGETS * 8,
            *(
                scheme + authority + path
                for scheme in (b"http://", b"HTTPS://")
                for authority in AUTHORITIES[::5]
                for path in (b"", *TARGETS[::2])
            ),
            *([b"*"] * 60 if method == b"OPTIONS" else []),
        ]
    ]
)
STATUS_LINES = st.sampled_from(
    [
        b" %b%b\r\n" % (status, reason)
        for status in (b"100", b"101", b"200", b"204", b"304", b"404", b"503", b"999")
        for reason in (b"", b" ", b" OK", b" Not Found\t", b" \xe4\xff")
    ]
)


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    """A request head that must be accepted."""
    minor = draw(st.integers(0, 1))
    method, target = draw(REQUEST_LINES)
    lines = draw(FIELDS)
    if minor or draw(st.booleans()):
        lines.append(draw(HOST_FIELDS))
    lines += draw(FRAMINGS[minor])
    lines += draw(CONNECTION_FIELDS)
    if draw(st.booleans()):
        lines.append(b"Expect: 100-Continue\r\n")
    lines = draw(st.permutations(lines))
    return b"%s %s HTTP/1.%d\r\n%s\r\n" % (method, target, minor, b"".join(lines))


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    """A response head that must be accepted."""
    minor = draw(st.integers(0, 1))
    lines = draw(ANSWER_FIELDS) + draw(FRAMINGS[minor]) + draw(CONNECTION_FIELDS)
    lines = draw(st.permutations(lines))
    return b"HTTP/1.%d%s%s\r\n" % (minor, draw(STATUS_LINES), b"".join(lines))


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body that must be accepted."""
    parts = []
    for payload in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"00000000%x"])) % len(payload)
        parts.append(size + draw(extensions()) + b"\r\n" + payload + b"\r\n")
    parts.append(draw(st.sampled_from([b"0", b"000000000000000"])) + draw(extensions()) + b"\r\n")
    parts += draw(TRAILER_FIELDS)
    return b"".join(parts) + b"\r\n"


def extensions() -> st.SearchStrategy[bytes]:
    return st.sampled_from([b"", b"", b";a", b";a=b", b'; a = "b;\t\xff"', b";" + b"e" * 200])


def flip_byte(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    if at == len(data):
        return data
    return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]


def insert_byte(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + draw(st.sampled_from(TRICKY_BYTES)) + data[at:]


def replace_byte(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + draw(st.sampled_from(TRICKY_BYTES)) + data[at + 1 :]


def insert_word(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    """At a line's start more often than elsewhere: whole lines are what attackers add."""
    starts = [n + 1 for n, byte in enumerate(data) if byte == 0x0A]
    at_start = draw(st.booleans())
    if starts and at_start:
        at = draw(st.sampled_from(starts))
    return data[:at] + draw(st.sampled_from(TRICKY_WORDS)) + data[at:]


def delete_bytes(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at] + data[at + draw(st.integers(1, 4)) :]


def repeat_line(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    lines = data.split(b"\n")
    line = draw(st.integers(0, len(lines) - 1))
    return b"\n".join([*lines[: line + 1], *lines[line:]])


def cut_end(draw: st.DrawFn, data: bytes, at: int) -> bytes:
    return data[:at]


MUTATIONS: list[Callable[[st.DrawFn, bytes, int], bytes]] = [
    flip_byte,
    insert_byte,
    replace_byte,
    insert_word,
    delete_bytes,
    repeat_line,
    cut_end,
]


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with one to three wounds."""
    data = draw(messages)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data = draw(st.sampled_from(MUTATIONS))(draw, data, at)
    return data


@st.composite
def in_pieces(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> list[bytes]:
    """A message cut anywhere, empty pieces too."""
    data = draw(messages)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
