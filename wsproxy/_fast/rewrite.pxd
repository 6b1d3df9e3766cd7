# Heads as they go on: hop-by-hop fields left out, private headers replaced, framing written by us.

from wsproxy._fast.head cimport RequestHead, ResponseHead

cdef struct Origin:
    # Who asks, for private headers and X-Forwarded fields; all pointers live as long as the downstream connection.
    const char* constant        # "$WSIS: false\r\n$WSSC: http\r\n$WSRA: ...\r\n$WSRH: ...\r\n"
    Py_ssize_t constant_len
    const char* local_host      # where the connection came in: stands in for a missing Host (HTTP/1.0)
    Py_ssize_t local_host_len
    int port                    # for $WSSP
    const char* peer            # the client's address
    Py_ssize_t peer_len
    bint trusted                # it is a TrustedProxy
    bint secure                 # it came over https
    bint keep_private           # private fields of this client go on and only missing ones are added
    bint failover               # $WSFO: true
    bint trailers               # http.trailers
    const char* via             # our name in Via; via_len 0: none is written
    Py_ssize_t via_len

# Bytes written to `out`; -1 where `capacity` is too small.
cdef Py_ssize_t write_request(char* out, Py_ssize_t capacity, RequestHead* head, Origin* origin) noexcept nogil
# `date`: a line of dates.DATE_LINE bytes that is written too, NULL: none.
cdef Py_ssize_t write_response(
    char* out, Py_ssize_t capacity, ResponseHead* head,
    bint close, bint say_keep_alive, bint drop_length, bint drop_chunked, bint keep_trailer, const char* date,
) noexcept nogil
# The lines for Origin.constant of a client at this address; secure: over TLS.
cdef bytes constant_lines(bytes peer, bint secure=*)
