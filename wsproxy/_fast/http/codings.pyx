"""
Which content coding a client wants: Accept-Encoding with its weights (RFC 9110 12.5.3).

Asked for answers that wsproxy compresses, and by ``dataplane.files`` for files compressed already. Must not know
where the field comes from.
"""

from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport equals_ignoring_case

cdef inline bint is_blank(char c) noexcept nogil:
    return c == c" " or c == c"\t"


cdef int read_weight(const char* p, Py_ssize_t length) noexcept nogil:
    """What follows `q=`, in thousandths; -1: it is none (RFC 9110 12.4.2)."""
    cdef int weight, i, scale
    if length < 1 or length > 5 or (p[0] != c"0" and p[0] != c"1"):
        return -1
    weight = (p[0] - c"0") * 1000
    if length == 1:
        return weight
    if p[1] != c".":
        return -1
    scale = 100
    for i in range(2, length):
        if not c"0" <= p[i] <= c"9":
            return -1
        weight += (p[i] - c"0") * scale
        scale //= 10
    return weight if weight <= 1000 else -1


cdef int weight_of(const char* p, Py_ssize_t length) noexcept nogil:
    """
    Of an element, from its first `;` on; 1000 where none is given.

    One that cannot be read is 0: whoever wrote it gets what every client can read.
    """
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t end
    cdef int weight
    while i < length:
        i += 1  # the `;`
        while i < length and is_blank(p[i]):
            i += 1
        end = i
        while end < length and p[end] != c";":
            end += 1
        if end - i >= 2 and (p[i] | 0x20) == c"q" and p[i + 1] == c"=":
            length = end
            while length > i and is_blank(p[length - 1]):
                length -= 1
            weight = read_weight(p + i + 2, length - i - 2)
            return max(weight, 0)
        i = end
    return 1000


cdef void note_element(Accepted* accepted, const char* p, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t name = 0
    cdef Py_ssize_t rest
    cdef int weight
    while length and is_blank(p[0]):
        p += 1
        length -= 1
    while name < length and p[name] != c";":
        name += 1
    rest = name
    while name and is_blank(p[name - 1]):
        name -= 1
    if name == 0:
        return
    weight = weight_of(p + rest, length - rest)
    if name == 1 and p[0] == c"*":
        accepted.others = weight
    elif name == 4 and equals_ignoring_case(p, "gzip", 4) or name == 6 and equals_ignoring_case(p, "x-gzip", 6):
        accepted.weights[<int>GZIP] = weight  # RFC 9110 8.4.1.3
    elif name == 4 and equals_ignoring_case(p, "zstd", 4):
        accepted.weights[<int>ZSTD] = weight
    elif name == 2 and equals_ignoring_case(p, "br", 2):
        accepted.weights[<int>BROTLI] = weight
    elif name == 8 and equals_ignoring_case(p, "identity", 8):
        accepted.weights[<int>IDENTITY] = weight


cdef void begin_accepted(Accepted* accepted) noexcept nogil:
    cdef int i
    for i in range(CODINGS):
        accepted.weights[i] = UNNAMED
    accepted.others = UNNAMED
    accepted.is_said = False


cdef void note_accepted(Accepted* accepted, const char* value, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t i
    accepted.is_said = True
    for i in range(length):
        if value[i] == c",":
            note_element(accepted, value + start, i - start)
            start = i + 1
    note_element(accepted, value + start, length - start)


cdef Coding best_coding(const Accepted* accepted, const unsigned char* offered, int count) noexcept nogil:
    cdef int best = 0
    cdef int weight, i
    cdef Coding found = IDENTITY
    if not accepted.is_said:
        return IDENTITY  # it may be anything, says the RFC; who says nothing may be a script that can read nothing
    # Who says nothing of `identity` takes it where there is nothing better.
    if accepted.weights[<int>IDENTITY] != UNNAMED:
        best = accepted.weights[<int>IDENTITY] - 1  # an equal weight: compressed is shorter
    for i in range(count):
        weight = accepted.weights[offered[i]]
        if weight == UNNAMED:
            weight = max(accepted.others, 0)
        if weight > max(best, 0):
            best = weight
            found = <Coding>offered[i]
    return found


# --- for Python: files that are compressed already, tests ---------------------------------------------------------

NAMES = {"gzip": GZIP, "zstd": ZSTD, "br": BROTLI}


def choose_coding(bytes value, tuple offered not None) -> str:
    """
    The coding, one of ``offered`` (the first among equals); empty: none. ``value``: of Accept-Encoding; None: there is none.

    Raises KeyError for a coding that wsproxy does not know.
    """
    cdef Accepted accepted
    cdef unsigned char numbers[4]
    cdef ExactCopy copy
    cdef int i
    if len(offered) > CODINGS:
        raise ValueError(f"found {len(offered)} codings; allowed are {CODINGS} at most")
    begin_accepted(&accepted)
    if value is not None:
        copy = ExactCopy(value)
        note_accepted(&accepted, copy.at, copy.length)
    for i in range(len(offered)):
        numbers[i] = NAMES[offered[i]]
    found = best_coding(&accepted, numbers, len(offered))
    for name in offered:
        if NAMES[name] == found:
            return name
    return ""
