# What a service wants changed in a request before its servers see it, and in an answer before its client does.

from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.session_cookie cimport Taking
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.decide.writers cimport Found
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.origin cimport Origin
from wsproxy._fast.http.scratch cimport Scratch

# Points the head to what is to be written instead, in `scratch`; 0, or -1: no room. Not needed where neither
# `service.edits_requests` nor `taking` nor `head.hops > 0`. `taking`: what of clone lists the server must not get.
cdef int edit_request(
    Scratch* scratch, Service service, RequestHead* head, Origin* origin, MatchResult* found, Taking taking
) noexcept

cdef struct Session:
    # What an answer's edits need to know of its request.
    const char* cookie          # AffinityCookie of its Route
    Py_ssize_t cookie_len       # 0: it has none
    const char* value           # what it brought in this cookie, where another server than its owner may have taken it
    Py_ssize_t value_len
    bint is_kept                # a value was kept, of a cookie or not
    bint had_list               # the server got a clone list with it
    bint secure                 # the client came over https

# The same for the answer of this server; `news`: what its cookies say of who writes clone ids, and was never said.
cdef int edit_response(
    Scratch* scratch, Service service, int server, ResponseHead* head, const Session* session, Found* news
) noexcept
