"""
The access log of one worker: a line for each request, made of a format and gathered until a block of them is handed on.

Begun and ended by ``course``; made by ``logs.access_writer``, whose file takes the blocks. What of a line only the request
knows is written when its head is here, because the head's memory is used again; the rest when the exchange is over. In the
common case nothing is allocated: entries and their memory go from request to request. Must not wait, and must not decide.
"""

import logging

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strlen
from wsproxy._fast.base.buffer cimport Buffer, buffer_clear
from wsproxy._fast.base.clock cimport ws_now_us
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.decide.decide cimport BY_NOBODY, word_of_rule
from wsproxy._fast.http.fields cimport MAX_FIELDS, Limits
from wsproxy._fast.http.head cimport RequestHead, parse_request
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.tell.access_parts cimport (
    ALL_BYTES, BODY_BYTES, CAUSE, CLUSTER, CONNECTION, MICROSECONDS, MILLISECONDS, RECEIVE_TIME, ROUTE, RULE, SECONDS,
    SERVER, SERVER_NAME, STATUS, TRIES, Asked, Part, to_json,
)
from wsproxy._fast.tell.ended cimport ENDED_LR, ENDED_WELL, forget_spent
from wsproxy._fast.tell.mask cimport SessionNames, put_escaped
from wsproxy._fast.tell.pieces cimport (
    end_string, put_absent, room, ws_put_long, ws_put_number, ws_put_short, ws_put_text,
)
from wsproxy._fast.tell.scan cimport WS_ESCAPED, is_short_and_plain, ws_choose_way, ws_copy_looking

log = logging.getLogger("wsproxy.access")

cdef enum:
    # Lines are handed on when so much has come together, some hundred: the next ones go where a near cache still has these.
    BLOCK = 96 << 10
    # Entries that are kept for the next requests, as many as one worker often has at once ...
    MOST_SPARES = 256
    # ... each with so much memory for values: long lines are rare.
    MOST_SPARE_TEXT = 4096
    # A copy that is longer is worth a call.
    SHORT = 512

ws_choose_way(True)


cdef inline char* put_part(char* at, Buffer* text, Py_ssize_t begin, Py_ssize_t end) noexcept:
    """What of the line was written when the request began; PIECES bytes can be read behind it."""
    if end == begin:
        return at
    if end - begin > SHORT:
        memcpy(at, text.data + begin, end - begin)
        return at + (end - begin)
    return ws_put_long(at, text.data + begin, end - begin)


cdef class AccessLog(AccessParts):
    """
    One worker's lines; ``on_block(lines, count)`` gets them when a block is full, and with every ``flush``.

    ``only``: flags of ``Only``, lines of which one is true are written, 0 all; ``slow_us``: from when a request is slow.
    ``json``: what is no number is a JSON string, or null where it is not there; texts between are as they are.
    """

    def __cinit__(self, list items, object on_block not None, names=None, *, int only=0, int64_t slow_us=0, **more):
        self.only = only
        self.slow_us = slow_us
        self.on_block = on_block

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

    def line_of(
        self, bytes data not None, bytes peer not None=b"192.0.2.1", *, int64_t given=0, bytes server not None=b"",
        bint knows_plain=False,
    ) -> bytes:
        """
        The line of this request, or of what is none, answered with 200 and so many bytes; for tests.

        ``knows_plain``: as a connection does it, which looks once whether the client's and the server's address are plain.
        """
        cdef ExactCopy copy = ExactCopy(data)
        cdef ExactCopy client = ExactCopy(peer)
        cdef ExactCopy host = ExactCopy(server)
        cdef Limits limits = Limits(1 << 20, 65536, MAX_FIELDS, True, False)
        cdef RequestHead head
        cdef Origin origin
        cdef Asked asked
        cdef Entry* entry
        cdef bint is_whole = parse_request(copy.at, copy.length, &limits, &head) > 0
        memset(&origin, 0, sizeof(origin))
        origin.peer = origin.local_host = client.at
        origin.peer_len = origin.local_host_len = client.length
        origin.peer_is_plain = knows_plain and is_short_and_plain(client.at, client.length)
        asked.head = &head if is_whole else NULL
        asked.data = copy.at
        asked.length = copy.length
        asked.origin = &origin
        asked.port = 80
        asked.number = self.lines
        asked.known = NULL
        entry = self.begin(&asked, self.names)
        entry.server = host.at
        entry.server_len = host.length
        entry.server_is_plain = knows_plain and is_short_and_plain(host.at, host.length)
        entry.given = entry.body_from = 0
        entry.ending.tried = entry.ending.route = 0
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

    cdef Entry* make_spare(self) except NULL:
        """There is one more."""
        cdef Entry* entry = <Entry*>calloc(1, sizeof(Entry))
        if entry == NULL:
            raise MemoryError
        entry.next = self.spare
        self.spare = entry
        self.spares += 1
        return entry

    cdef void forget(self, Entry* entry) noexcept:
        """The entry is not used any more, and leaves no line unless it was ended."""
        if entry.text.capacity > MOST_SPARE_TEXT + self.early_room:
            buffer_clear(&entry.text)
        if self.spares >= MOST_SPARES:
            buffer_clear(&entry.text)
            free(entry)
            return
        entry.next = self.spare
        self.spare = entry
        self.spares += 1

    cdef Entry* begin(self, Asked* asked, SessionNames names) except NULL:
        cdef Entry* entry = self.spare
        if names is not self.names:
            self.take_names(names)
        if entry == NULL:
            entry = self.make_spare()
        if self.asks_head:
            self.find_fields(asked.head)
        entry.text.length = self.put_early(&entry.text, entry.cuts, asked)
        # It stays a spare one until nothing can fail.
        self.spare = entry.next
        self.spares -= 1
        entry.status = 0
        entry.server_len = 0
        entry.server = entry.server_name = entry.cluster_name = NULL
        entry.ending.by = BY_NOBODY
        entry.ending.unmet = False
        return entry

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
        cdef char* at
        if self.only and not self.is_wanted(entry):
            self.forget(entry)
            return 0
        try:
            at = self.put_late(out, entry)
        finally:
            self.forget(entry)
        out.length = at - out.data  # half a line would spoil the next one
        self.lines += 1
        if out.length >= BLOCK:
            self.flush()
        return 0

    cdef char* put_late(self, Buffer* out, Entry* entry) except NULL:
        """The line at the end of those that are whole; where there is no room for it, nothing of it is there."""
        cdef Buffer* text = &entry.text
        cdef Ending* ending = &entry.ending
        cdef Py_ssize_t needed = self.late_room + text.length
        # The first one makes room for all that are handed on at once.
        cdef char* at = room(out, out.data + out.length, needed if out.data != NULL else needed + BLOCK)
        cdef Py_ssize_t done = 0
        cdef Py_ssize_t* cut = entry.cuts
        cdef Part* part
        cdef int i, kind
        cdef int64_t number
        for i in range(self.late_count):
            part = self.late[i]
            kind = part.kind
            if part.is_cut:
                at = put_part(at, text, done, cut[0])
                done = cut[0]
                cut += 1
            at = ws_put_text(at, part.before, part.before_len)
            if kind == STATUS:
                number = ending.status
            elif kind == BODY_BYTES:
                number = ending.given - entry.body_from if entry.status else 0
                if number <= 0 and part.dash:
                    at[0] = c"-"
                    at += 1
                    continue
            elif kind == MICROSECONDS:
                number = ending.over_us - entry.began_us
            elif kind == SERVER:
                if entry.server_is_plain and entry.server_len and not self.json:
                    at = ws_put_short(at, entry.server, entry.server_len)
                else:
                    at = self.put_name(out, at, entry.server, entry.server_len, needed)
                continue
            elif kind == TRIES:
                number = ending.tried
            elif kind == ROUTE:
                number = ending.route
                if number <= 0:
                    at = put_absent(at, self.json)
                    continue
            elif kind == ALL_BYTES:
                number = ending.given - entry.given
            elif kind == MILLISECONDS:
                number = (ending.over_us - entry.began_us) // 1000
            elif kind == SECONDS:
                number = (ending.over_us - entry.began_us) // 1000000
            elif kind == SERVER_NAME:
                at = self.put_name(
                    out, at, entry.server_name, strlen(entry.server_name) if entry.server_name != NULL else 0, needed
                )
                continue
            elif kind == CLUSTER:
                at = self.put_name(
                    out, at, entry.cluster_name, strlen(entry.cluster_name) if entry.cluster_name != NULL else 0, needed
                )
                continue
            elif kind == CONNECTION or kind == RULE or kind == CAUSE:
                at = self.put_word(at, kind, ending)
                continue
            else:  # a time of `spent`
                number = (&ending.spent.receive_us)[kind - <int>RECEIVE_TIME]
                if number < 0:
                    at = put_absent(at, self.json)
                    continue
                if part.in_ms:
                    number //= 1000
            at = ws_put_number(at, number)
        at = put_part(at, text, done, text.length)
        return ws_put_text(at, self.after, self.after_len)

    cdef char* put_name(self, Buffer* out, char* at, const char* name, Py_ssize_t size, Py_ssize_t needed) except NULL:
        """A name of ours; behind it there is as much room as there was."""
        cdef Py_ssize_t length = out.length
        cdef Py_ssize_t before
        if size == 0:
            return put_absent(at, self.json)
        at = room(out, at, size + needed)
        if self.json:
            at[0] = c'"'
            at += 1
        if not ws_copy_looking(at, name, size) & WS_ESCAPED:
            at += size
            return end_string(at, at - size) if self.json else at
        before = at - out.data
        out.length = before
        try:
            put_escaped(out, name, size)
            if self.json:
                to_json(out, before)
            at = room(out, out.data + out.length, needed)
        finally:
            out.length = length
        return end_string(at, out.data + before) if self.json else at

    cdef char* put_word(self, char* at, int kind, Ending* ending) noexcept:
        """A late part that is one of a few words."""
        cdef const char* word
        if kind == CONNECTION and not self.json:
            at[0] = ending.connection
            return at + 1
        if kind == RULE and ending.by == BY_NOBODY:
            return put_absent(at, self.json)
        if self.json:
            at[0] = c'"'
            at += 1
        if kind == CAUSE:
            at[0] = <char>(ending.cause >> 8)
            at[1] = <char>(ending.cause & 0xFF)
            at += 2
        elif kind == RULE:
            if ending.unmet:
                memcpy(at, "failover/", 9)
                at += 9
            word = word_of_rule(ending.by)
            memcpy(at, word, strlen(word))
            at += strlen(word)
        elif ending.connection == c"X":
            memcpy(at, "cut", 3)
            at += 3
        elif ending.connection == c"+":
            memcpy(at, "kept", 4)
            at += 4
        else:
            memcpy(at, "closed", 6)
            at += 6
        if self.json:
            at[0] = c'"'  # of no cause null is made: "--" stands for itself
            at += 1
        return at
