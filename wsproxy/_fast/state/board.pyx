"""
Questions to all workers about the requests that they run, and their answers.

Made with the shared state before the fork. The process that answers operators asks, one question at a time; a worker looks at
its sweeps whether there is a new one (``proxy.running``), so a request pays nothing for it. Must not hold what belongs to a
session: of a request method and visible path.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint32_t
from wsproxy._fast.base.atomics cimport ws_load64, ws_store64
from wsproxy._fast.base.memory cimport ws_map_shared, ws_unmap

# ``age_ms`` -1: nobody has noted when it began. ``asked``: method and path.
Running = namedtuple("Running", "pid number stage age_ms cluster server asked peer")
# A worker's answer: the oldest of its ``total`` requests.
Page = namedtuple("Page", "pid total killed running")


cdef Py_ssize_t board_size(int workers) noexcept:
    return sizeof(Question) + 64 + workers * sizeof(BoardPage)


cdef class Board:
    """A mapping with a page for each of ``workers``, of ``fd`` at ``offset`` or (-1) anonymous."""

    def __cinit__(self, int workers, int fd=-1, long long offset=0):
        if workers < 1:
            raise ValueError(f"found {workers} workers; allowed is 1 or more")
        self.workers = workers
        self.size = board_size(workers)
        self.memory = <char*>ws_map_shared(fd, offset, self.size)
        if self.memory == NULL:
            raise MemoryError
        self.question = <Question*>self.memory

    def __dealloc__(self):
        ws_unmap(self.memory, self.size)

    cdef BoardPage* page(self, int worker) except NULL:
        if not 0 <= worker < self.workers:
            raise ValueError(f"found worker {worker}; allowed is 0..{self.workers - 1}")
        return <BoardPage*>(self.memory + 64) + worker

    def ask(self, int kill_pid=0, uint32_t kill_number=0) -> int:
        """The number of a new question; the worker with ``kill_pid`` ends its request ``kill_number``."""
        cdef int64_t number = ws_load64(&self.question.number) + 1
        ws_store64(&self.question.kill_with, 0)  # a worker may read, for the question before
        ws_store64(&self.question.kill, <int64_t>kill_pid << 32 | kill_number)
        ws_store64(&self.question.kill_with, number)
        ws_store64(&self.question.number, number)
        return number

    def is_asked(self, int worker) -> bool:
        """Whether the worker has a question to answer."""
        return ws_load64(&self.question.number) != ws_load64(&self.page(worker).answered)

    def read_page(self, int worker, int64_t number) -> Page | None:
        """What the worker answers to question ``number``; None: nothing yet."""
        cdef BoardPage* page = self.page(worker)
        cdef RunningRow* row
        cdef int at
        if ws_load64(&page.answered) != number:
            return None
        found = []
        for at in range(min(page.count, MOST_ROWS)):
            row = &page.rows[at]
            found.append(Running(
                page.pid, row.number, Stage(row.stage), row.age_ms, text_of(row.cluster), text_of(row.server),
                (<bytes>row.asked).decode("ascii", "backslashreplace"), text_of(row.peer),
            ))
        return Page(page.pid, page.total, bool(page.killed), found)


cdef str text_of(const char* text):
    return (<bytes>text).decode("utf-8", "replace")
