"""
Metrics as Prometheus reads them: its text format, version 0.0.4, out of ``Meters`` and of numbers that others found.

Driven by ``admin.metrics``, in the process beside the workers. Prometheus' own library for Python takes 1.2 to 1.6 s for
142,000 lines, what 500 clusters of 4 servers have; this is some 50 times faster, and tests read what it writes with that
library. Must not decide what is told: names, labels and their order are its caller's.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, _PyBytes_Resize
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from wsproxy._fast.state.meters cimport BLOCK_WORDS, BUCKETS, Meters
from wsproxy._fast.tell.pieces cimport ws_put_digits

from wsproxy._fast.state.meters import BOUNDS_US

cdef enum:
    DIGITS = 24
    MILLION = 1_000_000
    # A page's first room; it doubles.
    FIRST_BYTES = 64 * 1024


def label_pair(name: str, value: str) -> bytes:
    """One ``name="value"``, escaped as the format wants it."""
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{escaped}"'.encode("utf-8", "backslashreplace")


cdef tuple bounds_as_text():
    """``le`` of each bucket, in seconds, as Prometheus' own libraries write it, and the rest before its number."""
    return tuple([f'le="{each / MILLION}"}} '.encode() for each in BOUNDS_US] + [b'le="+Inf"} '])


cdef tuple BOUNDS = bounds_as_text()


cdef uint64_t count_of(const uint64_t* histogram) noexcept nogil:
    cdef uint64_t total = 0
    cdef int bucket
    for bucket in range(BUCKETS):
        total += histogram[bucket]
    return total


cdef class Blocks:
    """Blocks of ``meters`` at one moment: each of ``groups`` is a list of slots, which are added up."""

    def __cinit__(self, Meters meters not None, int kind, list groups not None):
        cdef uint64_t one[BLOCK_WORDS]
        cdef Py_ssize_t at, slot
        cdef int word
        self.count = len(groups)
        self.words = <uint64_t*>calloc(max(self.count, 1) * BLOCK_WORDS, sizeof(uint64_t))
        if self.words == NULL:
            raise MemoryError
        for at in range(self.count):
            for slot in groups[at]:
                meters.add_up(kind, slot, one)
                for word in range(BLOCK_WORDS):
                    self.words[at * BLOCK_WORDS + word] += one[word]

    def __dealloc__(self):
        free(self.words)

    cdef const uint64_t* block(self, Py_ssize_t at) except NULL:
        if not 0 <= at < self.count:
            raise ValueError(f"found block {at}; allowed is 0..{self.count - 1}")
        return &self.words[at * BLOCK_WORDS]


cdef class Exposition:
    """
    A page of metrics that grows line by line.

    In bytes that are handed out as they are: of 55 MB, a copy is a quarter of all work.
    """

    def __dealloc__(self):
        Py_XDECREF(self.page)

    def text(self) -> bytes:
        """The page; another one, which is empty, begins."""
        if self.page == NULL:
            return b""
        _PyBytes_Resize(&self.page, self.size - self.left)  # NULL again where it fails
        page = <object>self.page
        Py_XDECREF(self.page)
        self.page = NULL
        self.left = self.size = 0
        return page

    cdef int put_chars(self, const char* data, Py_ssize_t length) except -1:
        if length > self.left:
            self.grow(length)
        memcpy(self.at, data, length)
        self.at += length
        self.left -= length
        return 0

    cdef int grow(self, Py_ssize_t more) except -1:
        """Room for so many bytes more. Where there is no memory, the page is lost."""
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t size = max(FIRST_BYTES, more)
        if self.page == NULL:
            made = PyBytes_FromStringAndSize(NULL, size)
            Py_INCREF(made)
            self.page = <PyObject*>made
        else:
            used = self.size - self.left
            size = max(2 * self.size, used + more)
            self.left = self.size = 0
            _PyBytes_Resize(&self.page, size)
        self.at = PyBytes_AS_STRING(<object>self.page) + used
        self.size = size
        self.left = size - used
        return 0

    def family(self, str name not None, str kind not None, str meaning not None) -> None:
        """Samples of this metric follow, and nobody else's in between."""
        text = meaning.replace("\\", "\\\\").replace("\n", "\\n")
        self.put(f"# HELP {name} {text}\n# TYPE {name} {kind}\n".encode())

    def number(self, bytes name not None, bytes labels not None, object value) -> None:
        """One sample, of an int or a float."""
        self.put_name(name, b"", labels, b"")
        self.put(b"%b\n" % repr(value).encode())

    def words(
        self, bytes name not None, list labels not None, Blocks blocks not None, int word, bytes more not None=b"",
        bint zeroes=True,
    ) -> None:
        """A sample for each block. ``more``: a label that all have; ``zeroes`` False: those that are 0 are left out."""
        cdef Py_ssize_t at
        cdef uint64_t number
        self.check(labels, blocks, word)
        for at in range(blocks.count):
            number = blocks.block(at)[word]
            if number or zeroes:
                self.put_name(name, b"", labels[at], more)
                self.put_number(number)

    def counts(
        self, bytes name not None, list labels not None, Blocks blocks not None, int word, bytes more not None=b""
    ) -> None:
        """As ``words``: how many times the histogram that begins with ``word`` has."""
        cdef Py_ssize_t at
        self.check(labels, blocks, word)
        self.check(labels, blocks, word + BUCKETS)
        for at in range(blocks.count):
            self.put_name(name, b"", labels[at], more)
            self.put_number(count_of(blocks.block(at) + word))

    def histogram(
        self, bytes name not None, list labels not None, Blocks blocks not None, int word, bytes more not None=b"",
        bint zeroes=True,
    ) -> None:
        """
        The histogram that begins with ``word``, of each block: microseconds there, seconds here.

        ``more``: a label that all have; ``zeroes`` False: those of which nothing was counted are left out.
        """
        cdef Py_ssize_t at
        cdef const uint64_t* block
        cdef uint64_t total
        cdef int bucket
        cdef bytes labelled, begin
        self.check(labels, blocks, word)
        self.check(labels, blocks, word + BUCKETS)
        for at in range(blocks.count):
            block = blocks.block(at) + word
            if not zeroes and not count_of(block):
                continue
            labelled = b"%b,%b" % (labels[at], more) if more else labels[at]
            # Put together once: nine of ten lines of a page are buckets.
            begin = b"%b_bucket{%b%b" % (name, labelled, b"," if labelled else b"")
            total = 0
            for bucket in range(BUCKETS):
                total += block[bucket]
                self.put(begin)
                self.put(<bytes>BOUNDS[bucket])
                self.put_number(total)
            self.put_name(name, b"_sum", labelled, b"")
            self.put_seconds(block[BUCKETS])
            self.put_name(name, b"_count", labelled, b"")
            self.put_number(total)

    cdef int check(self, list labels, Blocks blocks, int word) except -1:
        if len(labels) != blocks.count or not 0 <= word < BLOCK_WORDS:
            raise ValueError(f"found {len(labels)} labels for {blocks.count} blocks, word {word}; allowed is one a block")
        return 0

    cdef int put(self, bytes text) except -1:
        return self.put_chars(text, len(text))

    cdef int put_name(self, bytes name, bytes ending, bytes labels, bytes more) except -1:
        """All of a line that stands before the number."""
        self.put(name)
        self.put(ending)
        if labels or more:
            self.put_chars(b"{", 1)
            self.put(labels)
            if labels and more:
                self.put_chars(b",", 1)
            self.put(more)
            self.put_chars(b"}", 1)
        return self.put_chars(b" ", 1)

    cdef int put_number(self, uint64_t number) except -1:
        cdef char digits[DIGITS]
        cdef char* end = digits + DIGITS - 1
        cdef char* begin = ws_put_digits(end, number)
        end[0] = c"\n"
        return self.put_chars(begin, end - begin + 1)

    cdef int put_seconds(self, uint64_t us) except -1:
        cdef char digits[DIGITS]
        cdef char* begin = ws_put_digits(digits + DIGITS, us // MILLION)
        self.put_chars(begin, digits + DIGITS - begin)
        # A million more: six digits behind a 1, which becomes the point.
        begin = ws_put_digits(digits + DIGITS - 1, MILLION + us % MILLION)
        begin[0] = c"."
        digits[DIGITS - 1] = c"\n"
        return self.put_chars(begin, digits + DIGITS - begin)
