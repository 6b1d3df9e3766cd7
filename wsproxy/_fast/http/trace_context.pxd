# W3C Trace Context: what the fields traceparent and tracestate of a request say, and the line that its server gets.

from libc.stdint cimport uint64_t
from wsproxy._fast.http.fields cimport Fields

cdef enum:
    TRACEPARENT_LEN = 55        # of version 00: 2 + 32 + 16 + 2 digits and three hyphens
    TRACEPARENT_LINE = 70       # "traceparent: ", the value, CR LF
    SPAN_AT = 49                # where the id of the span stands in that line: behind name, version and trace id
    SAMPLED = 1                 # of the flags: whoever sent it records the request
    RANDOM = 2                  # Level 2: the right half of the trace id is random
    MOST_STATE = 32             # members of tracestate (3.3.1.1)
    MOST_STATE_TEXT = 256       # characters of a key, and of a value

cdef struct TraceContext:
    uint64_t high               # of the trace id
    uint64_t low
    uint64_t parent             # the span that the request is part of, its sender's
    int flags

# Whether the value is one; only then `out` is filled.
cdef bint read_traceparent(const char* p, Py_ssize_t length, TraceContext* out) noexcept nogil
# The same for a head: there must be exactly one.
cdef bint find_traceparent(Fields* fields, TraceContext* out) noexcept nogil
# Whether all tracestate fields together are a list as the standard has it; True where there is none.
cdef bint has_good_state(Fields* fields) noexcept nogil
# These do not go on: traceparent, and with `state` tracestate.
cdef void drop_context(Fields* fields, bint state) noexcept nogil
# The line for the server, TRACEPARENT_LINE bytes.
cdef void write_traceparent(char* out, const TraceContext* context) noexcept nogil
# The span's id in such a line, 16 digits.
cdef void write_span(char* out, uint64_t span) noexcept nogil
cdef bint is_traceparent(const char* name, Py_ssize_t length) noexcept nogil
cdef bint is_tracestate(const char* name, Py_ssize_t length) noexcept nogil
