# What a service wants changed in a request before its servers see it.

from wsproxy._fast.engine cimport Engine, Service
from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.match cimport MatchResult
from wsproxy._fast.rewrite cimport Origin

# Points the head to what is to be written instead, in `engine.edits`; 0, or -1: no room. Not needed where neither
# `service.edits_requests` nor `head.hops > 0`.
cdef int edit_request(Engine engine, Service service, RequestHead* head, Origin* origin, MatchResult* found) noexcept
