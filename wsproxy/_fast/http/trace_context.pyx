"""
W3C Trace Context (Level 1 and 2): traceparent and tracestate, read strictly, and the traceparent that goes on.

Driven by ``tell.trace`` for each request where traces are on. What is not exactly as the standard says is as if it had not
been sent (3.2.2.5): half an id would join traces that have nothing to do with each other. A later version is read as far as
00 goes, as the standard wants it. Copies nothing of tracestate: it goes on as it came, or not at all.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport Fields, equals_ignoring_case

cdef const char* DIGITS = "0123456789abcdef"


cdef bint is_traceparent(const char* name, Py_ssize_t length) noexcept nogil:
    return length == 11 and equals_ignoring_case(name, "traceparent", 11)


cdef bint is_tracestate(const char* name, Py_ssize_t length) noexcept nogil:
    return length == 10 and equals_ignoring_case(name, "tracestate", 10)


cdef bint read_hex(const char* p, int digits, uint64_t* out) noexcept nogil:
    """Lower case only: 3.2 has HEXDIGLC."""
    cdef uint64_t number = 0
    cdef int i
    cdef char c
    for i in range(digits):
        c = p[i]
        if c"0" <= c <= c"9":
            number = number << 4 | <uint64_t>(c - c"0")
        elif c"a" <= c <= c"f":
            number = number << 4 | <uint64_t>(c - c"a" + 10)
        else:
            return False
    out[0] = number
    return True


cdef bint read_traceparent(const char* p, Py_ssize_t length, TraceContext* out) noexcept nogil:
    cdef uint64_t version, high, low, parent, flags
    if length < TRACEPARENT_LEN or not read_hex(p, 2, &version) or version == 0xFF:
        return False
    if length > TRACEPARENT_LEN and (version == 0 or p[TRACEPARENT_LEN] != c"-"):
        return False
    if p[2] != c"-" or p[35] != c"-" or p[52] != c"-":
        return False
    if not (read_hex(p + 3, 16, &high) and read_hex(p + 19, 16, &low)):
        return False
    if not (read_hex(p + 36, 16, &parent) and read_hex(p + 53, 2, &flags)):
        return False
    if parent == 0 or (high == 0 and low == 0):
        return False
    out.high, out.low, out.parent = high, low, parent
    out.flags = <int>(flags & (SAMPLED | RANDOM))
    return True


cdef bint find_traceparent(Fields* fields, TraceContext* out) noexcept nogil:
    cdef int i, found = -1
    for i in range(fields.count):
        # One that Connection names is meant for nobody behind its sender's neighbour.
        if not fields.at[i].dropped and is_traceparent(fields.at[i].line, fields.at[i].name_len):
            if found >= 0:
                return False
            found = i
    return found >= 0 and read_traceparent(fields.at[found].value, fields.at[found].value_len, out)


cdef inline bint is_key_character(char c) noexcept nogil:
    return c"a" <= c <= c"z" or c"0" <= c <= c"9" or c == c"_" or c == c"-" or c == c"*" or c == c"/" or c == c"@"


cdef bint is_member(const char* p, const char* end) noexcept nogil:
    """KEY=VALUE (3.3.1.3); blanks around it are gone."""
    cdef const char* start = p
    if not (c"a" <= p[0] <= c"z" or c"0" <= p[0] <= c"9"):
        return False
    while p < end and is_key_character(p[0]):
        p += 1
    if p == end or p[0] != c"=" or p - start > MOST_STATE_TEXT:
        return False
    p += 1
    if p == end or end - p > MOST_STATE_TEXT:
        return False
    while p < end:
        if not 0x20 <= p[0] <= 0x7E or p[0] == c"=":
            return False
        p += 1
    return True


cdef int count_members(const char* p, const char* end) noexcept nogil:
    """Members of one field; -1: something is none. Empty ones are allowed (3.3.1.1)."""
    cdef const char* member
    cdef const char* behind
    cdef int count = 0
    while p <= end:
        member = p
        while p < end and p[0] != c",":
            p += 1
        behind = p
        p += 1
        while member < behind and (member[0] == c" " or member[0] == c"\t"):
            member += 1
        while behind > member and ((behind - 1)[0] == c" " or (behind - 1)[0] == c"\t"):
            behind -= 1
        if member == behind:
            continue
        if not is_member(member, behind):
            return -1
        count += 1
    return count


cdef bint has_good_state(Fields* fields) noexcept nogil:
    cdef int i, count, members = 0
    for i in range(fields.count):
        if not fields.at[i].dropped and is_tracestate(fields.at[i].line, fields.at[i].name_len):
            count = count_members(fields.at[i].value, fields.at[i].value + fields.at[i].value_len)
            if count < 0:
                return False
            members += count
    return members <= MOST_STATE


cdef void drop_context(Fields* fields, bint state) noexcept nogil:
    cdef int i
    for i in range(fields.count):
        if is_traceparent(fields.at[i].line, fields.at[i].name_len) or (
            state and is_tracestate(fields.at[i].line, fields.at[i].name_len)
        ):
            fields.at[i].dropped = True


cdef void write_span(char* out, uint64_t span) noexcept nogil:
    cdef int i
    for i in range(16):
        out[i] = DIGITS[span >> (60 - 4 * i) & 15]


cdef void write_traceparent(char* out, const TraceContext* context) noexcept nogil:
    memcpy(out, <const char*>"traceparent: 00-", 16)
    write_span(out + 16, context.high)
    write_span(out + 32, context.low)
    out[48] = c"-"
    write_span(out + SPAN_AT, context.parent)
    out[65] = c"-"
    out[66] = DIGITS[context.flags >> 4 & 15]
    out[67] = DIGITS[context.flags & 15]
    out[68] = c"\r"
    out[69] = c"\n"


# --- for tests: the same readers as Python functions ---------------------------------------------------------------

def read_context(bytes value not None):
    """(trace id, id of the sender's span, flags) of a traceparent, which is also written again; None: it is none."""
    cdef TraceContext context
    cdef ExactCopy copy = ExactCopy(value)
    cdef char line[TRACEPARENT_LINE]
    if not read_traceparent(copy.at, copy.length, &context):
        return None
    write_traceparent(line, &context)
    if line[16:65] != value[3:52]:
        raise AssertionError(f"found {line[:TRACEPARENT_LINE]!r} for {value!r}")
    return int(context.high) << 64 | int(context.low), int(context.parent), context.flags


def is_good_state(*values):
    """Whether these are the values of the tracestate fields of a request that goes on with them."""
    cdef Fields fields
    cdef ExactCopy copy
    cdef list kept = []
    cdef int i
    memset(&fields, 0, sizeof(Fields) - sizeof(fields.at))
    for i, value in enumerate(values):
        copy = ExactCopy(b"tracestate" + value)
        kept.append(copy)
        fields.at[i].line = copy.at
        fields.at[i].name_len = 10
        fields.at[i].value = copy.at + 10
        fields.at[i].value_len = copy.length - 10
        fields.at[i].dropped = False
    fields.count = len(values)
    return has_good_state(&fields)
