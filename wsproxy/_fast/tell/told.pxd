# What http_plugin.log is told, masked.

from wsproxy._fast.tell.mask cimport SessionNames

# A head with its lines, as http_plugin.log tells it; `shows_sessions`: at Trace.
cdef bytes told_head(const char* p, Py_ssize_t length, SessionNames names, char separator, bint shows_sessions)
# A request target there: without query, unless sessions are shown.
cdef bytes told_target(const char* p, Py_ssize_t length, SessionNames names, char separator, bint shows_sessions)
cdef bytes told_session(bytes value, char separator, bint shows_sessions)
