# The tries of a logged request, decided again.

from libc.stdint cimport int64_t
from wsproxy._fast.logs.heard cimport Heard, RareTries, Routes
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.replay cimport Rule
from wsproxy._fast.logs.request cimport Attempt, LoggedRequest, Place

cdef enum:
    LEAST_ERROR = 500
    # Of one try: twice the servers of the largest clusters. A request without an end must not take all memory.
    MOST_STATED = 512
    # A worker writes its line after it changed a state; on a busy machine others see the change so long before.
    RACE_US = 50_000
    # A stamp may have whole seconds, and seconds that are left are rounded.
    CLOCKS_APART_MS = 2000

# For people: what is not UTF-8 is escaped.
cpdef str text_of(bytes value)


cdef class LogTries(Heard):
    cdef readonly Routes routes
    cdef readonly RareTries tries
    cdef readonly list readers          # fields.FieldReader by code
    # Decisions and results are named as in `replay.outcome`, which counts and sets these.
    cdef public dict same               # decision -> how many checks came out the same
    cdef public bint keeps_same         # as checks of their requests
    cdef public int64_t time_us         # of the last line that has one
    cdef public object shared           # one state for all processes; None: not known yet
    cdef readonly bint has_workers      # several processes share one state, and change it within the same microseconds
    cdef object newest_pid              # of the last line
    cdef int64_t newest_us
    cdef int64_t other_us               # time of the last line before of any other process
    # What down marks and sessions do not count of the time: the memory of sessions has 40 bits for it.
    cdef int64_t base_ms

    cdef tuple read(self, int code, LogLine line)
    cpdef int64_t now_ms(self)
    cpdef str rebuild(self, LoggedRequest request, str what, str group, int64_t line)
    cdef int count_same(self, LoggedRequest request, str what) except -1
    cpdef check(self, LoggedRequest request, str what, str logged, str ours, int64_t line, str note=*, str result=*)
    cdef int state(
        self, LoggedRequest request, Place place, bint is_down, int64_t left_s, bint retries, int full, int64_t line
    ) except -1
    cdef int state_inflight(self, LoggedRequest request, Place place, int count) except -1
    cdef int keep_stated(self, LoggedRequest request, tuple said) except -1
    cpdef restate(self, LoggedRequest request)
    cdef int put_state(self, Place place, bint is_down, int64_t left_s, bint retries, int full) except -1
    cdef int note_state(self, Place place, bint is_down, int64_t left_s, bint retries) except -1
    cdef int check_interval(
        self, LoggedRequest request, Place place, int64_t left_s, bint retries, int64_t line
    ) except -1
    cdef int check_unmarked(self, LoggedRequest request, Place place, int64_t line) except -1
    cdef int set_down_until(self, Place place, int64_t until_ms) except -1
    cdef int note_full(self, Place place, bint is_full) except -1
    cpdef name_server(self, LoggedRequest request, bytes server)
    cpdef leave_attempt(self, LoggedRequest request)
    cpdef decide_try(self, LoggedRequest request, int64_t line)
    cpdef decide(self, LoggedRequest request, int64_t line)
    cdef int logged_rule(self, LoggedRequest request)
    cdef int check_affinity(self, LoggedRequest request, int said, Rule rule, int64_t line) except -1
    cpdef bint is_raced(self, LoggedRequest request)
    cdef bint is_shared_choice(self, LoggedRequest request, int server, Place place)
    cdef bint is_down(self, Place place)
    cpdef bring_session(self, LoggedRequest request)
    cpdef str name_of(self, LoggedRequest request, int server)
    cdef int compare_clone_ids(self, LoggedRequest request, int64_t line) except -1
    cdef bint lost_lists(self, LoggedRequest request)
    cdef bint took_lists(self, LoggedRequest request)
    cpdef check_transport(self, LoggedRequest request)
    cdef int check_size(self, LoggedRequest request, int64_t line) except -1
    cdef int check_rise(self, LoggedRequest request, tuple before, tuple now, int64_t line) except -1
    cdef int check_status(self, LoggedRequest request, Attempt attempt) except -1
