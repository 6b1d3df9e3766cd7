# Lines of http_plugin.log: stamp, pid, tid, level and which message it is.

from libc.stdint cimport int64_t, uint64_t

cdef struct Prefix:
    int64_t time_us         # of the local clock, as if it were UTC; -1 none
    uint64_t pid
    uint64_t tid
    int level

cdef struct Shape:
    const char* function    # points into `keep`, as the next
    Py_ssize_t function_len
    const char* begin       # of the message
    Py_ssize_t begin_len
    int code
    int next                # index of another one for the same function; -1 none


cdef class LogLine:
    cdef readonly int64_t number    # of the line in its file, from 1
    cdef readonly int64_t time_us
    cdef readonly uint64_t pid
    cdef readonly uint64_t tid
    cdef readonly object key        # (pid, tid); the same object for lines in a row
    cdef readonly int level
    cdef readonly int code          # 0: none of the wanted messages
    cdef readonly Py_ssize_t at     # where the message begins in `text`, behind component and function
    cdef readonly bytes text        # behind the level


cdef class LineScanner:
    cdef readonly int64_t lines     # physical lines so far
    cdef readonly int64_t records
    cdef readonly int64_t foreign
    cdef readonly int64_t blank
    cdef readonly int64_t glued     # records that begin within a line
    cdef Shape* shapes
    cdef int shape_count
    cdef int buckets[256]           # first shape of the functions with this hash; -1 none
    cdef object keep
    cdef bytes rest
    cdef bint wanted_only
    cdef uint64_t last_pid
    cdef uint64_t last_tid
    cdef object last_key
    # The record before, where it was left out of the list: a line that continues it may follow.
    cdef const char* left_text
    cdef Py_ssize_t left_len
    cdef Prefix left_prefix
    cdef int64_t left_number
    cdef Py_ssize_t left_at
    # Dates are looked up once a second, not once a line.
    cdef char day[32]
    cdef Py_ssize_t day_len
    cdef int64_t day_us

    cdef int scan(self, const char* p, const char* end, list out) except -1
    cdef int scan_line(self, const char* p, const char* end, list out) except -1
    cdef int add_record(self, Prefix* prefix, const char* p, const char* end, list out) except -1
    cdef int add_foreign(self, const char* p, const char* end, list out) except -1
    cdef int add_left(self, list out) except -1
    cdef LogLine make_line(
        self, int64_t number, Prefix* prefix, const char* p, const char* end, int code, Py_ssize_t at
    )
    cdef Py_ssize_t read_prefix(self, const char* p, const char* end, Prefix* out) noexcept nogil
    cdef Py_ssize_t read_stamp(self, const char* p, const char* end, int64_t* time_us) noexcept nogil
    cdef const char* find_glued(self, const char* p, const char* end) noexcept nogil
    cdef int classify(self, const char* p, const char* end, Py_ssize_t* at) noexcept nogil
    cdef int find_shape(
        self, const char* function, Py_ssize_t function_len, const char* message, const char* end
    ) noexcept nogil
