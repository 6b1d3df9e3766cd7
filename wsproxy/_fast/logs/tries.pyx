"""
The tries of a logged request: which server each goes to and over which transport, decided again by the live code.

Driven by ``logs.follow``; ``replay.tries`` has what is rare. Servers are chosen by ``replay``: here what the log says is
put beside what it says. Where both are the same it is counted and nothing else; no text is made for it.
"""

from libc.stdint cimport int64_t
from wsproxy._fast.base.atomics cimport ws_load32, ws_load64
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.decide cimport DEFAULT_PORT, DEFAULT_TLS_PORT
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.logs.fields cimport FieldReader
from wsproxy._fast.logs.heard cimport Heard, RareTries, Routes
from wsproxy._fast.logs.lines cimport LogLine
from wsproxy._fast.logs.replay cimport AFFINITY, BALANCED, NONE, REMEMBERED, ReplayedRequest, Rule, put_inflight
from wsproxy._fast.logs.request cimport UNKNOWN_PORT, Attempt, LoggedRequest, Place
from wsproxy._fast.state.segment cimport total_inflight, ws_server_slot

cdef enum:
    # A mark whose interval is over; not just now, because marks of one moment are moved apart.
    LONG_OVER_MS = 10000

# So much earlier than the first line may another one be: ten years.
cdef int64_t EARLIER_MS = <int64_t>10 * 366 * 86400000

# What is said beside a check: why it came out so, or what had to be assumed. The words may change, nothing reads them.
RACED = "another worker changed the state of servers at the same moment"
# Of ``choose``, where it finds none.
NO_SERVER = {-1: "none can be reached", -2: "none: all are at MaxConnections"}
# By ``logs.replay.Rule``: why the server is the same.
cdef tuple RULES = (
    "by clone id",
    "the session moved there",
    "by regular balancing",
    "regular balancing may choose it; where its turn began is not in a log",
    "",
)
cdef str NO_URI = "the log tells no URI"
cdef str NO_HOST = "the log tells no host and URI"
cdef str NO_COOKIES = "the log tells no cookies"
cdef str UNKNOWN_SERVER = "no server of this name in the configuration"
cdef str NOT_ROUTED = "none: no route"
cdef str FROM_COOKIE = "as parsed from the Cookie line"
cdef str UNNAMED_SERVER = "the log does not name the server"
cdef str NO_SUCH_SERVER = "no such server"
cdef str OTHER_SCHEME = "by the port it would be the other scheme; $WSSC is not in the log"
cdef str EITHER_SCHEME = "one of http and https; which the request was is not in the log"
cdef str COUNTS = "failed/affinity/total"
cdef str MISSING_REQUESTS = "other requests of this process are not in the log"
cdef str OTHERS_BESIDE = "other requests ran beside it"


cpdef str text_of(bytes value):
    """For people: what is not UTF-8 is escaped."""
    return value.decode("utf-8", "backslashreplace")


cdef inline Cluster cluster_of(LoggedRequest request):
    return <Cluster>request.process.clusters[request.cluster] if request.cluster >= 0 else None


cdef class LogTries(Heard):
    """What of a replay has to do with servers."""

    def __cinit__(self, *_arguments, **_named):
        self.time_us = 1000000
        self.routes = Routes.__new__(Routes)
        self.tries = RareTries()

    def __init__(self, Routes routes not None, RareTries tries not None, list readers not None):
        self.routes = routes
        self.tries = tries
        self.readers = readers

    # --- what every decision needs ----------------------------------------------------------------------------------------

    cdef tuple read(self, int code, LogLine line):
        """The fields of the message; None: it is cut."""
        cdef tuple found = (<FieldReader>self.readers[code]).read_text(line.text, line.at)
        return self.read_tolerantly(code, line.text, line.at) if found is None else found

    cpdef int64_t now_ms(self):
        """Of the present line, for what keeps down marks."""
        cdef int64_t now_ms = self.time_us // 1000
        if not self.base_ms:
            self.base_ms = max(now_ms - EARLIER_MS, 1)
        return now_ms - self.base_ms

    cpdef str rebuild(self, LoggedRequest request, str what, str group, int64_t line):
        """A note; None where the request cannot be routed again, which is noted then."""
        cdef str why = None
        if request.uri is not None:
            try:
                if request.port == UNKNOWN_PORT:
                    return self.routes.rebuild(request, group)
                request.replayed = ReplayedRequest(
                    request.process.decider, request.process.view, request.host, request.port, request.uri, [],
                )
                request.cluster = request.replayed.found.cluster if request.replayed.found.route >= 0 else -1
                return ""
            except ValueError as error:
                why = str(error)
                request.uri = None
        self.check(request, what, group, "", line, why or NO_URI, "undecided")
        return None

    cdef int count_same(self, LoggedRequest request, str what) except -1:
        self.same[what] += 1
        request.same_count += 1
        return 0

    cpdef check(self, LoggedRequest request, str what, str logged, str ours, int64_t line, str note="", str result=None):
        """Notes a check; without ``result`` it is the same where both texts are."""
        if result is None:
            result = "same" if logged == ours else "differs"
        if result == "same":
            self.count_same(request, what)
            if not self.keeps_same:
                return
        self.keep_check(request, what, result, logged, ours, line, note)

    # --- what the log says of servers -------------------------------------------------------------------------------------

    cdef int state(
        self, LoggedRequest request, Place place, bint is_down, int64_t left_s, bint retries, int full, int64_t line
    ) except -1:
        """What the request saw of a server that it looked at; ``full`` -1: the log does not say, or there is no limit."""
        if is_down:
            self.check_interval(request, place, left_s, retries, line)
        elif place.ruled_line:
            self.check_unmarked(request, place, line)
        self.put_state(place, is_down, left_s, retries, full)
        return self.keep_stated(request, (place, is_down, left_s, retries, full))

    cdef int state_inflight(self, LoggedRequest request, Place place, int count) except -1:
        put_inflight(place.cluster, place.index, count)
        return self.keep_stated(request, (place, count))

    cdef int keep_stated(self, LoggedRequest request, tuple said) except -1:
        if self.shared:
            if request.stated is None:
                request.stated = []
            if len(request.stated) < MOST_STATED:
                request.stated.append(said)
        return 0

    cpdef restate(self, LoggedRequest request):
        """
        Puts the servers into the states that the request saw, before its choice is taken again.

        Lines of other workers may stand between these and its choice: of the same microseconds, and of a state that it did
        not have before it.
        """
        cdef list stated = request.stated
        cdef Place place
        cdef tuple said
        if stated is None:
            return
        request.stated = None
        for said in stated:
            place = said[0]
            if len(said) == 2:
                put_inflight(place.cluster, place.index, <int>said[1])
            else:
                self.put_state(place, said[1], said[2], said[3], said[4])

    cdef int put_state(self, Place place, bint is_down, int64_t left_s, bint retries, int full) except -1:
        self.note_state(place, is_down, left_s, retries)
        return self.note_full(place, full) if full >= 0 else 0

    cdef int note_state(self, Place place, bint is_down, int64_t left_s, bint retries) except -1:
        """The log says whether the server is marked down: what we have may be older than the log."""
        cdef ws_server_slot* slot = place.cluster.servers[place.index]
        cdef int64_t until = ws_load64(&slot.down_until_ms)
        cdef bint is_tried = until != 0 and ws_load32(&slot.probe_by) != 0
        cdef int64_t now_ms = self.now_ms()
        if not is_down:
            place.marked_ms = 0
            if until:
                place.cluster.set_up(place.index)
        elif retries:
            if until == 0 or until > now_ms or is_tried:
                self.set_down_until(place, now_ms - LONG_OVER_MS)
        elif left_s == 0:  # somebody else is trying it: whom we know of, whose mark a new one would end, or not
            if not is_tried:
                self.set_down_until(place, now_ms + 1000)
        elif until <= now_ms:
            self.set_down_until(place, now_ms + left_s * 1000)
        return 0

    cdef int check_interval(
        self, LoggedRequest request, Place place, int64_t left_s, bint retries, int64_t line
    ) except -1:
        """
        The log says how long a server stays down: with the line that marked it, that is the RetryInterval.

        Not where somebody else tries it just now (0 s), nor right behind the mark: a worker may have read the one before.
        """
        cdef int64_t since_ms = self.now_ms() - place.marked_ms
        cdef int64_t left_ms = place.cluster.retry_interval_ms - since_ms
        cdef str ours, logged
        if place.marked_ms == 0 or not retries and left_s <= 0 or self.has_workers and since_ms < CLOCKS_APART_MS:
            return 0
        if left_ms <= CLOCKS_APART_MS if retries else abs(left_ms - left_s * 1000) <= CLOCKS_APART_MS:
            if not self.keeps_same:
                return self.count_same(request, "retry_interval")
            ours = logged = "due" if retries else f"in {left_s} s"
        else:
            logged = "due" if retries else f"in {left_s} s"
            ours = f"in {left_ms // 1000} s" if left_ms > 0 else "due"
        self.check(request, "retry_interval", f"{place.name}: {logged}", f"{place.name}: {ours}", line)
        return 0

    cdef int check_unmarked(self, LoggedRequest request, Place place, int64_t line) except -1:
        """The log says that a server is up which the live code has marked down, for a failure that the log has."""
        if self.is_down(place) and not self.is_raced(request):
            self.check(
                request, "mark_down", f"{place.name}: not marked down", f"{place.name}: marked down", line,
                f"line {place.ruled_line}",
            )
        place.ruled_line = 0
        return 0

    cdef int set_down_until(self, Place place, int64_t until_ms) except -1:
        place.cluster.set_down(place.index, 0, until_ms - place.cluster.retry_interval_ms)
        return 0

    cdef int note_full(self, Place place, bint is_full) except -1:
        """The log says whether the server, which has a limit, is at MaxConnections."""
        cdef ws_server_slot* slot = place.cluster.servers[place.index]
        cdef int inflight = total_inflight(slot)
        if is_full:
            return put_inflight(place.cluster, place.index, max(inflight, place.max_connections))
        return put_inflight(place.cluster, place.index, min(inflight, place.max_connections - 1))

    # --- the choice -------------------------------------------------------------------------------------------------------

    cpdef name_server(self, LoggedRequest request, bytes server):
        """The log names the server of the present try, or of the next one where that has its server already."""
        if request.attempt.is_decided and request.attempt.server != server:
            self.leave_attempt(request)
        request.attempt.server = server

    cpdef leave_attempt(self, LoggedRequest request):
        """The next lines are of another try."""
        self.check_transport(request)
        if request.replayed is not None:
            request.replayed.fail(request.attempt.status >= LEAST_ERROR)
        request.failures += 1
        request.attempt = Attempt.__new__(Attempt)

    cpdef decide_try(self, LoggedRequest request, int64_t line):
        """The choice of the server of this try, unless it was made already."""
        if request.attempt.is_decided:
            return
        if request.replayed is None and request.uri is not None:
            self.rebuild(request, "server", request.group, line)
        if request.attempt.server or self.tries.name_by_transport(request):
            self.decide(request, line)

    cpdef decide(self, LoggedRequest request, int64_t line):
        """Takes the choice of this try again."""
        cdef Attempt attempt = request.attempt
        cdef Place place = request.process.find_place(attempt.server, request.cluster)
        cdef ReplayedRequest replayed = request.replayed
        cdef str logged = text_of(attempt.server) if place is None else place.name
        cdef str ours, note, result
        cdef Rule rule = NONE
        cdef bint is_ours
        cdef int server
        cdef int said = self.logged_rule(request)
        attempt.is_decided = True
        attempt.place = place
        request.server_name = logged
        if replayed is None:
            self.check(request, "server", logged, "", line, NO_HOST, "undecided")
            return
        if not request.failures:
            self.bring_session(request)
        elif request.is_ruled:
            self.tries.judge_going_on(request, line)
        is_ours = place is not None and place.cluster is cluster_of(request)
        self.restate(request)
        if attempt.moved and is_ours:
            replayed.remember(place.index, self.now_ms())
        server = replayed.choose_server(self.now_ms(), place.index if is_ours else -1, &rule)
        request.by_affinity = rule <= REMEMBERED
        request.knows_affinity = request.knows_session()
        if is_ours and server == place.index:
            self.check_affinity(request, said, rule, line)
            if not self.keeps_same:
                self.count_same(request, "server")
                return
        ours = self.name_of(request, server)
        if is_ours:
            replayed.go_to(place.index)
        result = "same" if ours == logged else "differs"
        note = RULES[<int>rule]
        if result == "differs" and not request.knows_affinity:
            result, note = "undecided", NO_COOKIES
        elif result == "differs" and self.is_shared_choice(request, server, place if is_ours else None):
            result, note = "undecided", RACED
        elif place is None:
            note = UNKNOWN_SERVER
        if result != "same":
            request.knows_affinity = False  # by what rule ours was chosen says nothing of the counters of another
        self.check(request, "server", logged, ours, line, note, result)

    cdef int logged_rule(self, LoggedRequest request):
        """
        The Rule by which the log says it chose the server of this try: AFFINITY or BALANCED; NONE: it does not tell.

        It says that a clone id matches, at Trace. Below, a server is checked with ignoreWeights 1 for a clone id (PLUGIN
        3.4), but so are the neighbours of one that is down (4.5).
        """
        cdef bytes server = request.attempt.server
        cdef int said = NONE
        if server and request.matched == server:
            said = AFFINITY
        elif server and request.checked == server:
            if not request.ignored:
                said = BALANCED
            elif not request.passed and not request.failures:
                said = AFFINITY
        request.matched = request.checked = b""
        request.passed = False
        return said

    cdef int check_affinity(self, LoggedRequest request, int said, Rule rule, int64_t line) except -1:
        """
        Whether the server has the request for the same reason: another server's turn would be next if it was only its turn.

        Where the log does not tell, clone ids that no server has leave it open.
        """
        cdef str ours, logged, note
        if rule == REMEMBERED or request.attempt.moved:
            return 0  # the plug-in remembers no sessions
        if said == NONE:
            if rule != AFFINITY and request.replayed.brings_strangers():
                self.tries.meet_stranger(request, line)
            return 0
        if (said == AFFINITY) == (rule == AFFINITY):
            if not self.keeps_same:
                return self.count_same(request, "affinity")
        ours = RULES[AFFINITY if rule == AFFINITY else BALANCED]
        logged = RULES[said]
        note = ""
        if ours != logged:
            if rule != AFFINITY and (not request.knows_affinity or self.took_lists(request)):
                self.check(request, "affinity", logged, "", line, NO_COOKIES, "undecided")
                return 0
            note = self.tries.explain_affinity(request, said == AFFINITY)
            request.knows_affinity = False  # its counters differ for the same reason
        self.check(request, "affinity", logged, ours, line, note)
        return 0

    cpdef bint is_raced(self, LoggedRequest request):
        """Whether a server may have been down or full for one worker and not for another, whatever their lines say."""
        return self.has_workers and (not request.was_alone() or self.time_us - self.other_us < RACE_US)

    cdef bint is_shared_choice(self, LoggedRequest request, int server, Place place):
        """
        Whether the choice of ``place`` (None: not of its cluster) hangs on what another worker did, which no line tells in
        time.

        A last chance goes to whose mark is oldest, by the millisecond, and whom nobody else tries: a worker that had to wait
        for its core writes its lines behind those of whom it was ahead of.
        """
        cdef bint was_down = place is not None and self.is_down(place)
        if was_down and (server < 0 or request.replayed.choice.tried.had_last_chance):
            return self.has_workers
        return (server < 0 or was_down) and self.is_raced(request)

    cdef bint is_down(self, Place place):
        return ws_load64(&place.cluster.servers[place.index].down_until_ms) > self.now_ms()

    cpdef bring_session(self, LoggedRequest request):
        """Clone ids come from the Cookie lines, else from the values that the log says it has parsed."""
        cdef ReplayedRequest replayed = request.replayed
        cdef list cookies = request.cookies
        cdef bytes name, value
        if request.values and (not cookies or self.lost_lists(request)):
            name = replayed.found.cookie[:replayed.found.cookie_len]
            cookies = []
            for value in request.values:
                if value not in replayed.target:
                    cookies.append(name + b"=" + value)
        if cookies:
            replayed.bring(cookies)
            if request.values:
                request.clone_ids = b" ".join(replayed.clone_ids())

    cdef bint lost_lists(self, LoggedRequest request):
        """
        Whether its Cookie lines bring no clone id, so that those parsed must have been taken away before: a Cookie line is
        what its server got (docs/decisions/0006).
        """
        return request.replayed.clone_ids_in(request.cookies) == request.replayed.clone_ids_in([])

    cdef bint took_lists(self, LoggedRequest request):
        """Whether that may be so, and no line tells what was parsed: below Debug, for sessions not of WebSphere's form."""
        cdef Service service = request.replayed.service
        return not request.values and (service.takes_back or service.strips_clone_ids) and self.lost_lists(request)

    cpdef str name_of(self, LoggedRequest request, int server):
        """Of a server of the request's cluster, or why there is none."""
        cdef Cluster cluster
        if request.cluster < 0:
            return NOT_ROUTED
        cluster = cluster_of(request)
        if server < 0 or cluster is None:
            return (<dict>NO_SERVER).get(server, "none")
        return cluster.server_names[server]

    cdef int compare_clone_ids(self, LoggedRequest request, int64_t line) except -1:
        """The Cookie line came after the choice: it must bring the ids that the choice was made with."""
        cdef bytes found
        cdef str ours, logged
        if request.replayed is None or not request.attempt.is_decided or request.failures:
            return 0
        found = b" ".join(request.replayed.clone_ids_in(request.cookies))
        if not found and not request.clone_ids or request.values and self.lost_lists(request):
            return 0
        if found == request.clone_ids and not self.keeps_same:
            return self.count_same(request, "clone_ids")
        ours = logged = text_of(found)
        if found != request.clone_ids:
            logged = text_of(request.clone_ids) if request.values else "none"
        self.check(request, "clone_ids", logged, ours, line, FROM_COOKIE)
        return 0

    # --- how it ended -----------------------------------------------------------------------------------------------------

    cpdef check_transport(self, LoggedRequest request):
        """Whether the try went to the server's Transport for the request's scheme."""
        cdef Attempt attempt = request.attempt
        cdef Place place = attempt.place
        cdef str logged = attempt.transport
        cdef int64_t line = attempt.transport_line
        cdef object secure = request.is_secure
        cdef str ours, why
        cdef bint is_listed
        if logged is None:
            return
        if place is None:
            why = UNNAMED_SERVER if not attempt.server else NO_SUCH_SERVER
            self.check(request, "transport", logged, "", line, why, "undecided")
            return
        if secure is None and (request.port == DEFAULT_PORT or request.port == DEFAULT_TLS_PORT):
            secure = request.port == DEFAULT_TLS_PORT
        is_listed = logged == place.secure_address or logged == place.plain_address
        if secure is not None or place.secure_address == place.plain_address:
            ours = place.plain_address if secure is False else place.secure_address
            if logged != ours and request.is_secure is None and is_listed:
                why = OTHER_SCHEME
                self.check(request, "transport", logged, ours, line, why, "undecided")
            else:
                self.check(request, "transport", logged, ours, line)
        elif is_listed:
            why = EITHER_SCHEME
            self.check(request, "transport", logged, logged, line, why)
        else:
            self.check(request, "transport", logged, f"{place.secure_address} or {place.plain_address}", line)

    cdef int check_size(self, LoggedRequest request, int64_t line) except -1:
        """The request went to a server, so nothing forbade a body of its length."""
        cdef Service service
        if request.cluster < 0:
            return 0
        service = request.process.view.services[request.cluster]
        if service is not None and service.is_too_large(request.content_length):
            self.tries.judge_size(request, line)
        elif self.keeps_same:
            self.check(request, "post_size", "sent", "sent", line)
        else:
            self.count_same(request, "post_size")
        return 0

    cdef int check_rise(self, LoggedRequest request, tuple before, tuple now, int64_t line) except -1:
        cdef int64_t failed = <int64_t>now[0] - <int64_t>before[0]
        cdef int64_t affinity = <int64_t>now[1] - <int64_t>before[1]
        cdef int64_t total = <int64_t>now[2] - <int64_t>before[2]
        cdef bint is_failure_line = failed > 0
        cdef bint expected = request.by_affinity
        cdef str logged, note, result
        if request.was_alone() and (
            failed > 1 or failed < 0 or total != (not is_failure_line)
            or (affinity != expected if request.knows_affinity else not 0 <= affinity <= 1)
        ):
            result, note = "differs", COUNTS
            # each request, or try of one, is in one of these two
            if min(failed, affinity, total) >= 0 and (failed + total > 1 or not request.knows_affinity):
                result, note = "undecided", MISSING_REQUESTS
            self.check(
                request, "counters", f"{now[0]}/{now[1]}/{now[2]}",
                f"{before[0] + is_failure_line}/{before[1] + expected}/{before[2] + (not is_failure_line)}",
                line, note, result,
            )
        elif self.keeps_same:
            # lines of requests that run beside each other need not be written in the order of their counting
            note = COUNTS if request.was_alone() else OTHERS_BESIDE
            logged = f"{now[0]}/{now[1]}/{now[2]}"
            self.check(request, "counters", logged, logged, line, note)
        else:
            self.count_same(request, "counters")
        return 0

    cdef int check_status(self, LoggedRequest request, Attempt attempt) except -1:
        """An answer goes to the client, unless it sends the request to another server."""
        cdef str logged
        if attempt.status < LEAST_ERROR:
            return 0  # it does so in any configuration
        if request.replayed is not None and request.process.view.is_failure(attempt.status):
            self.tries.judge_error(request)
        elif self.keeps_same:
            logged = str(attempt.status)
            self.check(request, "status", logged, logged, attempt.status_line)
        else:
            self.count_same(request, "status")
        return 0
