"""
What bytes say: the requests that a client's stream holds, and the answers that came back, by the oracles of tests.support.

Driven by ``clients`` and ``origins`` while they play and by ``referee`` afterwards. Must not ask ``wsproxy``: where the proxy reads
a stream differently, that is what the fuzzer looks for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.traffic.link import End
from tests.support.oracles import http_head, trailers
from tests.support.oracles.chunked import parse_chunked
from tests.support.oracles.errors import HeadError, RefusedError

NO_LIMIT = 1 << 30
BLOCK = 64
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(;[\t -~\x80-\xff]*)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n")


def pattern(tag: str, size: int) -> bytes:
    """``size`` bytes that nobody else has, and of which each block says whose it is and where."""
    start = f"<{tag} ".encode()
    blocks = ((start + b"%d>" % at).ljust(BLOCK, b".") for at in range(-(-size // BLOCK)))
    return b"".join(blocks)[:size]


# --- requests --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a stream: where it lies, and what it says."""

    index: int
    start: int
    body_start: int
    end: int  # where the stream ends, for one that is not whole
    is_whole: bool
    raw: bytes  # its head
    body: bytes  # as it is framed
    head: dict[str, Any]

    @property
    def method(self) -> bytes:
        return bytes(self.head["method"])

    @property
    def is_head(self) -> bool:
        return self.method == b"HEAD"

    @property
    def is_http10(self) -> bool:
        return bool(self.head["minor"] == 0)

    @property
    def payload_bytes(self) -> int:
        """Of the part of its body that the stream has."""
        return len(body_payload(self.body)) if self.head["chunked"] else len(self.body)

    def forwarded_body(self, *, passes_trailers: bool) -> bytes:
        """The body as the server gets it; of one that is not whole, what its part begins with at most."""
        if not (self.head["chunked"] and self.is_whole):
            return self.body
        return trailers.passed(
            self.body, passes=passes_trailers and not self.head["nominates_others"]
        )


@dataclass(frozen=True, slots=True)
class Requests:
    """What a client sends in all: its requests, and why what follows them is none."""

    requests: tuple[Request, ...]
    refusal: HeadError | None = None
    has_rest: bool = False  # a part of a head

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self.has_rest and all(each.is_whole for each in self.requests)

    @property
    def methods(self) -> list[bytes]:
        """Of the requests that may be answered; the last stands for a refusal, or for a head that never comes whole."""
        each = [request.method for request in self.requests]
        return [*each, b"GET"] if self.has_rest or self.refusal is not None else each


def read_requests(stream: bytes) -> Requests:
    """The requests on a connection on which ``stream`` comes, up to the one that ends it."""
    found: list[Request] = []
    at = 0
    while True:
        while stream.startswith(b"\r\n", at):  # RFC 9112 2.2
            at += 2
        if at >= len(stream) or stream[at:] == b"\r":
            return Requests(tuple(found))
        try:
            head = http_head.parse_request(stream[at:])
        except RefusedError as refused:
            return Requests(tuple(found), refused.reason)
        if head is None:
            return Requests(tuple(found), has_rest=True)
        request, refusal = _with_body(len(found), stream, at, head)
        found.append(request)
        if refusal is not None or not request.is_whole or not head["keep_alive"]:
            return Requests(tuple(found), refusal)
        at = request.end


def _with_body(
    index: int, stream: bytes, start: int, head: dict[str, Any]
) -> tuple[Request, HeadError | None]:
    body_start = start + int(head["size"])
    size, is_whole, refusal = max(int(head["content_length"]), 0), True, None
    if head["chunked"]:
        try:
            body = parse_chunked(stream[body_start:])
            size, is_whole = body.consumed, body.done
        except RefusedError as refused:
            size, is_whole, refusal = len(stream) - body_start, False, refused.reason
    elif size > len(stream) - body_start:
        size, is_whole = len(stream) - body_start, False
    end = body_start + size
    return Request(
        index,
        start,
        body_start,
        end,
        is_whole,
        stream[start:body_start],
        stream[body_start:end],
        head,
    ), refusal


# --- bodies, as they come --------------------------------------------------------------------------------------------


class Body:
    """
    A body that is read as it comes: ``raw`` is what came of it, framing and all.

    ``length``: of one that says it; None: it is chunked, or it ends with the connection.
    """

    def __init__(self, length: int | None = None, *, is_chunked: bool = False) -> None:
        self.raw = bytearray()
        self.length = length
        self.is_chunked = is_chunked
        self.is_done = length == 0
        self.error = ""
        self._left = 0  # payload of the chunk that is read
        self._line = bytearray()
        self._take_line = self._take_size

    @property
    def ends_with_connection(self) -> bool:
        return self.length is None and not self.is_chunked

    @property
    def payload(self) -> bytes:
        """What is there of it without framing."""
        return body_payload(bytes(self.raw)) if self.is_chunked else bytes(self.raw)

    def feed(self, data: bytes) -> int:
        """How much of ``data`` belongs to it."""
        if self.length is not None:
            used = min(self.length - len(self.raw), len(data))
            self.raw += data[:used]
            self.is_done = len(self.raw) == self.length
        elif self.is_chunked:
            used = self._feed_chunks(data)
            self.raw += data[:used]
        else:
            used = len(data)
            self.raw += data
        return used

    def _feed_chunks(self, data: bytes) -> int:
        at = 0
        while at < len(data) and not self.is_done and not self.error:
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._take_line(bytes(self._line))
                self._line.clear()
        return at

    def _take_size(self, line: bytes) -> None:
        size = _SIZE_LINE.fullmatch(line)
        if size is None:
            self.error = f"{line[:99]!r} is no size of a chunk"
            return
        self._left = int(size[1], 16)
        self._take_line = self._take_chunk_end if self._left else self._take_trailer

    def _take_chunk_end(self, line: bytes) -> None:
        if line != b"\r\n":
            self.error = f"{line[:99]!r} stands behind a chunk"
        self._take_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self.is_done = line == b"\r\n"
        if not self.is_done and not _TRAILER_LINE.fullmatch(line):
            self.error = f"{line[:99]!r} is no trailer"


def body_payload(raw: bytes) -> bytes:
    """The payload that chunks carry, as far as they are sound."""
    payload = bytearray()
    at = 0
    while (end := raw.find(b"\n", at) + 1) and (size := _SIZE_LINE.fullmatch(raw, at, end)):
        length = int(size[1], 16)
        payload += raw[end : end + length]
        at = end + length + 2
        if length == 0 or raw[at - 2 : at] != b"\r\n":
            break
    return bytes(payload)


# --- answers ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Answer:
    """A final answer, as far as it came; ``is_complete``: its framing says that it is all there."""

    status: int
    head: bytes
    fields: list[tuple[bytes, bytes]]
    keep_alive: bool
    body: Body
    is_complete: bool = False

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.fields if key == name]

    @property
    def is_tunnel(self) -> bool:
        return self.status == 101


@dataclass(slots=True)
class Answers:
    """
    Reads what comes back to the requests of these ``methods``, strictly and as it comes.

    ``error``: what came is no HTTP/1.1, or more than was asked for.
    """

    methods: Sequence[bytes]
    found: list[Answer] = field(default_factory=list)
    interims: list[int] = field(default_factory=list)  # before the answer that comes
    received: int = 0
    end: End = End.OPEN
    error: str = ""
    _buffer: bytearray = field(default_factory=bytearray)

    @property
    def complete(self) -> int:
        """How many answers are there whole."""
        return sum(each.is_complete for each in self.found)

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        while data and not self.error:
            if self.found and not self.found[-1].is_complete:
                data = data[self._feed_body(self.found[-1], data) :]
            else:
                data = self._feed_head(data)

    def finish(self, end: End) -> None:
        """The connection ended."""
        self.end = end
        last = self.found[-1] if self.found else None
        if last is not None and last.body.ends_with_connection and end is End.ORDERLY:
            last.is_complete = True

    def _feed_body(self, answer: Answer, data: bytes) -> int:
        used = answer.body.feed(data)
        answer.is_complete = answer.body.is_done
        self.error = answer.body.error
        return used

    def _feed_head(self, data: bytes) -> bytes:
        """Takes a head, or a part of one; what follows it."""
        self._buffer += data
        try:
            head = http_head.parse_response(bytes(self._buffer), head_bytes=NO_LIMIT)
        except RefusedError as refused:
            self.error = f"no answer begins with {bytes(self._buffer[:200])!r}: {refused}"
            return b""
        if head is None:
            return b""
        size = int(str(head["size"]))
        raw, rest = bytes(self._buffer[:size]), bytes(self._buffer[size:])
        self._buffer.clear()
        status = int(str(head["status"]))
        if status < 200 and status != 101:
            self.interims.append(status)
        elif len(self.found) >= len(self.methods):
            self.error = f"an answer that nobody asked for: {raw[:200]!r}"
        else:
            self.found.append(self._begin(status, raw, head))
            self.interims.clear()
        return rest

    def _begin(self, status: int, raw: bytes, head: dict[str, Any]) -> Answer:
        is_empty = self.methods[len(self.found)] == b"HEAD" or status in (204, 304)
        length = None if head["content_length"] < 0 else int(head["content_length"])
        if is_empty:
            body = Body(0)
        elif status == 101:
            body = Body()
        else:
            body = Body(length, is_chunked=head["chunked"])
        fields = [(name.lower(), value) for name, value, _, _ in head["fields"]]
        return Answer(status, raw, fields, bool(head["keep_alive"]), body, body.is_done)
