"""
What of a request or an answer a log may tell: session ids and passwords are masked, in one way for all logs.

Driven by ``access_line`` for its values and by ``witness`` for what http_plugin.log is told; whoever writes gets masked
bytes. Pure. Clone ids stay: they say where a request went, and nobody gets into a session with one. So does the cache id, a
version.

In a path every parameter is masked, whatever its name. Anywhere a value is that stands behind the name of an affinity
cookie or parameter of the configuration, or behind ``jsessionid``, in any case, and with ``;`` and ``=`` percent-encoded: no
server takes that for a session, but the id in it is as good. User and password before an address's host always are, and so is
a field whose name says that it holds a secret; ``name=value`` of such a name in a query, or in any text, is masked, too.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memset, strlen
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.fields cimport equals_ignoring_case, looks_like
from wsproxy._fast.tell.scan cimport WS_CODED, WS_EQUALS, WS_ESCAPED, WS_SEMICOLON, ws_choose_way, ws_copy_looking, ws_look
from wsproxy._fast.tell.secrets cimport ends_with_secret, is_word, names_secret

MASKED = b"***"

cdef extern from *:
    """
    static const char *const ws_cookie_attributes[] = {
        "path", "domain", "expires", "max-age", "samesite", "version", "comment", "commenturl", "port", "priority", 0
    };
    static const char *const ws_cookie_fields[] = {"cookie", "cookie2", 0};
    static const char *const ws_set_cookie_fields[] = {"set-cookie", "set-cookie2", 0};
    static const char *const ws_address_fields[] = {"referer", "location", "content-location", 0};
    /* The partition table says which ids lead where (PLUGIN 3.5), the other one is the id of a TLS session. */
    static const char *const ws_hidden_fields[] = {"$wspt", "$wssi", 0};
    """
    void* memmem(const void* data, size_t length, const void* sought, size_t sought_len) noexcept nogil
    void* memrchr(const void* data, int sought, size_t length) noexcept nogil
    const char* const* ws_cookie_attributes
    const char* const* ws_cookie_fields
    const char* const* ws_set_cookie_fields
    const char* const* ws_address_fields
    const char* const* ws_hidden_fields

# Where in an address a byte stands.
cdef enum Place:
    IN_PATH = 0
    IN_PARAM                # of a path, up to its "="
    IN_QUERY
    IN_TEXT                 # in no address, or in any

cdef const char* HEX_DIGITS = "0123456789abcdef"
# Bytes that `put_masked` looks at.
cdef unsigned char MARKS[256]


cdef void fill_marks() noexcept:
    cdef int c
    for c in range(256):
        MARKS[c] = 0
    for c in b"%/:;=?":
        MARKS[c] = 1


fill_marks()
ws_choose_way(True)


cdef class SessionNames:
    """Names that have sessions for their values: of ``cookies``, whose clone ids are told, and of path parameters."""

    def __cinit__(
        self, frozenset cookies not None=frozenset(), frozenset url_ids not None=frozenset(), bytes separator not None=b"",
    ):
        """``separator``: before clone ids, where all clusters have the same."""
        cdef int i
        self.cookies = cookies
        self.separator = separator[0] if separator else 0
        self.kept = sorted({(<bytes>name).lower() for name in cookies | url_ids | {b"jsessionid"} if name})
        self.count = len(self.kept)
        self.at = <SessionName*>malloc(self.count * sizeof(SessionName))
        if self.at == NULL:
            raise MemoryError
        for i in range(self.count):
            self.at[i].text = <const char*><bytes>self.kept[i]
            self.at[i].length = len(self.kept[i])
            self.lasts |= <uint32_t>1 << (self.at[i].text[self.at[i].length - 1] & 31)

    def __dealloc__(self):
        free(self.at)


# --- escapes ----------------------------------------------------------------------------------------------------------

cdef int put_plain(Buffer* out, const char* p, Py_ssize_t length) except -1:
    return buffer_append(out, p, length)


cdef int put_escaped(Buffer* out, const char* p, Py_ssize_t length) except -1:
    """As ap_escape_logitem: C letters for some controls, \\xhh for other bytes outside ASCII, or a backslash before it."""
    cdef char escape[4]
    cdef int size
    cdef unsigned char c
    cdef Py_ssize_t i
    cdef Py_ssize_t begin = 0
    if not ws_look(p, length) & WS_ESCAPED:
        return buffer_append(out, p, length)
    escape[0] = c"\\"
    for i in range(length):
        c = p[i]
        if 0x20 <= c <= 0x7e and c != c'"' and c != c"\\":
            continue
        buffer_append(out, p + begin, i - begin)
        begin = i + 1
        size = 2
        if c == c'"' or c == c"\\":
            escape[1] = c
        elif c == 8:
            escape[1] = c"b"
        elif c == 9:
            escape[1] = c"t"
        elif c == 10:
            escape[1] = c"n"
        elif c == 11:
            escape[1] = c"v"
        elif c == 13:
            escape[1] = c"r"
        else:
            escape[1] = c"x"
            escape[2] = HEX_DIGITS[c >> 4]
            escape[3] = HEX_DIGITS[c & 15]
            size = 4
        buffer_append(out, escape, size)
    return buffer_append(out, p + begin, length - begin)


# --- what is found ----------------------------------------------------------------------------------------------------

cdef Py_ssize_t find_clones(const char* p, Py_ssize_t length, char separator) noexcept nogil:
    """Where the separator before the clone ids stands; ``length``: there are none."""
    cdef const char* at = <const char*>memchr(p, separator or c":", length) if length else NULL
    if at == NULL and length and not separator:
        at = <const char*>memchr(p, c"+", length)
    if at == NULL and separator != c"+":
        at = <const char*>memmem(p, length, <const char*>"%3A", 3)
        if at == NULL:
            at = <const char*>memmem(p, length, <const char*>"%3a", 3)
    if at == NULL and separator != c":":
        at = <const char*>memmem(p, length, <const char*>"%2B", 3)
        if at == NULL:
            at = <const char*>memmem(p, length, <const char*>"%2b", 3)
    return length if at == NULL else at - p


cdef bint has_cache_id(const char* p, Py_ssize_t length) noexcept nogil:
    return (
        length > CACHE_ID_LEN and p[0] == c"0" and p[1] == c"0" and c"0" <= p[2] <= c"9" and c"0" <= p[3] <= c"9"
        and p[4] != c"\n"
    )


cdef Py_ssize_t size_of_coded(const char* p, const char* end, char high, char low) noexcept nogil:
    """
    Length of the character with these two hex digits, percent-encoded, once or several times; 0: it does not stand at ``p``.

    ``low``: a digit or lower case.
    """
    cdef const char* percent = p
    if p >= end or p[0] != c"%":
        return 0
    while end - p >= 3 and p[1] == c"2" and p[2] == c"5":
        p += 2
    if end - p >= 3 and p[1] == high and (p[2] == low or (low >= c"a" and (p[2] | 0x20) == low)):
        return p + 3 - percent
    return 0


cdef Py_ssize_t size_of_semicolon(const char* p, const char* end) noexcept nogil:
    """Its length, as it is or encoded once; 0: it is another character."""
    if p[0] == c";":
        return 1
    return 3 if size_of_coded(p, end, c"3", c"b") == 3 else 0


cdef Py_ssize_t size_of_equals(const char* p, const char* end) noexcept nogil:
    return 1 if p[0] == c"=" else size_of_coded(p, end, c"3", c"d")


cdef bint begins_word(const char* first, const char* p) noexcept nogil:
    """Whether a name may begin at ``p``: no letter or digit before it but those of a percent-encoded character."""
    if p == first or not is_word((p - 1)[0]):
        return True
    p -= 2
    while p - first >= 3 and (p - 1)[0] == c"5" and (p - 2)[0] == c"2":
        p -= 2
    return p - first >= 1 and (p - 1)[0] == c"%"


cdef bint ends_with_name(const char* first, const char* p, SessionNames names) noexcept nogil:
    """Whether what stands before ``p`` is a name of sessions."""
    cdef const SessionName* name
    cdef int i
    if p == first or not names.lasts >> ((p - 1)[0] & 31) & 1:
        return False
    for i in range(names.count):
        name = &names.at[i]
        if (
            p - first >= name.length and ((p - 1)[0] | 0x20) == (name.text[name.length - 1] | 0x20)
            and equals_ignoring_case(p - name.length, name.text, name.length) and begins_word(first, p - name.length)
        ):
            return True
    return False


cdef bint has_nothing_to_hide(const char* p, Py_ssize_t length, Place place, SessionNames names) noexcept nogil:
    """Nearly always: no parameter in the path, no name of sessions before a "=", and nothing that takes a closer look."""
    cdef int marks = ws_look(p, length)
    if marks & (WS_EQUALS | WS_CODED) == 0:
        return True
    if marks & WS_CODED or (marks & WS_SEMICOLON and place <= IN_PARAM):
        return False
    return names_nothing(p, length, names)


cdef bint names_nothing(const char* p, Py_ssize_t length, SessionNames names) noexcept nogil:
    cdef const char* first = p
    cdef const char* end = p + length
    p = <const char*>memchr(p, c"=", end - p)
    while p != NULL:
        if ends_with_name(first, p, names) or ends_with_secret(first, p):
            return False
        p = <const char*>memchr(p + 1, c"=", end - p - 1)
    return True


cdef const char* find_value_end(const char* p, const char* end, Place place) noexcept nogil:
    while p < end:
        if p[0] == c";":
            return p
        if place <= IN_PARAM:
            if p[0] == c"/" or p[0] == c"?" or size_of_semicolon(p, end):
                return p
        elif p[0] == c"&" or p[0] == c"#" or p[0] == c" ":
            return p
        elif place == IN_TEXT and (p[0] == c"," or p[0] == c'"' or p[0] == c"'" or p[0] == c"<" or p[0] == c">"):
            return p
        p += 1
    return end


cdef Py_ssize_t size_of_slash(const char* p, const char* end) noexcept nogil:
    if p < end and p[0] == c"/":
        return 1
    return size_of_coded(p, end, c"2", c"f")


cdef Py_ssize_t size_of_authority_begin(const char* p, const char* end, Place place) noexcept nogil:
    """Length of ``://``, outside a path also of ``//``, as they are or percent-encoded; 0: it does not stand here."""
    cdef Py_ssize_t colon = 1 if p[0] == c":" else size_of_coded(p, end, c"3", c"a")
    cdef Py_ssize_t slash
    cdef Py_ssize_t second
    if not colon and place <= IN_PARAM:
        return 0
    slash = size_of_slash(p + colon, end)
    if not slash:
        return 0
    second = size_of_slash(p + colon + slash, end)
    return colon + slash + second if second else 0


cdef const char* find_user_end(const char* p, const char* end, bint is_coded_address, Place place) noexcept nogil:
    """The last ``@`` of the authority that begins here; NULL: there is none, and nobody's password."""
    cdef const char* found = NULL
    while p < end:
        if p[0] == c"@" or (is_coded_address and size_of_coded(p, end, c"4", c"0")):
            found = p
        elif (
            p[0] == c"/" or p[0] == c"?" or p[0] == c"#" or p[0] == c"\\" or p[0] == c" " or p[0] == c'"'
            or p[0] == c"<" or p[0] == c">" or (p[0] == c"&" and (is_coded_address or place == IN_QUERY))
            or (is_coded_address and size_of_coded(p, end, c"2", c"f"))
        ):
            break
        p += 1
    return found


# --- what is told -----------------------------------------------------------------------------------------------------

cdef const char* put_hidden(Buffer* out, const char* p, const char* end, const Telling* telling) except NULL:
    """A session's value up to its clone ids, which are where this returns."""
    cdef const char* clones = p + find_clones(p, end - p, telling.separator)
    if p < clones and p[0] == c'"':
        telling.put(out, p, 1)
        p += 1
    if has_cache_id(p, clones - p):
        buffer_append(out, p, CACHE_ID_LEN)
    buffer_append(out, "***", 3)
    return clones


cdef int put_session(Buffer* out, const char* p, Py_ssize_t length, const Telling* telling) except -1:
    cdef const char* clones = p if telling.shows_sessions else put_hidden(out, p, p + length, telling)
    return telling.put(out, clones, p + length - clones)


cdef int put_masked(
    Buffer* out, const char* p, Py_ssize_t length, Place place, SessionNames names, const Telling* telling
) except -1:
    cdef const char* first = p
    cdef const char* end = p + length
    cdef const char* begin = p  # from here on nothing was told yet
    cdef const char* stop
    cdef Py_ssize_t size
    if has_nothing_to_hide(p, length, place, names):
        return telling.put(out, p, length)
    while p < end:
        if not MARKS[<unsigned char>p[0]]:
            p += 1
            continue
        size = size_of_authority_begin(p, end, place)
        if size:
            p += size
            stop = find_user_end(p, end, size > 3, place)
            if stop != NULL:
                telling.put(out, begin, p - begin)
                buffer_append(out, "***", 3)
                begin = p = stop
            continue
        size = 1
        if telling.shows_sessions:
            pass
        elif p[0] == c"?" and place <= IN_PARAM:
            place = IN_QUERY
        elif p[0] == c"/" and place == IN_PARAM:
            place = IN_PATH
        elif place <= IN_PARAM and size_of_semicolon(p, end):
            place = IN_PARAM
            size = size_of_semicolon(p, end)
        elif size_of_equals(p, end):
            size = size_of_equals(p, end)
            if place == IN_PARAM or ends_with_name(first, p, names):
                p += size
                telling.put(out, begin, p - begin)
                # What follows the separator is looked at as well: it may be anything.
                begin = p = put_hidden(out, p, find_value_end(p, end, place), telling)
                place = IN_PATH if place == IN_PARAM else place
                continue
            if place != IN_PATH and ends_with_secret(first, p):
                p += size
                telling.put(out, begin, p - begin)
                buffer_append(out, "***", 3)
                begin = p = find_value_end(p, end, place)
                continue
        p += size
    return telling.put(out, begin, end - begin)


cdef int put_address(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1:
    cdef const char* query = <const char*>memchr(p, c"?", length) if length and telling.cuts_queries else NULL
    return put_masked(out, p, length if query == NULL else query - p, IN_PATH, names, telling)


cdef int put_query(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1:
    return put_masked(out, p, length, IN_QUERY, names, telling)


cdef int put_text(Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling) except -1:
    return put_masked(out, p, length, IN_TEXT, names, telling)


cdef int put_request_line(
    Buffer* out, const char* p, Py_ssize_t length, SessionNames names, const Telling* telling
) except -1:
    """All three parts as addresses: in a line that is none (a tab, a blank too many) the address may stand in any."""
    cdef const char* end = p + length
    cdef const char* first
    cdef const char* last
    if not telling.cuts_queries and has_nothing_to_hide(p, length, IN_PATH, names):
        return telling.put(out, p, length)
    first = <const char*>memchr(p, c" ", length)
    if first == NULL:
        return put_address(out, p, length, names, telling)
    put_address(out, p, first - p, names, telling)
    buffer_append(out, " ", 1)
    first += 1
    last = <const char*>memrchr(first, c" ", end - first)
    if last == NULL:
        return put_address(out, first, end - first, names, telling)  # one blank: all behind it is an address
    put_address(out, first, last - first, names, telling)
    buffer_append(out, " ", 1)
    return put_address(out, last + 1, end - last - 1, names, telling)


cdef int put_cookie(Buffer* out, const char* p, const char* end, SessionNames names, const Telling* telling) except -1:
    """Name and value of one, without blanks around them; of a value without name nothing is told."""
    cdef const char* equals
    cdef const char* name_end
    while p < end and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    while end > p and ((end - 1)[0] == c" " or (end - 1)[0] == c"\t"):
        end -= 1
    equals = <const char*>memchr(p, c"=", end - p) if end > p else NULL
    if equals == NULL:
        return buffer_append(out, "***", 3)
    telling.put(out, p, equals + 1 - p)
    name_end = equals
    while name_end > p and ((name_end - 1)[0] == c" " or (name_end - 1)[0] == c"\t"):
        name_end -= 1
    if p[:name_end - p] in names.cookies:
        return put_session(out, equals + 1, end - equals - 1, telling)
    return buffer_append(out, "***", 3)


cdef const char* find_cookie_end(const char* p, const char* end, bint by_comma) noexcept nogil:
    while p < end and p[0] != c";" and (p[0] != c"," or not by_comma):
        p += 1
    return p


cdef int put_cookies(Buffer* out, const char* p, const char* end, SessionNames names, const Telling* telling) except -1:
    """A comma ends a cookie, too: ``affinity`` takes what follows for a session, and it is one."""
    cdef const char* stop = find_cookie_end(p, end, True)
    put_cookie(out, p, stop, names, telling)
    while stop < end:
        buffer_append(out, stop, 1)
        buffer_append(out, " ", 1)
        p = stop + 1
        stop = find_cookie_end(p, end, True)
        put_cookie(out, p, stop, names, telling)
    return 0


cdef bint is_among(const char* name, Py_ssize_t length, const char* const* known) noexcept nogil:
    cdef int i = 0
    while known[i] != NULL:
        if length == <Py_ssize_t>strlen(known[i]) and looks_like(name, known[i], length):
            return True
        i += 1
    return False


cdef bint is_cookie_attribute(const char* p, const char* end) noexcept nogil:
    """Or has no value."""
    cdef const char* equals = <const char*>memchr(p, c"=", end - p) if end > p else NULL
    if equals == NULL:
        return True
    while p < equals and (p[0] == c" " or p[0] == c"\t"):
        p += 1
    while equals > p and ((equals - 1)[0] == c" " or (equals - 1)[0] == c"\t"):
        equals -= 1
    return is_among(p, equals - p, ws_cookie_attributes)


cdef int put_set_cookies(Buffer* out, const char* p, const char* end, SessionNames names, const Telling* telling) except -1:
    """A cookie, its attributes, and what a gateway joined to it by a comma: another cookie."""
    cdef const char* stop = find_cookie_end(p, end, False)
    put_cookie(out, p, stop, names, telling)
    while stop < end:
        buffer_append(out, stop, 1)
        p = stop + 1
        stop = find_cookie_end(p, end, True)
        if is_cookie_attribute(p, stop):
            put_text(out, p, stop - p, names, telling)
        else:
            put_cookie(out, p, stop, names, telling)
    return 0


cdef int put_value(
    Buffer* out, const char* p, Py_ssize_t length, FieldRule rule, SessionNames names, const Telling* telling
) except -1:
    if rule == IS_SECRET or (rule == IS_HIDDEN and not telling.shows_sessions):
        return buffer_append(out, "***", 3)
    if rule == IS_ADDRESS and not telling.shows_sessions:
        return put_address(out, p, length, names, telling)
    if rule <= IS_ADDRESS or rule == IS_HIDDEN:
        return put_text(out, p, length, names, telling)
    if rule == IS_SESSION:
        return put_session(out, p, length, telling)
    if telling.shows_sessions:
        return telling.put(out, p, length)
    if rule == IS_COOKIES:
        return put_cookies(out, p, p + length, names, telling)
    return put_set_cookies(out, p, p + length, names, telling)


cdef FieldRule rule_of(const char* name, Py_ssize_t length) noexcept nogil:
    if names_secret(name, length):
        return IS_SECRET
    if is_among(name, length, ws_cookie_fields):
        return IS_COOKIES
    if is_among(name, length, ws_set_cookie_fields):
        return IS_SET_COOKIE
    if is_among(name, length, ws_address_fields):
        return IS_ADDRESS
    return IS_HIDDEN if is_among(name, length, ws_hidden_fields) else AS_TEXT


cdef bytes taken(Buffer* out):
    cdef bytes text = out.data[:out.length] if out.length else b""
    buffer_clear(out)
    return text


# --- for reports ------------------------------------------------------------------------------------------------------

def mask_address(bytes address not None, SessionNames names not None=SessionNames()) -> bytes:
    """An address of a log that is read, for people: nothing is escaped, and its query stays."""
    cdef Telling telling = Telling(put_plain, names.separator, False, False)
    cdef ExactCopy copy = ExactCopy(address)
    cdef Buffer out
    memset(&out, 0, sizeof(Buffer))
    try:
        put_address(&out, copy.at, copy.length, names, &telling)
        return taken(&out)
    finally:
        buffer_clear(&out)


# --- for tests --------------------------------------------------------------------------------------------------------

cdef Telling access_telling(SessionNames names, bint shows_sessions):
    return Telling(put_escaped, names.separator, shows_sessions, False)


def escape(bytes value not None) -> bytes:
    """The value as the access log has it."""
    cdef Buffer out
    cdef ExactCopy copy = ExactCopy(value)
    memset(&out, 0, sizeof(Buffer))
    put_escaped(&out, copy.at, copy.length)
    return taken(&out)


def kinds_of(bytes value not None, bint is_wide):
    """What ``scan`` sees in the value, by this way of its two; and what it saw when it copied it, with the copy."""
    cdef ExactCopy copy = ExactCopy(value)
    cdef ExactCopy room = ExactCopy(bytes(len(value)))
    cdef int seen, seen_again
    ws_choose_way(is_wide)
    seen = ws_look(copy.at, copy.length)
    seen_again = ws_copy_looking(<char*>room.at, copy.at, copy.length)
    ws_choose_way(True)
    return seen, seen_again, room.at[:copy.length]


def mask(
    bytes value not None, str what not None, SessionNames names not None=SessionNames(), *, bint shows_sessions=False
) -> bytes:
    """A value as the access log has it; ``what``: an address, query, request_line, session, or the name of a field."""
    cdef Buffer out
    cdef Telling telling = access_telling(names, shows_sessions)
    cdef ExactCopy copy = ExactCopy(value)
    cdef bytes name
    memset(&out, 0, sizeof(Buffer))
    if what == "address":
        put_address(&out, copy.at, copy.length, names, &telling)
    elif what == "query":
        put_query(&out, copy.at, copy.length, names, &telling)
    elif what == "request_line":
        put_request_line(&out, copy.at, copy.length, names, &telling)
    elif what == "session":
        put_session(&out, copy.at, copy.length, &telling)
    else:
        name = what.encode()
        put_value(&out, copy.at, copy.length, rule_of(<const char*>name, len(name)), names, &telling)
    return taken(&out)
