# Wakes a worker up some times a second.

from wsproxy._fast.net.poller cimport Channel


cdef class Ticker(Channel):
    cdef object call                # () -> None
