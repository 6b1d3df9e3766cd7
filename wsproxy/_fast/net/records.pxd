# What arrived of a TLS connection, given to the TLS library one record at a time.

cdef enum:
    # Records of one connection that are decrypted before others have their turn. One takes 2 us, also with a single byte in
    # it, and 11,000 of those lie in what the loop reads at once.
    RECORDS_A_TURN = 32
    # A record that brings no data is KeyUpdate above all. That takes 0.1 ms where it is to be answered, as long as so many
    # others.
    COST_OF_VOID = 16


cdef class Records:
    cdef public int left            # of this turn; who reads sets it anew
    cdef public object read_later   # () -> None: the rest is to be read in the loop's next turn
    cdef public bint is_ended       # by close_notify, behind all data
    cdef readonly bint is_left      # by us: see ``let_go``
    cdef public object tls          # the TLS library's side: _ssl._SSLSocket
    cdef public object arrived      # the BIO where the event loop puts what it reads
    cdef public object taken        # the BIO where the TLS library reads
    cdef Py_ssize_t missing         # bytes of the record that was begun
    cdef bytes begun                # its header, where that is not whole

    cpdef count_void(self)
    cpdef bytes throw_away(self, Py_ssize_t most)
    cpdef bint take_record(self) except -1
    cpdef Py_ssize_t read_into(self, Py_ssize_t most, object buffer) except -1
    cpdef Py_ssize_t read_rest(self, object buffer) except -1
    cpdef let_go(self)
    cpdef bint is_quiet(self) except -1
    cpdef bint has_rest(self) except -1
