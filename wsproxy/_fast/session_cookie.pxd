# The clone list of a session cookie: completed in answers, taken away before servers that cannot read it.

from wsproxy._fast.head cimport RequestHead, ResponseHead
from wsproxy._fast.lines cimport Room

cdef enum:
    # Longest cookie value that a completed list makes: where WebSphere's own code begins to warn (PLUGIN 3.1). Without a
    # limit a session that wanders through a large cluster would end in requests too large for its servers.
    MAX_VALUE = 1024

cdef struct Completion:
    const char* name            # AffinityCookie of the route
    Py_ssize_t name_len
    const char* clone_id        # of the server that answers
    Py_ssize_t clone_id_len
    char separator
    const char* session         # the value that the request came with in this cookie, where another server may have taken it
    Py_ssize_t session_len      # 0: nothing is set that the server did not set
    bint secure                 # the client came over https

# Completes what the answer sets, or sets what it does not; 0, or -1 where the room has no more.
cdef int complete_cookies(Room* room, ResponseHead* head, Completion* completion) noexcept nogil
# Takes the clone lists out of every cookie `name` and path parameter `url_id`; 0, or -1 where the room has no more.
cdef int strip_clone_ids(
    Room* room, RequestHead* head, const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
    char separator,
) noexcept nogil
