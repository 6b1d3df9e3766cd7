# Plain TCP connections of a worker: one epoll set, without the event loop's transports.

from libc.stdint cimport int64_t, uint32_t
from wsproxy._fast.base.buffer cimport Buffer
from wsproxy._fast.net.endpoint cimport Carrier
from wsproxy._fast.net.epoll cimport ws_address
from wsproxy._fast.net.stream cimport Hub, Stream, Waker

cdef enum:
    # What a transport holds before it stops who writes, and where it lets him go on: asyncio's own limits.
    HIGH_WATER = 65536
    LOW_WATER = 16384


cdef class PlainTransport


cdef class Poller(Waker):
    cdef readonly Hub hub
    cdef object loop
    cdef int epoll_fd
    cdef list doors                 # listening sockets, see `doors`; keeps them alive: the set has only addresses
    cdef PlainTransport dead        # those whose streams must hear that they are lost, in a row; an end needs no memory
    cdef PlainTransport last_dead
    cdef bint running               # `run` is on the stack and will bury the dead itself
    cdef bint awaits_burial         # `bury` is on the loop's list
    cdef bint awaits_turns          # `give_turns` is
    cdef object late                # deque of connections whose bytes are thrown away in another turn
    cdef object unmet               # deque of connections whose TLS handshake goes on in another turn
    cdef PlainTransport corked      # what is encrypted for it is sent once this event is over; None: nothing is
    cdef readonly set arriving      # connections in their TLS handshake: see `tls_socket`
    # The connection that a door has just accepted, as long as it is taken up: what the kernel need not be asked for.
    cdef int newcomer               # its descriptor; -1: there is none
    cdef ws_address peer            # who comes
    cdef const char* local_host     # where to, as text
    cdef int local_port             # -1: it is not known
    cdef int handshakes             # of MOST_HANDSHAKES, what is left of this turn
    cdef int discards               # of MOST_DISCARDS, what is left of this turn

    # What `adopt` does; needs no memory but that of the connection.
    cdef int connect(self, int fd, Stream stream) except -1
    cdef PlainTransport make_transport(self, int fd, Stream stream)
    cdef int die(self, PlainTransport transport) except -1
    cdef int bury_all(self) except -1
    cpdef inherit(self, int fd, Stream stream)
    cdef int discard_late(self) except -1
    cdef int meet_late(self) except -1


cdef class Channel(Carrier):
    # What lies in the epoll set.
    cdef Poller poller
    cdef uint32_t interest          # events that the set was told of; 0: not in it

    cdef int on_events(self, uint32_t events) except -1
    # Every sweep, of doors.
    cdef int tend(self) except -1
    # 0 or an errno.
    cdef int watch(self, uint32_t events) noexcept


cdef class PlainTransport(Channel):
    cdef Stream stream
    cdef object error               # why it is lost
    cdef PlainTransport next_dead
    cdef Buffer out                 # what the kernel did not take
    cdef Py_ssize_t sent            # of `out`
    cdef int send_error             # errno with which sending failed; 0: it did not
    cdef bint is_new                # nothing is asked of the set before the first read
    cdef bint reads                 # nobody paused it, and the peer has not ended
    cdef bint is_late               # it stands in Poller.late or Poller.unmet and is not watched for bytes
    cdef bint is_over               # the peer has ended
    cdef bint write_paused          # the stream was told to stop writing
    cdef bint ends                  # after `out` the peer is told that no more comes
    cdef bint closing
    cdef bint dead

    cdef int settle(self) except -1
    cdef int uncork(self) except -1
    # Some times a second, as long as it is among `Poller.arriving`.
    cdef int check_arrival(self, int64_t now_ms) except -1
    cdef bint read(self) except -1
    cdef bint discard(self) except -1
    cdef int discard_later(self) except -1
    cdef int take_end(self, Py_ssize_t length) except -1
    cdef int flush(self) except -1
    cdef int fail(self, int number) except -1
    cdef int kill(self, object error) except -1
    cpdef write_eof(self)
    cpdef close(self)
    cpdef get_extra_info(self, str name, object default=*)
    cdef int bury(self) except -1
