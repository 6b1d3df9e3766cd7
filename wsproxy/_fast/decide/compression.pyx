"""
Which answers of servers are compressed, and what becomes of their fields: ``compress`` of an ``[[edge]]``.

Made by ``dataplane.edges``; asked by ``intake`` what the client takes, and by ``squeeze`` when an answer begins. Compresses
nothing: that is ``proxy.squeeze``'s part. Must not know what is in a body.

Left as it is: what is no 200, has a coding already, may not be changed (RFC 9110 7.7, no-transform), or says a digest of its
bytes. The tag of what is compressed is weak: the same page has the same meaning in each coding, not the same bytes
(RFC 9110 8.8.3.3). Requests go on as they came, Accept-Encoding too: a server that compresses by itself goes on doing so.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from libc.string cimport memchr
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.http.codings cimport GZIP, IDENTITY, ZSTD, Accepted, Coding, begin_accepted, best_coding, note_accepted
from wsproxy._fast.http.fields cimport FIELD_OTHER, Field, Fields, Limits, equals_ignoring_case, is_named, no_limits
from wsproxy._fast.http.head cimport RequestHead, ResponseHead, parse_request, parse_response
from wsproxy._fast.http.rewrite cimport write_response
from wsproxy._fast.http.scratch cimport Scratch, insert_into_line, put, put_text, reserve

CODINGS_BY_NAME = {"gzip": GZIP, "zstd": ZSTD}

cdef const char* VARY_LINE = "Vary: Accept-Encoding\r\n"


cdef bint has_word(const char* p, Py_ssize_t length, const char* lower, Py_ssize_t word_len) noexcept nogil:
    """Whether a list separated by commas has this element, parameters and blanks aside."""
    cdef const char* end = p + length
    cdef const char* comma
    cdef Py_ssize_t size
    while p < end:
        comma = <const char*>memchr(p, c",", end - p)
        if comma == NULL:
            comma = end
        while p < comma and (p[0] == c" " or p[0] == c"\t"):
            p += 1
        size = 0
        while p + size < comma and p[size] not in (c" ", c"\t", c";", c"="):
            size += 1
        if size == word_len and equals_ignoring_case(p, lower, word_len):
            return True
        p = comma + 1
    return False


cdef bint is_digest(Field* field) noexcept nogil:
    return (
        is_named(field, "digest", 6) or is_named(field, "content-digest", 14) or is_named(field, "repr-digest", 11)
        or is_named(field, "content-md5", 11)
    )


cdef int append_line(Scratch* scratch, Fields* fields, const char* line, Py_ssize_t length) noexcept nogil:
    """One more behind those that came."""
    cdef char* at = reserve(scratch, fields.more_len + length)
    cdef char* p = at
    if at == NULL:
        return -1
    if fields.more_len:
        p = put(p, fields.more, fields.more_len)
    put(p, line, length)
    fields.more = at
    fields.more_len += length
    return 0


cdef int add_vary(Scratch* scratch, ResponseHead* head) noexcept nogil:
    cdef Field* field
    cdef int i
    for i in range(head.fields.count):
        field = &head.fields.at[i]
        if is_named(field, "vary", 4) and not field.dropped and (
            has_word(field.value, field.value_len, "accept-encoding", 15) or has_word(field.value, field.value_len, "*", 1)
        ):
            return 0
    return append_line(scratch, &head.fields, VARY_LINE, 23)


cdef int weaken_tag(Scratch* scratch, ResponseHead* head) noexcept nogil:
    cdef Field* field
    cdef int i
    for i in range(head.fields.count):
        field = &head.fields.at[i]
        if is_named(field, "etag", 4) and field.value_len and field.value[0] == c'"':
            if insert_into_line(scratch, &head.fields, field, field.value, "W/", 2, "", 0) < 0:
                return -1
    return 0


cdef int write_coding(Scratch* scratch, ResponseHead* head, Coding coding) noexcept nogil:
    cdef Field* field
    cdef char line[32]
    cdef char* end
    cdef int i
    if weaken_tag(scratch, head) < 0:
        return -1
    for i in range(head.fields.count):
        field = &head.fields.at[i]
        # The length was that of the plain body, and parts are parts of that; `identity` would be the second coding.
        if (
            is_named(field, "content-length", 14) or is_named(field, "accept-ranges", 13)
            or is_named(field, "content-encoding", 16)
        ):
            field.kind = FIELD_OTHER
            field.dropped = True
    end = put_text(put_text(line, "Content-Encoding: "), "zstd\r\n" if coding == ZSTD else "gzip\r\n")
    return append_line(scratch, &head.fields, line, end - line)


cdef class Compression:
    """
    One ``compress``: ``codings`` "zstd" and "gzip", best first; ``types``, bytes in lower case, ``text/*`` for all of text;
    ``level`` from 1 to 9.
    """

    def __cinit__(self, *, tuple codings, tuple types, int64_t min_bytes, int level):
        cdef bytes each
        cdef Py_ssize_t at = 0
        cdef int i
        if not 0 < len(codings) <= 2 or not 0 < level <= 9:
            raise ValueError(f"found {codings!r} and level {level}; allowed are gzip and zstd, and 1 to 9")
        for i, name in enumerate(codings):
            self.offered[i] = CODINGS_BY_NAME[name]
        self.offered_count = <int>len(codings)
        self.min_bytes = min_bytes
        self.level = level
        self.texts = b"".join(types)
        self.types = <MediaType*>PyMem_Malloc(max(1, len(types)) * sizeof(MediaType))
        if self.types == NULL:
            raise MemoryError
        for each in types:
            self.types[self.type_count].text = <const char*>self.texts + at
            self.types[self.type_count].is_prefix = each.endswith(b"/*")
            self.types[self.type_count].length = len(each) - self.types[self.type_count].is_prefix
            at += len(each)
            self.type_count += 1

    def __dealloc__(self):
        PyMem_Free(self.types)

    cdef Coding choose(self, RequestHead* head) noexcept:
        cdef Accepted accepted
        cdef Field* field
        cdef int i
        if head.minor == 0:
            return IDENTITY
        begin_accepted(&accepted)
        for i in range(head.fields.count):
            field = &head.fields.at[i]
            if is_named(field, "accept-encoding", 15):
                note_accepted(&accepted, field.value, field.value_len)
            elif is_named(field, "cache-control", 13) and has_word(field.value, field.value_len, "no-transform", 12):
                return IDENTITY  # RFC 9111 5.2.1.6: whoever asks so wants what the server sent
        return best_coding(&accepted, self.offered, self.offered_count)

    cdef bint has_type(self, const char* value, Py_ssize_t length) noexcept:
        cdef const char* end = <const char*>memchr(value, c";", length)
        cdef MediaType* kind
        cdef int i
        if end != NULL:
            length = end - value
        while length and (value[length - 1] == c" " or value[length - 1] == c"\t"):
            length -= 1
        for i in range(self.type_count):
            kind = &self.types[i]
            if (length > kind.length if kind.is_prefix else length == kind.length) and equals_ignoring_case(
                value, kind.text, kind.length
            ):
                return True
        return False

    cdef Suits suits(self, ResponseHead* head) noexcept:
        cdef Field* field
        cdef bint has_type = False
        cdef int i
        if head.status == 304:
            return self.suits_304(head)
        if head.status != 200:
            return GOES_AS_IT_IS
        for i in range(head.fields.count):
            field = &head.fields.at[i]
            if is_named(field, "content-type", 12):
                has_type = self.has_type(field.value, field.value_len)
            elif is_named(field, "content-encoding", 16):
                if field.value_len and not (
                    field.value_len == 8 and equals_ignoring_case(field.value, "identity", 8)
                ):
                    return GOES_AS_IT_IS
            elif is_named(field, "cache-control", 13):
                if has_word(field.value, field.value_len, "no-transform", 12):
                    return GOES_AS_IT_IS
            elif is_digest(field):
                return GOES_AS_IT_IS
        if not has_type or 0 <= head.fields.content_length < self.min_bytes:
            return GOES_AS_IT_IS
        return IS_COMPRESSIBLE

    cdef Suits suits_304(self, ResponseHead* head) noexcept:
        """
        What a 200 would have had it has, too (RFC 9110 15.4.5): Vary above all. Most do not say of which type the page is:
        then it may be one that is compressed.
        """
        cdef Field* field
        cdef int i
        for i in range(head.fields.count):
            field = &head.fields.at[i]
            if is_named(field, "content-type", 12):
                if not self.has_type(field.value, field.value_len):
                    return GOES_AS_IT_IS
            elif is_named(field, "cache-control", 13) and has_word(field.value, field.value_len, "no-transform", 12):
                return GOES_AS_IT_IS
        return KNOWN_TO_CLIENT

    def choose_for(self, bytes request not None) -> int:
        """For tests: the ``Coding`` for this whole head of a request."""
        cdef RequestHead head
        cdef Limits limits = no_limits()
        cdef ExactCopy copy = ExactCopy(request)
        if parse_request(copy.at, copy.length, &limits, &head) <= 0:
            raise ValueError(f"found {request!r}; allowed is a head")
        return self.choose(&head)

    def edit(self, bytes answer not None, Coding coding) -> tuple:
        """For tests: what ``suits`` says of the head of an answer, and that head where it is compressed by ``coding``."""
        cdef ResponseHead head
        cdef Limits limits = no_limits()
        cdef ExactCopy copy = ExactCopy(answer)
        cdef ExactCopy edits = ExactCopy(bytes(2 * len(answer) + 256))
        cdef ExactCopy out = ExactCopy(bytes(2 * len(answer) + 2048))
        cdef Scratch scratch = Scratch(edits.at, 0, edits.length)
        cdef Suits suits
        cdef Py_ssize_t size
        if parse_response(copy.at, copy.length, &limits, &head) <= 0:
            raise ValueError(f"found {answer!r}; allowed is a head")
        suits = self.suits(&head)
        if suits == IS_COMPRESSIBLE:
            add_vary(&scratch, &head)
            if coding != IDENTITY:
                write_coding(&scratch, &head, coding)
        elif suits == KNOWN_TO_CLIENT:
            add_vary(&scratch, &head)
            if coding != IDENTITY:
                weaken_tag(&scratch, &head)
        size = write_response(out.at, out.length, &head, False, False, False, False, False, NULL)
        return suits, out.at[:size]
