"""
What a service wants changed in a request before its servers see it: clone lists taken away, X-Forwarded fields written.

Driven by ``intake`` right before ``rewrite`` writes the head. Joins the parts and holds no state of its own.
"""

from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.forwarded cimport write_forwarded
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.lines cimport Room
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.rewrite cimport Origin
from wsproxy._fast.session_cookie cimport strip_clone_ids
from wsproxy._fast.stream cimport OUT_SIZE


cdef int edit_request(Engine engine, Service service, RequestHead* head, Origin* origin, MatchResult* found) noexcept:
    cdef Room room = Room(engine.edits, 0, OUT_SIZE)
    if service.strips_clone_ids and found.cookie_len:
        if strip_clone_ids(
            &room, head, found.cookie, found.cookie_len, found.url_id, found.url_id_len, service.cluster.separator
        ) < 0:
            return -1
    if service.x_forwarded or service.forwarded:
        return write_forwarded(&room, head, origin, service.x_forwarded, service.forwarded)
    return 0
