"""
What arrived of a TLS connection, given to the TLS library one record at a time.

Of records that bring no data the library would take as many in a row as there are. Driven by ``dataplane.tls``, whose
``BoundedReads`` is the TLS connection, and by ``stream``. Must not know what is in a record.
"""

import ssl

MOST_RECORDS = RECORDS_A_TURN
VOID_COST = COST_OF_VOID

cdef enum:
    HEADER_BYTES = 5
    # Up to here all that is here is taken out at once, and put back what is too much: a request is one record as a rule.
    FEW_BYTES = 4096


cdef class Records:
    """Acts after some records as if no more were there; the event loops read until they hear that."""

    def __cinit__(self, *args, **more):
        self.left = RECORDS_A_TURN
        self.begun = b""

    cpdef count_void(self):
        """A record brought no data. Raises: ssl.SSLError after too many."""
        raise NotImplementedError

    cpdef bint take_record(self) except -1:
        """Gives the TLS library what is here of the next record, or of the one that was begun; whether that is whole now."""
        cdef bytes header, data
        cdef const unsigned char* at
        cdef Py_ssize_t whole
        if self.missing == 0 and not self.begun and HEADER_BYTES <= self.arrived.pending <= FEW_BYTES:
            data = self.arrived.read()
            at = data
            whole = HEADER_BYTES + (at[3] << 8 | at[4])
            if len(data) > whole:
                self.arrived.write(data[whole:])
                data = data[:whole]
            self.taken.write(data)
            self.missing = whole - len(data)
            return self.missing == 0
        if self.missing == 0:
            header = self.arrived.read(HEADER_BYTES - len(self.begun))
            self.taken.write(header)
            header = self.begun + header
            if len(header) < HEADER_BYTES:
                self.begun = header
                return False
            self.begun = b""
            at = header
            self.missing = at[3] << 8 | at[4]
        data = self.arrived.read(self.missing)
        self.taken.write(data)
        self.missing -= len(data)
        return self.missing == 0

    # What an ``ssl.SSLObject`` has, without its Python around each: uvloop calls all three for each request.

    def read(self, Py_ssize_t len=1024, object buffer=None):
        """The number of bytes of one record, in ``buffer``; without one, the bytes: then they are thrown away."""
        return self.throw_away(len) if buffer is None else self.read_into(len, buffer)

    def write(self, data) -> int:
        """Encrypts; the number of bytes."""
        return self.tls.write(data)

    def pending(self) -> int:
        """Bytes of the record that was begun to be read."""
        return self.tls.pending()

    cpdef bytes throw_away(self, Py_ssize_t most):
        """Bytes that nobody looks at. Raises: ssl.SSLError after too many records."""
        raise NotImplementedError

    cpdef Py_ssize_t read_into(self, Py_ssize_t most, object buffer) except -1:
        """The number of bytes of one record, in ``buffer``; 0: the end. Raises: ssl.SSLWantReadError, ssl.SSLError."""
        cdef bint is_whole
        cdef Py_ssize_t count
        while True:
            self.left -= 1
            if self.left < 0:
                if self.read_later is not None:
                    self.read_later()
                raise ssl.SSLWantReadError
            is_whole = False
            if self.tls.pending() == 0:
                if not self.arrived.pending and not self.taken.pending:
                    raise ssl.SSLWantReadError  # as the library would say
                is_whole = self.take_record()
            try:
                count = self.tls.read(most, buffer)
            except ssl.SSLWantReadError:
                if not is_whole:
                    raise
            else:
                if count == 0:
                    self.is_ended = True
                return count
            self.count_void()
            self.left -= COST_OF_VOID

    cpdef Py_ssize_t read_rest(self, object buffer) except -1:
        """The number of bytes in ``buffer``, where no event loop reads any more; 0: nothing is left, see ``is_ended``."""
        cdef Py_ssize_t at = 0, size = len(buffer), count
        self.left = RECORDS_A_TURN
        self.read_later = None
        try:
            while at < size:
                count = self.read_into(size - at, buffer[at:])
                if count == 0:
                    break
                at += count
        except ssl.SSLWantReadError:
            pass
        return at

    cpdef let_go(self):
        """From now on nothing that comes is decrypted; the end is complete once close_notify is sent."""
        self.is_left = True

    cpdef bint is_quiet(self) except -1:
        """Whether nothing has arrived that was not read, not even a part of a record."""
        return not (self.arrived.pending or self.missing or self.begun or self.tls.pending())

    cpdef bint has_rest(self) except -1:
        """Whether ``read_rest`` would find more."""
        return not self.is_ended and self.arrived.pending + self.tls.pending() > 0
