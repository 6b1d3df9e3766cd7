# (host, port, path) -> Route, in a time that does not grow with the number of Routes.

cdef struct MatchResult:
    int route                 # index into the routes given to RouteTable; -1: none matched
    int cluster               # cluster index of that route
    int score                 # vhost score + uri score (PLUGIN.md 2.3)
    int exact                 # vhost exact match + uri exact match
    int vhost_score           # what of them is the VirtualHost's
    int vhost_exact
    int uri_group             # index of the UriGroup, -1 where the route names none
    int uri                   # index of the Uri within its group, -1 where the route names none
    int vhost_group           # index of the VirtualHostGroup, -1 where the route names none
    int vhost                 # index of the best VirtualHost within that group, -1 where the route names none
    const char* cookie        # AffinityCookie; owned by the RouteTable, lives as long as it
    Py_ssize_t cookie_len
    const char* url_id        # AffinityURLIdentifier; owned by the RouteTable
    Py_ssize_t url_id_len


cdef class RouteTable:
    cdef void* tables           # owned; see match_block.pxd
    cdef Py_buffer memory       # what holds the block of a mapped table; without `buf`: the block is owned, too
    cdef void drop_block(self) noexcept
    cdef int take_memory(self, memory) except -1
    # host: without port, without brackets, any case; path: only what precedes `;` and `?` is looked at.
    # port: below 0 is unknown and meets `:*` only. Without a match: -1, cluster -1, default affinity names.
    # Fills `out`; answers out.route. Never fails, never allocates.
    cdef int match(self, const char* host, Py_ssize_t host_len, int port,
                   const char* path, Py_ssize_t path_len, MatchResult* out) noexcept nogil
    # The same for one route alone, which must be one of the table's.
    cdef int match_alone(self, int route, const char* host, Py_ssize_t host_len, int port,
                         const char* path, Py_ssize_t path_len, MatchResult* out) noexcept nogil
