"""
What is changed in a request before its servers see it: clone lists taken away, X-Forwarded fields written, hops counted.

Driven by ``intake`` right before ``rewrite`` writes the head. Joins the parts and holds no state of its own.
"""

from libc.stdio cimport snprintf
from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.forwarded cimport write_forwarded
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.lines cimport Room, replace_line, reserve
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.rewrite cimport Origin
from wsproxy._fast.session_cookie cimport strip_clone_ids
from wsproxy._fast.stream cimport OUT_SIZE

cdef enum:
    HOPS_LINE = 40  # "Max-Forwards: ", 18 digits, CR LF, NUL


cdef int count_hop(Room* room, RequestHead* head) noexcept nogil:
    """Max-Forwards is one less for whoever gets the request from us (RFC 9110 7.6.2)."""
    cdef char* line = reserve(room, HOPS_LINE)
    if line == NULL:
        return -1
    replace_line(
        &head.fields, &head.fields.at[head.hops_at], line,
        snprintf(line, HOPS_LINE, "Max-Forwards: %lld\r\n", <long long>(head.hops - 1)),
    )
    return 0


cdef int edit_request(Engine engine, Service service, RequestHead* head, Origin* origin, MatchResult* found) noexcept:
    cdef Room room = Room(engine.edits, 0, OUT_SIZE)
    if head.hops > 0 and count_hop(&room, head) < 0:
        return -1
    if service.strips_clone_ids and found.cookie_len:
        if strip_clone_ids(
            &room, head, found.cookie, found.cookie_len, found.url_id, found.url_id_len, service.cluster.separator
        ) < 0:
            return -1
    if service.x_forwarded or service.forwarded:
        return write_forwarded(&room, head, origin, service.x_forwarded, service.forwarded)
    return 0
