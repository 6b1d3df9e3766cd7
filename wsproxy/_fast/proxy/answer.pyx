"""
Answers as a client of HTTP/1 gets them: their heads, Date, Connection, chunks, and what the end of the connection means.

Driven by ``upstream`` for servers' answers, and by the exchange. An object of its own, as no class of Cython's derives from
two; the connection is its one exchange's, so most of this is the Stream's.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport OUT_SIZE, buffer_clear
from wsproxy._fast.http.dates cimport date_line_now
from wsproxy._fast.http.head cimport ResponseHead
from wsproxy._fast.http.rewrite cimport write_response
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.linger cimport Lingering
from wsproxy._fast.proxy.sink cimport CHUNKED_BODY, TUNNEL, UNTIL_CLOSE, Sink
from wsproxy._fast.tell.access_line cimport Entry


cdef Http1Answer http1_answer(Lingering client):
    """The sink of this connection; whoever has it takes it away again when the connection is lost."""
    cdef Http1Answer made = Http1Answer.__new__(Http1Answer)
    made.client = client
    made.exchange = client.exchange
    return made


cdef class Http1Answer(Sink):
    """A client's connection as where its answers go."""

    cdef bint is_paused(self) noexcept:
        return self.client.write_paused

    cdef bint is_broken(self) noexcept:
        return self.client.write_broken

    cdef bint is_closed(self) noexcept:
        return self.client.closing

    cdef bint has_hung_up(self) except -1:
        return self.client.has_hung_up()

    cdef int64_t given(self) noexcept:
        return self.client.given

    cdef int64_t held(self) noexcept:
        return self.client.count_held()

    cdef bint keep_line(self, Entry* entry) noexcept:
        return self.client.keep_line(entry)

    cdef bint takes_chunks(self) noexcept:
        return not self.exchange.http10

    cdef Py_ssize_t begin(self, ResponseHead* head, int kind, bint has_trailers) noexcept:
        cdef Downstream exchange = self.exchange
        cdef bint unchunk = exchange.http10 and kind == CHUNKED_BODY
        cdef const char* date = NULL
        cdef Py_ssize_t length
        if not exchange.request_done or kind == UNTIL_CLOSE or unchunk or exchange.engine.draining:
            exchange.keep_alive = False
        self.client.ends_by_close = unchunk or kind == UNTIL_CLOSE
        if not head.fields.has_date and kind != TUNNEL:
            date = date_line_now()  # RFC 9110 6.6.1
        length = write_response(
            exchange.engine.out,
            OUT_SIZE,
            head,
            not exchange.keep_alive and kind != TUNNEL,
            exchange.http10 and exchange.keep_alive,
            head.status == 204 or kind == TUNNEL,
            # Neither a client of HTTP/1.0 nor a 204 may be told of chunks, even where no body follows (RFC 9112 6.1).
            exchange.http10 or head.status == 204,
            has_trailers,
            date,
        )
        self.head_len = max(length, 0)
        return length

    cdef void take_back(self) noexcept:
        self.head_len = 0

    cdef int interim(self, ResponseHead* head) except? -1:
        cdef Py_ssize_t written
        if self.exchange.http10:
            return 0
        # Framing fields mean nothing on 1xx (liberty.md: Liberty's 100 has Content-Length: 0).
        head.fields.chunked = False
        written = write_response(self.client.hub.out, OUT_SIZE, head, False, False, True, True, False, NULL)
        if written < 0:
            return -1
        self.client.send(self.client.hub.out, written, NULL, 0)
        return 0

    cdef int body(self, const char* data, Py_ssize_t length, bint more) except -1:
        cdef Py_ssize_t head_len = self.head_len
        self.head_len = 0
        return self.client.push(self.client.hub.out, head_len, data, length, more)

    cdef int pipe_end(self) except? -1:
        return self.client.pipe_end()

    cdef int piped(self, const char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t head_len = self.head_len
        self.head_len = 0
        return self.client.send_piped(self.client.hub.out, head_len, data, length)

    cdef int own(self, const char* data, Py_ssize_t length) except -1:
        return self.client.send(data, length, NULL, 0)

    cdef int end(self) except -1:
        return self.client.next_request()

    cdef int pause_request(self) except -1:
        return self.client.pause_reading()

    cdef int resume_request(self) except -1:
        return self.client.resume_reading()

    cdef void wait(self, int64_t until_ms) noexcept:
        self.client.deadline_ms = until_ms

    cdef int begin_tunnel(self) except -1:
        cdef Lingering client = self.client
        if client.pending.length:
            self.exchange.upstream.pass_on(client.pending.data, client.pending.length)
            buffer_clear(&client.pending)
        return 0

    cdef bint half_close(self) except -1:
        return self.client.half_close()

    cdef int close(self) except -1:
        return self.client.close()

    cdef int abort(self) except -1:
        return self.client.abort()

    cdef int reset(self) except -1:
        return self.client.reset()
