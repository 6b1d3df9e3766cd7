"""A client's connection that notes how much each read gives it, whoever reads."""

import asyncio

from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.http1 cimport Http1


cdef class Noted(Http1):
    cdef public list sizes

    def __init__(self, Engine engine not None):
        self.sizes = []

    cdef int feed(self, Py_ssize_t length) except -1:
        self.sizes.append(length)
        return Http1.feed(self, length)


class NotedProtocol(Noted, asyncio.BufferedProtocol):
    """As event loops want it."""
