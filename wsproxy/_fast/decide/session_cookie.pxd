# The clone list of a session cookie: completed in answers, taken away before servers that did not write it.

from wsproxy._fast.decide.balance cimport Balancer
from wsproxy._fast.http.fields cimport Field
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.scratch cimport Scratch

cdef enum:
    # Longest cookie value that a completed list makes: where WebSphere's own code begins to warn (PLUGIN 3.1). Without a
    # limit a session that wanders through a large cluster would end in requests too large for its servers.
    MAX_VALUE = 1024

cdef enum Taking:
    # What of a value's list its server does not get.
    TAKE_NOTHING = 0
    TAKE_LISTS              # all of it, unless the value is of WebSphere's form
    TAKE_OURS               # the same, but only the cluster's CloneIDs at its end: the server writes lists of its own
    TAKE_ALL                # all of it, whatever the form: affinity.strip_clone_ids

cdef struct Completion:
    const char* name            # AffinityCookie of the route
    Py_ssize_t name_len
    const char* clone_id        # of the server that answers
    Py_ssize_t clone_id_len
    char separator
    const char* session         # the value that the request came with in this cookie, where another server may have taken it
    Py_ssize_t session_len      # 0: nothing is set that the server did not set
    bint secure                 # the client came over https

cdef struct SetCookie:
    # One Set-Cookie field; points into the head.
    const char* name
    Py_ssize_t name_len
    const char* value           # without quotes
    const char* end             # of the value; `value`: nothing in it can be read as a session
    bint is_deletion            # by its Max-Age

# False: it sets no cookie.
cdef bint read_set_cookie(Field* field, SetCookie* out) noexcept nogil
# Completes what the answer sets, or sets what it does not; 0, or -1 where there is no more memory.
cdef int complete_cookies(Scratch* scratch, ResponseHead* head, Completion* completion) noexcept nogil
# Takes the clone lists out of every cookie `name` and path parameter `url_id`, as `taking` says; 0, or -1 where there
# is no more memory. `cluster`: for TAKE_OURS.
cdef int strip_clone_ids(
    Scratch* scratch, RequestHead* head, const char* name, Py_ssize_t name_len, const char* url_id, Py_ssize_t url_id_len,
    char separator, Taking taking, Balancer cluster,
) noexcept nogil
