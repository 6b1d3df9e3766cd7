"""
Clients and origins that do anything at any time, and remember what must come out.

Driven by ``tests/unit/_fast/proxy/test_exchange_walk.py``: each method is one step that hypothesis may choose. Nothing here waits: a
step does what the kernel allows at once. Every request has a number in its path, and all bytes follow from the number.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from tests.support.wire import Origin, Wire

BIG = 400_000  # more than the kernel takes of a client that does not read, and than one read brings


def body_of(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def chunked(body: bytes, step: int) -> bytes:
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


@dataclass
class Request:
    number: int
    method: bytes
    minor: int
    raw: bytes  # head and body as sent
    body: bytes  # as it must arrive, framing and all
    answer_size: int = 0


@dataclass
class Client:
    """A client's connection: what it asked, what it got."""

    wire: Wire
    asked: list[Request] = field(default_factory=list)
    unsent: bytes = b""
    received: bytearray = field(default_factory=bytearray)
    is_gone: bool = False
    is_ended: bool = False  # by an orderly end of the other side
    is_broken: bool = False  # sends what is no request: its later answers mean nothing

    def push(self) -> None:
        """Sends what the kernel takes."""
        if self.unsent and not self.is_gone:
            self.unsent = self.unsent[self.wire.send_now(self.unsent) :]

    def read(self, most: int) -> None:
        if self.is_gone or self.is_ended:
            return
        try:
            data = self.wire.sock.recv(most)
        except BlockingIOError:
            return
        except OSError:
            self.is_gone = True
            return
        self.is_ended = not data
        self.received += data

    def check(self) -> None:
        """Every whole answer belongs to the request in its place, byte for byte."""
        rest = bytes(self.received)
        for request in self.asked:
            answer = take_answer(rest, request, self.is_ended)
            if answer is None:
                return
            status, number, body, rest = answer
            if status >= 400:
                assert b"wsproxy" in body or request.method == b"HEAD"
                continue
            assert number == request.number
            assert body == answer_body(request)
        assert not rest or self.is_broken or b" 408 " in rest


def answer_body(request: Request) -> bytes:
    return b"" if request.method == b"HEAD" else body_of(-request.number, request.answer_size)


def take_answer(
    data: bytes, request: Request, is_ended: bool
) -> tuple[int, int, bytes, bytes] | None:
    """(status, number, body, what follows) of the first whole final answer; None where none is whole."""
    while True:
        head, mark, rest = data.partition(b"\r\n\r\n")
        if not mark:
            return None
        assert head.startswith(b"HTTP/1.1 "), head[:200]
        status = int(head[9:12])
        data = rest
        if status >= 200:
            break
        assert request.minor == 1
    found = re.search(rb"X-Number: (\d+)", head)
    number = int(found[1]) if found else -1
    if request.method == b"HEAD":
        return status, number, b"", rest
    if length := re.search(rb"(?i)content-length: (\d+)", head):
        size = int(length[1])
        return (status, number, rest[:size], rest[size:]) if len(rest) >= size else None
    if b"Transfer-Encoding: chunked" in head:
        assert request.minor == 1
        return take_chunks(status, number, rest)
    return (status, number, rest, b"") if is_ended else None


def take_chunks(status: int, number: int, rest: bytes) -> tuple[int, int, bytes, bytes] | None:
    body = b""
    while True:
        line, mark, rest = rest.partition(b"\r\n")
        if not mark:
            return None
        size = int(line, 16)
        if len(rest) < size + 2:
            return None
        body += rest[:size]
        rest = rest[size + 2 :]
        if size == 0:
            return status, number, body, rest


@dataclass
class Served:
    """One connection of an origin."""

    wire: Wire
    buffer: bytearray = field(default_factory=bytearray)
    current: Request | None = None
    unsent: bytes = b""
    is_gone: bool = False
    has_answered: bool = False  # the current request

    def push(self) -> None:
        if self.unsent and not self.is_gone:
            self.unsent = self.unsent[self.wire.send_now(self.unsent) :]


class World:
    """All of them; ``requests`` by number."""

    def __init__(self, origins: list[Origin]) -> None:
        self.origins = origins
        self.clients: list[Client] = []
        self.served: list[Served] = []
        self.requests: dict[int, Request] = {}

    # --- clients --------------------------------------------------------------------------------------------------

    def ask(self, client: Client, kind: int, size: int) -> None:
        """One more request on this connection, whether or not the ones before were answered."""
        number = len(self.requests) + 1
        body, framing, method, minor = b"", b"", b"GET", 1
        if kind == 1:
            method = b"HEAD"
        elif kind == 2:
            minor, framing = 0, b"Connection: keep-alive\r\n"
        elif kind == 3:
            method, body = b"POST", body_of(number, size)
            framing = b"Content-Length: %d\r\n" % size
        elif kind == 4:
            method, body = b"POST", chunked(body_of(number, size), 5000)
            framing = b"Transfer-Encoding: chunked\r\n"
        head = b"%b /app/%d HTTP/1.%d\r\nHost: h\r\n%b\r\n" % (method, number, minor, framing)
        request = Request(number, method, minor, head + body, body)
        self.requests[number] = request
        client.asked.append(request)
        client.unsent += request.raw

    def garble(self, client: Client) -> None:
        client.unsent += b"\x00nonsense\r\n\r\n"
        client.is_broken = True

    # --- origins --------------------------------------------------------------------------------------------------

    def accept(self) -> None:
        for origin in self.origins:
            while True:
                try:
                    sock, _ = origin.sock.accept()
                except OSError:
                    break
                self.served.append(Served(Wire(sock)))

    def listen(self, served: Served) -> None:
        """Reads what is there; what came must be what some client sent, byte for byte."""
        if served.is_gone:
            return
        try:
            data = served.wire.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            served.is_gone = True
            return
        served.buffer += data
        if served.current is None:
            head, mark, rest = bytes(served.buffer).partition(b"\r\n\r\n")
            if not mark:
                return
            found = re.match(rb"(\S+) /app/(\d+) HTTP/1.1\r\n", head)
            assert found, head[:200]
            served.current = self.requests[int(found[2])]
            assert found[1] == served.current.method
            served.buffer[:] = rest
        body = served.current.body
        count = min(len(body), len(served.buffer))
        assert served.buffer[:count] == body[:count]
        if served.has_answered:
            self._next(served)

    def _next(self, served: Served) -> None:
        """The answered request ends where its body ends; what follows is the next one."""
        assert served.current is not None
        size = len(served.current.body)
        if len(served.buffer) >= size:
            del served.buffer[:size]
            served.current = None
            served.has_answered = False

    def answer(self, served: Served, kind: int, size: int) -> None:
        """Answers the request that is there, also before it is whole."""
        request = served.current
        if request is None or served.has_answered or served.is_gone:
            return
        if not request.answer_size:
            request.answer_size = size
        body = answer_body(request)
        name = b"X-Number: %d\r\n" % request.number
        if kind == 1:
            served.unsent += b"HTTP/1.1 100 Continue\r\n\r\n"
            return
        served.has_answered = True
        if kind == 2:
            framed = b"" if request.method == b"HEAD" else chunked(body, 70_000)
            head = b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n" % name
            served.unsent += head + framed
        elif kind == 3:
            served.unsent += b"HTTP/1.1 200 OK\r\n%b\r\n" % name + body
        elif kind == 4:
            served.unsent += b"nonsense"
        else:
            length = len(body) or request.answer_size
            served.unsent += (
                b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (name, length) + body
            )
            if kind == 5:
                served.unsent += b"HTTP/1.1 200 OK\r\nX-Number: 0\r\nContent-Length: 0\r\n\r\n"
        if kind != 3:
            self._next(served)

    def finish(self, served: Served) -> None:
        """An orderly end after everything that is owed."""
        if not served.unsent and not served.is_gone:
            served.is_gone = True
            served.wire.close()
