# X-Forwarded-For, -Proto, -Host and Forwarded: who the client is, for servers that do not read private headers.

from wsproxy._fast.head cimport RequestHead
from wsproxy._fast.lines cimport Room
from wsproxy._fast.rewrite cimport Origin

# Rewrites, drops and adds the three X-Forwarded fields, or Forwarded, or both; 0, or -1 where the room has no more.
cdef int write_forwarded(Room* room, RequestHead* head, Origin* origin, bint x_forwarded, bint forwarded) noexcept nogil
