"""
Splits http_plugin.log into lines and finds stamp, pid, tid, level and kind of message in each (PLUGIN.md 7.1).

Driven by ``logs.plugin_reader`` with blocks of a file. Must not judge what a message says: it compares beginnings. No line is
lost: what is no record is given back whole, as FOREIGN.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy
from wsproxy._fast.base.chars cimport is_blank, is_digit
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.tell.witness cimport (
    BLANK, DEBUG, DETAIL, ERROR, FOREIGN, NO_LEVEL, OTHER_LEVEL, PLUGIN, STATS, TRACE, WARNING,
)

cdef enum:
    # A line without end is cut here: real ones end with a cookie or a URI, which have 16 KiB each at most.
    MOST_LINE = 1048576
    # Characters of a stamp up to the second: `[Wed Oct 03 22:18:41 2012` and `[29/Jul/2014:11:28:47`.
    OLD_STAMP = 25
    NEW_STAMP = 21
    # Header lines are written with four blanks behind the level, of which the first is the level's.
    HEADER_BLANKS = 2
    # pid and tid are written with as many digits as the system's tid has; 64 bits are 16.
    MOST_HEX = 16

cdef extern from *:
    """
    #include <string.h>
    static inline const char *ws_last_newline(const char *p, size_t n) { return (const char *)memrchr(p, '\\n', n); }
    """
    const char* ws_last_newline(const char* p, size_t length) noexcept nogil


cdef inline bint is_word(char c) noexcept nogil:
    return is_digit(c) or c"a" <= (c | 0x20) <= c"z" or c == c"_"


cdef inline int two_digits(const char* p) noexcept nogil:
    """-1: none stand there. ctime pads a day with a blank."""
    if not is_digit(p[1]) or not (is_digit(p[0]) or p[0] == c" "):
        return -1
    return (p[0] & 15) * 10 + (p[1] & 15)


cdef int month_of(const char* p) noexcept nogil:
    """1 to 12; 0: no month."""
    cdef const char* names = "JanFebMarAprMayJunJulAugSepOctNovDec"
    cdef int month
    for month in range(12):
        if memcmp(p, names + 3 * month, 3) == 0:
            return month + 1
    return 0


cdef int64_t seconds_of(int year, int month, int day, int hour, int minute, int second) noexcept nogil:
    """Since 1970, by the civil calendar; -1 for what is no date."""
    cdef int64_t era, year_of_era, day_of_year
    if not 1 <= day <= 31 or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 60 or year < 1970:
        return -1
    if month <= 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return (
        era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
    ) * 86400 + hour * 3600 + minute * 60 + second


cdef int64_t read_clock(const char* p, int year, int month, int day) noexcept nogil:
    """``HH:MM:SS`` of that day, in seconds."""
    if p[2] != c":" or p[5] != c":" or month == 0 or two_digits(p) < 0 or two_digits(p + 3) < 0 or two_digits(p + 6) < 0:
        return -1
    return seconds_of(year, month, day, two_digits(p), two_digits(p + 3), two_digits(p + 6))


cdef int year_of(const char* p) noexcept nogil:
    cdef int i
    for i in range(4):
        if not is_digit(p[i]):
            return 0
    return two_digits(p) * 100 + two_digits(p + 2)


cdef Py_ssize_t read_hex(const char* p, const char* end, uint64_t* out) noexcept nogil:
    """Length of the number at ``p``; 0 none."""
    cdef Py_ssize_t length = 0
    cdef char c
    out[0] = 0
    while p + length < end and length < MOST_HEX:
        c = p[length]
        if is_digit(c):
            out[0] = out[0] << 4 | <uint64_t>(c & 15)
        elif c"a" <= (c | 0x20) <= c"f":
            out[0] = out[0] << 4 | <uint64_t>((c & 15) + 9)
        else:
            break
        length += 1
    return length


cdef inline const char* skip_blanks(const char* p, const char* end) noexcept nogil:
    while p < end and is_blank(p[0]):
        p += 1
    return p


cdef inline bint begins(const char* p, const char* end, const char* word, Py_ssize_t length) noexcept nogil:
    return end - p >= length and memcmp(p, word, length) == 0


cdef int level_of(const char* p, Py_ssize_t length) noexcept nogil:
    """Of a word of upper-case letters; FOREIGN: it is none."""
    cdef const char* end = p + length
    if length == 4 and begins(p, end, "INFO", 4):
        return OTHER_LEVEL
    if length == 5:
        if begins(p, end, "ERROR", 5):
            return ERROR
        if begins(p, end, "STATS", 5):
            return STATS
        if begins(p, end, "DEBUG", 5):
            return DEBUG
        if begins(p, end, "TRACE", 5):
            return TRACE
    if length == 6:
        if begins(p, end, "DETAIL", 6):
            return DETAIL
        if begins(p, end, "PLUGIN", 6):
            return PLUGIN
    if length == 4 and begins(p, end, "WARN", 4) or length == 7 and begins(p, end, "WARNING", 7):
        return WARNING
    return FOREIGN


cdef Py_ssize_t read_level(const char* p, const char* end, int* level) noexcept nogil:
    """Length of ``LEVEL:`` and one blank; 0: it stands not there."""
    cdef Py_ssize_t length = 0
    while p + length < end and c"A" <= p[length] <= c"Z" and length < 16:
        length += 1
    if length == 0 or p + length >= end or p[length] != c":":
        return 0
    level[0] = level_of(p, length)
    length += 1
    if p + length < end and is_blank(p[length]):
        length += 1
    return length


cdef bint is_component(const char* p, Py_ssize_t length) noexcept nogil:
    """Whether a line without stamp and level may begin with this word."""
    cdef const char* end = p + length
    return (
        begins(p, end, "ws_", 3) or begins(p, end, "lib_", 4) or begins(p, end, "as_", 3) or begins(p, end, "mod_was", 7)
        or length == 3 and begins(p, end, "ESI", 3)
    )


@cython.no_gc     # no cycle is possible, and there are a million of them
cdef class LogLine:
    """One line, or one of the records that stand glued in a line; ``text`` is a copy."""


cdef class LineScanner:
    """
    Takes a file block by block.

    ``shapes``: (function, beginning of the message, code) of the messages that are wanted; a function of ``b""`` stands for
    lines without component. ``wanted_only``: records with code 0 and blank lines are counted and left out.
    """

    def __cinit__(self, list shapes not None, *, bint wanted_only=False):
        cdef int index, bucket
        cdef bytes function, begin
        self.shape_count = len(shapes)
        self.shapes = <Shape*>PyMem_Malloc(max(1, self.shape_count) * sizeof(Shape))
        if self.shapes == NULL:
            raise MemoryError
        self.keep = list(shapes)
        self.wanted_only = wanted_only
        self.rest = b""
        self.day_len = 0
        self.left_text = NULL
        for index in range(256):
            self.buckets[index] = -1
        for index in range(self.shape_count - 1, -1, -1):
            function, begin, code = self.keep[index]
            if code <= 0:
                raise ValueError(f"found code {code}; allowed is above 0")
            self.shapes[index].function = <const char*>function
            self.shapes[index].function_len = len(function)
            self.shapes[index].begin = <const char*>begin
            self.shapes[index].begin_len = len(begin)
            self.shapes[index].code = code
            bucket = bucket_of(<const char*>function, len(function))
            self.shapes[index].next = self.buckets[bucket]
            self.buckets[bucket] = index

    def __dealloc__(self):
        PyMem_Free(self.shapes)

    def feed(self, bytes data not None) -> list[LogLine]:
        """The lines that end in ``data``."""
        cdef list out = []
        cdef const char* p
        cdef const char* newline
        cdef Py_ssize_t length
        if self.rest:
            data = self.rest + data
        p = <const char*>data
        length = len(data)
        newline = ws_last_newline(p, length)
        if newline == NULL and length <= MOST_LINE:
            self.rest = data
            return out
        self.rest = b"" if newline == NULL else p[newline + 1 - p:length]
        if len(self.rest) > MOST_LINE:
            newline = NULL
            self.rest = b""
        self.scan(p, p + length if newline == NULL else newline + 1, out)
        return out

    def end(self) -> list[LogLine]:
        """The last line of a file, where it has no newline."""
        cdef list out = []
        cdef bytes data = self.rest
        self.rest = b""
        if data:
            self.scan(<const char*>data, <const char*>data + len(data), out)
        return out

    def restart(self) -> None:
        """Line numbers begin at 1 again: another file."""
        self.lines = 0
        self.rest = b""

    def join(self, LogLine line not None, bytes more not None) -> LogLine:
        """``line`` continued by what follows it on the next line; a FOREIGN one is read anew."""
        cdef bytes text = line.text + b" " + more
        cdef const char* p = <const char*>text
        cdef const char* end = p + len(text)
        cdef Prefix prefix
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t length = 0
        cdef int code
        prefix.time_us = line.time_us
        prefix.pid = line.pid
        prefix.tid = line.tid
        prefix.level = line.level
        if line.level == FOREIGN:
            length = self.read_prefix(p, end, &prefix)
            if length == 0:
                prefix.time_us = -1
                prefix.pid = prefix.tid = 0
                prefix.level = FOREIGN
                return self.make_line(line.number, &prefix, p, end, 0, 0)
        p += max(length, 0)
        code = self.classify(p, end, &at)
        return self.make_line(line.number, &prefix, p, end, code, at)

    cdef int scan(self, const char* p, const char* end, list out) except -1:
        cdef const char* newline
        cdef const char* stop
        while p < end:
            newline = <const char*>memchr(p, c"\n", end - p)
            stop = end if newline == NULL else newline
            self.lines += 1
            while stop > p and (stop - 1)[0] == c"\r":
                stop -= 1
            self.scan_line(p, stop, out)
            p = end if newline == NULL else newline + 1
        self.add_left(out)  # it points into a block that goes away
        return 0

    cdef int scan_line(self, const char* p, const char* end, list out) except -1:
        cdef Prefix prefix
        cdef const char* stop
        cdef Py_ssize_t length = self.read_prefix(p, end, &prefix)
        if length == 0:
            stop = skip_blanks(p, end)
            if stop == end:
                self.blank += 1
                self.left_text = NULL
                if not self.wanted_only:
                    prefix.level = BLANK
                    out.append(self.make_line(self.lines, &prefix, p, end, 0, 0))
                return 0
            stop = self.find_glued(p, end)
            if stop == NULL:
                return self.add_foreign(p, end, out)
            self.add_foreign(p, stop, out)
            self.glued += 1
            p = stop
            length = self.read_prefix(p, end, &prefix)
        while True:
            p += max(length, 0)
            stop = self.find_glued(p, end)
            self.add_record(&prefix, p, end if stop == NULL else stop, out)
            if stop == NULL:
                return 0
            self.glued += 1
            p = stop
            length = self.read_prefix(p, end, &prefix)

    cdef int add_record(self, Prefix* prefix, const char* p, const char* end, list out) except -1:
        cdef Py_ssize_t at = 0
        cdef int code = self.classify(p, end, &at)
        self.records += 1
        if code == 0 and self.wanted_only:
            self.left_text = p
            self.left_len = end - p
            self.left_prefix = prefix[0]
            self.left_number = self.lines
            self.left_at = at
            return 0
        self.left_text = NULL
        out.append(self.make_line(self.lines, prefix, p, end, code, at))
        return 0

    cdef int add_foreign(self, const char* p, const char* end, list out) except -1:
        cdef Prefix prefix
        self.add_left(out)
        self.foreign += 1
        prefix.time_us = -1
        prefix.pid = prefix.tid = 0
        prefix.level = FOREIGN
        out.append(self.make_line(self.lines, &prefix, p, end, 0, 0))
        return 0

    cdef int add_left(self, list out) except -1:
        """The record that was left out before a line that may continue it."""
        if self.left_text != NULL:
            out.append(
                self.make_line(
                    self.left_number, &self.left_prefix, self.left_text, self.left_text + self.left_len, 0, self.left_at
                )
            )
            self.left_text = NULL
        return 0

    cdef LogLine make_line(
        self, int64_t number, Prefix* prefix, const char* p, const char* end, int code, Py_ssize_t at
    ):
        cdef LogLine line = LogLine.__new__(LogLine)
        if self.last_key is None or prefix.pid != self.last_pid or prefix.tid != self.last_tid:
            self.last_pid = prefix.pid
            self.last_tid = prefix.tid
            self.last_key = (prefix.pid, prefix.tid)
        line.number = number
        line.time_us = prefix.time_us
        line.pid = prefix.pid
        line.tid = prefix.tid
        line.key = self.last_key
        line.level = prefix.level
        line.code = code
        line.at = at
        line.text = p[:end - p]
        return line

    cdef Py_ssize_t read_prefix(self, const char* p, const char* end, Prefix* out) noexcept nogil:
        """Bytes up to the text of a record; 0: no record begins here, -1: one does, with its text."""
        cdef const char* start = p
        cdef const char* word
        cdef Py_ssize_t length
        out.time_us = -1
        out.pid = 0
        out.tid = 0
        out.level = NO_LEVEL
        if p == end:
            return 0
        if p[0] != c"[":
            length = read_level(p, end, &out.level)
            if length and out.level != FOREIGN:
                return length
            # without level: an excerpt that kept component and function only
            while p < end and is_word(p[0]):
                p += 1
            out.level = NO_LEVEL
            if not is_component(start, p - start) or not begins(p, end, ": ", 2):
                return 0
            return -1
        length = self.read_stamp(p, end, &out.time_us)
        if length == 0:
            return 0
        p = skip_blanks(p + length, end)
        word = p
        while word < end and not is_blank(word[0]) and word - p < 64:
            word += 1
        if word < end and memchr(p, c"/", word - p) != NULL:  # IBM i: jobnumber/user/job
            p = skip_blanks(word, end)
        length = read_hex(p, end, &out.pid)
        if length == 0 or p + length >= end or not is_blank(p[length]):
            return 0
        p = skip_blanks(p + length, end)
        length = read_hex(p, end, &out.tid)
        if length == 0 or p + length >= end or not is_blank(p[length]):
            return 0
        p = skip_blanks(p + length, end)
        if p >= end or p[0] != c"-":
            return 0
        p = skip_blanks(p + 1, end)
        length = read_level(p, end, &out.level)
        if length == 0:
            return 0
        if out.level == FOREIGN:
            out.level = OTHER_LEVEL
        return p + length - start

    cdef Py_ssize_t read_stamp(self, const char* p, const char* end, int64_t* time_us) noexcept nogil:
        """Bytes of ``[time]``; 0 none."""
        cdef bint is_new = end - p > NEW_STAMP and p[3] == c"/"
        cdef Py_ssize_t length = NEW_STAMP if is_new else OLD_STAMP
        cdef int64_t seconds
        cdef int scale
        if end - p <= length:
            return 0
        if length != self.day_len or memcmp(p, self.day, length) != 0:
            if is_new:
                if p[7] != c"/" or p[12] != c":" or two_digits(p + 1) < 0 or not is_digit(p[1]):
                    return 0
                seconds = read_clock(p + 13, year_of(p + 8), month_of(p + 4), two_digits(p + 1))
            else:
                if p[4] != c" " or p[8] != c" " or p[11] != c" " or p[20] != c" " or two_digits(p + 9) < 0:
                    return 0
                seconds = read_clock(p + 12, year_of(p + 21), month_of(p + 5), two_digits(p + 9))
            if seconds < 0:
                return 0
            memcpy(self.day, p, length)
            self.day_len = length
            self.day_us = seconds * 1000000
        time_us[0] = self.day_us
        if is_new and p[length] == c".":
            length += 1
            scale = 100000
            while p + length < end and is_digit(p[length]):
                time_us[0] += scale * (p[length] & 15)
                scale //= 10
                length += 1
        if p + length >= end or p[length] != c"]":
            return 0
        return length + 1

    cdef const char* find_glued(self, const char* p, const char* end) noexcept nogil:
        """Where another stamped record begins within a line; NULL none (the newline is written apart up to 8.0)."""
        cdef Prefix prefix
        while p < end:
            p = <const char*>memchr(p, c"[", end - p)
            if p == NULL:
                return NULL
            if self.read_prefix(p, end, &prefix) > 0:
                return p
            p += 1
        return NULL

    cdef int classify(self, const char* p, const char* end, Py_ssize_t* at) noexcept nogil:
        """Code of the message in this text, 0 none of the wanted; ``at``: where it begins."""
        cdef const char* start = p
        cdef const char* first
        cdef const char* second
        cdef const char* message
        cdef int code
        p = skip_blanks(p, end)
        if p - start >= HEADER_BLANKS:  # what a client or a server wrote, whatever it says
            at[0] = p - start
            return self.find_shape(p, 0, p, end)
        if p < end and p[0] == c"[":  # 9.0 puts client and path before the component of some errors
            first = <const char*>memchr(p, c"]", end - p)
            if first != NULL:
                p = skip_blanks(first + 1, end)
        first = p
        while p < end and is_word(p[0]):
            p += 1
        if p > first and begins(p, end, ": ", 2):
            second = p + 2
            message = second
            while message < end and is_word(message[0]):
                message += 1
            if message > second and message < end and message[0] == c":":
                p = skip_blanks(message + 1, end)
                code = self.find_shape(second, message - second, p, end)
                if code:
                    at[0] = p - start
                    return code
            message = skip_blanks(second, end)
            code = self.find_shape(first, (second - 2) - first, message, end)
            if code:
                at[0] = message - start
                return code
        at[0] = first - start
        return self.find_shape(first, 0, first, end)

    cdef int find_shape(
        self, const char* function, Py_ssize_t function_len, const char* message, const char* end
    ) noexcept nogil:
        cdef int index = self.buckets[bucket_of(function, function_len)]
        cdef Shape* shape
        while index >= 0:
            shape = &self.shapes[index]
            if shape.function_len == function_len and memcmp(shape.function, function, function_len) == 0:
                if begins(message, end, shape.begin, shape.begin_len):
                    return shape.code
            index = shape.next
        return 0


cdef inline int bucket_of(const char* function, Py_ssize_t length) noexcept nogil:
    cdef unsigned int h = <unsigned int>length
    cdef Py_ssize_t i
    for i in range(length):
        h = h * 31 + <unsigned char>function[i]
    return h & 255


def are_records(list lines not None) -> bool:
    """Whether each of them is a record, none foreign or blank."""
    cdef LogLine line
    for line in lines:
        if line.level <= BLANK:
            return False
    return True


def read_lines(bytes data not None, list shapes not None) -> list[LogLine]:
    """All lines of ``data``, read from memory of exactly its size; for tests."""
    cdef ExactCopy copy = ExactCopy(data)
    cdef LineScanner scanner = LineScanner(shapes)
    cdef list out = []
    scanner.scan(copy.at, copy.at + copy.length, out)
    return out
