"""
What the fuzzer begins with for each target: inputs that reach far into the readers, and the words of their grammars.

Driven by ``__main__`` (writes them to files for libFuzzer) and ``test_replay`` (each must pass its target). Takes what the
repository has: raw requests of tests/corpus, golden cases, sample configurations; and the shared corpus where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tests.support.corpus import CORPUS as REQUESTS
from tests.support.golden import CASES, SAMPLES, source, split
from tests.support.http_grammar import CONNECTIONS, NAMES, VALUES
from tests.support.jsessionids import CORPUS as SESSIONS
from tests.support.jsessionids import session_values
from tests.support.plugin_log import PluginLog
from wsproxy.config import model
from wsproxy.config.attributes import specs_of
from wsproxy.config.model import AttributeSpec
from wsproxy.logs.messages import SHAPES, Code, wanted

# Mutations of longer inputs tell little more and take longer; limits are met with small ones (targets set small limits).
MAX_BYTES = {
    "request_head": 2048,
    "response_head": 1024,
    "chunked": 512,
    "clone_ids": 512,
    "plugin_cfg": 6144,
    "plugin_log": 4096,
    "told": 1024,
}

RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-a, close\r\nX-A: b\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b'HTTP/1.1 304 \r\nETag: "x"\r\n$WSEP: \r\nSet-Cookie: JSESSIONID=0000a:c1; Path=/\r\n\r\n',
    b"HTTP/1.1 500 \xe9\r\nVia: 1.1 a\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n",
)
BODIES = (
    b"5;a=b\r\nhello\r\n0a\r\n0123456789\r\n0\r\nX-T: v\r\n\r\n",
    b"0\r\n\r\nGET / HTTP/1.1\r\n",
    b"fffffffffffffff\r\nx",
    b"1\r\na\r\n" * 20 + b"00\r\nA:\r\nB: c\td\r\n\r\n",
)
PATHS = (b"/", b"/snoop;jsessionid=0000x:c1:c2/a;j=1:c3?q", b"/a;JSESSIONID=y+d1;x=%3Ae1")
PRIVATE = (b"$WSIS", b"$WSRA", b"$WSSP", b"$WSFO", b"_WS_HAPRT_WLMVERSION")


def raw_requests() -> list[bytes]:
    return [path.read_bytes() for path in sorted(REQUESTS.glob("*/*.http"))]


def request_heads() -> Iterator[bytes]:
    """The raw requests; for its private fields, also one that nobody could send by mistake."""
    yield from raw_requests()
    fields = b"".join(b"%b: x\r\nConnection: %b\r\n" % (name, name) for name in PRIVATE)
    yield b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n%b\r\n" % fields


def response_heads() -> Iterator[bytes]:
    yield from RESPONSES
    for connection in CONNECTIONS:
        yield b"HTTP/1.1 200 OK\r\nconnection: %b\r\nClose: x\r\n\r\n" % connection


def chunked_bodies() -> Iterator[bytes]:
    yield from BODIES
    for request in raw_requests():
        head, blank, body = request.partition(b"\r\n\r\n")
        if blank and re.search(rb"(?i)\ntransfer-encoding:", head):
            yield body


def clone_id_texts() -> Iterator[bytes]:
    values = [value.text.encode() for value in session_values()]
    for number, value in enumerate([*values, b"0000x:c1", b'"0000x%3ac1:c2"', b"0000x%2Bc1+c2"]):
        option = bytes([number % 2])
        yield option + b"a=b; JSESSIONID=%b; c=d\nSSLJSESSION=s:c9\n/" % value
        yield option + b"\n/app/page;jsessionid=%b/x" % value
    for path in PATHS:
        yield b"\x0a" + b"J=x:c1;J=y:c2 \n" + path


def plugin_cfgs() -> Iterator[bytes]:
    for path in sorted(CASES.glob("*.txt")):
        yield source(split(path.read_text())[0])
    for path in sorted([*SAMPLES.glob("*.xml"), *SESSIONS.parent.glob("*/*.xml")]):
        yield path.read_bytes()


def plugin_logs() -> Iterator[bytes]:
    """One request of each kind in both dialects, some lines of threads that run beside each other, and the shared corpus."""
    for is_new in (True, False):
        log = PluginLog(is_new=is_new)
        log.routed("/a/b", "c", "/a/*")
        log.write(Code.PARSING, value="0000session:k1")
        log.named("s1", most=2)
        log.failed("s1", "h1")
        log.named("s2")
        log.served("s2", "h2", 9080, cookie="JSESSIONID=0000session:k1")
        log.counters("s2", 0, 0, 1)
        log.write(Code.END)
        yield log.text().encode()
        yield log.text().replace("\n", "").encode()
        yield log.text().replace(" ", "\n", 40).encode()
        for number in range(len(log.lines) // 3):
            log.lines[number] = log.lines[number].replace("b94", "b95")
        yield "\r\n".join(reversed(log.lines)).encode()
    for shape in SHAPES:
        yield f"{shape.level.name}: {shape.text(**dict.fromkeys(shape.pattern.groupindex, 7))}".encode()
    for path in sorted(
        [*SESSIONS.parent.glob("logs/*.log"), *SESSIONS.parent.parent.glob("seeds/004*")]
    ):
        yield path.read_bytes()


def told_heads() -> Iterator[bytes]:
    """Heads with sessions and passwords wherever they may be, and the raw requests."""
    values = (
        *(b"/a;jsessionid=0001ABC:c1/b?Sid=x", b"/a%3Bwsid%3DABC+c1", b"/a?b=%253Bjsessionid%253DX", b"http://u:p@h/?x=1"),
        *(b"a=b; JSESSIONID=\"0000x:c1\"; c", b"%3A%2F%2Fu%3Ap%40h%2F", b"\x1b[31m\xc2\x9b\xe2\x80\xae\xff\\x41"),
        *(b"0; url=/a;sid=x", b"[21/Nov/2026:16:17:21.30695] 1 1 - ERROR: x"),
    )  # fmt: skip
    for number, value in enumerate(values):
        fields = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name in (b"Referer", b"Cookie", b"Set-Cookie", b"X-Other", b"Authorization")
        )
        yield bytes([number % 4]) + b"GET %b HTTP/1.1\r\n%b\r\n" % (value, fields)
        yield bytes([number % 4]) + b"HTTP/1.1 200 %b\r\n%b\r\n" % (value, fields)
    for number, request in enumerate(raw_requests()):
        yield bytes([number % 4]) + request


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "request_head": request_heads,
    "response_head": response_heads,
    "chunked": chunked_bodies,
    "clone_ids": clone_id_texts,
    "plugin_cfg": plugin_cfgs,
    "plugin_log": plugin_logs,
    "told": told_heads,
}


def seeds(target: str) -> list[bytes]:
    """What is not longer than the target's MAX_BYTES, each once: libFuzzer would cut the others in the middle."""
    return [seed for seed in dict.fromkeys(SEEDS[target]()) if len(seed) <= MAX_BYTES[target]]


HEAD_WORDS = (
    *(b"\r\n", b"\r\n\r\n", b": ", b"HTTP/1.1", b"HTTP/1.0", b"Host: a\r\n", b"Content-Length: 1\r\n", b"\x7f"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: ", b"Expect: 100-continue\r\n", b"keep-alive", b"close"),
    *(b"upgrade", b"http://", b"https://", b"[::1]:", b"OPTIONS * ", b"CONNECT ", b"HEAD / ", b"chunked", b"\r"),
    *(b"Max-Forwards: 0\r\n", b"TRACE ", b"/../", b"//", b"..;", b"%2f", b"%2e", b"\\"),
    *(b"000000000000000001", b"65535", b"65536", b", ", b"\t", b" ", b"\0", b"\n", b";jsessionid=", b"?", b"#"),
)  # fmt: skip
CHUNK_WORDS = (
    b"\r\n",
    b"0\r\n\r\n",
    b"1\r\na\r\n",
    b"fffffffffffffff",
    b"0x",
    b";",
    b"a=b",
    b"X: y\r\n",
    b"0\r\nX-T: 1\r\nHost: a\r\nCookie: b\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"\n",
    b"\r",
)
SESSION_WORDS = (
    *(b"JSESSIONID=", b"SSLJSESSION=", b"jsessionid=", b"J=", b"j=", b"x=", b"a-b_c=", b"%3A", b"%3a", b"%2B"),
    *(b"%2b", b":", b"+", b";", b"; ", b'"', b"/", b"\n", b"=", b"%", b"0000x:c1", b"\t", b" "),
)  # fmt: skip
TOLD_WORDS = (
    *(b"\r\n", b"?", b"&", b"#", b"@", b"://", b"%3A%2F%2F", b"%40", b"%3B", b"%3D", b"%253D", b"wsid=", b"Sid="),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"Cookie: ", b"Set-Cookie: ", b"Referer: ", b"Authorization: "),
    *(b"$WSPT: ", b"\xc2\x9b", b"\xe2\x80\xae", b"\xff", b"\\x41", b"[29/Jul/2014:", b"[Wed Oct 03 ", b"\x1b"),
)  # fmt: skip
LOG_WORDS = (
    *(
        b"[Wed Oct 03 22:18:41 2012] 00000b60 00000b94 - ",
        b"[29/Jul/2014:11:28:47.86034] 007c0062 00000b0c - ",
    ),
    *(
        b"[Wed Oct  3 ",
        b"1/QTMHHTTP/W ",
        b"ERROR: ",
        b"DEBUG: ",
        b"DETAIL:    ",
        b"STATS: ",
        b"TRACE: ",
        b"PLUGIN: ",
    ),
    *(
        b"/a/b",
        b"'",
        b"k1:k2",
        b"s1",
        b"s2",
        b"*:443",
        b"\r\n",
        b"\n",
        b"....",
        b"default_host",
        b"JSESSIONID=0000x:k1",
    ),
)
XML_WORDS = (
    *(b'<?xml version="1.0"', b' encoding="ISO-8859-1"', b' encoding="UTF-16"', b"?>", b"<!--", b"-->", b"<![CDATA["),
    *(b"]]>", b"<!DOCTYPE ", b"<!ENTITY ", b"&amp;", b"&#10;", b"&#x1b;", b'="', b'"/>', b"</", b"/>", b"\xef\xbb\xbf"),
    *(b"${x}", b"-1", b"2147483647", b"99999999999", b"*:80", b"[::1]:*", b"/*", b"*.jsp", b'xmlns:a="b"'),
)  # fmt: skip


def specs() -> list[AttributeSpec]:
    """Every attribute of plugin-cfg.xml, class by class."""
    classes = [
        one
        for one in vars(model).values()
        if isinstance(one, type) and hasattr(one, "__dataclass_fields__")
    ]
    return [spec for cls in classes for spec in specs_of(cls).values()]


def xml_words() -> Iterator[bytes]:
    """The grammar of the file: elements as a model class or a golden case names them, attributes with a value."""
    yield from XML_WORDS
    for name in sorted(
        {tag for seed in plugin_cfgs() for tag in re.findall(rb"<([A-Za-z]+)", seed)}
    ):
        yield from (b"<%b " % name, b"</%b>" % name)
    for spec in specs():
        texts = spec.allowed or {"int": ("1",), "bool": ("true", "false")}.get(spec.kind, ("a",))
        for text in texts:
            yield f' {spec.name}="{text}"'.encode()


def words(target: str) -> list[bytes]:
    """The target's words, each once."""
    found: dict[str, Callable[[], Iterator[bytes]]] = {
        "request_head": lambda: iter([*HEAD_WORDS, *NAMES, *PRIVATE, *VALUES]),
        "response_head": lambda: iter([*HEAD_WORDS, *NAMES, *PRIVATE, b"HTTP/1.1 200 OK\r\n"]),
        "chunked": lambda: iter(CHUNK_WORDS),
        "clone_ids": lambda: iter(SESSION_WORDS),
        "plugin_cfg": xml_words,
        "plugin_log": lambda: iter(
            [*LOG_WORDS, *(row[1] for row in wanted()), *(row[0] for row in wanted())]
        ),
        "told": lambda: iter([*SESSION_WORDS, *TOLD_WORDS]),
    }
    return [word for word in dict.fromkeys(found[target]()) if word]


def dictionary(target: str) -> str:
    """The words as libFuzzer reads them: a quoted word a line, bytes as \\xNN."""
    return "".join(
        '"{}"\n'.format("".join(f"\\x{byte:02X}" for byte in word)) for word in words(target)
    )
