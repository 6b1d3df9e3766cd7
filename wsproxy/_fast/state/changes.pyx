"""
Why a server is down, since when and who saw it: the last changes of all servers' states, over all workers.

Written by ``cluster`` where a state changes, which is rare; read by admin through ``SharedState.changes``. Must not hold what
belongs to a session: of a request only method and visible path are kept, never a query, a path parameter or a header.
"""

from collections import namedtuple

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, strlen
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec
from posix.unistd cimport getpid
from wsproxy._fast.base.atomics cimport ws_load64, ws_store64
from wsproxy._fast.base.lock cimport ws_fence, ws_lock, ws_unlock

# ``pid`` and ``tid``: the request's id in all logs; 0: none did it, or it is not known which.
Change = namedtuple("Change", "number wall_ms kind cluster server worker error detail request pid tid")


cdef uint64_t record_change(
    ChangeRing* ring, int kind, const char* cluster, const char* server, const Evidence* evidence
) noexcept nogil:
    cdef ChangeRecord* record
    cdef timespec now
    cdef uint64_t number
    ws_lock(&ring.lock)
    number = ring.last + 1
    record = &ring.records[number % MOST_CHANGES]
    ws_store64(&record.number, 0)  # a writer that dies now leaves the oldest record broken, and readers see that
    ws_fence()
    clock_gettime(CLOCK_REALTIME, &now)
    record.wall_ms = <int64_t>now.tv_sec * 1000 + now.tv_nsec // 1_000_000
    record.kind = kind
    record.worker = evidence.worker
    record.error = evidence.error
    record.pid = getpid() if evidence.request_number else 0
    record.tid = <uint32_t>evidence.request_number
    copy_text(record.cluster, NAME_BYTES, cluster, strlen(cluster))
    copy_text(record.server, NAME_BYTES, server, strlen(server))
    copy_text(record.detail, TEXT_BYTES, evidence.detail, evidence.detail_len)
    copy_text(record.request, TEXT_BYTES, evidence.head, visible_start(evidence.head, evidence.head_len))
    ws_store64(&record.number, <int64_t>number)
    ws_store64(<int64_t*>&ring.last, <int64_t>number)
    ws_unlock(&ring.lock)
    return number


cdef void copy_text(char* out, Py_ssize_t size, const char* text, Py_ssize_t length) noexcept nogil:
    length = min(length, size - 1)
    if length > 0:
        memcpy(out, text, length)
    out[max(length, 0)] = 0


cdef Py_ssize_t visible_start(const char* head, Py_ssize_t length) noexcept nogil:
    """Length of ``METHOD /path`` at the start of a request head; 0 where there is none."""
    cdef const char* space
    cdef const char* end
    if length <= 0:
        return 0
    space = <const char*>memchr(head, c" ", length)
    if space == NULL:
        return 0
    end = <const char*>memchr(space + 1, c" ", length - (space + 1 - head))
    if end == NULL:
        return 0
    return space + 1 - head + visible_length(space + 1, end - space - 1)


cdef Py_ssize_t visible_length(const char* target, Py_ssize_t length) noexcept nogil:
    """
    Up to where parameters begin, or where somebody who mistook the separator or encoded it made them begin.

    ``;``, ``?``, ``&`` and ``=``, as they are or as %3B, %3F, %26 and %3D, also encoded several times; and up to an address
    within it, which may have a password. Shorter than what ``mask`` tells, which needs the names of a configuration.
    """
    cdef Py_ssize_t i, at
    cdef char c, low
    for i in range(length):
        c = target[i]
        if c == c";" or c == c"?" or c == c"&" or c == c"=":
            return i
        if c == c":" and i + 2 < length and target[i + 1] == c"/" and target[i + 2] == c"/":
            return i
        if c == c"%":
            at = i + 1
            while at + 2 < length and target[at] == c"2" and target[at + 1] == c"5":
                at += 2
            if at + 1 >= length:
                continue
            low = target[at + 1] | 0x20
            if target[at] == c"3" and (low == c"b" or low == c"d" or low == c"f"):
                return i
            if target[at] == c"2" and target[at + 1] == c"6":
                return i
    return length


def visible_path(bytes target not None) -> str:
    """The path of a request target up to whatever may begin parameters: session ids never reach a log."""
    return target[:visible_length(<const char*>target, len(target))].decode("ascii", "backslashreplace")


cdef list read_changes(ChangeRing* ring, uint64_t since):
    cdef ChangeRecord copy
    cdef ChangeRecord* record
    cdef uint64_t last = <uint64_t>ws_load64(<int64_t*>&ring.last)
    cdef uint64_t number = since + 1
    cdef list found = []
    if last >= MOST_CHANGES and number <= last - MOST_CHANGES:
        number = last - MOST_CHANGES + 1  # older ones are overwritten
    while 0 < number <= last:
        record = &ring.records[number % MOST_CHANGES]
        if ws_load64(&record.number) == <int64_t>number:
            memcpy(&copy, record, sizeof(ChangeRecord))
            ws_fence()
            if ws_load64(&record.number) == <int64_t>number:  # else it was overwritten meanwhile, by a newer one
                found.append(change_of(&copy))
        number += 1
    return found


cdef object change_of(ChangeRecord* record):
    return Change(
        record.number,
        record.wall_ms,
        ChangeKind(record.kind),
        (<bytes>record.cluster).decode("utf-8", "replace"),
        (<bytes>record.server).decode("utf-8", "replace"),
        record.worker,
        record.error,
        (<bytes>record.detail).decode("utf-8", "replace"),
        (<bytes>record.request).decode("ascii", "backslashreplace"),
        record.pid,
        record.tid,
    )
