# What arrived of a TLS connection, given to the TLS library one record at a time.

from libc.stdint cimport int64_t

cdef enum:
    # Records of one connection that are decrypted before others have their turn. One takes 2 us, also with a single byte in
    # it, and 11,000 of those lie in what the loop reads at once.
    RECORDS_A_TURN = 32
    # A record that brings no data is KeyUpdate above all. That takes 0.1 ms where it is to be answered, as long as so many
    # others.
    COST_OF_VOID = 16
    # Of a connection. A record that brings no data is KeyUpdate above all: libraries send one in 16 million records; servers
    # send a few session tickets, and some renegotiate (TLS 1.2) once.
    MOST_VOID_RECORDS = 100
    # A chain of 100 KiB, which is as long as OpenSSL takes, in the smallest records that there are in practice (512 bytes).
    MOST_HANDSHAKE_RECORDS = 300


cdef class Records:
    cdef public int left            # of this turn; who reads sets it anew
    cdef public object read_later   # () -> None: the rest is to be read in the loop's next turn
    cdef public bint is_ended       # by close_notify, behind all data
    cdef readonly bint is_left      # by us: see ``let_go``
    cdef readonly object tls        # the TLS library's side: _ssl._SSLSocket
    cdef readonly object arrived    # the BIO where the event loop puts what it reads
    cdef readonly object taken      # the BIO where the TLS library reads
    # What is inside of these three, all or none: without, Python is asked for each.
    cdef void* connection
    cdef void* arrived_bio
    cdef void* taken_bio
    cdef Py_ssize_t missing         # bytes of the record that was begun
    cdef Py_ssize_t begun           # bytes that are here of its header, where that is not whole
    cdef unsigned char[5] header

    cpdef join(self, object tls, object arrived, object taken, object context)
    cpdef bint is_direct(self) noexcept
    cpdef count_void(self)
    cpdef bytes throw_away(self, Py_ssize_t most)
    cpdef bint take_record(self) except -1
    cdef bint take_directly(self) except -1
    cdef int give(self, const unsigned char* data, int count) except -1
    cdef bint note_header(self, const unsigned char* data, Py_ssize_t count) noexcept
    cdef Py_ssize_t count_pending(self) except -1
    # Bytes that the TLS library has made for the peer since the connection began; -1: it cannot be asked.
    cdef int64_t count_made(self) noexcept
    cdef bint has_arrived(self) except -1
    cdef Py_ssize_t decrypt(self, Py_ssize_t most, object buffer) except -1
    cpdef Py_ssize_t read_into(self, Py_ssize_t most, object buffer) except -1
    cpdef Py_ssize_t read_rest(self, object buffer) except -1
    cpdef let_go(self)
    cpdef bint is_quiet(self) except -1
    cpdef bint has_rest(self) except -1
