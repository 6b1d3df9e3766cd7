"""
Reads the fields of a message of http_plugin.log that has its usual wording: by pointers, from left to right, once.

Driven by ``logs.messages``, which has the words, and ``logs.follow``. Must not guess: a message with curled quotes, more
blanks or a quote within a field is not of the usual wording; ``messages`` knows patterns for those.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t
from libc.string cimport memcmp
from wsproxy._fast.base.chars cimport is_digit, is_space
from wsproxy._fast.base.memory cimport ExactCopy

cdef enum:
    # Counters of a process that runs for years have ten.
    MOST_DIGITS = 12


cdef inline const char* read_number(const char* p, const char* end, int64_t* out) noexcept nogil:
    """Behind the number; NULL: there is none, or a longer one."""
    cdef bint negative = p < end and p[0] == c"-"
    cdef const char* first = p + negative
    cdef int64_t value = 0
    p = first
    while p < end and is_digit(p[0]):
        if p - first == MOST_DIGITS:
            return NULL
        value = value * 10 + (p[0] & 15)
        p += 1
    if p == first:
        return NULL
    out[0] = -value if negative else value
    return p


cdef class FieldReader:
    """
    One wording: ``words`` before, between and behind the fields, of which ``numbers`` says which are numbers.

    Raises: ValueError where fields could not be told from left to right.
    """

    def __cinit__(self, list words not None, list numbers not None):
        cdef int i
        cdef bytes following
        cdef Piece* piece
        self.count = len(numbers)
        if self.count > MOST_FIELDS or len(words) != self.count + 1:
            raise ValueError(f"found {self.count} fields, {len(words)} words; allowed are {MOST_FIELDS} and one more")
        self.keep = list(words)
        following = self.keep[0]
        self.begin = PyBytes_AS_STRING(following)
        self.begin_len = len(following)
        for i in range(self.count):
            following = self.keep[i + 1]
            piece = &self.pieces[i]
            piece.words = PyBytes_AS_STRING(following)
            piece.length = len(following)
            piece.before_blank = following.find(b" ")
            if not following and i < self.count - 1:
                raise ValueError("found two fields with nothing between them; allowed are words between all fields")
            if numbers[i]:
                piece.kind = NUMBER
                if following[:1].isdigit():
                    raise ValueError(f"found {following!r} behind a number; allowed is what is no digit")
            elif not following:
                piece.kind = TAIL
            elif following[:1] in (b"'", b";"):
                piece.kind = QUOTED
            elif piece.before_blank >= 0:
                piece.kind = WORD
            else:
                raise ValueError(f"found {following!r} behind a word; allowed is what has a blank")

    cdef bint find(self, const char* p, const char* end, Span* out) noexcept nogil:
        cdef Piece* piece
        cdef const char* start
        cdef int i
        if end - p < self.begin_len or memcmp(p, self.begin, self.begin_len) != 0:
            return False
        p += self.begin_len
        for i in range(self.count):
            piece = &self.pieces[i]
            start = p
            if piece.kind == NUMBER:
                p = read_number(p, end, &out[i].number)
                if p == NULL:
                    return False
            elif piece.kind == QUOTED:
                while p < end and p[0] != c"'" and p[0] != c";":
                    p += 1
            elif piece.kind == WORD:
                while p < end and not is_space(p[0]):
                    p += 1
                p -= piece.before_blank
                if p <= start:
                    return False
            else:
                p = end
                if p == start or is_space((p - 1)[0]):
                    return False
            out[i].start = start
            out[i].length = p - start
            if end - p < piece.length or memcmp(p, piece.words, piece.length) != 0:
                return False
            p += piece.length
        return p == end

    cdef tuple read_text(self, bytes text, Py_ssize_t at):
        cdef Span spans[MOST_FIELDS]
        cdef const char* p = PyBytes_AS_STRING(text)
        cdef tuple found
        cdef object value
        cdef int i
        if not self.find(p + at, p + PyBytes_GET_SIZE(text), spans):
            return None
        found = PyTuple_New(self.count)
        for i in range(self.count):
            if self.pieces[i].kind == NUMBER:
                value = spans[i].number
            else:
                value = PyBytes_FromStringAndSize(spans[i].start, spans[i].length)
            Py_INCREF(value)
            PyTuple_SET_ITEM(found, i, value)
        return found

    def read(self, bytes text not None, Py_ssize_t at=0) -> tuple | None:
        """The fields of the message that begins at ``at``, numbers as int; None: it is worded otherwise."""
        if not 0 <= at <= len(text):
            raise ValueError(f"found beginning {at}; allowed is 0 to {len(text)}")
        return self.read_text(text, at)

    def read_exact(self, bytes text not None) -> bool:
        """Whether a text in memory of exactly its size has this wording; for tests."""
        cdef ExactCopy copy = ExactCopy(text)
        cdef Span spans[MOST_FIELDS]
        return self.find(copy.at, copy.at + copy.length, spans)
