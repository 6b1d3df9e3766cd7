"""
The server's side of a request: sends it, reads the answer strictly, and passes it on as it comes.

Driven by the event loop through ``UpstreamProtocol``; serves one Exchange at a time and lies in its Pool between them.
A connection goes back to the pool only when the answer ended exactly where its framing says and the request was sent
whole: a reused connection never carries bytes of an earlier exchange (PEERS.md D 2 and 6).
"""

import asyncio
import logging
from ssl import SSLError

from libc.errno cimport EPROTO
from libc.stdint cimport int64_t
from libc.string cimport memchr
from wsproxy._fast.chunked cimport CHUNK_DONE, ChunkSpan, begin_chunks, next_span, scan_chunks
from wsproxy._fast.dates cimport date_line_now
from wsproxy._fast.engine cimport Engine, Pool
from wsproxy._fast.exchange cimport (
    BAD_RESPONSE,
    CHUNKED_BODY,
    CLOSED_EARLY,
    EXPECT_ADDED,
    EXPECT_HELD,
    IO_TIMEOUT,
    LENGTH_BODY,
    NO_BODY,
    TUNNEL,
    UNTIL_CLOSE,
    Exchange,
)
from wsproxy._fast.fields cimport (
    HEAD_TOO_LARGE,
    PARTITION_TABLE,
    PARTITION_VERSION,
    UNEXPECTED_STATUS,
    Fields,
    equals_ignoring_case,
)
from wsproxy._fast.head cimport ResponseHead, parse_response
from wsproxy._fast.pipe cimport WORTH_PIPING
from wsproxy._fast.rewrite cimport write_response
from wsproxy._fast.state cimport ws_now_ms
from wsproxy._fast.stream cimport NOT_PUMPED, OUT_SIZE, READ_SIZE, Stream, buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.trailers cimport End, pass_chunks
from wsproxy._fast.upgrade cimport pass_upgrade

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # Of an answer with a small body this is all.
    FIRST_READ = 8192
    # 1xx heads before an answer: a server may send a 100, some 103 and a 102 now and then. An endless row of them would
    # restart ServerIOTimeout for ever.
    MOST_INTERIMS = 100


cdef bint is_bound_scheme(const char* p, const char* end) noexcept nogil:
    return (
        end - p >= 4 and equals_ignoring_case(p, "ntlm", 4)
        or end - p >= 9 and equals_ignoring_case(p, "negotiate", 9)
    )


cdef bint asks_for_bound_login(Fields* fields) noexcept nogil:
    """
    Whether a 401 asks for NTLM or Negotiate: they log in a connection, not a request (RFC 4559 6).

    Kept for the next request, which may be another client's, it would be served as whoever logged in (PEERS.md D 6).
    """
    cdef int i
    cdef const char* p
    cdef const char* end
    for i in range(fields.count):
        if fields.at[i].name_len != 16 or not equals_ignoring_case(fields.at[i].line, "www-authenticate", 16):
            continue
        p = fields.at[i].value
        end = p + fields.at[i].value_len
        while p != NULL:  # a field may hold several challenges
            while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c","):
                p += 1
            if is_bound_scheme(p, end):
                return True
            p = <const char*>memchr(p, c",", end - p)
    return False


cdef class Upstream(Stream):
    """A connection to one server of a cluster."""

    def __cinit__(self, Engine engine not None, Pool pool not None):
        self.hub = engine
        self.engine = engine
        self.pool = pool
        self.fd = -1
        self.socket_fd = -1

    def __dealloc__(self):
        buffer_clear(&self.pending)
        buffer_clear(&self.trailers)

    cdef int begin(self, Exchange downstream) except -1:
        """Serves this exchange from now on; the caller sends the request right after."""
        self.downstream = downstream
        self.reused = self.exchanges > 0
        self.exchanges += 1
        self.awaits_head = True
        self.interims = 0
        if downstream.write_paused:
            self.pause_reading()
        self.touch()
        return 0

    cdef void touch(self) noexcept:
        """
        Something was sent or received: ServerIOTimeout counts from here (PLUGIN 5.7).

        It does not count while the server waits for us: for a client that does not read, or for the rest of a request.
        """
        if self.body.kind == TUNNEL:
            self.touch_tunnel()
        elif (
            self.pool.ws_io_timeout_ms and self.awaits_head and not self.reading_paused
            and self.downstream is not None and self.downstream.upgrades is not None
        ):
            self.deadline_ms = ws_now_ms() + self.pool.ws_io_timeout_ms
        elif (
            self.pool.io_timeout_ms
            and not self.reading_paused
            and (
                self.buffered or self.downstream is None or self.downstream.request_done
                or self.downstream.expect & EXPECT_HELD
            )
        ):
            self.deadline_ms = ws_now_ms() + self.pool.io_timeout_ms
        else:
            self.deadline_ms = 0

    cdef Py_ssize_t read_limit(self) noexcept:
        """A head is read without a large body behind it: that can go through the pipe."""
        return FIRST_READ if self.awaits_head and self.fills_pipe() else READ_SIZE

    cdef bint can_pipe(self, int64_t left) except -1:
        return (
            self.body.kind == LENGTH_BODY and left >= WORTH_PIPING and self.fills_pipe() and self.downstream.takes_pipe()
        )

    cdef Py_ssize_t pump(self) except -3:
        """Bytes of an answer's body, from socket to socket."""
        cdef Exchange downstream = self.downstream
        cdef Py_ssize_t count
        if self.awaits_head or downstream is None or not self.can_pipe(self.body.left):
            return NOT_PUMPED
        count = self.fill_pipe(self.body.left)
        if count <= 0:
            return count
        self.touch()
        self.body.left -= count
        downstream.send_piped(NULL, 0, NULL, 0)
        if downstream.write_broken:
            downstream.abort()
        elif self.body.left == 0:
            self.complete(True)
        return count

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t size
        if self.downstream is None:
            # An idle connection has nothing to say; whatever this is, it must not answer the next request.
            return self.abort()
        self.touch()
        if not self.awaits_head:
            return self.relay(data, length, 0)
        self.is_cut = length == FIRST_READ and not self.pending.length and self.fills_pipe()
        if self.pending.length:
            buffer_append(&self.pending, data, length)
            data = self.pending.data
            length = self.pending.length
        while True:
            size = self.read_head(data, length)
            if size <= 0:
                break
            data += size
            length -= size
            if not self.awaits_head:
                if self.is_cut and not self.can_pipe(self.body.left - length):
                    length += self.read_on(data - self.engine.read_data + length)
                if self.engine.response.status >= 500 and self.engine.is_failure(self.engine.response.status):
                    if self.downstream.is_refused(self.engine.response.status):
                        return self.discard(data, length)
                size = self.write_head(self.downstream)
                if size < 0:
                    return self.fail(BAD_RESPONSE, <int>HEAD_TOO_LARGE)
                self.relay(data, length, size)
                if not self.awaits_head:
                    buffer_clear(&self.pending)
                return 0
            if length == 0:
                break
        if size < 0:
            return self.fail(BAD_RESPONSE, <int>-size)
        return self.keep_head(data, length)

    cdef int keep_head(self, const char* data, Py_ssize_t length) except -1:
        """Keeps the part of a head that is here until the rest comes."""
        cdef Py_ssize_t gone
        if self.pending.length:
            gone = data - self.pending.data
            buffer_drop(&self.pending, gone)
        elif length:
            buffer_append(&self.pending, data, length)
        return 0

    cdef Py_ssize_t read_head(self, const char* data, Py_ssize_t length) except? -1:
        """One head, interim or final; its size, 0: not whole yet, < 0: -HeadError. A final one ends ``awaits_head``."""
        cdef Engine engine = self.engine
        cdef ResponseHead* head = &engine.response
        cdef Exchange downstream = self.downstream
        cdef Py_ssize_t size, written
        if length == 0:
            return 0
        size = parse_response(data, length, &engine.limits, head)
        if size <= 0:
            return size
        if head.status < 200:
            self.interims += 1
            if head.status == 101:
                return size if self.is_upgraded(head) else -<int>UNEXPECTED_STATUS
            if self.interims > MOST_INTERIMS:
                return -<int>UNEXPECTED_STATUS
            if head.status == 100:
                downstream.continue_body()
                self.touch()
            if not downstream.http10 and not (head.status == 100 and downstream.expect & EXPECT_ADDED):
                # Framing fields mean nothing on 1xx (liberty.md: Liberty's 100 has Content-Length: 0).
                head.fields.chunked = False
                written = write_response(engine.out, OUT_SIZE, head, False, False, True, True, False, NULL)
                if written < 0:
                    return -<int>HEAD_TOO_LARGE
                downstream.send(engine.out, written, NULL, 0)
            return size
        self.awaits_head = False
        if downstream.upgrades is not None:
            self.touch()  # no upgrade: from here on it has the time of any answer
        # A server that answers without the body that it was told of may wait for it still.
        self.keep_alive = head.keep_alive and not downstream.expect & EXPECT_HELD
        if head.fields.private_seen & (PARTITION_TABLE | PARTITION_VERSION):
            downstream.note_partitions(&head.fields)
        if head.status == 401 and asks_for_bound_login(&head.fields):
            self.keep_alive = False
        if downstream.head_only or head.status == 204 or head.status == 304:
            self.body.kind = NO_BODY
        elif head.fields.chunked:
            self.body.kind = CHUNKED_BODY
            begin_chunks(&self.body.chunks)
            # Those that Connection names would have to be dropped: all are.
            self.passes_trailers = downstream.takes_trailers and not head.fields.nominates_others
        elif head.fields.content_length >= 0:
            self.body.kind = LENGTH_BODY if head.fields.content_length else NO_BODY
            self.body.left = head.fields.content_length
        else:
            self.body.kind = UNTIL_CLOSE
            self.keep_alive = False
        return size

    cdef bint is_upgraded(self, ResponseHead* head) except -1:
        """Whether the server changes to what the client asked for: then nothing after this head is HTTP."""
        cdef frozenset asked = self.downstream.upgrades
        cdef frozenset said
        if asked is None or head.minor == 0 or not head.fields.connection_upgrade:
            return False
        said = pass_upgrade(&head.fields, self.engine.upgrades)
        if said is None or not said <= asked:
            return False
        head.fields.chunked = False  # framing fields mean nothing here either
        self.awaits_head = False
        self.keep_alive = False
        self.body.kind = TUNNEL
        return True

    cdef Py_ssize_t write_head(self, Exchange downstream) noexcept:
        """The final head as the client gets it, in ``engine.out``; its length, -1: no room for it."""
        cdef ResponseHead* head = &self.engine.response
        cdef bint unchunk = downstream.http10 and self.body.kind == CHUNKED_BODY
        cdef const char* date = NULL
        if not downstream.request_done or self.body.kind == UNTIL_CLOSE or unchunk or self.engine.draining:
            downstream.keep_alive = False
        downstream.ends_by_close = unchunk or self.body.kind == UNTIL_CLOSE
        if (
            (head.fields.has_set_cookie or downstream.session.length or downstream.explained is not None)
            and downstream.edit_answer(head) < 0
        ):
            return -1
        if not head.fields.has_date and self.body.kind != TUNNEL:
            date = date_line_now()  # RFC 9110 6.6.1
        return write_response(
            self.engine.out,
            OUT_SIZE,
            head,
            not downstream.keep_alive and self.body.kind != TUNNEL,
            downstream.http10 and downstream.keep_alive,
            head.status == 204 or self.body.kind == TUNNEL,
            # Neither a client of HTTP/1.0 nor a 204 may be told of chunks, even where no body follows (RFC 9112 6.1).
            downstream.http10 or head.status == 204,
            self.body.kind == CHUNKED_BODY and self.passes_trailers,
            date,
        )

    cdef int relay(self, const char* data, Py_ssize_t length, Py_ssize_t head_len) except -1:
        """Passes on body bytes (after ``head_len`` bytes of head in ``engine.out``), as far as the framing goes."""
        cdef Exchange downstream = self.downstream
        cdef Py_ssize_t used = length
        cdef Py_ssize_t piped = 0
        cdef bint done = False
        if head_len:
            downstream.answer_begins(head_len)
            if self.downstream is None:
                return 0  # dropped, by an error of the slow path
        if self.body.kind == NO_BODY:
            downstream.send(self.engine.out, head_len, NULL, 0)
            used = 0
            done = True
        elif self.body.kind == LENGTH_BODY:
            if used > self.body.left:
                used = <Py_ssize_t>self.body.left
            self.body.left -= used
            if head_len and self.is_cut and self.can_pipe(self.body.left):
                piped = self.fill_pipe(self.body.left)
            if piped > 0:
                self.body.left -= piped
                downstream.send_piped(self.engine.out, head_len, data, used)
            else:
                downstream.push(self.engine.out, head_len, data, used, used == 0 and self.body.left >= WORTH_PIPING)
            done = self.body.left == 0
        elif self.body.kind == UNTIL_CLOSE:
            downstream.send(self.engine.out, head_len, data, length)
        elif self.body.kind == TUNNEL:
            downstream.send(self.engine.out, head_len, data, length)
            if head_len:
                downstream.begin_tunnel()
        else:
            used = self.relay_chunks(data, length, head_len)
            if used < 0:
                if head_len:
                    downstream.response_started = False  # nothing of it was sent: the client can still be told
                return self.fail(BAD_RESPONSE, <int>-used)
            done = self.body.chunks.phase == CHUNK_DONE
        if downstream.write_broken:
            return downstream.abort()
        if done:
            return self.complete(used == length)
        return 0

    cdef Py_ssize_t relay_chunks(self, const char* data, Py_ssize_t length, Py_ssize_t head_len) except? -1:
        """Chunked body bytes as they are, or for HTTP/1.0 clients only their payload; bytes used, or -HeadError."""
        cdef Exchange downstream = self.downstream
        cdef Py_ssize_t forward = 0
        cdef Py_ssize_t used
        cdef End end
        if downstream.http10:
            downstream.send(self.engine.out, head_len, NULL, 0)
            return self.relay_unchunked(data, length)
        used = pass_chunks(&self.body.chunks, &self.trailers, self.passes_trailers, data, length, &forward, &end)
        if used < 0:
            return used
        downstream.send(self.engine.out, head_len, data, forward)
        if end.length:
            downstream.send(end.data, end.length, NULL, 0)
        return used

    cdef int relay_unchunked(self, const char* data, Py_ssize_t length) except -1:
        cdef ChunkSpan span
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t step
        while used < length and self.body.chunks.phase != CHUNK_DONE:
            step = next_span(&self.body.chunks, data + used, length - used, &span)
            if step < 0:
                self.body.chunks.phase = CHUNK_DONE
                self.keep_alive = False
                self.downstream.reset()
                return <int>length
            if span.data != NULL:
                self.downstream.send(span.data, span.data_len, NULL, 0)
            used += step
        return <int>used

    cdef int complete(self, bint clean) except -1:
        """The answer is over; ``clean``: nothing came after it."""
        cdef Exchange downstream = self.downstream
        self.leave(clean)
        return downstream.finish()

    cdef int discard(self, const char* data, Py_ssize_t length) except -1:
        """
        Drops an answer that the client shall not see; these bytes of its body are here.

        The connection is used again only where this is all of it: waiting for the rest of a page that nobody reads would
        cost more than a new connection.
        """
        cdef Exchange downstream = self.downstream
        cdef Py_ssize_t forward
        cdef bint whole = False
        if self.body.kind == NO_BODY:
            whole = length == 0
        elif self.body.kind == LENGTH_BODY:
            whole = length == self.body.left
        elif self.body.kind == CHUNKED_BODY:
            whole = (
                scan_chunks(&self.body.chunks, data, length, &forward) == length and self.body.chunks.phase == CHUNK_DONE
            )
        self.leave(whole)
        return downstream.go_elsewhere()

    cdef int leave(self, bint clean) except -1:
        """Parts from the exchange: back to the pool if nothing speaks against it; ``clean``: no byte is left of it."""
        cdef Exchange downstream = self.downstream
        cdef bint reusable = (
            clean and self.keep_alive and downstream.request_done and not self.write_broken and not self.closing
            and not self.write_paused and not self.engine.draining and not self.count_unsent()
        )
        self.downstream = None
        buffer_clear(&self.pending)
        if self.trailers.length:
            buffer_clear(&self.trailers)
        if reusable:
            self.resume_reading()
            self.awaits_head = True
            self.pool.put(self, ws_now_ms())
        else:
            self.abort()
        return 0

    cdef int fail(self, int kind, int error) except -1:
        """No (whole) answer will come; the exchange decides what now."""
        cdef Exchange downstream = self.downstream
        self.downstream = None
        buffer_clear(&self.pending)
        self.held = self.transport.get_write_buffer_size() if self.buffered and self.transport is not None else 0
        self.abort()
        if downstream is not None:
            return downstream.upstream_failed(self, kind, error)
        return 0

    # --- a tunnel ---------------------------------------------------------------------------------------------------

    cdef int pass_on(self, const char* data, Py_ssize_t length) except -1:
        self.send(data, length, NULL, 0)
        if self.write_broken and self.ended_tunnel:
            return self.end_tunnel(True)  # nothing is read from it any more that would tell
        self.touch_tunnel()
        return 0

    cdef void touch_tunnel(self) noexcept:
        self.moved_ms = ws_now_ms()
        self.time_tunnel()

    cdef void time_tunnel(self) noexcept:
        """When to look next: at the first limit that may be over; which one counts, `check_tunnel` sees."""
        cdef int64_t limit_ms = self.pool.ws_idle_ms
        if self.ended_tunnel or self.downstream.half_closed:
            # Who ended may be gone for good, as most are: that is no reason to keep the other's connection for an hour.
            limit_ms = min(limit_ms, self.engine.body_timeout_ms) if limit_ms else self.engine.body_timeout_ms
        if self.buffered and self.pool.ws_io_timeout_ms:
            limit_ms = min(limit_ms, self.pool.ws_io_timeout_ms) if limit_ms else self.pool.ws_io_timeout_ms
        self.deadline_ms = self.moved_ms + limit_ms if limit_ms else 0

    cdef bint client_ended(self) except -1:
        self.touch_tunnel()
        return not self.ended_tunnel and self.half_close()

    cdef int check_tunnel(self, int64_t now_ms) except -1:
        """
        Its time is over, unless the server reads after all, or the client has still to read.

        While bytes wait that the server does not take, wsServerIOTimeout counts, else wsServerIdleTimeout.
        """
        cdef int64_t io_deadline_ms = self.moved_ms + self.pool.ws_io_timeout_ms
        if self.buffered:
            if self.is_being_read():
                self.touch_tunnel()
                return 0
            if self.count_unsent():
                if io_deadline_ms > now_ms:
                    self.deadline_ms = io_deadline_ms
                    return 0
                log.info(
                    "server %s: a tunnel is closed: the server does not read (%s)", self.pool.name,
                    "wsServerIOTimeout" if self.pool.ws_io_timeout_ms else "wsServerIdleTimeout",
                )
                return self.end_tunnel(False)
            self.buffered = False  # all was taken: only the silence counts
            self.time_tunnel()
            if self.deadline_ms == 0 or self.deadline_ms > now_ms:
                return 0
        if self.downstream.write_paused:
            self.touch_tunnel()  # it is the client's turn, and body_s counts: what it takes are bytes, too
            return 0
        log.info("server %s: a tunnel is closed: nobody says anything (wsServerIdleTimeout)", self.pool.name)
        return self.end_tunnel(True)

    cdef int end_tunnel(self, bint clean) except -1:
        cdef Exchange downstream = self.downstream
        self.part(clean)
        return downstream.end_tunnel(clean)

    cdef int part(self, bint clean) except -1:
        self.downstream = None
        if not clean:
            return self.abort()
        self.close()
        self.deadline_ms = ws_now_ms() + self.engine.body_timeout_ms  # for a server that does not take the last bytes
        return 0

    # --- the end ----------------------------------------------------------------------------------------------------

    cdef int ended(self) except -1:
        if self.body.kind == TUNNEL and self.downstream is not None:
            if self.downstream.server_ended():
                self.ended_tunnel = True
                self.touch_tunnel()
                return 1
            return self.end_tunnel(True)
        if self.downstream is not None and not self.awaits_head and self.body.kind == UNTIL_CLOSE:
            return self.complete(False)
        return self.fail(CLOSED_EARLY, 0)

    cdef int lost(self, object error) except -1:
        if self.downstream is not None:
            if self.body.kind == TUNNEL:
                return self.end_tunnel(error is None)
            # Under TLS only close_notify (see `ended`) is an end; anybody on the way can send a FIN.
            if error is None and not self.secure and not self.awaits_head and self.body.kind == UNTIL_CLOSE:
                return self.complete(False)
            if isinstance(error, SSLError):  # its errno is a number of the TLS library
                log.warning("server %s: TLS: %s", self.pool.name, str(error))
                return self.fail(CLOSED_EARLY, EPROTO)
            return self.fail(CLOSED_EARLY, getattr(error, "errno", None) or 0)
        self.pool.forget(self)
        return 0

    cdef int on_deadline(self, int64_t now_ms) except -1:
        if self.downstream is None:
            if not self.closing:
                return self.close()
            if not self.is_being_read():
                return self.abort()
            self.deadline_ms = now_ms + self.engine.body_timeout_ms
            return 0
        if self.body.kind == TUNNEL:
            return self.check_tunnel(now_ms)
        if self.buffered:
            if self.is_being_read():
                self.touch()
                return 0
            if not self.downstream.request_done and not self.count_unsent():
                return 0  # the server has all that came so far and waits for more
        return self.fail(IO_TIMEOUT, 0)

    cdef int on_write_paused(self, bint paused) except -1:
        """A server that does not read stops the client it is fed from."""
        if self.downstream is not None:
            if paused:
                self.downstream.pause_reading()
            elif not self.downstream.expect & EXPECT_HELD:
                self.downstream.resume_reading()
            self.touch()
        return 0

    def park(self) -> None:
        """Puts a fresh connection whose client went away into the pool."""
        self.pool.put(self, ws_now_ms())


class UpstreamProtocol(Upstream, asyncio.BufferedProtocol):
    """Upstream as asyncio and uvloop want it: they look for the base class."""

    __slots__ = ()
