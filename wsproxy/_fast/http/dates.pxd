# The Date field for what goes out now (RFC 9110 6.6.1).

cdef enum:
    DATE_LINE = 37  # bytes: "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"

# The whole line, DATE_LINE bytes; they stay until the next call. Made anew once a second.
cdef const char* date_line_now() noexcept nogil
