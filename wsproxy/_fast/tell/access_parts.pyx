"""
The parts of the access log's format, compiled; and what of a line is written when its request begins.

``access_line`` derives from it, which has the lines. In the common case a value is copied with one look at it, and nothing is
asked twice about a head; what is masked or escaped takes the way of ``mask``.
"""

import os

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.decide.affinity cimport next_cookie, note_cookie
from wsproxy._fast.http.fields cimport FIELD_COOKIE, Field, Fields
from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport client_of
from wsproxy._fast.tell.mask cimport (
    AS_TEXT, CACHE_ID_LEN, IS_ADDRESS, IS_HIDDEN, IS_SESSION, MOST_VALUE, FieldRule, SessionNames, Telling, find_clones,
    has_cache_id, names_nothing, put_address, put_escaped, put_query, put_request_line, put_value, rule_of,
)
from wsproxy._fast.tell.pieces cimport (
    PIECE, PIECES, end_string, put_absent, room, ws_put_hex, ws_put_number, ws_put_short, ws_put_stamp, ws_put_text,
    ws_put_utc, ws_wall_seconds,
)
from wsproxy._fast.tell.scan cimport (
    WS_CODED, WS_EQUALS, WS_ESCAPED, WS_SEMICOLON, ws_choose_way, ws_copy_looking,
)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* Whether these are the same but for the case of letters; `letters` has 0x20 at each of them. Eight bytes at a step. */
    static inline int ws_is_named(const char *data, const char *lower, const char *letters, size_t length) {
        uint64_t sought, mask, found;
        uint32_t sought_half, mask_half, found_half;
        size_t i;
        if (length >= 8) {
            for (i = 0;; i = i + 8 <= length - 8 ? i + 8 : length - 8) {  /* some of the last ones twice */
                memcpy(&found, data + i, 8);
                memcpy(&sought, lower + i, 8);
                memcpy(&mask, letters + i, 8);
                if ((found | mask) != sought) return 0;
                if (i == length - 8) return 1;
            }
        }
        if (length >= 4) {
            for (i = 0;; i = length - 4) {
                memcpy(&found_half, data + i, 4);
                memcpy(&sought_half, lower + i, 4);
                memcpy(&mask_half, letters + i, 4);
                if ((found_half | mask_half) != sought_half) return 0;
                if (i == length - 4) return 1;
            }
        }
        for (i = 0; i < length; i++) {
            if ((data[i] | letters[i]) != lower[i]) return 0;
        }
        return 1;
    }
    """
    bint ws_is_named(const char* data, const char* lower, const char* letters, size_t length) noexcept nogil

cdef enum:
    # Names of fields are told apart by their length first; those of this and above share the bits of shorter ones.
    LENGTHS = 64
    COOKIE_LEN = 6
    VERSION_LEN = 9  # with the blank before it
    # Beside texts of the format: the process's id (10 digits, or 8 and a hyphen), quotation marks, the end of the line.
    LONGEST_BETWEEN = 16

ws_choose_way(True)


cdef inline Py_ssize_t room_of(Part* part) noexcept:
    """That it takes with the text before it, but for a value of the request."""
    return part.before_len + <Py_ssize_t>PIECE + <Py_ssize_t>FIXED


cdef inline char* put_nothing(char* at, Part* part) noexcept:
    """For what is not there; in JSON a null over the quotation mark that is open before ``at``."""
    return put_absent(at - 1, True) if part.quoted else put_absent(at, False)


cdef inline Py_ssize_t line_length(RequestHead* head, const char* data, Py_ssize_t length) noexcept nogil:
    """Of the first line, without its end."""
    cdef const char* end
    if head != NULL and data <= head.target < data + length:
        end = head.target + head.target_len + VERSION_LEN  # nothing before that is a line feed
        if end + 2 <= data + length and end[0] == c"\r" and end[1] == c"\n":
            return end - data
    end = <const char*>memchr(data, c"\n", length) if length else NULL
    if end == NULL:
        return length
    return end - data - 1 if end > data and (end - 1)[0] == c"\r" else end - data


cdef char* put_utc(char* at, bint quoted) noexcept:
    at += ws_put_utc(at, FIXED)
    if quoted:
        at[0] = c'"'
        at += 1
    return at


cdef inline int stamp_of_now(AccessParts log) noexcept:
    """Length of ``stamp``, which is made once a second."""
    cdef int64_t now = ws_wall_seconds()
    if now != log.second:
        log.second = now
        log.stamp_len = ws_put_stamp(log.stamp, sizeof(log.stamp) - PIECE, now)
    return log.stamp_len


cdef const char* value_of(int kind, Asked* asked, Py_ssize_t* size) noexcept nogil:
    """What the request has for a part that few formats have; NULL: nothing."""
    cdef RequestHead* head = asked.head
    size[0] = 0
    if kind == ADDRESS:
        return client_of(asked.origin, size)
    if kind == LOCAL_ADDRESS or kind == HOST and (head == NULL or head.host == NULL):
        size[0] = asked.origin.local_host_len
        return asked.origin.local_host
    if head == NULL:
        return NULL
    if kind == HOST:
        size[0] = head.host_len
        return head.host
    if kind == METHOD:
        size[0] = head.method_len
        return head.method
    if kind == PATH:
        size[0] = head.path_len
        return head.target
    if kind == QUERY:
        size[0] = head.target_len - head.path_len
        return head.target + head.path_len
    return NULL


cdef bint find_cookie(
    const char* p, const char* end, const char* name, Py_ssize_t name_len, const char** value, const char** value_end
) noexcept nogil:
    """The first one of the name, as httpd finds it."""
    cdef const char* last
    while p < end:
        while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c";"):
            p += 1
        last = <const char*>memchr(p, c";", end - p) if p < end else NULL
        if last == NULL:
            last = end
        if last - p > name_len and p[name_len] == c"=" and memcmp(p, name, name_len) == 0:
            p += name_len + 1
            while last > p and ((last - 1)[0] == c" " or (last - 1)[0] == c"\t"):
                last -= 1
            value[0] = p
            value_end[0] = last
            return True
        p = last
    return False


cdef int to_json(Buffer* out, Py_ssize_t begin) except -1:
    """
    Makes JSON's escapes of what stands behind ``begin``.

    It was escaped as httpd does it, and nearly all of that is JSON's: only \\v and \\xhh are not.
    """
    cdef Buffer text
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t length = out.length - begin
    cdef const char* p = out.data + begin
    if memchr(p, c"\\", length) == NULL:
        return 0
    memset(&text, 0, sizeof(Buffer))
    try:
        buffer_append(&text, p, length)
        out.length = begin
        while i < length:
            if text.data[i] != c"\\" or i + 1 >= length:
                buffer_append(out, text.data + i, 1)
                i += 1
            elif text.data[i + 1] == c"x":
                buffer_append(out, "\\u00", 4)
                i += 2
            elif text.data[i + 1] == c"v":
                buffer_append(out, "\\u000b", 6)
                i += 2
            else:
                buffer_append(out, text.data + i, 2)
                i += 2
    finally:
        buffer_clear(&text)
    return 0


cdef class AccessParts:
    """
    A format, and how its values are told.

    ``json``: what is no number is a JSON string, or null where it is not there; texts between are as they are.
    """

    def __cinit__(
        self, list items not None, object on_block, SessionNames names not None=SessionNames(), *,
        bint masks=True, bint json=False, **more,
    ):
        cdef Part* part
        cdef bytes name
        cdef bytes between = b""
        cdef int i
        if len(items) > MOST_PARTS:
            raise ValueError(f"found {len(items)} parts in an access log's format; allowed are {MOST_PARTS}")
        late = sum(kind >= STATUS for kind, _ in items)
        if late > MOST_LATE:
            raise ValueError(f"found {late} parts about the answer in an access log's format; allowed are {MOST_LATE}")
        # Of TEXT all stand between two parts, of FIELD and COOKIE name and letters.
        self.kept_room = sum(2 * len(name) + LONGEST_BETWEEN for _, name in items) + LONGEST_BETWEEN + PIECE
        self.kept = <char*>calloc(1, self.kept_room)
        if self.kept == NULL:
            raise MemoryError
        self.cookies = []
        self.masks = masks
        self.json = json
        self.second = -1
        self.late_room = PIECES
        for kind, name in items:
            if kind == TEXT or kind == PID:  # the same in all lines
                between += name if kind == TEXT else str(os.getpid()).encode()
                continue
            part = &self.parts[self.count]
            part.kind = kind
            part.rule = AS_TEXT
            if kind == FIELD:
                name = name.lower()
                part.rule = rule_of(<const char*>name, len(name))
                part.letters = self.keep(bytes([0x20 if c"a" <= c <= c"z" else 0 for c in name]))
            part.name = self.keep(name)
            part.name_len = len(name)
            part.quoted = json and kind < STATUS and kind != PORT and kind != STAMP
            part.dash = kind == BODY_BYTES and name == b"-"
            part.in_ms = kind >= RECEIVE_TIME and name == b"ms"
            if part.quoted:
                between += b'"'
            if kind == REQUEST_ID:
                between += b"%08x-" % (os.getpid() & 0xFFFFFFFF)
            part.before = self.keep(between)
            part.before_len = len(between)
            if kind >= STATUS:
                self.late_room += room_of(part)
            self.asks_head = self.asks_head or kind == FIELD or kind == COOKIE
            self.asks_port = self.asks_port or kind == PORT
            if kind == FIELD:
                self.note_field(part)
            elif kind == COOKIE:
                self.lengths |= <uint64_t>1 << COOKIE_LEN
            part.careful = self.careful_of(part)
            part.is_special = kind == HOST or kind == FIELD and part.rule > IS_ADDRESS
            self.asks_times = self.asks_times or kind >= RECEIVE_TIME
            between = b""
            if kind == REQUEST_ID and part.quoted:  # nothing in it is escaped
                part.quoted = False
                between = b'"'
            self.cookies.append(name if kind == COOKIE else None)
            if kind >= STATUS:
                part.is_cut = self.count == 0 or self.parts[self.count - 1].kind < STATUS
                self.late[self.late_count] = part
                self.late_count += 1
            self.count += 1
        between += b"\n"
        self.after = self.keep(between)
        self.after_len = len(between)
        self.late_room += len(between) + PIECE
        self.early_room = FIXED
        for i in range(self.count - 1, -1, -1):
            part = &self.parts[i]
            if part.kind < STATUS:
                self.early_room += room_of(part)
                part.rest = self.early_room
        self.take_names(names)

    cdef int note_field(self, Part* part) except -1:
        """Where the fields of a head are gone through, this part asks for one."""
        cdef Part** following = &self.of_length[part.name_len % LENGTHS]
        while following[0] != NULL:
            following = &following[0].following
        following[0] = part
        self.lengths |= <uint64_t>1 << (part.name_len % LENGTHS)
        self.of_fields[self.field_count] = part
        self.field_count += 1
        return 0

    cdef int careful_of(self, Part* part) noexcept:
        """What must not be in a value that is told as it stands."""
        if part.kind == REQUEST_LINE or part.kind == PATH or (part.kind == FIELD and part.rule == IS_ADDRESS):
            return WS_ESCAPED | WS_CODED | WS_SEMICOLON | WS_EQUALS
        if part.kind == QUERY or (part.kind == FIELD and part.rule == AS_TEXT):
            return WS_ESCAPED | WS_CODED | WS_EQUALS
        return WS_ESCAPED

    def __dealloc__(self):
        free(self.kept)

    cdef const char* keep(self, bytes text) except NULL:
        """A text that stays where it is as long as the log does, for ``ws_put_text``."""
        cdef char* kept = self.kept + self.kept_len
        if self.kept_len + len(text) + PIECE > self.kept_room:
            raise MemoryError
        memcpy(kept, <const char*>text, len(text))
        self.kept_len += len(text)
        return kept

    cdef int take_names(self, SessionNames names) except -1:
        cdef Part* part
        cdef int i
        self.names = names
        self.telling = Telling(put_escaped, names.separator, not self.masks, False)
        for i in range(self.count):
            part = &self.parts[i]
            if part.kind == COOKIE:
                part.has_session = self.cookies[i] in names.cookies
                part.rule = IS_SESSION if not self.masks or part.has_session else IS_HIDDEN
        return 0

    cdef void find_fields(self, RequestHead* head) noexcept:
        """One walk over the head for all parts that have fields of it."""
        cdef Field* field
        cdef Field* behind
        cdef Part* part
        cdef uint64_t lengths = self.lengths
        cdef int i
        for i in range(self.field_count):
            self.of_fields[i].found = NULL
            self.of_fields[i].is_found_again = False
        self.cookie = -1
        if head == NULL:
            return
        field = &head.fields.at[0]
        behind = field + head.fields.count
        while field < behind:
            # Longer ones share the bit of a shorter name, which is compared.
            if lengths >> (field.name_len % LENGTHS) & 1:
                part = self.of_length[field.name_len % LENGTHS]
                while part != NULL:
                    if field.name_len == part.name_len and ws_is_named(field.line, part.name, part.letters, part.name_len):
                        if part.found == NULL:
                            part.found = field
                        else:
                            part.is_found_again = True
                    part = part.following
                if field.kind == FIELD_COOKIE and self.cookie < 0:
                    self.cookie = field - &head.fields.at[0]
            field += 1

    cdef Py_ssize_t put_early(self, Buffer* out, Py_ssize_t* cuts, Asked* asked) except -1:
        """Room for all that has a limit is made first; a value makes what it needs itself."""
        cdef char* at = room(out, out.data, self.early_room)
        cdef Part* part
        cdef const char* value
        cdef Py_ssize_t size
        cdef int i, kind, seen
        cdef int cut = 0
        for i in range(self.count):
            part = &self.parts[i]
            kind = part.kind
            if kind >= STATUS:
                if part.is_cut:
                    cuts[cut] = at - out.data
                    cut += 1
                continue
            at = ws_put_text(at, part.before, part.before_len)
            if kind == FIELD:
                if part.found == NULL:
                    at = put_nothing(at, part)
                    continue
                value = part.found.value
                size = part.found.value_len
            elif kind == REQUEST_LINE:
                value = asked.data
                size = line_length(asked.head, value, asked.length)
            elif kind == REQUEST_ID:
                at = ws_put_hex(at, <uint32_t>asked.number)
                continue
            elif kind == TIME:
                if self.json:
                    at = put_utc(at, part.quoted)
                else:
                    at = ws_put_text(at, self.stamp, stamp_of_now(self))
                continue
            elif kind == COOKIE:
                at = self.put_cookie(out, at, part, asked)
                continue
            elif kind == ADDRESS and asked.origin.peer_is_plain and asked.origin.client_len == 0:
                size = asked.origin.peer_len
                at = ws_put_short(at, asked.origin.peer, size)
                if part.quoted:
                    at = end_string(at, at - size)
                continue
            else:
                value = value_of(kind, asked, &size)
                if value == NULL:
                    at = self.put_fixed(at, part, asked)
                    continue
            size = min(size, <Py_ssize_t>MOST_VALUE)
            at = room(out, at, part.rest + size)
            if part.is_found_again or part.is_special and (kind != HOST or size and memchr(value, c":", size) != NULL):
                at = self.put_slowly(out, at, part, asked.head, value, size)
                continue
            if size == 0:
                at = put_nothing(at, part) if kind != QUERY else end_string(at, at) if part.quoted else at
                continue
            seen = ws_copy_looking(at, value, size) & part.careful
            # Nearly always: nothing that is escaped or masked, and no name of sessions before a "=".
            if seen and (seen != WS_EQUALS or not names_nothing(value, size, self.names)):
                at = self.put_slowly(out, at, part, asked.head, value, size)
                continue
            at += size
            if part.quoted:
                at = end_string(at, at - size)
        return at - out.data

    cdef char* put_fixed(self, char* at, Part* part, Asked* asked) noexcept:
        """A part that is no value of the request, or that has none there."""
        if part.kind == PORT:
            return ws_put_number(at, asked.port)
        if part.kind == STAMP:
            return at + ws_put_utc(at, FIXED)
        if part.kind == PROTOCOL and asked.head != NULL:
            memcpy(at, "HTTP/1.1" if asked.head.minor else "HTTP/1.0", 8)
            return end_string(at + 8, at) if part.quoted else at + 8
        return put_nothing(at, part)

    cdef char* put_slowly(
        self, Buffer* out, char* at, Part* part, RequestHead* head, const char* value, Py_ssize_t size
    ) except NULL:
        """A value that is not told as it stands; behind it there is room for what ends a string."""
        cdef Py_ssize_t before = at - out.data
        out.length = before
        if part.kind == REQUEST_LINE:
            put_request_line(out, value, size, self.names, &self.telling)
        elif part.kind == PATH:
            put_address(out, value, size, self.names, &self.telling)
        elif part.kind == QUERY:
            put_query(out, value, size, self.names, &self.telling)
        elif part.kind == FIELD:
            self.put_field(out, part, &head.fields)
        elif part.kind == COOKIE:
            put_value(out, value, size, <FieldRule>part.rule, self.names, &self.telling)
        elif part.kind == HOST and memchr(value, c":", size) != NULL:
            buffer_append(out, "[", 1)
            put_escaped(out, value, size)
            buffer_append(out, "]", 1)
        else:
            put_escaped(out, value, size)
        return self.end_value(out, part, before)

    cdef char* end_value(self, Buffer* out, Part* part, Py_ssize_t before) except NULL:
        cdef char* at
        if out.length == before:
            return put_nothing(room(out, out.data + before, part.rest), part)
        if part.quoted:
            to_json(out, before)
        at = room(out, out.data + out.length, part.rest)
        return end_string(at, out.data + before) if part.quoted else at

    cdef int put_field(self, Buffer* out, Part* part, Fields* fields) except -1:
        """Every field of the name, as if it were one."""
        cdef Field* field
        cdef Py_ssize_t length
        cdef bint again = False
        cdef int i
        for i in range(fields.count):
            field = &fields.at[i]
            if field.name_len != part.name_len or not ws_is_named(field.line, part.name, part.letters, part.name_len):
                continue
            if again:
                buffer_append(out, ", ", 2)
            again = True
            length = min(<Py_ssize_t>field.value_len, MOST_VALUE)
            put_value(out, field.value, length, <FieldRule>part.rule, self.names, &self.telling)
        return 0

    cdef char* put_cookie(self, Buffer* out, char* at, Part* part, Asked* asked) except NULL:
        """The first cookie of the name; a session's as ``affinity`` reads it, another one as httpd does."""
        cdef Fields* fields
        cdef const char* p
        cdef const char* end
        cdef const char* value
        cdef const char* last
        cdef int i
        if self.cookie < 0:
            return put_nothing(at, part)
        fields = &asked.head.fields
        for i in range(self.cookie, fields.count):
            if fields.at[i].kind != FIELD_COOKIE:
                continue
            p = fields.at[i].value
            end = p + fields.at[i].value_len
            if part.has_session:
                if not next_cookie(&p, end, part.name, part.name_len, &value, &last):
                    continue
                if asked.known != NULL:
                    note_cookie(asked.known, fields.at[i].value, part.name, part.name_len, value, last, p)
            elif not find_cookie(p, end, part.name, part.name_len, &value, &last):
                continue
            if value == last:
                break
            return self.put_session(out, at, part, value, min(last - value, <Py_ssize_t>MOST_VALUE))
        return put_nothing(at, part)

    cdef char* put_session(self, Buffer* out, char* at, Part* part, const char* value, Py_ssize_t size) except NULL:
        """As ``mask.put_session``, for the value of nearly all: an id and clone ids of which nothing is escaped."""
        cdef const char* clones
        cdef char* begin
        at = room(out, at, part.rest + size)
        begin = at
        if part.rule != IS_SESSION or self.telling.shows_sessions or value[0] == c'"':
            return self.put_slowly(out, at, part, NULL, value, size)
        clones = value + find_clones(value, size, self.telling.separator)
        if has_cache_id(value, clones - value):
            memcpy(at, value, CACHE_ID_LEN)
            at += CACHE_ID_LEN
        memcpy(at, "***", 3)
        at += 3
        size = value + size - clones
        if ws_copy_looking(at, clones, size) & WS_ESCAPED:
            return self.put_slowly(out, begin, part, NULL, value, clones + size - value)
        at += size
        return end_string(at, begin) if part.quoted else at
