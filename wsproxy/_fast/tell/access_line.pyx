"""
The access log of one worker: a line for each request, made of a format and gathered until a block of them is handed on.

Begun and ended by ``course``; made by ``logs.access_writer``, whose file takes the blocks. What of a line only the request
knows is written when its head is here, because the head's memory is used again; the rest when the exchange is over. In the
common case nothing is allocated: entries and their memory go from request to request. Must not wait, and must not decide.
"""

import logging
import os

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memset, strlen
from wsproxy._fast.base.buffer cimport Buffer, buffer_append, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_us
from wsproxy._fast.base.exact cimport ExactCopy
from wsproxy._fast.decide.affinity cimport next_cookie
from wsproxy._fast.decide.decide cimport BY_NOBODY, word_of_rule
from wsproxy._fast.http.fields cimport FIELD_COOKIE, MAX_FIELDS, Field, Fields, Limits
from wsproxy._fast.http.head cimport RequestHead, parse_request
from wsproxy._fast.http.origin cimport Origin, client_of
from wsproxy._fast.tell.ended cimport ENDED_LR, ENDED_WELL, forget_spent
from wsproxy._fast.tell.mask cimport (
    AS_TEXT, IS_HIDDEN, IS_SESSION, MOST_VALUE, SessionNames, Telling, put_address, put_escaped, put_query, put_request_line,
    put_value, rule_of,
)
from wsproxy._fast.tell.pieces cimport PIECE, put_hex, put_number, put_piece

log = logging.getLogger("wsproxy.access")

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <time.h>

    /* Whether these are the same but for the case of letters; `letters` has 0x20 at each of them. Eight bytes at a step. */
    static inline int ws_is_named(const char *data, const char *lower, const char *letters, size_t length) {
        uint64_t sought, mask, found;
        size_t i;
        for (i = 0; i + 8 <= length; i += 8) {
            memcpy(&found, data + i, 8);
            memcpy(&sought, lower + i, 8);
            memcpy(&mask, letters + i, 8);
            if ((found | mask) != sought) return 0;
        }
        for (; i < length; i++) {
            if ((data[i] | letters[i]) != lower[i]) return 0;
        }
        return 1;
    }

    static inline int64_t ws_wall_seconds(void) { return (int64_t)time(NULL); }

    /* [10/Oct/2000:13:55:36 -0700]; strftime would ask the locale for the names. */
    static inline int ws_put_stamp(char *out, size_t size, int64_t seconds) {
        static const char months[12][4] = {
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
        };
        struct tm t;
        time_t when = (time_t)seconds;
        long zone;
        localtime_r(&when, &t);
        zone = t.tm_gmtoff < 0 ? -t.tm_gmtoff : t.tm_gmtoff;
        return snprintf(out, size, "[%02d/%s/%04d:%02d:%02d:%02d %c%02ld%02ld]", t.tm_mday, months[t.tm_mon % 12],
                        t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec, t.tm_gmtoff < 0 ? '-' : '+', zone / 3600,
                        zone / 60 % 60);
    }

    /* 2000-10-10T20:55:36.123Z */
    static inline int ws_put_utc(char *out, size_t size) {
        struct timespec now;
        struct tm t;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &t);
        return snprintf(out, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
                        t.tm_hour, t.tm_min, t.tm_sec, now.tv_nsec / 1000000);
    }
    """
    bint ws_is_named(const char* data, const char* lower, const char* letters, size_t length) noexcept nogil
    int64_t ws_wall_seconds() noexcept nogil
    int ws_put_stamp(char* out, size_t size, int64_t seconds) noexcept nogil
    int ws_put_utc(char* out, size_t size) noexcept nogil

cdef enum:
    # Lines are handed on when so much has come together: about a thousand, one write for all of them.
    BLOCK = 1 << 18
    # Entries that are kept for the next requests, as many as one worker often has at once ...
    MOST_SPARES = 256
    # ... each with so much memory: long lines are rare.
    MOST_SPARE_TEXT = 4096


cdef int end_string(Buffer* out, Py_ssize_t begin) except -1:
    """
    Makes a JSON string of what stands behind ``begin``, where its quotation mark is; null of the dash for what is not there.

    It was escaped as httpd does it, and nearly all of that is JSON's: only \\v and \\xhh are not.
    """
    cdef Buffer text
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t length = out.length - begin - 1
    cdef const char* p = out.data + begin + 1
    if length == 1 and p[0] == c"-":
        out.length = begin
        return buffer_append(out, "null", 4)
    if memchr(p, c"\\", length) == NULL:
        return buffer_append(out, '"', 1)
    memset(&text, 0, sizeof(Buffer))
    try:
        buffer_append(&text, p, length)
        out.length = begin + 1
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
    return buffer_append(out, '"', 1)


cdef class AccessLog:
    """
    One worker's lines; ``on_block(lines, count)`` gets them when a block is full, and with every ``flush``.

    ``only``: flags of ``Only``, lines of which one is true are written, 0 all; ``slow_us``: from when a request is slow.
    ``json``: what is no number is a JSON string, or null where it is not there; texts between are as they are.
    """

    def __cinit__(
        self, list items not None, object on_block not None, SessionNames names not None=SessionNames(), *,
        bint masks=True, bint json=False, int only=0, int64_t slow_us=0,
    ):
        cdef Part* part
        cdef bytes name
        cdef bytes between = b""
        if len(items) > MOST_PARTS:
            raise ValueError(f"found {len(items)} parts in an access log's format; allowed are {MOST_PARTS}")
        late = sum(kind >= STATUS for kind, _ in items)
        if late > MOST_LATE:
            raise ValueError(f"found {late} parts about the answer in an access log's format; allowed are {MOST_LATE}")
        self.kept = []
        self.cookies = []
        self.masks = masks
        self.json = json
        self.only = only
        self.slow_us = slow_us
        self.on_block = on_block
        self.second = -1
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
            between = b""
            if kind == REQUEST_ID and part.quoted:  # nothing in it is escaped
                part.quoted = False
                between = b'"'
            self.cookies.append(name if kind == COOKIE else None)
            if kind >= STATUS:
                self.late[self.late_count] = self.count
                self.late_count += 1
            self.count += 1
        between += b"\n"
        self.after = self.keep(between)
        self.after_len = len(between)
        self.take_names(names)

    cdef const char* keep(self, bytes text) except NULL:
        """A text that stays where it is as long as the log does, for ``put_piece``."""
        cdef bytes kept = text + bytes(PIECE)
        self.kept.append(kept)
        return <const char*>kept

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

    def __dealloc__(self):
        cdef Entry* entry
        while self.spare != NULL:
            entry = self.spare
            self.spare = entry.next
            buffer_clear(&entry.text)
            free(entry)
        buffer_clear(&self.block)

    def flush(self) -> None:
        """Hands on the lines that are there."""
        cdef bytes data
        cdef int lines = self.lines
        if not lines:
            return
        data = self.block.data[:self.block.length]
        self.lines = 0
        if self.block.capacity > 2 * BLOCK:
            buffer_clear(&self.block)
        self.block.length = 0
        try:
            self.on_block(data, lines)
        except Exception:
            log.exception("internal error: %d lines of the access log are lost", lines)

    def line_of(self, bytes data not None, bytes peer not None=b"192.0.2.1", *, int64_t given=0) -> bytes:
        """The line of this request, or of what is none, answered by nobody with 200 and so many bytes; for tests."""
        cdef ExactCopy copy = ExactCopy(data)
        cdef Limits limits = Limits(1 << 20, 65536, MAX_FIELDS, True, False)
        cdef RequestHead head
        cdef Origin origin
        cdef Entry* entry
        cdef bint is_whole = parse_request(copy.at, copy.length, &limits, &head) > 0
        memset(&origin, 0, sizeof(origin))
        origin.peer = <const char*>peer
        origin.peer_len = len(peer)
        origin.local_host = <const char*>peer
        origin.local_host_len = len(peer)
        entry = self.begin(&head if is_whole else NULL, copy.at, copy.length, &origin, 80, self.lines, self.names)
        entry.given = 0
        entry.began_us = entry.ending.over_us = ws_now_us()
        entry.ending.status = 200
        entry.ending.given = given
        entry.ending.connection = c"+"
        entry.ending.cause = ENDED_WELL
        forget_spent(&entry.ending.spent)
        self.end(entry)
        line = self.block.data[:self.block.length]
        self.block.length = 0
        return line

    # --- entries ------------------------------------------------------------------------------------------------------

    cdef Entry* take(self) except NULL:
        cdef Entry* entry = self.spare
        if entry != NULL:
            self.spare = entry.next
            self.spares -= 1
            entry.text.length = 0
        else:
            entry = <Entry*>calloc(1, sizeof(Entry))
            if entry == NULL:
                raise MemoryError
        entry.status = 0
        entry.server_len = 0
        entry.server_name = entry.cluster_name = NULL
        memset(&entry.ending, 0, sizeof(Ending))
        return entry

    cdef void forget(self, Entry* entry) noexcept:
        """The entry is not used any more, and leaves no line unless it was ended."""
        if entry.text.capacity > MOST_SPARE_TEXT:
            buffer_clear(&entry.text)
        if self.spares >= MOST_SPARES:
            buffer_clear(&entry.text)
            free(entry)
            return
        entry.next = self.spare
        self.spare = entry
        self.spares += 1

    cdef Entry* begin(
        self, RequestHead* head, const char* data, Py_ssize_t length, Origin* origin, int port, int64_t number,
        SessionNames names,
    ) except NULL:
        cdef Entry* entry
        cdef Buffer* out
        cdef Part* part
        cdef const char* line_end
        cdef char utc[64]
        cdef Py_ssize_t before
        cdef int i
        cdef int kind
        cdef int late = 0
        if names is not self.names:
            self.take_names(names)
        entry = self.take()
        out = &entry.text
        line_end = <const char*>memchr(data, c"\n", length) if length else NULL
        if line_end != NULL:
            length = line_end - data
            if length and data[length - 1] == c"\r":
                length -= 1
        length = min(length, MOST_VALUE)
        try:
            for i in range(self.count):
                part = &self.parts[i]
                kind = part.kind
                if kind >= STATUS:
                    entry.ends[late] = out.length
                    late += 1
                    continue
                put_piece(out, part.before, part.before_len)
                before = out.length
                if kind == REQUEST_LINE:
                    if length == 0:
                        buffer_append(out, "-", 1)
                    else:
                        put_request_line(out, data, length, self.names, &self.telling)
                elif kind == TIME:
                    self.put_time(out)
                elif kind == STAMP:
                    buffer_append(out, utc, ws_put_utc(utc, sizeof(utc)))
                elif kind == REQUEST_ID:
                    put_hex(out, <uint32_t>(number & 0xFFFFFFFF))
                elif kind == PORT:
                    put_number(out, port)
                else:
                    self.put_early(out, part, head, origin)
                if part.quoted:
                    end_string(out, before - 1)
        except BaseException:
            self.forget(entry)
            raise
        return entry

    cdef int put_time(self, Buffer* out) except -1:
        cdef int64_t now
        cdef char utc[64]
        if self.json:
            return buffer_append(out, utc, ws_put_utc(utc, sizeof(utc)))
        now = ws_wall_seconds()
        if now != self.second:
            self.second = now
            self.stamp_len = ws_put_stamp(self.stamp, sizeof(self.stamp), now)
        return buffer_append(out, self.stamp, self.stamp_len)

    cdef int put_early(self, Buffer* out, Part* part, RequestHead* head, Origin* origin) except -1:
        cdef Py_ssize_t before = out.length
        cdef const char* host
        cdef Py_ssize_t host_len
        if part.kind == ADDRESS:
            host = client_of(origin, &host_len)
            put_escaped(out, host, host_len)
        elif part.kind == LOCAL_ADDRESS:
            put_escaped(out, origin.local_host, origin.local_host_len)
        elif part.kind == HOST:
            host = head.host if head != NULL and head.host != NULL else origin.local_host
            host_len = head.host_len if head != NULL and head.host != NULL else origin.local_host_len
            host_len = min(host_len, MOST_VALUE)
            if host_len and memchr(host, c":", host_len) != NULL:
                buffer_append(out, "[", 1)
                put_escaped(out, host, host_len)
                buffer_append(out, "]", 1)
            else:
                put_escaped(out, host, host_len)
        elif head == NULL:
            pass  # the rest stands in a head
        elif part.kind == METHOD:
            put_escaped(out, head.method, head.method_len)
        elif part.kind == PATH:
            put_address(out, head.target, min(head.path_len, MOST_VALUE), self.names, &self.telling)
        elif part.kind == QUERY:
            put_query(
                out, head.target + head.path_len, min(head.target_len - head.path_len, MOST_VALUE), self.names, &self.telling
            )
            if out.length == before:
                return 0  # it stands behind the path
        elif part.kind == PROTOCOL:
            buffer_append(out, "HTTP/1.1" if head.minor else "HTTP/1.0", 8)
        elif part.kind == FIELD:
            self.put_field(out, part, &head.fields)
        elif part.kind == COOKIE:
            self.put_cookie(out, part, &head.fields)
        return buffer_append(out, "-", 1) if out.length == before else 0

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
            put_value(out, field.value, length, part.rule, self.names, &self.telling)
        return 0

    cdef int put_cookie(self, Buffer* out, Part* part, Fields* fields) except -1:
        """The first cookie of the name; a session's as ``affinity`` reads it, another one as httpd does."""
        cdef const char* p
        cdef const char* value
        cdef const char* end
        cdef const char* last
        cdef int i
        for i in range(fields.count):
            if fields.at[i].kind != FIELD_COOKIE:
                continue
            p = fields.at[i].value
            end = p + fields.at[i].value_len
            if part.has_session:
                if not next_cookie(&p, end, part.name, part.name_len, &value, &last):
                    continue
                last = min(last, value + MOST_VALUE)
                return 0 if value == last else put_value(
                    out, value, last - value, part.rule, self.names, &self.telling
                )
            while p < end:
                while p < end and (p[0] == c" " or p[0] == c"\t" or p[0] == c";"):
                    p += 1
                last = <const char*>memchr(p, c";", end - p) if p < end else NULL
                if last == NULL:
                    last = end
                if last - p > part.name_len and p[part.name_len] == c"=" and memcmp(p, part.name, part.name_len) == 0:
                    p += part.name_len + 1
                    while last > p and ((last - 1)[0] == c" " or (last - 1)[0] == c"\t"):
                        last -= 1
                    if p == last:
                        return 0
                    if last - p > MOST_VALUE:
                        last = p + MOST_VALUE
                    return put_value(out, p, last - p, part.rule, self.names, &self.telling)
                p = last
        return 0

    cdef bint is_wanted(self, Entry* entry) noexcept:
        """Whether the line is one of those that are written."""
        cdef Ending* ending = &entry.ending
        if self.only & ONLY_FAILED and (
            ending.status >= 500 or ending.connection == c"X" or ending.cause != ENDED_WELL and ending.cause != ENDED_LR
        ):
            return True
        if self.only & ONLY_SLOW and ending.over_us - entry.began_us >= self.slow_us:
            return True
        return self.only & ONLY_RETRIED and ending.tried > 1

    cdef int end(self, Entry* entry) except -1:
        cdef Buffer* out = &self.block
        cdef Buffer* text = &entry.text
        cdef Py_ssize_t before = out.length
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t size
        cdef Part* part
        cdef int i
        if self.only and not self.is_wanted(entry):
            self.forget(entry)
            return 0
        try:
            for i in range(self.late_count):
                part = &self.parts[self.late[i]]
                size = entry.ends[i] - done
                if size:
                    if text.capacity - done >= PIECE:
                        put_piece(out, text.data + done, size)
                    else:
                        buffer_append(out, text.data + done, size)
                    done += size
                put_piece(out, part.before, part.before_len)
                self.put_late(out, part, entry)
            buffer_append(out, text.data + done, text.length - done)
            put_piece(out, self.after, self.after_len)
            self.lines += 1
        except BaseException:
            out.length = before  # half a line would spoil the next one
            raise
        finally:
            self.forget(entry)
        if out.length >= BLOCK:
            self.flush()
        return 0

    cdef int put_late(self, Buffer* out, Part* part, Entry* entry) except -1:
        cdef Ending* ending = &entry.ending
        cdef int kind = part.kind
        cdef int64_t number = 0
        if kind == SERVER or SERVER_NAME <= kind <= CLUSTER or kind == CONNECTION or kind == RULE or kind == CAUSE:
            return self.put_word(out, part, entry)
        if kind == STATUS:
            number = ending.status
        elif kind == BODY_BYTES:
            number = ending.given - entry.body_from if entry.status else 0
            if number <= 0 and part.dash:
                return buffer_append(out, "-", 1)
        elif kind == ALL_BYTES:
            number = ending.given - entry.given
        elif kind == TRIES:
            number = ending.tried
        elif kind == ROUTE or kind >= RECEIVE_TIME:
            if kind == ROUTE:
                number = ending.route or -1
            else:
                number = (&ending.spent.receive_us)[kind - <int>RECEIVE_TIME]
            if number < 0:
                return buffer_append(out, "null", 4) if self.json else buffer_append(out, "-", 1)
            if part.in_ms:
                number //= 1000
        else:
            number = ending.over_us - entry.began_us
            if kind == MILLISECONDS:
                number //= 1000
            elif kind == SECONDS:
                number //= 1000000
        return put_number(out, number)

    cdef int put_word(self, Buffer* out, Part* part, Entry* entry) except -1:
        """A late item that is no number."""
        cdef Ending* ending = &entry.ending
        cdef Py_ssize_t before = out.length
        cdef char letters[2]
        if self.json:
            buffer_append(out, '"', 1)
        if part.kind == SERVER:
            put_escaped(out, entry.server, entry.server_len)
        elif part.kind == CAUSE:
            letters[0] = <char>(ending.cause >> 8)
            letters[1] = <char>(ending.cause & 0xFF)
            buffer_append(out, letters, 2)
        elif part.kind == RULE:
            if ending.by != BY_NOBODY:
                if ending.unmet:
                    buffer_append(out, "failover/", 9)
                buffer_append(out, word_of_rule(ending.by), strlen(word_of_rule(ending.by)))
        elif part.kind == CONNECTION:
            if not self.json:
                buffer_append(out, &ending.connection, 1)
            elif ending.connection == c"X":
                buffer_append(out, "cut", 3)
            elif ending.connection == c"+":
                buffer_append(out, "kept", 4)
            else:
                buffer_append(out, "closed", 6)
        elif part.kind == SERVER_NAME and entry.server_name != NULL:
            put_escaped(out, entry.server_name, strlen(entry.server_name))
        elif part.kind == CLUSTER and entry.cluster_name != NULL:
            put_escaped(out, entry.cluster_name, strlen(entry.cluster_name))
        if not self.json:
            return buffer_append(out, "-", 1) if out.length == before else 0
        if out.length == before + 1:
            out.length = before
            return buffer_append(out, "null", 4)
        return buffer_append(out, '"', 1) if part.kind == CAUSE else end_string(out, before)
