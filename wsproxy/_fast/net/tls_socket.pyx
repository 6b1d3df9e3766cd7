"""
TLS connections of clients in the worker's epoll set: no event loop between the socket, the TLS library and the stream.

Made by ``doors``. To a Stream a TlsTransport is what a
PlainTransport is; it hears of its stream once the handshake is over. The library reads and writes through a BIO of ours:
what arrived lies in one buffer of the whole process until it is taken, what is to be sent in another until this call ends.
A connection keeps nothing but the library's own state, and what could not be taken or sent yet.

Records are given to the library one at a time: without that it would take as many in a row as there are, and a KeyUpdate
costs as much as fifty others (``records``). Must not know HTTP, but for the one line that says that this port speaks TLS.
What this buys is in docs/decisions/0023; docs/decisions/0015 says why the library is the one that Python has loaded.
"""

import logging
import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from wsproxy._fast.base.borrowed cimport ws_show
from wsproxy._fast.base.buffer cimport buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.net.endpoint cimport BROKEN
from wsproxy._fast.net.libssl cimport (
    BIO_CTRL_FLUSH, BIO_FLAGS_ALL_RETRY, BIO_FLAGS_READ, BIO_FLAGS_SHOULD_RETRY, BIO_TYPE_SOURCE_SINK, SSL_CTRL_MODE,
    SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_AUTO_RETRY,
    SSL_MODE_RELEASE_BUFFERS, last_reason, libssl, openssl, tell_peer,
)
from wsproxy._fast.net.poller cimport HIGH_WATER, PlainTransport
from wsproxy._fast.net.records cimport COST_OF_VOID, MOST_HANDSHAKE_RECORDS, MOST_VOID_RECORDS, RECORDS_A_TURN
from wsproxy._fast.net.sockets cimport ws_recv, ws_send2
from wsproxy._fast.net.stream cimport READ_SIZE, Stream, complain
from wsproxy._fast.net.taken cimport Taken
from wsproxy._fast.net.tls_terms cimport Terms

from wsproxy._fast.net.poller import OUR_FAULT
from wsproxy._fast.net.records import TOO_MANY_IN_HANDSHAKE, TOO_MANY_VOID
from wsproxy._fast.net.tls_terms import tell_failed

log = logging.getLogger("wsproxy.connection")

cdef enum:
    HEADER_BYTES = 5
    # Bytes of a record: RFC 8446 5.1, RFC 5246 6.2.1.
    RECORD_BYTES = 16384
    # What records have beside their bytes, in as many of them as fill the hub's buffer, with room to spare.
    SPARE = 4096
    # What is asked of the kernel at once, and what one write of a stream becomes at most as a rule. Longer ones go in pieces.
    ARRIVED_SIZE = READ_SIZE + SPARE
    MADE_SIZE = READ_SIZE + 4 * SPARE
    # A handshake's records as they come: what comes behind it waits with the kernel.
    SHAKE_SIZE = RECORD_BYTES + SPARE
    # SSL 2 had another frame, and its first byte has this bit; OpenSSL still takes a ClientHello in one.
    SSL2 = 0x80

# Of the whole process: between two calls nothing is in there, but see `corked`.
cdef char[ARRIVED_SIZE] arrived
cdef char[MADE_SIZE] outgoing
cdef Py_ssize_t outgoing_length = 0
cdef char[RECORD_BYTES] joined

# What the connection in hand has to read.
cdef struct Source:
    const char* data
    Py_ssize_t length
    Py_ssize_t at

cdef Source source


# --- what OpenSSL calls -------------------------------------------------------------------------------------------------

cdef int bio_read(void* bio, char* data, int room) noexcept:
    cdef int count = (<TlsTransport>openssl.bio_get_data(bio)).take_record(data, room)
    openssl.bio_clear_flags(bio, BIO_FLAGS_ALL_RETRY)
    if count > 0:
        return count
    openssl.bio_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    return -1


cdef int bio_write(void* bio, const char* data, int length) noexcept:
    cdef int taken = length
    openssl.bio_clear_flags(bio, BIO_FLAGS_ALL_RETRY)
    try:
        (<TlsTransport>openssl.bio_get_data(bio)).put(data, length)
    except BaseException:  # no memory; the library makes an error of it
        taken = -1
    return taken


cdef long bio_ctrl(void* bio, int command, long number, void* place) noexcept:
    return command == BIO_CTRL_FLUSH


cdef void* make_method() noexcept:
    cdef void* method = openssl.bio_meth_new(openssl.bio_new_index() | BIO_TYPE_SOURCE_SINK, "wsproxy")
    if method != NULL:
        openssl.bio_meth_set_read(method, bio_read)
        openssl.bio_meth_set_write(method, bio_write)
        openssl.bio_meth_set_ctrl(method, bio_ctrl)
    return method

cdef void* method = NULL


cdef inline bint is_letter(char c) noexcept:
    return c"a" <= c | 0x20 <= c"z"


# Whose bytes are in there after all, until its poller has gone through an event; None: nobody's.
cdef TlsTransport corked = None


cdef int take_up(TlsTransport transport) except -1:
    """
    Before the library is called for a connection: nothing of another one is left.

    Errors belong to the thread. What was made is sent before a call ends, but for one without memory, and what is corked.
    """
    global outgoing_length
    if corked is None:
        outgoing_length = 0
    elif corked is not transport:
        corked.uncork()
    if openssl.peek_last_error():
        openssl.clear_error()
    return 0


cdef class TlsTransport(PlainTransport):
    """A client's socket under TLS; made by ``doors``."""

    def __dealloc__(self):
        self.let_go()

    cdef int begin(self, Terms terms, int64_t most_ms) except -1:
        """Makes the library's side. Raises: MemoryError, also where the library finds none."""
        global method
        cdef void* bio
        if method == NULL:
            method = make_method()
        self.terms = terms
        self.handshakes_left = MOST_HANDSHAKE_RECORDS
        self.voids_left = MOST_VOID_RECORDS
        self.arrives_by_ms = ws_now_ms() + most_ms
        self.tls = openssl.new(terms.place)
        bio = NULL if self.tls == NULL or method == NULL else openssl.bio_new(method)
        if bio == NULL:
            openssl.clear_error()
            raise MemoryError("no room for another TLS connection")
        openssl.bio_set_data(bio, <void*>self)
        openssl.set_bio(self.tls, bio, bio)
        openssl.ctrl(
            self.tls, SSL_CTRL_MODE,
            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS, NULL,
        )
        openssl.set_accept_state(self.tls)
        self.arriving = True
        self.poller.arriving.add(self)
        return 0

    cdef void let_go(self) noexcept:
        """Nothing is decrypted or encrypted any more."""
        global corked, outgoing_length
        if corked is self:  # an error has kept it from being sent
            corked = None
            outgoing_length = 0
        if self.tls != NULL:
            openssl.free(self.tls)
            self.tls = NULL
        buffer_clear(&self.kept)
        self.has_more = False

    # --- between the library and the socket -----------------------------------------------------------------------------

    cdef int take_record(self, char* data, int room) noexcept:
        """So many bytes of one record; 0: no more are here, or they are of the next one, which is not wanted yet."""
        cdef int count = <int>min(<Py_ssize_t>room, source.length - source.at)
        if self.missing:
            count = min(count, self.missing)
        elif self.begun == 0 and not self.may_begin:
            return 0
        else:
            count = min(count, HEADER_BYTES - self.begun)
        if count <= 0:
            return 0
        memcpy(data, source.data + source.at, count)
        source.at += count
        if self.missing:
            self.missing -= count
        else:
            memcpy(self.header + self.begun, data, count)
            self.begun += count
            if self.begun < HEADER_BYTES:
                return count
            self.begun = 0
            self.missing = self.header[3] << 8 | self.header[4]
        if self.missing == 0:
            self.may_begin = False
        return count

    cdef bint has_whole_record(self) noexcept:
        """Whether the library was given a record to its end, and asked for another one."""
        return not self.may_begin and self.missing == 0 and self.begun == 0

    cdef int put(self, const char* data, int length) except -1:
        """Takes what is to be sent, behind all that waits."""
        global outgoing_length
        self.made += length
        if self.out.length == 0 and outgoing_length + length > MADE_SIZE:
            self.push_out()
        if self.out.length or outgoing_length + length > MADE_SIZE:
            return buffer_append(&self.out, data, length)
        memcpy(outgoing + outgoing_length, data, length)
        outgoing_length += length
        return 0

    cdef Py_ssize_t push_out(self) except -1:
        """Sends what was made; bytes that the kernel has not taken yet."""
        global outgoing_length, corked
        cdef Py_ssize_t length = outgoing_length
        cdef Py_ssize_t count
        cdef bint was_corked = corked is self
        outgoing_length = 0
        if was_corked:
            corked = self.poller.corked = None
        if length and not self.is_broken:
            count = ws_send2(self.fd, outgoing, length, NULL, 0, False)  # I/O
            if count < -1:
                self.is_broken = True
                self.stream.note_broken(count == -3)
                if was_corked:
                    self.stream.given = self.given
            elif count < length:
                count = max(count, 0)
                buffer_append(&self.out, outgoing + count, length - count)
                if was_corked:
                    self.note_held(self.corked_from, self.given)
                self.settle()
        return self.out.length - self.sent

    cdef bint read(self) except -1:
        """One read; whether there was something."""
        cdef Py_ssize_t length
        if self.tls == NULL:
            return PlainTransport.read(self)
        if not self.reads or self.closing or self.dead:
            return False
        if self.kept.length or self.has_more:
            self.take_kept()
            return True
        if self.arriving:
            if self.poller.handshakes <= 0:
                self.meet_later()
                return False
            self.poller.handshakes -= 1
            length = ws_recv(self.fd, arrived, SHAKE_SIZE, 0)
        else:
            # As much as becomes what the stream takes now: what is more would have to be kept.
            length = ws_recv(self.fd, arrived, min(self.stream.read_limit() + SPARE, <Py_ssize_t>ARRIVED_SIZE), 0)
        if length <= 0:
            self.take_end(length)
            return False
        if self.arriving:
            self.meet(arrived, length)
        else:
            self.take(arrived, length)
        return True

    cdef int meet_later(self) except -1:
        """In another turn, behind those who wait already; until then the set does not tell of its bytes."""
        if self.is_late:
            return 0
        try:
            self.poller.unmet.append(self)
            self.is_late = True
        except MemoryError:
            pass  # the set tells of them again
        if self.is_late:
            self.settle()
            self.poller.wake()
        return 0

    cdef int take_end(self, Py_ssize_t length) except -1:
        if length == 0 and self.arriving:
            log.debug("a client is gone before its TLS handshake is over")
            return self.kill(None)
        return PlainTransport.take_end(self, length)

    cdef int flush(self) except -1:
        PlainTransport.flush(self)
        if self.out.length == 0:
            self.taken = None
        return 0

    # --- the handshake --------------------------------------------------------------------------------------------------

    cdef int meet(self, const char* data, Py_ssize_t length) except -1:
        """What came before the handshake is over."""
        cdef bytes answer
        if not self.has_come:
            self.has_come = True
            if is_letter(data[0]) and self.terms.answer_plain is not None:  # a record begins with 22
                self.is_plain = True
                answer = self.terms.answer_plain(length >= 5 and data[:5] == b"HEAD ")
                take_up(self)
                self.put(PyBytes_AS_STRING(answer), <int>PyBytes_GET_SIZE(answer))
                self.push_out()
            elif data[0] & SSL2:
                # Its length stands elsewhere: records behind it could not be told from each other, and not be counted.
                return self.refuse("UNSUPPORTED_PROTOCOL")
        if self.is_plain:
            return 0  # thrown away until the client closes, or the handshake's time is over
        source.data, source.length, source.at = data, length, 0
        if not self.shake():
            return 0
        if source.at < length:  # the first request came with it
            buffer_append(&self.kept, data + source.at, length - source.at)
        self.arrive()
        if self.kept.length and self.reads and not self.closing and not self.dead:
            self.take_kept()
        return 0

    cdef int shake(self) except -1:
        """Goes on with the handshake, as far as what is here allows; whether it is over."""
        cdef int done
        take_up(self)
        while True:
            self.may_begin = True
            done = openssl.do_handshake(self.tls)
            if done == 1:
                self.push_out()
                return not self.dead
            if openssl.get_error(self.tls, done) != SSL_ERROR_WANT_READ:
                self.refuse(last_reason())
                return 0
            if not self.has_whole_record():
                self.push_out()
                return 0
            self.handshakes_left -= 1
            if self.handshakes_left < 0:
                self.refuse(TOO_MANY_IN_HANDSHAKE)
                return 0

    cdef int arrive(self) except -1:
        """The stream may begin."""
        self.poller.arriving.discard(self)
        self.arriving = False
        self.stream.handshake_ended(True, openssl.session_reused(self.tls))
        self.stream.connection_made(self)
        return 0

    cdef int refuse(self, str words) except -1:
        """The handshake has failed; the library's alert goes out."""
        openssl.clear_error()
        self.push_out()
        tell_failed(words)
        return self.break_off(words)

    cdef int check_arrival(self, int64_t now_ms) except -1:
        if self.arriving and self.arrives_by_ms <= now_ms:
            log.debug("a client's TLS handshake takes too long")
            self.kill(None)
        return 0

    # --- records --------------------------------------------------------------------------------------------------------

    cdef int take(self, const char* data, Py_ssize_t length) except -1:
        """Decrypts some of what is here, and gives it to the stream; the rest is kept."""
        cdef Stream stream = self.stream
        cdef char* room = self.poller.hub.read_data
        cdef Py_ssize_t limit = stream.read_limit()
        cdef Py_ssize_t at = 0
        cdef size_t count = 0
        cdef int left = RECORDS_A_TURN, outcome
        cdef bint is_ending = False
        cdef str failure = None
        ws_show(room, READ_SIZE)
        source.data, source.length, source.at = data, length, 0
        self.has_more = False
        take_up(self)
        while True:
            left -= 1
            self.may_begin = True
            if libssl.read_ex(self.tls, room + at, limit - at, &count) == 1:
                at += count
                if at == limit or left <= 0:
                    self.has_more = source.at < length or libssl.pending(self.tls) > 0
                    break
                if source.at == length:
                    break  # no call only to hear that
                continue
            outcome = openssl.get_error(self.tls, 0)
            if outcome == SSL_ERROR_WANT_READ:
                if not self.has_whole_record():
                    break
                self.voids_left -= 1
                if self.voids_left < 0:
                    failure = TOO_MANY_VOID
                    break
                left -= COST_OF_VOID
                if left <= 0:
                    self.has_more = source.at < length
                    break
            elif outcome == SSL_ERROR_ZERO_RETURN:
                is_ending = True
                break
            else:
                failure = last_reason()
                openssl.clear_error()
                break
        self.put_by(data, length)
        self.push_out()  # an answer to a KeyUpdate, an alert
        if at:
            stream.feed(at)
        if self.dead or self.tls == NULL:
            return 0
        if failure is not None:
            return self.break_off(failure)
        if is_ending:
            if not self.reads or self.closing:
                self.has_more = True  # said again when the stream reads on
                return 0
            self.is_ended = self.is_over = True
            self.reads = False
            if stream.peer_ended():
                return self.settle()
            self.close()
        elif self.has_more and self.reads and not self.closing:
            stream.read_later()
        return 0

    cdef int put_by(self, const char* data, Py_ssize_t length) except -1:
        """Keeps what was not taken of these bytes, which are the kept ones or have just arrived."""
        if self.kept.length:
            self.kept_at += source.at
            if self.kept_at == self.kept.length:
                buffer_clear(&self.kept)
                self.kept_at = 0
        elif source.at < length:
            buffer_append(&self.kept, data + source.at, length - source.at)
        return 0

    cdef int take_kept(self) except -1:
        return self.take(self.kept.data + self.kept_at, self.kept.length - self.kept_at)

    cdef int go_on(self) except -1:
        self.reads = not self.is_over
        if self.reads and not self.closing and not self.dead and (self.kept.length or self.has_more):
            self.take_kept()
        return self.settle()

    cdef int break_off(self, str words) except -1:
        """What comes can be no more understood, or costs too much."""
        return self.kill(ssl.SSLError(ssl.SSL_ERROR_SSL, words))

    cdef Py_ssize_t encrypt(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1:
        cdef int64_t begin = self.made
        cdef int64_t before = self.stream.given - a_len - b_len
        cdef Py_ssize_t filled, waiting
        cdef bint was_corked
        global corked
        if self.closing or self.dead or self.tls == NULL:
            return 0
        if self.is_broken:
            return BROKEN
        take_up(self)
        if a_len and b_len and a_len < RECORD_BYTES:
            filled = min(b_len, RECORD_BYTES - a_len)
            memcpy(joined, a, a_len)
            memcpy(joined + a_len, b, filled)
            self.seal(joined, a_len + filled)
            b += filled
            b_len -= filled
        elif a_len:
            self.seal(a, a_len)
        if b_len:
            self.seal(b, b_len)
        if self.ends_soon and self.poller.running and self.out.length == 0 and outgoing_length < RECORD_BYTES:
            if corked is not self:
                corked = self.poller.corked = self
                self.corked_from = begin
                self.given = before
            return 0
        was_corked = corked is self
        waiting = self.push_out()
        if self.is_broken:
            return BROKEN
        if waiting == 0:
            return 0
        if not was_corked:
            self.note_held(begin, before)
        if not self.write_paused and waiting > HIGH_WATER:
            self.write_paused = True
            self.stream.pause_writing()
        return waiting

    cdef int note_held(self, int64_t begin, int64_t before) except -1:
        """What was made since ``begin``, of what the stream gave since ``before``, is not sent whole."""
        if self.taken is None:
            self.taken = Taken.__new__(Taken)
            self.taken.before = before
        self.given = self.stream.given
        self.taken.add(begin, self.made, self.given)
        self.stream.buffered = True
        return 0

    cdef int uncork(self) except -1:
        if corked is not self:  # what is there is another one's
            self.poller.corked = None
            return 0
        try:
            self.push_out()
        except Exception:
            self.kill(OUR_FAULT)
            complain("internal error with a connection; it is dropped", ())
        return 0

    cdef int seal(self, const char* data, Py_ssize_t length) except -1:
        cdef size_t count
        cdef str words
        if self.dead or libssl.write_ex(self.tls, data, length, &count) == 1:
            return 0
        words = last_reason()
        openssl.clear_error()
        return self.break_off(words)

    cdef int seal_end(self) except -1:
        """close_notify, behind all that waits."""
        if self.tls != NULL and not self.arriving and not self.dead and not self.is_broken:
            take_up(self)
            openssl.shutdown(self.tls)
            openssl.clear_error()
            self.push_out()
        return 0

    cdef int end_cipher(self) except -1:
        self.seal_end()
        self.let_go()
        self.write_eof()
        self.reads = not self.is_over
        return self.settle()

    # --- what is asked of it --------------------------------------------------------------------------------------------

    cdef bint is_settled(self) noexcept:
        return self.tls == NULL or not (self.kept.length or self.has_more or self.missing or self.begun)

    cdef Py_ssize_t count_held(self) noexcept:
        if corked is self:
            self.uncork()
        if self.out.length == 0 or self.taken is None:
            return 0
        return self.given - self.taken.count_of(self.made - (self.out.length - self.sent))

    cdef int bury(self) except -1:
        cdef Stream stream
        try:
            if self.arriving:
                self.arriving = False
                self.poller.arriving.discard(self)
                stream, self.stream = self.stream, None
                try:
                    stream.handshake_ended(False, False)
                except Exception:
                    complain("internal error at the end of a handshake", ())
            PlainTransport.bury(self)
        finally:
            self.let_go()
        return 0

    def resume_reading(self) -> None:
        """Receives again, unless the peer has ended; what is kept comes first, in a turn of its own."""
        self.reads = not self.is_over
        if self.reads and self.tls != NULL and (self.kept.length or self.has_more):
            self.stream.read_later()
        else:
            self.settle()

    def can_write_eof(self) -> bool:
        """TLS cannot be half-closed."""
        return self.tls == NULL

    cpdef close(self):
        """Closes after everything that waits is sent, and close_notify."""
        if not self.closing:
            self.seal_end()
            PlainTransport.close(self)

    cpdef get_extra_info(self, str name, object default=None):
        """As of a PlainTransport; ``sslcontext``: the listener's."""
        if name == "sslcontext":
            return self.terms.context
        return PlainTransport.get_extra_info(self, name, default)

    def tell_client(self) -> tuple:
        """What the handshake says of the client: the cipher's standard name, session id, certificate (DER); None: none."""
        return tell_peer(self.tls)
