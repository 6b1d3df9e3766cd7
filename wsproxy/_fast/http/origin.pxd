# Who the client is where a TrustedProxy says it, in X-Forwarded fields or in Forwarded.

from wsproxy._fast.http.head cimport RequestHead

cdef struct Origin:
    # Who asks, for private headers and X-Forwarded fields; all pointers live as long as the downstream connection.
    const char* constant        # "$WSIS: false\r\n$WSSC: http\r\n$WSRA: ...\r\n$WSRH: ...\r\n"
    Py_ssize_t constant_len
    const char* local_host      # where the connection came in: stands in for a missing Host (HTTP/1.0)
    Py_ssize_t local_host_len
    int port                    # for $WSSP
    const char* peer            # the client's address
    Py_ssize_t peer_len
    bint peer_is_plain          # the access log has it as it stands, and it is short
    bint trusted                # it is a TrustedProxy
    bint secure                 # it came over https
    bint keep_private           # private fields of this client go on and only missing ones are added
    bint failover               # $WSFO: true
    # What a TrustedProxy says of this request's client; see the end of this file. All of it is our own memory.
    bint is_told                # it says something that the connection does not
    bint told_secure            # with is_told: the client came over https
    bint told_port              # the port is its word
    Py_ssize_t client_len       # of `client`; 0: `peer` is the client
    char client[48]             # the client's address
    bint trailers               # http.trailers
    const char* via             # our name in Via; via_len 0: none is written
    Py_ssize_t via_len

# The client's address, and whether it came over https.
cdef inline const char* client_of(Origin* origin, Py_ssize_t* length) noexcept nogil:
    if origin.client_len:
        length[0] = origin.client_len
        return origin.client
    length[0] = origin.peer_len
    return origin.peer


cdef inline bint client_is_secure(Origin* origin) noexcept nogil:
    return origin.told_secure if origin.is_told else origin.secure


# The lines for Origin.constant of a client at this address; secure: over TLS.
cdef bytes constant_lines(bytes peer, bint secure=*)

cpdef enum Trust:
    # Which fields of a TrustedProxy are believed: forwarded.trust.
    TRUST_NOTHING = 0
    TRUST_X_FORWARDED
    TRUST_FORWARDED

cdef enum:
    # Addresses of trusted proxies that are passed over on the way to the client's; real chains have two or three.
    MOST_HOPS = 32

cdef struct Network:
    unsigned char address[16]   # an IPv4 address is mapped (::ffff:0:0/96)
    int bits                    # of the prefix


cdef class TrustedProxies:
    cdef Network* networks      # owned
    cdef int count

    # Whether one of the networks has the address, 16 bytes.
    cdef bint have(self, const unsigned char* address) noexcept nogil
    # The same for its text.
    cdef bint have_text(self, const char* text, Py_ssize_t length) noexcept nogil


# Into `origin` and `head.port`: what a request of a TrustedProxy says of its client; what it does not say is as the
# connection has it. Call for each of its requests, before the Route is looked for.
cdef void believe(TrustedProxies trusted, Trust trust, RequestHead* head, Origin* origin) noexcept nogil
# Nothing was said.
cdef inline void believe_nothing(Origin* origin) noexcept nogil:
    origin.is_told = False
    origin.told_port = False
    origin.client_len = 0
