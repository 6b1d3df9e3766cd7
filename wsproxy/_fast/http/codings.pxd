# Which content coding a client wants: Accept-Encoding (RFC 9110 12.5.3).

cdef enum Coding:
    IDENTITY = 0
    GZIP
    ZSTD
    BROTLI

cdef enum:
    CODINGS = 4
    # Not named by the client.
    UNNAMED = -1


cdef struct Accepted:
    int weights[4]              # of each Coding, in thousandths; UNNAMED: nothing was said of it
    int others                  # of `*`
    bint is_said                # there was such a field


cdef void begin_accepted(Accepted* accepted) noexcept nogil
# One field's value; several fields are one list.
cdef void note_accepted(Accepted* accepted, const char* value, Py_ssize_t length) noexcept nogil
# The one of these that the client likes best, the first among equals; IDENTITY: none.
cdef Coding best_coding(const Accepted* accepted, const unsigned char* offered, int count) noexcept nogil
