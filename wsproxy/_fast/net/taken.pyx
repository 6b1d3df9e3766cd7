"""
What a socket has taken of the bytes that were given to a cipher before it: for logs.

Driven by ``stream`` and, for a client's connection, by ``linger``. Between the cipher and the socket stands the event loop,
which does not say what it holds. But the TLS library counts the bytes that it has made, and the kernel those that it has
taken: the difference lies with the loop, and which bytes of an answer these are its writes say. Of a record that the socket
has not whole nobody can read anything, so whole records count.

The loop closes its socket before it says so, and then nobody can be asked. So where a client is slow the socket is kept a
second time, until the connection is lost: a descriptor for each of these. Where it is not, what was written last is
believed to be taken, as far as an empty send buffer takes it.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.net.records cimport Records
from wsproxy._fast.net.sockets cimport ws_accepted, ws_unacknowledged

cdef extern from "<fcntl.h>" nogil:
    enum:
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef enum:
    # An empty send buffer takes as much: tcp_wmem's default, of which Linux makes more for each connection.
    SURE_BYTES = 16384
    # Bytes of a record: RFC 8446 5.1, RFC 5246 6.2.1.
    RECORD_BYTES = 16384


cdef class Taken:
    """Of one connection under TLS."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        self.let_go()

    cdef int note(self, int64_t begin, int64_t end, int64_t given, int fd) except -1:
        cdef int64_t accepted
        if self.fd < 0 and end - self.sure > SURE_BYTES or self.length == MOST_WRITES:
            accepted = ws_accepted(fd)
            if accepted >= 0:
                self.forget(accepted)
                self.sure = max(self.sure, min(accepted, begin))
                if accepted < begin:  # the loop holds what was written before
                    self.keep(fd)
        self.add(begin, end, given)
        return 0

    cdef void add(self, int64_t begin, int64_t end, int64_t given) noexcept:
        cdef int i
        if self.length == MOST_WRITES:  # small ones to a slow client: two become one
            self.writes[0].end = self.writes[1].end
            self.writes[0].given = self.writes[1].given
            for i in range(2, self.length):
                self.writes[i - 1] = self.writes[i]
            self.length -= 1
        self.writes[self.length].begin = begin
        self.writes[self.length].end = end
        self.writes[self.length].given = given
        self.length += 1

    cdef void forget(self, int64_t accepted) noexcept:
        """The writes that the socket has whole."""
        cdef int done = 0
        cdef int i
        while done < self.length and self.writes[done].end <= accepted:
            self.before = self.writes[done].given
            done += 1
        if done:
            for i in range(done, self.length):
                self.writes[i - done] = self.writes[i]
            self.length -= done

    cdef bint is_sure(self, int fd) noexcept:
        cdef int64_t made = self.writes[self.length - 1].end if self.length else self.sure
        if self.fd >= 0:
            return False
        if made == self.sure:
            return True
        if fd < 0 or made - self.sure + ws_unacknowledged(fd) > SURE_BYTES:
            return False
        self.sure = made
        self.forget(made)
        return True

    cdef int64_t count_taken(self, int fd) noexcept:
        cdef int64_t accepted = ws_accepted(self.fd if self.fd >= 0 else fd)
        return self.count_of(accepted if accepted >= 0 else self.sure + SURE_BYTES)

    cdef int64_t count_of(self, int64_t accepted) noexcept:
        cdef int64_t length, made, records, size
        self.forget(accepted)
        if self.length == 0 or accepted <= self.writes[0].begin:
            return self.before
        length = self.writes[0].given - self.before
        made = self.writes[0].end - self.writes[0].begin
        records = (length + RECORD_BYTES - 1) // RECORD_BYTES
        size = RECORD_BYTES + (made - length) // records  # with what the cipher adds to each
        return self.before + (accepted - self.writes[0].begin) // size * RECORD_BYTES

    cdef void keep(self, int fd) noexcept:
        if self.fd < 0 and fd >= 0:
            self.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)

    cdef void let_go(self) noexcept:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1


cdef Taken taken_of(Records records):
    cdef int64_t made = records.count_made()
    cdef Taken taken
    if made < 0:
        return None
    taken = Taken.__new__(Taken)
    taken.sure = made
    return taken


def plain_bytes(list writes not None, int64_t accepted) -> int:
    """What ``Taken`` says of these writes, (bytes, cipher's bytes each), of which the socket took so many; for tests."""
    cdef Taken taken = Taken()
    cdef int64_t begin = 0
    cdef int64_t given = 0
    for length, made in writes:
        given += length
        taken.note(begin, begin + made, given, -1)
        begin += made
    return taken.count_of(accepted)
