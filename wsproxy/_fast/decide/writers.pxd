# Who writes clone ids: learned from the cookies that servers set; and what of clone ids cannot be right.

from wsproxy._fast.decide.cluster cimport Cluster
from wsproxy._fast.decide.match cimport MatchResult
from wsproxy._fast.decide.session_cookie cimport Taking
from wsproxy._fast.http.fields cimport Fields
from wsproxy._fast.http.head cimport RequestHead

cdef enum Writer:
    # What a server does about clone ids, as the last session cookie that it set has shown; 0: it has set none yet.
    WRITES_ITS_OWN = 1
    WRITES_NONE                 # no list: Tomcat, Jetty, Spring Session
    WRITES_OTHERS               # a list without its CloneID: the file is stale, or it is no list of clone ids

cpdef enum Finding:
    # What is worth a word, once in the log and in each explanation.
    NOTHING_FOUND = 0
    NO_IDS                      # a server writes no clone ids
    OWN_ROUTE                   # it writes its CloneID as a route: read as a clone id
    OTHERS_ID                   # it writes the clone id of another server
    UNKNOWN_ID                  # it writes one that no server has
    OTHER_SEPARATOR             # a CloneID stands behind the separator that is not the cluster's
    OTHER_NAME                  # a cookie or path parameter has the name in another case
    OTHER_CASE                  # a clone id is a CloneID in another case

cdef enum:
    # Of one request; what comes after is not told.
    MOST_FOUND = 8

cdef struct Found:
    Finding kind
    int server                  # whose CloneID it is; -1 nobody's
    const char* text            # clone id or name as it was found; borrowed from the head
    Py_ssize_t length
    bint in_path                # a path parameter brings it

# What a server of the cluster must not get of lists that are not of WebSphere's form; `server` < 0: none is chosen yet.
cdef Taking taking_of(Cluster cluster, int server) noexcept nogil
# Learns from an answer's cookies of this name. `had_list`: the server was sent a list, so a list proves nothing. What is
# found and was never told before, in `news`; else its kind is NOTHING_FOUND.
cdef void learn(
    Cluster cluster, int server, Fields* fields, const char* name, Py_ssize_t name_len, bint had_list, Found* news
) noexcept nogil
# What cannot be right in a request's session; how many are in `out`.
cdef int find_misfits(Cluster cluster, RequestHead* head, MatchResult* found, Found* out) noexcept nogil
# Whether it was never told before of this cluster.
cdef bint is_news(Cluster cluster, int server, Finding kind) noexcept nogil
# For whoever puts it into words. `server`: who set the cookie; -1: a client brought it. With both names of the route.
cdef object describe_found(Cluster cluster, int server, bytes cookie, bytes url_id, Found* found)
