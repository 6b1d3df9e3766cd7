# What single characters are, in ASCII and in no locale.


cdef inline bint is_digit(char c) noexcept nogil:
    return c"0" <= c <= c"9"


cdef inline bint is_blank(char c) noexcept nogil:
    """Whitespace of a field value (OWS, RFC 9110 5.6.3)."""
    return c == c" " or c == c"\t"


cdef inline bint is_space(char c) noexcept nogil:
    """Whitespace of text: what ``bytes.strip`` takes away."""
    return c == c" " or c"\t" <= c <= c"\r"


cdef inline void trim(const char** start, const char** end) noexcept nogil:
    """Without the blanks at both ends."""
    while start[0] < end[0] and is_blank(start[0][0]):
        start[0] += 1
    while end[0] > start[0] and is_blank((end[0] - 1)[0]):
        end[0] -= 1
