# Request and response heads: found, checked strictly, and noted as pointers into the caller's bytes.

from libc.stdint cimport int64_t
from wsproxy._fast.http.fields cimport Fields, Limits

cdef enum:
    # Longest method; the longest registered one has 17 characters.
    MAX_METHOD = 32

cdef struct RequestHead:
    const char* start
    Py_ssize_t size             # bytes of the head with its empty line
    const char* method
    int method_len
    bint is_head
    bint is_options
    bint is_trace
    const char* target          # origin-form or `*`: what is sent upstream
    int target_len
    int path_len                # of target, up to `?`
    bint has_params             # a `;` stands in the path
    const char* host            # without port and brackets; NULL: none (HTTP/1.0)
    int host_len
    const char* authority       # with port and brackets
    int authority_len
    int port                    # -1: none given
    int minor                   # HTTP/1.minor
    bint keep_alive
    int64_t hops                # Max-Forwards of OPTIONS and TRACE; -1: none, or another method
    int hops_at                 # its field
    Fields fields

cdef struct ResponseHead:
    const char* start
    Py_ssize_t size
    int status
    int minor
    const char* status_text     # "200 OK" up to the line's end
    int status_text_len
    bint keep_alive
    Fields fields

# > 0: size of the head; 0: not whole yet; < 0: -HeadError. Pointers in `out` live as long as `data`.
cdef Py_ssize_t parse_request(const char* data, Py_ssize_t length, Limits* limits, RequestHead* out) noexcept nogil
cdef Py_ssize_t parse_response(const char* data, Py_ssize_t length, Limits* limits, ResponseHead* out) noexcept nogil
# Looks only for the end, from `resume` on: 1 there is one, 0 not yet, -BARE_LF, -BARE_CR. Makes dripped heads cost O(n).
cdef int find_head_end(const char* data, Py_ssize_t length, Py_ssize_t resume) noexcept nogil
