"""
Sends requests when they are due, over as many connections as there are, and notes when each was answered: an open loop.

Driven by ``generator``, in a process of its own. A request that finds no free connection waits, and its time runs from when
it was due, not from when it was sent: so a stall is seen by all who came meanwhile (as in wrk2; coordinated omission).
Reads of an answer its status, where its body ends, and ``X-Upstream-Port``. Plain HTTP/1.1 to 127.0.0.1 only.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport atol, calloc, free
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <string.h>
    #include <strings.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include <unistd.h>

    static int64_t paced_now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    }
    static int paced_connect(int port) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) return -1;
        address.sin_port = htons(port);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
            close(fd);
            return -1;
        }
        return fd;
    }
    static int paced_watch(int epoll, int operation, int fd, uint32_t events, uint64_t number) {
        struct epoll_event event = {.events = events, .data.u64 = number};
        return epoll_ctl(epoll, operation, fd, &event);
    }
    static void paced_wake_at(int timer, int64_t at_us) {
        struct itimerspec when = {.it_value = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000}};
        timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
    }
    static int paced_timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); }
    static uint64_t paced_number(struct epoll_event *event) { return event->data.u64; }
    static const char *paced_field(const char *head, const char *name) { return strcasestr(head, name); }
    """
    cdef struct epoll_event:
        uint32_t events
    enum: EPOLLIN, EPOLLOUT, EPOLL_CTL_ADD, EPOLL_CTL_MOD, MSG_NOSIGNAL, EPOLL_CLOEXEC
    int64_t paced_now_us() noexcept
    int paced_connect(int port) noexcept
    int paced_watch(int epoll, int operation, int fd, uint32_t events, uint64_t number) noexcept
    void paced_wake_at(int timer, int64_t at_us) noexcept
    int paced_timer() noexcept
    uint64_t paced_number(epoll_event* event) noexcept
    const char* paced_field(const char* head, const char* name) noexcept
    int epoll_create1(int flags) noexcept
    int epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms) noexcept nogil
    Py_ssize_t c_send "send"(int fd, const void* data, size_t count, int flags) noexcept
    Py_ssize_t c_recv "recv"(int fd, void* data, size_t count, int flags) noexcept
    Py_ssize_t c_read "read"(int fd, void* data, size_t count) noexcept
    int c_close "close"(int fd) noexcept

cdef enum:
    HEAD_ROOM = 16384        # of an answer's head
    READ_ROOM = 262144
    MOST_EVENTS = 256
    LOOK_US = 100000         # how often time-outs are looked for
    TIMER = -1               # in place of a connection's number
    # What a Connection is doing.
    CLOSED = 0
    IDLE = 1
    HEAD = 2
    BODY = 3                 # `left` bytes are to come
    CHUNK_SIZE = 4
    CHUNK_DATA = 5           # `left` bytes, and a line's end
    CHUNK_LAST = 6           # trailers, up to an empty line
    TO_THE_END = 7           # of the connection

# In place of a status.
NOT_SENT = 0
REFUSED = -1     # no connection, or it broke
TIMED_OUT = -2
NOT_HTTP = -3

cdef struct Connection:
    int fd
    int state
    int64_t job
    int64_t sent_us
    size_t out_at
    bint wants_out
    bint was_used
    bint has_answer
    bint closes
    int64_t left
    size_t head_size
    size_t line_size
    char head[HEAD_ROOM + 1]


cdef class Run:
    """One run over ``requests``; job ``n`` is request ``which[n]``, due ``due_us[n]`` after the start."""

    cdef int port, epoll, timer
    cdef int connection_count
    cdef Connection* connections
    cdef int* idle
    cdef int idle_count
    cdef int64_t timeout_us, start_us, job_count, next_job, done_count
    cdef int64_t free_since_us     # when there was a connection again, after a time with none
    cdef list requests
    cdef const int32_t* which
    cdef const int64_t* due
    cdef int64_t* late              # after it was due, or after there was a connection: what we are to blame for
    cdef int64_t* sent
    cdef int64_t* done
    cdef int32_t* status
    cdef int32_t* server
    cdef int64_t* size
    cdef char* room
    cdef bytes which_kept, due_kept
    cdef readonly int64_t again        # requests that were sent once more, as their used connection was closed
    cdef readonly dict columns

    def __init__(self, int port, list requests, bytes which, bytes due_us, int connections, int64_t timeout_us):
        cdef int at
        self.port = port
        self.requests = requests
        self.which_kept, self.due_kept = which, due_us
        self.which = <const int32_t*><const char*>which
        self.due = <const int64_t*><const char*>due_us
        self.job_count = len(due_us) // 8
        self.timeout_us = timeout_us
        self.connection_count = connections
        self.connections = <Connection*>calloc(connections, sizeof(Connection))
        self.idle = <int*>calloc(connections, sizeof(int))
        self.room = <char*>calloc(1, READ_ROOM)
        if not self.connections or not self.idle or not self.room:
            raise MemoryError
        for at in range(connections):
            self.idle[at] = connections - 1 - at
        self.idle_count = connections
        self.columns = {
            name: bytearray(self.job_count * width)
            for name, width in (("late", 8), ("sent", 8), ("done", 8), ("size", 8), ("status", 4), ("server", 4))
        }
        self.late = <int64_t*><char*><bytearray>self.columns["late"]
        self.sent = <int64_t*><char*><bytearray>self.columns["sent"]
        self.done = <int64_t*><char*><bytearray>self.columns["done"]
        self.size = <int64_t*><char*><bytearray>self.columns["size"]
        self.status = <int32_t*><char*><bytearray>self.columns["status"]
        self.server = <int32_t*><char*><bytearray>self.columns["server"]
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.timer = paced_timer()
        if self.epoll < 0 or self.timer < 0 or paced_watch(self.epoll, EPOLL_CTL_ADD, self.timer, EPOLLIN, <uint64_t>TIMER):
            raise OSError(errno, "epoll")

    def __dealloc__(self):
        cdef int at
        if self.connections:
            for at in range(self.connection_count):
                if self.connections[at].state != CLOSED:
                    c_close(self.connections[at].fd)
        free(self.connections)
        free(self.idle)
        free(self.room)
        c_close(self.epoll)
        c_close(self.timer)

    def run(self, int64_t start_us):
        """All jobs; ``start_us`` is a time of CLOCK_MONOTONIC. Ends when each is answered, refused or too late."""
        cdef epoll_event events[MOST_EVENTS]
        cdef int count, at
        cdef int64_t now, look_us, ticks
        cdef uint64_t number
        self.start_us = start_us
        look_us = start_us
        while self.done_count < self.job_count:
            now = paced_now_us()
            self.begin_due(now)
            if now >= look_us:
                self.end_late(now)
                look_us = now + LOOK_US
            self.set_timer(look_us)
            with nogil:
                count = epoll_wait(self.epoll, events, MOST_EVENTS, -1)
            PyErr_CheckSignals()
            for at in range(count):
                number = paced_number(&events[at])
                if number == <uint64_t>TIMER:
                    c_read(self.timer, &ticks, 8)
                else:
                    self.on_event(<int>number, events[at].events)

    cdef int set_timer(self, int64_t look_us) except -1:
        """Wakes for the next job if there is a connection for it."""
        cdef int64_t at_us = look_us
        if self.idle_count and self.next_job < self.job_count:
            at_us = min(at_us, self.start_us + self.due[self.next_job])
        paced_wake_at(self.timer, max(at_us, 1))
        return 0

    cdef int begin_due(self, int64_t now) except -1:
        while self.idle_count and self.next_job < self.job_count and self.start_us + self.due[self.next_job] <= now:
            if now - self.start_us - self.due[self.next_job] > self.timeout_us:
                # nobody waits so long
                self.status[self.next_job] = TIMED_OUT
                self.done[self.next_job] = now - self.start_us
                self.done_count += 1
                self.next_job += 1
                continue
            self.idle_count -= 1
            self.late[self.next_job] = now - max(self.start_us + self.due[self.next_job], self.free_since_us)
            self.begin(self.idle[self.idle_count], self.next_job)
            self.next_job += 1
        return 0

    cdef int begin(self, int number, int64_t job) except -1:
        """The job on this connection, which is opened if it is not."""
        cdef Connection* one = &self.connections[number]
        one.job = job
        one.out_at = 0
        one.head_size = one.line_size = 0
        one.has_answer = one.closes = False
        one.sent_us = paced_now_us()
        self.sent[job] = one.sent_us - self.start_us
        if one.state == CLOSED:
            one.fd = paced_connect(self.port)
            if one.fd < 0:
                return self.end(number, REFUSED)
            one.was_used = False
            one.wants_out = True
            one.state = HEAD
            paced_watch(self.epoll, EPOLL_CTL_ADD, one.fd, EPOLLIN | EPOLLOUT, number)
            return 0
        one.was_used = True
        one.state = HEAD
        return self.send(number)

    cdef int send(self, int number) except -1:
        cdef Connection* one = &self.connections[number]
        cdef bytes request = <bytes>self.requests[self.which[one.job]]
        cdef const char* text = request
        cdef size_t size = len(request)
        cdef Py_ssize_t count
        while one.out_at < size:
            count = c_send(one.fd, text + one.out_at, size - one.out_at, MSG_NOSIGNAL)
            if count < 0 and errno == EINTR:
                continue
            if count < 0 and errno == EAGAIN:
                if not one.wants_out:
                    one.wants_out = True
                    paced_watch(self.epoll, EPOLL_CTL_MOD, one.fd, EPOLLIN | EPOLLOUT, number)
                return 0
            if count < 0:
                return self.broken(number)
            one.out_at += count
        if one.wants_out:
            one.wants_out = False
            paced_watch(self.epoll, EPOLL_CTL_MOD, one.fd, EPOLLIN, number)
        return 0

    cdef int on_event(self, int number, uint32_t events) except -1:
        cdef Connection* one = &self.connections[number]
        cdef Py_ssize_t count
        if one.state == CLOSED:
            return 0
        if one.state == IDLE:
            # the other side ends it, or says what nobody asked for; it stays among those that are free
            self.close(one)
            return 0
        if events & EPOLLOUT:
            self.send(number)
            if one.state == CLOSED or one.job < 0:
                return 0
        if not events & ~<uint32_t>EPOLLOUT:
            return 0
        count = c_recv(one.fd, self.room, READ_ROOM, 0)
        if count < 0 and (errno == EAGAIN or errno == EINTR):
            return 0
        if count <= 0:
            if one.state == TO_THE_END and count == 0:
                one.closes = True
                return self.answered(number)
            return self.broken(number)
        one.has_answer = True
        return self.take(number, self.room, count)

    cdef int take(self, int number, const char* data, Py_ssize_t count) except -1:
        """Bytes of an answer."""
        cdef Connection* one = &self.connections[number]
        cdef Py_ssize_t used
        self.size[one.job] += count
        while count > 0:
            if one.state == HEAD:
                used = self.take_head(one, data, count)
                if used < 0:
                    return self.end(number, NOT_HTTP)
            elif one.state == BODY or one.state == CHUNK_DATA:
                used = min(<int64_t>count, one.left)
                one.left -= used
                if one.left == 0 and one.state == CHUNK_DATA:
                    one.state, one.line_size = CHUNK_SIZE, 0
            elif one.state == TO_THE_END:
                used = count
            else:
                used = self.take_line(one, data, count)
                if used < 0:
                    return self.end(number, NOT_HTTP)
            data += used
            count -= used
            if one.state == IDLE or (one.state == BODY and one.left == 0):
                if count:
                    one.closes = True  # more than was asked for
                return self.answered(number)
        return 0

    cdef Py_ssize_t take_head(self, Connection* one, const char* data, Py_ssize_t count) except -2:
        """How many bytes of it are the head's; -1: this is no HTTP."""
        cdef Py_ssize_t before = one.head_size
        cdef Py_ssize_t fits = min(count, <Py_ssize_t>(HEAD_ROOM - before))
        cdef Py_ssize_t at, end = -1
        cdef const char* found
        cdef int status
        memcpy(one.head + before, data, fits)
        one.head_size += fits
        one.head[one.head_size] = 0
        for at in range(max(before - 3, 0), <Py_ssize_t>one.head_size - 3):
            if memcmp(one.head + at, b"\r\n\r\n", 4) == 0:
                end = at + 4
                break
        if end < 0:
            return -1 if one.head_size == HEAD_ROOM else count
        if end < 13 or one.head[0] != c"H":
            return -1
        one.head[end] = 0
        status = <int>atol(one.head + 9)
        if 100 <= status < 200:
            one.head_size = 0  # 100 (Continue): the answer is still to come
            return end - before
        self.status[one.job] = status
        found = paced_field(one.head, b"\r\nx-upstream-port:")
        self.server[one.job] = <int32_t>atol(found + 18) if found else 0
        one.closes = paced_field(one.head, b"\r\nconnection: close") != NULL
        found = paced_field(one.head, b"\r\ncontent-length:")
        if status == 204 or status == 304 or self.is_head(one):
            one.state, one.left = BODY, 0
        elif paced_field(one.head, b"\r\ntransfer-encoding:"):
            one.state, one.line_size = CHUNK_SIZE, 0
        elif found:
            one.state, one.left = BODY, atol(found + 17)
        else:
            one.state = TO_THE_END
        return end - before

    cdef bint is_head(self, Connection* one) except -1:
        return (<bytes>self.requests[self.which[one.job]]).startswith(b"HEAD ")

    cdef Py_ssize_t take_line(self, Connection* one, const char* data, Py_ssize_t count) except -2:
        """Up to the end of a line of a chunk's size or a trailer, which may have come in pieces; -1: too long."""
        cdef Py_ssize_t used = 0
        cdef char byte
        while used < count:
            byte = data[used]
            used += 1
            if byte != c"\n":
                if byte != c"\r":
                    one.head[one.line_size] = byte
                    one.line_size += 1
                    if one.line_size == HEAD_ROOM:
                        return -1
                continue
            one.head[one.line_size] = 0
            if one.state == CHUNK_LAST:
                if one.line_size == 0:
                    one.state = IDLE
                    return used
            else:
                one.left = int((<bytes>one.head[:one.line_size]).partition(b";")[0] or b"0", 16)
                if one.left:
                    one.left += 2
                    one.state = CHUNK_DATA
                else:
                    one.state = CHUNK_LAST
            one.line_size = 0
            return used
        return used

    cdef int answered(self, int number) except -1:
        cdef Connection* one = &self.connections[number]
        return self.end(number, self.status[one.job])

    cdef int broken(self, int number) except -1:
        """A used connection that ends before a byte of the answer: the request goes out once more, as browsers do."""
        cdef Connection* one = &self.connections[number]
        cdef int64_t job = one.job, sent = self.sent[one.job]
        if one.was_used and not one.has_answer:
            self.close(one)
            self.again += 1
            self.begin(number, job)
            self.sent[job] = sent
            return 0
        return self.end(number, REFUSED)

    cdef int end(self, int number, int status) except -1:
        """The job is over, and the connection free."""
        cdef Connection* one = &self.connections[number]
        cdef int64_t one_job = one.job
        self.status[one.job] = status
        self.done[one.job] = paced_now_us() - self.start_us
        self.done_count += 1
        one.job = -1
        if status <= 0 or one.closes:
            self.close(one)
        else:
            one.state = IDLE
        if self.idle_count == 0:
            self.free_since_us = self.start_us + self.done[one_job]
        self.idle[self.idle_count] = number
        self.idle_count += 1
        return 0

    cdef int close(self, Connection* one) except -1:
        if one.state != CLOSED and one.fd >= 0:
            c_close(one.fd)
        one.state = CLOSED
        one.fd = -1
        return 0

    cdef int end_late(self, int64_t now) except -1:
        cdef int at
        for at in range(self.connection_count):
            if self.connections[at].state > IDLE and now - self.connections[at].sent_us > self.timeout_us:
                self.end(at, TIMED_OUT)
        return 0
