"""
Who the client is where a TrustedProxy says it: address, scheme and port out of X-Forwarded fields or Forwarded (RFC 7239).

Driven by ``intake`` for requests of trusted proxies: balancers that end TLS and speak no PROXY protocol. Only the kind that
``forwarded.trust`` names is read: the other one a client may have written. Must not be asked of anybody else's request.

The address is the right-most one that is not itself a TrustedProxy's: what stands left of it, the client may have made up.
What is no address ends the walk; who wrote it is the client then. Private headers of the proxy come before these fields: it
is a plug-in itself and passes on what clients send (PLUGIN 6.3).
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset, strlen
from wsproxy._fast.base.chars cimport trim
from wsproxy._fast.http.fields cimport FIELD_PRIVATE, Field, Fields, equals_ignoring_case, is_named

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET
    int AF_INET6
    int inet_pton(int family, const char* text, void* address)
    const char* inet_ntop(int family, const void* address, char* text, unsigned int size)

cdef extern from "string.h" nogil:
    void* memrchr(const void* data, int character, size_t length)

cdef enum:
    # The longest text of an address: 45 characters and a NUL (INET6_ADDRSTRLEN).
    TEXT_BYTES = 46
    MOST_PORT = 65535
    MAPPED_BITS = 96
    # Bits of Fields.private_seen (PLUGIN 6.1).
    PRIVATE_SECURE = 1 | 2          # $WSIS, $WSSC
    PRIVATE_ADDRESS = 8             # $WSRA
    PRIVATE_PORT = 64               # $WSSP

cdef const unsigned char* MAPPED = <const unsigned char*>b"\0\0\0\0\0\0\0\0\0\0\xff\xff"

cdef struct Text:
    const char* at              # NULL: there is none
    const char* end

cdef struct Element:
    # Of Forwarded: what one proxy says of whom it was asked by.
    Text client
    Text proto
    Text host


cdef bytes constant_lines(bytes peer, bint secure=False):
    lines = b"$WSIS: true\r\n$WSSC: https\r\n" if secure else b"$WSIS: false\r\n$WSSC: http\r\n"
    return lines + b"$WSRA: %b\r\n$WSRH: %b\r\n" % (peer, peer)


cdef class TrustedProxies:
    """Addresses and networks: (16 bytes, bits of the prefix); an IPv4 address is mapped, its prefix 96 bits longer."""

    def __cinit__(self, tuple networks not None=()):
        cdef int i
        cdef bytes address
        self.networks = <Network*>calloc(max(len(networks), 1), sizeof(Network))
        if self.networks == NULL:
            raise MemoryError
        for i, (address, bits) in enumerate(networks):
            if len(address) != 16 or not 0 <= bits <= 128:
                raise ValueError(f"found {address!r}/{bits}; allowed are 16 bytes and a prefix of up to 128 bits")
            memcpy(self.networks[i].address, <const char*>address, 16)
            self.networks[i].bits = bits
            self.count += 1

    def __dealloc__(self):
        free(self.networks)

    cdef bint have(self, const unsigned char* address) noexcept nogil:
        cdef const unsigned char* own
        cdef int i, whole, rest
        # `::/0` is all of IPv6, and no IPv4 address is in it because of how we write those.
        cdef bint is_ipv4 = memcmp(address, MAPPED, 12) == 0
        for i in range(self.count):
            if is_ipv4 and self.networks[i].bits < MAPPED_BITS:
                continue
            own = self.networks[i].address
            whole = self.networks[i].bits // 8
            rest = self.networks[i].bits % 8
            if memcmp(own, address, whole) == 0:
                if rest == 0 or (own[whole] ^ address[whole]) >> (8 - rest) == 0:
                    return True
        return False

    cdef bint have_text(self, const char* text, Py_ssize_t length) noexcept nogil:
        cdef unsigned char address[16]
        cdef const char* scope = <const char*>memchr(text, c"%", length)  # fe80::1%eth0
        cdef const char* end = text + length
        if self.count == 0:  # as most do; asked for each connection
            return False
        if scope != NULL:
            end = scope
        return parse_address(text, end, address) and self.have(address)

    def __contains__(self, bytes peer not None) -> bool:
        return self.have_text(peer, len(peer))


# --- addresses ---------------------------------------------------------------------------------------------------------

cdef bint parse_address(const char* start, const char* end, unsigned char* address) noexcept nogil:
    """16 bytes of it; an IPv4 address is mapped."""
    cdef char text[TEXT_BYTES]
    if end - start >= TEXT_BYTES or end == start:
        return False
    memcpy(text, start, end - start)
    text[end - start] = 0
    if memchr(text, c":", end - start) != NULL:
        return inet_pton(AF_INET6, text, address) == 1
    memcpy(address, MAPPED, 12)
    return inet_pton(AF_INET, text, address + 12) == 1


cdef bint is_port(const char* start, const char* end, int* port) noexcept nogil:
    cdef int number = 0
    if start == end or end - start > 5:
        return False
    while start < end:
        if not c"0" <= start[0] <= c"9":
            return False
        number = number * 10 + start[0] - c"0"
        start += 1
    port[0] = number
    return 0 < number <= MOST_PORT


cdef bint split_port(const char** start, const char** end, int* port) noexcept nogil:
    """An address or host without brackets and port; ``port`` -1: it has none. False: it is neither."""
    cdef const char* close
    cdef const char* colon
    cdef const char* stop = end[0]
    port[0] = -1
    if start[0] == stop:
        return False
    if start[0][0] == c"[":
        close = <const char*>memchr(start[0], c"]", stop - start[0])
        if close == NULL:
            return False
        start[0] += 1
        end[0] = close
        return close + 1 == stop or ((close + 1)[0] == c":" and is_port(close + 2, stop, port))
    colon = <const char*>memchr(start[0], c":", stop - start[0])
    if colon == NULL or memchr(colon + 1, c":", stop - colon - 1) != NULL:
        return True  # none, or an IPv6 address without brackets
    end[0] = colon
    return is_port(colon + 1, stop, port)


cdef bint note_client(Origin* origin, const char* start, const char* end, unsigned char* address) noexcept nogil:
    """Whether it is an address: the client's, as far as is known."""
    cdef int port
    trim(&start, &end)
    if not split_port(&start, &end, &port) or not parse_address(start, end, address):
        return False
    if memcmp(address, MAPPED, 12) == 0:
        inet_ntop(AF_INET, address + 12, origin.client, sizeof(origin.client))
    else:
        inet_ntop(AF_INET6, address, origin.client, sizeof(origin.client))
    origin.client_len = strlen(origin.client)
    return True


# --- fields ------------------------------------------------------------------------------------------------------------

# Connection cannot take these away: a client names them there (``forwarded``).

cdef Text last_element(Fields* fields, const char* lower, Py_ssize_t length) noexcept nogil:
    """The right-most element of all fields of the name: the word of who was last."""
    cdef Text text = Text(NULL, NULL)
    cdef const char* comma
    cdef int i
    for i in range(fields.count - 1, -1, -1):
        if not is_named(&fields.at[i], lower, length):
            continue
        text.at = fields.at[i].value
        text.end = text.at + fields.at[i].value_len
        comma = <const char*>memrchr(text.at, c",", text.end - text.at)
        if comma != NULL:
            text.at = comma + 1
        trim(&text.at, &text.end)
        break
    return text


cdef bint says(Text* text, const char* lower) noexcept nogil:
    cdef Py_ssize_t length = strlen(lower)
    return text.at != NULL and text.end - text.at == length and equals_ignoring_case(text.at, lower, length)


cdef void note_scheme(Origin* origin, Text* text) noexcept nogil:
    if says(text, "https") or says(text, "wss"):
        origin.told_secure = True
    elif says(text, "http") or says(text, "ws"):
        origin.told_secure = False


cdef void note_host(Origin* origin, RequestHead* head, Text* text) noexcept nogil:
    """Of the host that the client named only the port counts: without one it is the scheme's."""
    cdef const char* start = text.at
    cdef const char* end = text.end
    cdef int port
    if text.at != NULL and split_port(&start, &end, &port):
        head.port = port


cdef void walk_x_forwarded_for(TrustedProxies trusted, Fields* fields, Origin* origin) noexcept nogil:
    """From the right to the first address that is not a TrustedProxy's."""
    cdef unsigned char address[16]
    cdef const char* start
    cdef const char* end
    cdef const char* comma
    cdef const char* part
    cdef int i
    cdef int hops = 0
    for i in range(fields.count - 1, -1, -1):
        if not is_named(&fields.at[i], "x-forwarded-for", 15):
            continue
        start = fields.at[i].value
        end = start + fields.at[i].value_len
        while True:
            comma = <const char*>memrchr(start, c",", end - start)
            part = start
            if comma != NULL:
                part = comma + 1
            hops += 1
            if not note_client(origin, part, end, address) or not trusted.have(address) or hops == MOST_HOPS:
                return
            if comma == NULL:
                break
            end = comma


# --- Forwarded ---------------------------------------------------------------------------------------------------------

cdef const char* end_of_pair(const char* p, const char* end) noexcept nogil:
    """Up to the ``;`` or ``,`` that stands in no quotes."""
    cdef bint quoted = False
    while p < end and (quoted or (p[0] != c";" and p[0] != c",")):
        if p[0] == c'"':
            quoted = not quoted
        elif quoted and p[0] == c"\\":
            p += 1
        p += 1
    return p if p < end else end


cdef void read_pair(const char* start, const char* end, Element* out) noexcept nogil:
    cdef const char* equals = <const char*>memchr(start, c"=", end - start)
    cdef const char* stop = equals
    cdef Text text
    if equals == NULL:
        return
    text.at = equals + 1
    text.end = end
    trim(&start, &stop)
    trim(&text.at, &text.end)
    if text.end - text.at >= 2 and text.at[0] == c'"' and (text.end - 1)[0] == c'"':
        text.at += 1
        text.end -= 1
    if stop - start == 3 and equals_ignoring_case(start, "for", 3):
        out.client = text
    elif stop - start == 5 and equals_ignoring_case(start, "proto", 5):
        out.proto = text
    elif stop - start == 4 and equals_ignoring_case(start, "host", 4):
        out.host = text


cdef int read_elements(Fields* fields, Element* ring) noexcept nogil:
    """The elements of all Forwarded fields, the last MOST_HOPS of them, each at its number modulo that; how many."""
    cdef const char* start
    cdef const char* p
    cdef const char* end
    cdef int i
    cdef int count = 0
    for i in range(fields.count):
        if not is_named(&fields.at[i], "forwarded", 9):
            continue
        p = fields.at[i].value
        end = p + fields.at[i].value_len
        memset(&ring[count % MOST_HOPS], 0, sizeof(Element))
        while True:
            start = p
            p = end_of_pair(start, end)
            read_pair(start, p, &ring[count % MOST_HOPS])
            if p == end or p[0] == c",":
                count += 1
                if p == end:
                    break
                memset(&ring[count % MOST_HOPS], 0, sizeof(Element))
            p += 1
    return count


cdef void walk_forwarded(
    TrustedProxies trusted, RequestHead* head, Origin* origin, Element* said, bint wants_address
) noexcept nogil:
    """The client's address, and into ``said`` the element that says it; else the last one."""
    cdef Element ring[MOST_HOPS]
    cdef unsigned char address[16]
    cdef Element* element
    cdef int count = read_elements(&head.fields, ring)
    cdef int at
    memset(said, 0, sizeof(Element))
    for at in range(count - 1, max(count - MOST_HOPS, 0) - 1, -1):
        element = &ring[at % MOST_HOPS]
        if at == count - 1:
            said[0] = element[0]
        if element.client.at == NULL or not note_client(origin, element.client.at, element.client.end, address):
            break
        said[0] = element[0]
        if not trusted.have(address):
            break
    if not wants_address:
        origin.client_len = 0


# -----------------------------------------------------------------------------------------------------------------------

cdef void note_private_address(Fields* fields, Origin* origin) noexcept nogil:
    """$WSRA of the proxy: the application is told that, so the log is, too."""
    cdef unsigned char address[16]
    cdef Field* field
    cdef int i
    for i in range(fields.count):
        field = &fields.at[i]
        if field.kind == FIELD_PRIVATE and field.private_bit == PRIVATE_ADDRESS:
            note_client(origin, field.value, field.value + field.value_len, address)
            return


cdef void believe(TrustedProxies trusted, Trust trust, RequestHead* head, Origin* origin) noexcept nogil:
    cdef Fields* fields = &head.fields
    cdef int said_already = fields.private_seen
    cdef int port_of_host = head.port
    cdef Element said
    cdef Text port
    cdef int number
    believe_nothing(origin)
    origin.told_secure = origin.secure
    memset(&said, 0, sizeof(Element))
    port.at = NULL
    port.end = NULL
    if trust == TRUST_X_FORWARDED:
        if not said_already & PRIVATE_ADDRESS:
            walk_x_forwarded_for(trusted, fields, origin)
        said.proto = last_element(fields, "x-forwarded-proto", 17)
        said.host = last_element(fields, "x-forwarded-host", 16)
        port = last_element(fields, "x-forwarded-port", 16)
    elif trust == TRUST_FORWARDED:
        walk_forwarded(trusted, head, origin, &said, not said_already & PRIVATE_ADDRESS)
    if said_already & PRIVATE_ADDRESS:
        note_private_address(fields, origin)
    if not said_already & PRIVATE_SECURE:
        note_scheme(origin, &said.proto)
    if not said_already & PRIVATE_PORT:
        note_host(origin, head, &said.host)
        if port.at != NULL and is_port(port.at, port.end, &number):
            head.port = number
            origin.told_port = True
    origin.told_port = origin.told_port or head.port != port_of_host
    origin.is_told = origin.client_len != 0 or origin.told_secure != origin.secure
