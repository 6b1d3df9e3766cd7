"""
Follows the lines of a log request by request, and has the decisions that nearly every request needs taken again.

Driven by ``replay.replay``, whose ``Replay`` derives from this and has what is rare. Routes are asked here, servers in
``tries``. Must not make text of what comes out the same: it is only counted.
"""

from operator import attrgetter

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcmp
from wsproxy._fast.base.atomics cimport ws_load64
from wsproxy._fast.base.chars cimport is_space
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.http.fields cimport MAX_FIELDS
from wsproxy._fast.logs.fields cimport (
    BEGIN, CHECKING, CLONE, CLONE_MATCH, CONTENT_LENGTH, COOKIE, COUNTERS, END, GROUP, HOST, IS_DOWN, IS_SECURE,
    MAX_CONNECTIONS, MOVED, NEW_STREAM, PARSING, PICKED, REQUEST_IS, REQUEST_LINE, REUSED, SCHEME, SET_COOKIE, STATUS_LINE,
    TRANSPORT, URI_MATCH, VHOST_MATCH,
)
from wsproxy._fast.logs.heard cimport Grouped, Matched
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.request cimport UNKNOWN_PORT, Attempt, LoggedRequest, Place, Process, split_host
from wsproxy._fast.logs.tries cimport LEAST_ERROR, LogTries, text_of
from wsproxy._fast.tell.readable cimport read_back
from wsproxy._fast.tell.witness cimport DEBUG, FOREIGN, TRACE

cdef enum:
    # Texts whose meaning is kept: hosts, transports, patterns. Above, all are forgotten and the common ones come back.
    MOST_KEPT = 4096
    LONGEST_KEPT = 1024
    LEAST_FINAL = 200       # statuses below are no answer yet
    # Of one server; what a log says beyond is nonsense, and must fit the slot's 32 bits.
    MOST_INFLIGHT = 1000000
    # So many seconds are a server's longest pause; more must not overflow.
    MOST_SECONDS = 1000000000
    MOST_DIGITS = 12
    # Requests that are open at a time. Below LogLevel Trace no line tells that a request is over, and wsproxy gives each
    # an id of its own. Above, the older half is judged by what is there. Far above the requests in flight of one host.
    MOST_OPEN = 32768
    # Processes whose state is kept, each with a View and shared memory of its own: more than httpd runs at a time, but not
    # all that it ran in a week. Above, the half that began no request for the longest time is forgotten.
    MOST_PROCESSES = 512

# What stands before the value of the most common lines with one.
cdef Py_ssize_t LEN_PARSING = len("Parsing clone ids from '")
cdef Py_ssize_t LEN_COOKIE = len("Cookie:")
cdef Py_ssize_t LEN_SET_COOKIE = len("Set-Cookie:")
cdef Py_ssize_t LEN_VERSION = len("HTTP/1.1 ")

cdef str NO_LINES = "its lines are not in the log"
cdef str NO_BEGINNING = "its beginning is not in the log"

cdef object _USED = attrgetter("used")


cdef bytes rest_of(LogLine line, Py_ssize_t skipped):
    """The message behind its first bytes, without blanks at the end."""
    cdef const char* p = PyBytes_AS_STRING(line.text)
    cdef Py_ssize_t start = line.at + skipped
    cdef Py_ssize_t end = PyBytes_GET_SIZE(line.text)
    while end > start and is_space(p[end - 1]):
        end -= 1
    return PyBytes_FromStringAndSize(p + start, end - start) if end > start else b""


cdef bytes value_of(LogLine line, Py_ssize_t skipped):
    """Of a field whose name and colon are this long, without blanks around it."""
    cdef const char* p = PyBytes_AS_STRING(line.text)
    cdef Py_ssize_t start = line.at + skipped
    while start < PyBytes_GET_SIZE(line.text) and is_space(p[start]):
        start += 1
    return rest_of(line, start - line.at)


cdef int64_t seconds_of(bytes text) except? -1:
    """0: no number stands there."""
    cdef bytes digits = text[1:] if text.startswith(b"-") else text
    if not digits.isdigit() or len(digits) > MOST_DIGITS:
        return 0
    return max(-MOST_SECONDS, min(<int64_t>int(text), MOST_SECONDS))


cdef int keep(dict kept, object text, Py_ssize_t length, object meaning) except -1:
    """Keeps what a text of this length means; few have thousands of bytes, and those are not worth it."""
    if length <= LONGEST_KEPT:
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[text] = meaning
    return 0


cdef int append_some(list values, bytes value) except -1:
    """As many as the fields that a live request may have; a request without an end must not take all memory."""
    if len(values) < MAX_FIELDS:
        values.append(value)
    return 0


cdef inline bint is_text(bytes text, const char* p, Py_ssize_t length) noexcept:
    return PyBytes_GET_SIZE(text) == length and memcmp(PyBytes_AS_STRING(text), p, length) == 0


cdef class LogFollower(LogTries):
    """What of a replay nearly every line needs. ``replay.replay.Replay`` is the only one to derive from this."""

    def __cinit__(self, *_arguments, **_named):
        self.path = ""
        self.reads_escapes = True
        self.open = {}
        self.processes = {}
        self.hosts = {}
        self.transports = {}
        self.uri_at = {}

    # --- lines in -----------------------------------------------------------------------------------------------------

    def take(self, list lines not None) -> None:
        """The next lines of the log."""
        cdef LogLine line
        for line in lines:
            if line.code > 0:
                if self.reads_escapes:
                    line.text = read_back(line.text)
                self.take_line(line)
            elif self.hears_foreign:
                if line.time_us > 0:
                    self.time_us = line.time_us
                if line.level == FOREIGN:
                    self.on_foreign(line)

    cdef int take_line(self, LogLine line) except -1:
        cdef int code = line.code
        if code == CLONE or code == HOST:  # say nothing that others do not
            return 0
        if line.time_us > 0:
            self.time_us = line.time_us
        if self.most_level < line.level <= TRACE:
            self.most_level = line.level
        if self.shared:
            if line.pid != self.newest_pid:
                self.newest_pid, self.other_us = line.pid, self.newest_us
            self.newest_us = self.time_us
        if code == CHECKING:
            return self.on_checking(line)
        if code == BEGIN:
            return self.on_begin(line)
        if code == REQUEST_IS:
            return self.on_request_is(line)
        if code == VHOST_MATCH:
            return self.on_vhost(line)
        if code == URI_MATCH:
            return self.on_uri(line)
        if code == GROUP:
            return self.on_group(line)
        if code == PARSING:
            return self.on_parsing(line)
        if code == MAX_CONNECTIONS:
            return self.on_max_connections(line)
        if code == PICKED:
            return self.on_picked(line)
        if code == TRANSPORT:
            return self.on_transport(line)
        if code == REUSED or code == NEW_STREAM:
            self.request_of(line).attempt.reused = code == REUSED
            return 0
        if code == REQUEST_LINE:
            return self.on_request_line(line)
        if code == COOKIE:
            return self.on_cookie(line)
        if code == IS_SECURE or code == SCHEME:
            return self.on_secure(line)
        if code == STATUS_LINE:
            return self.on_status(line)
        if code == SET_COOKIE:
            return self.on_set_cookie(line)
        if code == COUNTERS:
            return self.on_counters(line)
        if code == END:
            return self.on_end(line)
        if code == IS_DOWN:
            return self.on_is_down(line)
        if code == CLONE_MATCH:
            return self.on_clone_match(line)
        if code == CONTENT_LENGTH:
            return self.on_content_length(line)
        if code == MOVED:
            self.request_of(line).attempt.moved = True
            return 0
        self.on_rare(line)
        return 0

    cpdef Process process_of(self, pid):
        """The process with this pid; of a log that wsproxy wrote, there is one."""
        key = 0 if self.shared else pid
        cdef Process process = self.processes.get(key)
        if self.shared:
            if self.first_pid is None:
                self.first_pid = pid
            self.has_workers = self.has_workers or pid != self.first_pid
        if process is None:
            if len(self.processes) >= MOST_PROCESSES:
                self.forget_processes()
            process = self.processes[key] = self.new_process()
            process.knows_start = self.has_start
        self.begun += 1
        process.used = self.begun
        return process

    cdef int forget_processes(self) except -1:
        """Most of them have ended; what is open there will not be heard of again."""
        cdef LoggedRequest request
        cdef Process process
        cdef list used = sorted(map(_USED, self.processes.values()))
        cdef int64_t least = used[len(used) // 2]
        for key, process in list(self.processes.items()):
            if process.used < least:
                del self.processes[key]
                self.forgotten += 1
        for request in list(self.open.values()):
            if request.process.used < least:
                del self.open[request.key]
                self.finish(request)
        return 0

    cdef LoggedRequest begin(self, LogLine line, bint has_begun):
        cdef LoggedRequest request = LoggedRequest(
            self.process_of(line.pid), line.key, self.path, line.number, self.time_us, has_begun=has_begun
        )
        if len(self.open) >= MOST_OPEN:
            self.finish_oldest()
        self.open[line.key] = request
        return request

    cdef int finish_oldest(self) except -1:
        cdef LoggedRequest request
        for request in list(self.open.values())[:MOST_OPEN // 2]:
            del self.open[request.key]
            self.finish(request)
        return 0

    cpdef LoggedRequest request_of(self, LogLine line):
        """The request that the line belongs to; one whose beginning is not in the log is begun here."""
        cdef LoggedRequest request = self.open.get(line.key)
        if request is None:
            return self.begin(line, False)
        request.last = line.number
        return request

    # --- routing ------------------------------------------------------------------------------------------------------

    cdef int on_begin(self, LogLine line) except -1:
        cdef LoggedRequest before = self.open.pop(line.key, None)
        if before is not None:
            self.finish(before)
        self.begin(line, True)
        return 0

    cdef int on_request_is(self, LogLine line) except -1:
        cdef LoggedRequest request = self.open.get(line.key)
        cdef tuple fields, where
        if request is None or request.uri is not None or not request.has_begun:
            if request is not None:
                del self.open[line.key]
                self.finish(request)
            request = self.begin(line, True)
        request.last = line.number
        fields = self.read(REQUEST_IS, line)
        if fields is None:
            return 0
        request.uri = fields[1]
        where = self.hosts.get(fields[0])
        if where is None:
            where = split_host(fields[0])
            keep(self.hosts, fields[0], len(fields[0]), where)
        request.host = where[0]
        request.port = where[1]
        return 0

    cdef int on_vhost(self, LogLine line) except -1:
        """Hosts are few: what such a line says is kept by its text."""
        cdef LoggedRequest request = self.request_of(line)
        cdef Matched found = self.routes.matched.get(line.text)
        if found is None:
            found = self.routes.vhost(line)
            if found is None:
                return 0
        if request.port == UNKNOWN_PORT and found.port >= 0:
            request.port = found.port
            request.host = request.host or found.host
        self.check(request, "vhost", found.logged, found.ours, line.number)
        return 0

    cdef int on_uri(self, LogLine line) except -1:
        """Paths are many: only those that differ are made into text."""
        cdef LoggedRequest request = self.request_of(line)
        cdef tuple fields = self.read(URI_MATCH, line)
        cdef bytes subject
        cdef MatchResult found
        cdef Matched differing
        cdef int route
        request.has_debug = request.has_debug or line.level >= DEBUG
        if fields is None:
            return 0
        subject = fields[1]
        if request.uri is None:
            request.uri = subject
        route = self.route_of_uri(fields[2], fields[0])
        if route >= 0 and not self.keeps_same:
            self.routes.uris.match_alone(route, b"", 0, UNKNOWN_PORT, subject, len(subject), &found)
            if found.route >= 0 and fields[3] == found.score and fields[4] == found.exact:
                return self.count_same(request, "uri")
        differing = self.routes.uri(line)
        if differing is None:
            return 0
        self.check(request, "uri", differing.logged, differing.ours, line.number)
        return 0

    cdef int route_of_uri(self, bytes group, bytes pattern) except -2:
        cdef tuple key = (group, pattern)
        at = self.uri_at.get(key)
        if at is None:
            at = self.routes.find_uri(text_of(group), text_of(pattern))
            keep(self.uri_at, key, len(group) + len(pattern), at)
        return at

    cdef int on_group(self, LogLine line) except -1:
        cdef LoggedRequest request = self.request_of(line)
        cdef str note
        cdef MatchResult* match
        cdef Grouped said = self.routes.grouped.get(line.text)
        if said is None:
            said = self.routes.group(line)
            if said is None:
                return 0
        request.group = said.group
        note = self.rebuild(request, "server_group", request.group, line.number)
        if note is None:
            return 0
        ours = self.routes.cluster_names[request.cluster] if request.cluster >= 0 else "none"
        self.check(request, "server_group", request.group, ours or "none", line.number, note)
        match = &request.replayed.found
        if match.route < 0:
            return 0
        if self.keeps_same or said.score != match.score or said.exact != match.exact:
            self.check(request, "score", f"{said.score}/{said.exact}", f"{match.score}/{match.exact}", line.number)
        else:
            self.count_same(request, "score")
        if (
            self.keeps_same or not is_text(said.cookie, match.cookie, match.cookie_len)
            or not is_text(said.url, match.url_id, match.url_id_len)
        ):
            self.check(
                request, "affinity_names", f"{text_of(said.cookie)}/{text_of(said.url)}",
                f"{text_of(match.cookie[:match.cookie_len])}/{text_of(match.url_id[:match.url_id_len])}", line.number,
            )
        else:
            self.count_same(request, "affinity_names")
        return 0

    # --- affinity and servers -------------------------------------------------------------------------------------------

    cdef int on_parsing(self, LogLine line) except -1:
        cdef bytes value = rest_of(line, LEN_PARSING)
        if value.endswith(b"'"):
            append_some(self.request_of(line).values, value[:len(value) - 1])
        return 0

    cdef int on_cookie(self, LogLine line) except -1:
        cdef LoggedRequest request = self.request_of(line)
        append_some(request.cookies, value_of(line, LEN_COOKIE))
        return self.compare_clone_ids(request, line.number)

    cdef int on_checking(self, LogLine line) except -1:
        """The longer wording has the seconds, and whether the server is full."""
        cdef tuple fields = self.read(CHECKING, line)
        cdef LoggedRequest request
        cdef Place place
        cdef bint is_longer
        if fields is None:
            return 0
        request = self.request_of(line)
        is_longer = len(fields) > 5
        if fields[2] != 0 and fields[3] == 0 or is_longer and fields[6] != 0:
            request.passed = request.passed or fields[1] != 0
        else:
            request.checked = fields[0]
            request.ignored = fields[1] != 0
        place = request.process.find_place(fields[0], request.cluster)
        if place is not None:
            self.state(
                request, place, fields[2] != 0, seconds_of(fields[4]) if is_longer else 0, fields[3] != 0,
                fields[6] != 0 if is_longer and place.max_connections > 0 else -1, line.number,
            )
        return 0

    cdef int on_clone_match(self, LogLine line) except -1:
        """It may be down or full yet: then another clone id matches, or none."""
        cdef tuple fields = self.read(CLONE_MATCH, line)
        if fields is not None:
            self.request_of(line).matched = fields[0]
        return 0

    cdef int on_is_down(self, LogLine line) except -1:
        cdef tuple fields = self.read(IS_DOWN, line)
        cdef LoggedRequest request
        cdef Place place
        if fields is None:
            return 0
        request = self.request_of(line)
        place = request.process.find_place(fields[0], request.cluster)
        if place is not None:
            self.state(request, place, True, max(-MOST_SECONDS, min(fields[1], MOST_SECONDS)), False, -1, line.number)
        return 0

    cdef int on_max_connections(self, LogLine line) except -1:
        """``serverHasReachedMaxConnections``: a candidate, and how many requests it has."""
        cdef LoggedRequest request = self.request_of(line)
        cdef tuple fields = self.read(MAX_CONNECTIONS, line)
        cdef int64_t current, most
        cdef Place place
        if fields is None:
            return 0
        current, most = fields[1], fields[2]
        if most <= 0:
            most = -1
        self.name_server(request, fields[0])
        place = request.process.find_place(fields[0], request.cluster)
        if place is None:
            return 0
        if most == place.max_connections and not self.keeps_same:
            self.count_same(request, "max_connections")
        else:
            self.check(request, "max_connections", str(most), str(place.max_connections), line.number)
        if place.max_connections > 0:
            self.state_inflight(request, place, <int>min(max(current, 0), MOST_INFLIGHT))
        return 0

    cdef int on_picked(self, LogLine line) except -1:
        cdef tuple fields = self.read(PICKED, line)
        cdef LoggedRequest request
        if fields is not None:
            request = self.request_of(line)
            self.name_server(request, fields[0])
            if request.knows_session():
                self.decide_try(request, line.number)
        return 0

    # --- the exchange ---------------------------------------------------------------------------------------------------

    cdef int on_transport(self, LogLine line) except -1:
        """``Setting the transport``: checked at the end of the try, when the scheme is known."""
        cdef LoggedRequest request = self.request_of(line)
        cdef str said = self.transports.get(line.text)
        cdef tuple fields
        if said is None:
            fields = self.read(TRANSPORT, line)
            if fields is not None:
                said = f"{text_of(fields[1]).strip('[]')}:{fields[2]}"
                keep(self.transports, line.text, len(line.text), said)
        if said is not None:
            request.attempt.transport = said
            request.attempt.transport_line = line.number
        if request.attempt.server and request.knows_session():
            self.decide_try(request, line.number)
        return 0

    cdef int on_content_length(self, LogLine line) except -1:
        """Of a request, which stands before any answer."""
        cdef LoggedRequest request = self.open.get(line.key)
        cdef tuple fields
        if request is None or request.attempt.status or not request.method:
            return 0
        request.last = line.number
        fields = self.read(CONTENT_LENGTH, line)
        if fields is None or request.content_length >= 0:
            return 0
        request.content_length = fields[0]
        return self.check_size(request, line.number)

    cdef int on_request_line(self, LogLine line) except -1:
        cdef LoggedRequest request = self.request_of(line)
        cdef const char* p = PyBytes_AS_STRING(line.text) + line.at
        cdef Py_ssize_t length = PyBytes_GET_SIZE(line.text) - line.at
        cdef const char* blank = <const char*>memchr(p, c" ", length)
        request.method = PyBytes_FromStringAndSize(p, length if blank == NULL else blank - p)
        # it may be sent again, with all its fields; then no client saw the answer before
        request.cookies.clear()
        request.set_cookies.clear()
        return 0

    cdef int on_secure(self, LogLine line) except -1:
        value = line.text.rpartition(b":")[2].strip().lower()
        self.request_of(line).is_secure = value in (b"true", b"https", b"wss")
        return 0

    cdef int on_status(self, LogLine line) except -1:
        """The server answered: it lives, unless that status counts as a failure."""
        cdef const char* p = PyBytes_AS_STRING(line.text) + line.at + LEN_VERSION
        cdef Py_ssize_t length = PyBytes_GET_SIZE(line.text) - line.at - LEN_VERSION
        cdef int status = 0
        cdef LoggedRequest request
        cdef Attempt attempt
        cdef int i
        if length < 3:
            return 0
        for i in range(3):
            if not c"0" <= p[i] <= c"9":
                return 0
            status = status * 10 + (p[i] & 15)
        if status < LEAST_FINAL:
            return 0
        request = self.request_of(line)
        request.end_us = self.time_us
        if not request.attempt.is_decided:
            self.decide_try(request, line.number)
        attempt = request.attempt
        attempt.status = status
        attempt.status_line = line.number
        request.status_seen = status
        if attempt.place is not None and (status < LEAST_ERROR or not request.process.view.is_failure(status)):
            attempt.place.marked_ms = attempt.place.ruled_line = 0
            if ws_load64(&attempt.place.cluster.servers[attempt.place.index].down_until_ms):
                attempt.place.cluster.set_up(attempt.place.index)
        return 0

    cdef int on_set_cookie(self, LogLine line) except -1:
        """No request begins with one: where none is open, nobody wants it."""
        cdef LoggedRequest request = self.open.get(line.key)
        if request is not None:
            request.last = line.number
            append_some(request.set_cookies, value_of(line, LEN_SET_COOKIE))
        return 0

    # --- the end --------------------------------------------------------------------------------------------------------

    cdef int on_counters(self, LogLine line) except -1:
        """The STATS line: counters rise by what this request is, where no other one runs beside it."""
        cdef tuple fields = self.read(COUNTERS, line)
        cdef tuple before, now
        cdef LoggedRequest request
        cdef Attempt attempt
        cdef bytes server
        if fields is None:
            return 0
        request = self.request_of(line)
        if request.counted and request.uri is None and request.attempt.is_decided:
            # LogLevel Stats has no other line of a request: this is the next one's
            del self.open[line.key]
            self.finish(request)
            request = self.begin(line, False)
        request.end_us = self.time_us
        server = fields[0]
        if not request.attempt.server and not request.attempt.is_decided:
            self.name_server(request, server)
        if not request.attempt.is_decided and request.attempt.server == server:
            self.decide_try(request, line.number)
        now = fields[2:]
        key = (line.pid, server)
        before = request.process.counters.get(key)
        keep(request.process.counters, key, len(server), now)
        if before is None:
            self.tries.check_first(request, now, line.number)
        else:
            self.check_rise(request, before, now, line.number)
        attempt = request.attempt
        if attempt.is_decided and attempt.server == server:
            if request.replayed is not None:
                request.replayed.finish()
            if not request.counted:
                request.counted = True
                request.process.running -= 1
        return 0

    cdef int on_end(self, LogLine line) except -1:
        cdef LoggedRequest request = self.open.pop(line.key, None)
        if request is not None:
            request.last = line.number
            request.end_us = self.time_us
            self.finish(request)
        return 0

    cpdef finish(self, LoggedRequest request):
        """Judges what could only be judged at the end, and hands the request over."""
        cdef Attempt attempt = request.attempt
        cdef str why
        if not request.counted:
            request.process.running -= 1
        if attempt.server and not attempt.is_decided:
            if request.replayed is None and request.uri is not None:
                self.rebuild(request, "server", request.group, request.last)
            self.decide(request, request.last)
        self.check_transport(request)
        if attempt.status:
            self.check_status(request, attempt)
        elif request.gave_up and request.replayed is not None:
            self.tries.judge_giving_up(request)
        if request.replayed is not None:
            request.replayed.finish()
        if not request.checks and not request.same_count:
            why = NO_LINES if request.has_begun else NO_BEGINNING
            self.check(request, "server", "", "", 0, why, "undecided")
        self.hand_over(request)
