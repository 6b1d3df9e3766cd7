"""
Field lines of a head: their characters, what they are to us, and what framing follows from them (RFC 9112 5 and 6).

Driven by ``head`` for requests and responses. Copies nothing; must not be lenient (see ``head``).
Borrowed memory: fields point into the caller's bytes.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy
from wsproxy._fast.http.steps cimport ws_after_name, ws_control, ws_empty, ws_equals

# One byte a character: the classes it belongs to.
cdef unsigned char CLASSES[256]


cdef void fill_classes() noexcept:
    cdef int c
    for c in range(256):
        CLASSES[c] = 0
        if c"0" <= c <= c"9" or c"a" <= c <= c"z" or c"A" <= c <= c"Z":
            CLASSES[c] |= TCHAR | HOST
        # RFC 3986 allows fewer, but applications behind the plug-in live with | { } ^ " in queries; # never may come.
        if 0x21 <= c <= 0x7E and c != c"#":
            CLASSES[c] |= TARGET
        if c"0" <= c <= c"9" or c"a" <= c <= c"f" or c"A" <= c <= c"F":
            CLASSES[c] |= HEX | IPV6
    for c in b"!#$%&'*+-.^_`|~":
        CLASSES[c] |= TCHAR
    for c in b"-._":
        CLASSES[c] |= HOST
    for c in b":.":
        CLASSES[c] |= IPV6


fill_classes()


cdef bint all_of(const char* p, Py_ssize_t length, int character_class) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        if not CLASSES[<unsigned char>p[i]] & character_class:
            return False
    return True


cdef bint is_token_character(unsigned char c) noexcept nogil:
    return CLASSES[c] & TCHAR != 0


cdef bint equals_ignoring_case(const char* data, const char* lower, Py_ssize_t length) noexcept nogil:
    """``lower`` is lower case; `_`, `$` and digits compare as they are."""
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(length):
        c = <unsigned char>data[i]
        if c"A" <= c <= c"Z":
            c |= 0x20
        if c != <unsigned char>lower[i]:
            return False
    return True


cdef bint looks_like(const char* data, const char* lower, Py_ssize_t length) noexcept nogil:
    """``lower`` is lower case and has no `_`."""
    cdef Py_ssize_t i
    cdef unsigned char c
    for i in range(length):
        c = <unsigned char>data[i]
        if c"A" <= c <= c"Z":
            c |= 0x20
        elif c == c"_":
            c = c"-"
        if c != <unsigned char>lower[i]:
            return False
    return True


cdef HeadError find_control(const char* p, Py_ssize_t length) noexcept nogil:
    """HEAD_OK where no byte is a control character other than HTAB; eight bytes at a step."""
    cdef uint64_t word, deleted
    cdef uint64_t high = 0x8080808080808080ULL
    cdef unsigned char c
    cdef Py_ssize_t i = 0
    while i + 8 <= length:
        memcpy(&word, p + i, 8)
        deleted = word ^ 0x7F7F7F7F7F7F7F7FULL
        # (x - n) & ~x & 0x80: the byte was below n. May be true too often above a true hit, never too seldom.
        if ((word - 0x2020202020202020ULL) & ~word & high) | ((deleted - 0x0101010101010101ULL) & ~deleted & high):
            break
        i += 8
    while i < length:
        c = <unsigned char>p[i]
        if (c < 0x20 and c != 0x09) or c == 0x7F:
            return BARE_CR if c == 0x0D else NUL_OR_CONTROL
        i += 1
    return HEAD_OK


cdef inline int private_bit(const char* name, uint32_t length) noexcept nogil:
    if length == 5:
        if ws_equals(name + 3, "is", 2):
            return 1
        if ws_equals(name + 3, "sc", 2):
            return 2
        if ws_equals(name + 3, "pr", 2):
            return 4
        if ws_equals(name + 3, "ra", 2):
            return 8
        if ws_equals(name + 3, "rh", 2):
            return 16
        if ws_equals(name + 3, "sn", 2):
            return 32
        if ws_equals(name + 3, "sp", 2):
            return 64
        if ws_equals(name + 3, "fo", 2):
            return PRIVATE_FAILOVER
        if ws_equals(name + 3, "pt", 2):
            return PARTITION_TABLE
    elif length == 20 and ws_equals(name, "_ws_haprt_wlmversion", 20):
        return PARTITION_VERSION
    return 0


cdef inline int field_kind(const char* name, uint32_t length) noexcept nogil:
    """
    What the fast path must know of a name; told apart by length first.

    Where the name is one that we set or strip, so are those that a server like CGI takes for it (RFC 3875 4.1.18: `-` and `_`
    are one); others go on as they came. For X-Forwarded fields see ``forwarded``.
    """
    cdef char first = name[0] | 0x20
    if length == 4:
        if first == c"h" and ws_equals(name, "host", 4):
            return FIELD_HOST
        if first == c"d" and ws_equals(name, "date", 4):
            return FIELD_DATE
    if length == 6:
        if first == c"c" and ws_equals(name, "cookie", 6):
            return FIELD_COOKIE
        if first == c"e" and ws_equals(name, "expect", 6):
            return FIELD_EXPECT
    elif length == 10:
        if first == c"c" and ws_equals(name, "connection", 10):
            return FIELD_CONNECTION
        if first == c"k" and looks_like(name, "keep-alive", 10):
            return FIELD_HOP_BY_HOP if name[4] == c"-" else FIELD_LOOK_ALIKE
        if first == c"s" and ws_equals(name, "set-cookie", 10):
            return FIELD_SET_COOKIE
    elif length == 14 and first == c"c" and looks_like(name, "content-length", 14):
        return FIELD_CONTENT_LENGTH if name[7] == c"-" else FIELD_LOOK_ALIKE
    elif length == 17 and first == c"t" and looks_like(name, "transfer-encoding", 17):
        return FIELD_TRANSFER_ENCODING if name[8] == c"-" else FIELD_LOOK_ALIKE
    elif length == 7:
        if first == c"u" and ws_equals(name, "upgrade", 7):
            return FIELD_HOP_BY_HOP
        if first == c"t" and ws_equals(name, "trailer", 7):
            return FIELD_TRAILER
    elif length == 2 and first == c"t" and ws_equals(name, "te", 2):
        return FIELD_TE
    elif length == 16 and first == c"p" and looks_like(name, "proxy-connection", 16):
        return FIELD_HOP_BY_HOP if name[5] == c"-" else FIELD_LOOK_ALIKE
    if name[0] == c"$" and length >= 3 and ws_equals(name, "$ws", 3):
        return FIELD_PRIVATE
    if (name[0] == c"_" or name[0] == c"-") and length >= 4 and looks_like(name, "-ws-", 4):
        return FIELD_PRIVATE if name[0] == c"_" and name[3] == c"_" else FIELD_LOOK_ALIKE
    # The third letter spares X-Forwarded-For and its like the comparison.
    if first == c"x" and length > 10 and (name[2] | 0x20) == c"w" and looks_like(name, "x-wsproxy-", 10):
        return FIELD_OWN
    return FIELD_OTHER


cdef Py_ssize_t parse_field(const char* p, const char* lf, Field* out) noexcept nogil:
    cdef const char* start = p
    cdef const char* end
    cdef HeadError error
    if lf == p or (lf - 1)[0] != c"\r":
        return -<int>BARE_LF
    end = lf - 1
    if end == p:
        return 0
    if p[0] == c" " or p[0] == c"\t":
        return -<int>OBS_FOLD
    while p < end and CLASSES[<unsigned char>p[0]] & TCHAR:
        p += 1
    if p == end or p[0] != c":" or p == start:
        error = find_control(start, end - start)
        if p != start:
            while p < end and (p[0] == c" " or p[0] == c"\t"):
                p += 1
            if p < end and p[0] == c":":
                return -<int>SPACE_BEFORE_COLON
        return -<int>(error if error != HEAD_OK else BAD_FIELD_NAME)
    error = find_control(p + 1, end - p - 1)
    if error != HEAD_OK:
        return -<int>error
    return note_line(start, p, end, out)


cdef inline Py_ssize_t parse_usual(const char* start, const char* end, Field* out) noexcept nogil:
    """
    As ``parse_field`` for a line that is as nearly all are, in one pass over it; 0: ``parse_field`` has to look at it.

    Reads no byte from ``end`` on.
    """
    cdef const char* colon = ws_after_name(start, end)
    cdef const char* after
    if colon == NULL or colon == start or colon[0] != c":":
        return 0
    after = ws_control(start, colon + 1, end)
    if after == NULL or end - after < 2 or after[0] != c"\r" or after[1] != c"\n":
        return 0
    return note_line(start, colon, after, out)


cdef inline Py_ssize_t note_line(const char* start, const char* colon, const char* end, Field* out) noexcept nogil:
    """Of a line without fault, up to its CR LF at ``end``: its parts; its length."""
    cdef const char* p = colon + 1
    out.line = start
    out.line_len = <uint32_t>(end + 2 - start)
    out.name_len = <uint32_t>(colon - start)
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    while end > p and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
        end -= 1
    out.value = p
    out.value_len = <uint32_t>(end - p)
    out.dropped = False
    out.private_bit = 0
    out.kind = field_kind(start, out.name_len)
    if out.kind == FIELD_PRIVATE:
        out.private_bit = private_bit(start, out.name_len)
    return out.line_len


cdef int64_t parse_decimal(const char* p, uint32_t length) noexcept nogil:
    # 18 digits always fit 63 bits.
    cdef int64_t number = 0
    cdef uint32_t i
    if length == 0 or length > 18:
        return -1
    for i in range(length):
        if not c"0" <= p[i] <= c"9":
            return -1
        number = number * 10 + (p[i] - c"0")
    return number


cdef const char* next_token(const char* p, const char* end, Py_ssize_t* length) noexcept nogil:
    """The next token of a comma-separated list; NULL at its end; length -1: not a token."""
    cdef const char* start
    while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c","):
        p += 1
    if p == end:
        return NULL
    start = p
    while p < end and CLASSES[<unsigned char>p[0]] & TCHAR:
        p += 1
    length[0] = p - start
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    if length[0] == 0 or (p < end and p[0] != c","):
        length[0] = -1
    return start


cdef inline bint names_field(const char* p, Py_ssize_t length) noexcept nogil:
    """False for the options that mean something themselves."""
    return not (
        length == 5 and ws_equals(p, "close", 5)
        or length == 10 and ws_equals(p, "keep-alive", 10)
        or length == 7 and ws_equals(p, "upgrade", 7)
    )


cdef HeadError note_connection(Fields* fields, Field* field) noexcept nogil:
    """Which options the Connection field names; fields that it nominates are dropped later."""
    cdef const char* end = field.value + field.value_len
    cdef const char* p = field.value
    cdef Py_ssize_t length = 0
    while True:
        p = next_token(p, end, &length)
        if p == NULL:
            return HEAD_OK
        fields.options += 1
        if length < 0 or fields.options > MAX_OPTIONS:
            return BAD_CONNECTION
        if length == 5 and ws_equals(p, "close", 5):
            fields.connection_close = True
        elif length == 10 and ws_equals(p, "keep-alive", 10):
            fields.connection_keep_alive = True
        elif length == 7 and ws_equals(p, "upgrade", 7):
            fields.connection_upgrade = True
        else:
            fields.has_nominated = True
            if length != 2 or not ws_equals(p, "te", 2):
                fields.nominates_others = True
        p += length


cdef bint names_trailers(Field* field) noexcept nogil:
    """Whether the list has the member ``trailers``; it takes no weight, so ``trailers;q=0`` is none (RFC 9110 10.1.4)."""
    cdef const char* end = field.value + field.value_len
    cdef const char* p = field.value
    cdef Py_ssize_t length = 0
    while True:
        p = next_token(p, end, &length)
        if p == NULL:
            return False
        if length == 8 and ws_equals(p, "trailers", 8):
            return True
        p = <const char*>memchr(p, c",", end - p)
        if p == NULL:
            return False


cdef bint same_name(const char* a, const char* b, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(length):
        # tchars that differ only in bit 5 are letters, or ^ and ~, or ` and @: the last two never both are names here
        if a[i] != b[i] and not ((a[i] ^ b[i]) == 0x20 and c"a" <= (a[i] | 0x20) <= c"z"):
            return False
    return True


cdef void drop_nominated(Fields* fields) noexcept nogil:
    """
    Marks every field that a Connection field names (RFC 9110 7.6.1).

    Host and framing never: a request whose Content-Length is lost on the way is two requests to the server.
    """
    cdef int i, j
    cdef Field* connection
    cdef const char* end
    cdef const char* p
    cdef Py_ssize_t length = 0
    for i in range(fields.count):
        connection = &fields.at[i]
        if connection.kind != FIELD_CONNECTION:
            continue
        end = connection.value + connection.value_len
        p = next_token(connection.value, end, &length)
        while p != NULL:
            for j in range(fields.count if names_field(p, length) else 0):
                if fields.at[j].name_len == length and same_name(fields.at[j].line, p, length):
                    fields.at[j].dropped = (
                        fields.at[j].kind != FIELD_HOST
                        and fields.at[j].kind != FIELD_CONTENT_LENGTH
                        and fields.at[j].kind != FIELD_TRANSFER_ENCODING
                    )
                    if fields.at[j].kind == FIELD_DATE:
                        fields.has_date = False
            p = next_token(p + length, end, &length)


cdef HeadError note_field(Fields* fields, Field* field) noexcept nogil:
    """Takes up what framing and routing need of one field."""
    if field.kind == FIELD_OTHER:
        return HEAD_OK
    if field.kind == FIELD_COOKIE:
        fields.has_cookie = True
    elif field.kind == FIELD_SET_COOKIE:
        fields.has_set_cookie = True
    elif field.kind == FIELD_TE:
        fields.te_trailers = fields.te_trailers or names_trailers(field)
    elif field.kind == FIELD_DATE:
        fields.has_date = True
    elif field.kind == FIELD_HOST:
        fields.hosts += 1
    elif field.kind == FIELD_CONTENT_LENGTH:
        fields.content_lengths += 1
        if fields.content_lengths > 1:
            return SEVERAL_CONTENT_LENGTHS
        fields.content_length = parse_decimal(field.value, field.value_len)
        if fields.content_length < 0:
            return BAD_CONTENT_LENGTH
    elif field.kind == FIELD_TRANSFER_ENCODING:
        fields.transfer_encodings += 1
        if (
            fields.transfer_encodings > 1
            or field.value_len != 7
            or not ws_equals(field.value, "chunked", 7)
        ):
            return BAD_TRANSFER_ENCODING
        fields.chunked = True
    elif field.kind == FIELD_CONNECTION:
        return note_connection(fields, field)
    elif field.kind == FIELD_EXPECT:
        # Of several Expect fields each must be met.
        fields.expect_continue = (
            (fields.expect_continue or not fields.has_expect)
            and field.value_len == 12
            and ws_equals(field.value, "100-continue", 12)
        )
        fields.has_expect = True
    elif field.kind == FIELD_PRIVATE:
        fields.private_seen |= field.private_bit
    elif field.kind == FIELD_OWN:
        fields.asks_why = fields.asks_why or (
            field.name_len == 17
            and ws_equals(field.line, "x-wsproxy-explain", 17)
            and field.value_len == 1
            and field.value[0] == c"1"
        )
    return HEAD_OK


cdef Py_ssize_t parse_fields(const char* p, const char* end, Limits* limits, Fields* fields) noexcept nogil:
    """Bytes up to and with the empty line; 0 not whole yet; < 0 -HeadError."""
    cdef const char* start = p
    cdef const char* lf
    cdef Py_ssize_t length
    cdef HeadError error
    cdef int most = limits.header_fields if limits.header_fields < MAX_FIELDS else MAX_FIELDS
    ws_empty(fields, sizeof(Fields) - sizeof(fields.at))
    fields.content_length = -1
    while True:
        length = parse_usual(p, end, &fields.at[fields.count]) if fields.count < most else 0
        if length == 0:
            lf = <const char*>memchr(p, c"\n", end - p)
            if lf == NULL:
                return 0
            if lf - p == 1 and p[0] == c"\r":
                p += 2
                break
            if fields.count >= most:
                return -<int>TOO_MANY_FIELDS
            length = parse_field(p, lf, &fields.at[fields.count])
            if length < 0:
                return length
        error = note_field(fields, &fields.at[fields.count])
        if error != HEAD_OK:
            return -<int>error
        fields.count += 1
        p += length
    if fields.content_lengths and fields.transfer_encodings:
        return -<int>LENGTH_AND_ENCODING
    if fields.has_nominated:
        drop_nominated(fields)
    return p - start


cdef bint is_bound_scheme(const char* p, const char* end) noexcept nogil:
    return (
        end - p >= 4 and ws_equals(p, "ntlm", 4)
        or end - p >= 9 and ws_equals(p, "negotiate", 9)
    )


cdef bint asks_for_bound_login(Fields* fields) noexcept nogil:
    """
    Whether a 401 asks for NTLM or Negotiate: they log in a connection, not a request (RFC 4559 6).

    Kept for the next request, which may be another client's, it would be served as whoever logged in (PEERS.md D 6).
    """
    cdef int i
    cdef const char* p
    cdef const char* end
    for i in range(fields.count):
        if fields.at[i].name_len != 16 or not ws_equals(fields.at[i].line, "www-authenticate", 16):
            continue
        p = fields.at[i].value
        end = p + fields.at[i].value_len
        while p != NULL:  # a field may hold several challenges
            while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c","):
                p += 1
            if is_bound_scheme(p, end):
                return True
            p = <const char*>memchr(p, c",", end - p)
    return False
