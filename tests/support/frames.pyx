"""
A second kind of client side, for tests: several requests at once over one connection, each in frames of its own.

What HTTP/2 will have to do, without its rules: the seam is that ``exchange``, ``upstream`` and the slow path do not know of it.
A frame is a kind (one byte), the request's number and a length (four bytes each, big endian), and so many bytes.

From the client: ``H`` a head as HTTP/1 has it, ``D`` bytes of its body, ``R`` the client wants no answer any more.
To the client: ``H`` status and field lines, ``I`` the same of a 1xx, ``D``, ``E`` the answer is whole, ``R`` it will not be.
"""

import asyncio

from libc.stdint cimport int64_t
from wsproxy._fast.http.fields cimport (
    FIELD_CONNECTION, FIELD_HOP_BY_HOP, FIELD_TRANSFER_ENCODING, Fields,
)
from wsproxy._fast.http.head cimport ResponseHead, parse_request, parse_response
from wsproxy._fast.http.origin cimport constant_lines
from wsproxy._fast.net.stream cimport Stream
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport IDLE, RELAYING
from wsproxy._fast.proxy.sink cimport NO_BODY, Sink, no_sink


cdef class FrameSink(Sink):
    """Where the answer of one request goes; used again for another one, with its exchange."""

    cdef Frames client
    cdef readonly Downstream exchange
    cdef readonly int number
    cdef int64_t given_            # bytes of bodies
    cdef int64_t deadline_ms
    cdef bint is_over              # the client was told, or said, that nothing more will come
    cdef bint is_held              # the rest of the request is not wanted now
    cdef bytes pending             # what is here of it
    cdef bytes head                # of the answer; waits for its first bytes
    cdef bint has_begun            # the client has that

    cdef int frame(self, bytes kind, bytes data) except -1:
        if not self.is_over:
            self.client.write(kind, self.number, data)
        return 0

    cdef bint is_paused(self) noexcept:
        return self.client.write_paused

    cdef bint is_broken(self) noexcept:
        return self.is_over or self.client.write_broken

    cdef bint is_closed(self) noexcept:
        return self.is_over or self.client.closing

    cdef int64_t given(self) noexcept:
        return self.given_

    cdef Py_ssize_t begin(self, ResponseHead* head, int kind, bint has_trailers) noexcept:
        self.head = spell(head, kind == NO_BODY)
        return 0

    cdef void take_back(self) noexcept:
        self.head = b""

    cdef int interim(self, ResponseHead* head) except? -1:
        return self.frame(b"I", spell(head, True))

    cdef int body(self, const char* data, Py_ssize_t length, bint more) except -1:
        if self.head:
            self.frame(b"H", self.head)
            self.has_begun = True
            self.head = b""
        if length:
            self.given_ += length
            self.frame(b"D", data[:length])
        return 0

    cdef int own(self, const char* data, Py_ssize_t length) except -1:
        cdef ResponseHead head
        cdef Py_ssize_t size = 0
        if not self.has_begun:
            size = parse_response(data, length, &self.exchange.view.limits, &head)
            self.head = spell(&head, False)
        return self.body(data + size, length - size, False)

    cdef int end(self) except -1:
        self.frame(b"E", b"")
        if self.exchange.request_done and not self.is_over:
            self.exchange.enter(IDLE)
            self.client.put_aside(self)
        else:
            self.finish_later()
        return 0

    cdef int pause_request(self) except -1:
        self.is_held = True
        return 0

    cdef int resume_request(self) except -1:
        self.is_held = False
        if self.pending:
            self.client.hub.ask_turn(self.client)
        return 0

    cdef void wait(self, int64_t until_ms) noexcept:
        self.deadline_ms = until_ms
        if until_ms and not 0 < self.client.deadline_ms < until_ms:
            self.client.deadline_ms = until_ms

    cdef int close(self) except -1:
        return self.abort()

    cdef int abort(self) except -1:
        self.frame(b"R", b"")
        return self.finish_later()

    cdef int reset(self) except -1:
        return self.abort()

    cdef int finish_later(self) except -1:
        """As the end of a connection would be told: not from within a call of the exchange."""
        self.is_over = True
        self.client.hub.ask_turn(self.client)
        return 0

    cdef int finish(self) except -1:
        self.is_over = True
        self.exchange.client_gone()
        self.exchange.sink = no_sink()
        return 0

    cdef int take(self, bytes data) except -1:
        """Bytes of the request's body, now or when they are wanted."""
        cdef Downstream exchange = self.exchange
        self.pending += data
        if self.is_held or self.is_over or exchange.phase != RELAYING or exchange.request_done:
            return 0
        data, self.pending = self.pending, b""
        exchange.relay_body(data, len(data))
        return 0


cdef bytes spell(ResponseHead* head, bint is_bare):
    """Status and field lines, of the connection none."""
    cdef Fields* fields = &head.fields
    cdef int i
    cdef bytes text = b"%d\n" % head.status
    for i in range(fields.count):
        if not fields.at[i].dropped and fields.at[i].kind not in (
            FIELD_CONNECTION, FIELD_HOP_BY_HOP, FIELD_TRANSFER_ENCODING
        ):
            text += fields.at[i].line[:fields.at[i].line_len]
    if fields.more_len:
        text += fields.more[:fields.more_len]
    return text


cdef class Frames(Stream):
    """A client's connection; each request that is under way has a sink by its number."""

    cdef Engine engine
    cdef readonly dict sinks
    cdef readonly list aside        # sinks whose exchange is over, for the next requests
    cdef readonly int made          # exchanges
    cdef bytes received_
    cdef tuple client

    def __cinit__(self, Engine engine not None):
        self.hub = engine
        self.engine = engine
        self.fd = -1
        self.sinks = {}
        self.aside = []
        self.received_ = b""

    cdef int write(self, bytes kind, int number, bytes data) except -1:
        cdef bytes text = b"%c%b%b%b" % (kind, number.to_bytes(4), len(data).to_bytes(4), data)
        return self.send(<const char*>text, len(text), NULL, 0)

    cdef int opened(self) except -1:
        peer, sock = self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")
        self.client = (peer[0].encode(), peer[1], sock[0].encode(), sock[1])
        return 0

    cdef FrameSink new_sink(self):
        cdef FrameSink sink
        if self.aside:
            return self.aside.pop()
        sink = FrameSink.__new__(FrameSink)
        sink.client = self
        sink.exchange = Downstream.__new__(Downstream, self.engine)
        sink.exchange.sink = sink
        peer, peer_port, local_host, local_port = self.client
        sink.exchange.set_client(peer, peer_port, local_host, local_port, False, constant_lines(peer, False))
        self.made += 1
        return sink

    cdef int put_aside(self, FrameSink sink) except -1:
        del self.sinks[sink.number]
        self.aside.append(sink)
        return 0

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        self.received_ += data[:length]
        while len(self.received_) >= 9:
            kind, number = self.received_[:1], int.from_bytes(self.received_[1:5])
            end = 9 + int.from_bytes(self.received_[5:9])
            if len(self.received_) < end:
                break
            payload, self.received_ = self.received_[9:end], self.received_[end:]
            self.take(kind, number, payload)
        return 0

    cdef int take(self, bytes kind, int number, bytes data) except -1:
        cdef FrameSink sink = self.sinks.get(number)
        if kind == b"H":
            return self.begin(number, data)
        if sink is None:
            return 0  # over already
        if kind == b"D":
            return sink.take(data)
        del self.sinks[number]
        return sink.finish()

    cdef int begin(self, int number, bytes head) except -1:
        cdef FrameSink sink = self.new_sink()
        sink.number = number
        sink.is_held = sink.has_begun = False
        sink.pending = sink.head = b""
        self.sinks[number] = sink
        sink.exchange.take_view()
        if parse_request(<const char*>head, len(head), &sink.exchange.view.limits, &self.engine.decider.request) != len(head):
            raise ValueError(head)
        sink.exchange.start(<const char*>head, len(head))
        self.engine.decider.let_go()
        return 0

    cdef int on_turn(self) except -1:
        cdef FrameSink sink
        Stream.on_turn(self)
        for number, sink in list(self.sinks.items()):
            if sink.is_over:
                del self.sinks[number]
                sink.finish()
            elif sink.pending:
                sink.take(b"")
        return 0

    cdef int on_deadline(self, int64_t now_ms) except -1:
        cdef FrameSink sink
        cdef int64_t first_ms = 0
        for sink in list(self.sinks.values()):
            if 0 < sink.deadline_ms <= now_ms:
                sink.deadline_ms = 0
                sink.exchange.on_deadline()
            if sink.deadline_ms and not 0 < first_ms < sink.deadline_ms:
                first_ms = sink.deadline_ms
        self.deadline_ms = first_ms
        return 0

    cdef int on_write_paused(self, bint paused) except -1:
        cdef FrameSink sink
        for sink in list(self.sinks.values()):
            sink.exchange.client_pauses(paused)
        return 0

    cdef int lost(self, object error) except -1:
        cdef FrameSink sink
        for sink in list(self.sinks.values()) + self.aside:
            sink.finish()
        self.sinks.clear()
        self.aside.clear()
        return 0


class FramesProtocol(Frames, asyncio.BufferedProtocol):
    """Frames as asyncio and uvloop want it."""

    __slots__ = ()
