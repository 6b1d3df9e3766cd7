# One end of a TCP connection, as far as the kernel knows it, and what it asks of a transport of ours.

from libc.stdint cimport int64_t
from wsproxy._fast.net.records cimport Records
from wsproxy._fast.net.taken cimport Taken

cdef enum:
    # What `encrypt` says where the socket takes nothing any more.
    BROKEN = -2


# What is asked of a transport beyond what asyncio's have.
cdef class Carrier:
    cdef int fd                     # -1: closed
    cdef bint is_cipher             # TLS
    cdef bint is_ended              # TLS: by close_notify, behind all data
    cdef bint ends_soon             # TLS: the stream closes it behind the answer that it sends next, most likely at once

    # The address of one end into `text` (INET6_ADDRSTRLEN bytes), and its port; -1: it has none.
    cdef int name_of(self, bint of_peer, char* text) noexcept
    # Encrypts and sends both parts, in as few records as they need; bytes that the socket has not taken yet, or BROKEN.
    cdef Py_ssize_t encrypt(self, const char* a, Py_ssize_t a_len, const char* b, Py_ssize_t b_len) except -1
    # Whether nothing of what arrived waits to be read, not even a part of a record.
    cdef bint is_settled(self) noexcept
    # Bytes that were to be sent and do not stand in records that the socket has whole.
    cdef Py_ssize_t count_held(self) noexcept
    # Tells the set what the stream wants to hear of.
    cdef int watch_on(self) except -1
    # Reads what has arrived, in a turn that was asked for; no new bytes are needed for that.
    cdef int go_on(self) except -1
    # Sends close_notify and the end behind all that waits; what still comes is not decrypted any more.
    cdef int end_cipher(self) except -1


cdef class Endpoint:
    cdef object transport
    cdef int fd                     # -1: the loop's TLS or closed: everything goes through the transport
    cdef Carrier cipher             # TLS on a socket of our own: the transport; None: plain, or the loop's
    cdef object sock                # the loop's TLS: knows the descriptor as long as it is ours, see `kernel_fd`; else None
    cdef bint secure                # TLS
    cdef Records records            # the loop's TLS: dataplane.tls.BoundedReads, which counts them; else None
    cdef Taken taken                # the loop's TLS: what of `given` the socket has, where somebody wants to know; else None
    cdef int64_t acknowledged       # bytes that the peer had confirmed when last looked, where somebody does
    cdef int64_t given              # bytes that were to be sent, since the connection began: see `count_held`
    cdef bint buffered              # the transport was given bytes; it may have sent them since
    cdef Py_ssize_t unsent          # what it held when last looked at: less now means that the peer reads
    cdef bint reading_paused

    cdef int kernel_fd(self) except -2
    cdef bint is_quiet(self) except -1
    cdef bint has_hung_up(self) except -1
    # Bytes that the transport holds.
    cdef Py_ssize_t count_unsent(self) except -1
    # Of `given`, what the socket has not taken; under TLS without `taken` what the cipher has not.
    cdef Py_ssize_t count_held(self) noexcept
    cdef Py_ssize_t count_held_by_cipher(self) noexcept
    cdef int64_t count_taken(self) noexcept
    cdef int fd_if_any(self) noexcept
    cdef Py_ssize_t count_unconfirmed(self) except -1
    cdef bint was_confirmed(self, int64_t* received) except -1
    # Whether what it holds became less since the last look or send.
    cdef int is_being_read(self) except -1
    # The peer is told before this returns that nothing more comes, and nothing is read.
    cdef int shut(self) except -1
