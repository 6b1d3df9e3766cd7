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
from libc.string cimport memcpy
from wsproxy._fast.base.buffer cimport OUT_SIZE, buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.base.clock cimport ws_now_ms, ws_now_us
from wsproxy._fast.http.chunked cimport (
    CHUNK_DONE, FINE_READ, ChunkSpan, ChunkState, begin_chunks, next_span, note_grain, scan_chunks,
)
from wsproxy._fast.http.fields cimport (
    HEAD_TOO_LARGE, PARTITION_TABLE, PARTITION_VERSION, UNEXPECTED_STATUS, asks_for_bound_login,
)
from wsproxy._fast.http.head cimport ResponseHead, find_head_end, parse_response
from wsproxy._fast.http.trailers cimport End, pass_chunks
from wsproxy._fast.http.upgrade cimport pass_upgrade
from wsproxy._fast.net.pipe cimport WORTH_PIPING
from wsproxy._fast.net.sockets cimport ws_readable_from
from wsproxy._fast.net.stream cimport NOT_PUMPED, READ_SIZE
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport (
    BAD_RESPONSE, CLOSED_EARLY, EXPECT_ADDED, EXPECT_HELD, HEAD_TIMEOUT, IO_TIMEOUT, Exchange,
)
from wsproxy._fast.proxy.squeeze cimport SQUEEZED_READ
from wsproxy._fast.proxy.sink cimport CHUNKED_BODY, LENGTH_BODY, NO_BODY, TUNNEL, UNTIL_CLOSE, Sink
from wsproxy._fast.proxy.tunnel cimport TunnelEnd, drop_client
from wsproxy._fast.tell.ended cimport ENDED_PD, ENDED_SD

log = logging.getLogger("wsproxy.connection")

cdef enum:
    # Of an answer with a small body this is all.
    FIRST_READ = 8192
    # 1xx heads before an answer: a server may send a 100, some 103 and a 102 now and then. An endless row of them would
    # restart ServerIOTimeout for ever.
    MOST_INTERIMS = 100
    # A body of which one read brings so much comes faster than we look: we are woken seldom, for so much at once.
    FAST_READ = 65536
    MOST_MARK = 131072
    # Whoever pauses with less than that sent has it held back so long, and until the next sweep.
    MARK_MS = 20
    # Of `begin_answer`: the client gets a page instead.
    REPLACED = -2


cdef class Upstream(TunnelEnd):
    """A connection to one server of a cluster."""

    def __dealloc__(self):
        buffer_clear(&self.pending)
        buffer_clear(&self.trailers)

    cdef int begin(self, Exchange exchange) except -1:
        """Serves this exchange from now on; the caller sends the request right after."""
        self.exchange = exchange
        self.reused = self.exchanges > 0
        self.exchanges += 1
        self.awaits_head = True
        self.scanned = 0
        self.head_until_ms = 0
        self.interims = 0
        exchange.handed_us = exchange.asked_us = ws_now_us()
        if exchange.sink.is_paused():
            self.pause_reading()
        self.touch()
        return 0

    cdef void touch(self) noexcept:
        """
        Something was sent or received: ServerIOTimeout counts from here (PLUGIN 5.7).

        It does not count while the server waits for us: for a client that does not read, or for the rest of a request.
        The time of a head that began (timeouts.server_head_s) goes on with each byte, until we read no more.
        """
        if self.body.kind == TUNNEL:
            self.touch_tunnel()
        elif (
            self.pool.ws_io_timeout_ms and self.awaits_head and not self.reading_paused
            and self.exchange is not None and self.exchange.upgrades is not None
        ):
            self.deadline_ms = ws_now_ms() + self.pool.ws_io_timeout_ms
        elif (
            self.pool.io_timeout_ms
            and not self.reading_paused
            and (
                self.buffered or self.exchange is None or self.exchange.request_done
                or self.exchange.expect & EXPECT_HELD
            )
        ):
            self.deadline_ms = ws_now_ms() + self.pool.io_timeout_ms
        else:
            self.deadline_ms = 0
        if self.head_until_ms:
            if self.reading_paused:
                self.head_until_ms = 0
            elif self.deadline_ms == 0 or self.head_until_ms < self.deadline_ms:
                self.deadline_ms = self.head_until_ms
        if self.mark:
            self.marked_due_ms = self.deadline_ms
            self.deadline_ms = ws_now_ms() + MARK_MS

    cdef void mark_by(self, Py_ssize_t count) noexcept:
        self.set_mark(<int>min(self.body.left, <int64_t>MOST_MARK) if count >= FAST_READ else 0)

    cdef void set_mark(self, int count) noexcept:
        """
        The kernel wakes us once so much of the body is there (SO_RCVLOWAT; 0: any), or where its own room ends.

        See docs/decisions/0004. Who pauses with less than that sent is found by the next sweep.
        """
        if count != self.mark:
            self.mark = count
            ws_readable_from(self.fd, max(count, 1))

    cdef Py_ssize_t read_limit(self) noexcept:
        """
        A head is read without a large body behind it: that can go through the pipe. Of fine chunks a read takes few.

        Not under TLS: what a smaller buffer leaves over is lost where the connection ends right behind it.
        """
        if self.awaits_head:
            return FIRST_READ if self.fills_pipe() else READ_SIZE
        if self.secure:
            return READ_SIZE
        if self.body.kind == CHUNKED_BODY and self.body.chunks.is_fine:
            return FINE_READ
        return SQUEEZED_READ if self.exchange is not None and self.exchange.squeezed else READ_SIZE

    cdef int pipe_end_for(self, int64_t left) except? -1:
        if self.body.kind == LENGTH_BODY and left >= WORTH_PIPING and self.fills_pipe():
            return self.exchange.sink.pipe_end()
        return -1

    cdef Py_ssize_t pump(self) except -3:
        """Bytes of an answer's body, from socket to socket."""
        cdef Exchange exchange = self.exchange
        cdef Py_ssize_t count
        cdef int target = -1 if self.awaits_head or exchange is None else self.pipe_end_for(self.body.left)
        if target < 0:
            return NOT_PUMPED
        count = self.fill_pipe(self.body.left, target)
        if count <= 0:
            return count
        self.body.left -= count
        self.mark_by(count)
        self.touch()
        exchange.sink.piped(NULL, 0)
        if exchange.sink.is_broken():
            exchange.sink.abort()
        elif self.body.left == 0:
            self.complete(True)
        return count

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t size
        if self.exchange is None:
            # An idle connection has nothing to say; whatever this is, it must not answer the next request.
            return self.abort()
        self.set_mark(0)  # the client takes less than it did: these bytes went another way than the pipe's
        self.touch()
        if not self.awaits_head:
            return self.relay(data, length, False)
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
                if self.is_cut and self.exchange.compression is None and self.pipe_end_for(self.body.left - length) < 0:
                    length += self.read_on(data - self.engine.read_data + length)
                if self.engine.response.status >= 500 and self.exchange.view.is_failure(self.engine.response.status):
                    self.is_read = self.is_whole(data, length)
                    if self.exchange.is_refused(self.engine.response.status):
                        return self.discard()
                size = self.begin_answer(data, length)
                if size < 0:
                    if size == REPLACED:
                        return self.replace(data, length)
                    return self.fail(BAD_RESPONSE, <int>HEAD_TOO_LARGE)
                self.exchange.answer_begins(size)
                if self.exchange is None:
                    return 0  # dropped, by an error of the slow path
                self.relay(data, length, True)
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
        if self.scanned and not self.head_until_ms and self.exchange.view.server_head_timeout_ms:
            self.head_until_ms = ws_now_ms() + self.exchange.view.server_head_timeout_ms
            self.touch()
        return 0

    cdef Py_ssize_t read_head(self, const char* data, Py_ssize_t length) except? -1:
        """One head, interim or final; its size, 0: not whole yet, < 0: -HeadError. A final one ends ``awaits_head``."""
        cdef Engine engine = self.engine
        cdef ResponseHead* head = &engine.response
        cdef Exchange exchange = self.exchange
        cdef Py_ssize_t size
        if length == 0:
            return 0
        if self.scanned:  # as for clients: a head that drips costs no more than one that comes at once
            size = find_head_end(data, length, self.scanned)
            if size < 0:
                return size
            if size == 0:
                self.scanned = length
                return -<int>HEAD_TOO_LARGE if length > self.exchange.view.limits.head_bytes else 0
        size = parse_response(data, length, &self.exchange.view.limits, head)
        if size <= 0:
            self.scanned = length
            return size
        self.scanned = 0
        self.head_until_ms = 0
        if head.status < 200:
            self.interims += 1
            if head.status == 101:
                return size if self.is_upgraded(head) else -<int>UNEXPECTED_STATUS
            if self.interims > MOST_INTERIMS:
                return -<int>UNEXPECTED_STATUS
            if head.status == 100:
                exchange.continue_body()
                self.touch()
            if not (head.status == 100 and exchange.expect & EXPECT_ADDED) and exchange.sink.interim(head) < 0:
                return -<int>HEAD_TOO_LARGE
            return size
        self.awaits_head = False
        if exchange.upgrades is not None:
            self.touch()  # no upgrade: from here on it has the time of any answer
        # A server that answers without the body that it was told of may wait for it still.
        self.keep_alive = head.keep_alive and not exchange.expect & EXPECT_HELD
        if head.fields.private_seen & (PARTITION_TABLE | PARTITION_VERSION):
            exchange.note_partitions(&head.fields)
        if head.status == 401 and asks_for_bound_login(&head.fields):
            self.keep_alive = False
        if exchange.head_only or head.status == 204 or head.status == 304:
            self.body.kind = NO_BODY
        elif head.fields.chunked:
            self.body.kind = CHUNKED_BODY
            begin_chunks(&self.body.chunks)
            # Those that Connection names would have to be dropped: all are.
            self.passes_trailers = exchange.takes_trailers and not head.fields.nominates_others
        elif head.fields.content_length >= 0:
            self.body.kind = LENGTH_BODY if head.fields.content_length else NO_BODY
            self.body.left = head.fields.content_length
        else:
            self.body.kind = UNTIL_CLOSE
            self.keep_alive = False
        return size

    cdef bint is_upgraded(self, ResponseHead* head) except -1:
        """Whether the server changes to what the client asked for: then nothing after this head is HTTP."""
        cdef frozenset asked = self.exchange.upgrades
        cdef frozenset said
        if asked is None or head.minor == 0 or not head.fields.connection_upgrade:
            return False
        said = pass_upgrade(&head.fields, self.exchange.view.upgrades)
        if said is None or not said <= asked:
            return False
        head.fields.chunked = False  # framing fields mean nothing here either
        self.awaits_head = False
        self.keep_alive = False
        self.body.kind = TUNNEL
        return True

    cdef Py_ssize_t begin_answer(self, const char* body, Py_ssize_t length) noexcept:
        cdef Exchange exchange = self.exchange
        cdef ResponseHead* head = &self.engine.response
        if head.fields.has_set_cookie or exchange.session.length or exchange.edges or exchange.explained is not None:
            if exchange.edges and head.status >= 400 and exchange.wants_page(head.status):
                return REPLACED
            if exchange.edit_answer(head, body, length) < 0:
                return -1
        return exchange.sink.begin(head, self.body.kind, self.body.kind == CHUNKED_BODY and self.passes_trailers)

    cdef int relay(self, const char* data, Py_ssize_t length, bint begins) except -1:
        cdef Exchange exchange = self.exchange
        cdef Sink sink = exchange.sink
        cdef Py_ssize_t used = length
        cdef Py_ssize_t piped = 0
        cdef int target
        cdef bint done = False
        if self.body.kind == NO_BODY:
            sink.body(NULL, 0, False)
            used = 0
            done = True
        elif self.body.kind == LENGTH_BODY:
            if used > self.body.left:
                used = <Py_ssize_t>self.body.left
            self.body.left -= used
            if begins and self.is_cut:
                target = self.pipe_end_for(self.body.left)
                if target >= 0:
                    piped = self.fill_pipe(self.body.left, target)
            if piped > 0:
                self.body.left -= piped
                self.mark_by(piped)
                self.touch()
                sink.piped(data, used)
            else:
                sink.body(data, used, used == 0 and self.body.left >= WORTH_PIPING)
            done = self.body.left == 0
        elif self.body.kind == UNTIL_CLOSE:
            sink.body(data, length, False)
        elif self.body.kind == TUNNEL:
            sink.body(data, length, False)
            if begins:
                exchange.begin_tunnel()
        else:
            used = self.relay_chunks(data, length)
            if used < 0:
                if begins:
                    exchange.response_started = False  # nothing of it was sent: the client can still be told
                    sink.take_back()
                return self.fail(BAD_RESPONSE, <int>-used)
            done = self.body.chunks.phase == CHUNK_DONE
        if exchange.squeezed and not done:
            sink.flush(False)
        if sink.is_broken():
            return sink.abort()
        if done:
            return self.complete(used == length)
        return exchange.answer_goes_on() if begins else 0

    cdef Py_ssize_t relay_chunks(self, const char* data, Py_ssize_t length) except? -1:
        """Chunked body bytes as they are, or only their payload; bytes used, or -HeadError."""
        cdef Sink sink = self.exchange.sink
        cdef Py_ssize_t forward = 0
        cdef Py_ssize_t used
        cdef End end
        if not sink.takes_chunks():
            return self.relay_unchunked(data, length)
        used = pass_chunks(&self.body.chunks, &self.trailers, self.passes_trailers, data, length, &forward, &end)
        if used < 0:
            return used
        sink.body(data, forward, False)
        if end.length:
            sink.body(end.data, end.length, False)
        return used

    cdef Py_ssize_t relay_unchunked(self, const char* data, Py_ssize_t length) except? -1:
        """The payload in one piece: a send for each chunk may be 40,000."""
        cdef Sink sink = self.exchange.sink
        cdef char* out = self.engine.edits  # free again: the head is spelled
        cdef ChunkSpan span
        cdef Py_ssize_t filled = 0
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t count = 0
        cdef Py_ssize_t step
        while used < length and self.body.chunks.phase != CHUNK_DONE:
            step = next_span(&self.body.chunks, data + used, length - used, &span)
            if step < 0:
                if self.exchange.squeezed:
                    return step  # the client takes chunks, if others: it sees that the last one is missing
                self.body.chunks.phase = CHUNK_DONE
                self.keep_alive = False
                self.exchange.ended_by(ENDED_PD)
                sink.reset()
                return length
            if filled + span.data_len > OUT_SIZE:
                sink.body(out, filled, False)
                filled = 0
            if span.data != NULL:
                memcpy(out + filled, span.data, span.data_len)  # no longer than a read and what was kept before it
                filled += span.data_len
            used += step
            count += 1
        note_grain(&self.body.chunks, used, count)
        sink.body(out, filled, False)
        return used

    cdef int complete(self, bint clean) except -1:
        """The answer is over; ``clean``: nothing came after it."""
        cdef Exchange exchange = self.exchange
        if exchange.squeezed:
            exchange.sink.flush(True)
        self.leave(clean)
        try:
            exchange.finish()
        except Exception:
            drop_client(exchange)
        return 0

    cdef bint is_whole(self, const char* data, Py_ssize_t length) noexcept:
        """Whether these bytes are all of the answer's body."""
        cdef ChunkState chunks
        cdef Py_ssize_t forward
        if self.body.kind == NO_BODY:
            return length == 0
        if self.body.kind == LENGTH_BODY:
            return length == self.body.left
        if self.body.kind == CHUNKED_BODY:
            chunks = self.body.chunks
            return scan_chunks(&chunks, data, length, &forward) == length and chunks.phase == CHUNK_DONE
        return False

    cdef int discard(self) except -1:
        """
        Drops an answer that the client shall not see; ``is_read``: all of it is here.

        Then the connection is used again. Waiting for the rest of a page that nobody reads would cost more than a new one.
        """
        cdef Exchange exchange = self.exchange
        self.leave(self.is_read)
        try:
            exchange.go_elsewhere()
        except Exception:
            drop_client(exchange)
        return 0

    cdef int replace(self, const char* data, Py_ssize_t length) except -1:
        """As ``discard``, but the client gets a page instead of the answer, whose head was good."""
        cdef Exchange exchange = self.exchange
        cdef int status = self.engine.response.status
        cdef bint is_whole = self.is_whole(data, length)
        exchange.answer_begins(0)
        if self.exchange is None:
            return 0  # dropped, by an error of the slow path
        if not is_whole:
            self.shut()  # before the exchange gives the server back
        self.leave(is_whole)
        try:
            exchange.give_page(status)
        except Exception:
            drop_client(exchange)
        return 0

    cdef int leave(self, bint clean) except -1:
        """Parts from the exchange: back to the pool if nothing speaks against it; ``clean``: no byte is left of it."""
        cdef Exchange exchange = self.exchange
        cdef bint reusable = (
            clean and self.keep_alive and exchange.request_done and not self.write_broken and not self.closing
            and not self.write_paused and not self.engine.is_stopping and not self.count_unsent()
        )
        self.exchange = None
        self.set_mark(0)
        buffer_clear(&self.pending)
        if self.trailers.length:
            buffer_clear(&self.trailers)
        if reusable:
            self.awaits_head = True
            try:
                self.resume_reading()
                return self.pool.put(self, ws_now_ms())
            except MemoryError:
                pass  # the exchange knows nothing of us any more, and must go on
        return self.abort()

    cdef int fail(self, int kind, int error) except -1:
        """No (whole) answer will come; the exchange decides what now."""
        cdef Exchange exchange = self.exchange
        self.exchange = None
        buffer_clear(&self.pending)
        self.held = 0
        try:
            if self.buffered and self.transport is not None:
                self.held = self.transport.get_write_buffer_size()
        except MemoryError:
            pass  # the exchange must hear of it all the same; all counts as sent, so nothing is sent twice
        self.sever()  # before the exchange gives the server back
        if exchange is None:
            return 0
        try:
            exchange.upstream_failed(self, kind, error)
        except Exception:
            drop_client(exchange)
        return 0

    # --- the end ----------------------------------------------------------------------------------------------------

    cdef int ended(self) except -1:
        if self.body.kind == TUNNEL and self.exchange is not None:
            if self.exchange.server_ended():
                self.ended_tunnel = True
                self.touch_tunnel()
                return 1
            return self.end_tunnel(True)
        if self.exchange is not None and not self.awaits_head and self.body.kind == UNTIL_CLOSE:
            return self.complete(False)
        return self.fail(CLOSED_EARLY, 0)

    cdef bint wants_rest(self) noexcept:
        return self.exchange is not None

    cdef int lost(self, object error) except -1:
        if self.exchange is not None:
            if self.body.kind == TUNNEL:
                if error is not None:
                    self.exchange.ended_by(ENDED_SD)
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
        if self.mark:
            self.set_mark(0)
            self.deadline_ms = self.marked_due_ms
            if not 0 < self.deadline_ms <= now_ms:
                return 0
            self.deadline_ms = 0
        if self.exchange is None:
            if not self.closing:
                return self.close()
            if not self.is_being_read():
                return self.abort()
            self.deadline_ms = now_ms + self.engine.view.body_timeout_ms
            return 0
        if self.body.kind == TUNNEL:
            return self.check_tunnel(now_ms)
        if 0 < self.head_until_ms <= now_ms:
            return self.fail(HEAD_TIMEOUT, 0)
        if self.buffered:
            if self.is_being_read():
                self.touch()
                return 0
            if not self.exchange.request_done and not self.count_unsent():
                self.deadline_ms = self.head_until_ms
                return 0  # the server has all that came so far and waits for more
        return self.fail(IO_TIMEOUT, 0)

    cdef int on_write_paused(self, bint paused) except -1:
        """A server that does not read stops the client it is fed from."""
        if self.exchange is not None:
            if paused:
                self.exchange.sink.pause_request()
            elif not self.exchange.expect & EXPECT_HELD:
                self.exchange.sink.resume_request()
            self.touch()
        return 0

    def park(self) -> None:
        """Puts a fresh connection whose client went away into the pool."""
        self.pool.put(self, ws_now_ms())


class UpstreamProtocol(Upstream, asyncio.BufferedProtocol):
    """Upstream as asyncio and uvloop want it: they look for the base class."""

    __slots__ = ()
