# The [[edge]] tables of one configuration: which of them fit a request, and what they do with it before any server does.

from libc.stdint cimport uint64_t
from wsproxy._fast.decide.compression cimport Compression
from wsproxy._fast.http.head cimport RequestHead, ResponseHead
from wsproxy._fast.http.origin cimport Origin, TrustedProxies
from wsproxy._fast.http.scratch cimport Scratch

cdef enum:
    MOST_EDGES = 64             # tables: bits of one word

cpdef enum EdgeScheme:
    ANY_SCHEME = 0
    HTTP_ONLY
    HTTPS_ONLY

cpdef enum EdgeAct:
    # What becomes of a request at the edge.
    EDGE_PASSES = 0             # it goes on to its server
    EDGE_DENIES                 # 403
    EDGE_REDIRECTS              # to `EdgeTable.location`
    EDGE_NO_HOST                # 400: it should be redirected, and names no host
    EDGE_FILES                  # answered from the folder of its table
    EDGE_MAINTENANCE            # 503

cdef struct EdgeAsked:
    # What tables select requests by. `head` NULL: it could not be read, and fits only tables that ask for nothing in it.
    RequestHead* head
    const char* path            # decoded and tidied; NULL: no table asks for it
    Py_ssize_t path_len
    Origin* origin
    int local_port
    int cluster                 # index of the Route's; -1: no Route
    int port                    # that the client asked for: Host's, or its scheme's

cdef struct EdgeName:
    const char* text
    Py_ssize_t length
    bint is_suffix              # "*.example.com": `text` begins with the dot

cdef struct EdgePath:
    const char* before          # of the star, or all of it
    Py_ssize_t before_len
    const char* after
    Py_ssize_t after_len
    bint has_star

cdef struct EdgeField:
    const char* name            # lower case
    Py_ssize_t name_len
    const char* line            # "Name: value" CR LF; line_len 0: it only goes
    Py_ssize_t line_len
    bint removes                # what the server sent under that name
    uint64_t earlier            # tables before this one that set or remove it: theirs holds


cdef class Edge:
    # One table; all memory is that of `kept` and `blocks`.
    cdef list kept
    cdef list blocks
    cdef int* ports
    cdef int port_count
    cdef bytes local_host       # of `listener`; empty: any address
    cdef EdgeScheme scheme
    cdef EdgeName* hosts
    cdef int host_count
    cdef EdgePath* paths
    cdef int path_count
    cdef int* clusters          # indexes
    cdef int cluster_count      # -1: any
    cdef bint redirects
    cdef bint ends_redirects    # redirect = "none"
    cdef EdgeScheme to
    cdef bytes to_host
    cdef int to_port
    cdef bytes to_path
    cdef readonly int status    # of the redirect
    cdef bint has_allow
    cdef TrustedProxies allow
    cdef TrustedProxies deny
    cdef EdgeField* fields
    cdef int field_count
    cdef readonly dict pages    # status -> (Content-Type, body)
    cdef uint64_t[4] intercepts  # errors of servers that get a page instead: a bit each, from 400 on
    cdef readonly tuple maintenance  # (Content-Type, body) of its page; None: our own
    cdef bint has_maintenance
    cdef bint maintenance_on
    cdef TrustedProxies maintenance_allow
    cdef readonly int retry_after_s
    cdef bint has_files
    cdef bint has_compress
    cdef Compression compression    # None: what fits is not compressed

    cdef void* room(self, Py_ssize_t size) except NULL
    cdef int* numbers(self, tuple given) except NULL
    cdef int take_hosts(self, tuple hosts) except -1
    cdef int take_paths(self, tuple paths) except -1
    cdef int take_fields(self, tuple fields) except -1
    cdef int take_intercepts(self, tuple statuses) except -1
    cdef bint fits(self, EdgeAsked* asked) noexcept
    cdef bint fits_host(self, EdgeAsked* asked) noexcept
    cdef bint fits_path(self, EdgeAsked* asked) noexcept
    cdef bint fits_port(self, EdgeAsked* asked) noexcept
    cdef bint denies(self, const char* client, Py_ssize_t length) noexcept
    cdef bint sends_on(self, EdgeAsked* asked) noexcept
    cdef bint is_own_host(self, RequestHead* head) noexcept


cdef class EdgeTable:
    cdef readonly tuple edges
    cdef int count
    cdef void* at[64]           # Edge: `edges` holds them
    # Which tables have a duty.
    cdef uint64_t answers       # redirect or files
    cdef uint64_t headers
    cdef uint64_t access
    cdef uint64_t error_pages
    cdef uint64_t intercepts    # pages for errors of servers
    cdef uint64_t maintenance
    cdef uint64_t compress
    cdef uint64_t by_path       # which select by the path
    cdef uint64_t by_cluster    # by the ServerCluster: they fit nothing before the Route is known

    cdef int note(self, Edge edge, uint64_t bit) except -1
    cdef int find_earlier(self) except -1
    # Which tables fit; `scratch` has room for the path.
    cdef uint64_t select(self, EdgeAsked* asked, char* scratch) noexcept
    # What the first of these that has the duty is; -1: none has. `duty` is one of the words above.
    cdef int first(self, uint64_t mask, uint64_t duty) noexcept
    # The first of them that has a page for an answer of our own with this status; -1: none.
    cdef int page_for(self, uint64_t mask, int status) except -2
    # The first of them that has a page instead of a server's answer with this status; -1: none.
    cdef int page_instead(self, uint64_t mask, int status) noexcept
    # Seconds for Retry-After of a 503, by the first of them that has to do with maintenance; 0: nobody says.
    cdef int retry_after(self, uint64_t mask) noexcept
    # What becomes of the request. `table`: which one says so; -1: none. `is_maintained`: an operator says so of its cluster.
    # `scratch` as above, for other readings of the path; NULL: who may ask does not count.
    cdef EdgeAct judge(self, uint64_t mask, EdgeAsked* asked, bint is_maintained, char* scratch, int* table) noexcept
    # Whether the client may not have it; `table` says so.
    cdef bint is_denied(
        self, uint64_t mask, EdgeAsked* asked, char* scratch, const char* client, Py_ssize_t length, int* table
    ) noexcept
    # The first table with `allow` or `deny` that fits; -1: none does.
    cdef int first_access(self, EdgeAsked* asked) noexcept
    # Where the table sends the request.
    cdef bytes location(self, int table, EdgeAsked* asked)
    # The fields that these tables set, add and remove, in a final answer; 0, or -1: no room.
    cdef int edit_answer(self, uint64_t mask, Scratch* scratch, ResponseHead* head) noexcept
    # The same in an answer of our own: its bytes, which begin with a whole head.
    cdef bytes edit_own(self, uint64_t mask, bytes answer)
