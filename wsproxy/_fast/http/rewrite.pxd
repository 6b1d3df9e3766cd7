# Heads as they go on: hop-by-hop fields left out, private headers replaced, framing written by us.

from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.origin cimport Origin

# Bytes written to `out`; -1 where `capacity` is too small.
cdef Py_ssize_t write_request(char* out, Py_ssize_t capacity, RequestHead* head, Origin* origin) noexcept nogil
# `date`: a line of dates.DATE_LINE bytes that is written too, NULL: none.
cdef Py_ssize_t write_response(
    char* out, Py_ssize_t capacity, ResponseHead* head,
    bint close, bint say_keep_alive, bint drop_length, bint drop_chunked, bint keep_trailer, const char* date,
) noexcept nogil
