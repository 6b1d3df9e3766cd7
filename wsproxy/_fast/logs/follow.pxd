# Follows the lines of a log request by request, and takes the common decisions of each again.

from libc.stdint cimport int64_t
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.request cimport LoggedRequest, Process
from wsproxy._fast.logs.tries cimport LogTries


cdef class LogFollower(LogTries):
    # All of these are set by `replay.replay`.
    cdef public str path                # of the lines that are taken
    cdef public bint hears_foreign      # somebody wants lines that no plug-in writes
    cdef public bint has_start          # of the processes
    cdef public bint reads_escapes      # those of `readable`; False: another web server's log has none

    cdef readonly int most_level        # of the lines so far: a witness.LogLevel
    cdef object first_pid
    cdef readonly dict open             # (pid, tid) -> LoggedRequest
    cdef readonly dict processes        # by pid
    cdef readonly int64_t forgotten     # processes that were in `processes`
    cdef int64_t begun                  # requests
    cdef dict hosts                     # what `split_host` says
    cdef dict transports                # text of a line -> host:port
    cdef dict uri_at                    # what `Routes.find_uri` says, by (group, pattern)

    cdef int take_line(self, LogLine line) except -1
    cpdef Process process_of(self, pid)
    cdef int forget_processes(self) except -1
    cdef LoggedRequest begin(self, LogLine line, bint has_begun)
    cdef int finish_oldest(self) except -1
    cpdef LoggedRequest request_of(self, LogLine line)
    cdef int on_begin(self, LogLine line) except -1
    cdef int on_request_is(self, LogLine line) except -1
    cdef int on_vhost(self, LogLine line) except -1
    cdef int on_uri(self, LogLine line) except -1
    cdef int route_of_uri(self, bytes group, bytes pattern) except -2
    cdef int on_group(self, LogLine line) except -1
    cdef int on_parsing(self, LogLine line) except -1
    cdef int on_cookie(self, LogLine line) except -1
    cdef int on_checking(self, LogLine line) except -1
    cdef int on_clone_match(self, LogLine line) except -1
    cdef int on_is_down(self, LogLine line) except -1
    cdef int on_max_connections(self, LogLine line) except -1
    cdef int on_picked(self, LogLine line) except -1
    cdef int on_transport(self, LogLine line) except -1
    cdef int on_content_length(self, LogLine line) except -1
    cdef int on_request_line(self, LogLine line) except -1
    cdef int on_secure(self, LogLine line) except -1
    cdef int on_status(self, LogLine line) except -1
    cdef int on_set_cookie(self, LogLine line) except -1
    cdef int on_counters(self, LogLine line) except -1
    cdef int on_end(self, LogLine line) except -1
    cpdef finish(self, LoggedRequest request)
