"""
What arrived of a TLS connection, given to the TLS library one record at a time.

Of records that bring no data the library would take as many in a row as there are. Driven by ``dataplane.tls``, whose
``BoundedReads`` is the TLS connection, and by ``stream``. Must not know what is in a record.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from wsproxy._fast.net.libssl cimport bio_in, connection_in, libssl

import ssl

MOST_RECORDS = RECORDS_A_TURN
VOID_COST = COST_OF_VOID
MOST_VOID = MOST_VOID_RECORDS
MOST_IN_HANDSHAKE = MOST_HANDSHAKE_RECORDS
TOO_MANY_VOID = "too many records without data"
TOO_MANY_IN_HANDSHAKE = "too many records in the handshake"

cdef enum:
    HEADER_BYTES = 5
    # Up to here Python takes out at once all that is here, and puts back what is too much: a request is one record as a rule.
    FEW_BYTES = 4096
    # Goes from one BIO to the other in one step: a record of TLS 1.3 with its header, at most.
    STEP_BYTES = 16645


cdef class Records:
    """Acts after some records as if no more were there; the event loops read until they hear that."""

    def __cinit__(self, *args, **more):
        self.left = RECORDS_A_TURN
        self.begun = 0

    cpdef join(self, object tls, object arrived, object taken, object context):
        """
        ``tls`` was made of ``context`` and reads from ``taken``; the event loop writes into ``arrived``.

        Where all three are what they seem to be, records go from one to the other without Python.
        """
        self.tls, self.arrived, self.taken = tls, arrived, taken
        self.arrived_bio, self.taken_bio = bio_in(arrived), bio_in(taken)
        self.connection = connection_in(tls, context, taken) if self.arrived_bio != NULL else NULL

    cpdef bint is_direct(self) noexcept:
        """Whether records do without Python."""
        return self.connection != NULL

    cpdef count_void(self):
        """A record brought no data. Raises: ssl.SSLError after too many."""
        raise NotImplementedError

    cpdef bint take_record(self) except -1:
        """Gives the TLS library what is here of the next record, or of the one that was begun; whether that is whole now."""
        cdef bytes data
        cdef Py_ssize_t whole
        if self.connection != NULL:
            return self.take_directly()
        if self.missing == 0 and self.begun == 0 and HEADER_BYTES <= self.arrived.pending <= FEW_BYTES:
            data = self.arrived.read()
            self.note_header(data, HEADER_BYTES)
            whole = HEADER_BYTES + self.missing
            if len(data) > whole:
                self.arrived.write(data[whole:])
                data = data[:whole]
            self.taken.write(data)
            self.missing = whole - len(data)
            return self.missing == 0
        if self.missing == 0:
            data = self.arrived.read(HEADER_BYTES - self.begun)
            self.taken.write(data)
            if not self.note_header(data, len(data)):
                return False
        data = self.arrived.read(self.missing)
        self.taken.write(data)
        self.missing -= len(data)
        return self.missing == 0

    cdef bint take_directly(self) except -1:
        cdef unsigned char[STEP_BYTES] step
        cdef int count = 1, held = 0
        if self.missing == 0:
            held = libssl.bio_read(self.arrived_bio, step, <int>(HEADER_BYTES - self.begun))
            if held <= 0:
                return False
            if not self.note_header(step, held):
                self.give(step, held)
                return False
        while self.missing and count > 0:
            count = libssl.bio_read(self.arrived_bio, step + held, <int>min(self.missing, <Py_ssize_t>(STEP_BYTES - held)))
            if count > 0:
                self.missing -= count
                held += count
                if held == STEP_BYTES:
                    self.give(step, held)
                    held = 0
        if held:
            self.give(step, held)
        return self.missing == 0

    cdef int give(self, const unsigned char* data, int count) except -1:
        if libssl.bio_write(self.taken_bio, data, count) != count:
            raise MemoryError
        return 0

    cdef bint note_header(self, const unsigned char* data, Py_ssize_t count) noexcept:
        """So much more of a record's header; whether it is whole: then ``missing`` bytes follow."""
        memcpy(self.header + self.begun, data, count)
        self.begun += count
        if self.begun < HEADER_BYTES:
            return False
        self.begun = 0
        self.missing = self.header[3] << 8 | self.header[4]
        return True

    cdef Py_ssize_t count_pending(self) except -1:
        """Bytes of the record that was begun to be read."""
        return libssl.pending(self.connection) if self.connection != NULL else <Py_ssize_t>self.tls.pending()

    cdef int64_t count_made(self) noexcept:
        cdef void* bio
        if self.connection == NULL or libssl.get_wbio == NULL or libssl.bio_number_written == NULL:
            return -1
        bio = libssl.get_wbio(self.connection)
        return -1 if bio == NULL else <int64_t>libssl.bio_number_written(bio)

    cdef bint has_arrived(self) except -1:
        """Whether bytes are here that are not decrypted."""
        if self.connection != NULL:
            return libssl.bio_pending(self.arrived_bio) > 0 or libssl.bio_pending(self.taken_bio) > 0
        return self.arrived.pending or self.taken.pending

    cdef Py_ssize_t decrypt(self, Py_ssize_t most, object buffer) except -1:
        """Some bytes of a record; 0: the end. What is no success is done again by Python, which knows the words for it."""
        cdef Py_buffer view
        cdef size_t count = 0
        cdef int is_done
        if self.connection != NULL and most > 0:
            PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
            is_done = libssl.read_ex(self.connection, view.buf, min(most, view.len), &count)
            PyBuffer_Release(&view)
            if is_done == 1:
                return count
        return self.tls.read(most, buffer)

    # What an ``ssl.SSLObject`` has, without its Python around each: uvloop calls all three for each request.

    def read(self, Py_ssize_t len=1024, object buffer=None):
        """The number of bytes of one record, in ``buffer``; without one, the bytes: then they are thrown away."""
        return self.throw_away(len) if buffer is None else self.read_into(len, buffer)

    def write(self, data) -> int:
        """Encrypts; the number of bytes."""
        cdef size_t count
        if self.connection != NULL and PyBytes_CheckExact(data) and PyBytes_GET_SIZE(data) > 0:
            if libssl.write_ex(self.connection, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &count) == 1:
                return count
        return self.tls.write(data)

    def pending(self) -> int:
        """Bytes of the record that was begun to be read."""
        return self.count_pending()

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
            if self.count_pending() == 0:
                if not self.has_arrived():
                    raise ssl.SSLWantReadError  # as the library would say
                is_whole = self.take_record()
            try:
                count = self.decrypt(most, buffer)
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
        return not (self.arrived.pending or self.missing or self.begun or self.count_pending())

    cpdef bint has_rest(self) except -1:
        """Whether ``read_rest`` would find more."""
        return not self.is_ended and self.arrived.pending + self.count_pending() > 0
