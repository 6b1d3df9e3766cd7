"""
What is changed in a request before its servers see it: clone lists taken away, X-Forwarded fields written, hops counted.
And in an answer before its client does: clone ids written into session cookies.

Driven by ``intake`` and ``downstream`` right before ``rewrite`` writes the head. Joins the parts and holds no state of its
own.
"""

from libc.stdio cimport snprintf
from libc.string cimport memset
from wsproxy._fast.base.buffer cimport OUT_SIZE
from wsproxy._fast.base.memory cimport ExactCopy
from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.session_cookie cimport (
    TAKE_ALL, TAKE_LISTS, TAKE_NOTHING, TAKE_OURS, Completion, Taking, complete_cookies, strip_clone_ids,
)
from wsproxy._fast.decide.view cimport Service
from wsproxy._fast.decide.writers cimport NOTHING_FOUND, Found, learn
from wsproxy._fast.http.dates cimport DATE_LINE
from wsproxy._fast.http.fields cimport Limits, no_limits
from wsproxy._fast.http.forwarded cimport write_forwarded
from wsproxy._fast.http.head cimport RequestHead, ResponseHead, parse_request, parse_response
from wsproxy._fast.http.origin cimport TRUST_NOTHING, Origin, Trust, TrustedProxies, believe, client_is_secure, constant_lines
from wsproxy._fast.http.rewrite cimport write_request, write_response
from wsproxy._fast.http.scratch cimport Scratch, replace_line, reserve

cdef enum:
    HOPS_LINE = 40  # "Max-Forwards: ", 18 digits, CR LF, NUL


cdef int count_hop(Scratch* scratch, RequestHead* head) noexcept nogil:
    """Max-Forwards is one less for whoever gets the request from us (RFC 9110 7.6.2)."""
    cdef char* line = reserve(scratch, HOPS_LINE)
    if line == NULL:
        return -1
    replace_line(
        &head.fields, &head.fields.at[head.hops_at], line,
        snprintf(line, HOPS_LINE, "Max-Forwards: %lld\r\n", <long long>(head.hops - 1)),
    )
    return 0


cdef int edit_request(
    Scratch* scratch, Service service, RequestHead* head, Origin* origin, MatchResult* found, Taking taking
) noexcept:
    if head.hops > 0 and count_hop(scratch, head) < 0:
        return -1
    if taking != TAKE_NOTHING and found.cookie_len:
        if strip_clone_ids(
            scratch, head, found.cookie, found.cookie_len, found.url_id, found.url_id_len, service.cluster.separator,
            taking, service.cluster,
        ) < 0:
            return -1
    if service.x_forwarded or service.forwarded:
        return write_forwarded(scratch, head, origin, service.x_forwarded, service.forwarded)
    return 0


cdef int edit_response(
    Scratch* scratch, Service service, int server, ResponseHead* head, const Session* session, Found* news
) noexcept:
    cdef Cluster cluster = service.cluster
    cdef Completion completion
    news.kind = NOTHING_FOUND
    if not session.cookie_len:
        return 0
    if head.fields.has_set_cookie and cluster.has_clone_ids:
        learn(cluster, server, &head.fields, session.cookie, session.cookie_len, session.had_list, news)
    if service.completes_clone_ids and (head.fields.has_set_cookie or session.is_kept):
        completion = Completion(
            session.cookie, session.cookie_len, cluster.clone_ids[server], cluster.clone_id_lens[server], cluster.separator,
            session.value, session.value_len, session.secure,
        )
        return complete_cookies(scratch, head, &completion)
    return 0


# --- for tests: the same writers as Python functions -------------------------------------------------------------

def rewrite_request(
    bytes data not None,
    *,
    bytes peer not None=b"192.0.2.1",
    bytes local_host not None=b"proxy",
    int port=80,
    bint keep_private=False,
    bint failover=False,
    bytes via not None=b"",
    bint trailers=False,
    Service service=None,
    tuple strip=None,
    bint forms=False,
    bint ours=False,
    bint trusted=False,
    bint secure=False,
    TrustedProxies proxies=None,
    Trust trust=TRUST_NOTHING,
    Py_ssize_t scratch_size=OUT_SIZE,
    Py_ssize_t capacity=OUT_SIZE,
):
    """
    The request head as a server gets it; an int <= 0 as ``read_request`` gives it, 1 where ``capacity`` is short.

    ``service``: whose edits are made; None: none is. ``strip``: name of the cookie and of the path parameter of clone lists
    that are taken away; ``forms``: only from values that are not of WebSphere's form, ``ours``: of these only its cluster's
    CloneIDs at the end. ``proxies``: what this one of them says of its client is believed, as ``trust`` says, and ``port``
    is not asked for.
    """
    cdef Taking taking = TAKE_NOTHING
    cdef RequestHead head
    cdef MatchResult found
    cdef Origin origin
    cdef Scratch scratch
    cdef ExactCopy edits
    cdef Limits limits = no_limits()
    cdef ExactCopy copy = ExactCopy(data)
    cdef ExactCopy out = ExactCopy(bytes(capacity))
    cdef bytes constant = constant_lines(peer, secure)
    cdef Py_ssize_t size = parse_request(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    memset(&origin, 0, sizeof(origin))
    origin.constant = <const char*>constant
    origin.constant_len = len(constant)
    origin.local_host = <const char*>local_host
    origin.local_host_len = len(local_host)
    origin.port = port
    origin.peer = <const char*>peer
    origin.peer_len = len(peer)
    origin.trusted = trusted
    origin.secure = secure
    origin.keep_private = keep_private
    origin.failover = failover
    origin.via = <const char*>via
    origin.via_len = len(via)
    origin.trailers = trailers
    if proxies is not None:
        believe(proxies, trust, &head, &origin)
        origin.port = head.port if head.port >= 0 else 443 if client_is_secure(&origin) else 80
    if service is not None:
        edits = ExactCopy(bytes(scratch_size))
        scratch.at, scratch.used, scratch.capacity = edits.at, 0, scratch_size
        memset(&found, 0, sizeof(found))
        if strip is not None:
            taking = TAKE_OURS if ours else TAKE_LISTS if forms else TAKE_ALL
            name, url_id = strip
            found.cookie, found.cookie_len = <const char*><bytes>name, len(name)
            found.url_id, found.url_id_len = <const char*><bytes>url_id, len(url_id)
        if edit_request(&scratch, service, &head, &origin, &found, taking) < 0:
            return 1
    size = write_request(out.at, out.length, &head, &origin)
    return 1 if size < 0 else out.at[:size]


def rewrite_response(
    bytes data not None,
    *,
    bint close=False,
    bint say_keep_alive=False,
    bint drop_length=False,
    bint drop_chunked=False,
    bint keep_trailer=False,
    bytes date not None=b"",
    Service service=None,
    int server=0,
    bytes cookie not None=b"JSESSIONID",
    bytes session not None=b"",
    bint secure=False,
    Py_ssize_t scratch_size=OUT_SIZE,
    Py_ssize_t capacity=OUT_SIZE,
):
    """
    The response head as a client gets it; an int as for ``rewrite_request``.

    ``service``: whose edits are made, for the answer of this ``server``; None: none is. ``session``: the value that a request
    came with which was failed over.
    """
    cdef ResponseHead head
    cdef Session asked
    cdef Found news
    cdef const char* line = <const char*>date if date else NULL
    cdef Scratch scratch
    cdef ExactCopy edits
    cdef Limits limits = no_limits()
    cdef ExactCopy copy = ExactCopy(data)
    cdef ExactCopy out = ExactCopy(bytes(capacity))
    cdef Py_ssize_t size = parse_response(copy.at, copy.length, &limits, &head)
    if size <= 0:
        return size
    if date and len(date) != DATE_LINE:
        raise ValueError(f"found {date!r}; allowed is a line of {DATE_LINE} bytes")
    if service is not None:
        service.cluster.check_server(server)
        edits = ExactCopy(bytes(scratch_size))
        scratch.at, scratch.used, scratch.capacity = edits.at, 0, scratch_size
        asked = Session(
            <const char*>cookie, len(cookie), <const char*>session, len(session), len(session) > 0, False, secure
        )
        if edit_response(&scratch, service, server, &head, &asked, &news) < 0:
            return 1
    size = write_response(out.at, out.length, &head, close, say_keep_alive, drop_length, drop_chunked, keep_trailer, line)
    return 1 if size < 0 else out.at[:size]
