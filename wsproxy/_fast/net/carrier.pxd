# What a Stream asks of a transport of ours beyond what asyncio's have.

cdef enum:
    # What `encrypt` says where the socket takes nothing any more.
    BROKEN = -2


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
