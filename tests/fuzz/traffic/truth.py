"""
What a client may get for a request: the answer that a server sent, as far as it was sent and is sound, or a page of wsproxy.

Driven by ``referee``. By the oracles alone; must not ask ``wsproxy`` what it makes of an answer.
"""

from __future__ import annotations

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.link import End
from tests.fuzz.traffic.reading import Answer, Body, body_payload
from tests.fuzz.traffic.records import Arrival
from tests.support.oracles import http_head, rewrite
from tests.support.oracles.errors import RefusedError

OWN_STATUS = {400, 404, 405, 408, 413, 414, 417, 431, 500, 502, 503, 504, 505}
OWN_PAGE = b"<small>wsproxy</small></body></html>\n"
# More interim answers are none.
MOST_INTERIMS = 100


class Truth:
    """What a server said to a request, by the oracles: its final answer, as far as it was sent and is sound."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.status = 0  # no sound head came
        self.head = b""
        self.body = Body(0)
        self.is_complete = False
        sent = bytes(arrival.sent)
        at = interims = length = 0
        is_chunked = False
        while self.status < 200 and self.status != 101:
            head = _sound_head(sent[at:])
            if head is None or interims > MOST_INTERIMS:
                self.status = 0
                return
            size = int(str(head["size"]))
            self.head, self.status = sent[at : at + size], int(str(head["status"]))
            length, is_chunked = int(str(head["content_length"])), bool(head["chunked"])
            at += size
            interims += 1
        is_empty = arrival.request.is_head or self.status in (204, 304)
        if is_empty:
            self.body = Body(0)
        elif self.status == 101:
            self.body = Body()
        else:
            self.body = Body(None if length < 0 else length, is_chunked=is_chunked)
        self.body.feed(bytes(arrival.tunnel_sent) if self.status == 101 else sent[at:])
        self.is_complete = self.body.is_done or (
            self.body.ends_with_connection and arrival.end is End.ORDERLY
        )

    def problem(self, seen: Answer) -> str:
        """Why ``seen`` is not this answer, or a part of it that looks like one; empty where it may be."""
        if self.status == 0:
            return "the server sent no sound head"
        if seen.status != self.status or not self._has_head_of(seen):
            return f"another head: {self.head[:300]!r}"
        request = self.arrival.request
        sent, got = bytes(self.body.raw), bytes(seen.body.raw)
        if self.body.is_chunked and not seen.body.is_chunked:
            if not (request.is_http10 and seen.body.ends_with_connection):
                return "the chunks are gone"
            sent = body_payload(sent)
        elif self.body.length != seen.body.length or self.body.is_chunked != seen.body.is_chunked:
            return f"another framing: {self.head[:300]!r}"
        elif self.body.is_chunked:
            # Trailers may have been taken away.
            return self._chunks_problem(got, seen)
        if not sent.startswith(got):
            return f"another body: {difference(got, sent)}"
        if seen.is_tunnel:
            return ""
        if seen.is_complete and not self.is_complete:
            return "it looks whole, and the server's answer was cut"
        if seen.is_complete and len(got) < len(sent):
            return f"it looks whole with {len(got)} of {len(sent)} bytes"
        return ""

    def _chunks_problem(self, got: bytes, seen: Answer) -> str:
        sent = bytes(self.body.raw)
        if seen.is_complete:
            if not self.is_complete:
                return "it looks whole, and the server's answer was cut"
            if body_payload(got) != body_payload(sent):
                return f"another body: {difference(body_payload(got), body_payload(sent))}"
            return ""
        return (
            ""
            if body_payload(sent).startswith(body_payload(got))
            else f"another body: {difference(got, sent)}"
        )

    def _has_head_of(self, seen: Answer) -> bool:
        request = self.arrival.request
        expected = rewrite.response(
            self.head,
            close=False,
            say_keep_alive=False,
            drop_length=self.status in (101, 204),
            drop_chunked=request.is_http10 or self.status in (101, 204),
            keep_trailer=True,
        )
        assert expected is not None
        want, got = (
            [line for line in rewrite.lines_of(each) if not _may_differ(line)]
            for each in (expected, seen.head)
        )
        return want == got


def _sound_head(data: bytes) -> dict[str, object] | None:
    """None where there is none, or not all of it."""
    try:
        return http_head.parse_response(data)
    except RefusedError:
        return None


def _may_differ(line: bytes) -> bool:
    """Of an answer: what is between a connection's ends, what tells of a decision, and a clone list that we completed."""
    name = rewrite.name_of(line)
    return (
        name in (b"connection", b"date", b"trailer", b"upgrade")
        or rewrite.is_own(name)
        or line.startswith(b"Set-Cookie: JSESSIONID=")
        or line == b'Cache-Control: no-cache="Set-Cookie"'
    )


def is_own(seen: Answer, *, is_head: bool) -> bool:
    """Whether it is a page of wsproxy."""
    if seen.values(b"x-answer"):
        return False
    if seen.status == 200:  # OPTIONS that ends here, or a file
        return bool(seen.values(b"allow")) or seen.values(b"content-length") == [
            b"%d" % len(messages.FILE)
        ]
    is_page = is_head or not seen.is_complete or bytes(seen.body.raw).endswith(OWN_PAGE)
    return seen.status in OWN_STATUS and seen.values(b"cache-control") == [b"no-store"] and is_page


def difference(got: bytes, expected: bytes) -> str:
    """Where they part."""
    at = next(
        (at for at, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
        min(len(got), len(expected)),
    )
    return (
        f"{len(got)} bytes, expected {len(expected)}; from {at} on {got[max(at - 20, 0) : at + 80]!r},"
        f" expected {expected[max(at - 20, 0) : at + 80]!r}"
    )
