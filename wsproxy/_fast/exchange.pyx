"""
The part of a client's exchange that the server side works on: an interface, so that the two sides need not import each other.

``Downstream`` implements it, ``Upstream`` drives it.
"""

from collections import namedtuple

from wsproxy._fast.head cimport ResponseHead
from wsproxy._fast.stream cimport Stream

# What retry rules and local answers need to know of an exchange: see ``Downstream.facts``.
Facts = namedtuple(
    "Facts",
    "peer keep_alive http10 head_only replayable timeout_retries io_timeout_retry bytes_sent reused age_ms body_bytes",
)


cdef class Exchange(Stream):
    """What an Upstream may ask of the exchange it serves."""

    cdef int edit_answer(self, ResponseHead* head) noexcept:
        return 0

    cdef int note_partitions(self, Fields* fields) except -1:
        raise NotImplementedError

    cdef int answer_begins(self, Py_ssize_t head_len) except -1:
        raise NotImplementedError

    cdef int finish(self) except -1:
        raise NotImplementedError

    cdef int continue_body(self) except -1:
        raise NotImplementedError

    cdef bint is_refused(self, int status) except -1:
        raise NotImplementedError

    cdef int go_elsewhere(self) except -1:
        raise NotImplementedError

    cdef int begin_tunnel(self) except -1:
        raise NotImplementedError

    cdef bint server_ended(self) except -1:
        raise NotImplementedError

    cdef int end_tunnel(self, bint clean) except -1:
        raise NotImplementedError

    cdef int upstream_failed(self, Stream upstream, int kind, int error) except -1:
        raise NotImplementedError
