"""
Hypothesis strategies for HTTP/1.1 messages: good ones from the grammar, and what attackers make of them.

Driven by ``tests/parity``. Good ones are good by construction, so a test can insist that they are accepted.
"""

from __future__ import annotations

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
BLANKS = st.sampled_from([b"", b" ", b"\t", b"  \t "])

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


@st.composite
def field_lines(draw: st.DrawFn, *, names: list[bytes] = NAMES) -> bytes:
    """One ordinary field line."""
    name = draw(st.sampled_from(names))
    return name + b":" + draw(BLANKS) + draw(st.sampled_from(VALUES)) + draw(BLANKS) + b"\r\n"


@st.composite
def framing_lines(draw: st.DrawFn, *, minor: int) -> list[bytes]:
    """Lines that say how long the body is: none, a length, or chunked."""
    lengths = [b"0", b"5", b"0005", b"999999999999999999"]
    length = st.sampled_from(lengths).map(lambda text: [b"CONTENT-length:" + text + b"\r\n"])
    chunked = st.sampled_from([b"chunked", b"\tChunKED "]).map(
        lambda text: [b"transfer-Encoding:" + text + b"\r\n"]
    )
    return draw(
        st.one_of(st.just([]), length, chunked) if minor else st.one_of(st.just([]), length)
    )


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    """A request head that must be accepted."""
    minor = draw(st.integers(0, 1))
    method = draw(st.sampled_from(METHODS))
    authority = draw(st.sampled_from(HOSTS)) + draw(st.sampled_from(PORTS))
    targets = st.sampled_from(TARGETS)
    absolute = st.builds(
        lambda scheme, path: scheme + authority + path,
        st.sampled_from([b"http://", b"HTTPS://"]),
        st.sampled_from([b"", *TARGETS]),
    )
    target = draw(st.one_of(targets, absolute))
    if method == b"OPTIONS" and draw(st.booleans()):
        target = b"*"
    lines = draw(st.lists(field_lines(), max_size=5))
    if minor or draw(st.booleans()):
        host = draw(st.sampled_from(HOSTS)) + draw(st.sampled_from(PORTS))
        lines.append(b"hOST:" + draw(BLANKS) + host + draw(BLANKS) + b"\r\n")
    lines += draw(framing_lines(minor=minor))
    lines += draw(
        st.lists(
            st.sampled_from(CONNECTIONS).map(lambda v: b"Connection: " + v + b"\r\n"), max_size=2
        )
    )
    if draw(st.booleans()):
        lines.append(b"Expect: 100-Continue\r\n")
    lines = draw(st.permutations(lines))
    return b"%s %s HTTP/1.%d\r\n%s\r\n" % (method, target, minor, b"".join(lines))


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    """A response head that must be accepted."""
    minor = draw(st.integers(0, 1))
    status = draw(st.sampled_from([b"100", b"101", b"200", b"204", b"304", b"404", b"503", b"999"]))
    reason = draw(st.sampled_from([b"", b" ", b" OK", b" Not Found\t", b" \xe4\xff"]))
    lines = draw(st.lists(field_lines(names=[*NAMES, b"Set-Cookie", b"Host", b"Host"]), max_size=6))
    lines += draw(framing_lines(minor=minor))
    lines += draw(
        st.lists(
            st.sampled_from(CONNECTIONS).map(lambda v: b"Connection: " + v + b"\r\n"), max_size=2
        )
    )
    lines = draw(st.permutations(lines))
    return b"HTTP/1.%d %s%s\r\n%s\r\n" % (minor, status, reason, b"".join(lines))


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    """A chunked body that must be accepted."""
    parts = []
    for payload in draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"00000000%x"])) % len(payload)
        parts.append(size + draw(extensions()) + b"\r\n" + payload + b"\r\n")
    parts.append(draw(st.sampled_from([b"0", b"000000000000000"])) + draw(extensions()) + b"\r\n")
    parts += draw(st.lists(field_lines(), max_size=2))
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
