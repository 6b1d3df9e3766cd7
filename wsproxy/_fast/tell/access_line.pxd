# The access log of one worker: a line a request.

from libc.stdint cimport int64_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.tell.access_parts cimport AccessParts, Asked
from wsproxy._fast.tell.ended cimport Spent
from wsproxy._fast.tell.mask cimport SessionNames
from wsproxy._fast.tell.pieces cimport ws_expect_reads, ws_expect_writes

cpdef enum Only:
    # Flags: which lines are written; 0: all.
    ONLY_FAILED = 1         # status 500 or more, an answer that is not whole, or a Cause that says that something went wrong
    ONLY_SLOW = 2
    ONLY_RETRIED = 4        # more than one try

cdef struct Ending:
    # What only the end of a request knows.
    int64_t given           # what the connection was given until then, and took
    int64_t over_us         # when it was over, CLOCK_MONOTONIC
    int status
    char connection         # see CONNECTION
    int cause               # ended.Cause
    int tried               # servers, one as often as it was
    int route               # from 1; 0: none
    int by                  # decide.ChosenBy
    bint unmet              # see decide.Choice
    Spent spent

# A request whose line is begun. It belongs to whoever began it, until it is ended or forgotten.
cdef struct Entry:
    Entry* next
    int64_t began_us        # CLOCK_MONOTONIC
    int64_t given           # what its connection had been given before
    int64_t body_from       # ... and when the answer's body begins
    int status              # of the answer; 0: none has begun
    const char* server          # host:port, lent by the service's pool; NULL: none
    Py_ssize_t server_len
    bint server_is_plain        # it is short, and nothing in it is escaped
    const char* server_name     # lent by the cluster; NULL: none
    const char* cluster_name
    Buffer text             # the line without its late items
    Ending ending
    Py_ssize_t cuts[32]     # where in `text` late items belong, those that stand together once


cdef class AccessLog(AccessParts):
    cdef object on_block
    cdef Entry* spare           # entries for reuse
    cdef int spares
    cdef Buffer block           # whole lines
    cdef int lines
    cdef int only               # Only
    cdef int64_t slow_us

    # `names`: what sessions are called in the configuration that the request goes by.
    cdef Entry* begin(self, Asked* asked, SessionNames names) except NULL
    # The line is whole, with what `ending` has; the entry is not the caller's any more.
    cdef int end(self, Entry* entry) except -1
    cdef bint is_wanted(self, Entry* entry) noexcept
    cdef char* put_late(self, Buffer* out, Entry* entry) except NULL
    cdef char* put_name(self, Buffer* out, char* at, const char* name, Py_ssize_t size, Py_ssize_t needed) except NULL
    cdef char* put_word(self, char* at, int kind, Ending* ending) noexcept
    cdef Entry* make_spare(self) except NULL
    cdef void forget(self, Entry* entry) noexcept


cdef enum:
    USUAL_END = 128         # bytes that a line has of what only the end of a request knows


# Its end comes after the next call of the kernel, which takes the caches: what it reads and writes is fetched meanwhile.
cdef inline void expect_end(AccessLog log, Entry* entry) noexcept:
    ws_expect_reads(entry.text.data, entry.text.length)
    ws_expect_writes(log.block.data + log.block.length, entry.text.length + <Py_ssize_t>USUAL_END)
