"""
A client's connection and its orderly end: the client gets all of its last answer, whatever it still sends.

``http1`` derives from it and says what comes before the end. Under TLS the loop's transport sends the rest of the answer and
close_notify, and is left then: it would decrypt what nobody wants, as fast as that comes. The socket stays, as a plain one.
"""

import os

from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from wsproxy._fast.base.buffer cimport buffer_clear
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.net.stream cimport Stream, complain, drop_faulty
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport LINGERING, RELAYING
from wsproxy._fast.tell.access_line cimport Entry
from wsproxy._fast.tell.ended cimport ENDED_CL, ENDED_cL, ENDED_I, ENDED_KL, ENDED_LR, ENDED_WELL, OPERATOR, cause_of

cdef extern from "<unistd.h>":
    int c_close "close"(int fd)


cdef enum:
    # How often a connection that lingers is looked at: as often as deadlines are.
    LOOK_MS = 250
    # While the worker stops: who reacts to the end at all has done so after two round trips.
    HURRIED_LINGER_MS = 1000
    # Of what a client still sends so much is thrown away, then its socket is not read. What was on its way when the answer
    # came must have room (6 MiB in our kernel, 4 MiB in its own, by Linux' defaults): unread, it would end in a reset.
    MOST_LINGERED = 16777216
    # Lines of a client that wait for it, in bytes of memory: what it sends ahead in long requests, with short answers, would
    # wait hundreds of times over what the connection itself holds.
    MOST_LINES = 131072


cdef inline Py_ssize_t size_of(Entry* entry) noexcept:
    return sizeof(Entry) + entry.text.capacity


cdef class Lingering(Stream):
    """A client's connection as what ends."""

    def __cinit__(self, Engine engine not None):
        # First of all: where there is no memory for the rest, `__dealloc__` closes what stands here.
        self.fd = self.kept_fd = -1
        self.hub = engine
        self.engine = engine
        self.exchange = Downstream.__new__(Downstream, engine)

    def __dealloc__(self):
        cdef Entry* entry
        buffer_clear(&self.pending)
        while self.first_line != NULL:
            entry = self.first_line
            self.first_line = entry.next
            buffer_clear(&entry.text)
            free(entry)
        if self.kept_fd >= 0:
            c_close(self.kept_fd)

    cdef int next_request(self) except -1:
        raise NotImplementedError

    # --- lines of the access log whose last bytes the client has still to take ----------------------------------------

    @property
    def held(self) -> int:
        """Bytes of its answers that the socket has not taken; for tests."""
        return self.count_held()

    cdef bint keep_line(self, Entry* entry) noexcept:
        cdef bint has_room = self.lines_size + size_of(entry) <= MOST_LINES
        if not has_room or self.write_broken or self.count_held() == 0 or self.records is not None and self.taken is None:
            return False
        try:
            if self.lenders is None:
                self.lenders = []
            self.lenders.append(self.exchange.service)
            if self.taken is not None:
                self.engine.keep_looking(self)
        except Exception:
            has_room = False  # no jump out of the handler: see test_without_memory
        if not has_room:
            return False
        entry.next = NULL
        if self.last_line == NULL:
            self.first_line = entry
        else:
            self.last_line.next = entry
        self.last_line = entry
        self.lines_size += size_of(entry)
        return True

    cdef bint look_at_lines(self) except -1:
        """Those are written whose last byte the socket has. Under TLS nobody says when that is: it is asked."""
        cdef int64_t taken
        cdef Entry* entry
        if self.first_line == NULL or self.taken is None:
            return False
        taken = self.count_taken()
        while self.first_line != NULL and self.first_line.ending.given <= taken:
            entry = self.first_line
            self.first_line = entry.next
            self.lines_size -= size_of(entry)
            self.end_line(entry)
        if self.first_line != NULL:
            self.taken.keep(self.kernel_fd())
            return True
        self.last_line = NULL
        self.lenders = None
        self.taken.let_go()
        return False

    cdef void on_flushed(self) noexcept:
        if self.first_line != NULL:
            self.end_lines(False)

    cdef void end_lines(self, bint is_lost) noexcept:
        """``is_lost``: with the connection; of what was given the socket has not taken all, then."""
        cdef int64_t taken = self.given - self.count_held() if is_lost else self.given
        cdef Entry* entry
        cdef Entry* following = self.first_line
        self.first_line = self.last_line = NULL
        self.lines_size = 0
        while following != NULL:
            entry = following
            following = entry.next
            if entry.ending.given > taken:
                entry.ending.given = max(taken, entry.given)
                entry.ending.connection = c"X"
                if entry.ending.cause == ENDED_WELL or entry.ending.cause == ENDED_LR:
                    entry.ending.cause = self.cut_as or ENDED_CL
            self.end_line(entry)
        self.lenders = None

    cdef void end_line(self, Entry* entry) noexcept:
        try:
            self.engine.access.end(entry)
        except Exception:
            complain("internal error: a line of the access log is lost", ())

    cdef void on_cut(self, bint by_fault) noexcept:
        self.exchange.ended_by(ENDED_I if by_fault else cause_of(OPERATOR, self.exchange.waits_for()))
        self.cut_as = ENDED_I if by_fault else ENDED_KL

    cdef int close(self) except -1:
        """
        The one orderly end: the answer, the end, and what the client sends meanwhile is thrown away (RFC 9112 9.6).

        Closed at once, a socket with unread bytes is reset, and so is one that gets some later: with that the client's
        kernel, or ours, drops what the client has not read yet of its answer.
        """
        if self.closing or self.exchange.phase == LINGERING and not self.exchange.half_closed:
            return 0
        if self.records is not None:
            return self.leave_cipher()
        if not self.is_lingering and self.may_send():
            self.begin_lingering()
            if self.cipher is not None:
                self.secure = False
                self.cipher.end_cipher()
            else:
                self.half_close()
            return self.resume_reading()
        Stream.close(self)
        self.deadline_ms = ws_now_ms() + self.exchange.view.body_timeout_ms  # for who does not read the last answer
        return 0

    cdef bint may_send(self) except -1:
        """Whether closing at once could cost the client its answer; descriptors set a limit to the patience with all."""
        if (
            self.exchange.half_closed or self.given == 0 or self.exchange.view.linger_timeout_ms == 0
            or self.engine.lingering >= self.engine.most_lingering
        ):
            return False
        # Who says `close` sends nothing behind that request; who did all the same has lost the right, not its answer.
        return not (self.says_close and self.exchange.request_done) or self.pending.length > 0 or not self.is_quiet()

    cdef int begin_lingering(self) except -1:
        self.exchange.enter(LINGERING)
        if not self.is_lingering:
            self.is_lingering = True
            self.engine.lingering += 1
        buffer_clear(&self.pending)
        self.lingered = 0
        self.discards = self.records is None
        self.unsent = PY_SSIZE_T_MAX  # the first look counts as progress
        self.took_ms = ws_now_ms()
        self.deadline_ms = self.took_ms + LOOK_MS
        return 0

    cdef int leave_cipher(self) except -1:
        """The loop's transport closes as soon as all is sent, and ``connection_lost`` goes on with the socket."""
        cdef bint keeps = self.may_send()
        self.begin_lingering()
        self.records.let_go()
        if keeps:
            try:
                self.kept_fd = os.dup(self.kernel_fd())
            except (OSError, MemoryError):
                pass  # there is no room for patience
        return Stream.close(self)

    cpdef connection_lost(self, object error):
        """The end; under TLS first that of the cipher: see ``close``."""
        cdef int fd = self.kept_fd
        if fd < 0 or error is not None:
            self.forget_kept()
            Stream.connection_lost(self, error)
            return
        self.kept_fd = -1
        self.discards = True
        if self.first_line != NULL:
            self.end_lines(False)  # the cipher's end comes behind all that was given to it
        try:
            self.hub.poller.inherit(fd, self)
        except Exception:
            drop_faulty(self, "internal error with a connection that ends; it is dropped")
            Stream.connection_lost(self, None)

    cdef int forget_kept(self) except -1:
        if self.kept_fd >= 0:
            c_close(self.kept_fd)
            self.kept_fd = -1
        return 0

    cdef int thrown_away(self, Py_ssize_t length) except -1:
        if not self.secure:
            self.lingered += length
            if self.lingered > MOST_LINGERED:
                self.pause_reading()  # not cut: the answer may be under way still
        return 0

    cdef int look_on(self, int64_t now_ms) except -1:
        """A look at a connection that lingers: until the client's kernel has all, and for linger_s from then."""
        cdef bint held = self.count_unsent() > 0
        cdef Py_ssize_t unread = self.count_unsent() if held else self.count_unconfirmed()
        cdef int64_t limit_ms = self.exchange.view.body_timeout_ms
        cdef int64_t received
        cdef bint moves = self.was_confirmed(&received)
        if self.engine.is_stopping and not held:
            unread = 0  # what the kernel has it sends without us
            moves = False
        if moves or unread < self.unsent:
            self.took_ms = now_ms
        self.unsent = unread
        if self.secure:  # its transport waits for a client that takes nothing, and nobody else counts what comes
            self.lingered = self.lingered or received
            if received - self.lingered > MOST_LINGERED:
                return self.cut_off(held)
        if unread == 0:
            limit_ms = self.exchange.view.linger_timeout_ms
            if self.engine.is_stopping:
                limit_ms = min(limit_ms, <int64_t>HURRIED_LINGER_MS)
            if self.engine.lingering > self.engine.most_lingering:
                limit_ms = 0
        if now_ms - self.took_ms >= limit_ms:
            return self.cut_off(held)
        self.deadline_ms = min(now_ms + LOOK_MS, self.took_ms + limit_ms)
        return 0

    cdef int cut_off(self, bint held) except -1:
        """The patience with a client that lingers is over; ``held``: not all of its answer was sent."""
        self.forget_kept()
        self.cut_as = ENDED_cL
        # After an orderly end the kernel would go on offering the rest for minutes.
        return self.reset() if held else Stream.abort(self)

    cdef bint peer_ended(self) except -1:
        if self.secure and not self.closing and self.ends_by_close and self.exchange.phase == RELAYING:
            # Anybody on the way can send a FIN. Our close_notify behind it would say that the answer is whole.
            self.abort()
            return False
        return Stream.peer_ended(self)

    cdef int abort(self) except -1:
        self.forget_kept()
        if self.taken is not None:
            self.taken.keep(self.kernel_fd())  # the loop's is closed when we are told of the end
        if self.ends_by_close and (self.exchange.phase == RELAYING or self.count_unsent()):
            self.ends_by_close = False
            return self.reset()  # an orderly end would say that the answer is whole
        return Stream.abort(self)
