"""
What an exchange and its server's side may ask of the client's side: an interface, with one kind for each way of framing.

``answer`` implements it for HTTP/1. Where several exchanges share a connection, each has a sink of its own: nothing here says
that the end of an answer is the end of anything else.
"""


cdef class Sink:
    """The client's side of one exchange; this one leads nowhere."""

    cdef bint is_paused(self) noexcept:
        return False

    cdef bint is_broken(self) noexcept:
        return True

    cdef bint is_closed(self) noexcept:
        return True

    cdef bint has_hung_up(self) except -1:
        return False

    cdef int64_t given(self) noexcept:
        return 0

    cdef int64_t held(self) noexcept:
        return 0

    cdef bint keep_line(self, Entry* entry) noexcept:
        return False

    cdef bint takes_chunks(self) noexcept:
        return False

    cdef Py_ssize_t begin(self, ResponseHead* head, int kind, bint has_trailers) noexcept:
        return 0

    cdef void take_back(self) noexcept:
        return

    cdef int interim(self, ResponseHead* head) except? -1:
        return 0

    cdef int body(self, const char* data, Py_ssize_t length, bint more) except -1:
        return 0

    cdef int pipe_end(self) except? -1:
        return -1

    cdef int piped(self, const char* data, Py_ssize_t length) except -1:
        return 0

    cdef int flush(self, bint is_last) except -1:
        return 0

    cdef int own(self, const char* data, Py_ssize_t length) except -1:
        return 0

    cdef int end(self) except -1:
        return 0

    cdef int pause_request(self) except -1:
        return 0

    cdef int resume_request(self) except -1:
        return 0

    cdef void wait(self, int64_t until_ms) noexcept:
        return

    cdef int begin_tunnel(self) except -1:
        return 0

    cdef bint half_close(self) except -1:
        return False

    cdef int close(self) except -1:
        return 0

    cdef int abort(self) except -1:
        return 0

    cdef int reset(self) except -1:
        return 0


cdef Sink NOBODY = Sink()


cdef Sink no_sink():
    return NOBODY
