"""
Wakes a worker up some times a second: a timerfd in its epoll set.

Made by ``dataplane.sweeper``. A timer of the event loop is one call that needs memory, and where there is none the call is
lost, and with it whoever waits for it to set the next timer. The kernel goes on ticking: what one tick could not do, the next
one does.
"""

import os

from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from wsproxy._fast.net.epoll cimport EPOLLIN, c_close
from wsproxy._fast.net.poller cimport Channel, Poller
from wsproxy._fast.net.stream cimport complain

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include <unistd.h>

    /* A descriptor that is readable every so many nanoseconds; -1 and errno. */
    static inline int ws_tick_every(int64_t every_ns) {
        struct itimerspec when;
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (fd < 0) return -1;
        when.it_interval.tv_sec = every_ns / 1000000000;
        when.it_interval.tv_nsec = every_ns % 1000000000;
        when.it_value = when.it_interval;
        if (timerfd_settime(fd, 0, &when, NULL) < 0) {
            close(fd);
            return -1;
        }
        return fd;
    }
    """
    int ws_tick_every(long every_ns)
    Py_ssize_t c_read "read"(int fd, void* data, size_t length)

cdef enum:
    NS = 1_000_000_000


cdef class Ticker(Channel):
    """Calls ``call`` every ``every_s`` seconds until it is closed; several ticks that were missed are one."""

    def __init__(self, Poller poller not None, double every_s, object call not None):
        if not 0.001 <= every_s <= 3600:
            raise ValueError(f"found a tick every {every_s} s; allowed is every 0.001 to 3600 s")
        self.poller = poller
        self.call = call
        self.fd = ws_tick_every(<long>(every_s * NS))
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno))
        cdef int number = self.watch(EPOLLIN)
        if number:
            self.close()
            raise OSError(number, os.strerror(number))

    def __dealloc__(self):
        if self.fd >= 0:
            c_close(self.fd)

    cdef int on_events(self, uint32_t events) except -1:
        cdef uint64_t ticks
        if self.fd < 0 or c_read(self.fd, &ticks, sizeof(ticks)) < 0:
            return 0
        try:
            self.call()
        except Exception:
            complain("internal error at a tick; the next one follows", ())
        return 0

    def close(self) -> None:
        """Ticks no more."""
        if self.fd >= 0:
            self.watch(0)
            c_close(self.fd)
            self.fd = -1
        self.call = None
