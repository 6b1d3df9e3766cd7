"""
A client's connection of HTTP/1: who it is, its requests one after the other, and what was sent ahead of them.

Driven by the event loop through ``Http1Protocol``. Frames requests and hands each to its one ``exchange``, which is used
again for the next; answers go out through ``answer``. How connections end is ``linger``'s part.
"""

import asyncio

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, memset, strlen
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear, buffer_drop
from wsproxy._fast.base.clock cimport ws_now_ms, ws_now_us
from wsproxy._fast.decide.decide cimport DEFAULT_PORT, DEFAULT_TLS_PORT
from wsproxy._fast.http.chunked cimport CHUNK_DATA, FINE_READ
from wsproxy._fast.http.fields cimport BAD_TARGET
from wsproxy._fast.http.head cimport find_head_end, parse_request
from wsproxy._fast.http.origin cimport constant_lines
from wsproxy._fast.http.paths cimport encode_target
from wsproxy._fast.net.endpoint cimport Carrier
from wsproxy._fast.net.epoll cimport INET6_ADDRSTRLEN, ws_name
from wsproxy._fast.net.pipe cimport WORTH_PIPING
from wsproxy._fast.net.stream cimport MOST_KEPT, NOT_PUMPED, READ_SIZE, Stream
from wsproxy._fast.net.taken cimport taken_of
from wsproxy._fast.proxy.answer cimport http1_answer
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport ANSWERING, CLOSED, IDLE, LINGERING, RELAYING, TUNNELLING
from wsproxy._fast.proxy.linger cimport Lingering
from wsproxy._fast.proxy.sink cimport LENGTH_BODY, no_sink
from wsproxy._fast.state.client_counts cimport COUNTED, NOT_ASKED, REFUSED, UNCOUNTED
from wsproxy._fast.state.meters cimport (
    CLOSED_CLIENTS, HANDSHAKE_FAILED, HANDSHAKES, OPENED, REFUSED_CLIENTS, RESUMED, add_one,
)
from wsproxy._fast.tell.ended cimport ENDED_cD, ENDED_cL, ENDED_cR

cdef enum:
    # A connection that waited in the listen queue when the worker was told to stop has so long for its first request.
    FIRST_REQUEST_MS = 1000
    # Fewer bytes are not worth a call.
    LEAST_READ = 4096
    # What comes with a head is copied, what follows can go through the pipe (docs/decisions/0004). Heads and forms fit.
    FIRST_READ = 16384
    # What one read throws away: nobody waits for it, and a client can leave many connections that linger.
    THROWN_AWAY = 16384


cdef bytes address_text(str host):
    """An address as heads have it; on a dual-stack socket IPv4 has a prefix."""
    cdef bytes text = host.encode()
    if text.startswith(b"::ffff:") and b"." in text:  # without dots it is another address, such as ::ffff:0:1
        return text[7:]
    return text


cdef bytes same_text(bytes known, const char* text):
    """The text; what is ``known`` where that is the same: most connections have it in common with the one before."""
    cdef Py_ssize_t length = strlen(text)
    if known is not None and len(known) == length and memcmp(<const char*>known, text, length) == 0:
        return known
    return text[:length]


cdef Py_ssize_t skip_empty_lines(const char* data, Py_ssize_t length) noexcept nogil:
    """Bytes of the empty lines that these begin with."""
    cdef Py_ssize_t at = 0
    while at + 1 < length and data[at] == c"\r" and data[at + 1] == c"\n":
        at += 2
    return at


cdef class Http1(Lingering):
    """A client's connection of HTTP/1."""

    # --- who it is --------------------------------------------------------------------------------------------------

    cdef int opened(self) except -1:
        """Who came, and how: asked once a connection."""
        cdef Engine engine = self.engine
        cdef char text[INET6_ADDRSTRLEN]
        cdef bytes constant
        cdef bytes peer = None
        cdef bytes local_host = None
        cdef int peer_port = -1
        cdef int local_port = -1
        if engine.row != NULL:
            self.is_metered = True
            add_one(engine.row, OPENED)
        if self.introduction is None and isinstance(self.transport, Carrier):
            peer_port = (<Carrier>self.transport).name_of(True, text)
            if peer_port >= 0:
                peer = same_text(engine.last_peer, text)
            local_port = (<Carrier>self.transport).name_of(False, text)
            if local_port >= 0:
                local_host = same_text(engine.last_local_host, text)
        else:
            if self.introduction is not None:
                peername, sockname = self.introduction
                self.introduction = None  # memory of each idle connection
            else:
                peername, sockname = self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")
            if isinstance(peername, tuple):
                peer, peer_port = address_text(peername[0]), peername[1]
            if isinstance(sockname, tuple):
                local_host, local_port = address_text(sockname[0]), sockname[1]
        if peer is None:
            peer = b"unknown"  # the client is gone already; never an address, it could be a trusted one
        if local_host is None:
            peer_port = -1
            local_host = b"localhost"
            local_port = DEFAULT_TLS_PORT if self.secure else DEFAULT_PORT
        engine.last_local_host = local_host
        if self.secure:
            constant = constant_lines(peer, True) + engine.slow.private_tls_lines(self.transport)
        elif peer is engine.last_peer:
            constant = engine.last_constant
        else:
            constant = constant_lines(peer)
            engine.last_peer, engine.last_constant = peer, constant
        self.exchange.set_client(peer, peer_port, local_host, local_port, self.secure, constant)
        self.exchange.sink = http1_answer(self)
        if self.records is not None and self.engine.access is not None:
            self.taken = taken_of(self.records)
        if self.engine.client_counts is not None and not self.let_in():
            return self.reset()
        self.deadline_ms = ws_now_ms() + self.exchange.view.head_timeout_ms
        return 0

    cdef bint let_in(self) except -1:
        """Whether its client may have this connection too; asked once, and told to the slow path where not."""
        if self.admission == NOT_ASKED:
            self.admission = UNCOUNTED
            if self.exchange.peer not in self.exchange.view.trusted_proxies:  # they speak for many
                if self.engine.client_counts.identify(self.exchange.peer, &self.client):
                    self.admission = self.engine.client_counts.enter(
                        self.engine.worker_id, self.client, self.engine.most_of_client
                    )
            if self.admission == REFUSED:
                self.engine.refused_connections += 1
                self.engine.count(REFUSED_CLIENTS)
                self.engine.slow.client_refused(self.exchange.peer.decode())
        return self.admission != REFUSED

    def admit(self, str peer) -> bool:
        """
        Whether the client may have this connection too; it counts until it is lost, or its handshake has failed.

        Asked before a handshake, which costs more than the rest; never for None: the connection is nobody's.
        """
        if self.engine.client_counts is None or peer is None:
            self.admission = UNCOUNTED
            return True
        self.exchange.peer = address_text(peer)
        return self.let_in()

    cdef bint lets_in(self, int fd) except -1:
        cdef char text[INET6_ADDRSTRLEN]
        cdef bint is_known = self.engine.client_counts is not None and ws_name(fd, True, text) >= 0  # else it is gone already
        return self.admit((<const char*>text).decode("ascii") if is_known else None)

    cdef int64_t handshake_ms(self) except -1:
        return self.engine.view.head_timeout_ms

    cpdef handshake_ended(self, bint is_done, bint is_resumed):
        """Its TLS handshake is over; without success nothing else is heard of the connection, which counts no longer."""
        if not is_done:
            self.uncount()
        self.engine.count(HANDSHAKES if is_done else HANDSHAKE_FAILED)
        if is_resumed:
            self.engine.count(RESUMED)

    cdef void uncount(self) noexcept:
        if self.admission == COUNTED:
            self.admission = UNCOUNTED
            self.engine.client_counts.leave(self.engine.worker_id, self.client)

    def introduce(self, tuple source not None, tuple destination not None) -> None:
        """The client's and our own (address, port) as a PROXY header said them; before ``connection_made``."""
        self.introduction = (source, destination)

    # --- what the engine asks ---------------------------------------------------------------------------------------

    cdef bint serves_client(self) noexcept:
        return True

    cdef bint awaits_answer(self) noexcept:
        # Whoever waits for a server, or for a connection to one, is looked after: who has left meanwhile needs none.
        return self.exchange.phase == RELAYING and self.exchange.request_done and not self.pending.length

    cdef bint is_idle(self) noexcept:
        return self.exchange.phase == IDLE and self.pending.length == 0 and self.was_used

    cdef bint is_served(self) except -1:
        return not self.closing and self.exchange.phase != LINGERING or self.count_unsent() > 0

    cdef bint lingers(self) noexcept:
        return self.is_lingering

    cdef int hurry(self, int64_t now_ms) except -1:
        if self.exchange.phase == IDLE and not self.was_used:
            self.deadline_ms = min(self.deadline_ms, now_ms + FIRST_REQUEST_MS)
        return 0

    # --- requests ---------------------------------------------------------------------------------------------------

    cdef Py_ssize_t pump(self) except -3:
        """Bytes of a request's body, from socket to socket."""
        cdef Py_ssize_t count
        cdef int64_t left = self.exchange.pipeable()
        cdef int target
        if left < WORTH_PIPING or not self.fills_pipe():
            return NOT_PUMPED
        target = self.exchange.upstream.pipe_end()
        if target < 0:
            return NOT_PUMPED
        count = self.fill_pipe(left, target)
        if count > 0:
            self.exchange.piped(count)
        return count

    cdef Py_ssize_t read_limit(self) noexcept:
        """As much as can be used at once, and of what may have to wait no more than MOST_KEPT."""
        cdef Py_ssize_t ahead = max(1, MOST_KEPT - self.pending.length)
        if self.exchange.phase == IDLE:
            # What is pending is part of a head; or there is more, and it waits for the client to read.
            if self.write_paused or self.yields:
                return ahead
            return FIRST_READ if self.fills_pipe() else MOST_KEPT
        if self.exchange.phase == RELAYING and not self.exchange.request_done:
            if self.exchange.body.kind == LENGTH_BODY:
                return <Py_ssize_t>min(self.exchange.body.left + ahead, self.until_piped(), <int64_t>READ_SIZE)
            if self.exchange.body.chunks.is_fine:
                ahead = min(ahead, <Py_ssize_t>FINE_READ)
            if self.exchange.body.chunks.phase == CHUNK_DATA:
                return <Py_ssize_t>min(self.exchange.body.chunks.left + ahead, <uint64_t>READ_SIZE)
            return ahead
        if self.exchange.phase == LINGERING:
            return THROWN_AWAY
        return READ_SIZE if self.exchange.phase == TUNNELLING else ahead

    cdef int64_t until_piped(self) noexcept:
        """Bytes with which a large body is too much to be kept for a retry: the rest can go through the pipe."""
        cdef Downstream exchange = self.exchange
        cdef int64_t room
        if not exchange.replayable or exchange.service.post_buffer_size < 0 or not self.fills_pipe():
            return READ_SIZE
        room = exchange.service.post_buffer_size - (exchange.sent.length - exchange.sent_head) + 1
        room = max(room, <int64_t>LEAST_READ)
        return room if exchange.body.left - room >= WORTH_PIPING else READ_SIZE

    cdef int received(self, const char* data, Py_ssize_t length) except -1:
        cdef Py_ssize_t used = 0
        if self.exchange.phase == LINGERING:
            return self.thrown_away(length)
        if self.closing:
            return 0
        if self.exchange.phase == IDLE and not self.yields:
            if self.pending.length:
                buffer_append(&self.pending, data, length)
                self.process_pending()
                return self.limit_pending()
            used = self.process(data, length)
        elif self.exchange.phase == RELAYING and not self.exchange.request_done:
            used = self.exchange.relay_body(data, length)
        elif self.exchange.phase == TUNNELLING:
            return self.exchange.upstream.pass_on(data, length)
        if used < length and self.exchange.phase != LINGERING and not self.closing:
            self.keep_pending(data + used, length - used)
        return 0

    cdef int keep_pending(self, const char* data, Py_ssize_t length) except -1:
        buffer_append(&self.pending, data, length)
        return self.limit_pending()

    cdef int limit_pending(self) except -1:
        if self.pending.length >= MOST_KEPT and (self.exchange.phase != IDLE or self.write_paused or self.yields):
            self.pause_reading()
        return 0

    cdef int process_pending(self) except -1:
        cdef Py_ssize_t used
        # The buffer is moved out first: what runs below may keep other bytes pending.
        cdef Buffer taken = self.pending
        memset(&self.pending, 0, sizeof(Buffer))
        try:
            used = self.process(taken.data, taken.length)
            if used < taken.length and self.exchange.phase != LINGERING and not self.closing:
                buffer_drop(&taken, used)
                if self.pending.length:
                    buffer_append(&taken, self.pending.data, self.pending.length)
                    buffer_clear(&self.pending)
                self.pending = taken
                memset(&taken, 0, sizeof(Buffer))
                self.limit_pending()
        finally:
            self.engine.decider.let_go()  # the bytes were, or will be, moved
            buffer_clear(&taken)
        return 0

    cdef Py_ssize_t process(self, const char* data, Py_ssize_t length) except -1:
        """
        Takes up requests from these bytes until one waits for its answer, or others must have their turn; bytes used.

        Those that are answered here would follow each other for as long as there are bytes.
        """
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t step
        cdef long long requests = self.engine.requests
        self.processing = True
        try:
            # Nothing new for a client that does not read its answers, they would pile up here without limit; and nothing
            # for one that is gone: it may have sent more before.
            while (
                self.exchange.phase == IDLE and used < length
                and not self.closing and not self.write_paused and not self.write_broken
            ):
                if self.engine.requests != requests:  # the first is always taken up
                    if self.engine.spare <= 0:
                        self.yields = True
                        self.deadline_ms = 0  # now it waits for us
                        self.engine.ask_turn(self)
                        break
                    self.engine.spare -= 1
                    requests = self.engine.requests
                step = self.begin(data + used, length - used)
                if step == 0:
                    break
                used += step
        finally:
            self.processing = False
        return used

    cdef Py_ssize_t begin(self, const char* data, Py_ssize_t length) except -1:
        """One request head, if it is whole; bytes used, 0: more is needed."""
        cdef Py_ssize_t size = 1
        if self.exchange.view is not self.engine.view:
            self.exchange.take_view()
        if self.scanned == 0:
            # Empty lines before a request are skipped (RFC 9112 2.2); they do not put off the head's deadline.
            if data[0] == c"\r" and (length == 1 or data[1] == c"\n"):
                return skip_empty_lines(data, length)
        else:
            size = find_head_end(data, length, self.scanned)
            if size == 0 and length > self.exchange.view.limits.head_bytes:
                size = 1  # too much in any case; the parser says of what
        if size > 0:
            size = parse_request(data, length, &self.exchange.view.limits, &self.engine.decider.request)
        if size == -<int>BAD_TARGET and self.exchange.view.encodes_targets:
            size = self.begin_encoded(data, length)
            if size > 0:
                return size
        if size == 0:
            if self.scanned == 0:
                self.deadline_ms = ws_now_ms() + self.exchange.view.head_timeout_ms
                if self.engine.row != NULL or self.engine.access is not None:
                    self.exchange.head_began_us = ws_now_us()
            self.scanned = length
            return 0
        self.scanned = 0
        if size < 0:
            self.exchange.forget_request(data, length)
            self.exchange.refuse(<int>-size)
            return length
        return self.start(data, length)

    cdef Py_ssize_t begin_encoded(self, const char* data, Py_ssize_t length) except? -1:
        """
        One request whose target has bytes beyond ASCII: it is taken up with these encoded (http.non_ascii).

        As ``begin``, but below 0 it is a -HeadError: nothing could be encoded, or it is wrong all the same.
        """
        cdef Buffer encoded
        cdef Py_ssize_t added, size
        memset(&encoded, 0, sizeof(Buffer))
        try:
            added = encode_target(&encoded, data, length)
            if added == 0:
                return -<int>BAD_TARGET
            size = parse_request(encoded.data, encoded.length, &self.exchange.view.limits, &self.engine.decider.request)
            if size > 0:
                self.scanned = 0
                size = self.start(encoded.data, encoded.length) - added  # what it used is more than the target
            return size
        finally:
            self.engine.decider.let_go()
            buffer_clear(&encoded)

    cdef Py_ssize_t start(self, const char* data, Py_ssize_t length) except -1:
        """Takes up the request whose head is ``decider.request``; bytes used of head and body."""
        self.was_used = True
        self.ends_by_close = False
        self.says_close = not self.engine.decider.request.keep_alive
        if self.cipher is not None:
            self.cipher.ends_soon = self.says_close
        return self.exchange.start(data, length)

    # --- from request to request ------------------------------------------------------------------------------------

    cdef int next_request(self) except -1:
        if self.closing:
            self.exchange.enter(CLOSED)
            return 0
        if self.write_broken:
            self.exchange.enter(CLOSED)
            return self.abort()  # whatever it sent ahead: no answer reaches it
        if not self.exchange.request_done or not self.exchange.keep_alive or self.engine.is_stopping:
            self.exchange.enter(CLOSED)
            return self.close()
        self.exchange.enter(IDLE)
        if self.write_paused:
            self.exchange.await_client()
        else:
            self.deadline_ms = ws_now_ms() + self.exchange.view.keepalive_timeout_ms
        return self.go_on()

    cdef int go_on(self) except -1:
        """Reads again, and takes up what the client sent ahead."""
        self.resume_reading()
        if self.processing:
            return 0
        if self.pending.length:
            self.process_pending()
        if self.exchange.half_closed and self.exchange.phase == IDLE and not self.has_more():
            return self.close()  # nothing more can come
        return 0

    cdef bint has_more(self) noexcept:
        """Whether requests that came are taken up later."""
        return self.pending.length and (self.write_paused or self.yields)

    cdef int on_turn(self) except -1:
        cdef bint goes_on = self.yields
        self.yields = False
        Stream.on_turn(self)
        if self.taken is not None:
            self.look_at_lines()
        if not goes_on or self.exchange.phase != IDLE or self.closing:
            return 0
        self.deadline_ms = ws_now_ms() + self.exchange.view.keepalive_timeout_ms
        return self.go_on()

    # --- the client goes away, or does not go on --------------------------------------------------------------------

    cdef int ended(self) except -1:
        """
        Half-close: requests that are whole are still answered; an unfinished one ends here.

        A client that is gone looks the same until something is sent to it: timeouts.half_closed_s says what is believed.
        """
        self.exchange.half_closed = True
        if self.exchange.phase == TUNNELLING:
            # TLS closes for both directions: what the client sent is still delivered, what it would have got is not.
            if not self.secure and self.exchange.upstream.client_ended():
                return 1
            self.exchange.close_tunnel()
            return 0
        if self.exchange.phase == IDLE and self.has_more():
            return 1
        # Of a request that we answer the body is not read: nobody knows whether it is whole, and it does not matter.
        if (
            self.exchange.phase == IDLE or self.exchange.phase == LINGERING or self.exchange.phase == CLOSED
            or self.exchange.has_left(self.exchange.request_done or self.exchange.phase == ANSWERING)
        ):
            self.close()
            return 0
        self.exchange.await_client()
        return 1

    cdef int lost(self, object error) except -1:
        self.uncount()
        if self.is_metered:
            self.is_metered = False
            add_one(self.engine.row, CLOSED_CLIENTS)
        if self.is_lingering:
            self.is_lingering = False
            self.engine.lingering -= 1
        try:
            if self.first_line != NULL:
                self.end_lines(not (self.taken is not None and error is None and not self.cut_as and self.taken.fd < 0))
            self.exchange.client_gone()
        finally:
            if self.taken is not None:
                self.taken.let_go()
            buffer_clear(&self.pending)
            self.exchange.sink = no_sink()  # it leads back here
        return 0

    cdef int on_deadline(self, int64_t now_ms) except -1:
        if self.exchange.phase == LINGERING and (self.secure or not self.closing):
            return self.look_on(now_ms)
        if self.exchange.has_try() and self.exchange.try_until_ms <= now_ms:
            return self.exchange.give_up_try(now_ms)
        if self.buffered:
            if self.is_being_read():  # slowly, but it is
                self.deadline_ms = now_ms + self.exchange.view.body_timeout_ms
                return 0
            if self.count_unsent():
                self.exchange.ended_by(ENDED_cD)
                self.cut_as = ENDED_cL
                return self.reset()  # after an orderly end the kernel would go on offering the rest for minutes
        if self.closing:
            self.cut_as = ENDED_cL
            self.abort()
        elif self.exchange.phase == IDLE and self.pending.length:
            self.exchange.forget_request(self.pending.data, self.pending.length)
            self.exchange.ended_by(ENDED_cR)
            self.exchange.keep_alive = False
            self.exchange.begin_answer()
            self.exchange.ask_timed_out()
        elif self.exchange.phase == IDLE:
            self.close()
        elif self.exchange.phase == RELAYING and not self.exchange.request_done and self.reading_paused:
            self.exchange.await_client()  # the server does not take what is here: not the client's fault
        else:
            self.exchange.on_deadline()
        return 0

    cdef int on_write_paused(self, bint paused) except -1:
        """A client that does not read stops the server it is fed from; between two requests nothing new is taken up."""
        cdef bint is_idle = self.exchange.phase == IDLE
        self.exchange.client_pauses(paused)
        if self.closing or paused or not is_idle:
            return 0
        self.deadline_ms = ws_now_ms() + (
            self.exchange.view.head_timeout_ms if self.scanned else self.exchange.view.keepalive_timeout_ms
        )
        return self.go_on()


cdef class Http1Clients:
    """Makes the connections of a door: called, the next one."""

    def __init__(self, Engine engine not None):
        self.engine = engine

    def __call__(self) -> Http1:
        return Http1.__new__(Http1, self.engine)


class Http1Protocol(Http1, asyncio.BufferedProtocol):
    """Http1 as asyncio and uvloop want it: they look for the base class."""

    __slots__ = ()
