# X-Forwarded-For, -Proto, -Host and Forwarded: who the client is, for servers that do not read private headers.

from wsproxy._fast.http.head cimport RequestHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.http.scratch cimport Scratch

# Rewrites, drops and adds the three X-Forwarded fields, or Forwarded, or both; 0, or -1 where there is no more memory.
cdef int write_forwarded(Scratch* scratch, RequestHead* head, Origin* origin, bint x_forwarded, bint forwarded) noexcept nogil
